//! Hooks: WASM components that look at each new object, in a sandbox.
//!
//! A hook is installed in the store itself (`store`), compiled once and shared (`Hooks`), and instantiated afresh for
//! each invocation (`runtime`). What it can reach is the WIT contract (`contract`, `host`), within the bounds of its
//! manifest. Runs on the outbox's hook threads, or on a core for a transform. Knows nothing of rules, retries or MQTT.

pub mod bundle;
mod cache;
mod contract;
mod host;
mod journal;
mod manifest;
mod model;
mod object;
mod picture;
mod rate;
mod runtime;
pub mod store;
#[cfg(test)]
mod tests;
mod trial;

pub use host::Usage;
pub use journal::{Ending, HookStats, Journal, LogLine};
pub use manifest::{Bounds, Grants, HookSettings, HookWorld, Manifest};
pub use model::*;
pub use runtime::Transformed;
pub use store::StoreError;
pub use trial::{Trial, TrialObject, TrialReport};

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::engine::Engine;
use crate::inference::{Inference, InferenceSettings};
use crate::limits;
use crate::meta::{Change, VersionRef};
use cache::CodeCache;
use contract::types;
use host::{Host, HostParts, StateSource};
use object::{Author, ObjectFault, ObjectSource, StoredObject};
use rate::Rates;
use runtime::{Compiled, Runtime};
use store::StoredModels;

/// An installed hook, compiled.
#[derive(Clone)]
struct Installed {
    /// Version of its manifest.
    stamp: u64,
    manifest: Arc<Manifest>,
    compiled: Compiled,
}

/// All hooks of the process; shared by the threads that run them.
pub struct Hooks {
    settings: HookSettings,
    runtime: Runtime,
    inference: Arc<Inference>,
    installed: Mutex<HashMap<String, Installed>>,
    cache: Mutex<CodeCache>,
    /// Held while a hook is compiled: two at once would cost twice the memory, and often be the same hook.
    compiling: Mutex<()>,
    /// Hooks that are being added or removed.
    changing: Mutex<HashSet<String>>,
    journal: Journal,
    rates: Rates,
}

/// A hook may be changed by one at a time.
struct Changing<'a> {
    hooks: &'a Hooks,
    name: String,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.hooks.changing.lock().expect("no holder of this lock panics").remove(&self.name);
    }
}

