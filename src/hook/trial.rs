//! A hook's trial run on local files: the server's own host code, without a server.
//!
//! The same limits hold as on a server. What the hook would change (tags, derived objects, state) is told; its state is
//! kept from one object to the next.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::host::{Host, HostParts, StateSource, Usage};
use super::invocation::{apply, event_of};
use super::manifest::{Bounds, Grants, HookSettings, HookWorld};
use super::object::{LocalObject, ObjectInfo};
use super::runtime::{Compiled, Runtime};
use super::{HookFault, HookResult, Invocation, LogLine, Transformed};
use crate::hash::{Md5, hex_encode};
use crate::inference::{Inference, InferenceSettings, ModelFile, ModelSource};
use crate::meta::{BucketId, Change, EventName, Requester, Sequence};
use crate::notification::records_json;
use crate::seam::World;

/// A file in the place of a new object.
#[derive(Debug, Clone, Default)]
pub struct TrialObject {
    pub bucket: String,
    pub key: String,
    pub bytes: Vec<u8>,
    pub content_type: Option<String>,
    /// User metadata, names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

/// What a trial run gave.
#[derive(Debug)]
pub struct TrialReport {
    /// How it ended: `None` is well.
    pub fault: Option<HookFault>,
    pub results: Vec<HookResult>,
    /// What a transform made.
    pub transformed: Option<Transformed>,
    /// Tags, derived objects and state it would have written.
    pub changes: Vec<String>,
    /// Derived objects, by key.
    pub derived: Vec<(String, Vec<u8>)>,
    pub lines: Vec<LogLine>,
    /// Time of the call without compilation, inference counted.
    pub duration_us: u64,
    pub usage: Usage,
}

/// A hook's state, as far as this trial has it.
#[derive(Debug, Clone, Default)]
struct TrialState(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl StateSource for TrialState {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.borrow().get(key).cloned())
    }

    fn keys(&self) -> Result<usize, String> {
        Ok(self.0.borrow().len())
    }
}

#[derive(Clone)]
struct LocalModels(Rc<BTreeMap<String, ModelFile>>);

impl ModelSource for LocalModels {
    fn stamp(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(name).map(|file| file.bytes.len().to_string()))
    }

    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<ModelFile>, String> {
        match self.0.get(name) {
            Some(file) if file.bytes.len() as u64 > bytes_max => Err(format!("it has more than {bytes_max} bytes")),
            found => Ok(found.cloned()),
        }
    }
}

/// A hook that is compiled and can be tried on one object after the other.
pub struct Trial {
    runtime: Runtime,
    compiled: Compiled,
    digest: String,
    grants: Grants,
    bounds: Bounds,
    models: LocalModels,
    inference: Arc<Inference>,
    state: TrialState,
    /// Objects so far.
    count: Cell<u64>,
    world: World,
}

impl Trial {
    /// Compiles `wasm`. What `grants` leaves open is as on a server that sets nothing; derived objects may have any key
    /// where the prefix is empty.
    pub fn new(
        wasm: &[u8],
        grants: Grants,
        models: BTreeMap<String, ModelFile>,
        world: &World,
    ) -> Result<Trial, HookFault> {
        let derive = grants.derive.clone().filter(|prefix| !prefix.is_empty());
        Grants { derive, ..grants.clone() }.check().map_err(HookFault::Module)?;
        let runtime = Runtime::new(1)?;
        let compiled = runtime.compile(wasm)?;
        Ok(Trial {
            runtime,
            compiled,
            digest: super::digest(wasm),
            bounds: Bounds::of(&HookSettings::default(), &grants),
            grants,
            models: LocalModels(Rc::new(models)),
            inference: Arc::new(Inference::new(InferenceSettings::default())),
            state: TrialState::default(),
            count: Cell::new(0),
            world: world.clone(),
        })
    }

    pub fn world(&self) -> HookWorld {
        self.compiled.world()
    }

