//! Sealed blocks: a stream of bytes as AES-256-GCM blocks of 64 KiB, each with its tag, so that a range needs only the
//! blocks that it touches.
//!
//! A block's nonce is its number and whether it is the last: blocks that were exchanged, cut off or appended do not open.
//! Each stream has a key of its own, derived from the object's data key, the part's number and the part's salt.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use ring::aead;

use super::SealError;
use super::envelope::DataKey;
use super::secret::TAG_BYTES;
use crate::limits::SEALED_BLOCK_BYTES;

const BLOCK: usize = SEALED_BLOCK_BYTES;

/// Bytes that `plain` bytes of one stream take once sealed.
pub fn sealed_bytes(plain: u64) -> u64 {
    plain + TAG_BYTES as u64 * plain.div_ceil(BLOCK as u64)
}

/// One stream of an object: a part of a multipart upload, or the whole of any other object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream<'a> {
    /// Part number; 0 for an object that was not uploaded in parts.
    pub number: u32,
    /// Random for each upload of a part; empty for an object that was not uploaded in parts.
    pub salt: &'a str,
    /// Plain bytes.
    pub size: u64,
}

fn nonce(index: u64, last: bool) -> aead::Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    bytes[0] = u8::from(last);
    bytes[4..].copy_from_slice(&index.to_be_bytes());
    aead::Nonce::assume_unique_for_key(bytes)
}

/// Seals one stream.
pub struct Sealer {
    key: aead::LessSafeKey,
    index: u64,
    /// Bytes of the block that is being filled; a full one waits until it is known whether it is the last.
    block: Vec<u8>,
}

impl Sealer {
    pub fn new(data_key: &DataKey, number: u32, salt: &str) -> Sealer {
        Sealer { key: data_key.stream(number, salt), index: 0, block: Vec::new() }
    }