impl Hooks {
    pub fn new(settings: HookSettings, inference: InferenceSettings) -> Result<Hooks, HookFault> {
        let refuse = |reason: String| HookFault::Module(format!("settings: {reason}"));
        settings
            .trusted_keys
            .iter()
            .try_for_each(|key| bundle::check_public(key))
            .map_err(|error| refuse(format!("hooks.trusted_keys: {error}")))?;
        if settings.require_signature && settings.trusted_keys.is_empty() {
            return Err(refuse("hooks.require_signature needs hooks.trusted_keys".to_owned()));
        }
        let runtime = Runtime::new(settings.instances)?;
        let inference = Arc::new(Inference::new(inference));
        Ok(Hooks {
            settings,
            runtime,
            inference,
            installed: Mutex::default(),
            cache: Mutex::default(),
            compiling: Mutex::default(),
            changing: Mutex::default(),
            journal: Journal::default(),
            rates: Rates::default(),
        })
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Bytes of the models that are loaded.
    pub fn model_bytes(&self) -> u64 {
        self.inference.loaded_bytes()
    }

    /// Refuses what nobody has signed, where the settings ask for a signature.
    pub fn check_unsigned(&self) -> Result<(), StoreError> {
        if !self.settings.require_signature {
            return Ok(());
        }
        Err(StoreError::Refused(
            "hooks.require_signature is set: put module and models in a bundle (`aerie hook bundle --key FILE`) and add that"
                .to_owned(),
        ))
    }

    /// Checks, compiles and keeps a hook, or its next version; invocations under way end with the old one. Compiling
    /// takes its time: call it on a thread that may block.
    pub async fn add(
        &self,
        engine: &Engine,
        name: &str,
        module: Bytes,
        grants: Grants,
    ) -> Result<Manifest, StoreError> {
        self.check_unsigned()?;
        let _changing = self.change(name)?;
        let (manifest, compiled) = self.prepare(engine, name, &module, grants)?;
        self.install(engine, manifest, module, compiled).await
    }

    /// Adds a bundle: its models, then its hook. What the bundle asks for it gets where a trusted key signed it;
    /// otherwise `granted` must have each capability.
    pub async fn add_bundle(&self, engine: &Engine, file: Bytes, granted: &Grants) -> Result<Manifest, StoreError> {
        let refuse = |reason: String| StoreError::Refused(format!("the bundle is refused: {reason}"));
        let bundle = bundle::Bundle::parse(&file).map_err(|error| refuse(error.to_string()))?;
        let is_trusted = bundle.signer.as_ref().is_some_and(|signer| self.settings.trusted_keys.contains(signer));
        if self.settings.require_signature && !is_trusted {
            return Err(refuse(match &bundle.signer {
                Some(signer) => format!("{signer} signed it, which hooks.trusted_keys does not list"),
                None => "it is not signed; sign it with `aerie hook sign`".to_owned(),
            }));
        }
        if !is_trusted {
            granted.cover(&bundle.grants).map_err(refuse)?;
        }
        let _changing = self.change(&bundle.name)?;
        let (mut manifest, compiled) = self.prepare(engine, &bundle.name, &bundle.module, bundle.grants.clone())?;
        manifest.signer = bundle.signer.clone().filter(|_| is_trusted);
        manifest.models = Some(bundle.pins());
        for model in &bundle.models {
            store::put_model(engine, &model.name, model.bytes.clone()).await?;
            store::put_labels(engine, &model.name, model.labels.clone().unwrap_or_default()).await?;
        }
        self.install(engine, manifest, bundle.module, compiled).await
    }

    /// Checks a hook and compiles it; nothing is kept yet but its code.
    fn prepare(
        &self,
        engine: &Engine,
        name: &str,
        module: &[u8],
        grants: Grants,
    ) -> Result<(Manifest, Compiled), StoreError> {
        store::check_name(name)?;
        grants.check().map_err(StoreError::Refused)?;
        if module.len() as u64 > limits::HOOK_MODULE_BYTES_MAX {
            let most = limits::HOOK_MODULE_BYTES_MAX;
            return Err(StoreError::Refused(format!("the module has {} bytes, the limit is {most}", module.len())));
        }
        let digest = digest(module);
        let compiled = self.compile(engine, &digest, module).map_err(|fault| StoreError::Refused(fault.to_string()))?;
        let manifest = Manifest {
            name: name.to_owned(),
            world: compiled.world(),
            digest,
            module_bytes: module.len() as u64,
            added_ms: engine.world().clock.unix_ms(),
            signer: None,
            models: None,
            grants,
        };
        Ok((manifest, compiled))
    }

    async fn install(
        &self,
        engine: &Engine,
        manifest: Manifest,
        module: Bytes,
        compiled: Compiled,
    ) -> Result<Manifest, StoreError> {
        store::put_hook(engine, &manifest, module).await?;
        if let Some(stamp) = store::hook_stamp(engine, &manifest.name)? {
            let name = manifest.name.clone();
            self.keep(&name, Installed { stamp, manifest: Arc::new(manifest.clone()), compiled });
        }
        Ok(manifest)
    }

    pub async fn list(&self, engine: &Engine) -> Result<Vec<Manifest>, StoreError> {
        store::hooks(engine).await
    }

    pub async fn remove(&self, engine: &Engine, name: &str) -> Result<(), StoreError> {
        let _changing = self.change(name)?;
        store::remove_hook(engine, name).await?;
        self.installed.lock().expect("no holder of this lock panics").remove(name);
        Ok(())
    }

    pub fn exists(&self, engine: &Engine, name: &str) -> bool {
        matches!(store::hook_stamp(engine, name), Ok(Some(_)))
    }

    /// Whether a rule may name it: a transform is for GETs.
    pub fn takes_events(&self, engine: &Engine, name: &str) -> bool {
        // A manifest lies in its metadata row, as all small objects do: nothing is waited for.
        let manifest = pollster::block_on(store::hook(engine, name));
        matches!(manifest, Ok(Some(manifest)) if manifest.world == HookWorld::Hook)
    }

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

    /// Ends the sandbox's own thread.
    pub fn stop(&self) {
        self.runtime.stop();
    }

    fn change(&self, name: &str) -> Result<Changing<'_>, StoreError> {
        if self.changing.lock().expect("no holder of this lock panics").insert(name.to_owned()) {
            return Ok(Changing { hooks: self, name: name.to_owned() });
        }
        Err(StoreError::Refused(format!(
            "hook {name} is being changed by another command; try again when it has ended"
        )))
    }

