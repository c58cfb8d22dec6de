//! Versions: put, delete, tags. S3's versioning rules live here.
//!
//! A bucket that was never versioned, or whose versioning is suspended, writes null versions: one a key, each replacing
//! the last. An enabled one adds. Whatever is replaced or deleted gives its inline bytes back in the same transaction
//! and its extents to reclaim, unless a hook is still to see it (`held`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};

use super::change::{self, Fact};
use super::model::*;
use super::row::{find_version, json, rank, sequence};
use super::writer::Group;
use super::{Meta, MetaError, held, lock, rolling, space, usage};
use crate::crypt;
use crate::pool::{self, Extent};

impl Meta {
    /// Commits a version with its change; what it replaces goes to reclaim in the same transaction.
    pub async fn put_version(&self, version: NewVersion) -> Result<Committed, MetaError> {
        if let Body::Inline(bytes) = &version.body {
            let sealed = version.attributes.encryption.is_some();
            let whole = if sealed { crypt::sealed_bytes(version.size) } else { version.size };
            assert_eq!(bytes.len() as u64, whole, "an inline body is the whole object");
        }
        self.writer
            .write(move |group| {
                if let Body::Extents(extents) = &version.body {
                    group.count_live(extents, 1);
                    space::queue_heal(group, extents, version.missed)?;
                }
                add_version(group, &version)
            })
            .await
    }

    /// Deletes or marks; deleting what is not there succeeds, as in S3.
    pub async fn delete_version(&self, delete: DeleteVersion) -> Result<Deleted, MetaError> {
        self.writer
            .write(move |group| {
                let bucket = group.bucket(delete.bucket)?;
                check_delete(group, &delete)?;
                check_place(group, &delete)?;
                match (delete.version, bucket.versioning) {
                    (VersionRef::Latest, Versioning::Unversioned) => delete_only_version(group, &bucket, &delete),
                    (VersionRef::Latest, _) => mark_deleted(group, &bucket, &delete),
                    (VersionRef::Null | VersionRef::Exact(_) | VersionRef::Numbered(_), _) => {
                        delete_one(group, &bucket, &delete)
                    }
                }
            })
            .await
    }

    /// Replaces a version's tags, with the change. (Content and modification time stay.)
    pub async fn set_tags(
        &self,
        bucket: BucketId,
        key: String,
        version: VersionRef,
        tags: BTreeMap<String, String>,
        now_ms: i64,
        requester: Requester,
    ) -> Result<Committed, MetaError> {
        let event = if tags.is_empty() { EventName::ObjectTaggingDelete } else { EventName::ObjectTaggingPut };
        let amendment = Amendment { bucket, key, version, event, now_ms, requester };
        self.amend(amendment, move |attributes| attributes.tags = tags).await
    }

    /// Replaces a version's access control list, with the change.
    pub async fn set_acl(
        &self,
        bucket: BucketId,
        key: String,
        version: VersionRef,
        acl: Option<Acl>,
        now_ms: i64,
        requester: Requester,
    ) -> Result<Committed, MetaError> {
        let amendment = Amendment { bucket, key, version, event: EventName::ObjectAclPut, now_ms, requester };
        self.amend(amendment, move |attributes| attributes.acl = acl).await
    }

    /// Changes a version's attributes, with the change.
    async fn amend(
        &self,
        amendment: Amendment,
        change: impl FnOnce(&mut Attributes) + Send + 'static,
    ) -> Result<Committed, MetaError> {
        let Amendment { bucket, key, version, event, now_ms, requester } = amendment;
        self.writer
            .write(move |group| {
                let bucket = group.bucket(bucket)?;
                let found = find_version(group.connection(), bucket.id, &key, version)?;
                let missing = match version {
                    VersionRef::Latest => MetaError::NoSuchKey,
                    _ => MetaError::NoSuchVersion,
                };
                let Some(mut found) = found.filter(|found| found.kind == VersionKind::Object) else {
                    return Err(missing);
                };
                change(&mut found.attributes);
                group
                    .connection()
                    .prepare_cached("UPDATE version SET attributes = ?4 WHERE bucket = ?1 AND key = ?2 AND rank = ?3")?
                    .execute(params![bucket.id.0, key.as_bytes(), rank(found.sequence), json(&found.attributes)])?;
                let version_id = change::version_id(&bucket, found.is_null, found.sequence);
                let fact = Fact {
                    sequence: group.next_sequence(),
                    event,
                    time_ms: now_ms,
                    key: &key,
                    version_id: version_id.clone(),
                    version: Some(found.sequence),
                    size: found.size,
                    etag: &found.etag,
                    requester: &requester,
                };
                change::record(group, &bucket, fact)?;
                Ok(Committed { sequence: found.sequence, version_id })
            })
            .await
    }
}

