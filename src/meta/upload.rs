//! Multipart uploads and their parts.
//!
//! A part's extents are live from the moment it is stored. Completing hands the chosen ones to the version; what an
//! upload no longer needs goes to reclaim.

use rusqlite::{OptionalExtension, Row, params};

use super::model::*;
use super::row::{json, json_column, key_column, optional_json_column};
use super::writer::Group;
use super::{Meta, MetaError, Reader, object, space, usage};
use crate::limits;
use crate::pool::{self, Extent};

/// What is remembered of a completed upload, so that a repeated completion gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedUpload {
    /// Numbers and entity tags, as they were named.
    pub parts: Vec<(u32, String)>,
    pub committed: Committed,
}

impl Meta {
    pub async fn create_upload(&self, upload: Upload) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                group.bucket(upload.bucket)?;
                group.connection().prepare_cached("INSERT INTO upload VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                    params![
                        upload.upload_id,
                        upload.bucket.0,
                        upload.key.as_bytes(),
                        upload.initiated_ms,
                        json(&upload.attributes),
                        upload.checksum.as_ref().map(json),
                        json(&upload.requester),
                    ],
                )?;
                Ok(())
            })
            .await
    }

    /// Adds or replaces a part; a replaced part's bytes go to reclaim. `missed` has a bit per slot whose drive missed a
    /// block: queued for heal in the same transaction.
    pub async fn put_part(
        &self,
        bucket: BucketId,
        upload_id: String,
        part: Part,
        missed: u64,
    ) -> Result<(), MetaError> {
        let Body::Extents(extents) = part.body else { panic!("a part is never stored inline") };
        self.writer
            .write(move |group| {
                let connection = group.connection();
                let known = connection
                    .prepare_cached("SELECT 1 FROM upload WHERE id = ?1 AND bucket = ?2")?
                    .exists(params![upload_id, bucket.0])?;
                if !known {
                    return Err(MetaError::NoSuchUpload);
                }
                let replaced = connection
                    .prepare_cached("SELECT extents, size FROM part WHERE upload = ?1 AND number = ?2")?
                    .query_row(params![upload_id, part.number], |row| {
                        Ok((space::extents_column(row, 0)?, row.get::<_, i64>(1)?))
                    })
                    .optional()?;
                let (replaced, replaced_bytes) = replaced.unwrap_or_default();
                group.count_usage(bucket, part.size as i64 - replaced_bytes, 0);
                usage::check_quota(group, &group.bucket(bucket)?)?;
                space::bury(group, &replaced.unwrap_or_default(), part.modified_ms)?;
                group.count_live(&extents, 1);
                space::queue_heal(group, &extents, missed)?;
                connection
                    .prepare_cached("INSERT OR REPLACE INTO part VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                    .execute(params![
                        upload_id,
                        part.number,
                        part.size as i64,
                        part.etag,
                        part.modified_ms,
                        part.checksum.as_ref().map(json),
                        pool::encode_extents(&extents),
                        part.salt,
                    ])?;
                Ok(())
            })
            .await
    }

    /// Turns an upload into a version: the chosen parts' bodies become the version's, the others go to reclaim.
    /// `version.body` holds the concatenated extents of the chosen parts; `parts` are their numbers and etags, checked
    /// again here. A repeat with the same parts gets the first answer, for a day.
    pub async fn complete_upload(
        &self,
        upload_id: String,
        parts: Vec<(u32, String)>,
        version: NewVersion,
    ) -> Result<Committed, MetaError> {
        let Body::Extents(extents) = version.body.clone() else { panic!("a completed upload has extents") };
        self.writer
            .write(move |group| {
                if !upload_exists(group, version.bucket, &version.key, &upload_id)? {
                    let completed = find_completed(group.connection(), version.bucket, &version.key, &upload_id)?;
                    return match completed.filter(|completed| completed.parts == parts) {
                        Some(completed) => Ok(completed.committed),
                        None => Err(MetaError::NoSuchUpload),
                    };
                }
                let others = take_parts(group, version.bucket, &upload_id, &parts, &extents)?;
                let committed = object::add_version(group, &version)?;
                space::bury(group, &others, version.modified_ms)?;
                space::queue_heal(group, &extents, version.missed)?;
                group.connection().prepare_cached("DELETE FROM upload WHERE id = ?1")?.execute([&upload_id])?;
                remember(group, &upload_id, &parts, &version, &committed)?;
                Ok(committed)
            })
            .await
    }

    pub async fn abort_upload(&self, bucket: BucketId, key: String, upload_id: String) -> Result<(), MetaError> {
        let now_ms = self.world.clock.unix_ms();
        self.writer
            .write(move |group| {
                if !upload_exists(group, bucket, &key, &upload_id)? {
                    return Err(MetaError::NoSuchUpload);
                }
                abort(group, bucket, &upload_id, now_ms)
            })
            .await
    }
}

