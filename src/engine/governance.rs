//! What holds versions, and how much a bucket may hold: object lock, quotas, rolling buckets, lifecycle documents.
//!
//! The transactions decide; what is refused here is refused early, before a body is read for nothing.

use std::sync::Arc;

use super::{Engine, EngineError, UploadPart, check_key};
use crate::lifecycle::Configuration;
use crate::meta::{
    self, Bucket, BucketConfig, BucketId, DefaultRetention, MetaError, Retention, Rolling, Usage, VersionRef,
    Versioning,
};

/// The lifecycle document that was read last.
pub(super) type LifecycleMemory = Option<(BucketId, String, Arc<Configuration>)>;

impl Engine {
    /// Turns object lock on, if it is not, and sets the retention of new versions.
    pub async fn set_object_lock(
        &self,
        bucket: &Bucket,
        default_retention: Option<DefaultRetention>,
    ) -> Result<(), EngineError> {
        Ok(self.meta.set_object_lock(bucket.id, default_retention).await?)
    }

    /// Sets a version's retention, or ends it.
    pub async fn set_retention(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionRef,
        retention: Option<Retention>,
        bypass_governance: bool,
    ) -> Result<meta::Committed, EngineError> {
        check_key(key)?;
        Ok(self.meta.set_retention(bucket.id, key.to_owned(), version, retention, bypass_governance).await?)
    }

    pub async fn set_legal_hold(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionRef,
        on: bool,
    ) -> Result<meta::Committed, EngineError> {
        check_key(key)?;
        Ok(self.meta.set_legal_hold(bucket.id, key.to_owned(), version, on).await?)
    }

    pub async fn set_quota(
        &self,
        bucket: &Bucket,
        bytes: Option<u64>,
        objects: Option<u64>,
    ) -> Result<(), EngineError> {
        Ok(self.meta.set_quota(bucket.id, bytes, objects).await?)
    }

    pub async fn set_rolling(&self, bucket: &Bucket, rolling: Option<Rolling>) -> Result<(), EngineError> {
        Ok(self.meta.set_rolling(bucket.id, rolling).await?)
    }

    pub fn usage(&self, bucket: &Bucket) -> Result<Usage, EngineError> {
        Ok(self.reader.usage(bucket.id)?)
    }

    /// A bucket's lifecycle rules; `None` where it has none.
    pub fn lifecycle(&self, bucket: &Bucket) -> Result<Option<Arc<Configuration>>, EngineError> {
        if !bucket.rules.lifecycle {
            return Ok(None);
        }
        let Some(text) = self.reader.bucket_config(bucket.id, BucketConfig::Lifecycle)? else { return Ok(None) };
        let mut memory = self.lifecycle.borrow_mut();
        if let Some((id, known, configuration)) = &*memory
            && *id == bucket.id
            && *known == text
        {
            return Ok(Some(configuration.clone()));
        }
        let configuration = Configuration::from_stored(&text);
        let configuration = Arc::new(configuration.map_err(|error| MetaError::Damaged(error.to_string()))?);
        *memory = Some((bucket.id, text, configuration.clone()));
        Ok(Some(configuration))
    }

    /// Refuses an object that its bucket's quota has no room for.
    pub(super) fn refuse_over_quota(&self, bucket: &Bucket, key: &str, size: Option<u64>) -> Result<(), EngineError> {
        if bucket.rules.quota_bytes.is_none() && bucket.rules.quota_objects.is_none() {
            return Ok(());
        }
        let usage = self.reader.usage(bucket.id)?;
        // What is overwritten gives its place.
        let gives = match bucket.versioning {
            Versioning::Enabled => None,
            Versioning::Unversioned | Versioning::Suspended => self.null_size(bucket, key)?,
        };
        let size = size.unwrap_or(0);
        let more_bytes = size > gives.unwrap_or(0);
        let bytes = (usage.bytes + size).saturating_sub(gives.unwrap_or(0));
        let over_bytes = more_bytes && bucket.rules.quota_bytes.is_some_and(|quota| bytes > quota);
        let over_objects = gives.is_none() && bucket.rules.quota_objects.is_some_and(|quota| usage.objects >= quota);
        if over_bytes || over_objects { Err(MetaError::QuotaExceeded.into()) } else { Ok(()) }
    }

    /// Bytes of the null version of a key, unless it is absent or a marker.
    fn null_size(&self, bucket: &Bucket, key: &str) -> Result<Option<u64>, EngineError> {
        match self.reader.version(bucket.id, key, VersionRef::Null) {
            Ok(version) => Ok((version.kind == meta::VersionKind::Object).then_some(version.size)),
            Err(MetaError::NoSuchVersion) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same for a part. (One that replaces an earlier part may be refused early although it would just fit.)
    pub(super) fn refuse_part_over_quota(&self, part: &UploadPart) -> Result<(), EngineError> {
        let Some(size) = part.size_hint else { return Ok(()) };
        let bucket = self.reader.bucket_by_id(part.upload.bucket)?;
        let Some(quota) = bucket.rules.quota_bytes else { return Ok(()) };
        match self.reader.usage(bucket.id)?.bytes + size > quota {
            true => Err(MetaError::QuotaExceeded.into()),
            false => Ok(()),
        }
    }

    /// Whether so many bytes may not fit the pool while rolling buckets have something to give: then the oldest of it is
    /// dropped. The space is there once reclaim has given it back.
    pub async fn roll_for(&self, size: u64) -> Result<bool, EngineError> {
        let room = self.pool.room_bytes();
        if size <= room || !self.reader.can_roll()? {
            return Ok(false);
        }
        Ok(self.meta.roll(size - room).await? > 0)
    }
}
