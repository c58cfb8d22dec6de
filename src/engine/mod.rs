//! Object engine: what S3's operations mean, free of HTTP and of SQL.
//!
//! An upload is written to the pool, then committed in the metadata; nothing is visible before, and nothing is
//! acknowledged before both are durable. One `Engine` per thread; its futures run on any executor and set no timers.

mod model;

pub use model::*;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::meta::{self, Bucket, BucketConfig, Meta, Reader, VersionRef, Versioning};
use crate::pool::Pool;
use crate::seam::World;

/// The engine of one thread.
#[derive(Debug)]
pub struct Engine {
    meta: Meta,
    reader: Reader,
    pool: Arc<Pool>,
    world: World,
}

impl Engine {
    pub fn new(meta: Meta, pool: Arc<Pool>, world: World) -> Result<Engine, EngineError> {
        let reader = meta.reader()?;
        Ok(Engine { meta, reader, pool, world })
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

    // Buckets.
    pub async fn create_bucket(&self, _name: &str, _region: &str, _object_lock: bool) -> Result<(), EngineError> {
        todo!("engine")
    }
    pub fn bucket(&self, _name: &str) -> Result<Bucket, EngineError> {
        todo!("engine")
    }
    pub fn buckets(&self) -> Result<Vec<Bucket>, EngineError> {
        todo!("engine")
    }
    pub async fn delete_bucket(&self, _name: &str) -> Result<(), EngineError> {
        todo!("engine")
    }
    pub async fn set_versioning(&self, _bucket: &Bucket, _state: Versioning) -> Result<(), EngineError> {
        todo!("engine")
    }
    pub fn bucket_config(&self, _bucket: &Bucket, _kind: BucketConfig) -> Result<Option<String>, EngineError> {
        todo!("engine")
    }
    pub async fn set_bucket_config(&self, _bucket: &Bucket, _kind: BucketConfig, _document: Option<String>) -> Result<(), EngineError> {
        todo!("engine")
    }

    // Objects.
    pub async fn put_object(&self, _put: PutObject, _body: &mut dyn BodySource) -> Result<PutDone, EngineError> {
        todo!("engine")
    }
    /// The version asked for. A delete marker is an error that carries the marker (`EngineError::DeleteMarker`).
    pub fn head_object(&self, _bucket: &Bucket, _key: &str, _version: VersionRef) -> Result<ObjectVersion, EngineError> {
        todo!("engine")
    }
    /// Starts to read bytes of a version that `head_object` gave.
    pub fn read_object(&self, _version: &ObjectVersion, _range: Range<u64>) -> ObjectReader {
        todo!("engine")
    }
    pub async fn delete_object(&self, _bucket: &Bucket, _delete: DeleteObject) -> Result<meta::Deleted, EngineError> {
        todo!("engine")
    }
    pub async fn copy_object(&self, _copy: CopyObject) -> Result<PutDone, EngineError> {
        todo!("engine")
    }
    pub async fn set_tags(&self, _bucket: &Bucket, _key: &str, _version: VersionRef, _tags: Tags, _requester: meta::Requester) -> Result<meta::Committed, EngineError> {
        todo!("engine")
    }

    // Listings.
    pub fn list(&self, _query: &meta::ListQuery) -> Result<meta::ListPage<meta::Listed>, EngineError> {
        todo!("engine")
    }
    pub fn list_versions(&self, _query: &meta::VersionsQuery) -> Result<meta::ListPage<meta::ListedVersion>, EngineError> {
        todo!("engine")
    }

    // Multipart uploads.
    pub async fn create_upload(&self, _create: CreateUpload) -> Result<String, EngineError> {
        todo!("engine")
    }
    pub async fn upload_part(&self, _part: UploadPart, _body: &mut dyn BodySource) -> Result<PutDone, EngineError> {
        todo!("engine")
    }
    pub async fn upload_part_copy(&self, _part: UploadPart, _source: &ObjectVersion, _range: Range<u64>) -> Result<PutDone, EngineError> {
        todo!("engine")
    }
    pub fn upload(&self, _bucket: &Bucket, _key: &str, _upload_id: &str) -> Result<meta::Upload, EngineError> {
        todo!("engine")
    }
    pub fn list_uploads(&self, _query: &meta::UploadsQuery) -> Result<meta::ListPage<meta::ListedUpload>, EngineError> {
        todo!("engine")
    }
    pub fn list_parts(&self, _upload: &meta::Upload, _number_marker: u32, _limit: usize) -> Result<meta::ListPage<meta::Part>, EngineError> {
        todo!("engine")
    }
    pub async fn complete_upload(&self, _complete: CompleteUpload) -> Result<PutDone, EngineError> {
        todo!("engine")
    }
    pub async fn abort_upload(&self, _bucket: &Bucket, _key: &str, _upload_id: &str) -> Result<(), EngineError> {
        todo!("engine")
    }
}

/// The bytes of an object, in order, verified.
#[derive(Debug)]
pub struct ObjectReader {}

impl ObjectReader {
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        todo!("engine")
    }
}
