//! From a body to durable bytes: what PUT, copy and part uploads have in common.
//!
//! Invariant: when `ingest` returns, the bytes are on every healthy drive that they need (or inline in memory, to be
//! committed with the version), and every digest that the client announced has been compared. Any error gives the space
//! back and leaves nothing.

use bytes::{Bytes, BytesMut};
use futures_util::future::{OptionFuture, join};

use super::seal::Seal;
use super::{BodySource, Engine, EngineError, ExpectedDigests};
use crate::crypt::sealed_bytes;
use crate::hash::{self, BatchedMd5, Checksummer};
use crate::limits;
use crate::meta::{Body, ChecksumType, StoredChecksum};
use crate::pool::{Extent, Pool, StripeWriter};

/// Durable bytes that no metadata refers to yet. Dropped before `commit`, it gives its space back.
#[derive(Debug)]
pub(super) struct Ingested {
    /// Plain bytes.
    pub size: u64,
    /// The MD5 of the plain bytes, or 16 random bytes where that is to stay unknown.
    pub etag: [u8; 16],
    pub checksum: Option<StoredChecksum>,
    body: Option<Body>,
    pub missed: u64,
    pool: std::sync::Arc<Pool>,
}

impl Ingested {
    /// Hands the body to the metadata. From here on the commit decides its fate: a drop no longer releases it.
    pub fn commit(&mut self) -> Body {
        self.body.take().expect("an ingested body is committed once")
    }
}

impl Drop for Ingested {
    fn drop(&mut self) {
        if let Some(Body::Extents(extents)) = self.body.take() {
            self.pool.discard(&extents);
        }
    }
}

/// Whether small bodies may be kept in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inline {
    Allowed,
    /// Parts are concatenated by their extents, so that they never are inline.
    Never,
}

/// Where stored bytes go. Each hashes what it takes, where that is wanted.
enum Sink {
    Small(BytesMut, Option<BatchedMd5>),
    Pool(Box<StripeWriter>),
}

/// What a sink made of its bytes.
struct Stored {
    body: Body,
    missed: u64,
    md5: Option<[u8; 16]>,
}

impl Engine {
    pub(super) async fn ingest(
        &self,
        body: &mut dyn BodySource,
        size_hint: Option<u64>,
        expected: &ExpectedDigests,
        inline: Inline,
        seal: Option<Seal>,
    ) -> Result<Ingested, EngineError> {
        refuse_too_large(size_hint.unwrap_or(0))?;
        let opaque_etag = seal.as_ref().is_some_and(|seal| seal.opaque_etag);
        let mut sealer = seal.map(|seal| seal.sealer);
        let size_hint = if sealer.is_some() { size_hint.map(sealed_bytes) } else { size_hint };
        // Full drives keep their last bytes for deletes: small bodies must not take them in the metadata either.
        self.pool.takes_writes()?;
        let md5 = (!opaque_etag || expected.content_md5.is_some()).then(BatchedMd5::new);
        // The MD5 is of the plain bytes: they are hashed where they are stored, unless they are sealed first.
        let (mut plain_md5, stored_md5) = if sealer.is_some() { (md5, None) } else { (None, md5) };
        let mut checksummer = expected.checksum.as_ref().map(|(algorithm, _)| Checksummer::new(*algorithm));
        let mut sink = Sink::Small(BytesMut::new(), stored_md5);
        let mut size = 0u64;
        while let Some(chunk) = body.next().await? {
            size += chunk.len() as u64;
            refuse_too_large(size)?;
            if let Some(md5) = &mut plain_md5 {
                md5.update(&chunk).await;
            }
            if let Some(checksummer) = &mut checksummer {
                checksummer.update(&chunk);
            }
            let chunk = match &mut sealer {
                Some(sealer) => sealer.seal(&chunk),
                None => chunk,
            };
            let taken = self.take(&mut sink, chunk, size, size_hint, inline);
            match &mut plain_md5 {
                Some(md5) => md5.aside(taken).await?,
                None => taken.await?,
            }
        }
        if let Some(sealer) = sealer {
            self.take(&mut sink, sealer.finish(), size, size_hint, inline).await?;
        }
        let (plain_md5, stored) =
            join(OptionFuture::from(plain_md5.map(BatchedMd5::finish)), self.finish_sink(sink, inline)).await;
        let Stored { body: stored, missed, md5 } = stored?;
        let md5 = md5.or(plain_md5);
        let etag = md5.filter(|_| !opaque_etag).unwrap_or_else(|| {
            let mut random = [0; 16];
            self.world.entropy.fill(&mut random);
            random
        });
        // From here on an error gives the space back.
        let pool = self.pool.clone();
        let mut ingested = Ingested { size, etag, checksum: None, body: Some(stored), missed, pool };
        md5.map_or(Ok(()), |md5| compare_md5(expected, md5))?;
        let announced = body.trailing_checksum();
        ingested.checksum = checksummer.map(|c| finish_checksum(c, expected, announced)).transpose()?;
        Ok(ingested)
    }

