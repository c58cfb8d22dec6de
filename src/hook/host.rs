//! What a guest can call: each interface of the WIT contract over one invocation's state, within its bounds.
//!
//! A call that makes no sense is answered with an error of the contract; only what would hurt the host traps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result};

use super::contract::{inference, log, object, picture, results, state, types};
use super::journal::LogLine;
use super::manifest::{Bounds, Grants};
use super::model::HookResult;
use super::object::{ObjectFault, ObjectSource};
use super::picture::{self as pictures, Fit, PictureFault};
use crate::inference::{Element, Inference, InferenceError, ModelSource, Port, Tensor};
use crate::limits;
use crate::seam::World;

/// Of a derived object or a transform's answer. Real ones have some 70.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// A model that is loaded faster than this was in memory already.
const MODEL_LOAD_COUNTED: Duration = Duration::from_millis(1);

/// A model as guests hold it.
pub struct LoadedModel(Arc<crate::inference::LoadedModel>);

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
    /// Time in inference, which the deadline does not count.
    pub waited: Duration,
}

type Answer<T> = Result<std::result::Result<T, types::Error>>;

impl From<ObjectFault> for types::Error {
    fn from(fault: ObjectFault) -> types::Error {
        match fault {
            ObjectFault::Gone(what) => types::Error::NotFound(what),
            ObjectFault::Refused(what) => types::Error::Limit(what),
            ObjectFault::Failed(what) => types::Error::Failed(what),
        }
    }
}

impl From<PictureFault> for types::Error {
    fn from(fault: PictureFault) -> types::Error {
        match fault {
            PictureFault::Limit(what) => types::Error::Limit(what),
            PictureFault::Invalid(what) => types::Error::Invalid(what),
        }
    }
}

impl From<InferenceError> for types::Error {
    fn from(error: InferenceError) -> types::Error {
        let text = error.to_string();
        match error {
            InferenceError::NoSuchModel(_) => types::Error::NotFound(text),
            error if error.is_limit() => types::Error::Limit(text),
            error if error.is_invalid() => types::Error::Invalid(text),
            _ => types::Error::Failed(text),
        }
    }
}