    /// The limits that hold.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Runs the hook as if the object had just been stored.
    pub fn run(&self, object: TrialObject) -> TrialReport {
        let changes = Rc::new(RefCell::new(Vec::new()));
        let invocation = self.invocation(&object);
        let info = ObjectInfo {
            size: invocation.change.size,
            etag: invocation.change.etag.clone(),
            content_type: object.content_type,
            metadata: object.metadata,
            tags: object.tags,
        };
        let parts = HostParts {
            object: Box::new(LocalObject { bytes: object.bytes.into(), info, changes: changes.clone() }),
            models: Box::new(self.models.clone()),
            state: Box::new(self.state.clone()),
            inference: self.inference.clone(),
            world: self.world.clone(),
            bounds: self.bounds,
            grants: self.grants.clone(),
            pins: None,
            event_id: invocation.event_id.clone(),
        };
        let mut report = TrialReport {
            fault: None,
            results: Vec::new(),
            transformed: None,
            changes: Vec::new(),
            derived: Vec::new(),
            lines: Vec::new(),
            duration_us: 0,
            usage: Usage::default(),
        };
        let start_ns = self.world.clock.monotonic_ns();
        let mut host = match self.compiled.world() {
            HookWorld::Hook => {
                let (mut host, answer) = self.runtime.on_event(&self.compiled, &event_of(&invocation), parts);
                report.usage = host.usage();
                match answer {
                    Ok(()) => self.take(&mut host, &mut report, &changes),
                    Err(fault) => report.fault = Some(fault),
                }
                host
            }
            HookWorld::Transform => {
                let (host, answer) = self.runtime.transform(&self.compiled, &object.bucket, &object.key, parts);
                report.usage = host.usage();
                match answer {
                    Ok(transformed) => report.transformed = Some(transformed),
                    Err(fault) => report.fault = Some(fault),
                }
                host
            }
        };
        report.duration_us = self.world.clock.monotonic_ns().saturating_sub(start_ns) / 1000;
        report.lines = host.take_lines();
        report.changes = changes.take();
        report
    }

    /// What follows from an invocation that ended well.
    fn take(&self, host: &mut Host, report: &mut TrialReport, changes: &RefCell<Vec<String>>) {
        let derived = host.derived.iter().map(|(key, _, bytes)| (key.clone(), bytes.to_vec())).collect();
        let outcome = match apply(host, &self.digest) {
            Ok(outcome) => outcome,
            Err(fault) => {
                report.fault = Some(fault);
                return;
            }
        };
        (report.results, report.derived) = (outcome.results, derived);
        let mut state = self.state.0.borrow_mut();
        for (key, value) in outcome.state_writes {
            changes.borrow_mut().push(match &value {
                Some(value) => format!("state {key} ({} bytes)", value.len()),
                None => format!("state {key} (removed)"),
            });
            match value {
                Some(value) => _ = state.insert(key, value),
                None => _ = state.remove(&key),
            }
        }
    }

    fn invocation(&self, object: &TrialObject) -> Invocation {
        let sequence = Sequence(self.count.get() + 1);
        self.count.set(sequence.0);
        let change = Change {
            sequence,
            event: EventName::ObjectCreatedPut,
            time_ms: self.world.clock.unix_ms(),
            bucket: BucketId(0),
            bucket_name: object.bucket.clone(),
            key: object.key.clone(),
            version_id: None,
            version: Some(sequence),
            size: object.bytes.len() as u64,
            etag: hex_encode(&Md5::of(&object.bytes)),
            requester: Requester { principal: "trial".to_owned(), ..Requester::default() },
        };
        Invocation {
            event_id: format!("{:016x}-trial", sequence.0),
            hook: "trial".to_owned(),
            record_json: records_json(&[change.event_record("trial", "us-east-1", "trial")]),
            change,
            attempt: 1,
        }
    }
}
