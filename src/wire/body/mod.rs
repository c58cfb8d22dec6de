//! Request bodies: from HTTP's frames to checked bytes.
//!
//! Promises: when `next` gives `None`, the framing was whole, every signature and the signed SHA-256 were good and the
//! length is the announced one. Until then nothing that was handed out may be committed.

mod chunked;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
#[cfg(test)]
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use ring::digest;

use self::chunked::{Chunked, Step, Trailing};
use super::auth::Payload;
use super::connection::Exchange;
use super::error::{S3Code, S3Error};
use crate::engine::{BodyError, BodyFuture, BodySource};
use crate::hash::ChecksumAlgorithm;
use crate::limits;

/// Bytes as HTTP delivers them, its own framing removed. Shared, so that the service can discard what an operation left.
#[derive(Debug, Clone)]
pub enum RawBody {
    Incoming {
        incoming: Rc<RefCell<Incoming>>,
        exchange: Rc<Exchange>,
    },
    /// At hand.
    #[cfg(test)]
    Given(VecDeque<Bytes>),
}

impl RawBody {
    pub fn incoming(incoming: Incoming, exchange: Rc<Exchange>) -> RawBody {
        RawBody::Incoming { incoming: Rc::new(RefCell::new(incoming)), exchange }
    }

    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            #[cfg(test)]
            RawBody::Given(pieces) => Ok(pieces.pop_front()),
            RawBody::Incoming { incoming, exchange } => {
                let _waits = exchange.wait_for_body();
                let next = next_of(incoming).await;
                if let Ok(Some(bytes)) = &next {
                    exchange.meter.count(bytes.len());
                }
                next
            }
        }
    }

    /// Whether the client sends, or has been told to send (it waits for that if it said `Expect: 100-continue`).
    pub fn may_discard(&self, waits_for_continue: bool) -> bool {
        match self {
            #[cfg(test)]
            RawBody::Given(_) => false,
            RawBody::Incoming { incoming, exchange } => {
                !incoming.borrow().is_end_stream() && (!waits_for_continue || exchange.body_was_wanted())
            }
        }
    }

    /// Reads and forgets the rest, so that the connection can serve another request; whether it came to the end within
    /// `limits::DISCARD_BYTES_MAX`, without a pause of `limits::DISCARD_PAUSE`.
    pub async fn discard(mut self) -> bool {
        let mut discarded = 0;
        while discarded <= limits::DISCARD_BYTES_MAX {
            match monoio::time::timeout(limits::DISCARD_PAUSE, self.next()).await {
                Ok(Ok(Some(bytes))) => discarded += bytes.len() as u64,
                Ok(Ok(None)) => return true,
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        false
    }

    /// The answer ends the connection, and the client may still be sending.
    pub fn abandon(&self) {
        match self {
            #[cfg(test)]
            RawBody::Given(_) => {}
            RawBody::Incoming { exchange, .. } => exchange.linger(),
        }
    }
}

async fn next_of(incoming: &RefCell<Incoming>) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *incoming.borrow_mut()).poll_frame(context)).await;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(&error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                // HTTP's own trailers carry nothing for S3.
                Err(_) => {}
            },
        }
    }
}

/// Why HTTP's body broke off: our own timeout, or the client.
fn broken(error: &hyper::Error) -> BodyError {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => BodyError::Stalled { seconds: limits::BODY_STALL_TIMEOUT.as_secs() },
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            BodyError::Framing("the transfer encoding is broken".to_owned())
        }
        _ => BodyError::Incomplete,
    }
}

/// A request's body, decoded and checked as far as it can be without knowing what it is for.
#[derive(Debug)]
pub struct RequestBody {
    raw: RawBody,
    decoder: Decoder,
    /// Input that the decoder has not taken yet.
    input: Bytes,
    /// Bytes of data that the client announced.
    expected: Option<u64>,
    got: u64,
    ended: bool,
}

/// A whole body and its trailing checksum.
pub type Collected = (Bytes, Option<(ChecksumAlgorithm, String)>);

enum Decoder {
    Plain,
    Sha256 { digest: Option<Box<digest::Context>>, expected: [u8; 32] },
    Chunked(Box<Chunked>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Decoder::Plain => "Plain",
            Decoder::Sha256 { .. } => "Sha256",
            Decoder::Chunked(_) => "Chunked",
        })
    }
}

