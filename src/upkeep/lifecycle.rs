//! Lifecycle: carries out the buckets' rules, a bounded piece of work in each round.
//!
//! A pass walks over the buckets that have rules, by key; where it stands is stored, so that a restart goes on there. What
//! is due is deleted by the same transactions as a client's delete: they look again whether the version is still in the
//! place in which it was judged, and whether it is locked. Time is the wall clock's: it decides what a rule wants, the
//! retention clock what may go.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::Worker;
use crate::lifecycle::{Configuration, Day, Place, Subject};
use crate::limits;
use crate::meta::{
    Bucket, BucketConfig, BucketId, DeleteCause, DeleteVersion, KeyPlace, ListedUpload, ListedVersion, MetaError,
    Reader, Requester, Sequence, UploadsQuery, Version, VersionKind, VersionRef, VersionsQuery, WriteCondition,
};

/// How lifecycle rules are carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifecycleSettings {
    /// Objects a second that rules may delete; ten times as many are looked at.
    pub objects_per_second: u32,
    /// Seconds of a rule's day, without rounding to midnight: for tests. 0: real days.
    pub day_seconds: u64,
}

impl Default for LifecycleSettings {
    /// A thousand deletes a second leave room for uploads, and work off a million objects in a quarter of an hour.
    fn default() -> LifecycleSettings {
        LifecycleSettings { objects_per_second: 1000, day_seconds: 0 }
    }
}

impl LifecycleSettings {
    fn day(&self) -> Day {
        match self.day_seconds {
            0 => Day::Real,
            seconds => Day::Short(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)),
        }
    }

    /// Time from the end of a pass to the beginning of the next: a day has 24 of them.
    fn interval_ns(&self) -> u64 {
        let day_seconds = if self.day_seconds == 0 { 24 * 3600 } else { self.day_seconds };
        (day_seconds.saturating_mul(1_000_000_000) / 24).max(limits::UPKEEP_TICK.as_nanos() as u64 / 2)
    }
}

/// Property that says where a pass stands.
const CURSOR_PROPERTY: &str = "lifecycle-cursor";
/// Principal of the events of what rules delete.
const PRINCIPAL: &str = "lifecycle";

/// Where a pass stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The bucket at hand; those with lower numbers are done.
    bucket: i64,
    /// Keys up to this one are done.
    key: Option<String>,
    /// The versions are done, uploads under way come next.
    uploads: bool,
}

/// What lifecycle remembers between rounds.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    cursor: Option<Cursor>,
    loaded: bool,
    ended_ns: Option<u64>,
    saved_ns: u64,
    /// Within a key that has more versions than a page: the last version that was judged.
    within: Option<Within>,
    /// Versions that rules have removed, or hidden under a marker, and uploads aborted, since the start.
    pub expired: u64,
}

#[derive(Debug)]
struct Within {
    key: String,
    sequence: Sequence,
    modified_ms: i64,
    /// Versions of the key up to this one.
    versions: u32,
}

/// What is left of a round's work.
struct Round {
    looks: usize,
    deletes: usize,
}

impl Worker {
    /// Goes on with the pass, or begins one when it is time.
    pub(super) fn expire(&mut self) -> Result<(), MetaError> {
        let now_ns = self.world.clock.monotonic_ns();
        if !self.lifecycle.loaded {
            let stored = self.reader.property(CURSOR_PROPERTY)?;
            // What an older program wrote is begun anew.
            self.lifecycle.cursor = stored.and_then(|text| serde_json::from_str(&text).ok());
            self.lifecycle.loaded = true;
        }
        if self.lifecycle.cursor.is_none() {
            let interval_ns = self.lifecycle_settings.interval_ns();
            if self.lifecycle.ended_ns.is_some_and(|ended| now_ns.saturating_sub(ended) < interval_ns) {
                return Ok(());
            }
            self.lifecycle.cursor = Some(Cursor::default());
        }
        let deletes = self.lifecycle_settings.objects_per_second.max(1) as usize;
        let mut round = Round { looks: deletes.saturating_mul(10), deletes };
        while let Some(cursor) = self.lifecycle.cursor.clone() {
            let Some((bucket, rules)) = next_bucket(&self.reader, cursor.bucket)? else {
                return self.end_pass(now_ns);
            };
            let at_bucket = bucket.id.0 == cursor.bucket;
            let mut cursor = if at_bucket { cursor } else { Cursor { bucket: bucket.id.0, ..Cursor::default() } };
            let done = self.judge_bucket(&bucket, &rules, &mut cursor, &mut round)?;
            if done {
                cursor = Cursor { bucket: bucket.id.0 + 1, ..Cursor::default() };
                self.lifecycle.within = None;
            }
            self.lifecycle.cursor = Some(cursor);
            if !done || self.stopping {
                break;
            }
        }
        self.save_cursor(now_ns)
    }

