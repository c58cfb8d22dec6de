//! Hooks: WASM components that look at each new object, in a sandbox.
//!
//! A hook is installed in the store itself (`store`), compiled once and shared (`installation`, `installed`), and
//! instantiated afresh for each invocation (`invocation`, `runtime`). What it can reach is the WIT contract (`contract`, `host`), within the bounds of its
//! manifest. Runs on the outbox's hook threads, or on a core for a transform. Knows nothing of rules, retries or MQTT.

pub mod bundle;
mod cache;
mod contract;
mod host;
mod installation;
mod installed;
mod invocation;
mod journal;
mod manifest;
mod model;
mod object;
mod picture;
mod rate;
mod reader;
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
pub use store::{StoreError, check_name};
pub use trial::{Trial, TrialObject, TrialReport};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::engine::Engine;
use crate::inference::{Inference, InferenceSettings};
use cache::CodeCache;
use installed::Installed;
use rate::Rates;
use runtime::Runtime;

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

impl Hooks {
    pub fn new(settings: HookSettings, inference: InferenceSettings) -> Result<Hooks, HookFault> {
        settings.check().map_err(HookFault::Module)?;
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

    pub async fn list(&self, engine: &Engine) -> Result<Vec<Manifest>, StoreError> {
        store::hooks(engine).await
    }

    /// Ends the sandbox's own thread.
    pub fn stop(&self) {
        self.runtime.stop();
    }
}

fn object_fault(error: impl std::fmt::Display) -> HookFault {
    HookFault::Object(error.to_string())
}

/// SHA-256 in hex.
fn digest(bytes: &[u8]) -> String {
    crate::hash::hex_encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}
