//! What the engine is asked and what it answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::crypt::{CustomerKey, SealError, SealFacts, Sealing};
use crate::meta::{
    self, Attributes, Bucket, ChecksumAlgorithm, ChecksumType, DeleteCause, EventName, MetaError, Requester,
    StoredChecksum, WriteCondition,
};
use crate::pool::PoolError;

/// Object or bucket tags.
pub type Tags = BTreeMap<String, String>;

/// Why the engine refused or failed. The wire layer gives each its S3 code.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The bytes never arrived, or arrived wrong. Nothing was stored.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// What was asked for is a delete marker; `latest` tells 404 from 405.
    #[error("the version is a delete marker")]
    DeleteMarker { version_id: Option<String>, modified_ms: i64, latest: bool },
    #[error("the body's {what} is {got}, the request announced {expected}; nothing was stored")]
    DigestMismatch { what: &'static str, expected: String, got: String },
    #[error("the object would have {size} bytes, the limit is {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("part {number} has {size} bytes, below the minimum of {minimum} for a part that is not the last")]
    PartTooSmall { number: u32, size: u64, minimum: u64 },
    #[error("part {number} was not uploaded, or its entity tag or checksum differs")]
    InvalidPart { number: u32 },
    #[error("parts must be listed in ascending order")]
    InvalidPartOrder,
    #[error("the bucket name is not valid: {reason}")]
    InvalidBucketName { reason: &'static str },
    #[error("the key is longer than {limit} bytes")]
    KeyTooLong { limit: usize },
    #[error("{0}")]
    InvalidRequest(String),
}

/// Why a body ended early or was refused.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the connection ended before the body did")]
    Incomplete,
    #[error("no byte of the body arrived for {seconds} s")]
    Stalled { seconds: u64 },
    #[error("the body's SHA-256 is not the signed one")]
    PayloadHash,
    #[error("a chunk's signature does not match")]
    ChunkSignature,
    #[error("the chunked framing is malformed: {0}")]
    Framing(String),
    #[error("the trailer is malformed: {0}")]
    Trailer(String),
    /// A copy's source could not be read.
    #[error("the source could not be read: {0}")]
    Source(String),
    #[error("the body has {got} bytes, the request announced {expected}")]
    Length { expected: u64, got: u64 },
}

/// A future of a body source; sources live on one thread.
pub type BodyFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Bytes>, BodyError>> + 'a>>;

/// Decoded bytes of an upload. After the last chunk the source has checked what it can check alone (framing,
/// signatures, the signed SHA-256).
pub trait BodySource {
    /// The next bytes; `None` once the whole body was good.
    fn next(&mut self) -> BodyFuture<'_>;
    /// A checksum that came in the trailer, known after `next` gave `None`.
    fn trailing_checksum(&self) -> Option<(ChecksumAlgorithm, String)> {
        None
    }
}

/// What the client said its bytes hash to, and which checksum is to be stored.
#[derive(Debug, Clone, Default)]
pub struct ExpectedDigests {
    pub content_md5: Option<[u8; 16]>,
    /// Compute and store this checksum; compare with the value (base64) when there is one. A trailer's value comes
    /// from `BodySource::trailing_checksum`.
    pub checksum: Option<(ChecksumAlgorithm, Option<String>)>,
}

/// PutObject, and what browser uploads and hook results become.
#[derive(Debug, Clone)]
pub struct PutObject {
    pub bucket: Bucket,
    pub key: String,
    pub attributes: Attributes,
    /// `None`: as the bucket's rule says, else the store's.
    pub sealing: Option<Sealing>,
    /// Bytes, where the client said so.
    pub size_hint: Option<u64>,
    pub expected: ExpectedDigests,
    pub condition: WriteCondition,
    pub event: EventName,
    pub requester: Requester,
}

/// What a write is answered with.
#[derive(Debug, Clone)]
pub struct PutDone {
    /// Without quotes.
    pub etag: String,
    pub version_id: Option<String>,
    pub modified_ms: i64,
    pub size: u64,
    pub checksum: Option<StoredChecksum>,
    /// How it was sealed.
    pub encryption: Option<SealFacts>,
}

/// A readable version with the name its id has towards clients.
#[derive(Debug, Clone)]
pub struct ObjectVersion {
    pub version: meta::Version,
    /// `None` in a bucket that was never versioned.
    pub version_id: Option<String>,
    /// What a reader of an object that is sealed with its client's own key must set.
    pub customer_key: Option<CustomerKey>,
}

#[derive(Debug, Clone)]
pub struct DeleteObject {
    pub key: String,
    pub version: meta::VersionRef,
    pub condition: WriteCondition,
    pub requester: Requester,
    pub cause: DeleteCause,
}

/// Server-side copy. Source conditions were checked by the caller against `source`.
#[derive(Debug, Clone)]
pub struct CopyObject {
    pub source: ObjectVersion,
    pub bucket: Bucket,
    pub key: String,
    /// Attributes of the new version: the source's, or the request's (metadata directive REPLACE); tags likewise.
    pub attributes: Attributes,
    /// `None`: as the rule of the target's bucket says, else the store's; never as the source is.
    pub sealing: Option<Sealing>,
    /// Compute this checksum for the new version; `None` keeps the source's full-object checksum.
    pub checksum: Option<ChecksumAlgorithm>,
    pub condition: WriteCondition,
    pub requester: Requester,
}

#[derive(Debug, Clone)]
pub struct CreateUpload {
    pub bucket: Bucket,
    pub key: String,
    pub attributes: Attributes,
    /// `None`: as the bucket's rule says, else the store's.
    pub sealing: Option<Sealing>,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub requester: Requester,
}

#[derive(Debug, Clone)]
pub struct UploadPart {
    pub upload: meta::Upload,
    pub number: u32,
    pub size_hint: Option<u64>,
    pub expected: ExpectedDigests,
    /// Of an upload that was begun with one.
    pub customer_key: Option<CustomerKey>,
}

/// A part as CompleteMultipartUpload names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPart {
    pub number: u32,
    /// Without quotes.
    pub etag: String,
    pub checksum: Option<(ChecksumAlgorithm, String)>,
}

#[derive(Debug, Clone)]
pub struct CompleteUpload {
    pub bucket: Bucket,
    pub upload: meta::Upload,
    pub parts: Vec<NamedPart>,
    /// Bytes of the whole object, where the client said so (`x-amz-mp-object-size`).
    pub expected_size: Option<u64>,
    /// Checksum of the whole object, where the client said so.
    pub expected_checksum: Option<(ChecksumAlgorithm, String)>,
    pub condition: WriteCondition,
    pub requester: Requester,
}
