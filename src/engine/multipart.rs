//! Multipart uploads.
//!
//! A part's bytes are durable when its upload is acknowledged; completing an upload moves no bytes, it concatenates the
//! parts' extents in one metadata transaction.

use std::ops::Range;

use super::ingest::{Inline, extents_of};
use super::seal::Seal;
use super::{
    BodySource, CompleteUpload, CreateUpload, Engine, EngineError, ExpectedDigests, NamedPart, ObjectVersion, PutDone,
    UploadPart, check_key,
};
use crate::crypt::{self, SealError};
use crate::hash;
use crate::limits;
use crate::meta::{
    self, Body, Bucket, ChecksumAlgorithm, ChecksumType, CompletedPart, EventName, NewVersion, Part, StoredChecksum,
};

impl Engine {
    /// Starts an upload.
    pub async fn create_upload(&self, create: CreateUpload) -> Result<meta::Upload, EngineError> {
        check_key(&create.key)?;
        let mut random = [0u8; 16];
        self.world.entropy.fill(&mut random);
        let upload_id = hash::hex_encode(&random);
        let sealed = self.seal_for(&create.bucket, &create.key, create.sealing.as_ref()).await?;
        let attributes = meta::Attributes { encryption: sealed.map(|(facts, _)| facts), ..create.attributes };
        let upload = meta::Upload {
            upload_id,
            bucket: create.bucket.id,
            key: create.key,
            initiated_ms: self.world.clock.unix_ms(),
            attributes,
            checksum: create.checksum,
            requester: create.requester,
        };
        self.meta.create_upload(upload.clone()).await?;
        Ok(upload)
    }

    pub async fn upload_part(&self, part: UploadPart, body: &mut dyn BodySource) -> Result<PutDone, EngineError> {
        self.refuse_part_over_quota(&part)?;
        let sealed = self.seal_of_part(&part)?;
        let (salt, seal) = sealed.map_or((None, None), |(salt, seal)| (Some(salt), Some(seal)));
        let mut ingested = self.ingest(body, part.size_hint, &part.expected, Inline::Never, seal).await?;
        let etag = hash::hex_encode(&ingested.etag);
        let modified_ms = self.world.clock.unix_ms();
        let (size, checksum, missed) = (ingested.size, ingested.checksum.clone(), ingested.missed);
        let stored = Part {
            number: part.number,
            size,
            etag: etag.clone(),
            modified_ms,
            checksum: checksum.clone(),
            salt,
            body: ingested.commit(),
        };
        let body = stored.body.clone();
        let encryption = part.upload.attributes.encryption;
        if let Err(error) = self.meta.put_part(part.upload.bucket, part.upload.upload_id, stored, missed).await {
            self.discard_refused(&body, &error);
            return Err(error.into());
        }
        Ok(PutDone { etag, version_id: None, modified_ms, size, checksum, encryption })
    }

    /// Each upload of a part has a salt of its own, so that no two streams of the object share a key.
    fn seal_of_part(&self, part: &UploadPart) -> Result<Option<(String, Seal)>, EngineError> {
        let upload = &part.upload;
        let Some(facts) = &upload.attributes.encryption else {
            return match part.customer_key {
                None => Ok(None),
                Some(_) => Err(SealError::CustomerKeyUnwanted.into()),
            };
        };
        let place = (upload.bucket.0, upload.key.as_str());
        let data_key = self.keys()?.open_object(place, facts, part.customer_key.as_ref())?;
        let salt = crypt::new_salt(&*self.world.entropy);
        let seal = Seal::new(&data_key, facts, part.number, &salt);
        Ok(Some((salt, seal)))
    }

    pub async fn upload_part_copy(
        &self,
        part: UploadPart,
        source: &ObjectVersion,
        range: Range<u64>,
    ) -> Result<PutDone, EngineError> {
        self.data_key(source)?;
        let size_hint = Some(range.end - range.start);
        let mut reader = self.read_object(source, range);
        let checksum = part.upload.checksum.map(|(algorithm, _)| (algorithm, None));
        let expected = ExpectedDigests { content_md5: None, checksum };
        self.upload_part(UploadPart { size_hint, expected, ..part }, &mut reader).await
    }

    pub fn upload(&self, bucket: &Bucket, key: &str, upload_id: &str) -> Result<meta::Upload, EngineError> {
        Ok(self.reader.upload(bucket.id, key, upload_id)?)
    }

    pub fn list_uploads(&self, query: &meta::UploadsQuery) -> Result<meta::ListPage<meta::ListedUpload>, EngineError> {
        Ok(self.reader.list_uploads(query)?)
    }

    pub fn list_parts(
        &self,
        upload: &meta::Upload,
        number_marker: u32,
        limit: usize,
    ) -> Result<meta::ListPage<meta::Part>, EngineError> {
        Ok(self.reader.parts(&upload.upload_id, number_marker, limit)?)
    }

