//! Held versions: overwritten or deleted, but a change or an invocation still speaks of them.
//!
//! What was acknowledged and matched a rule is processed, also when it was replaced a moment later: the transaction that
//! removes such a version moves its row here, with the claim to its bytes, and the transaction that ends the last change
//! or invocation which refers to it gives them to reclaim. S3 clients never see what is here.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::model::*;
use super::outbox::Tally;
use super::row::{key_column, rank, version_of};
use super::writer::Group;
use super::{MetaError, Reader, space};
use crate::pool::Extent;

/// A version of layout 3 and later; `STEPS` of the schema makes them.
pub(super) const TABLES: &str = "
CREATE TABLE held(
    sequence INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL, is_null INTEGER NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, attributes TEXT NOT NULL, extents BLOB);
ALTER TABLE invocation ADD COLUMN version INTEGER;
ALTER TABLE invocation ADD COLUMN expires_ms INTEGER;
UPDATE invocation SET version = json_extract(change, '$.version');
CREATE INDEX invocation_by_version ON invocation(version) WHERE version IS NOT NULL;
CREATE INDEX invocation_by_expiry ON invocation(expires_ms) WHERE expires_ms IS NOT NULL;
CREATE INDEX change_by_other_version ON change(version) WHERE version <> sequence;
CREATE TABLE earlier_rules(
    bucket INTEGER NOT NULL, until INTEGER NOT NULL, region TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY(bucket, until)) WITHOUT ROWID;
ALTER TABLE publication ADD COLUMN properties TEXT;
INSERT OR IGNORE INTO state VALUES('count-held', 0), ('count-held-bytes', 0), ('count-expired', 0);
";

/// Whether a change or an invocation, dead ones included, speaks of this version. A created version's change has the
/// version's own number; only those of tags have another, and they alone are in the index.
pub(super) fn is_referred(connection: &Connection, sequence: Sequence) -> Result<bool, MetaError> {
    let number = sequence.0 as i64;
    for sql in [
        "SELECT 1 FROM change WHERE sequence = ?1",
        "SELECT 1 FROM invocation WHERE version = ?1",
        "SELECT 1 FROM change WHERE version = ?1 AND version <> sequence",
    ] {
        if connection.prepare_cached(sql)?.exists([number])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Holds a version that is about to be removed, where something speaks of it; gives whether it did. Its inline bytes
/// and extents are the held row's from then on.
pub(super) fn hold(group: &Group<'_>, bucket: BucketId, key: &str, sequence: Sequence) -> Result<bool, MetaError> {
    let connection = group.connection();
    if !is_referred(connection, sequence)? {
        return Ok(false);
    }
    let size: i64 = connection
        .prepare_cached(
            "INSERT INTO held SELECT -rank, bucket, key, is_null, size, etag, modified_ms, attributes, extents
             FROM version WHERE bucket = ?1 AND key = ?2 AND rank = ?3 RETURNING size",
        )?
        .query_row(params![bucket.0, key.as_bytes(), rank(sequence)], |row| row.get(0))?;
    group.count(Tally::Held, 1);
    group.count(Tally::HeldBytes, size);
    Ok(true)
}

/// Gives the bytes of held versions to reclaim, those that something still speaks of aside.
pub(super) fn release(group: &Group<'_>, versions: &[Sequence], now_ms: i64) -> Result<(), MetaError> {
    let connection = group.connection();
    for sequence in versions {
        let is_held =
            connection.prepare_cached("SELECT 1 FROM held WHERE sequence = ?1")?.exists([sequence.0 as i64])?;
        if is_held && !is_referred(connection, *sequence)? {
            give_up(group, *sequence, now_ms)?;
        }
    }
    Ok(())
}

/// Gives a held version's bytes to reclaim, whatever speaks of it.
pub(super) fn give_up(group: &Group<'_>, sequence: Sequence, now_ms: i64) -> Result<(), MetaError> {
    let connection = group.connection();
    let removed: Option<(i64, Option<Vec<Extent>>)> = connection
        .prepare_cached("DELETE FROM held WHERE sequence = ?1 RETURNING size, extents")?
        .query_row([sequence.0 as i64], |row| Ok((row.get(0)?, space::extents_column(row, 1)?)))
        .optional()?;
    let Some((size, extents)) = removed else { return Ok(()) };
    group.count(Tally::Held, -1);
    group.count(Tally::HeldBytes, -size);
    match extents {
        Some(extents) => space::bury(group, &extents, now_ms),
        None => {
            connection.prepare_cached("DELETE FROM inline WHERE sequence = ?1")?.execute([sequence.0 as i64])?;
            Ok(())
        }
    }
}

/// A held version with its body.
pub(super) fn find(
    connection: &Connection,
    bucket: BucketId,
    sequence: Sequence,
) -> Result<Option<Version>, MetaError> {
    let decode = |row: &Row<'_>| {
        let body = match space::extents_column(row, 8)? {
            Some(extents) => Body::Extents(extents),
            None => {
                let bytes = row.get_ref(9)?.as_blob_or_null()?;
                Body::Inline(bytes::Bytes::copy_from_slice(bytes.unwrap_or_default()))
            }
        };
        version_of(row, 1, bucket, key_column(row, 0)?, body)
    };
    let found = connection
        .prepare_cached(
            "SELECT key, -held.sequence, is_null, 0, size, etag, modified_ms, attributes, extents, inline.bytes
             FROM held LEFT JOIN inline ON extents IS NULL AND inline.sequence = held.sequence
             WHERE held.sequence = ?1 AND bucket = ?2",
        )?
        .query_row(params![sequence.0 as i64, bucket.0], decode);
    Ok(found.optional()?)
}

impl Reader {
    /// Whether the bucket exists, or a version of it is held.
    pub fn refers_to_bucket(&self, bucket: BucketId) -> Result<bool, MetaError> {
        let sql = "SELECT 1 FROM bucket WHERE id = ?1 UNION ALL SELECT 1 FROM held WHERE bucket = ?1 LIMIT 1";
        Ok(self.connection().prepare(sql)?.exists([bucket.0])?)
    }

    /// Held versions that only dead invocations speak of, oldest first, with their sizes in bytes.
    pub fn held_by_dead(&self, limit: usize) -> Result<Vec<(Sequence, u64)>, MetaError> {
        self.rows(
            "SELECT sequence, size FROM held
             WHERE NOT EXISTS (SELECT 1 FROM invocation WHERE version = held.sequence AND state = 0)
               AND NOT EXISTS (SELECT 1 FROM change WHERE change.sequence = held.sequence)
               AND NOT EXISTS (SELECT 1 FROM change WHERE version = held.sequence AND version <> change.sequence)
             ORDER BY sequence LIMIT ?1",
            [limit as i64],
            |row| Ok((Sequence(row.get::<_, i64>(0)? as u64), row.get::<_, i64>(1)? as u64)),
        )
    }
}