    fn find(&self, engine: &Engine, name: &str) -> Result<Installed, HookFault> {
        // An upgrade in between takes the old module away: then there is another manifest to look at.
        for _ in 0..FIND_ATTEMPTS {
            let stamp = store::hook_stamp(engine, name).map_err(object_fault)?;
            let Some(stamp) = stamp else { return Err(HookFault::NotInstalled(name.to_owned())) };
            let kept = self.installed.lock().expect("no holder of this lock panics").get(name).cloned();
            if let Some(installed) = kept.filter(|installed| installed.stamp == stamp) {
                self.check_signer(&installed.manifest)?;
                return Ok(installed);
            }
            let manifest = pollster::block_on(store::hook(engine, name)).map_err(object_fault)?;
            let Some(manifest) = manifest else { continue };
            self.check_signer(&manifest)?;
            if let Some(compiled) = self.restore(engine, &manifest)? {
                let installed = Installed { stamp, manifest: Arc::new(manifest), compiled };
                self.keep(name, installed.clone());
                return Ok(installed);
            }
        }
        Err(HookFault::Module(format!(
            "the module that the manifest names is gone; run `aerie hook add {name} FILE.wasm`"
        )))
    }

    /// A hook that was installed before a signature was asked for, or whose key is no longer trusted, does not run.
    fn check_signer(&self, manifest: &Manifest) -> Result<(), HookFault> {
        let is_trusted = manifest.signer.as_ref().is_some_and(|signer| self.settings.trusted_keys.contains(signer));
        if is_trusted || !self.settings.require_signature {
            return Ok(());
        }
        Err(HookFault::Module(
            "hooks.require_signature is set and no key of hooks.trusted_keys signed it; add its signed bundle"
                .to_owned(),
        ))
    }

    /// The compiled hook of a manifest, from the cache or from its module; `None` where the store has no such module.
    fn restore(&self, engine: &Engine, manifest: &Manifest) -> Result<Option<Compiled>, HookFault> {
        let cached = self.cache().load(engine, self.runtime.engine(), &manifest.digest);
        if let Some(component) = cached {
            return self.runtime.prepare(&component).map(Some);
        }
        let module =
            pollster::block_on(store::module(engine, &manifest.name, &manifest.digest)).map_err(object_fault)?;
        let Some(module) = module else { return Ok(None) };
        if digest(&module) != manifest.digest {
            return Err(HookFault::Module("the module is not the one its manifest names; add it again".to_owned()));
        }
        self.compile(engine, &manifest.digest, &module).map(Some)
    }

    /// Compiles a module and keeps its code for the next start.
    fn compile(&self, engine: &Engine, digest: &str, module: &[u8]) -> Result<Compiled, HookFault> {
        let _alone = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have compiled it meanwhile.
        let cached = self.cache().load(engine, self.runtime.engine(), digest);
        if let Some(component) = cached {
            return self.runtime.prepare(&component);
        }
        let compiled = self.runtime.compile(module)?;
        let code = compiled.code()?;
        self.cache().keep(engine, digest, &code);
        Ok(compiled)
    }

    /// A panic of the compiler leaves nothing half done in it.
    fn cache(&self) -> MutexGuard<'_, CodeCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, name: &str, installed: Installed) {
        let mut kept = self.installed.lock().expect("no holder of this lock panics");
        if kept.len() >= limits::HOOKS_COMPILED_MAX && !kept.contains_key(name) {
            // Compiled again when they are needed again.
            kept.clear();
        }
        kept.insert(name.to_owned(), installed);
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
fn apply(host: &mut Host, module: &str) -> Result<Outcome, HookFault> {
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

fn event_of(invocation: &Invocation) -> types::Event {
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

/// Looks at a hook's manifest before it counts as damaged.
const FIND_ATTEMPTS: usize = 3;

fn object_fault(error: impl std::fmt::Display) -> HookFault {
    HookFault::Object(error.to_string())
}

/// SHA-256 in hex.
fn digest(bytes: &[u8]) -> String {
    crate::hash::hex_encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
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
