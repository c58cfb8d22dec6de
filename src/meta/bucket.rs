//! Buckets and their configuration documents.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::model::*;
use super::row::{json, json_column};
use super::writer::Group;
use super::{Meta, MetaError, change, upload};

const COLUMNS: &str = "SELECT id, name, region, created_ms, versioning, object_lock, watched, owner, rules FROM bucket";

impl Meta {
    /// Creates a bucket that is the store's own.
    pub async fn create_bucket(
        &self,
        name: String,
        region: String,
        object_lock: bool,
        now_ms: i64,
    ) -> Result<(), MetaError> {
        self.create_bucket_of(String::new(), name, region, object_lock, now_ms, Vec::new()).await
    }

    /// Creates a bucket that belongs to an account, with these configuration documents. One with object lock is versioned
    /// from the start, as in S3.
    pub async fn create_bucket_of(
        &self,
        owner: String,
        name: String,
        region: String,
        object_lock: bool,
        now_ms: i64,
        documents: Vec<(BucketConfig, String)>,
    ) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let versioning = if object_lock { Versioning::Enabled } else { Versioning::Unversioned };
                let connection = group.connection();
                let inserted = connection
                    .prepare_cached(
                        "INSERT INTO bucket(name, region, created_ms, versioning, object_lock, watched, owner)
                         VALUES(?1, ?2, ?3, ?4, ?5, 0, ?6) ON CONFLICT(name) DO NOTHING",
                    )?
                    .execute(params![name, region, now_ms, versioning_code(versioning), object_lock, owner])?;
                group.forget_buckets();
                if inserted == 0 {
                    return Err(MetaError::BucketExists);
                }
                let bucket = connection.last_insert_rowid();
                connection.prepare_cached("INSERT INTO usage VALUES(?1, 0, 0)")?.execute([bucket])?;
                for (kind, document) in &documents {
                    connection.prepare_cached("INSERT INTO bucket_config VALUES(?1, ?2, ?3)")?.execute(params![
                        bucket,
                        config_name(*kind),
                        document
                    ])?;
                }
                if object_lock { group.guard_retention() } else { Ok(()) }
            })
            .await
    }

    /// Deletes a bucket that has no version of any key. Uploads under way do not keep it (as in S3): their parts go to
    /// reclaim.
    pub async fn delete_bucket(&self, name: String) -> Result<(), MetaError> {
        let now_ms = self.world.clock.unix_ms();
        self.writer
            .write(move |group| {
                let connection = group.connection();
                let bucket = by_name(connection, &name)?;
                let occupied = connection
                    .prepare_cached("SELECT 1 FROM version WHERE bucket = ?1 LIMIT 1")?
                    .exists([bucket.id.0])?;
                if occupied {
                    return Err(MetaError::BucketNotEmpty);
                }
                upload::abort_all(group, bucket.id, now_ms)?;
                change::keep_rules(group, &bucket)?;
                for sql in [
                    "DELETE FROM completed WHERE bucket = ?1",
                    "DELETE FROM bucket_config WHERE bucket = ?1",
                    "DELETE FROM usage WHERE bucket = ?1",
                    "DELETE FROM bucket WHERE id = ?1",
                ] {
                    connection.prepare_cached(sql)?.execute([bucket.id.0])?;
                }
                group.forget_buckets();
                Ok(())
            })
            .await
    }

    pub async fn set_versioning(&self, bucket: BucketId, state: Versioning) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                if group.bucket(bucket)?.object_lock && state != Versioning::Enabled {
                    return Err(MetaError::LockNeedsVersioning);
                }
                let updated = group
                    .connection()
                    .prepare_cached("UPDATE bucket SET versioning = ?2 WHERE id = ?1")?
                    .execute([bucket.0, versioning_code(state)])?;
                group.forget_buckets();
                if updated == 1 { Ok(()) } else { Err(MetaError::NoSuchBucket) }
            })
            .await
    }

    /// Sets or, with `None`, removes a configuration document. `watched` changes only with a notification document.
    pub async fn set_bucket_config(
        &self,
        bucket: BucketId,
        kind: BucketConfig,
        document: Option<String>,
        watched: Option<bool>,
    ) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let connection = group.connection();
                let row = group.bucket(bucket)?;
                if kind == BucketConfig::Notification {
                    change::keep_rules(group, &row)?;
                }
                if kind == BucketConfig::Lifecycle {
                    change_rules(group, bucket, |rules| rules.lifecycle = document.is_some())?;
                }
                match document {
                    Some(document) => connection
                        .prepare_cached("INSERT OR REPLACE INTO bucket_config VALUES(?1, ?2, ?3)")?
                        .execute(params![bucket.0, config_name(kind), document])?,
                    None => connection
                        .prepare_cached("DELETE FROM bucket_config WHERE bucket = ?1 AND kind = ?2")?
                        .execute(params![bucket.0, config_name(kind)])?,
                };
                if let Some(watched) = watched {
                    connection
                        .prepare_cached("UPDATE bucket SET watched = ?2 WHERE id = ?1")?
                        .execute(params![bucket.0, watched])?;
                }
                group.forget_buckets();
                Ok(())
            })
            .await
    }
}

