//! Which objects are sealed, and by which keys: where the engine meets the key ring.
//!
//! A write is sealed as its request says, else by the bucket's rule, else by the store's. Absent: the cipher itself and the
//! keys (`crypt`), and the request's headers (`wire`).

use std::sync::Arc;

use super::{Engine, EngineError, ObjectVersion};
use crate::crypt::{
    CustomerKey, DataKey, EncryptionRule, KeyRing, RingKey, SealError, SealFacts, SealMode, Sealer, Sealing, Stream,
};
use crate::meta::{Bucket, BucketConfig, BucketId, Version};

/// How one stream of bytes is sealed.
pub(super) struct Seal {
    pub sealer: Sealer,
    /// The entity tag is to tell nothing of the bytes: all modes but SSE-S3, as on AWS.
    pub opaque_etag: bool,
}

impl Seal {
    pub fn new(data_key: &DataKey, facts: &SealFacts, number: u32, salt: &str) -> Seal {
        Seal { sealer: Sealer::new(data_key, number, salt), opaque_etag: facts.mode != SealMode::S3 }
    }
}

impl Engine {
    pub fn keys(&self) -> Result<&KeyRing, EngineError> {
        self.keys.as_deref().ok_or(EngineError::Seal(SealError::NoRing))
    }

    /// The bucket's own encryption rule.
    pub fn bucket_rule(&self, bucket: &Bucket) -> Result<Option<EncryptionRule>, EngineError> {
        let document = self.bucket_config(bucket, BucketConfig::Encryption)?;
        let damaged = |error| EngineError::Meta(crate::meta::MetaError::Damaged(format!("encryption rule: {error}")));
        document.map(|document| EncryptionRule::parse(document.as_bytes()).map_err(damaged)).transpose()
    }

    /// The rule that holds where a request says nothing: the bucket's, else the store's.
    pub fn rule_in_force(&self, bucket: &Bucket) -> Result<Option<EncryptionRule>, EngineError> {
        Ok(self.bucket_rule(bucket)?.or_else(|| self.store_rule.clone()))
    }

    /// The data key of a new object, and what is kept of it; `None` where the object is not to be sealed.
    pub(super) async fn seal_for(
        &self,
        bucket: &Bucket,
        key: &str,
        sealing: Option<&Sealing>,
    ) -> Result<Option<(SealFacts, DataKey)>, EngineError> {
        let by_rule;
        let sealing = match sealing {
            Some(sealing) => sealing,
            None => match self.rule_in_force(bucket)? {
                None => return Ok(None),
                Some(rule) => {
                    by_rule = rule.sealing();
                    &by_rule
                }
            },
        };
        Ok(Some(self.keys()?.seal((bucket.id.0, key), sealing).await?))
    }

    /// The data key of a sealed version, and the leave to use it; `None` for one that is not sealed.
    pub(super) fn data_key(&self, object: &ObjectVersion) -> Result<Option<(Leave, DataKey)>, EngineError> {
        let version = &object.version;
        match &version.attributes.encryption {
            None if object.customer_key.is_some() => Err(SealError::CustomerKeyUnwanted.into()),
            None => Ok(None),
            Some(facts) => {
                let place = (version.bucket.0, version.key.as_str());
                let ring = self.keys.clone().ok_or(EngineError::Seal(SealError::NoRing))?;
                // Counted before the key is taken: a change in between is seen.
                let seen = ring.changes();
                let data_key = ring.open_object(place, facts, object.customer_key.as_ref())?;
                let (bucket, facts) = (version.bucket.0, facts.clone());
                Ok(Some((Leave { ring, seen, bucket, facts }, data_key)))
            }
        }
    }

    /// A write whose key was disabled or shredded meanwhile is refused: nothing is acknowledged that cannot be read.
    pub(super) fn check_sealed(&self, bucket: BucketId, facts: Option<&SealFacts>) -> Result<(), EngineError> {
        match facts {
            Some(facts) => Ok(still_opens(self.keys()?, bucket.0, facts)?),
            None => Ok(()),
        }
    }

    /// Refuses a client's key that is missing, wrong or not wanted, before anything is read.
    pub fn check_customer_key(&self, object: &ObjectVersion) -> Result<(), EngineError> {
        let mode = object.version.attributes.encryption.as_ref().map(|facts| facts.mode);
        if mode == Some(SealMode::Customer) || object.customer_key.is_some() {
            self.data_key(object)?;
        }
        Ok(())
    }

    /// Refuses a client's key that is not the one that the upload was begun with.
    pub fn check_upload_key(&self, upload: &crate::meta::Upload, key: &CustomerKey) -> Result<(), EngineError> {
        let facts = upload.attributes.encryption.as_ref().ok_or(SealError::CustomerKeyUnwanted)?;
        self.keys()?.open_object((upload.bucket.0, upload.key.as_str()), facts, Some(key))?;
        Ok(())
    }

    /// Closes every sealed object of the bucket for good, whatever its mode.
    pub async fn shred_bucket(&self, bucket: &Bucket) -> Result<crate::crypt::Shredded, EngineError> {
        Ok(self.keys()?.shred(RingKey::Bucket(bucket.id.0)).await?)
    }
}

/// That a data key may still be used: ends when the key that opened it is disabled or shredded.
#[derive(Debug)]
pub(super) struct Leave {
    ring: Arc<KeyRing>,
    /// Changes of the ring up to which it is known to hold.
    seen: u64,
    bucket: i64,
    facts: SealFacts,
}

impl Leave {
    /// Costs next to nothing while no key changes.
    pub fn check(&mut self) -> Result<(), SealError> {
        let changes = self.ring.changes();
        if changes != self.seen {
            still_opens(&self.ring, self.bucket, &self.facts)?;
            self.seen = changes;
        }
        Ok(())
    }
}

/// A key that is gone with its bucket is not withdrawn: who reads a version that was deleted reads on.
fn still_opens(ring: &KeyRing, bucket: i64, facts: &SealFacts) -> Result<(), SealError> {
    match ring.check_open(bucket, facts) {
        Err(error @ (SealError::KeyShredded(_) | SealError::KeyDisabled(_))) => Err(error),
        _ => Ok(()),
    }
}

/// The streams that a version's sealed bytes consist of.
pub(super) fn streams(version: &Version) -> impl Iterator<Item = Stream<'_>> {
    let parts = &version.attributes.parts;
    let whole = parts.is_empty().then_some(Stream { number: 0, salt: "", size: version.size });
    let of_part = |part: &'_ crate::meta::CompletedPart| (part.number, part.size);
    let parts = parts.iter().map(move |part| {
        let (number, size) = of_part(part);
        Stream { number, salt: part.salt.as_deref().unwrap_or_default(), size }
    });
    whole.into_iter().chain(parts)
}