impl Reader {
    pub fn upload(&self, bucket: BucketId, key: &str, upload_id: &str) -> Result<Upload, MetaError> {
        self.connection()
            .prepare_cached(&format!("SELECT {UPLOAD_COLUMNS} FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3"))?
            .query_row(params![upload_id, bucket.0, key.as_bytes()], upload_of)
            .optional()?
            .ok_or(MetaError::NoSuchUpload)
    }

    /// How an upload was completed; `None` when it was not, or more than a day ago.
    pub fn completed_upload(
        &self,
        bucket: BucketId,
        key: &str,
        upload_id: &str,
    ) -> Result<Option<CompletedUpload>, MetaError> {
        find_completed(self.connection(), bucket, key, upload_id)
    }

    /// Parts in order, from after `number_marker`.
    pub fn parts(&self, upload_id: &str, number_marker: u32, limit: usize) -> Result<ListPage<Part>, MetaError> {
        let mut entries = self.rows(
            "SELECT number, size, etag, modified_ms, checksum, extents, salt FROM part
             WHERE upload = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
            params![upload_id, number_marker, limit as i64 + 1],
            part_of,
        )?;
        let truncated = limit > 0 && entries.len() > limit;
        entries.truncate(limit);
        Ok(ListPage { entries, truncated })
    }
}

/// What `upload_of` reads, in its order.
pub(super) const UPLOAD_COLUMNS: &str = "key, id, bucket, initiated_ms, attributes, checksum, requester";

pub(super) fn upload_of(row: &Row<'_>) -> rusqlite::Result<Upload> {
    Ok(Upload {
        key: key_column(row, 0)?,
        upload_id: row.get(1)?,
        bucket: BucketId(row.get(2)?),
        initiated_ms: row.get(3)?,
        attributes: json_column(row, 4)?,
        checksum: optional_json_column(row, 5)?,
        requester: json_column(row, 6)?,
    })
}

fn part_of(row: &Row<'_>) -> rusqlite::Result<Part> {
    Ok(Part {
        number: row.get(0)?,
        size: row.get::<_, i64>(1)? as u64,
        etag: row.get(2)?,
        modified_ms: row.get(3)?,
        checksum: optional_json_column(row, 4)?,
        salt: row.get(6)?,
        body: Body::Extents(space::extents_column(row, 5)?.unwrap_or_default()),
    })
}

