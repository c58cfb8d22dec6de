//! Reading versions.

use std::ops::Range;

use bytes::Bytes;

use super::seal::{Leave, streams};
use super::{BodyError, BodyFuture, BodySource, Engine, EngineError, ObjectVersion, check_key};
use crate::crypt::{DataKey, Opener, SealError};
use crate::meta::{self, Body, Bucket, BucketId, MetaError, Sequence, Version, VersionKind, VersionRef, Versioning};
use crate::pool::{StripeReader, read_exactly};

impl Engine {
    /// The version asked for. A delete marker is an error that carries the marker.
    pub fn head_object(&self, bucket: &Bucket, key: &str, version: VersionRef) -> Result<ObjectVersion, EngineError> {
        check_key(key)?;
        let found = self.reader.version(bucket.id, key, version)?;
        let version_id = version_id(bucket, &found);
        match found.kind {
            VersionKind::Object => Ok(ObjectVersion { version: found, version_id, customer_key: None }),
            VersionKind::DeleteMarker => Err(EngineError::DeleteMarker {
                version_id,
                modified_ms: found.modified_ms,
                latest: version == VersionRef::Latest,
            }),
        }
    }

    /// A version by its number, held ones included, also when its bucket is gone.
    pub fn held_object(&self, bucket: BucketId, key: &str, version: Sequence) -> Result<ObjectVersion, EngineError> {
        let found = self.reader.version(bucket, key, VersionRef::Numbered(version))?;
        Ok(ObjectVersion { version: found, version_id: None, customer_key: None })
    }

    /// Starts to read `range` of a version that `head_object` gave. The range must lie within the version.
    pub fn read_object(&self, object: &ObjectVersion, range: Range<u64>) -> ObjectReader {
        assert!(range.start <= range.end && range.end <= object.version.size, "the caller has clamped the range");
        match self.data_key(object) {
            Ok(None) => ObjectReader { bytes: self.source(&object.version.body, range), sealed: None },
            Ok(Some((leave, data_key))) => self.read_sealed(&object.version, leave, data_key, range),
            Err(error) => ObjectReader { bytes: Source::Refused(Some(error)), sealed: None },
        }
    }

    fn read_sealed(&self, version: &Version, leave: Leave, data_key: DataKey, range: Range<u64>) -> ObjectReader {
        let opener = Opener::new(data_key, streams(version), range);
        let bytes = self.source(&version.body, opener.sealed_range());
        ObjectReader { bytes, sealed: Some(Box::new(Sealed { opener, leave })) }
    }

    fn source(&self, body: &Body, range: Range<u64>) -> Source {
        match body {
            Body::Inline(bytes) => {
                // A sealed body that was cut short is found out when it is opened.
                let end = (range.end as usize).min(bytes.len());
                Source::Inline(Some(bytes.slice((range.start as usize).min(end)..end)))
            }
            Body::Extents(extents) => Source::Stripes(Box::new(self.pool.reader(extents, range))),
        }
    }

    pub fn list(&self, query: &meta::ListQuery) -> Result<meta::ListPage<meta::Listed>, EngineError> {
        Ok(self.reader.list(query)?)
    }

    pub fn list_versions(
        &self,
        query: &meta::VersionsQuery,
    ) -> Result<meta::ListPage<meta::ListedVersion>, EngineError> {
        Ok(self.reader.list_versions(query)?)
    }

    /// The newest version of a key unless it is absent or a marker: what write conditions look at.
    pub(super) fn current(&self, bucket: &Bucket, key: &str) -> Result<Option<Version>, EngineError> {
        match self.reader.version(bucket.id, key, VersionRef::Latest) {
            Ok(version) if version.kind == VersionKind::Object => Ok(Some(version)),
            Ok(_) | Err(MetaError::NoSuchKey | MetaError::NoSuchVersion) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// How S3 clients name the version; `None` in a bucket that was never versioned.
pub fn version_id(bucket: &Bucket, version: &Version) -> Option<String> {
    match bucket.versioning {
        Versioning::Unversioned => None,
        Versioning::Enabled | Versioning::Suspended if version.is_null => Some("null".to_owned()),
        Versioning::Enabled | Versioning::Suspended => Some(meta::version_id_text(version.sequence)),
    }
}

/// The bytes of an object, in order, verified.
#[derive(Debug)]
pub struct ObjectReader {
    bytes: Source,
    /// Of a sealed object.
    sealed: Option<Box<Sealed>>,
}

#[derive(Debug)]
struct Sealed {
    opener: Opener,
    leave: Leave,
}

#[derive(Debug)]
enum Source {
    Inline(Option<Bytes>),
    Stripes(Box<StripeReader>),
    /// The object cannot be opened.
    Refused(Option<EngineError>),
}

impl ObjectReader {
    /// The next bytes; `None` at the end of the range. After an error the reader is at its end.
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        loop {
            let stored = self.next_stored().await;
            let Some(sealed) = &mut self.sealed else { return stored };
            let opened = match stored {
                None => sealed.opener.finish().map(|()| None),
                Some(Ok(bytes)) => sealed.leave.check().and_then(|()| open(&mut sealed.opener, &bytes)).map(Some),
                Some(Err(error)) => return Some(Err(error)),
            };
            match opened {
                Ok(None) => return None,
                // The end of a block has not come yet.
                Ok(Some(plain)) if plain.is_empty() => {}
                Ok(Some(plain)) => return Some(Ok(plain)),
                Err(error) => {
                    (self.bytes, self.sealed) = (Source::Inline(None), None);
                    return Some(Err(error.into()));
                }
            }
        }
    }

    /// The next bytes as they are stored.
    async fn next_stored(&mut self) -> Option<Result<Bytes, EngineError>> {
        match &mut self.bytes {
            Source::Refused(error) => error.take().map(Err),
            Source::Inline(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok),
            Source::Stripes(reader) => match reader.next().await? {
                Ok(bytes) => Some(Ok(bytes)),
                Err(error) => {
                    (self.bytes, self.sealed) = (Source::Inline(None), None);
                    Some(Err(error.into()))
                }
            },
        }
    }
}

/// Opens sealed bytes into a buffer of the calling thread's shelf, which spares the kernel's fresh pages.
fn open(opener: &mut Opener, sealed: &[u8]) -> Result<Bytes, SealError> {
    let mut given = Ok(0..0);
    let opened = read_exactly(opener.room(sealed.len()), |buffer| {
        given = opener.open_into(sealed, buffer);
        Ok(())
    });
    let opened = opened.expect("the closure does not fail");
    given.map(|given| opened.slice(given))
}

/// A copy reads its source as an upload's body.
impl BodySource for ObjectReader {
    fn next(&mut self) -> BodyFuture<'_> {
        Box::pin(async move {
            match ObjectReader::next(self).await {
                None => Ok(None),
                Some(Ok(bytes)) => Ok(Some(bytes)),
                Some(Err(error)) => Err(BodyError::Source(error.to_string())),
            }
        })
    }
}
