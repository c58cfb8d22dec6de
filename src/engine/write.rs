//! Writing versions: put, copy, delete, tags.

use super::ingest::{Ingested, Inline};
use super::seal::Seal;
use super::{
    BodySource, CopyObject, DeleteObject, Engine, EngineError, ExpectedDigests, PutDone, PutObject, Tags, check_key,
};
use crate::crypt::{DataKey, SealFacts};
use crate::hash;
use crate::meta::{self, Attributes, Bucket, EventName, MetaError, NewVersion, Requester, VersionRef, WriteCondition};

impl Engine {
    pub async fn put_object(&self, put: PutObject, body: &mut dyn BodySource) -> Result<PutDone, EngineError> {
        check_key(&put.key)?;
        self.refuse_early(&put.bucket, &put.key, &put.condition)?;
        self.refuse_over_quota(&put.bucket, &put.key, put.size_hint)?;
        let sealed = self.seal_for(&put.bucket, &put.key, put.sealing.as_ref()).await?;
        let ingested = self.ingest(body, put.size_hint, &put.expected, Inline::Allowed, whole(&sealed)).await?;
        let etag = hash::hex_encode(&ingested.etag);
        let new = Upload {
            bucket: &put.bucket,
            key: put.key,
            attributes: Attributes { encryption: sealed.map(|(facts, _)| facts), ..put.attributes },
            condition: put.condition,
            event: put.event,
            requester: put.requester,
        };
        self.commit(new, etag, ingested).await
    }

    /// Copies within the store. The bytes are read, verified and coded anew, so that a copy never shares damage.
    pub async fn copy_object(&self, copy: CopyObject) -> Result<PutDone, EngineError> {
        check_key(&copy.key)?;
        self.refuse_early(&copy.bucket, &copy.key, &copy.condition)?;
        let size = copy.source.version.size;
        self.refuse_over_quota(&copy.bucket, &copy.key, Some(size))?;
        // A source that cannot be opened is refused by name, not as a body that broke off.
        self.data_key(&copy.source)?;
        let sealed = self.seal_for(&copy.bucket, &copy.key, copy.sealing.as_ref()).await?;
        let mut source = self.read_object(&copy.source, 0..size);
        let expected =
            ExpectedDigests { content_md5: None, checksum: copy.checksum.map(|algorithm| (algorithm, None)) };
        let mut ingested = self.ingest(&mut source, Some(size), &expected, Inline::Allowed, whole(&sealed)).await?;
        if copy.checksum.is_none() {
            let of_source = copy.source.version.attributes.checksum.clone();
            ingested.checksum = of_source.filter(|checksum| checksum.kind == meta::ChecksumType::FullObject);
        }
        let etag = hash::hex_encode(&ingested.etag);
        let new = Upload {
            bucket: &copy.bucket,
            key: copy.key,
            attributes: Attributes { encryption: sealed.map(|(facts, _)| facts), ..copy.attributes },
            condition: copy.condition,
            event: EventName::ObjectCreatedCopy,
            requester: copy.requester,
        };
        self.commit(new, etag, ingested).await
    }

    pub async fn delete_object(&self, bucket: &Bucket, delete: DeleteObject) -> Result<meta::Deleted, EngineError> {
        check_key(&delete.key)?;
        let delete = meta::DeleteVersion {
            bucket: bucket.id,
            key: delete.key,
            version: delete.version,
            time_ms: self.world.clock.unix_ms(),
            condition: delete.condition,
            requester: delete.requester,
            cause: delete.cause,
        };
        Ok(self.meta.delete_version(delete).await?)
    }

    pub async fn set_tags(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionRef,
        tags: Tags,
        requester: Requester,
    ) -> Result<meta::Committed, EngineError> {
        check_key(key)?;
        let now_ms = self.world.clock.unix_ms();
        Ok(self.meta.set_tags(bucket.id, key.to_owned(), version, tags, now_ms, requester).await?)
    }

    /// Sets a version's access control list; `None` is its owner's alone.
    pub async fn set_acl(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionRef,
        acl: Option<meta::Acl>,
        requester: Requester,
    ) -> Result<meta::Committed, EngineError> {
        check_key(key)?;
        let now_ms = self.world.clock.unix_ms();
        Ok(self.meta.set_acl(bucket.id, key.to_owned(), version, acl, now_ms, requester).await?)
    }

    /// Refuses a write whose condition fails already, before its body is taken. The transaction decides again.
    fn refuse_early(&self, bucket: &Bucket, key: &str, condition: &WriteCondition) -> Result<(), EngineError> {
        if *condition == WriteCondition::default() {
            return Ok(());
        }
        let current = self.current(bucket, key)?;
        meta::check_condition(condition, current.as_ref())?;
        Ok(())
    }

    async fn commit(&self, new: Upload<'_>, etag: String, mut ingested: Ingested) -> Result<PutDone, EngineError> {
        self.check_sealed(new.bucket.id, new.attributes.encryption.as_ref())?;
        let modified_ms = self.world.clock.unix_ms();
        let (size, checksum) = (ingested.size, ingested.checksum.clone());
        let mut attributes = new.attributes;
        attributes.checksum.clone_from(&checksum);
        attributes.parts.clear();
        let encryption = attributes.encryption.clone();
        let version = NewVersion {
            bucket: new.bucket.id,
            key: new.key,
            size,
            etag: etag.clone(),
            modified_ms,
            attributes,
            missed: ingested.missed,
            body: ingested.commit(),
            condition: new.condition,
            event: new.event,
            requester: new.requester,
        };
        let committed = self.put_version(version).await?;
        Ok(PutDone { etag, version_id: committed.version_id, modified_ms, size, checksum, encryption })
    }

    /// Commits; a refused version's bytes are given back.
    async fn put_version(&self, version: NewVersion) -> Result<meta::Committed, EngineError> {
        let body = version.body.clone();
        match self.meta.put_version(version).await {
            Ok(committed) => Ok(committed),
            Err(error) => {
                self.discard_refused(&body, &error);
                Err(error.into())
            }
        }
    }

    /// Gives back the bytes of a version that was certainly not committed. After an error that leaves the commit in
    /// doubt they stay: the next start finds out.
    pub(super) fn discard_refused(&self, body: &meta::Body, error: &MetaError) {
        // Full: one copy of the metadata had no space, another may have the commit, and be the one that is ahead.
        let certain = !matches!(error, MetaError::Unavailable(_) | MetaError::Damaged(_) | MetaError::Full);
        if certain {
            self.pool.discard(super::ingest::extents_of(body));
        }
    }
}

/// An object that is not uploaded in parts is one stream.
fn whole(sealed: &Option<(SealFacts, DataKey)>) -> Option<Seal> {
    sealed.as_ref().map(|(facts, data_key)| Seal::new(data_key, facts, 0, ""))
}

struct Upload<'a> {
    bucket: &'a Bucket,
    key: String,
    attributes: Attributes,
    condition: WriteCondition,
    event: EventName,
    requester: Requester,
}
