//! Object engine: what S3's operations mean, free of HTTP and of SQL.
//!
//! An upload is written to the pool, then committed in the metadata; nothing is visible before, and nothing is
//! acknowledged before both are durable. One `Engine` per thread; its futures run on any executor and set no timers.

mod bucket;
mod governance;
mod ingest;
mod model;
mod multipart;
mod open;
mod read;
mod seal;
mod write;

pub use crate::meta::check_condition;
pub use bucket::check_bucket_name;
pub use model::*;
pub use open::open_meta;
pub use read::{ObjectReader, version_id};

use std::cell::RefCell;
use std::sync::Arc;

use crate::crypt::{EncryptionRule, KeyRing};
use crate::limits;
use crate::meta::{Meta, Reader};
use crate::pool::Pool;
use crate::seam::World;

/// The engine of one thread.
#[derive(Debug)]
pub struct Engine {
    meta: Meta,
    reader: Reader,
    pool: Arc<Pool>,
    world: World,
    lifecycle: RefCell<governance::LifecycleMemory>,
    /// Without it nothing can be sealed or opened.
    keys: Option<Arc<KeyRing>>,
    /// How objects are sealed where neither the request nor the bucket says.
    store_rule: Option<EncryptionRule>,
}

impl Engine {
    /// An engine without keys; see `with_keys`.
    pub fn new(meta: Meta, pool: Arc<Pool>, world: World) -> Result<Engine, EngineError> {
        let reader = meta.reader()?;
        Ok(Engine { meta, reader, pool, world, lifecycle: RefCell::default(), keys: None, store_rule: None })
    }

    /// The same engine with the store's keys, and its rule for buckets that have none.
    pub fn with_keys(self, keys: Arc<KeyRing>, store_rule: Option<EncryptionRule>) -> Engine {
        Engine { keys: Some(keys), store_rule, ..self }
    }

    pub fn world(&self) -> &World {
        &self.world
    }
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
    pub fn meta(&self) -> &Meta {
        &self.meta
    }
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

/// Checks a key by S3's rules: any text of 1 to 1,024 bytes.
pub fn check_key(key: &str) -> Result<(), EngineError> {
    if key.is_empty() {
        return Err(EngineError::InvalidRequest("the key is empty; name the object".to_owned()));
    }
    if key.len() > limits::KEY_BYTES_MAX {
        return Err(EngineError::KeyTooLong { limit: limits::KEY_BYTES_MAX });
    }
    Ok(())
}
