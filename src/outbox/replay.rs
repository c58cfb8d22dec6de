//! Replays: a hook over objects that are there already, a page at a time, resumed after a restart.
//!
//! Where each replay stands is kept as a property of the pool, written in the transaction that queues its page. Runs on
//! the outbox thread.

use serde::{Deserialize, Serialize};

use super::OutboxError;
use crate::engine::version_id;
use crate::limits;
use crate::meta::{
    Bucket, Change, EventName, ListQuery, Listed, Meta, MetaError, NewInvocation, OutboxUpdate, Reader, Requester,
    Sequence, Version,
};

const PROPERTY: &str = "outbox.replays";

/// Which objects a hook is to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    pub bucket: String,
    pub prefix: String,
    /// The key that is the prefix itself, and no other.
    pub exact: bool,
    /// Only versions written at or after this time (Unix milliseconds).
    pub since_ms: i64,
    pub hook: String,
}

/// A replay under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    pub id: u64,
    pub bucket: String,
    pub prefix: String,
    #[serde(default)]
    pub exact: bool,
    pub since_ms: i64,
    pub hook: String,
    /// The last key that was looked at.
    pub after: Option<String>,
    /// Invocations queued so far.
    pub queued: u64,
}

/// All replays under way.
#[derive(Debug, Default)]
pub struct Replays {
    jobs: Vec<Replay>,
}

impl Replays {
    pub fn load(reader: &Reader) -> Result<Replays, MetaError> {
        let Some(stored) = reader.property(PROPERTY)? else { return Ok(Replays::default()) };
        match serde_json::from_str(&stored) {
            Ok(jobs) => Ok(Replays { jobs }),
            Err(error) => Err(MetaError::Damaged(format!("property {PROPERTY}: {error}"))),
        }
    }

    pub fn jobs(&self) -> &[Replay] {
        &self.jobs
    }

    pub fn add(&mut self, meta: &Meta, reader: &Reader, request: ReplayRequest) -> Result<u64, OutboxError> {
        reader.bucket(&request.bucket)?;
        if self.jobs.len() >= limits::REPLAYS_MAX {
            return Err(OutboxError::TooManyReplays { limit: limits::REPLAYS_MAX });
        }
        let id = self.jobs.iter().map(|job| job.id).max().unwrap_or(0) + 1;
        let ReplayRequest { bucket, prefix, exact, since_ms, hook } = request;
        self.jobs.push(Replay { id, bucket, prefix, exact, since_ms, hook, after: None, queued: 0 });
        let stored = self.store(meta);
        if stored.is_err() {
            self.jobs.pop();
        }
        stored?;
        Ok(id)
    }

    pub fn cancel(&mut self, meta: &Meta, id: u64) -> Result<(), OutboxError> {
        self.jobs.retain(|job| job.id != id);
        Ok(self.store(meta)?)
    }

    /// Queues the next page of one replay; gives whether there was one and room for it.
    pub fn step(&mut self, meta: &Meta, reader: &Reader) -> Result<bool, MetaError> {
        let Some(job) = self.jobs.first() else { return Ok(false) };
        if reader.outbox_stats()?.pending >= limits::REPLAY_PENDING_MAX {
            return Ok(false);
        }
        let bucket = match reader.bucket(&job.bucket) {
            Ok(bucket) => bucket,
            Err(MetaError::NoSuchBucket) => {
                tracing::warn!(bucket = job.bucket, hook = job.hook, "a replay ends: its bucket is gone");
                self.jobs.remove(0);
                self.store(meta)?;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let page = reader.list(&ListQuery {
            bucket: bucket.id,
            prefix: job.prefix.clone(),
            delimiter: None,
            after: job.after.clone(),
            // The key itself comes first among those that begin with it.
            limit: if job.exact { 1 } else { limits::REPLAY_PAGE_KEYS },
        })?;
        let versions = page.entries.iter().filter_map(|entry| match entry {
            Listed::Object(version) => Some(version),
            Listed::CommonPrefix(_) => None,
        });
        let last = versions.clone().next_back().map(|version| version.key.clone());
        let wanted =
            versions.filter(|version| version.modified_ms >= job.since_ms && (!job.exact || version.key == job.prefix));
        let invocations: Vec<_> = wanted.map(|version| invocation(&bucket, version, &job.hook)).collect();
        let added = invocations.len();
        // The replays take turns, page by page. A page and the place behind it are one transaction.
        let mut jobs = self.jobs.clone();
        let mut job = jobs.remove(0);
        job.queued += added as u64;
        job.after = last.or(job.after);
        if page.truncated && !job.exact {
            jobs.push(job);
        } else {
            tracing::info!(
                bucket = job.bucket,
                hook = job.hook,
                queued = job.queued,
                "a replay has queued all it found"
            );
        }
        let properties = vec![(PROPERTY.to_owned(), text_of(&jobs))];
        pollster::block_on(meta.update_outbox(OutboxUpdate { invocations, properties, ..OutboxUpdate::default() }))?;
        self.jobs = jobs;
        Ok(true)
    }

    fn store(&self, meta: &Meta) -> Result<(), MetaError> {
        pollster::block_on(meta.set_property(PROPERTY.to_owned(), text_of(&self.jobs)))
    }
}

/// As a property; none where there is nothing to keep.
fn text_of(jobs: &[Replay]) -> Option<String> {
    (!jobs.is_empty()).then(|| serde_json::to_string(jobs).expect("replays are texts and numbers"))
}

/// The event id of what a replay makes of a version: the same for each replay.
pub fn replay_event_id(version: Sequence, hook: &str) -> String {
    format!("{:016x}-{hook}", version.0)
}

/// The work of a hook on a version, as if it had been uploaded now.
fn invocation(bucket: &Bucket, version: &Version, hook: &str) -> NewInvocation {
    NewInvocation {
        event_id: replay_event_id(version.sequence, hook),
        rule: String::new(),
        hook: hook.to_owned(),
        // The operator asked for it, whatever its age.
        expires_ms: None,
        change: Change {
            sequence: version.sequence,
            event: EventName::ObjectCreatedPut,
            time_ms: version.modified_ms,
            bucket: bucket.id,
            bucket_name: bucket.name.clone(),
            key: version.key.clone(),
            version_id: version_id(bucket, version),
            version: Some(version.sequence),
            size: version.size,
            etag: version.etag.clone(),
            requester: Requester { principal: "replay".to_owned(), ..Requester::default() },
        },
    }
}
