//! Tables, and the versions of their layout. FORMAT.md says what each column holds.

use rusqlite::Connection;

use super::MetaError;

/// Layout that this program writes. A database with another one is refused.
const SCHEMA_VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE state(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE property(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE bucket(
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, region TEXT NOT NULL, created_ms INTEGER NOT NULL,
    versioning INTEGER NOT NULL, object_lock INTEGER NOT NULL, watched INTEGER NOT NULL);
CREATE TABLE bucket_config(
    bucket INTEGER NOT NULL, kind TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(bucket, kind)) WITHOUT ROWID;
CREATE TABLE version(
    bucket INTEGER NOT NULL, key BLOB NOT NULL, rank INTEGER NOT NULL, is_null INTEGER NOT NULL, marker INTEGER NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, attributes TEXT NOT NULL, extents BLOB,
    PRIMARY KEY(bucket, key, rank)) WITHOUT ROWID;
CREATE TABLE inline(sequence INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE upload(
    id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL, initiated_ms INTEGER NOT NULL,
    attributes TEXT NOT NULL, checksum TEXT, requester TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX upload_by_key ON upload(bucket, key, initiated_ms, id);
CREATE TABLE part(
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL, checksum TEXT, extents BLOB NOT NULL, PRIMARY KEY(upload, number)) WITHOUT ROWID;
CREATE TABLE completed(
    upload TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL, sequence INTEGER NOT NULL, parts TEXT NOT NULL,
    completed_ms INTEGER NOT NULL, version_id TEXT) WITHOUT ROWID;
CREATE INDEX completed_by_time ON completed(completed_ms);
CREATE TABLE segment(number INTEGER PRIMARY KEY, live INTEGER NOT NULL);
CREATE TABLE garbage(id INTEGER PRIMARY KEY AUTOINCREMENT, extents BLOB NOT NULL, deleted_ms INTEGER NOT NULL);
CREATE TABLE heal(id INTEGER PRIMARY KEY AUTOINCREMENT, extents BLOB NOT NULL, slots INTEGER NOT NULL);
CREATE TABLE change(
    sequence INTEGER PRIMARY KEY, event TEXT NOT NULL, time_ms INTEGER NOT NULL, bucket INTEGER NOT NULL,
    bucket_name TEXT NOT NULL, key BLOB NOT NULL, version_id TEXT, version INTEGER, size INTEGER NOT NULL,
    etag TEXT NOT NULL, requester TEXT NOT NULL);
";

/// Creates the tables of a new database.
pub(super) fn create(connection: &Connection, pool_id: &str) -> Result<(), MetaError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(super::outbox::TABLES)?;
    connection.execute("INSERT INTO state VALUES('pool', ?1), ('sequence', 0)", [pool_id])?;
    super::outbox::Counts::create(connection)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    connection.execute_batch("COMMIT")?;
    Ok(())
}

/// Checks that an existing database is one of ours, of this pool.
pub(super) fn check(connection: &Connection, pool_id: &str) -> Result<(), MetaError> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != SCHEMA_VERSION {
        return Err(MetaError::Unavailable(format!(
            "the metadata has layout {version}, this program knows {SCHEMA_VERSION}; use the aerie that wrote it"
        )));
    }
    let found: String = connection.query_row("SELECT value FROM state WHERE name = 'pool'", [], |row| row.get(0))?;
    if found != pool_id {
        return Err(MetaError::Unavailable(format!(
            "the metadata is of pool {found}, the drives are of {pool_id}; put back the drives of one pool"
        )));
    }
    Ok(())
}
