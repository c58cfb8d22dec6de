//! A store on simulated or real drives, driven without HTTP.

use std::path::Path;
use std::sync::Arc;

use aerie::engine::{
    self, BodyFuture, BodySource, CompleteUpload, CreateUpload, DeleteObject, Engine, EngineError, ExpectedDigests,
    NamedPart, ObjectVersion, PutObject, UploadPart,
};
use aerie::meta::{
    Attributes, Bucket, Change, DeleteCause, EventName, Meta, MetaError, Requester, VersionRef, WriteCondition,
};
use aerie::pool::{Pool, PoolOptions};
use aerie::seam::files::RealStorage;
use aerie::seam::sim::{Dice, SimMachine};
use aerie::seam::{Storage, World};
use bytes::Bytes;
use pollster::block_on;

pub const BUCKET: &str = "cargo";

pub type Places = Vec<(String, Option<Arc<dyn Storage>>)>;

/// Folders of their own below `root`, made where they are missing.
pub fn real_places(root: &Path, drives: usize) -> Places {
    let place = |slot: usize| {
        let path = root.join(format!("d{slot}"));
        let storage: Arc<dyn Storage> = Arc::new(RealStorage::create(&path).unwrap());
        (path.display().to_string(), Some(storage))
    };
    (0..drives).map(place).collect()
}

pub struct Store {
    pub engine: Engine,
    pub pool: Arc<Pool>,
    pub meta: Meta,
    pub world: World,
}

pub struct Body(Option<Bytes>);

impl BodySource for Body {
    fn next(&mut self) -> BodyFuture<'_> {
        Box::pin(async move { Ok(self.0.take()) })
    }
}

