//! Rolling buckets: the oldest unlocked versions give way to new ones.
//!
//! The table `rolling` has the versions of these buckets by age, so that the oldest are found without a scan. What is
//! dropped is dropped for good, as by a lifecycle rule, and raises the same event, with `rolling` as its principal.

use rusqlite::{OptionalExtension, params};

use super::model::*;
use super::row::key_column;
use super::writer::Group;
use super::{Meta, MetaError, Reader, held, object, usage};
use crate::limits;

/// Principal of the events of what was dropped.
pub const ROLLING_PRINCIPAL: &str = "rolling";

/// Notes a new version.
pub(super) fn note(group: &Group<'_>, bucket: &Bucket, key: &str, sequence: Sequence) -> Result<(), MetaError> {
    if bucket.rules.rolling.is_some() {
        group.connection().prepare_cached("INSERT INTO rolling VALUES(?1, ?2, ?3)")?.execute(params![
            bucket.id.0,
            sequence.0 as i64,
            key.as_bytes()
        ])?;
    }
    Ok(())
}

/// Forgets a version that goes.
pub(super) fn forget(group: &Group<'_>, bucket: &Bucket, sequence: Sequence) -> Result<(), MetaError> {
    if bucket.rules.rolling.is_some() {
        group
            .connection()
            .prepare_cached("DELETE FROM rolling WHERE bucket = ?1 AND sequence = ?2")?
            .execute(params![bucket.id.0, sequence.0 as i64])?;
    }
    Ok(())
}

/// Drops the oldest versions until the bucket holds no more than it may; never the newest version of all, which has just
/// come.
pub(super) fn make_room(group: &Group<'_>, bucket: &Bucket, newest: Sequence, now_ms: i64) -> Result<(), MetaError> {
    let Some(most) = bucket.rules.rolling.and_then(|rolling| rolling.bytes) else { return Ok(()) };
    let held = usage::current(group, bucket.id)?.bytes;
    if held <= most {
        return Ok(());
    }
    let dropped = drop_oldest(group, vec![bucket.clone()], newest, Candidates::Any, held - most, now_ms)?;
    if held - dropped > most { Err(MetaError::QuotaExceeded) } else { Ok(()) }
}

/// What may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidates {
    Any,
    /// What no hook is still to see: other versions keep their space until they are processed.
    Processed,
}

/// Drops versions older than `before`, the oldest of all these buckets first, until `wanted` bytes are given back or
/// there is nothing more to drop. Gives the bytes.
fn drop_oldest(
    group: &Group<'_>,
    buckets: Vec<Bucket>,
    before: Sequence,
    which: Candidates,
    wanted: u64,
    now_ms: i64,
) -> Result<u64, MetaError> {
    let first = |bucket: Bucket| Ok((next(group, bucket.id, Sequence(0), before)?, bucket));
    let mut heads: Vec<(Option<(Sequence, String)>, Bucket)> =
        buckets.into_iter().map(first).collect::<Result<_, MetaError>>()?;
    let mut dropped = 0;
    for _ in 0..limits::ROLLING_LOOKS_MAX {
        if dropped >= wanted {
            break;
        }
        let oldest = heads.iter_mut().filter(|(head, _)| head.is_some());
        let Some((head, bucket)) = oldest.min_by_key(|(head, _)| head.as_ref().map(|(sequence, _)| *sequence)) else {
            break;
        };
        let Some((sequence, key)) = head.take() else { break };
        if which == Candidates::Processed && held::is_referred(group.connection(), sequence)? {
            *head = next(group, bucket.id, sequence, before)?;
            continue;
        }
        match object::expire(group, bucket, &key, sequence, ROLLING_PRINCIPAL, now_ms) {
            Ok(bytes) => dropped += bytes,
            // Held versions stay; the next one goes instead.
            Err(MetaError::Locked) => {}
            Err(error) => return Err(error),
        }
        *head = next(group, bucket.id, sequence, before)?;
    }
    Ok(dropped)
}

/// The oldest version between the two.
fn next(
    group: &Group<'_>,
    bucket: BucketId,
    after: Sequence,
    before: Sequence,
) -> Result<Option<(Sequence, String)>, MetaError> {
    let mut select = group.connection().prepare_cached(
        "SELECT sequence, key FROM rolling WHERE bucket = ?1 AND sequence > ?2 AND sequence < ?3 ORDER BY sequence LIMIT 1",
    )?;
    let decode = |row: &rusqlite::Row<'_>| Ok((Sequence(row.get::<_, i64>(0)? as u64), key_column(row, 1)?));
    Ok(select.query_row(params![bucket.0, after.0 as i64, before.0 as i64], decode).optional()?)
}

impl Meta {
    /// Makes a bucket rolling, or ordinary again. The versions that it has count by their age.
    pub async fn set_rolling(&self, bucket: BucketId, rolling: Option<Rolling>) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let before = group.bucket(bucket)?.rules.rolling;
                super::bucket::change_rules(group, bucket, |rules| rules.rolling = rolling)?;
                let connection = group.connection();
                match (before, rolling) {
                    (None, Some(_)) => connection.prepare_cached(
                        "INSERT INTO rolling SELECT bucket, -rank, key FROM version WHERE bucket = ?1 AND marker = 0",
                    )?,
                    (Some(_), None) => connection.prepare_cached("DELETE FROM rolling WHERE bucket = ?1")?,
                    (None, None) | (Some(_), Some(_)) => return Ok(()),
                }
                .execute([bucket.0])?;
                Ok(())
            })
            .await
    }

    /// Drops the oldest versions of all rolling buckets, taken together, until `wanted` bytes are given back or nothing
    /// more can be dropped in one go. Gives the bytes.
    pub async fn roll(&self, wanted: u64) -> Result<u64, MetaError> {
        let now_ms = self.world.clock.unix_ms();
        self.writer
            .write(move |group| {
                let mut buckets = super::bucket::all(group.connection())?;
                buckets.retain(|bucket| bucket.rules.rolling.is_some());
                drop_oldest(group, buckets, Sequence(i64::MAX as u64), Candidates::Processed, wanted, now_ms)
            })
            .await
    }
}

impl Reader {
    /// Whether some rolling bucket has a version.
    pub fn can_roll(&self) -> Result<bool, MetaError> {
        Ok(self.connection().prepare_cached("SELECT 1 FROM rolling LIMIT 1")?.exists([])?)
    }
}
