//! Framing, good and bad, in every split.

use std::collections::VecDeque;

use bytes::Bytes;
use ring::{digest, hmac};

use super::{RawBody, RequestBody};
use crate::engine::{BodyError, BodySource};
use crate::hash::{ChecksumAlgorithm, hex_encode};
use crate::limits;
use crate::wire::auth::{ChunkSigner, Payload};

const CRC32C: Option<ChecksumAlgorithm> = Some(ChecksumAlgorithm::Crc32c);

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"key")
}

fn signer() -> ChunkSigner {
    ChunkSigner::new(key(), "T".to_owned(), "S".to_owned(), "seed".to_owned())
}

/// The other side of the chain.
struct Client {
    previous: String,
    body: Vec<u8>,
}

impl Client {
    fn new() -> Client {
        Client { previous: "seed".to_owned(), body: Vec::new() }
    }

    fn sign(&mut self, kind: &str, extra: &str, bytes: &[u8]) -> String {
        let hash = hex_encode(digest::digest(&digest::SHA256, bytes).as_ref());
        let message = format!("AWS4-HMAC-SHA256-{kind}\nT\nS\n{}\n{extra}{hash}", self.previous);
        self.previous = hex_encode(hmac::sign(&key(), message.as_bytes()).as_ref());
        self.previous.clone()
    }

    fn chunk(mut self, data: &[u8]) -> Client {
        let empty = hex_encode(digest::digest(&digest::SHA256, b"").as_ref());
        let signature = self.sign("PAYLOAD", &format!("{empty}\n"), data);
        self.body.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", data.len()).as_bytes());
        self.body.extend_from_slice(data);
        if !data.is_empty() {
            self.body.extend_from_slice(b"\r\n");
        }
        self
    }

    fn trailer(mut self, name: &str, value: &str, between: &str) -> Client {
        let signature = self.sign("TRAILER", "", format!("{name}:{value}\n").as_bytes());
        let text = format!("{name}:{value}\r\n{between}x-amz-trailer-signature:{signature}\r\n");
        self.body.extend_from_slice(text.as_bytes());
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.body.extend_from_slice(b"\r\n");
        self.body
    }
}

type Read = Result<(Vec<u8>, Option<(ChecksumAlgorithm, String)>), String>;

fn read(body: &[u8], piece: usize, payload: Payload, length: Option<u64>, trailer: Option<ChecksumAlgorithm>) -> Read {
    let pieces: VecDeque<Bytes> = body.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect();
    let mut source = RequestBody::new(RawBody::Given(pieces), payload, length, trailer);
    pollster::block_on(async {
        let mut data = Vec::new();
        loop {
            match source.next().await {
                Ok(Some(bytes)) => data.extend_from_slice(&bytes),
                Ok(None) => return Ok((data, source.trailing_checksum())),
                Err(error) => return Err(format!("{error:?}")),
            }
        }
    })
}

fn signed(trailer: bool) -> Payload {
    Payload::SignedChunks { signer: signer(), trailer }
}