impl RequestBody {
    /// `length` is the number of bytes after decoding, where the client said so; `trailer` the announced one.
    pub fn new(raw: RawBody, payload: Payload, length: Option<u64>, trailer: Option<ChecksumAlgorithm>) -> RequestBody {
        let decoder = match payload {
            Payload::Unsigned => Decoder::Plain,
            Payload::Sha256(expected) => {
                Decoder::Sha256 { digest: Some(Box::new(digest::Context::new(&digest::SHA256))), expected }
            }
            Payload::SignedChunks { signer, trailer: false } => {
                Decoder::Chunked(Box::new(Chunked::new(Some(*signer), Trailing::None)))
            }
            Payload::SignedChunks { signer, trailer: true } => {
                Decoder::Chunked(Box::new(Chunked::new(Some(*signer), Trailing::Checksum(trailer))))
            }
            Payload::UnsignedChunks => Decoder::Chunked(Box::new(Chunked::new(None, Trailing::Checksum(trailer)))),
        };
        RequestBody { raw, decoder, input: Bytes::new(), expected: length, got: 0, ended: false }
    }

    /// All of it, at most `limit` bytes, and the trailing checksum.
    pub async fn collect(mut self, limit: usize, length: Option<u64>) -> Result<Collected, S3Error> {
        let too_large = || {
            let limit = limit.to_string();
            S3Error::new(S3Code::MaxMessageLengthExceeded).field("MaxMessageLengthBytes", limit)
        };
        if length.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut collected = BytesMut::new();
        while let Some(bytes) = self.decode_next().await? {
            if collected.len() + bytes.len() > limit {
                return Err(too_large());
            }
            collected.extend_from_slice(&bytes);
        }
        let trailing = self.trailing_checksum();
        Ok((collected.freeze(), trailing))
    }

    async fn decode_next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let data = match &mut self.decoder {
                Decoder::Chunked(chunked) => match chunked.step(&mut self.input)? {
                    Step::Data(data) => Some(data),
                    Step::More | Step::End => None,
                },
                Decoder::Plain | Decoder::Sha256 { .. } if self.input.is_empty() => None,
                Decoder::Plain => Some(std::mem::take(&mut self.input)),
                Decoder::Sha256 { digest, .. } => {
                    if let Some(digest) = digest {
                        digest.update(&self.input);
                    }
                    Some(std::mem::take(&mut self.input))
                }
            };
            if let Some(data) = data {
                return self.count(data).map(Some);
            }
            match self.raw.next().await? {
                Some(bytes) => self.input = bytes,
                None => return self.finish().map(|()| None),
            }
        }
    }

    fn count(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        self.got += data.len() as u64;
        match self.expected {
            Some(expected) if self.got > expected => Err(BodyError::Length { expected, got: self.got }),
            _ => Ok(data),
        }
    }

    fn finish(&mut self) -> Result<(), BodyError> {
        match &mut self.decoder {
            Decoder::Plain => {}
            Decoder::Sha256 { digest, expected } => {
                let digest = digest.take().expect("a body ends once");
                if digest.finish().as_ref() != expected {
                    return Err(BodyError::PayloadHash);
                }
            }
            Decoder::Chunked(chunked) => {
                chunked.finish()?;
            }
        }
        if let Some(expected) = self.expected
            && expected != self.got
        {
            return Err(BodyError::Length { expected, got: self.got });
        }
        self.ended = true;
        Ok(())
    }
}

impl BodySource for RequestBody {
    fn next(&mut self) -> BodyFuture<'_> {
        Box::pin(self.decode_next())
    }

    fn trailing_checksum(&self) -> Option<(ChecksumAlgorithm, String)> {
        match &self.decoder {
            Decoder::Chunked(chunked) if self.ended => chunked.checksum().cloned(),
            Decoder::Chunked(_) | Decoder::Plain | Decoder::Sha256 { .. } => None,
        }
    }
}

/// Bytes of the body after decoding, as the headers announce them: `x-amz-decoded-content-length` (which aws-chunked
/// bodies must have), else `Content-Length`.
pub fn announced_length(headers: &HeaderMap, payload: &Payload) -> Result<Option<u64>, S3Error> {
    let number = |name: &'static str| match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(number) => Ok(Some(number)),
            None => {
                Err(S3Error::argument(name, &String::from_utf8_lossy(value.as_bytes()), "it is no number of bytes"))
            }
        },
    };
    match payload {
        Payload::Unsigned | Payload::Sha256(_) => number("content-length"),
        Payload::SignedChunks { .. } | Payload::UnsignedChunks => match number("x-amz-decoded-content-length")? {
            Some(length) => Ok(Some(length)),
            None => Err(S3Error::with(
                S3Code::MissingContentLength,
                "You must provide the x-amz-decoded-content-length HTTP header.",
            )),
        },
    }
}

/// The checksum that `x-amz-trailer` announces.
pub fn announced_trailer(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(value) = headers.get("x-amz-trailer") else { return Ok(None) };
    let name = value.to_str().unwrap_or_default().trim();
    let named = ChecksumAlgorithm::ALL.into_iter().find(|algorithm| name.eq_ignore_ascii_case(algorithm.header_name()));
    named.map(Some).ok_or_else(|| {
        S3Error::with(S3Code::InvalidRequest, "The value specified in the x-amz-trailer header is not supported")
    })
}
