//! What an operation gets: the request, authenticated, routed and decoded, and the engine.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::auth::{Authenticator, FormSignature, Identity};
use super::body::{self, RequestBody};
use super::error::{S3Code, S3Error};
use super::facts::{BucketFacts, Facts};
use super::operation::Operation;
use super::query::Query;
use super::settings::Settings;
use crate::engine::{Engine, ExpectedDigests};
use crate::hash::{self, ChecksumAlgorithm, Checksummer, Md5};
use crate::limits;
use crate::meta::{self, Bucket, Requester, VersionRef};

/// A request as it came, without its body.
#[derive(Debug)]
pub struct Parts {
    pub head: http::request::Parts,
    pub peer: SocketAddr,
    pub secure: bool,
    /// `1.2` or `1.3`, of a request over TLS.
    pub tls_version: Option<&'static str>,
    pub request_id: String,
}

/// One request, on its way through an operation.
#[derive(Debug)]
pub struct Call {
    pub engine: Rc<Engine>,
    pub settings: Arc<Settings>,
    pub(super) authenticator: Rc<Authenticator>,
    /// What this core remembers about buckets.
    pub(super) facts: Rc<Facts>,
    pub operation: Operation,
    pub method: Method,
    /// Empty where the request names none.
    pub bucket: String,
    /// Empty where the request names none.
    pub key: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub identity: Identity,
    pub request_id: String,
    pub peer: SocketAddr,
    /// The request came over TLS.
    pub secure: bool,
    /// In this version: `1.2` or `1.3`.
    pub tls_version: Option<&'static str>,
    /// Set when the service stops: an answer without an end is to find one.
    pub stopping: Rc<Cell<bool>>,
    pub(super) body: Option<RequestBody>,
    /// Bytes of the body after decoding, where the client said so.
    pub body_length: Option<u64>,
}

impl Call {
    /// A header's text; one that is not visible ASCII or UTF-8 counts as absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The request's bucket. (`S3Error` NoSuchBucket carries its name.)
    pub fn open_bucket(&self) -> Result<Bucket, S3Error> {
        self.engine.bucket(&self.bucket).map_err(|error| S3Error::from(error).field("BucketName", &self.bucket))
    }

    /// What is remembered of the request's bucket. (`S3Error` NoSuchBucket carries its name.)
    pub fn bucket_facts(&self) -> Result<Rc<BucketFacts>, S3Error> {
        let facts = self.facts.of(&self.engine, &self.bucket)?;
        facts.ok_or_else(|| S3Error::new(S3Code::NoSuchBucket).field("BucketName", &self.bucket))
    }

    /// Name of the account with this canonical id; empty for one that is gone.
    pub fn account_name(&self, canonical_id: &str) -> String {
        self.settings.access.account_of(canonical_id).map_or(String::new(), |account| account.name.clone())
    }

    /// Lets rolling buckets give way where the pool may have no room for so many bytes, before they are taken; waits for
    /// the space, within a bound. What is still too little then is answered by whoever writes.
    pub async fn make_room(&self, bytes: Option<u64>) -> Result<(), S3Error> {
        let bytes = bytes.unwrap_or(0).max(limits::STRIPE_BYTES as u64);
        if !self.engine.roll_for(bytes).await? {
            return Ok(());
        }
        let mut waited = Duration::ZERO;
        while self.engine.pool().room_bytes() < bytes && waited < limits::ROLLING_WAIT_MAX {
            monoio::time::sleep(limits::TRANSFER_POLL).await;
            waited += limits::TRANSFER_POLL;
        }
        Ok(())
    }

    /// For the event record.
    pub fn requester(&self) -> Requester {
        Requester {
            principal: self.identity.name_in_events(),
            account: self.identity.canonical_id().unwrap_or_default().to_owned(),
            source_ip: self.peer.ip().to_canonical().to_string(),
            request_id: self.request_id.clone(),
        }
    }

    /// `versionId` of the query; without one, the newest.
    pub fn version(&self) -> Result<VersionRef, S3Error> {
        match self.query.get("versionId") {
            None => Ok(VersionRef::Latest),
            Some("") => Err(S3Error::argument("versionId", "", "Version id cannot be the empty string")),
            Some(text) => meta::parse_version_id(text)
                .ok_or_else(|| S3Error::argument("versionId", text, "Invalid version id specified")),
        }
    }

    /// The body as a source of checked bytes. It can be taken once.
    pub fn take_body(&mut self) -> RequestBody {
        self.body.take().expect("an operation takes its body once")
    }

    /// S3 wants to know how long an upload is. (One in HTTP's own chunks may leave it open.)
    pub fn require_length(&self) -> Result<(), S3Error> {
        match self.body_length.is_some() || self.headers.contains_key(http::header::TRANSFER_ENCODING) {
            true => Ok(()),
            false => Err(S3Error::new(S3Code::MissingContentLength)),
        }
    }

