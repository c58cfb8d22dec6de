//! Reads, on a connection that belongs to the calling thread.

use super::model::*;
use super::MetaError;

/// A read connection. One per thread; every call sees all that was committed before it began.
#[derive(Debug)]
pub struct Reader {
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

impl Reader {
    pub fn bucket(&self, _name: &str) -> Result<Bucket, MetaError> {
        todo!("meta")
    }
    pub fn buckets(&self) -> Result<Vec<Bucket>, MetaError> {
        todo!("meta")
    }
    pub fn bucket_config(&self, _bucket: BucketId, _kind: BucketConfig) -> Result<Option<String>, MetaError> {
        todo!("meta")
    }
    /// The version asked for, delete markers included (as S3, `Latest` may be a marker).
    pub fn version(&self, _bucket: BucketId, _key: &str, _version: VersionRef) -> Result<Version, MetaError> {
        todo!("meta")
    }
    pub fn list(&self, _query: &ListQuery) -> Result<ListPage<Listed>, MetaError> {
        todo!("meta")
    }
    pub fn list_versions(&self, _query: &VersionsQuery) -> Result<ListPage<ListedVersion>, MetaError> {
        todo!("meta")
    }
    pub fn upload(&self, _bucket: BucketId, _key: &str, _upload_id: &str) -> Result<Upload, MetaError> {
        todo!("meta")
    }
    pub fn list_uploads(&self, _query: &UploadsQuery) -> Result<ListPage<ListedUpload>, MetaError> {
        todo!("meta")
    }
    /// Parts in order, from after `number_marker`.
    pub fn parts(&self, _upload_id: &str, _number_marker: u32, _limit: usize) -> Result<ListPage<Part>, MetaError> {
        todo!("meta")
    }
}
