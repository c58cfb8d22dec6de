//! Metadata: the only place with SQL. A commit here is what makes a version visible and durable.
//!
//! One writer thread owns the write connection and commits in groups: many mutations, one transaction, one sync round.
//! Each thread that reads has a `Reader` of its own. The database is mirrored to m+1 drives. Layout: FORMAT.md.
//! Absent here: HTTP, hashes of bodies, the bytes of extents, and any decision about what an event leads to.

mod audit;
mod broker;
mod bucket;
mod change;
mod checkpoint;
mod feed;
mod files;
mod held;
mod known;
mod list;
mod lock;
mod log;
mod model;
mod object;
mod open;
mod outbox;
mod reader;
mod repair;
mod retention;
mod rolling;
mod row;
mod schema;
mod space;
mod upload;
mod usage;
mod vfs;
mod writer;

#[cfg(test)]
mod tests;

pub use broker::{BrokerUpdate, StoredRetained, StoredSession};
pub use change::EarlierRules;
pub use feed::{ChangeTap, Wants};
pub use model::*;
pub use object::check_condition;
pub use outbox::*;
pub use reader::Reader;
pub use retention::RetentionClockStatus;
pub use rolling::ROLLING_PRINCIPAL;
pub use space::{ExtentCursor, ExtentPage, Garbage, HealTask, ReferredExtents};
pub use upload::CompletedUpload;

use std::sync::Arc;

use retention::RetentionClock;

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
    /// Retention or a legal hold is in force.
    #[error("the version is protected by object lock")]
    Locked,
    #[error("the bucket has no object lock; turn it on with PutObjectLockConfiguration")]
    NoObjectLock,
    #[error("object lock needs versioning, enabled before and for ever after")]
    LockNeedsVersioning,
    #[error("the retain until date is past; name one in the future")]
    RetainUntilPast,
    #[error("the bucket's quota is used up; delete objects, or raise it with `aerie bucket quota`")]
    QuotaExceeded,
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
/// metadata may call it; it records the failure in the labels before it returns, and does not use the metadata. `false`:
/// that could not be recorded; it is called again, and no commit is acknowledged before it was.
pub type OnCopyFailed = Arc<dyn Fn(usize) -> bool + Send + Sync>;