    async fn finish_sink(&self, sink: Sink, inline: Inline) -> Result<Stored, EngineError> {
        let (bytes, md5) = match sink {
            Sink::Small(bytes, md5) => (bytes.freeze(), md5),
            Sink::Pool(writer) => return finish_writer(*writer).await,
        };
        if inline == Inline::Allowed || bytes.is_empty() {
            let md5 = match md5 {
                Some(mut md5) => {
                    md5.update(&bytes).await;
                    Some(md5.finish().await)
                }
                None => None,
            };
            let body = if inline == Inline::Allowed { Body::Inline(bytes) } else { Body::Extents(Vec::new()) };
            return Ok(Stored { body, missed: 0, md5 });
        }
        let mut writer = self.pool.writer(Some(bytes.len() as u64)).hashing(md5);
        writer.write(&bytes).await?;
        finish_writer(writer).await
    }

    async fn take(
        &self,
        sink: &mut Sink,
        chunk: Bytes,
        size: u64,
        size_hint: Option<u64>,
        inline: Inline,
    ) -> Result<(), EngineError> {
        let stays_small = inline == Inline::Allowed && size <= limits::INLINE_BYTES_MAX as u64;
        match sink {
            Sink::Small(bytes, _) if stays_small => bytes.extend_from_slice(&chunk),
            Sink::Small(bytes, md5) => {
                let mut writer = Box::new(self.pool.writer(size_hint).hashing(md5.take()));
                writer.write(bytes).await?;
                writer.write(&chunk).await?;
                *sink = Sink::Pool(writer);
            }
            Sink::Pool(writer) => writer.write(&chunk).await?,
        }
        Ok(())
    }
}

async fn finish_writer(writer: StripeWriter) -> Result<Stored, EngineError> {
    let written = writer.finish().await?;
    Ok(Stored { body: Body::Extents(written.extents), missed: written.missed, md5: written.md5 })
}

fn refuse_too_large(size: u64) -> Result<(), EngineError> {
    let limit = limits::PUT_BYTES_MAX;
    if size > limit { Err(EngineError::TooLarge { size, limit }) } else { Ok(()) }
}

fn compare_md5(expected: &ExpectedDigests, got: [u8; 16]) -> Result<(), EngineError> {
    match expected.content_md5 {
        Some(announced) if announced != got => Err(EngineError::DigestMismatch {
            what: "Content-MD5",
            expected: hash::hex_encode(&announced),
            got: hash::hex_encode(&got),
        }),
        _ => Ok(()),
    }
}

fn finish_checksum(
    checksummer: Checksummer,
    expected: &ExpectedDigests,
    trailing: Option<(crate::meta::ChecksumAlgorithm, String)>,
) -> Result<StoredChecksum, EngineError> {
    let algorithm = checksummer.algorithm();
    let value = checksummer.finish();
    let in_header = expected.checksum.as_ref().and_then(|(_, value)| value.as_deref());
    let in_trailer = trailing.as_ref().filter(|(named, _)| *named == algorithm).map(|(_, value)| value.as_str());
    for announced in [in_header, in_trailer].into_iter().flatten() {
        if announced != value {
            return Err(EngineError::DigestMismatch {
                what: algorithm.as_str(),
                expected: announced.to_owned(),
                got: value,
            });
        }
    }
    Ok(StoredChecksum { algorithm, kind: ChecksumType::FullObject, value })
}

/// Extents of a body that is not inline.
pub(super) fn extents_of(body: &Body) -> &[Extent] {
    match body {
        Body::Inline(_) => &[],
        Body::Extents(extents) => extents,
    }
}
