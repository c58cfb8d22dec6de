//! Invocations of installed hooks and transforms: what each is given, and what is made of how it ended.
//!
//! What a hook asked for (tags, derived objects) is done only once it has ended well; messages and state are the outcome,
//! which the caller stores. Runs on the outbox's hook threads, and for transforms on the threads of errands.

use std::rc::Rc;
use std::time::Duration;

use super::contract::types;
use super::host::{Host, HostParts, StateSource};
use super::installed::Installed;
use super::journal::{Ending, LogLine};
use super::manifest::Bounds;
use super::model::{self, *};
use super::object::{Author, ObjectFault, ObjectSource, StoredObject};
use super::store::StoredModels;
use super::{Hooks, Transformed, Usage};
use crate::engine::Engine;
use crate::limits;
use crate::meta::{Change, VersionRef};

impl Hooks {
    /// Runs a transform for a GET. Blocks: call it on a thread that may.
    pub fn transform(
        &self,
        engine: &Rc<Engine>,
        hook: &str,
        bucket: &str,
        key: &str,
        version: VersionRef,
    ) -> Result<Transformed, HookFault> {
        let installed = self.find(engine, hook)?;
        // A transform's world has no way to write.
        let object = Box::new(StoredObject::new(engine.clone(), bucket, key, version, Author::default()));
        let parts = self.parts(engine, hook, &installed, object, format!("get {bucket}/{key}"));
        let start_ns = engine.world().clock.monotonic_ns();
        let event_id = parts.event_id.clone();
        let (mut host, answer) = self.runtime.transform(&installed.compiled, bucket, key, parts);
        let ending = Ending {
            number: 0,
            event_id,
            duration_us: since_us(engine, start_ns),
            usage: host.usage(),
            fault: answer.as_ref().err().cloned(),
        };
        self.note(engine, hook, &mut host, ending);
        answer
    }

    fn parts(
        &self,
        engine: &Rc<Engine>,
        hook: &str,
        installed: &Installed,
        object: Box<dyn ObjectSource>,
        event_id: String,
    ) -> HostParts {
        let grants = installed.manifest.grants.clone();
        HostParts {
            object,
            models: Box::new(StoredModels(engine.clone())),
            state: Box::new(StoredState { engine: engine.clone(), hook: hook.to_owned() }),
            inference: self.inference.clone(),
            world: engine.world().clone(),
            bounds: Bounds::of(&self.settings, &grants),
            pins: installed.manifest.models.clone(),
            grants,
            event_id,
        }
    }

    fn note(&self, engine: &Engine, hook: &str, host: &mut Host, ending: Ending) {
        let mut lines = host.take_lines();
        lines.extend(ending.fault.as_ref().map(|fault| error_line(engine, &ending.event_id, fault)));
        self.journal.note(hook, lines, ending);
    }
}

impl HookRunner for Hooks {
    fn wait(&self, engine: &Rc<Engine>, hook: &str) -> Option<Duration> {
        // What is wrong with the hook is told by the attempt.
        let per_second = self.find(engine, hook).ok()?.manifest.grants.rate_per_s?;
        self.rates.take(hook, per_second, engine.world().clock.monotonic_ns()).err()
    }

    fn run(&self, engine: &Rc<Engine>, invocation: &Invocation) -> Result<Outcome, HookFault> {
        let (hook, event_id) = (&invocation.hook, &invocation.event_id);
        let installed = self.find(engine, hook).inspect_err(|fault| {
            // It never began, which is an attempt all the same.
            let (lines, fault) = (vec![error_line(engine, event_id, fault)], Some(fault.clone()));
            let (event_id, usage) = (event_id.clone(), Usage::default());
            self.journal.note(hook, lines, Ending { number: 0, event_id, duration_us: 0, usage, fault });
        })?;
        let requester = &invocation.change.requester.principal;
        let author = Author { principal: principal(requester, hook), event_id: invocation.event_id.clone() };
        let mut object = Box::new(StoredObject::of_change(engine.clone(), &invocation.change, author));
        // A replay comes by what the hook itself has stored, and would find more of it with each round.
        if installed.manifest.grants.derive.is_some()
            && let Some(cause) = object.cause()
        {
            if !may_start(&cause, hook) {
                return Ok(Outcome::default());
            }
            if !requester.starts_with(model::HOOK_PRINCIPAL) {
                object.author.principal = principal(&cause, hook);
            }
        }
        let closed = object.is_closed();
        let parts = self.parts(engine, hook, &installed, object, invocation.event_id.clone());
        let start_ns = engine.world().clock.monotonic_ns();
        let (mut host, answer) = self.runtime.on_event(&installed.compiled, &event_of(invocation), parts);
        let usage = host.usage();
        let answer = answer.and_then(|()| apply(&mut host, &installed.manifest.digest));
        let answer = answer.map_err(|fault| if closed { closed_fault(&fault) } else { fault });
        let (event_id, duration_us) = (event_id.clone(), since_us(engine, start_ns));
        let ending = Ending { number: 0, event_id, duration_us, usage, fault: answer.as_ref().err().cloned() };
        self.note(engine, hook, &mut host, ending);
        answer
    }
}