    pub async fn complete_upload(&self, complete: CompleteUpload) -> Result<PutDone, EngineError> {
        self.check_sealed(complete.bucket.id, complete.upload.attributes.encryption.as_ref())?;
        let chosen = self.choose_parts(&complete.upload, &complete.parts)?;
        let size: u64 = chosen.iter().map(|part| part.size).sum();
        if size > limits::OBJECT_BYTES_MAX {
            return Err(EngineError::TooLarge { size, limit: limits::OBJECT_BYTES_MAX });
        }
        if complete.expected_size.is_some_and(|expected| expected != size) {
            return Err(EngineError::InvalidRequest(format!(
                "x-amz-mp-object-size announces {} bytes, the parts have {size}",
                complete.expected_size.unwrap_or_default()
            )));
        }
        let checksum = checksum_of_parts(complete.upload.checksum, &chosen);
        compare_checksum(complete.expected_checksum.as_ref(), checksum.as_ref())?;
        let md5s: Vec<[u8; 16]> = chosen.iter().map(md5_of_part).collect::<Result<_, _>>()?;
        let etag = hash::composite_etag(&md5s);
        let modified_ms = self.world.clock.unix_ms();
        let mut attributes = complete.upload.attributes;
        attributes.checksum.clone_from(&checksum);
        attributes.parts = chosen.iter().map(completed_part).collect();
        let encryption = attributes.encryption.clone();
        let extents = chosen.iter().flat_map(|part| extents_of(&part.body).iter().copied()).collect();
        let version = NewVersion {
            bucket: complete.bucket.id,
            key: complete.upload.key,
            size,
            etag: etag.clone(),
            modified_ms,
            attributes,
            body: Body::Extents(extents),
            condition: complete.condition,
            event: EventName::ObjectCreatedCompleteMultipartUpload,
            requester: complete.requester,
            missed: 0,
        };
        let named = complete.parts.into_iter().map(|part| (part.number, part.etag)).collect();
        let committed = self.meta.complete_upload(complete.upload.upload_id, named, version).await?;
        Ok(PutDone { etag, version_id: committed.version_id, modified_ms, size, checksum, encryption })
    }

    pub async fn abort_upload(&self, bucket: &Bucket, key: &str, upload_id: &str) -> Result<(), EngineError> {
        Ok(self.meta.abort_upload(bucket.id, key.to_owned(), upload_id.to_owned()).await?)
    }

    /// The stored parts that the client named, in its order, each compared with what the client said of it.
    fn choose_parts(&self, upload: &meta::Upload, named: &[NamedPart]) -> Result<Vec<Part>, EngineError> {
        if named.is_empty() {
            return Err(EngineError::InvalidRequest("an upload is completed with at least one part".to_owned()));
        }
        if !named.is_sorted_by(|a, b| a.number < b.number) {
            return Err(EngineError::InvalidPartOrder);
        }
        let stored = self.all_parts(upload)?;
        let mut chosen = Vec::with_capacity(named.len());
        for part in named {
            let at = stored.binary_search_by_key(&part.number, |stored| stored.number);
            let found = at.ok().map(|at| &stored[at]).filter(|found| found.etag == part.etag);
            let found = found.ok_or(EngineError::InvalidPart { number: part.number })?;
            if let Some((algorithm, value)) = &part.checksum {
                let same = |c: &StoredChecksum| c.algorithm == *algorithm && c.value == *value;
                if !found.checksum.as_ref().is_some_and(same) {
                    return Err(EngineError::InvalidPart { number: part.number });
                }
            }
            chosen.push(found.clone());
        }
        let minimum = limits::PART_BYTES_MIN;
        match chosen.split_last() {
            Some((_, others)) => match others.iter().find(|part| part.size < minimum) {
                Some(part) => Err(EngineError::PartTooSmall { number: part.number, size: part.size, minimum }),
                None => Ok(chosen),
            },
            None => Ok(chosen),
        }
    }

    fn all_parts(&self, upload: &meta::Upload) -> Result<Vec<Part>, EngineError> {
        let mut parts: Vec<Part> = Vec::new();
        loop {
            let after = parts.last().map_or(0, |part| part.number);
            let page = self.reader.parts(&upload.upload_id, after, limits::LIST_KEYS_MAX)?;
            parts.extend(page.entries);
            if !page.truncated {
                return Ok(parts);
            }
        }
    }
}

fn md5_of_part(part: &Part) -> Result<[u8; 16], EngineError> {
    hash::parse_md5_hex(&part.etag).ok_or(EngineError::InvalidPart { number: part.number })
}

fn completed_part(part: &Part) -> CompletedPart {
    CompletedPart { number: part.number, size: part.size, checksum: part.checksum.clone(), salt: part.salt.clone() }
}

/// The object's checksum from its parts': none unless the upload announced one and every part has it.
fn checksum_of_parts(announced: Option<(ChecksumAlgorithm, ChecksumType)>, parts: &[Part]) -> Option<StoredChecksum> {
    let (algorithm, kind) = announced?;
    let of_part = |part: &'_ Part| {
        let checksum = part.checksum.as_ref().filter(|checksum| checksum.algorithm == algorithm)?;
        Some((checksum.value.clone(), part.size))
    };
    let values: Vec<(String, u64)> = parts.iter().map(of_part).collect::<Option<_>>()?;
    let combined = match kind {
        ChecksumType::Composite => hash::composite_checksum(algorithm, values.iter().map(|(value, _)| value.as_str())),
        ChecksumType::FullObject => {
            hash::full_object_checksum(algorithm, values.iter().map(|(value, size)| (value.as_str(), *size)))
        }
    };
    combined.ok()
}

fn compare_checksum(
    expected: Option<&(ChecksumAlgorithm, String)>,
    got: Option<&StoredChecksum>,
) -> Result<(), EngineError> {
    let Some((algorithm, value)) = expected else { return Ok(()) };
    let got = got.filter(|checksum| checksum.algorithm == *algorithm).map(|checksum| checksum.value.clone());
    if got.as_ref() == Some(value) {
        return Ok(());
    }
    Err(EngineError::DigestMismatch {
        what: algorithm.as_str(),
        expected: value.clone(),
        got: got.unwrap_or_else(|| "not known for this upload".to_owned()),
    })
}