    fn end_pass(&mut self, now_ns: u64) -> Result<(), MetaError> {
        self.lifecycle.cursor = None;
        self.lifecycle.within = None;
        self.lifecycle.ended_ns = Some(now_ns);
        if self.reader.property(CURSOR_PROPERTY)?.is_some() {
            pollster::block_on(self.meta.set_property(CURSOR_PROPERTY.to_owned(), None))?;
        }
        Ok(())
    }

    fn save_cursor(&mut self, now_ns: u64) -> Result<(), MetaError> {
        if now_ns.saturating_sub(self.lifecycle.saved_ns) < limits::UPKEEP_SAVE_INTERVAL.as_nanos() as u64 {
            return Ok(());
        }
        self.lifecycle.saved_ns = now_ns;
        let text = serde_json::to_string(&self.lifecycle.cursor).expect("a cursor has only plain fields");
        pollster::block_on(self.meta.set_property(CURSOR_PROPERTY.to_owned(), Some(text)))
    }

    /// Works on one bucket until it is done (`true`) or the round's work is.
    fn judge_bucket(
        &mut self,
        bucket: &Bucket,
        rules: &Configuration,
        cursor: &mut Cursor,
        round: &mut Round,
    ) -> Result<bool, MetaError> {
        let (versions, uploads) = rules.speaks_of();
        while versions && !cursor.uploads {
            if round.looks == 0 || round.deletes == 0 || self.stopping {
                return Ok(false);
            }
            cursor.uploads = self.judge_versions(bucket, rules, cursor, round)?;
            self.take_messages();
        }
        if uploads {
            return self.abort_uploads(bucket, rules, round);
        }
        Ok(true)
    }

    /// Judges a page of versions; `true` when it was the bucket's last.
    fn judge_versions(
        &mut self,
        bucket: &Bucket,
        rules: &Configuration,
        cursor: &mut Cursor,
        round: &mut Round,
    ) -> Result<bool, MetaError> {
        let mut within = self.lifecycle.within.take();
        let query = VersionsQuery {
            bucket: bucket.id,
            prefix: rules.common_prefix().to_owned(),
            delimiter: None,
            key_marker: within.as_ref().map(|within| within.key.clone()).or_else(|| cursor.key.clone()),
            version_marker: within.as_ref().map(|within| VersionRef::Numbered(within.sequence)),
            limit: limits::UPKEEP_ROWS_MAX.min(round.looks),
        };
        let page = self.reader.list_versions(&query)?;
        round.looks -= page.entries.len().min(round.looks);
        let (now_ms, day) = (self.world.clock.unix_ms(), self.lifecycle_settings.day());
        let versions: Vec<Box<Version>> = page.entries.into_iter().filter_map(version_of).collect();
        let mut due = Vec::new();
        for (at, version) in versions.iter().enumerate() {
            if within.as_ref().is_some_and(|within| within.key != version.key) {
                within = None;
            }
            let last_of_key = match versions.get(at + 1) {
                Some(next) => next.key != version.key,
                None => !page.truncated || self.is_oldest(version)?,
            };
            let place = place_of(within.as_ref(), last_of_key);
            if rules.due(&subject(version, place), day).is_some_and(|(due_ms, _)| due_ms <= now_ms) {
                due.push(deletion(bucket, version, place, now_ms));
                if due.len() >= round.deletes {
                    // What follows is judged in the next round; the key at hand from its beginning.
                    self.delete(due, round)?;
                    return Ok(false);
                }
            }
            let versions = within.as_ref().map_or(0, |within| within.versions) + 1;
            let (key, sequence, modified_ms) = (version.key.clone(), version.sequence, version.modified_ms);
            within = Some(Within { key, sequence, modified_ms, versions });
            if last_of_key {
                cursor.key = Some(version.key.clone());
                within = None;
            }
        }
        self.lifecycle.within = within;
        self.delete(due, round)?;
        Ok(!page.truncated)
    }

    /// Whether a version is the oldest of its key.
    fn is_oldest(&self, version: &Version) -> Result<bool, MetaError> {
        let query = VersionsQuery {
            bucket: version.bucket,
            prefix: version.key.clone(),
            delimiter: None,
            key_marker: Some(version.key.clone()),
            version_marker: Some(VersionRef::Numbered(version.sequence)),
            limit: 1,
        };
        let next = self.reader.list_versions(&query)?.entries.into_iter().find_map(version_of);
        Ok(next.is_none_or(|next| next.key != version.key))
    }