/// Handle to the metadata; cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct Meta {
    writer: writer::WriterHandle,
    database: Arc<open::Database>,
    feed: Arc<feed::Feed>,
    retention: Arc<RetentionClock>,
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
        let retention = Arc::new(retention_clock(&connection, &world)?);
        let checkpointer = checkpoint::Checkpointer::start(open::connect(&database)?, database.clone())?;
        let feed = Arc::new(feed::Feed::default());
        let writer =
            writer::WriterHandle::start(connection, checkpointer, database.clone(), feed.clone(), retention.clone())?;
        Ok(Meta { writer, database, feed, retention, world })
    }

    /// How the clock stands by which retention is judged.
    pub fn retention_clock(&self) -> RetentionClockStatus {
        self.retention.status()
    }

    /// The time by which retention is judged, in milliseconds since the Unix epoch.
    pub fn retention_now_ms(&self) -> i64 {
        self.retention.now_ms()
    }

    /// Looks whether the wall clock has been set meanwhile. To be called now and then.
    pub fn look_at_clock(&self) {
        self.retention.look();
    }

    /// Stores the retention clock. To be called every `limits::RETENTION_SAVE_INTERVAL`.
    pub async fn save_retention_clock(&self) -> Result<(), MetaError> {
        match self.retention.mark() {
            Some(mark) => self.writer.write(move |group| save_mark(group.connection(), &mark)).await,
            None => Ok(()),
        }
    }

    /// An operator vouches for the wall clock: the retention clock takes its time, forth or back.
    pub async fn accept_clock(&self) -> Result<(), MetaError> {
        match self.retention.accept() {
            Some(mark) => self.writer.write(move |group| save_mark(group.connection(), &mark)).await,
            None => Ok(()),
        }
    }

    /// Slots whose copies are complete: what the labels are to say. After `open` these are all copies that could be
    /// repaired; later, those that have not failed.
    pub fn current_copies(&self) -> Vec<usize> {
        self.database.current_slots()
    }

    /// The same, for `tell`, while no copy can be found to have failed: the labels are told in the order of what happened.
    pub fn with_current_copies<T>(&self, tell: impl FnOnce(Vec<usize>) -> T) -> T {
        self.database.copies().with_current_slots(tell)
    }

    /// Brings back copies whose drives were away or are new, some way further; `true` when the set of current copies grew,
    /// which the labels are to be told. With `current` of a copy, the labels name it; where no copy is left, one of those
    /// that has the last acknowledged commit becomes the source. May wait for drives; to be called now and then.
    pub fn tend_copies(&self, copies: Vec<Copy>) -> Result<bool, MetaError> {
        let current = self.current_copies();
        if current.is_empty() {
            return self.revive_one(copies);
        }
        let Some(copy) = copies.into_iter().find(|copy| !current.contains(&copy.slot)) else { return Ok(false) };
        let place = vfs::CopyPlace { slot: copy.slot, storage: copy.storage };
        match self.database.copies().join(&place) {
            Ok(vfs::Joined::Partly) => Ok(false),
            Ok(vfs::Joined::Whole) => {
                tracing::info!(slot = copy.slot, "a copy of the metadata is caught up");
                Ok(true)
            }
            Err(error) => {
                Err(MetaError::Unavailable(format!("the copy of slot {} is not caught up: {error}", copy.slot)))
            }
        }
    }

    fn revive_one(&self, copies: Vec<Copy>) -> Result<bool, MetaError> {
        let mut refused = Vec::new();
        for slot in copies.iter().filter(|copy| copy.current).map(|copy| copy.slot) {
            let database = self.database.clone();
            match self.writer.between(move || database.copies().revive(slot))? {
                Ok(revived) => {
                    tracing::warn!(slot, "a copy of the metadata is back; requests are served again");
                    return Ok(revived);
                }
                Err(error) => refused.push(format!("slot {slot}: {error}")),
            }
        }
        match refused.is_empty() {
            true => Ok(false),
            false => {
                Err(MetaError::Unavailable(format!("no copy of the metadata can be used ({})", refused.join("; "))))
            }
        }
    }

    /// The drive of the slot is another one now: what is open on the former one is not written to any more.
    pub fn leave_copy(&self, slot: usize) {
        self.database.copies().leave(slot);
    }

    /// `listener` is called on the writer's thread after each group commit that wrote to the outbox; it must not block.
    pub fn listen(&self, listener: Arc<dyn Fn() + Send + Sync>) {
        self.writer.listen(listener);
    }

    /// The changes that are committed from now on and that `wants` picks, of any bucket: watched or not, after they are
    /// durable. `Busy` when `LISTENERS_MAX` listen already.
    pub fn tap(&self, wants: Wants) -> Result<ChangeTap, MetaError> {
        self.feed.tap(wants)
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
        Reader::open(&self.database, self.writer.count_of_bucket_changes())
    }

    /// Finishes queued commits, checkpoints and stops the writer thread. The files are released when the last `Meta`
    /// and `Reader` are gone.
    pub fn close(&self) {
        if let Err(error) = pollster::block_on(self.save_retention_clock()) {
            tracing::warn!(%error, "the retention clock could not be stored; it loses some minutes");
        }
        self.writer.stop();
        self.feed.close();
    }
}

const RETENTION_PROPERTY: &str = "retention-clock";

/// The clock as it was stored. A store that has a bucket with object lock, but no clock yet, gets one now.
fn retention_clock(connection: &rusqlite::Connection, world: &World) -> Result<RetentionClock, MetaError> {
    use rusqlite::OptionalExtension;
    let text: Option<String> = connection
        .query_row("SELECT value FROM property WHERE name = ?1", [RETENTION_PROPERTY], |row| row.get(0))
        .optional()?;
    let stored = text
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| MetaError::Damaged(format!("the retention clock cannot be read: {error}")))?;
    let clock = RetentionClock::new(world.clock.clone(), stored);
    if stored.is_none() && connection.prepare("SELECT 1 FROM bucket WHERE object_lock = 1")?.exists([])? {
        save_mark(connection, &clock.guard())?;
    }
    Ok(clock)
}

fn save_mark(connection: &rusqlite::Connection, mark: &retention::Mark) -> Result<(), MetaError> {
    set_property(connection, RETENTION_PROPERTY, Some(&row::json(mark)))
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
