//! The change log: one row for each fact, written in the transaction of the version it speaks of; and the rules that were
//! in force then, as long as a change waits for them. Those who listen right now are told as well, after the commit.

use rusqlite::params;

use super::model::*;
use super::outbox::Tally;
use super::row::json;
use super::writer::Group;
use super::{Meta, MetaError, Reader, version_id_text};

/// How S3 names a version of this bucket; `None` in a bucket that was never versioned.
pub(super) fn version_id(bucket: &Bucket, is_null: bool, sequence: Sequence) -> Option<String> {
    match (bucket.versioning, is_null) {
        (Versioning::Unversioned, _) => None,
        (Versioning::Enabled | Versioning::Suspended, true) => Some("null".to_owned()),
        (Versioning::Enabled | Versioning::Suspended, false) => Some(version_id_text(sequence)),
    }
}

/// What happened to a key; the rest of the change is the bucket's.
pub(super) struct Fact<'a> {
    pub sequence: Sequence,
    pub event: EventName,
    pub time_ms: i64,
    pub key: &'a str,
    pub version_id: Option<String>,
    /// The version to read; `None` for what is gone.
    pub version: Option<Sequence>,
    pub size: u64,
    pub etag: &'a str,
    pub requester: &'a Requester,
}

impl Fact<'_> {
    fn change(&self, bucket: &Bucket) -> Change {
        Change {
            sequence: self.sequence,
            event: self.event,
            time_ms: self.time_ms,
            bucket: bucket.id,
            bucket_name: bucket.name.clone(),
            key: self.key.to_owned(),
            version_id: self.version_id.clone(),
            version: self.version,
            size: self.size,
            etag: self.etag.to_owned(),
            requester: self.requester.clone(),
        }
    }
}

impl Meta {
    /// Writes that a bucket's notification configuration was put: its topics are to get S3's test event.
    pub async fn announce_notifications(&self, bucket: BucketId, requester: Requester) -> Result<(), MetaError> {
        let time_ms = self.world.clock.unix_ms();
        self.writer
            .write(move |group| {
                let bucket = group.bucket(bucket)?;
                let fact = Fact {
                    sequence: group.next_sequence(),
                    event: EventName::TestEvent,
                    time_ms,
                    key: "",
                    version_id: None,
                    version: None,
                    size: 0,
                    etag: "",
                    requester: &requester,
                };
                record(group, &bucket, fact)
            })
            .await
    }
}

/// Writes a change when somebody reads this bucket's changes.
pub(super) fn record(group: &Group<'_>, bucket: &Bucket, fact: Fact<'_>) -> Result<(), MetaError> {
    if group.is_heard() {
        group.tell(fact.change(bucket));
    }
    if !bucket.watched {
        return Ok(());
    }
    group
        .connection()
        .prepare_cached("INSERT INTO change VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?
        .execute(params![
            fact.sequence.0 as i64,
            fact.event.as_str(),
            fact.time_ms,
            bucket.id.0,
            bucket.name,
            fact.key.as_bytes(),
            fact.version_id,
            fact.version.map(|version| version.0 as i64),
            fact.size as i64,
            fact.etag,
            json(fact.requester),
        ])?;
    group.count(Tally::Changes, 1);
    group.note_change();
    Ok(())
}

/// Rules of a bucket that have gone since: they count for the changes up to `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierRules {
    pub until: Sequence,
    pub region: String,
    /// The notification configuration.
    pub document: String,
}

/// To be called before a bucket's rules change, or the bucket goes: the rules at hand count for every change that was
/// written under them. Where several were kept for the same changes, the first ones count.
pub(super) fn keep_rules(group: &Group<'_>, bucket: &Bucket) -> Result<(), MetaError> {
    group
        .connection()
        .prepare_cached(
            "INSERT OR IGNORE INTO earlier_rules
             SELECT ?1, last, ?2, document FROM bucket_config, (SELECT max(sequence) AS last FROM change WHERE bucket = ?1)
             WHERE bucket = ?1 AND kind = 'notification' AND last IS NOT NULL",
        )?
        .execute(params![bucket.id.0, bucket.region])?;
    Ok(())
}

/// Forgets rules whose changes are all consumed.
pub(super) fn forget_rules(group: &Group<'_>) -> Result<(), MetaError> {
    group
        .connection()
        .prepare_cached(
            "DELETE FROM earlier_rules WHERE until < coalesce((SELECT min(sequence) FROM change), 9223372036854775807)",
        )?
        .execute([])?;
    Ok(())
}

impl Reader {
    /// Rules of a bucket that have gone while changes under them were not consumed, oldest first.
    pub fn earlier_rules(&self, bucket: BucketId) -> Result<Vec<EarlierRules>, MetaError> {
        self.rows(
            "SELECT until, region, document FROM earlier_rules WHERE bucket = ?1 ORDER BY until",
            [bucket.0],
            |row| {
                let until = Sequence(row.get::<_, i64>(0)? as u64);
                Ok(EarlierRules { until, region: row.get(1)?, document: row.get(2)? })
            },
        )
    }
}