    /// What the headers announce of the body: `Content-MD5`, and the checksum to compute, compare and store.
    pub fn expected_digests(&self) -> Result<ExpectedDigests, S3Error> {
        let content_md5 = match self.headers.get("content-md5") {
            None => None,
            Some(value) => {
                let decoded = value.to_str().ok().and_then(hash::base64_decode);
                let md5 = decoded.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
                Some(md5.ok_or_else(|| S3Error::new(S3Code::InvalidDigest))?)
            }
        };
        Ok(ExpectedDigests { content_md5, checksum: self.announced_checksum()? })
    }

    /// The same for a new object: where the client names no checksum, S3's default is computed and stored.
    pub fn upload_digests(&self) -> Result<ExpectedDigests, S3Error> {
        let mut expected = self.expected_digests()?;
        expected.checksum.get_or_insert((ChecksumAlgorithm::DEFAULT, None));
        Ok(expected)
    }

    /// `x-amz-checksum-*`, `x-amz-trailer` or `x-amz-sdk-checksum-algorithm`; at most one algorithm.
    fn announced_checksum(&self) -> Result<Option<(ChecksumAlgorithm, Option<String>)>, S3Error> {
        let mut found: Option<(ChecksumAlgorithm, Option<String>)> = None;
        for algorithm in ChecksumAlgorithm::ALL {
            let Some(value) = self.headers.get(algorithm.header_name()) else { continue };
            let value = value.to_str().unwrap_or_default();
            // A completed upload's composite checksum says of how many parts it is.
            let sum = match (self.operation, value.split_once('-')) {
                (Operation::CompleteMultipartUpload, Some((sum, parts))) if parts.parse::<u32>().is_ok() => sum,
                _ => value,
            };
            if !algorithm.is_well_formed(sum) {
                let message = format!("Value for {} header is invalid.", algorithm.header_name());
                return Err(S3Error::with(S3Code::InvalidRequest, message));
            }
            if found.replace((algorithm, Some(value.to_owned()))).is_some() {
                let message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
                return Err(S3Error::with(S3Code::InvalidRequest, message));
            }
        }
        let named = match self.header("x-amz-sdk-checksum-algorithm") {
            None => None,
            Some(name) => Some(ChecksumAlgorithm::parse(name).ok_or_else(wrong_name)?),
        };
        if let Some((algorithm, _)) = &found {
            return if named.is_none_or(|named| named == *algorithm) { Ok(found) } else { Err(wrong_name()) };
        }
        if let Some(algorithm) = body::announced_trailer(&self.headers)? {
            return Ok(Some((algorithm, None)));
        }
        Ok(named.map(|algorithm| (algorithm, None)))
    }

    /// The whole body in memory, all its digests checked; at most `limit` bytes.
    pub async fn collect_body(&mut self, limit: usize) -> Result<Bytes, S3Error> {
        let expected = self.expected_digests()?;
        let (collected, in_trailer) = self.take_body().collect(limit, self.body_length).await?;
        if expected.content_md5.is_some_and(|md5| md5 != Md5::of(&collected)) {
            return Err(S3Error::new(S3Code::BadDigest));
        }
        if let Some((algorithm, in_header)) = expected.checksum {
            let in_trailer = in_trailer.filter(|(named, _)| *named == algorithm).map(|(_, value)| value);
            let computed = Checksummer::of(algorithm, &collected);
            if [in_header, in_trailer].into_iter().flatten().any(|announced| announced != computed) {
                let message = format!("The {algorithm} you specified did not match the calculated checksum.");
                return Err(S3Error::with(S3Code::BadDigest, message));
            }
        }
        Ok(collected)
    }

    /// The whole body in memory, where the checksum headers speak of an object and not of this body
    /// (CompleteMultipartUpload): only `Content-MD5` is compared.
    pub async fn collect_document(&mut self, limit: usize) -> Result<Bytes, S3Error> {
        let expected = self.expected_digests()?;
        let (collected, _) = self.take_body().collect(limit, self.body_length).await?;
        if expected.content_md5.is_some_and(|md5| md5 != Md5::of(&collected)) {
            return Err(S3Error::new(S3Code::BadDigest));
        }
        Ok(collected)
    }

    /// Takes the identity that a browser form's signature proves (see `Authenticator::authenticate_form`).
    pub fn authenticate_form(&mut self, fields: FormSignature<'_>) -> Result<(), S3Error> {
        let now_ms = self.engine.world().clock.unix_ms();
        self.identity = self.authenticator.authenticate_form(&self.settings, fields, now_ms)?;
        Ok(())
    }
}

fn wrong_name() -> S3Error {
    S3Error::with(S3Code::InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
}