#[test]
fn good_bodies_in_every_split() {
    let sum = Some((ChecksumAlgorithm::Crc32c, "sOO8/Q==".to_owned()));
    let name = "x-amz-checksum-crc32c";
    let plain = Client::new().chunk(b"hello ").chunk(b"world").chunk(b"").end();
    let trailed = Client::new().chunk(b"hello world").chunk(b"").trailer(name, "sOO8/Q==", "").end();
    let spaced = Client::new().chunk(b"hello world").chunk(b"").trailer(name, "sOO8/Q==", "\r\n\r\n").end();
    let unsigned = b"6\r\nhello \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n".to_vec();
    let bare = b"b\r\nhello world\r\n0\r\n\r\n".to_vec();
    let no_last_line_end = b"b\r\nhello world\r\n0\r\n".to_vec();
    for (body, payload, trailer, checksum) in [
        (plain, signed(false), None, None),
        (trailed, signed(true), CRC32C, sum.clone()),
        (spaced, signed(true), CRC32C, sum.clone()),
        (unsigned, Payload::UnsignedChunks, CRC32C, sum),
        (bare, Payload::UnsignedChunks, None, None),
        (no_last_line_end, Payload::UnsignedChunks, None, None),
        (b"hello world".to_vec(), Payload::Unsigned, None, None),
    ] {
        for piece in 1..=body.len() {
            let got = read(&body, piece, payload.clone(), Some(11), trailer);
            assert_eq!(got, Ok((b"hello world".to_vec(), checksum.clone())), "in pieces of {piece}");
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let name = "x-amz-checksum-crc32c";
    let trailed = Client::new().chunk(b"hello world").chunk(b"").trailer(name, "sOO8/Q==", "").end();
    let unsigned = b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n".to_vec();
    for (body, payload) in [(trailed, signed(true)), (unsigned, Payload::UnsignedChunks)] {
        // The last line's end may be missing: it says nothing.
        for cut in 0..body.len() - 4 {
            let got = read(&body[..cut], 7, payload.clone(), Some(11), CRC32C);
            assert!(got.is_err(), "cut at {cut} of {}: {got:?}", body.len());
        }
    }
}

#[test]
fn every_flipped_byte_of_signed_chunks_is_noticed() {
    let body = Client::new().chunk(b"hello ").chunk(b"world").chunk(b"").end();
    let last_line = body.len() - 4;
    for at in 0..last_line {
        let mut bad = body.clone();
        bad[at] ^= 1;
        let got = read(&bad, 16, signed(false), Some(11), None);
        // A carriage return may be missing, and hexadecimal digits have two cases.
        let unchanged = got.as_ref().is_ok_and(|(data, _)| data == b"hello world");
        assert!(got.is_err() || unchanged, "flipped {at}: {got:?}");
    }
}

#[test]
fn bad_framing_is_refused_by_name() {
    let huge_head = format!("b;{}\r\nhello world\r\n0\r\n\r\n", "x".repeat(limits::CHUNK_HEAD_BYTES_MAX));
    let huge_trailer = format!("0\r\n{}", "x".repeat(limits::TRAILER_BYTES_MAX + 1));
    for (body, trailer, reason) in [
        ("zz\r\nhello", None, "Framing"),
        ("\r\nhello", None, "Framing"),
        ("-1\r\nhello", None, "Framing"),
        ("11111111111111111\r\nhello", None, "Framing"),
        ("3\r\nhello\r\n0\r\n\r\n", None, "Framing"),
        ("b\r\nhello world0\r\n\r\n", None, "Framing"),
        (&huge_head, None, "Framing"),
        ("b\r\nhello world\r\n0\r\n\r\nmore", None, "Framing"),
        ("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n", None, "Trailer"),
        ("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:sOO8/Q==\r\n\r\n", CRC32C, "Trailer"),
        ("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32c:junk\r\n\r\n", CRC32C, "Trailer"),
        ("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32c\r\n\r\n", CRC32C, "Trailer"),
        ("b\r\nhello world\r\n0\r\n\r\n", CRC32C, "Trailer"),
        ("b\r\nhello world\r\n0\r\nx-amz-trailer-signature:00\r\n\r\n", CRC32C, "Trailer"),
        (&huge_trailer, CRC32C, "Trailer"),
        ("a\r\nhello worl\r\n0\r\n\r\n", None, "Length { expected: 11, got: 10 }"),
        ("c\r\nhello world!\r\n0\r\n\r\n", None, "Length { expected: 11, got: 12 }"),
        ("b\r\nhello world", None, "Incomplete"),
        ("", None, "Incomplete"),
    ] {
        let got = read(body.as_bytes(), 5, Payload::UnsignedChunks, Some(11), trailer).unwrap_err();
        assert!(got.starts_with(reason), "{body:.60}: {got}");
    }
    let unsigned = read(b"b\r\nhello world\r\n0\r\n\r\n", 5, signed(false), Some(11), None).unwrap_err();
    assert!(unsigned.starts_with("Framing"), "{unsigned}");
    let with_trailer = Client::new().chunk(b"hello world").chunk(b"");
    let no_signature = with_trailer.end();
    let got = read(&no_signature, 5, signed(true), Some(11), None).unwrap_err();
    assert!(got.starts_with("Trailer"), "{got}");
}

#[test]
fn the_signed_digest_is_compared() {
    let digest = digest::digest(&digest::SHA256, b"hello world");
    let expected = <[u8; 32]>::try_from(digest.as_ref()).unwrap();
    assert!(read(b"hello world", 3, Payload::Sha256(expected), None, None).is_ok());
    let got = read(b"hello worle", 3, Payload::Sha256(expected), None, None);
    assert_eq!(got.unwrap_err(), format!("{:?}", BodyError::PayloadHash));
}