/// Gives all uploads of a bucket to reclaim.
pub(super) fn abort_all(group: &Group<'_>, bucket: BucketId, now_ms: i64) -> Result<(), MetaError> {
    let mut select = group.connection().prepare_cached("SELECT id FROM upload WHERE bucket = ?1")?;
    let ids: Vec<String> = select.query_map([bucket.0], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    ids.iter().try_for_each(|id| abort(group, bucket, id, now_ms))
}

fn abort(group: &Group<'_>, bucket: BucketId, upload_id: &str, now_ms: i64) -> Result<(), MetaError> {
    let extents = remove_parts(group, bucket, upload_id)?.into_iter().flat_map(|part| part.extents).collect::<Vec<_>>();
    space::bury(group, &extents, now_ms)?;
    group.connection().prepare_cached("DELETE FROM upload WHERE id = ?1")?.execute([upload_id])?;
    Ok(())
}

fn upload_exists(group: &Group<'_>, bucket: BucketId, key: &str, upload_id: &str) -> Result<bool, MetaError> {
    let mut select =
        group.connection().prepare_cached("SELECT 1 FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3")?;
    Ok(select.exists(params![upload_id, bucket.0, key.as_bytes()])?)
}

struct Removed {
    number: u32,
    etag: String,
    extents: Vec<Extent>,
}

/// Removes all parts of an upload, in order.
fn remove_parts(group: &Group<'_>, bucket: BucketId, upload_id: &str) -> Result<Vec<Removed>, MetaError> {
    let mut select = group
        .connection()
        .prepare_cached("SELECT number, etag, extents, size FROM part WHERE upload = ?1 ORDER BY number")?;
    let decode = |row: &Row<'_>| {
        let extents = space::extents_column(row, 2)?.unwrap_or_default();
        Ok((Removed { number: row.get(0)?, etag: row.get(1)?, extents }, row.get::<_, i64>(3)?))
    };
    let removed: Vec<(Removed, i64)> = select.query_map([upload_id], decode)?.collect::<rusqlite::Result<_>>()?;
    group.count_usage(bucket, -removed.iter().map(|(_, size)| size).sum::<i64>(), 0);
    group.connection().prepare_cached("DELETE FROM part WHERE upload = ?1")?.execute([upload_id])?;
    Ok(removed.into_iter().map(|(part, _)| part).collect())
}

/// Removes the parts; gives the extents of those not chosen. The chosen ones must be what the version is made of.
fn take_parts(
    group: &Group<'_>,
    bucket: BucketId,
    upload_id: &str,
    chosen: &[(u32, String)],
    wanted: &[Extent],
) -> Result<Vec<Extent>, MetaError> {
    let (mut taken, mut others) = (Vec::with_capacity(wanted.len()), Vec::new());
    let mut left = chosen.iter().peekable();
    for part in remove_parts(group, bucket, upload_id)? {
        match left.next_if(|(number, etag)| *number == part.number && *etag == part.etag) {
            Some(_) => taken.extend(part.extents),
            None => others.extend(part.extents),
        }
    }
    if left.peek().is_some() || taken != wanted { Err(MetaError::PartChanged) } else { Ok(others) }
}

fn remember(
    group: &Group<'_>,
    upload_id: &str,
    parts: &[(u32, String)],
    version: &NewVersion,
    committed: &Committed,
) -> Result<(), MetaError> {
    let connection = group.connection();
    let remembered = limits::COMPLETED_UPLOAD_MEMORY.as_millis() as i64;
    connection
        .prepare_cached("DELETE FROM completed WHERE completed_ms < ?1")?
        .execute([version.modified_ms.saturating_sub(remembered)])?;
    connection.prepare_cached("INSERT OR REPLACE INTO completed VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
        params![
            upload_id,
            version.bucket.0,
            version.key.as_bytes(),
            committed.sequence.0 as i64,
            json(&parts),
            version.modified_ms,
            committed.version_id,
        ],
    )?;
    Ok(())
}

fn find_completed(
    connection: &rusqlite::Connection,
    bucket: BucketId,
    key: &str,
    upload_id: &str,
) -> Result<Option<CompletedUpload>, MetaError> {
    let decode = |row: &Row<'_>| {
        let committed = Committed { sequence: Sequence(row.get::<_, i64>(0)? as u64), version_id: row.get(1)? };
        Ok(CompletedUpload { parts: json_column(row, 2)?, committed })
    };
    Ok(connection
        .prepare_cached(
            "SELECT sequence, version_id, parts FROM completed WHERE upload = ?1 AND bucket = ?2 AND key = ?3",
        )?
        .query_row(params![upload_id, bucket.0, key.as_bytes()], decode)
        .optional()?)
}