/// Bytes that differ by the seed, and page by page. Gigabytes of them are made, so that most are copied.
pub fn bytes(length: usize, seed: u64) -> Bytes {
    const PAGE_BYTES: usize = 4096;
    let mut dice = Dice::new(seed);
    let noise: Vec<u8> =
        (0..length.min(PAGE_BYTES).div_ceil(8)).flat_map(|_| dice.below(u64::MAX).to_le_bytes()).collect();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(PAGE_BYTES));
    while bytes.len() < length {
        let page = bytes.len();
        bytes.extend_from_slice(&noise);
        bytes[page..page + 8].copy_from_slice(&dice.below(u64::MAX).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

impl Store {
    /// Opens, or creates, the store. The bucket is made where it is missing.
    pub fn open(places: Places, parity: u8, world: &World) -> Result<Store, String> {
        let options =
            PoolOptions { parity: Some(parity), write_shards_min: None, replace: vec![], world: world.clone() };
        let pool = Pool::open(places, options).map_err(|error| format!("the pool does not open: {error}"))?;
        let opened =
            engine::open_meta(&pool, world.clone()).map_err(|error| format!("the metadata does not open: {error}"));
        let meta = opened.inspect_err(|_| pool.close())?;
        let engine = Engine::new(meta.clone(), pool.clone(), world.clone()).map_err(|error| error.to_string())?;
        let store = Store { engine, pool, meta, world: world.clone() };
        match block_on(store.meta.create_bucket(BUCKET.to_owned(), "local".to_owned(), false, 0)) {
            Ok(()) | Err(MetaError::BucketExists) => Ok(store),
            Err(error) => {
                store.close();
                Err(format!("the bucket cannot be made: {error}"))
            }
        }
    }

    pub fn on(machine: &SimMachine, world: &World) -> Result<Store, String> {
        Store::open(machine.places(), 1, world)
    }

    /// An engine for another thread.
    pub fn another_engine(&self) -> Engine {
        Engine::new(self.meta.clone(), self.pool.clone(), self.world.clone()).expect("the store is open")
    }

    pub fn close(self) {
        self.meta.close();
        self.pool.close();
    }

    pub fn put(&self, key: &str, body: &Bytes) -> Result<String, EngineError> {
        put(&self.engine, key, body)
    }

    pub fn get(&self, key: &str) -> Result<Bytes, EngineError> {
        get(&self.engine, key)
    }

    pub fn delete(&self, key: &str) -> Result<(), EngineError> {
        delete(&self.engine, key)
    }
}

pub fn bucket(engine: &Engine) -> Result<Bucket, EngineError> {
    Ok(engine.reader().bucket(BUCKET)?)
}

pub fn put(engine: &Engine, key: &str, body: &Bytes) -> Result<String, EngineError> {
    let put = PutObject {
        bucket: bucket(engine)?,
        key: key.to_owned(),
        attributes: Attributes::default(),
        sealing: None,
        size_hint: Some(body.len() as u64),
        expected: ExpectedDigests::default(),
        condition: WriteCondition::default(),
        event: EventName::ObjectCreatedPut,
        requester: Requester::default(),
    };
    Ok(block_on(engine.put_object(put, &mut Body(Some(body.clone()).filter(|body| !body.is_empty()))))?.etag)
}

pub fn get(engine: &Engine, key: &str) -> Result<Bytes, EngineError> {
    read(engine, &engine.head_object(&bucket(engine)?, key, VersionRef::Latest)?)
}

/// The bytes of the version that a change speaks of, as a hook reads them; it may be overwritten or deleted since.
pub fn get_changed(engine: &Engine, change: &Change) -> Result<Option<Bytes>, EngineError> {
    let Some(version) = change.version else { return Ok(None) };
    read(engine, &engine.held_object(change.bucket, &change.key, version)?).map(Some)
}

fn read(engine: &Engine, object: &ObjectVersion) -> Result<Bytes, EngineError> {
    let mut reader = engine.read_object(object, 0..object.version.size);
    let mut all = Vec::new();
    while let Some(piece) = block_on(reader.next()) {
        all.extend_from_slice(&piece?);
    }
    Ok(all.into())
}

pub fn delete(engine: &Engine, key: &str) -> Result<(), EngineError> {
    let delete = DeleteObject {
        key: key.to_owned(),
        version: VersionRef::Latest,
        condition: WriteCondition::default(),
        requester: Requester::default(),
        cause: DeleteCause::PLAIN,
    };
    block_on(engine.delete_object(&bucket(engine)?, delete)).map(|_| ())
}

/// Begins an upload in parts, and leaves it.
pub fn begin_upload(engine: &Engine, key: &str) -> Result<String, EngineError> {
    let create = CreateUpload {
        bucket: bucket(engine)?,
        key: key.to_owned(),
        attributes: Attributes::default(),
        sealing: None,
        checksum: None,
        requester: Requester::default(),
    };
    block_on(engine.create_upload(create)).map(|upload| upload.upload_id)
}

/// Uploads in parts.
pub fn put_parts(engine: &Engine, key: &str, parts: &[Bytes]) -> Result<(), EngineError> {
    let id = begin_upload(engine, key)?;
    let upload = engine.upload(&bucket(engine)?, key, &id)?;
    let mut named = Vec::new();
    for (at, body) in parts.iter().enumerate() {
        let number = at as u32 + 1;
        let part = UploadPart {
            upload: upload.clone(),
            number,
            size_hint: Some(body.len() as u64),
            expected: ExpectedDigests::default(),
            customer_key: None,
        };
        let done = block_on(engine.upload_part(part, &mut Body(Some(body.clone()))))?;
        named.push(NamedPart { number, etag: done.etag, checksum: None });
    }
    let complete = CompleteUpload {
        bucket: bucket(engine)?,
        upload,
        parts: named,
        expected_size: None,
        expected_checksum: None,
        condition: WriteCondition::default(),
        requester: Requester::default(),
    };
    block_on(engine.complete_upload(complete)).map(|_| ())
}

/// The key is absent, as far as the answer tells.
pub fn is_absent(error: &EngineError) -> bool {
    matches!(error, EngineError::Meta(MetaError::NoSuchKey) | EngineError::DeleteMarker { .. })
}
