//! Models in memory, by name, within a budget of file bytes.
//!
//! Invariant: the files of the cached models sum up to at most the budget. A model that is in use lives on after it was
//! evicted, until its last user lets it go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{InferenceError, InferenceSettings, LoadedModel, ModelSource};

#[derive(Debug)]
pub(super) struct Cache {
    budget_bytes: u64,
    held: Mutex<Held>,
    /// Loads go one at a time, so that threads that miss together do not load twice; hits pass by.
    loading: Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    models: HashMap<String, Entry>,
    bytes: u64,
    /// Counts uses: the least recently used has the lowest.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    stamp: String,
    model: Arc<LoadedModel>,
    used: u64,
}

impl Cache {
    pub fn new(budget_bytes: u64) -> Cache {
        Cache { budget_bytes, held: Mutex::default(), loading: Mutex::default() }
    }

    pub fn loaded_bytes(&self) -> u64 {
        lock(&self.held).bytes
    }

    pub fn load(
        &self,
        source: &dyn ModelSource,
        name: &str,
        settings: &InferenceSettings,
    ) -> Result<Arc<LoadedModel>, InferenceError> {
        let failed = |reason| InferenceError::Source { name: name.to_owned(), reason };
        let missing = || InferenceError::NoSuchModel(name.to_owned());
        let Some(stamp) = source.stamp(name).map_err(failed)? else {
            lock(&self.held).remove(name);
            return Err(missing());
        };
        if let Some(model) = lock(&self.held).get(name, &stamp) {
            return Ok(model);
        }
        let _one_at_a_time = lock(&self.loading);
        if let Some(model) = lock(&self.held).get(name, &stamp) {
            return Ok(model);
        }
        let limit = settings.model_bytes_max.min(self.budget_bytes);
        let file = source.read(name, limit).map_err(failed)?.ok_or_else(missing)?;
        let bytes = file.bytes.len() as u64;
        if bytes > limit {
            return Err(InferenceError::ModelTooLarge { name: name.to_owned(), bytes, limit });
        }
        // Room is made before the model is parsed, so that both are never in memory together.
        lock(&self.held).make_room(name, bytes, self.budget_bytes);
        let model = Arc::new(LoadedModel::parse(name, file)?);
        lock(&self.held).insert(name, stamp, model.clone());
        Ok(model)
    }
}

impl Held {
    fn get(&mut self, name: &str, stamp: &str) -> Option<Arc<LoadedModel>> {
        self.uses += 1;
        let entry = self.models.get_mut(name).filter(|entry| entry.stamp == stamp)?;
        entry.used = self.uses;
        Some(entry.model.clone())
    }

    fn make_room(&mut self, name: &str, bytes: u64, budget: u64) {
        self.remove(name);
        while self.bytes + bytes > budget {
            let oldest = self.models.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    fn insert(&mut self, name: &str, stamp: String, model: Arc<LoadedModel>) {
        self.uses += 1;
        self.bytes += model.file_bytes();
        self.models.insert(name.to_owned(), Entry { stamp, model, used: self.uses });
    }

    fn remove(&mut self, name: &str) {
        if let Some(entry) = self.models.remove(name) {
            self.bytes -= entry.model.file_bytes();
        }
    }
}

/// The tables hold nothing half-done across a panic: a poisoned lock is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
