//! What a guest can call: each interface of the WIT contract over one invocation's state, within its bounds.
//!
//! A call that makes no sense is answered with an error of the contract; only what would hurt the host traps.

mod inference;
mod log;
mod object;
mod picture;
mod reader;
mod results;
mod state;

pub use inference::LoadedModel;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result};

use super::contract::types;
use super::journal::LogLine;
use super::manifest::{Bounds, Grants};
use super::model::HookResult;
use super::object::ObjectSource;
use super::reader::PartReader;
use crate::inference::{Inference, ModelSource};
use crate::limits;
use crate::seam::World;

/// Values that a hook keeps between invocations.
pub(super) trait StateSource {
    fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, String>;
    /// Keys that the hook has.
    fn keys(&self) -> std::result::Result<usize, String>;
}

/// What an invocation is given.
pub(super) struct HostParts {
    pub object: Box<dyn ObjectSource>,
    pub models: Box<dyn ModelSource>,
    pub state: Box<dyn StateSource>,
    pub inference: Arc<Inference>,
    pub world: World,
    pub grants: Grants,
    /// Digests of the models that it may load, by name; `None`: any.
    pub pins: Option<BTreeMap<String, String>>,
    pub bounds: Bounds,
    pub event_id: String,
}

/// What an invocation took of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most that its memory grew to.
    pub memory_bytes: u64,
    /// Of messages, or of a transform's answer.
    pub output_bytes: u64,
    pub messages: usize,
    /// Microseconds in inference, which the deadline does not count.
    pub inference_us: u64,
}

/// One invocation's side of the host.
pub(super) struct Host {
    parts: HostParts,
    table: ResourceTable,
    models_open: usize,
    /// Open readers, by the number that the guest's handle stands for.
    readers: BTreeMap<u32, PartReader>,
    /// Models that were loaded, with the digests of their files.
    pub models_used: BTreeMap<String, String>,
    pub memory: MemoryLimit,
    pub output_hit: bool,
    /// The guest published more messages than it may.
    pub messages_hit: bool,
    output_left: u64,
    pub results: Vec<HookResult>,
    pub state_writes: BTreeMap<String, Option<Vec<u8>>>,
    pub tags: BTreeMap<String, String>,
    pub derived: Vec<(String, String, Bytes)>,
    derived_bytes: u64,
    pub lines: Vec<LogLine>,
    lines_cut: u64,
    /// The last line of level error, also where the log was full: what a guest says before it traps.
    pub last_error: Option<String>,
    /// Time in inference, which the deadline does not count.
    pub waited: Duration,
}

type Answer<T> = Result<std::result::Result<T, types::Error>>;

impl Host {
    pub fn new(parts: HostParts) -> Host {
        Host {
            output_left: parts.bounds.output_bytes,
            memory: MemoryLimit { limit_bytes: parts.bounds.memory_bytes, used_bytes: 0, hit: false },
            parts,
            table: ResourceTable::new(),
            models_open: 0,
            readers: BTreeMap::new(),
            models_used: BTreeMap::new(),
            output_hit: false,
            messages_hit: false,
            results: Vec::new(),
            state_writes: BTreeMap::new(),
            tags: BTreeMap::new(),
            derived: Vec::new(),
            derived_bytes: 0,
            lines: Vec::new(),
            lines_cut: 0,
            last_error: None,
            waited: Duration::ZERO,
        }
    }

    pub fn object(&self) -> &dyn ObjectSource {
        &*self.parts.object
    }

    /// What the invocation has taken so far.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.memory.used_bytes,
            output_bytes: self.parts.bounds.output_bytes - self.output_left,
            messages: self.results.len(),
            inference_us: u64::try_from(self.waited.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// Takes bytes out of the output budget.
    pub fn take_output(&mut self, bytes: u64) -> std::result::Result<(), types::Error> {
        if bytes > self.output_left {
            self.output_hit = true;
            let limit = self.parts.bounds.output_bytes;
            return Err(types::Error::Limit(format!("more than {limit} bytes of output")));
        }
        self.output_left -= bytes;
        Ok(())
    }
}

/// Memory of one instance, all its linear memories together.
pub(super) struct MemoryLimit {
    limit_bytes: u64,
    used_bytes: u64,
    /// The guest asked for more than it may have. It was refused, and may still end well.
    pub hit: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let total = self.used_bytes + desired.saturating_sub(current) as u64;
        if total > self.limit_bytes {
            self.hit = true;
            return Ok(false);
        }
        self.used_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= limits::HOOK_TABLE_ELEMENTS_MAX)
    }
}

impl types::Host for Host {}