    /// Deletes side by side, so that a group commit takes many.
    fn delete(&mut self, due: Vec<DeleteVersion>, round: &mut Round) -> Result<(), MetaError> {
        round.deletes -= due.len().min(round.deletes);
        let mut due = due.into_iter().peekable();
        while due.peek().is_some() {
            let some: Vec<_> = due.by_ref().take(limits::DELETE_KEYS_IN_FLIGHT).collect();
            let deletes = some.into_iter().map(|delete| self.meta.delete_version(delete));
            for result in pollster::block_on(join_all(deletes)) {
                match result {
                    Ok(_) => self.lifecycle.expired += 1,
                    // It is held, or was changed meanwhile: the next pass judges it anew.
                    Err(MetaError::Locked | MetaError::ConditionFailed | MetaError::NoSuchBucket) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Aborts uploads that were not completed in time; `true` when all were looked at.
    fn abort_uploads(&mut self, bucket: &Bucket, rules: &Configuration, round: &mut Round) -> Result<bool, MetaError> {
        let (now_ms, day) = (self.world.clock.unix_ms(), self.lifecycle_settings.day());
        let mut query = UploadsQuery {
            bucket: bucket.id,
            prefix: String::new(),
            delimiter: None,
            key_marker: None,
            upload_id_marker: None,
            limit: limits::UPKEEP_ROWS_MAX,
        };
        loop {
            let page = self.reader.list_uploads(&query)?;
            for entry in page.entries {
                let ListedUpload::Upload(upload) = entry else { continue };
                query.key_marker = Some(upload.key.clone());
                query.upload_id_marker = Some(upload.upload_id.clone());
                let due = rules.abort_due(&upload.key, upload.initiated_ms, day);
                if due.is_none_or(|(due_ms, _)| due_ms > now_ms) {
                    continue;
                }
                match pollster::block_on(self.meta.abort_upload(bucket.id, upload.key, upload.upload_id)) {
                    Ok(()) => self.lifecycle.expired += 1,
                    Err(MetaError::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
                round.deletes = round.deletes.saturating_sub(1);
                if round.deletes == 0 {
                    return Ok(false);
                }
            }
            self.take_messages();
            if !page.truncated || self.stopping {
                return Ok(!page.truncated);
            }
        }
    }
}

/// The first bucket from this number on that has rules.
fn next_bucket(reader: &Reader, from: i64) -> Result<Option<(Bucket, Configuration)>, MetaError> {
    let mut buckets: BTreeMap<i64, Bucket> = BTreeMap::new();
    for bucket in reader.buckets()?.into_iter().filter(|bucket| bucket.rules.lifecycle && bucket.id >= BucketId(from)) {
        buckets.insert(bucket.id.0, bucket);
    }
    for bucket in buckets.into_values() {
        let Some(text) = reader.bucket_config(bucket.id, BucketConfig::Lifecycle)? else { continue };
        match Configuration::from_stored(&text) {
            Ok(rules) => return Ok(Some((bucket, rules))),
            Err(error) => tracing::warn!(bucket = bucket.name, %error, "lifecycle rules are passed over"),
        }
    }
    Ok(None)
}

fn version_of(entry: ListedVersion) -> Option<Box<Version>> {
    match entry {
        ListedVersion::Version { version, .. } => Some(version),
        ListedVersion::CommonPrefix(_) => None,
    }
}

/// `newer`: the next newer version of the same key.
fn place_of(newer: Option<&Within>, last_of_key: bool) -> Place {
    match newer {
        None if last_of_key => Place::Only,
        None => Place::Newest,
        Some(newer) => Place::Noncurrent { since_ms: newer.modified_ms, newer: newer.versions - 1 },
    }
}

fn subject(version: &Version, place: Place) -> Subject<'_> {
    Subject {
        key: &version.key,
        size: version.size,
        tags: &version.attributes.tags,
        modified_ms: version.modified_ms,
        marker: version.kind == VersionKind::DeleteMarker,
        place,
    }
}

/// The newest version is deleted as by a client (which makes a marker where versions are kept), all else for good.
fn deletion(bucket: &Bucket, version: &Version, place: Place, now_ms: i64) -> DeleteVersion {
    let sequence = version.sequence;
    let marker = version.kind == VersionKind::DeleteMarker;
    let (which, place) = match place {
        Place::Only if marker => (VersionRef::Numbered(sequence), KeyPlace::Only(sequence)),
        Place::Only | Place::Newest => (VersionRef::Latest, KeyPlace::Newest(sequence)),
        Place::Noncurrent { .. } => (VersionRef::Numbered(sequence), KeyPlace::Noncurrent(sequence)),
    };
    DeleteVersion {
        bucket: bucket.id,
        key: version.key.clone(),
        version: which,
        time_ms: now_ms,
        condition: WriteCondition::default(),
        requester: Requester { principal: PRINCIPAL.to_owned(), ..Requester::default() },
        cause: DeleteCause::Lifecycle(place),
    }
}
