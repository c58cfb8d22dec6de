//! A hook's trial run on a local file: the server's own host code, without a server.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::contract::types;
use super::host::{HostParts, StateSource};
use super::manifest::{Bounds, Grants, HookSettings, HookWorld};
use super::object::{LocalObject, ObjectInfo};
use super::runtime::Runtime;
use super::{HookFault, HookResult, LogLine, Transformed, apply};
use crate::hash::{Md5, hex_encode};
use crate::inference::{Inference, InferenceSettings, ModelFile, ModelSource};
use crate::seam::World;

/// What a trial run gave.
#[derive(Debug)]
pub struct TrialReport {
    pub world: HookWorld,
    /// How it ended: `None` is well.
    pub fault: Option<HookFault>,
    pub results: Vec<HookResult>,
    /// What a transform made.
    pub transformed: Option<Transformed>,
    /// Tags and derived objects it would have written.
    pub changes: Vec<String>,
    pub lines: Vec<LogLine>,
    /// Time of the call without compilation.
    pub duration_us: u64,
}

struct NoState;

impl StateSource for NoState {
    fn get(&self, _key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn keys(&self) -> Result<usize, String> {
        Ok(0)
    }
}

struct LocalModels(BTreeMap<String, ModelFile>);

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

/// Runs `wasm` as if `bytes` had just been stored as `local/KEY`. Every capability is granted; writes are only told.
pub fn trial(
    wasm: &[u8],
    bytes: Vec<u8>,
    key: &str,
    content_type: &str,
    models: BTreeMap<String, ModelFile>,
    world: &World,
) -> Result<TrialReport, HookFault> {
    let settings = HookSettings::default();
    let runtime = Runtime::new(1)?;
    let compiled = runtime.compile(wasm)?;
    let grants = Grants { tags: true, derive: Some(String::new()), ..Grants::default() };
    let changes = Rc::new(RefCell::new(Vec::new()));
    let info = ObjectInfo {
        size: bytes.len() as u64,
        etag: hex_encode(&Md5::of(&bytes)),
        content_type: Some(content_type.to_owned()),
        ..ObjectInfo::default()
    };
    let event = types::Event {
        id: "trial".to_owned(),
        name: "ObjectCreated:Put".to_owned(),
        time_ms: u64::try_from(world.clock.unix_ms()).unwrap_or(0),
        bucket: "local".to_owned(),
        key: key.to_owned(),
        version_id: None,
        size: info.size,
        etag: info.etag.clone(),
        attempt: 1,
        record_json: "{\"Records\":[]}".to_owned(),
    };
    let parts = HostParts {
        object: Box::new(LocalObject { bytes, info, changes: changes.clone() }),
        models: Box::new(LocalModels(models)),
        state: Box::new(NoState),
        inference: Arc::new(Inference::new(InferenceSettings::default())),
        world: world.clone(),
        bounds: Bounds::of(&settings, &grants),
        grants,
        pins: None,
        event_id: event.id.clone(),
    };
    let start_ns = world.clock.monotonic_ns();
    let mut report = TrialReport {
        world: compiled.world(),
        fault: None,
        results: Vec::new(),
        transformed: None,
        changes: Vec::new(),
        lines: Vec::new(),
        duration_us: 0,
    };
    let mut host = match compiled.world() {
        HookWorld::Hook => {
            let (mut host, answer) = runtime.on_event(&compiled, &event, parts);
            match answer.and_then(|()| apply(&mut host, &super::digest(wasm))) {
                Ok(outcome) => report.results = outcome.results,
                Err(fault) => report.fault = Some(fault),
            }
            host
        }
        HookWorld::Transform => {
            let (host, answer) = runtime.transform(&compiled, &event.bucket, &event.key, parts);
            match answer {
                Ok(transformed) => report.transformed = Some(transformed),
                Err(fault) => report.fault = Some(fault),
            }
            host
        }
    };
    report.duration_us = world.clock.monotonic_ns().saturating_sub(start_ns) / 1000;
    report.lines = host.take_lines();
    report.changes = changes.take();
    Ok(report)
}
