//! Object lock: what holds a version, and who may loosen it. Judged inside the transaction that would remove the version
//! or change what holds it, by the retention clock.

use rusqlite::params;

use super::change;
use super::model::*;
use super::row::{find_version, json, rank};
use super::writer::Group;
use super::{Meta, MetaError};

/// Refuses the removal of a version that is held.
pub(super) fn check_removal(
    group: &Group<'_>,
    bucket: &Bucket,
    key: &str,
    sequence: Sequence,
    bypass_governance: bool,
) -> Result<(), MetaError> {
    if !bucket.object_lock {
        return Ok(());
    }
    let Some(found) = find_version(group.connection(), bucket.id, key, VersionRef::Numbered(sequence))? else {
        return Ok(());
    };
    match holds(&found.attributes, group.retention_now_ms(), bypass_governance) {
        true => Err(MetaError::Locked),
        false => Ok(()),
    }
}

/// Whether a version is held now.
pub(super) fn holds(attributes: &Attributes, now_ms: i64, bypass_governance: bool) -> bool {
    let by_retention = attributes.retention.is_some_and(|retention| {
        let passed_over = bypass_governance && retention.mode == RetentionMode::Governance;
        retention.until_ms > now_ms && !passed_over
    });
    by_retention || attributes.legal_hold == Some(true)
}

/// Whether a version's retention may become another one (`None`: end).
fn may_become(before: Option<Retention>, after: Option<Retention>, now_ms: i64, bypass_governance: bool) -> bool {
    let Some(before) = before.filter(|before| before.until_ms > now_ms) else { return true };
    let keeps = after.is_some_and(|after| after.mode == before.mode && after.until_ms >= before.until_ms);
    keeps || bypass_governance && before.mode == RetentionMode::Governance
}

/// Retention of a new version: its own, else the bucket's for new versions.
pub(super) fn retention_of_new(group: &Group<'_>, bucket: &Bucket, own: Option<Retention>) -> Option<Retention> {
    let default = bucket.rules.default_retention.filter(|_| bucket.object_lock && own.is_none());
    let Some(DefaultRetention { mode, period }) = default else { return own };
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let days = match period {
        RetentionPeriod::Days(days) => i64::from(days),
        RetentionPeriod::Years(years) => i64::from(years) * 365,
    };
    Some(Retention { mode, until_ms: group.retention_now_ms().saturating_add(days.saturating_mul(DAY_MS)) })
}

impl Meta {
    /// Turns object lock on, which nothing turns off, and sets the retention of new versions. The bucket must keep
    /// versions.
    pub async fn set_object_lock(
        &self,
        bucket: BucketId,
        default_retention: Option<DefaultRetention>,
    ) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                if group.bucket(bucket)?.versioning != Versioning::Enabled {
                    return Err(MetaError::LockNeedsVersioning);
                }
                group.guard_retention()?;
                group
                    .connection()
                    .prepare_cached("UPDATE bucket SET object_lock = 1 WHERE id = ?1")?
                    .execute([bucket.0])?;
                super::bucket::change_rules(group, bucket, |rules| rules.default_retention = default_retention)
            })
            .await
    }

    /// Sets a version's retention, or ends it. One that is in force can only be made firmer.
    pub async fn set_retention(
        &self,
        bucket: BucketId,
        key: String,
        version: VersionRef,
        retention: Option<Retention>,
        bypass_governance: bool,
    ) -> Result<Committed, MetaError> {
        self.writer
            .write(move |group| {
                let now_ms = group.retention_now_ms();
                change_attributes(group, bucket, &key, version, |attributes| {
                    if retention.is_some_and(|retention| retention.until_ms <= now_ms) {
                        return Err(MetaError::RetainUntilPast);
                    }
                    if !may_become(attributes.retention, retention, now_ms, bypass_governance) {
                        return Err(MetaError::Locked);
                    }
                    attributes.retention = retention;
                    Ok(())
                })
            })
            .await
    }

    pub async fn set_legal_hold(
        &self,
        bucket: BucketId,
        key: String,
        version: VersionRef,
        on: bool,
    ) -> Result<Committed, MetaError> {
        self.writer
            .write(move |group| {
                change_attributes(group, bucket, &key, version, |attributes| {
                    attributes.legal_hold = Some(on);
                    Ok(())
                })
            })
            .await
    }
}

fn change_attributes(
    group: &Group<'_>,
    bucket: BucketId,
    key: &str,
    version: VersionRef,
    change: impl FnOnce(&mut Attributes) -> Result<(), MetaError>,
) -> Result<Committed, MetaError> {
    let bucket = group.bucket(bucket)?;
    if !bucket.object_lock {
        return Err(MetaError::NoObjectLock);
    }
    let found = find_version(group.connection(), bucket.id, key, version)?;
    let Some(mut found) = found.filter(|found| found.kind == VersionKind::Object) else {
        return Err(if version == VersionRef::Latest { MetaError::NoSuchKey } else { MetaError::NoSuchVersion });
    };
    change(&mut found.attributes)?;
    group
        .connection()
        .prepare_cached("UPDATE version SET attributes = ?4 WHERE bucket = ?1 AND key = ?2 AND rank = ?3")?
        .execute(params![bucket.id.0, key.as_bytes(), rank(found.sequence), json(&found.attributes)])?;
    let version_id = change::version_id(&bucket, found.is_null, found.sequence);
    Ok(Committed { sequence: found.sequence, version_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_in_force_can_only_be_made_firmer() {
        use RetentionMode::{Compliance, Governance};
        let of = |mode, until_ms| Some(Retention { mode, until_ms });
        // Before, after, and whether it may become so without and with bypass; it is 100.
        for (before, after, plain, bypass) in [
            (None, of(Governance, 200), true, true),
            (of(Governance, 100), None, true, true),
            (of(Compliance, 100), of(Governance, 101), true, true),
            (of(Governance, 200), of(Governance, 200), true, true),
            (of(Governance, 200), of(Governance, 201), true, true),
            (of(Governance, 200), of(Governance, 199), false, true),
            (of(Governance, 200), of(Compliance, 300), false, true),
            (of(Governance, 200), None, false, true),
            (of(Compliance, 200), of(Compliance, 201), true, true),
            (of(Compliance, 200), of(Compliance, 199), false, false),
            (of(Compliance, 200), of(Governance, 300), false, false),
            (of(Compliance, 200), None, false, false),
        ] {
            assert_eq!(may_become(before, after, 100, false), plain, "{before:?} {after:?}");
            assert_eq!(may_become(before, after, 100, true), bypass, "{before:?} {after:?} with bypass");
        }
    }
}
