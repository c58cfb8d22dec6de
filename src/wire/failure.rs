//! What each error of the layers below looks like in S3.

use http::{HeaderValue, header};

use super::error::{S3Code, S3Error};
use crate::crypt::SealError;
use crate::engine::{BodyError, EngineError};
use crate::limits;
use crate::meta::MetaError;
use crate::pool::PoolError;

/// Seconds that a client is asked to wait before it tries again.
const RETRY_AFTER_SECONDS: &str = "1";

fn retry_later(error: S3Error) -> S3Error {
    error.header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
}

impl From<MetaError> for S3Error {
    fn from(error: MetaError) -> S3Error {
        match error {
            MetaError::NoSuchBucket => S3Error::new(S3Code::NoSuchBucket),
            MetaError::BucketExists => S3Error::new(S3Code::BucketAlreadyOwnedByYou),
            MetaError::BucketNotEmpty => S3Error::new(S3Code::BucketNotEmpty),
            MetaError::NoSuchKey => S3Error::new(S3Code::NoSuchKey),
            MetaError::NoSuchVersion => S3Error::new(S3Code::NoSuchVersion),
            MetaError::PartChanged => S3Error::new(S3Code::InvalidPart),
            MetaError::NoSuchUpload => S3Error::new(S3Code::NoSuchUpload),
            MetaError::ConditionFailed => S3Error::new(S3Code::PreconditionFailed),
            MetaError::Locked => {
                S3Error::with(S3Code::AccessDenied, "Access Denied because object protected by object lock.")
            }
            MetaError::NoObjectLock => {
                S3Error::with(S3Code::InvalidRequest, "Bucket is missing Object Lock Configuration")
            }
            MetaError::LockNeedsVersioning => S3Error::with(
                S3Code::InvalidBucketState,
                "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
            ),
            MetaError::RetainUntilPast => {
                S3Error::with(S3Code::InvalidArgument, "The retain until date must be in the future!")
            }
            MetaError::QuotaExceeded => S3Error::new(S3Code::QuotaExceeded),
            MetaError::Busy => retry_later(S3Error::new(S3Code::SlowDown)),
            MetaError::Full => S3Error::new(S3Code::StorageFull),
            MetaError::Unavailable(_) => {
                tracing::error!(%error, "a request failed");
                retry_later(S3Error::with(S3Code::ServiceUnavailable, error.to_string()))
            }
            MetaError::Damaged(_) => {
                tracing::error!(%error, "a request failed");
                S3Error::with(S3Code::InternalError, error.to_string())
            }
        }
    }
}

impl From<PoolError> for S3Error {
    fn from(error: PoolError) -> S3Error {
        match &error {
            PoolError::Full => S3Error::new(S3Code::StorageFull),
            PoolError::TooFewDrives { .. } | PoolError::Lost { waits: true, .. } => {
                tracing::error!(%error, "a request failed");
                retry_later(S3Error::with(S3Code::ServiceUnavailable, error.to_string()))
            }
            PoolError::Lost { .. } | PoolError::Open(_) => {
                tracing::error!(%error, "a request failed");
                S3Error::with(S3Code::InternalError, error.to_string())
            }
        }
    }
}

impl From<SealError> for S3Error {
    fn from(error: SealError) -> S3Error {
        let message = error.to_string();
        match error {
            SealError::CustomerKeyNeeded => S3Error::with(
                S3Code::InvalidRequest,
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
            ),
            SealError::CustomerKeyWrong => S3Error::with(
                S3Code::InvalidRequest,
                "The provided encryption parameters did not match the ones used originally.",
            ),
            SealError::CustomerKeyUnwanted => {
                S3Error::with(S3Code::InvalidRequest, "The encryption parameters are not applicable to this object.")
            }
            SealError::NoRing => S3Error::with(S3Code::NotImplemented, message),
            SealError::NoSuchKey(_) | SealError::NoDefaultKey => S3Error::with(S3Code::KmsNotFound, message),
            SealError::KeyDisabled(_) => S3Error::with(S3Code::KmsDisabled, message),
            SealError::KeyShredded(_) => S3Error::with(S3Code::KmsInvalidState, message),
            SealError::KeyExists(_) | SealError::Invalid(_) => S3Error::with(S3Code::InvalidArgument, message),
            SealError::Ring(_) => {
                tracing::error!(error = message, "a request failed");
                retry_later(S3Error::with(S3Code::ServiceUnavailable, message))
            }
            SealError::KeyMissing(_) | SealError::Damaged(_) => {
                tracing::error!(error = message, "a request failed");
                S3Error::with(S3Code::InternalError, message)
            }
        }
    }
}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> S3Error {
        let code = match &error {
            BodyError::Incomplete | BodyError::Length { .. } => S3Code::IncompleteBody,
            BodyError::Stalled { .. } => S3Code::RequestTimeout,
            BodyError::PayloadHash => S3Code::XAmzContentSHA256Mismatch,
            BodyError::ChunkSignature => S3Code::SignatureDoesNotMatch,
            BodyError::Framing(_) => S3Code::InvalidChunkSizeError,
            BodyError::Trailer(_) => S3Code::MalformedTrailerError,
            BodyError::Source(_) => S3Code::InternalError,
        };
        S3Error::with(code, error.to_string())
    }
}

impl From<EngineError> for S3Error {
    fn from(error: EngineError) -> S3Error {
        let message = error.to_string();
        match error {
            EngineError::Meta(error) => error.into(),
            EngineError::Pool(error) => error.into(),
            EngineError::Body(error) => error.into(),
            EngineError::Seal(error) => error.into(),
            // The operations that can meet one answer in more detail.
            EngineError::DeleteMarker { latest: true, .. } => S3Error::new(S3Code::NoSuchKey),
            EngineError::DeleteMarker { latest: false, .. } => S3Error::new(S3Code::MethodNotAllowed),
            EngineError::DigestMismatch { .. } => S3Error::with(S3Code::BadDigest, message),
            EngineError::TooLarge { size, limit } => S3Error::with(S3Code::EntityTooLarge, message)
                .field("ProposedSize", size.to_string())
                .field("MaxSizeAllowed", limit.to_string()),
            EngineError::PartTooSmall { number, size, minimum } => S3Error::with(S3Code::EntityTooSmall, message)
                .field("ProposedSize", size.to_string())
                .field("MinSizeAllowed", minimum.to_string())
                .field("PartNumber", number.to_string()),
            EngineError::InvalidPart { number } => {
                S3Error::with(S3Code::InvalidPart, message).field("PartNumber", number.to_string())
            }
            EngineError::InvalidPartOrder => S3Error::new(S3Code::InvalidPartOrder),
            EngineError::InvalidBucketName { .. } => S3Error::with(S3Code::InvalidBucketName, message),
            EngineError::KeyTooLong { limit } => S3Error::new(S3Code::KeyTooLongError)
                .field("MaxSizeAllowed", limit.to_string())
                .field("Size", format!("more than {}", limits::KEY_BYTES_MAX)),
            EngineError::InvalidRequest(_) => S3Error::with(S3Code::InvalidRequest, message),
        }
    }
}
