//! Chunk framing: the decoder, fed in pieces, against a twin that has the whole body before it; and signed bodies, which
//! either come back as they were signed or not at all.

use std::collections::VecDeque;

use bytes::Bytes;
use ring::{digest, hmac};

use super::fuzz;
use crate::engine::BodySource;
use crate::hash::{ChecksumAlgorithm, hex_encode};
use crate::limits;
use crate::wire::auth::{ChunkSigner, Payload};
use crate::wire::body::{RawBody, RequestBody};

type Trailer = Option<(ChecksumAlgorithm, String)>;

const ANNOUNCED: ChecksumAlgorithm = ChecksumAlgorithm::Crc32c;
const SEEDS: [&str; 5] = [
    "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
    "5;a=b\r\nhello\r\n1\r\n \r\n0000\r\nx-amz-checksum-crc32c: sOO8/Q==\r\n\r\n\r\n",
    "3\nabc\n0\nx-amz-checksum-crc32c:sOO8/Q==",
    "0\r\nX-Amz-Checksum-Crc32c:sOO8/Q==\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
];
const WORDS: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "0\r\n",
    ";",
    ":",
    "ffffffffffffffff\r\n",
    "10000000000000000\r\n",
    "-1\r\n",
    "+5\r\n",
    " 5 \r\n",
    "x-amz-checksum-crc32c:sOO8/Q==\r\n",
    "x-amz-checksum-sha1:sOO8/Q==\r\n",
    "x-amz-trailer-signature:0\r\n",
    "chunk-signature=",
    "\u{e9}",
];

fn read(pieces: &[&[u8]], payload: Payload, announced: Option<ChecksumAlgorithm>) -> Option<(Vec<u8>, Trailer)> {
    let pieces: VecDeque<Bytes> = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    let mut source = RequestBody::new(RawBody::Given(pieces), payload, None, announced);
    pollster::block_on(async {
        let mut data = Vec::new();
        while let Some(bytes) = source.next().await.ok()? {
            data.extend_from_slice(&bytes);
        }
        Some((data, source.trailing_checksum()))
    })
}

/// A line of at most `limit` bytes with its end, and what follows it.
fn line(text: &[u8], limit: usize) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n').filter(|end| *end < limit)?;
    Some((text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]), &text[end + 1..]))
}

/// Reads an unsigned body; `None` where it is not good.
fn twin(body: &[u8], announced: Option<ChecksumAlgorithm>) -> Option<(Vec<u8>, Trailer)> {
    let (mut data, mut rest) = (Vec::new(), body);
    loop {
        let (head, after) = line(rest, limits::CHUNK_HEAD_BYTES_MAX)?;
        let head = std::str::from_utf8(head).ok()?;
        let size = head.split(';').next().unwrap_or_default();
        if size.is_empty() || size.len() > 16 || size.contains(|c: char| !c.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        if size == 0 {
            let trailer = twin_trailer(after, announced)?;
            return Some((data, trailer));
        }
        data.extend_from_slice(after.get(..size)?);
        let (empty, after) = line(&after[size..], 2)?;
        if !empty.is_empty() {
            return None;
        }
        rest = after;
    }
}

fn twin_trailer(mut rest: &[u8], announced: Option<ChecksumAlgorithm>) -> Option<Trailer> {
    let (mut found, mut used) = (None, 0);
    loop {
        let (text, after) = match line(rest, usize::MAX) {
            Some(split) => split,
            // The end of the last line may be missing, and so may the empty one.
            None if rest.iter().all(|byte| *byte == b'\r') => (&rest[..0], &rest[..0]),
            None => (rest, &rest[..0]),
        };
        let taken = rest.len() - after.len();
        if taken > limits::TRAILER_BYTES_MAX - used {
            return None;
        }
        if text.is_empty() {
            let only_ends = after.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            return (only_ends && found.is_some() == announced.is_some()).then_some(found);
        }
        used += text.len();
        let text = std::str::from_utf8(text).ok()?;
        let (name, value) = text.split_once(':')?;
        let algorithm = announced.filter(|algorithm| name.trim().eq_ignore_ascii_case(algorithm.header_name()))?;
        if found.is_some() || !algorithm.is_well_formed(value.trim()) {
            return None;
        }
        found = Some((algorithm, value.trim().to_owned()));
        rest = after;
    }
}

#[test]
fn unsigned_chunks_are_read_as_by_the_twin() {
    fuzz("unsigned chunks", |random, input| {
        *input = random.pick(&SEEDS).as_bytes().to_vec();
        if !random.one_in(16) {
            random.mutate(input, &WORDS);
        }
        let announced = (!random.one_in(4)).then_some(ANNOUNCED);
        let pieces = random.split(input);
        assert_eq!(read(&pieces, Payload::UnsignedChunks, announced), twin(input, announced));
    });
}

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"key")
}

/// A body whose chunks are signed one after the other.
fn signed(chunks: &[&[u8]]) -> Vec<u8> {
    let sha256 = |bytes: &[u8]| hex_encode(digest::digest(&digest::SHA256, bytes).as_ref());
    let (mut body, mut previous) = (Vec::new(), "seed".to_owned());
    for chunk in chunks.iter().copied().chain([&b""[..]]) {
        let message = format!("AWS4-HMAC-SHA256-PAYLOAD\nT\nS\n{previous}\n{}\n{}", sha256(b""), sha256(chunk));
        previous = hex_encode(hmac::sign(&key(), message.as_bytes()).as_ref());
        body.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body
}

#[test]
fn signed_chunks_come_back_as_they_were_signed_or_not_at_all() {
    let chunks: [&[u8]; 3] = [b"the first chunk", b"0\r\n\r\n", b"x"];
    let (body, data) = (signed(&chunks), chunks.concat());
    let payload = || {
        let signer = ChunkSigner::new(key(), "T".to_owned(), "S".to_owned(), "seed".to_owned());
        Payload::SignedChunks { signer: Box::new(signer), trailer: false }
    };
    assert_eq!(read(&[&body], payload(), None), Some((data.clone(), None)), "the seed is good");
    fuzz("signed chunks", |random, input| {
        input.clone_from(&body);
        random.mutate(input, &WORDS);
        if let Some(got) = read(&random.split(input), payload(), None) {
            assert_eq!(got, (data.clone(), None));
        }
    });
}