/// Which version's attributes change, and how the change is told.
struct Amendment {
    bucket: BucketId,
    key: String,
    version: VersionRef,
    event: EventName,
    now_ms: i64,
    requester: Requester,
}

/// S3's write conditions against the newest version (`None`: absent, or a delete marker).
pub fn check_condition(condition: &WriteCondition, current: Option<&Version>) -> Result<(), MetaError> {
    let wants_one =
        condition.if_match.is_some() || condition.if_match_size.is_some() || condition.if_match_modified_ms.is_some();
    let Some(current) = current else {
        return if wants_one { Err(MetaError::NoSuchKey) } else { Ok(()) };
    };
    let matches = |wanted: &EtagCondition| match wanted {
        EtagCondition::Any => true,
        EtagCondition::OneOf(etags) => etags.contains(&current.etag),
    };
    // The header that carries the time knows whole seconds.
    let same_second = |wanted: i64| wanted.div_euclid(1000) == current.modified_ms.div_euclid(1000);
    let holds = condition.if_match.as_ref().is_none_or(matches)
        && !condition.if_none_match.as_ref().is_some_and(matches)
        && condition.if_match_size.is_none_or(|size| size == current.size)
        && condition.if_match_modified_ms.is_none_or(same_second);
    if holds { Ok(()) } else { Err(MetaError::ConditionFailed) }
}

/// Inserts the version as the newest of its key, replacing the null version where the bucket's state says so.
/// The caller accounts for the body's extents.
pub(super) fn add_version(group: &Group<'_>, version: &NewVersion) -> Result<Committed, MetaError> {
    let bucket = group.bucket(version.bucket)?;
    if version.condition != WriteCondition::default() {
        let newest = find_version(group.connection(), bucket.id, &version.key, VersionRef::Latest)?;
        let current = newest.filter(|newest| newest.kind == VersionKind::Object);
        check_condition(&version.condition, current.as_ref())?;
    }
    let is_null = bucket.versioning != Versioning::Enabled;
    if is_null {
        remove_null(group, &bucket, &version.key, version.modified_ms, false)?;
    }
    let sequence = group.next_sequence();
    insert(group, &bucket, sequence, is_null, version)?;
    group.count_usage(bucket.id, version.size as i64, 1);
    rolling::make_room(group, &bucket, sequence, version.modified_ms)?;
    usage::check_quota(group, &bucket)?;
    let version_id = change::version_id(&bucket, is_null, sequence);
    let fact = Fact {
        sequence,
        event: version.event,
        time_ms: version.modified_ms,
        key: &version.key,
        version_id: version_id.clone(),
        version: Some(sequence),
        size: version.size,
        etag: &version.etag,
        requester: &version.requester,
    };
    change::record(group, &bucket, fact)?;
    Ok(Committed { sequence, version_id })
}

const INSERT: &str = "INSERT INTO version VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

fn insert(
    group: &Group<'_>,
    bucket: &Bucket,
    sequence: Sequence,
    is_null: bool,
    version: &NewVersion,
) -> Result<(), MetaError> {
    let mut attributes = Cow::Borrowed(&version.attributes);
    let retention = lock::retention_of_new(group, bucket, attributes.retention);
    if retention != attributes.retention {
        attributes.to_mut().retention = retention;
    }
    let extents = match &version.body {
        Body::Extents(extents) => Some(pool::encode_extents(extents)),
        Body::Inline(bytes) => {
            if !bytes.is_empty() {
                group
                    .connection()
                    .prepare_cached("INSERT INTO inline VALUES(?1, ?2)")?
                    .execute(params![sequence.0 as i64, bytes.as_ref()])?;
            }
            None
        }
    };
    group.connection().prepare_cached(INSERT)?.execute(params![
        version.bucket.0,
        version.key.as_bytes(),
        rank(sequence),
        is_null,
        false,
        version.size as i64,
        version.etag,
        version.modified_ms,
        json(&attributes),
        extents,
    ])?;
    rolling::note(group, bucket, &version.key, sequence)
}

/// What has to be known of a version to remove it.
struct Condemned {
    sequence: Sequence,
    is_null: bool,
    marker: bool,
    extents: Option<Vec<Extent>>,
    size: u64,
}

fn condemned(row: &Row<'_>) -> rusqlite::Result<Condemned> {
    Ok(Condemned {
        sequence: sequence(row.get(0)?),
        is_null: row.get(1)?,
        marker: row.get(2)?,
        extents: space::extents_column(row, 3)?,
        size: row.get::<_, i64>(4)? as u64,
    })
}