    /// Takes plain bytes, gives what is sealed by now.
    pub fn seal(&mut self, mut plain: &[u8]) -> Bytes {
        let mut sealed = Vec::with_capacity(self.block.len() + plain.len() + (plain.len() / BLOCK + 2) * TAG_BYTES);
        while !plain.is_empty() {
            if self.block.len() == BLOCK {
                self.seal_block(false, &mut sealed);
            }
            let (taken, rest) = plain.split_at(plain.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(taken);
            plain = rest;
        }
        sealed.into()
    }

    /// The last block.
    pub fn finish(mut self) -> Bytes {
        let mut sealed = Vec::with_capacity(self.block.len() + TAG_BYTES);
        if !self.block.is_empty() {
            self.seal_block(true, &mut sealed);
        }
        sealed.into()
    }

    fn seal_block(&mut self, last: bool, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.block);
        self.block.clear();
        let nonce = nonce(self.index, last);
        let tag = self.key.seal_in_place_separate_tag(nonce, aead::Aad::empty(), &mut into[start..]);
        into.extend_from_slice(tag.expect("a block is within AES-GCM's limit").as_ref());
        self.index += 1;
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Opens a range of an object that consists of streams.
pub struct Opener {
    data_key: DataKey,
    /// The blocks to open, in order.
    spans: VecDeque<Span>,
    /// Of the first span.
    key: Option<aead::LessSafeKey>,
    sealed: Range<u64>,
    /// Plain bytes of the first block that lie before the range.
    skip: usize,
    /// Plain bytes of the range that were not given yet.
    left: u64,
    /// The beginning of a block whose end has not come yet.
    pending: Vec<u8>,
}

/// Blocks of one stream.
struct Span {
    number: u32,
    salt: String,
    size: u64,
    /// The next block, and the one after the last that is wanted.
    blocks: Range<u64>,
}

impl Span {
    fn block_bytes(&self) -> usize {
        (self.size - self.blocks.start * BLOCK as u64).min(BLOCK as u64) as usize
    }

    fn is_last_of_stream(&self) -> bool {
        self.blocks.start + 1 == self.size.div_ceil(BLOCK as u64)
    }
}

impl Opener {
    /// `range` is in plain bytes of all streams, one after the other, and lies within them.
    pub fn new<'a>(data_key: DataKey, streams: impl Iterator<Item = Stream<'a>>, range: Range<u64>) -> Opener {
        let (block, sealed_block) = (BLOCK as u64, (BLOCK + TAG_BYTES) as u64);
        let mut opener = Opener {
            data_key,
            spans: VecDeque::new(),
            key: None,
            sealed: 0..0,
            skip: 0,
            left: range.end - range.start,
            pending: Vec::new(),
        };
        let (mut plain_at, mut sealed_at) = (0, 0);
        for Stream { number, salt, size } in streams {
            let from = range.start.max(plain_at);
            let to = range.end.min(plain_at + size);
            if from < to {
                let (from, to) = (from - plain_at, to - plain_at);
                let blocks = from / block..to.div_ceil(block);
                if opener.spans.is_empty() {
                    opener.skip = (from % block) as usize;
                    opener.sealed.start = sealed_at + blocks.start * sealed_block;
                }
                opener.sealed.end = sealed_at + (blocks.end * sealed_block).min(sealed_bytes(size));
                opener.spans.push_back(Span { number, salt: salt.to_owned(), size, blocks });
            }
            plain_at += size;
            sealed_at += sealed_bytes(size);
        }
        opener
    }

    /// Where the sealed bytes of the range lie, counted over all sealed streams.
    pub fn sealed_range(&self) -> Range<u64> {
        self.sealed.clone()
    }

    /// Bytes that `open_into` needs of its buffer for so many sealed ones.
    pub fn room(&self, sealed: usize) -> usize {
        self.pending.len() + sealed
    }

    /// Takes the next sealed bytes and opens the blocks that are whole by now into `buffer`, of at least `room` bytes.
    /// Gives where in it the plain bytes of the range are; what else it holds is of no meaning.
    pub fn open_into(&mut self, mut sealed: &[u8], buffer: &mut [u8]) -> Result<Range<usize>, SealError> {
        let mut end = 0;
        while let Some(span) = self.spans.front() {
            let wanted = span.block_bytes() + TAG_BYTES - self.pending.len();
            let Some((block, rest)) = sealed.split_at_checked(wanted) else { break };
            sealed = rest;
            end += self.open_block(block, &mut buffer[end..])?;
        }
        match self.spans.is_empty() {
            true if !sealed.is_empty() => return Err(SealError::Damaged("there are more bytes than were sealed")),
            true => {}
            false => self.pending.extend_from_slice(sealed),
        }
        // Only the first block begins before the range, only the last one ends after it.
        let skipped = self.skip.min(end);
        self.skip -= skipped;
        let given = ((end - skipped) as u64).min(self.left);
        self.left -= given;
        Ok(skipped..skipped + given as usize)
    }

    /// The same into memory of its own.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Bytes, SealError> {
        let mut buffer = vec![0; self.room(sealed.len())];
        let given = self.open_into(sealed, &mut buffer)?;
        Ok(Bytes::from(buffer).slice(given))
    }

    /// Opens a block of which `pending` has the beginning and `block` the rest; gives its plain bytes' number. The tag lies
    /// behind them in the buffer, where the next block begins.
    fn open_block(&mut self, block: &[u8], buffer: &mut [u8]) -> Result<usize, SealError> {
        let Opener { data_key, spans, key, pending, .. } = self;
        let span = spans.front_mut().expect("the caller has seen it");
        let key = key.get_or_insert_with(|| data_key.stream(span.number, &span.salt));
        let sealed = &mut buffer[..pending.len() + block.len()];
        let (first, rest) = sealed.split_at_mut(pending.len());
        first.copy_from_slice(pending);
        rest.copy_from_slice(block);
        pending.clear();
        let nonce = nonce(span.blocks.start, span.is_last_of_stream());
        let opened = key.open_in_place(nonce, aead::Aad::empty(), sealed);
        let damaged = "a block does not open: it was changed, moved, or belongs elsewhere";
        let plain = opened.map_err(|_| SealError::Damaged(damaged))?.len();
        span.blocks.start += 1;
        if span.blocks.is_empty() {
            self.spans.pop_front();
            self.key = None;
        }
        Ok(plain)
    }

    /// After the last sealed bytes: whether all of the range was given.
    pub fn finish(&self) -> Result<(), SealError> {
        if self.left == 0 { Ok(()) } else { Err(SealError::Damaged("bytes are missing at the end")) }
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("left", &self.left).finish_non_exhaustive()
    }
}
