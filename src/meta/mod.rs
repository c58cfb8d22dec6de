//! Metadata: the only place with SQL. A commit here is what makes a version visible and durable.
//!
//! One writer thread owns the write connection and commits in groups: many mutations, one transaction, one sync round.
//! Each thread that reads has a `Reader` of its own. The database is mirrored to m+1 drives.

mod model;
mod outbox;
mod reader;
mod writer;

pub use model::*;
pub use outbox::*;
pub use reader::Reader;

use std::sync::Arc;

use crate::seam::{Storage, World};

/// Why the metadata could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("no such key")]
    NoSuchKey,
    #[error("no such version")]
    NoSuchVersion,
    #[error("no such upload")]
    NoSuchUpload,
    #[error("a condition of the request does not hold")]
    ConditionFailed,
    #[error("too many changes are waiting; try again")]
    Busy,
    #[error("the drives are full; delete objects or add space")]
    Full,
    #[error("metadata is unavailable: {0}")]
    Unavailable(String),
    #[error("metadata is damaged: {0}; run `aerie verify`")]
    Damaged(String),
}

/// One place of the mirrored database.
#[derive(Debug, Clone)]
pub struct Copy {
    pub slot: usize,
    pub storage: Arc<dyn Storage>,
    /// What the labels say: this copy missed no acknowledged commit.
    pub current: bool,
}

/// Called with the slot of a copy that failed, before any commit that it misses is acknowledged.
pub type OnCopyFailed = Arc<dyn Fn(usize) + Send + Sync>;

/// Handle to the metadata; cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct Meta {
    writer: writer::WriterHandle,
}

impl Meta {
    /// Opens the database from its copies, repairing those that are behind; creates it where none exists.
    /// `pool_id` is kept in the database and compared: a foreign one is refused.
    pub fn open(_copies: Vec<Copy>, _pool_id: &str, _on_copy_failed: OnCopyFailed, _world: World) -> Result<Meta, MetaError> {
        todo!("meta")
    }

    /// `listener` is called on the writer's thread after each group commit that wrote to the outbox; it must not block.
    pub fn listen(&self, _listener: Arc<dyn Fn() + Send + Sync>) {
        todo!("meta")
    }

    /// A small named value that belongs to the whole pool (keys, cursors); `None` removes it.
    pub async fn set_property(&self, _name: String, _value: Option<String>) -> Result<(), MetaError> {
        todo!("meta")
    }

    /// A read connection for the calling thread.
    pub fn reader(&self) -> Result<Reader, MetaError> {
        todo!("meta")
    }

    pub async fn create_bucket(&self, _name: String, _region: String, _object_lock: bool, _now_ms: i64) -> Result<(), MetaError> {
        todo!("meta")
    }
    pub async fn delete_bucket(&self, _name: String) -> Result<(), MetaError> {
        todo!("meta")
    }
    pub async fn set_versioning(&self, _bucket: BucketId, _state: Versioning) -> Result<(), MetaError> {
        todo!("meta")
    }
    /// Sets or, with `None`, removes a configuration document. `watched` changes only with a notification document.
    pub async fn set_bucket_config(&self, _bucket: BucketId, _kind: BucketConfig, _document: Option<String>, _watched: Option<bool>) -> Result<(), MetaError> {
        todo!("meta")
    }

    /// Commits a version with its change; what it replaces goes to reclaim in the same transaction.
    pub async fn put_version(&self, _version: NewVersion) -> Result<Committed, MetaError> {
        todo!("meta")
    }
    /// Deletes or marks; deleting what is not there succeeds, as in S3.
    pub async fn delete_version(&self, _delete: DeleteVersion) -> Result<Deleted, MetaError> {
        todo!("meta")
    }
    /// Replaces a version's tags, with the change. (Content and modification time stay.)
    pub async fn set_tags(&self, _bucket: BucketId, _key: String, _version: VersionRef, _tags: std::collections::BTreeMap<String, String>, _now_ms: i64, _requester: Requester) -> Result<Committed, MetaError> {
        todo!("meta")
    }

    pub async fn create_upload(&self, _upload: Upload) -> Result<(), MetaError> {
        todo!("meta")
    }
    /// Adds or replaces a part; a replaced part's bytes go to reclaim.
    pub async fn put_part(&self, _bucket: BucketId, _upload_id: String, _part: Part) -> Result<(), MetaError> {
        todo!("meta")
    }
    /// Turns an upload into a version: the chosen parts' bodies become the version's, the others go to reclaim.
    /// `version.body` holds the concatenated extents of the chosen parts; `parts` are their numbers and etags, checked again here.
    pub async fn complete_upload(&self, _upload_id: String, _parts: Vec<(u32, String)>, _version: NewVersion) -> Result<Committed, MetaError> {
        todo!("meta")
    }
    pub async fn abort_upload(&self, _bucket: BucketId, _key: String, _upload_id: String) -> Result<(), MetaError> {
        todo!("meta")
    }

    /// Finishes queued commits, checkpoints and stops the writer thread.
    pub fn close(&self) {
        todo!("meta")
    }
}

/// The text by which S3 clients know a version.
pub fn version_id_text(_sequence: Sequence) -> String {
    todo!("meta")
}

/// Reads a version id; `None` when it was never one of ours. `null` is `VersionRef::Null`.
pub fn parse_version_id(_text: &str) -> Option<VersionRef> {
    todo!("meta")
}
