//! A store on real folders, with objects and hooks in it.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use pollster::block_on;

use crate::crypt::{KeyRing, Sealing};
use crate::engine::{Engine, ExpectedDigests, ObjectVersion, PutObject};
use crate::hook::store::{Bytewise, StoreError};
use crate::hook::{Grants, HookFault, HookRunner, HookSettings, Hooks, Invocation, Manifest, Outcome};
use crate::inference::InferenceSettings;
use crate::meta::{
    Attributes, Change, Copy, EventName, ListQuery, Listed, Meta, OutboxUpdate, Requester, VersionRef, WriteCondition,
};
use crate::pool::{Pool, PoolOptions};
use crate::seam::Storage;
use crate::seam::files::RealStorage;
use crate::seam::real::world;

pub const BUCKET: &str = "pictures";

pub struct Shelf {
    pub folder: tempfile::TempDir,
    pub pool: Arc<Pool>,
    pub meta: Meta,
    pub engine: Rc<Engine>,
    pub hooks: Arc<Hooks>,
}

impl Shelf {
    pub fn new() -> Shelf {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let storage = RealStorage::create(&folder.path().join(name)).unwrap();
            (name.to_owned(), Some(Arc::new(storage) as Arc<dyn Storage>))
        };
        let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world: world() };
        let pool = Pool::open(vec![place("d0"), place("d1")], options).unwrap();
        let copies = pool.copies().into_iter().map(|(slot, storage, current)| Copy { slot, storage, current });
        let failed = Arc::new(|slot| -> bool { panic!("copy {slot} failed") });
        let meta = Meta::open(copies.collect(), &pool.id(), failed, world()).unwrap();
        block_on(meta.create_bucket(BUCKET.to_owned(), String::new(), false, 0)).unwrap();
        let storages = pool.copies().into_iter().map(|(_, storage, _)| storage).collect();
        let keys = Arc::new(KeyRing::open(storages, 0, None, world()).unwrap());
        let engine = Rc::new(Engine::new(meta.clone(), pool.clone(), world()).unwrap().with_keys(keys, None));
        Shelf { folder, pool, meta, engine, hooks: hooks() }
    }

    /// Hooks as a restart finds them: nothing is in memory.
    pub fn restart(&mut self) {
        self.hooks = hooks();
    }

    pub fn add(&self, name: &str, module: &[u8], grants: Grants) -> Result<Manifest, StoreError> {
        block_on(self.hooks.add(&self.engine, name, Bytes::copy_from_slice(module), grants))
    }

    pub fn put(&self, key: &str, bytes: &[u8]) -> ObjectVersion {
        self.put_sealed(key, bytes, None)
    }

    pub fn put_sealed(&self, key: &str, bytes: &[u8], sealing: Option<Sealing>) -> ObjectVersion {
        let put = PutObject {
            bucket: self.engine.bucket(BUCKET).unwrap(),
            key: key.to_owned(),
            attributes: Attributes { content_type: Some("image/jpeg".to_owned()), ..Attributes::default() },
            sealing,
            size_hint: Some(bytes.len() as u64),
            expected: ExpectedDigests::default(),
            condition: WriteCondition::default(),
            event: EventName::ObjectCreatedPut,
            requester: Requester { principal: "somebody".to_owned(), ..Requester::default() },
        };
        let mut body = Bytewise(Some(Bytes::copy_from_slice(bytes)));
        block_on(self.engine.put_object(put, &mut body)).unwrap();
        self.head(key).unwrap()
    }

    pub fn head(&self, key: &str) -> Option<ObjectVersion> {
        self.engine.head_object(&self.engine.bucket(BUCKET).unwrap(), key, VersionRef::Latest).ok()
    }

    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let query = ListQuery {
            bucket: self.engine.bucket(bucket).unwrap().id,
            prefix: String::new(),
            delimiter: None,
            after: None,
            limit: 1000,
        };
        let key = |entry| match entry {
            Listed::Object(version) => version.key,
            Listed::CommonPrefix(prefix) => prefix,
        };
        self.engine.list(&query).unwrap().entries.into_iter().map(key).collect()
    }

    /// Runs a hook for the upload of an object, as the outbox does.
    pub fn run(&self, hook: &str, object: &ObjectVersion) -> Result<Outcome, HookFault> {
        let version = &object.version;
        let change = Change {
            sequence: version.sequence,
            event: EventName::ObjectCreatedPut,
            time_ms: version.modified_ms,
            bucket: self.engine.bucket(BUCKET).unwrap().id,
            bucket_name: BUCKET.to_owned(),
            key: version.key.clone(),
            version_id: None,
            version: Some(version.sequence),
            size: version.size,
            etag: version.etag.clone(),
            requester: Requester { principal: "somebody".to_owned(), ..Requester::default() },
        };
        let event_id = format!("{:016x}-{hook}", version.sequence.0);
        let record_json = "{}".to_owned();
        let invocation = Invocation { event_id, hook: hook.to_owned(), change, record_json, attempt: 1 };
        self.hooks.run(&self.engine, &invocation)
    }

    /// Commits what an invocation leaves, as the outbox does.
    pub fn commit(&self, hook: &str, outcome: &Outcome) {
        let update = OutboxUpdate { properties: outcome.properties(hook), ..OutboxUpdate::default() };
        block_on(self.meta.update_outbox(update)).unwrap();
    }

    /// The file that keeps the compiled code of a module.
    pub fn code(&self, digest: &str) -> PathBuf {
        self.folder.path().join(format!("d0/cache/{digest}.code"))
    }

    /// How often hooks were compiled since the last restart.
    pub fn compiled(&self) -> u64 {
        self.hooks.cache.lock().unwrap().misses
    }
}

fn hooks() -> Arc<Hooks> {
    let settings = HookSettings { instances: 2, ..HookSettings::default() };
    Arc::new(Hooks::new(settings, InferenceSettings::default()).unwrap())
}

/// Grants that let a hook write.
pub fn grants(tags: bool, derive: Option<&str>) -> Grants {
    Grants { tags, derive: derive.map(str::to_owned), ..Grants::default() }
}
