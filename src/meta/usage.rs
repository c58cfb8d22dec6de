//! What each bucket holds, counted in the transactions that change it, and the quotas that are held against it.
//!
//! Counted are the user bytes of all versions and of the parts of uploads under way, and the versions that are no delete
//! markers. A group of mutations writes one row for each bucket that it touched.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Group;
use super::{Bucket, BucketId, Meta, MetaError, Reader, Usage};

/// Bytes and versions that came or went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UsageDelta {
    pub bytes: i64,
    pub objects: i64,
}

impl UsageDelta {
    fn add(&mut self, other: UsageDelta) {
        self.bytes += other.bytes;
        self.objects += other.objects;
    }
}

/// What a group of mutations changes: those that are done, and the one that runs.
#[derive(Debug, Default)]
pub(super) struct UsageDeltas {
    done: BTreeMap<BucketId, UsageDelta>,
    running: BTreeMap<BucketId, UsageDelta>,
}

impl UsageDeltas {
    pub fn add(&mut self, bucket: BucketId, delta: UsageDelta) {
        self.running.entry(bucket).or_default().add(delta);
    }

    /// The running mutation has ended well, or is undone.
    pub fn end(&mut self, good: bool) {
        for (bucket, delta) in std::mem::take(&mut self.running) {
            if good {
                self.done.entry(bucket).or_default().add(delta);
            }
        }
    }

    /// What the running mutation changes.
    fn running(&self, bucket: BucketId) -> UsageDelta {
        self.running.get(&bucket).copied().unwrap_or_default()
    }

    fn all(&self, bucket: BucketId) -> UsageDelta {
        let mut all = self.done.get(&bucket).copied().unwrap_or_default();
        all.add(self.running(bucket));
        all
    }

    pub fn store(&self, connection: &Connection) -> Result<(), MetaError> {
        let mut update = connection
            .prepare_cached("UPDATE usage SET bytes = bytes + ?2, objects = objects + ?3 WHERE bucket = ?1")?;
        for (bucket, delta) in self.done.iter().filter(|(_, delta)| **delta != UsageDelta::default()) {
            update.execute(params![bucket.0, delta.bytes, delta.objects])?;
        }
        Ok(())
    }
}

/// A bucket's usage with all that the group has done so far.
pub(super) fn current(group: &Group<'_>, bucket: BucketId) -> Result<Usage, MetaError> {
    let stored = stored(group.connection(), bucket)?;
    let delta = group.usage(|usage| usage.all(bucket));
    let sum = |stored: u64, delta: i64| {
        stored
            .checked_add_signed(delta)
            .ok_or_else(|| MetaError::Damaged(format!("bucket {} is counted wrong", bucket.0)))
    };
    Ok(Usage { bytes: sum(stored.bytes, delta.bytes)?, objects: sum(stored.objects, delta.objects)? })
}

/// Refuses a mutation that makes its bucket hold more than its quota. One that makes it hold less is never refused.
pub(super) fn check_quota(group: &Group<'_>, bucket: &Bucket) -> Result<(), MetaError> {
    if bucket.rules.quota_bytes.is_none() && bucket.rules.quota_objects.is_none() {
        return Ok(());
    }
    let running = group.usage(|usage| usage.running(bucket.id));
    let usage = current(group, bucket.id)?;
    let exceeds = |held: u64, delta: i64, quota: Option<u64>| delta > 0 && quota.is_some_and(|quota| held > quota);
    if exceeds(usage.bytes, running.bytes, bucket.rules.quota_bytes)
        || exceeds(usage.objects, running.objects, bucket.rules.quota_objects)
    {
        return Err(MetaError::QuotaExceeded);
    }
    Ok(())
}

fn stored(connection: &Connection, bucket: BucketId) -> Result<Usage, MetaError> {
    let mut select = connection.prepare_cached("SELECT bytes, objects FROM usage WHERE bucket = ?1")?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Usage { bytes: row.get::<_, i64>(0)? as u64, objects: row.get::<_, i64>(1)? as u64 })
    };
    Ok(select.query_row([bucket.0], row).optional()?.unwrap_or_default())
}

impl Reader {
    pub fn usage(&self, bucket: BucketId) -> Result<Usage, MetaError> {
        stored(self.connection(), bucket)
    }

    /// Counts a bucket anew by a scan, for tests and doubts: the counters must say the same.
    pub fn recount(&self, bucket: BucketId) -> Result<Usage, MetaError> {
        let sql =
            "SELECT coalesce(sum(size), 0), coalesce(sum(1 - marker), 0), (SELECT coalesce(sum(part.size), 0) FROM part
            JOIN upload ON upload.id = part.upload WHERE upload.bucket = ?1) FROM version WHERE bucket = ?1";
        let row = |row: &rusqlite::Row<'_>| {
            let (versions, objects, parts): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Usage { bytes: (versions + parts) as u64, objects: objects as u64 })
        };
        Ok(self.connection().prepare_cached(sql)?.query_row([bucket.0], row)?)
    }
}

impl Meta {
    /// Sets or, with `None`, lifts a bucket's quotas. What it holds already stays.
    pub async fn set_quota(&self, bucket: BucketId, bytes: Option<u64>, objects: Option<u64>) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                super::bucket::change_rules(group, bucket, |rules| {
                    rules.quota_bytes = bytes;
                    rules.quota_objects = objects;
                })
            })
            .await
    }
}
