//! `x-amz-copy-source`: which version a copy reads, opened with permission and conditions checked.

use percent_encoding::percent_decode_str;

use super::conditions::{OF_COPY_SOURCE, Verdict, failed};
use super::error::{S3Code, S3Error};
use super::request::Call;
use crate::engine::{EngineError, ObjectVersion};
use crate::limits;
use crate::meta::{MetaError, VersionRef, parse_version_id};

/// The source that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
}

impl CopySource {
    /// Reads `[/]BUCKET/KEY[?versionId=ID]`, percent-encoded.
    pub fn parse(text: &str) -> Result<CopySource, S3Error> {
        let refuse = |reason| S3Error::argument("x-amz-copy-source", text, reason);
        let (path, version_id) = match text.split_once("?versionId=") {
            Some((_, "")) => return Err(refuse("Version id cannot be the empty string")),
            Some((path, id)) => (path, Some(id.to_owned())),
            None => (text, None),
        };
        let path = percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| refuse("The copy source is not UTF-8 after percent-decoding"))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        if path.starts_with("arn:") {
            return Err(S3Error::not_implemented("A copy source by access point"));
        }
        match path.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(CopySource { bucket: bucket.to_owned(), key: key.to_owned(), version_id })
            }
            _ => Err(refuse("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")),
        }
    }

    /// The request's source.
    pub fn of(call: &Call) -> Result<CopySource, S3Error> {
        CopySource::parse(call.header("x-amz-copy-source").unwrap_or_default())
    }

    /// The version that the request's source names; see `find`.
    pub fn open(call: &Call) -> Result<ObjectVersion, S3Error> {
        CopySource::of(call)?.find(call)
    }

    /// The version to read: the caller may read it, and the request's conditions on it hold.
    pub fn find(&self, call: &Call) -> Result<ObjectVersion, S3Error> {
        let (action, version) = match &self.version_id {
            None => ("GetObject", VersionRef::Latest),
            Some(id) => {
                let version = parse_version_id(id);
                let bad = || S3Error::argument("x-amz-copy-source", id, "Invalid version id specified");
                ("GetObjectVersion", version.ok_or_else(bad)?)
            }
        };
        call.authorize_version(action, &self.bucket, &self.key, self.version_id.as_deref())?;
        let bucket = call.engine.bucket(&self.bucket);
        let bucket = bucket.map_err(|error| S3Error::from(error).field("BucketName", &self.bucket))?;
        let object = call.engine.head_object(&bucket, &self.key, version).map_err(|error| self.refused(call, error))?;
        match OF_COPY_SOURCE.check(&call.headers, &object.version)? {
            Verdict::Holds => Ok(object),
            Verdict::NotModified(header) | Verdict::Failed(header) => Err(failed(header)),
        }
    }

    fn refused(&self, call: &Call, error: EngineError) -> S3Error {
        match error {
            EngineError::DeleteMarker { latest: false, .. } => S3Error::with(
                S3Code::InvalidRequest,
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ),
            // Who may not list the bucket does not learn which keys are not in it.
            EngineError::DeleteMarker { .. } | EngineError::Meta(MetaError::NoSuchKey) => {
                match call.authorize_seeking(&self.bucket, &self.key) {
                    Ok(()) => S3Error::new(S3Code::NoSuchKey).field("Key", &self.key),
                    Err(denied) => denied,
                }
            }
            error => error.into(),
        }
    }
}

/// Refuses a source of more bytes than one copy may have.
pub fn check_size(bytes: u64) -> Result<(), S3Error> {
    if bytes <= limits::PUT_BYTES_MAX {
        return Ok(());
    }
    let limit = limits::PUT_BYTES_MAX;
    let message =
        format!("The specified copy source is larger than the maximum allowable size for a copy source: {limit}");
    Err(S3Error::with(S3Code::InvalidRequest, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_byte_for_byte() {
        for (text, bucket, key, version) in [
            ("b/k", "b", "k", None),
            ("/b/k", "b", "k", None),
            ("b/a//b/../c", "b", "a//b/../c", None),
            ("b/%E4%BD%A0%20+", "b", "你 +", None),
            ("b%2Fk", "b", "k", None),
            ("b/k?versionId=null", "b", "k", Some("null")),
            ("b/what%3FversionId=x", "b", "what?versionId=x", None),
        ] {
            let source = CopySource::parse(text).unwrap();
            let got = (source.bucket.as_str(), source.key.as_str(), source.version_id.as_deref());
            assert_eq!(got, (bucket, key, version));
        }
        for bad in ["", "/", "b", "b/", "/b", "//k", "b/k?versionId=", "b/%FF"] {
            assert_eq!(CopySource::parse(bad).unwrap_err().code, S3Code::InvalidArgument, "{bad}");
        }
    }
}
