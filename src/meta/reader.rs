//! Reads, on a connection that belongs to the calling thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::known::KnownBuckets;
use super::model::*;
use super::open::{self, Database};
use super::{MetaError, bucket, held, row};

/// A read connection. One per thread; every call sees all that was committed before it began.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    known: KnownBuckets,
    bucket_changes: Arc<AtomicU64>,
    /// Outlives the connection: fields are dropped in this order.
    _database: Arc<Database>,
}

impl Reader {
    pub(super) fn open(database: &Arc<Database>, bucket_changes: Arc<AtomicU64>) -> Result<Reader, MetaError> {
        let connection = open::connect(database)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Reader { connection, known: KnownBuckets::default(), bucket_changes, _database: database.clone() })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> &KnownBuckets {
        &self.known
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        decode: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, MetaError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params, decode)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// A value that `Meta::set_property` stored.
    pub fn property(&self, name: &str) -> Result<Option<String>, MetaError> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM property WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Names of properties that begin with `prefix`, in order.
    pub fn property_names(&self, prefix: &str, limit: usize) -> Result<Vec<String>, MetaError> {
        self.rows(
            "SELECT name FROM property WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 ORDER BY name LIMIT ?2",
            rusqlite::params![prefix, limit as i64],
            |row| row.get(0),
        )
    }

    /// Properties whose names begin with `prefix`, in order.
    pub fn properties(&self, prefix: &str) -> Result<Vec<(String, String)>, MetaError> {
        self.rows(
            "SELECT name, value FROM property WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 ORDER BY name",
            [prefix],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    pub fn bucket(&self, name: &str) -> Result<Bucket, MetaError> {
        let look = || bucket::by_name(&self.connection, name);
        self.known.bucket(self.bucket_changes.load(Ordering::Acquire), name, look)
    }

    pub fn bucket_by_id(&self, id: BucketId) -> Result<Bucket, MetaError> {
        bucket::by_id(&self.connection, id)
    }

    pub fn buckets(&self) -> Result<Vec<Bucket>, MetaError> {
        bucket::all(&self.connection)
    }

    pub fn bucket_config(&self, bucket: BucketId, kind: BucketConfig) -> Result<Option<String>, MetaError> {
        let look = || bucket::config(&self.connection, bucket, kind);
        self.known.document(self.bucket_changes.load(Ordering::Acquire), bucket, kind, look)
    }

    /// The version asked for, delete markers included (as S3, `Latest` may be a marker). By number, one that is held for
    /// hooks is found as well.
    pub fn version(&self, bucket: BucketId, key: &str, version: VersionRef) -> Result<Version, MetaError> {
        let found = match (row::find_version(&self.connection, bucket, key, version)?, version) {
            (None, VersionRef::Numbered(sequence)) => held::find(&self.connection, bucket, sequence)?,
            (found, _) => found,
        };
        found.ok_or(match version {
            VersionRef::Latest => MetaError::NoSuchKey,
            _ => MetaError::NoSuchVersion,
        })
    }
}
