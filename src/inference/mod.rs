//! Inference: ONNX models run on the host, loaded once for all hooks, within budgets.
//!
//! A model comes by name from a `ModelSource`, which lives on the calling thread; what was loaded is shared by all
//! threads until its stamp in the source changes or the memory budget wants it gone. Runs happen on worker threads of
//! their own (`InferenceSettings::runs`), so that a caller's wait has a bound although a run cannot be broken off.
//! Tensors are bytes here; nothing above knows the backend. Absent: WASM, objects, metadata.

mod cache;
mod error;
mod framing;
mod model;
mod tensor;
mod workers;

#[cfg(test)]
pub(crate) mod onnx;
#[cfg(test)]
mod tests;

pub use error::InferenceError;
pub use model::{LoadedModel, Port};
pub use tensor::{Element, Tensor};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;
use cache::Cache;
use workers::Workers;

/// Budgets of inference on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceSettings {
    /// Bytes of model files that stay loaded; the longest unused goes first. (The backend needs up to twice that.)
    pub memory_bytes: u64,
    /// Bytes of one model file.
    pub model_bytes_max: u64,
    /// Bytes of all inputs of one run.
    pub input_bytes_max: u64,
    /// Bytes of all outputs of one run.
    pub output_bytes_max: u64,
    /// Runs at the same time, each on a worker thread of its own. Others wait.
    pub runs: usize,
    /// Threads within one run.
    pub threads: usize,
    /// Milliseconds that a caller waits for one run, from its start.
    pub run_ms_max: u64,
    /// Milliseconds that a caller waits for a worker.
    pub wait_ms_max: u64,
}

impl Default for InferenceSettings {
    fn default() -> InferenceSettings {
        InferenceSettings {
            memory_bytes: limits::MODEL_MEMORY_BYTES,
            model_bytes_max: limits::MODEL_BYTES_MAX,
            input_bytes_max: limits::TENSOR_BYTES_MAX,
            output_bytes_max: limits::TENSOR_BYTES_MAX,
            runs: 1,
            threads: 1,
            run_ms_max: limits::INFERENCE_RUN_MAX.as_millis() as u64,
            wait_ms_max: limits::INFERENCE_WAIT_MAX.as_millis() as u64,
        }
    }
}

/// A model as it is stored.
#[derive(Debug, Clone, Default)]
pub struct ModelFile {
    /// ONNX.
    pub bytes: Vec<u8>,
    /// One a class, in order; empty when there are none.
    pub labels: Vec<String>,
}

/// Where models come from by name.
pub trait ModelSource {
    /// Changes whenever the model does; `None` when there is no such model. Cheap: asked at each load.
    fn stamp(&self, name: &str) -> Result<Option<String>, String>;
    /// The model; `None` when there is no such model. Refuses a file of more than `bytes_max` bytes with `Err`.
    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<ModelFile>, String>;
}

/// Loaded models and the threads that run them; shared by all hook threads.
#[derive(Debug)]
pub struct Inference {
    settings: InferenceSettings,
    cache: Cache,
    workers: Workers,
}

impl Inference {
    pub fn new(settings: InferenceSettings) -> Inference {
        let cache = Cache::new(settings.memory_bytes);
        let workers = Workers::new(&settings);
        Inference { settings, cache, workers }
    }

    pub fn settings(&self) -> &InferenceSettings {
        &self.settings
    }

    /// The model by that name, as `source` has it now.
    pub fn load(&self, source: &dyn ModelSource, name: &str) -> Result<Arc<LoadedModel>, InferenceError> {
        self.cache.load(source, name, &self.settings)
    }

    /// Runs a model on a worker. Waits at most `wait_ms_max` for one, then at most `run_ms_max` for the outputs.
    pub fn run(&self, model: &Arc<LoadedModel>, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        let bytes: u64 = inputs.iter().map(|input| input.bytes.len() as u64).sum();
        let limit = self.settings.input_bytes_max;
        if bytes > limit {
            return Err(InferenceError::Inputs { bytes, limit });
        }
        let values = model.bind(inputs)?;
        self.workers.run(model, values)
    }

    /// Bytes of the model files that are loaded now.
    pub fn loaded_bytes(&self) -> u64 {
        self.cache.loaded_bytes()
    }
}
