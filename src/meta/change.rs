//! The change log: one row for each fact, written in the transaction of the version it speaks of.

use rusqlite::params;

use super::model::*;
use super::outbox::Tally;
use super::row::json;
use super::writer::Group;
use super::{MetaError, version_id_text};

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

/// Writes a change when somebody reads this bucket's changes.
pub(super) fn record(group: &Group<'_>, bucket: &Bucket, fact: Fact<'_>) -> Result<(), MetaError> {
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