impl Host {
    pub fn new(parts: HostParts) -> Host {
        Host {
            output_left: parts.bounds.output_bytes,
            memory: MemoryLimit { limit_bytes: parts.bounds.memory_bytes, used_bytes: 0, hit: false },
            parts,
            table: ResourceTable::new(),
            models_open: 0,
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

    /// Adds a line to the log; those over the limit are counted.
    pub fn log(&mut self, level: &'static str, message: &str) {
        if self.lines.len() >= limits::HOOK_LOG_LINES_MAX {
            self.lines_cut += 1;
            return;
        }
        let end = message.floor_char_boundary(limits::HOOK_LOG_LINE_BYTES_MAX.min(message.len()));
        self.lines.push(LogLine {
            number: 0,
            time_ms: self.parts.world.clock.unix_ms(),
            event_id: self.parts.event_id.clone(),
            level,
            message: message[..end].to_owned(),
        });
    }

    /// The log of the invocation, with a last line that counts what was cut.
    pub fn take_lines(&mut self) -> Vec<LogLine> {
        if self.lines_cut > 0 {
            let cut = format!("{} more lines were cut", self.lines_cut);
            self.lines.pop();
            self.log("warn", &cut);
        }
        std::mem::take(&mut self.lines)
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

fn pairs(map: BTreeMap<String, String>) -> Vec<(String, String)> {
    map.into_iter().collect()
}

impl object::Host for Host {
    fn describe(&mut self) -> Answer<object::Info> {
        let info = match self.parts.object.describe() {
            Ok(info) => info,
            Err(fault) => return Ok(Err(fault.into())),
        };
        Ok(Ok(object::Info {
            size: info.size,
            etag: info.etag,
            content_type: info.content_type,
            metadata: pairs(info.metadata),
            tags: pairs(info.tags),
        }))
    }

    fn read(&mut self, offset: u64, length: u32) -> Answer<Vec<u8>> {
        if length > limits::HOOK_READ_BYTES_MAX {
            let most = limits::HOOK_READ_BYTES_MAX;
            return Ok(Err(types::Error::Limit(format!(
                "one read gives at most {most} bytes, {length} were asked for"
            ))));
        }
        Ok(self.parts.object.read(offset, u64::from(length)).map_err(Into::into))
    }

    fn set_tags(&mut self, tags: Vec<(String, String)>) -> Answer<()> {
        if !self.parts.grants.tags {
            return Ok(Err(types::Error::Denied("tags were not granted; add the hook with --allow-tags".to_owned())));
        }
        if tags.iter().any(|(name, value)| name.is_empty() || name.len() > 128 || value.len() > 256) {
            return Ok(Err(types::Error::Invalid("a tag's name has 1 to 128 bytes, its value at most 256".to_owned())));
        }
        self.tags.extend(tags);
        if self.tags.len() > limits::OBJECT_TAGS_MAX {
            return Ok(Err(types::Error::Limit(format!("an object has at most {} tags", limits::OBJECT_TAGS_MAX))));
        }
        Ok(Ok(()))
    }

    fn put_derived(&mut self, key: String, content_type: String, bytes: Vec<u8>) -> Answer<()> {
        let Some(prefix) = &self.parts.grants.derive else {
            let text = "derived objects were not granted; add the hook with --allow-derive PREFIX";
            return Ok(Err(types::Error::Denied(text.to_owned())));
        };
        if !key.starts_with(prefix.as_str()) || key.len() > limits::KEY_BYTES_MAX {
            let text = format!("the key must begin with {prefix:?} and have at most {} bytes", limits::KEY_BYTES_MAX);
            return Ok(Err(types::Error::Denied(text)));
        }
        if content_type.len() > CONTENT_TYPE_BYTES_MAX || !content_type.bytes().all(|b| matches!(b, b' '..=b'~')) {
            let text = format!("a content type has at most {CONTENT_TYPE_BYTES_MAX} bytes of visible ASCII");
            return Ok(Err(types::Error::Invalid(text)));
        }
        self.derived_bytes += bytes.len() as u64;
        // The last of those with one key counts: an attempt that is repeated must not store the first one again.
        self.derived.retain(|(earlier, _, _)| *earlier != key);
        if self.derived.len() >= limits::HOOK_DERIVED_MAX || self.derived_bytes > limits::HOOK_DERIVED_BYTES_MAX {
            let text = format!(
                "an invocation stores at most {} derived objects of {} bytes together",
                limits::HOOK_DERIVED_MAX,
                limits::HOOK_DERIVED_BYTES_MAX
            );
            return Ok(Err(types::Error::Limit(text)));
        }
        self.derived.push((key, content_type, bytes.into()));
        Ok(Ok(()))
    }
}

impl picture::Host for Host {
    fn decode(&mut self, width: u32, height: u32, fit: picture::Fit) -> Answer<picture::Pixels> {
        let decode = || {
            let size = self.parts.object.describe()?.size;
            if size > limits::PICTURE_FILE_BYTES_MAX {
                let most = limits::PICTURE_FILE_BYTES_MAX;
                return Err(types::Error::Limit(format!("the file has {size} bytes, at most {most} are decoded")));
            }
            let file = self.parts.object.read(0, size)?;
            let fit = match fit {
                picture::Fit::Stretch => Fit::Stretch,
                picture::Fit::Pad => Fit::Pad,
            };
            Ok(pictures::decode(&file, width, height, fit)?)
        };
        Ok(decode().map(|pixels| picture::Pixels {
            rgb: pixels.rgb,
            width: pixels.width,
            height: pixels.height,
            original_width: pixels.original.0,
            original_height: pixels.original.1,
        }))
    }
}

fn to_port(port: &Port) -> inference::Port {
    inference::Port { name: port.name.clone(), shape: port.shape.clone() }
}

fn to_tensor(tensor: inference::Tensor) -> Tensor {
    let element = match tensor.element {
        inference::Element::F32 => Element::F32,
        inference::Element::U8 => Element::U8,
        inference::Element::I32 => Element::I32,
        inference::Element::I64 => Element::I64,
    };
    Tensor { name: tensor.name, element, shape: tensor.shape, bytes: tensor.bytes }
}

fn from_tensor(tensor: Tensor) -> inference::Tensor {
    let element = match tensor.element {
        Element::F32 => inference::Element::F32,
        Element::U8 => inference::Element::U8,
        Element::I32 => inference::Element::I32,
        Element::I64 => inference::Element::I64,
    };
    inference::Tensor { name: tensor.name, element, shape: tensor.shape, bytes: tensor.bytes }
}

impl Host {
    /// Runs something slow whose time the deadline does not count.
    fn timed<T>(&mut self, work: impl FnOnce(&HostParts) -> T) -> T {
        let start_ns = self.parts.world.clock.monotonic_ns();
        let done = work(&self.parts);
        let end_ns = self.parts.world.clock.monotonic_ns();
        self.waited += Duration::from_nanos(end_ns.saturating_sub(start_ns));
        done
    }
}

impl inference::Host for Host {
    fn load(&mut self, name: String) -> Answer<Resource<LoadedModel>> {
        if self.models_open >= limits::HOOK_MODELS_OPEN_MAX {
            let text = format!("an invocation holds at most {} models open", limits::HOOK_MODELS_OPEN_MAX);
            return Ok(Err(types::Error::Limit(text)));
        }
        let before = self.waited;
        let loaded = self.timed(|parts| parts.inference.load(&*parts.models, &name));
        // A model that is in memory, or nowhere, costs no more than any call: a guest that asks without end has its deadline.
        if loaded.is_err() || self.waited - before < MODEL_LOAD_COUNTED {
            self.waited = before;
        }
        match loaded {
            Ok(model)
                if self
                    .parts
                    .pins
                    .as_ref()
                    .is_some_and(|pins| pins.get(&name).is_none_or(|pin| pin != model.digest())) =>
            {
                Ok(Err(types::Error::Denied(format!(
                    "model {name} is not the one of the hook's bundle; add the bundle again"
                ))))
            }
            Ok(model) => {
                self.models_open += 1;
                self.models_used.insert(name, model.digest().to_owned());
                Ok(Ok(self.table.push(LoadedModel(model))?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl inference::HostModel for Host {
    fn inputs(&mut self, model: Resource<LoadedModel>) -> Result<Vec<inference::Port>> {
        Ok(self.table.get(&model)?.0.inputs().iter().map(to_port).collect())
    }

    fn outputs(&mut self, model: Resource<LoadedModel>) -> Result<Vec<inference::Port>> {
        Ok(self.table.get(&model)?.0.outputs().iter().map(to_port).collect())
    }

    fn labels(&mut self, model: Resource<LoadedModel>) -> Result<Vec<String>> {
        Ok(self.table.get(&model)?.0.labels().to_vec())
    }

    fn run(&mut self, model: Resource<LoadedModel>, inputs: Vec<inference::Tensor>) -> Answer<Vec<inference::Tensor>> {
        let model = self.table.get(&model)?.0.clone();
        let inputs: Vec<Tensor> = inputs.into_iter().map(to_tensor).collect();
        let outputs = self.timed(|parts| parts.inference.run(&model, &inputs));
        Ok(outputs.map(|outputs| outputs.into_iter().map(from_tensor).collect()).map_err(Into::into))
    }

    fn drop(&mut self, model: Resource<LoadedModel>) -> Result<()> {
        self.table.delete(model)?;
        self.models_open -= 1;
        Ok(())
    }
}

impl results::Host for Host {
    fn publish(&mut self, topic: Option<String>, payload: Vec<u8>) -> Answer<()> {
        if self.results.len() >= limits::HOOK_MESSAGES_MAX {
            self.messages_hit = true;
            return Ok(Err(types::Error::Limit(format!("more than {} messages", limits::HOOK_MESSAGES_MAX))));
        }
        if let Some(topic) = &topic
            && (topic.is_empty() || topic.contains(['+', '#', '\0']))
        {
            return Ok(Err(types::Error::Invalid(format!(
                "{topic:?}: a topic is not empty and has no '+', '#' or NUL"
            ))));
        }
        let bytes = payload.len() + topic.as_ref().map_or(0, String::len);
        if let Err(error) = self.take_output(bytes as u64) {
            return Ok(Err(error));
        }
        self.results.push(HookResult { topic, payload });
        Ok(Ok(()))
    }
}

fn check_state_key(key: &str) -> std::result::Result<(), types::Error> {
    let most = limits::HOOK_STATE_KEY_BYTES_MAX;
    if key.is_empty() || key.len() > most {
        return Err(types::Error::Limit(format!("a state key has 1 to {most} bytes")));
    }
    Ok(())
}

impl Host {
    fn write_state(&mut self, key: String, value: Option<Vec<u8>>) -> std::result::Result<(), types::Error> {
        check_state_key(&key)?;
        let (values, writes, keys) =
            (limits::HOOK_STATE_VALUE_BYTES_MAX, limits::HOOK_STATE_WRITES_MAX, limits::HOOK_STATE_KEYS_MAX);
        if value.as_ref().is_some_and(|value| value.len() > values) {
            return Err(types::Error::Limit(format!("a state value has at most {values} bytes")));
        }
        if !self.state_writes.contains_key(&key) {
            if self.state_writes.len() >= writes {
                return Err(types::Error::Limit(format!("an invocation writes at most {writes} state keys")));
            }
            let failed = types::Error::Failed;
            if value.is_some()
                && self.parts.state.get(&key).map_err(failed)?.is_none()
                && self.parts.state.keys().map_err(failed)? + self.state_writes.len() >= keys
            {
                return Err(types::Error::Limit(format!("a hook keeps at most {keys} state keys")));
            }
        }
        self.state_writes.insert(key, value);
        Ok(())
    }
}

impl state::Host for Host {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        if let Err(error) = check_state_key(&key) {
            return Ok(Err(error));
        }
        if let Some(written) = self.state_writes.get(&key) {
            return Ok(Ok(written.clone()));
        }
        Ok(self.parts.state.get(&key).map_err(types::Error::Failed))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.write_state(key, Some(value)))
    }

    fn delete(&mut self, key: String) -> Answer<()> {
        Ok(self.write_state(key, None))
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.log(level, &message);
        Ok(())
    }
}