/// A hook may do without the bytes; one that failed on an object that cannot be opened is not attempted again.
fn closed_fault(fault: &HookFault) -> HookFault {
    let message = format!(
        "{fault} (the object is sealed with its client's own key, SSE-C, which no hook is given; it is not attempted again)"
    );
    HookFault::Rejected { message, retry: false }
}

/// Does what the hook asked for, once it has ended well. A repeated attempt does the same again.
pub(super) fn apply(host: &mut Host, module: &str) -> Result<Outcome, HookFault> {
    let failed = |fault| match fault {
        ObjectFault::Gone(what) | ObjectFault::Failed(what) => HookFault::Object(what),
        ObjectFault::Refused(message) => HookFault::Rejected { message, retry: false },
    };
    // Where the version or its bucket is gone meanwhile, there is no place for what would stand beside it.
    let or_gone = |done| match done {
        Err(ObjectFault::Gone(_)) => Ok(()),
        done => done.map_err(failed),
    };
    let provenance = Provenance { module: module.to_owned(), models: std::mem::take(&mut host.models_used) };
    for (key, content_type, bytes) in std::mem::take(&mut host.derived) {
        or_gone(host.object().put_derived(&key, &content_type, bytes, &provenance))?;
    }
    if !host.tags.is_empty() {
        or_gone(host.object().set_tags(&host.tags, &provenance))?;
    }
    Ok(Outcome {
        results: std::mem::take(&mut host.results),
        state_writes: std::mem::take(&mut host.state_writes),
        provenance,
    })
}

pub(super) fn event_of(invocation: &Invocation) -> types::Event {
    let Change { event, time_ms, bucket_name, key, version_id, size, etag, .. } = &invocation.change;
    types::Event {
        id: invocation.event_id.clone(),
        name: event.as_str().to_owned(),
        time_ms: u64::try_from(*time_ms).unwrap_or(0),
        bucket: bucket_name.clone(),
        key: key.clone(),
        version_id: version_id.clone(),
        size: *size,
        etag: etag.clone(),
        attempt: invocation.attempt,
        record_json: invocation.record_json.clone(),
    }
}

fn since_us(engine: &Engine, start_ns: u64) -> u64 {
    engine.world().clock.monotonic_ns().saturating_sub(start_ns) / 1000
}

/// What a failure leaves in the hook's log.
fn error_line(engine: &Engine, event_id: &str, fault: &HookFault) -> LogLine {
    let mut message = fault.to_string();
    message.truncate(message.floor_char_boundary(limits::HOOK_LOG_LINE_BYTES_MAX));
    let time_ms = engine.world().clock.unix_ms();
    LogLine { number: 0, time_ms, event_id: event_id.to_owned(), level: "error", message }
}

/// A hook's state in the metadata's properties.
struct StoredState {
    engine: Rc<Engine>,
    hook: String,
}

impl StateSource for StoredState {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let value = self.engine.reader().property(&model::state_property(&self.hook, key));
        let value = value.map_err(|error| error.to_string())?;
        match value {
            None => Ok(None),
            Some(text) => match crate::hash::base64_decode(&text) {
                Some(bytes) => Ok(Some(bytes)),
                None => Err("the stored value is damaged".to_owned()),
            },
        }
    }

    fn keys(&self) -> Result<usize, String> {
        let prefix = model::state_property(&self.hook, "");
        let names = self.engine.reader().property_names(&prefix, limits::HOOK_STATE_KEYS_MAX + 1);
        Ok(names.map_err(|error| error.to_string())?.len())
    }
}