fn find_condemned(
    group: &Group<'_>,
    bucket: BucketId,
    key: &str,
    which: VersionRef,
) -> Result<Option<Condemned>, MetaError> {
    let connection = group.connection();
    let found = match which {
        VersionRef::Latest => connection
            .prepare_cached(
                "SELECT rank, is_null, marker, extents, size FROM version WHERE bucket = ?1 AND key = ?2 ORDER BY rank LIMIT 1",
            )?
            .query_row(params![bucket.0, key.as_bytes()], condemned),
        VersionRef::Null => connection
            .prepare_cached(
                "SELECT rank, is_null, marker, extents, size FROM version
                 WHERE bucket = ?1 AND key = ?2 AND is_null = 1 ORDER BY rank LIMIT 1",
            )?
            .query_row(params![bucket.0, key.as_bytes()], condemned),
        VersionRef::Exact(sequence) => connection
            .prepare_cached(
                "SELECT rank, is_null, marker, extents, size FROM version
                 WHERE bucket = ?1 AND key = ?2 AND rank = ?3 AND is_null = 0",
            )?
            .query_row(params![bucket.0, key.as_bytes(), rank(sequence)], condemned),
        VersionRef::Numbered(sequence) => connection
            .prepare_cached(
                "SELECT rank, is_null, marker, extents, size FROM version WHERE bucket = ?1 AND key = ?2 AND rank = ?3",
            )?
            .query_row(params![bucket.0, key.as_bytes(), rank(sequence)], condemned),
    };
    Ok(found.optional()?)
}

/// Removes a version, unless it is locked: every removal passes here.
fn remove(
    group: &Group<'_>,
    bucket: &Bucket,
    key: &str,
    gone: &Condemned,
    now_ms: i64,
    bypass_governance: bool,
) -> Result<(), MetaError> {
    let connection = group.connection();
    if !gone.marker {
        lock::check_removal(group, bucket, key, gone.sequence, bypass_governance)?;
        rolling::forget(group, bucket, gone.sequence)?;
        group.count_usage(bucket.id, -(gone.size as i64), -1);
    }
    let is_held = !gone.marker && held::hold(group, bucket.id, key, gone.sequence)?;
    connection.prepare_cached("DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND rank = ?3")?.execute(params![
        bucket.id.0,
        key.as_bytes(),
        rank(gone.sequence)
    ])?;
    if is_held {
        return Ok(());
    }
    match &gone.extents {
        Some(extents) => space::bury(group, extents, now_ms),
        None if gone.marker => Ok(()),
        None => {
            connection.prepare_cached("DELETE FROM inline WHERE sequence = ?1")?.execute([gone.sequence.0 as i64])?;
            Ok(())
        }
    }
}

fn remove_null(
    group: &Group<'_>,
    bucket: &Bucket,
    key: &str,
    now_ms: i64,
    bypass_governance: bool,
) -> Result<(), MetaError> {
    match find_condemned(group, bucket.id, key, VersionRef::Null)? {
        Some(gone) => remove(group, bucket, key, &gone, now_ms, bypass_governance),
        None => Ok(()),
    }
}

/// Removes one version for good because the store itself wants it so, with the event of a lifecycle rule. Gives its bytes.
pub(super) fn expire(
    group: &Group<'_>,
    bucket: &Bucket,
    key: &str,
    sequence: Sequence,
    principal: &str,
    now_ms: i64,
) -> Result<u64, MetaError> {
    let Some(gone) = find_condemned(group, bucket.id, key, VersionRef::Numbered(sequence))? else { return Ok(0) };
    remove(group, bucket, key, &gone, now_ms, false)?;
    let fact = Fact {
        sequence: group.next_sequence(),
        event: EventName::LifecycleExpirationDelete,
        time_ms: now_ms,
        key,
        version_id: change::version_id(bucket, gone.is_null, gone.sequence),
        version: None,
        size: 0,
        etag: "",
        requester: &Requester { principal: principal.to_owned(), ..Requester::default() },
    };
    change::record(group, bucket, fact)?;
    Ok(gone.size)
}