/// Changes what writes to the bucket are held against.
pub(super) fn change_rules(
    group: &Group<'_>,
    bucket: BucketId,
    change: impl FnOnce(&mut BucketRules),
) -> Result<(), MetaError> {
    let mut rules = group.bucket(bucket)?.rules;
    change(&mut rules);
    group
        .connection()
        .prepare_cached("UPDATE bucket SET rules = ?2 WHERE id = ?1")?
        .execute(params![bucket.0, json(&rules)])?;
    group.forget_buckets();
    Ok(())
}

pub(super) fn by_id(connection: &Connection, id: BucketId) -> Result<Bucket, MetaError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?;
    statement.query_row([id.0], decode).optional()?.ok_or(MetaError::NoSuchBucket)
}

pub(super) fn by_name(connection: &Connection, name: &str) -> Result<Bucket, MetaError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE name = ?1"))?;
    statement.query_row([name], decode).optional()?.ok_or(MetaError::NoSuchBucket)
}

/// All buckets, by name.
pub(super) fn all(connection: &Connection) -> Result<Vec<Bucket>, MetaError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY name"))?;
    let rows = statement.query_map([], decode)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn config(
    connection: &Connection,
    bucket: BucketId,
    kind: BucketConfig,
) -> Result<Option<String>, MetaError> {
    let mut statement =
        connection.prepare_cached("SELECT document FROM bucket_config WHERE bucket = ?1 AND kind = ?2")?;
    Ok(statement.query_row(params![bucket.0, config_name(kind)], |row| row.get(0)).optional()?)
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    let versioning = match row.get(4)? {
        0 => Versioning::Unversioned,
        1 => Versioning::Enabled,
        2 => Versioning::Suspended,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(4, other)),
    };
    Ok(Bucket {
        id: BucketId(row.get(0)?),
        name: row.get(1)?,
        region: row.get(2)?,
        created_ms: row.get(3)?,
        versioning,
        object_lock: row.get(5)?,
        watched: row.get(6)?,
        owner: row.get(7)?,
        rules: json_column(row, 8)?,
    })
}

fn versioning_code(versioning: Versioning) -> i64 {
    match versioning {
        Versioning::Unversioned => 0,
        Versioning::Enabled => 1,
        Versioning::Suspended => 2,
    }
}

fn config_name(kind: BucketConfig) -> &'static str {
    match kind {
        BucketConfig::Notification => "notification",
        BucketConfig::Tagging => "tagging",
        BucketConfig::Cors => "cors",
        BucketConfig::Policy => "policy",
        BucketConfig::Lifecycle => "lifecycle",
        BucketConfig::Encryption => "encryption",
        BucketConfig::ObjectLock => "object-lock",
        BucketConfig::PublicAccessBlock => "public-access-block",
        BucketConfig::OwnershipControls => "ownership-controls",
        BucketConfig::Acl => "acl",
    }
}
