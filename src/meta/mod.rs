//! Metadata: the only place with SQL. A commit here is what makes a version visible and durable.
//!
//! One writer thread owns the write connection and commits in groups: many mutations, one transaction, one sync round.
//! Each thread that reads has a `Reader` of its own. The database is mirrored to m+1 drives. Layout: FORMAT.md.
//! Absent here: HTTP, hashes of bodies, the bytes of extents, and any decision about what an event leads to.

mod bucket;
mod change;
mod checkpoint;
mod files;
mod list;
mod log;
mod model;
mod object;
mod open;
mod outbox;
mod reader;
mod repair;
mod row;
mod schema;
mod space;
mod upload;
mod vfs;
mod writer;

#[cfg(test)]
mod tests;

pub use model::*;
pub use object::check_condition;
pub use outbox::*;
pub use reader::Reader;
pub use space::{ExtentCursor, ExtentPage, Garbage, HealTask, ReferredExtents};
pub use upload::CompletedUpload;

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
    #[error("a part was replaced or removed meanwhile; list the parts and complete the upload again")]
    PartChanged,
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

impl From<rusqlite::Error> for MetaError {
    fn from(error: rusqlite::Error) -> MetaError {
        use rusqlite::ErrorCode;
        if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_DATA) {
            return MetaError::Damaged("a page has a wrong checksum in every copy".to_owned());
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => MetaError::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => MetaError::Damaged(error.to_string()),
            Some(_) => MetaError::Unavailable(error.to_string()),
            // Not SQLite's word but a column that does not hold what this program writes.
            None => MetaError::Damaged(error.to_string()),
        }
    }
}

/// One place of the mirrored database.
#[derive(Debug, Clone)]
pub struct Copy {
    pub slot: usize,
    pub storage: Arc<dyn Storage>,
    /// What the labels say: this copy missed no acknowledged commit. Never true for a drive that joins a pool that has
    /// been used: with no database on any drive, a current copy means that the pool is new.
    pub current: bool,
}

/// Called with the slot of a copy that failed, before any commit that it misses is acknowledged. Any thread that uses the
/// metadata may call it; it records the failure in the labels before it returns, and does not use the metadata.
pub type OnCopyFailed = Arc<dyn Fn(usize) + Send + Sync>;

/// Handle to the metadata; cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct Meta {
    writer: writer::WriterHandle,
    database: Arc<open::Database>,
    /// Only its clock is used: to stamp what callers give no time for.
    world: World,
}

impl Meta {
    /// Opens the database from its copies, repairing those that are behind; creates it where none exists.
    /// `pool_id` is kept in the database and compared: a foreign one is refused.
    pub fn open(
        copies: Vec<Copy>,
        pool_id: &str,
        on_copy_failed: OnCopyFailed,
        world: World,
    ) -> Result<Meta, MetaError> {
        let database = Arc::new(repair::open_copies(copies, pool_id, on_copy_failed, world.clone())?);
        let connection = open::connect(&database)?;
        schema::check(&connection, pool_id)?;
        schema::upgrade(&connection)?;
        let checkpointer = checkpoint::Checkpointer::start(open::connect(&database)?, database.clone())?;
        let writer = writer::WriterHandle::start(connection, checkpointer, database.clone())?;
        Ok(Meta { writer, database, world })
    }

    /// Slots whose copies are complete: what the labels are to say. After `open` these are all copies that could be
    /// repaired; later, those that have not failed.
    pub fn current_copies(&self) -> Vec<usize> {
        self.database.current_slots()
    }

    /// `listener` is called on the writer's thread after each group commit that wrote to the outbox; it must not block.
    pub fn listen(&self, listener: Arc<dyn Fn() + Send + Sync>) {
        self.writer.listen(listener);
    }

    /// A small named value that belongs to the whole pool (keys, cursors); `None` removes it.
    pub async fn set_property(&self, name: String, value: Option<String>) -> Result<(), MetaError> {
        self.writer.write(move |group| set_property(group.connection(), &name, value.as_deref())).await
    }

    /// Several of them in one transaction.
    pub async fn set_properties(&self, values: Vec<(String, Option<String>)>) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                values.iter().try_for_each(|(name, value)| set_property(group.connection(), name, value.as_deref()))
            })
            .await
    }

    /// Grows with each commit that changed a bucket's row or configuration, before that commit is acknowledged. What is
    /// remembered about buckets holds as long as this stays as it was before it was read.
    pub fn bucket_changes(&self) -> u64 {
        self.writer.bucket_changes()
    }

    /// A read connection for the calling thread.
    pub fn reader(&self) -> Result<Reader, MetaError> {
        Reader::open(&self.database)
    }

    /// Finishes queued commits, checkpoints and stops the writer thread. The files are released when the last `Meta`
    /// and `Reader` are gone.
    pub fn close(&self) {
        self.writer.stop();
    }
}

fn set_property(connection: &rusqlite::Connection, name: &str, value: Option<&str>) -> Result<(), MetaError> {
    match value {
        Some(value) => {
            connection.prepare_cached("INSERT OR REPLACE INTO property VALUES(?1, ?2)")?.execute([name, value])?
        }
        None => connection.prepare_cached("DELETE FROM property WHERE name = ?1")?.execute([name])?,
    };
    Ok(())
}

/// The text by which S3 clients know a version: its sequence in 16 hexadecimal digits.
pub fn version_id_text(sequence: Sequence) -> String {
    format!("{:016x}", sequence.0)
}

/// Reads a version id; `None` when it was never one of ours. `null` is `VersionRef::Null`.
pub fn parse_version_id(text: &str) -> Option<VersionRef> {
    if text == "null" {
        return Some(VersionRef::Null);
    }
    let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number =
        u64::from_str_radix(text, 16).ok().filter(|number| digits && (1..=i64::MAX as u64).contains(number))?;
    Some(VersionRef::Exact(Sequence(number)))
}