/// A lifecycle rule has judged a version in its place among those of its key: it must still be there.
fn check_place(group: &Group<'_>, delete: &DeleteVersion) -> Result<(), MetaError> {
    let DeleteCause::Lifecycle(place) = delete.cause else { return Ok(()) };
    let mut select = group
        .connection()
        .prepare_cached("SELECT rank FROM version WHERE bucket = ?1 AND key = ?2 ORDER BY rank LIMIT 2")?;
    let newest: Vec<Sequence> = select
        .query_map(params![delete.bucket.0, delete.key.as_bytes()], |row| Ok(sequence(row.get(0)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let holds = match place {
        KeyPlace::Newest(judged) => newest.first() == Some(&judged),
        KeyPlace::Noncurrent(judged) => newest.first().is_some_and(|newest| *newest > judged),
        KeyPlace::Only(judged) => newest == [judged],
    };
    if holds { Ok(()) } else { Err(MetaError::ConditionFailed) }
}

/// The events of a delete: of one that is for good, and of one that makes a marker.
fn events_of(cause: DeleteCause) -> (EventName, EventName) {
    match cause {
        DeleteCause::Request { .. } => (EventName::ObjectRemovedDelete, EventName::ObjectRemovedDeleteMarkerCreated),
        DeleteCause::Lifecycle(_) => {
            (EventName::LifecycleExpirationDelete, EventName::LifecycleExpirationDeleteMarkerCreated)
        }
    }
}

fn bypasses(cause: DeleteCause) -> bool {
    cause == DeleteCause::Request { bypass_governance: true }
}

/// A delete's conditions hold for the version that it names.
fn check_delete(group: &Group<'_>, delete: &DeleteVersion) -> Result<(), MetaError> {
    if delete.condition == WriteCondition::default() {
        return Ok(());
    }
    match find_version(group.connection(), delete.bucket, &delete.key, delete.version)? {
        Some(found) if found.kind == VersionKind::Object => check_condition(&delete.condition, Some(&found)),
        // A marker is there, but it has no entity tag to match (S3: 412).
        Some(_) => check_condition(&delete.condition, None).map_err(|_| MetaError::ConditionFailed),
        None => check_condition(&delete.condition, None),
    }
}

fn delete_only_version(group: &Group<'_>, bucket: &Bucket, delete: &DeleteVersion) -> Result<Deleted, MetaError> {
    if let Some(gone) = find_condemned(group, bucket.id, &delete.key, VersionRef::Latest)? {
        remove(group, bucket, &delete.key, &gone, delete.time_ms, bypasses(delete.cause))?;
        record_delete(group, bucket, delete, None)?;
    }
    Ok(Deleted { version_id: None, delete_marker: false })
}

fn delete_one(group: &Group<'_>, bucket: &Bucket, delete: &DeleteVersion) -> Result<Deleted, MetaError> {
    let named = match delete.version {
        VersionRef::Exact(sequence) | VersionRef::Numbered(sequence) => super::version_id_text(sequence),
        VersionRef::Null | VersionRef::Latest => "null".to_owned(),
    };
    let Some(gone) = find_condemned(group, bucket.id, &delete.key, delete.version)? else {
        return Ok(Deleted { version_id: Some(named), delete_marker: false });
    };
    remove(group, bucket, &delete.key, &gone, delete.time_ms, bypasses(delete.cause))?;
    record_delete(group, bucket, delete, change::version_id(bucket, gone.is_null, gone.sequence))?;
    Ok(Deleted { version_id: Some(named), delete_marker: gone.marker })
}

fn record_delete(
    group: &Group<'_>,
    bucket: &Bucket,
    delete: &DeleteVersion,
    version_id: Option<String>,
) -> Result<(), MetaError> {
    let fact = Fact {
        sequence: group.next_sequence(),
        event: events_of(delete.cause).0,
        time_ms: delete.time_ms,
        key: &delete.key,
        version_id,
        version: None,
        size: 0,
        etag: "",
        requester: &delete.requester,
    };
    change::record(group, bucket, fact)
}

fn mark_deleted(group: &Group<'_>, bucket: &Bucket, delete: &DeleteVersion) -> Result<Deleted, MetaError> {
    let is_null = bucket.versioning == Versioning::Suspended;
    if is_null {
        remove_null(group, bucket, &delete.key, delete.time_ms, bypasses(delete.cause))?;
    }
    let sequence = group.next_sequence();
    group.connection().prepare_cached(INSERT)?.execute(params![
        bucket.id.0,
        delete.key.as_bytes(),
        rank(sequence),
        is_null,
        true,
        0,
        "",
        delete.time_ms,
        json(&Attributes::default()),
        None::<Vec<u8>>,
    ])?;
    let version_id = change::version_id(bucket, is_null, sequence);
    let fact = Fact {
        sequence,
        event: events_of(delete.cause).1,
        time_ms: delete.time_ms,
        key: &delete.key,
        version_id: version_id.clone(),
        version: None,
        size: 0,
        etag: "",
        requester: &delete.requester,
    };
    change::record(group, bucket, fact)?;
    Ok(Deleted { version_id, delete_marker: true })
}
