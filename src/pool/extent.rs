//! Where user bytes lie in a pool: extents, and their stored form.
//!
//! A pool is an addressed array of stripes: segment `s` exists on every drive, and a stripe's k+m blocks lie at the same
//! offset of segment `s` on each of them. One small extent therefore names the place of a run of stripes on all drives,
//! and a rebuilt drive needs no change to any metadata. Addresses are never used twice.

use crate::limits;
use crate::seam::memory::PageMemory;

/// A run of stripes at one place of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    /// Segment number, counted up for the life of the pool.
    pub segment: u32,
    /// Start of the first stripe's block within the segment file, in units of `BLOCK_ALIGN_BYTES`.
    pub offset: u32,
    /// User bytes in the run; every stripe but the last holds `STRIPE_BYTES`.
    pub length: u64,
}

/// Data and parity shards of a stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub data: u8,
    pub parity: u8,
}

impl Geometry {
    /// Shards in a stripe, which is also the number of drives of the pool.
    pub fn shards(&self) -> usize {
        usize::from(self.data) + usize::from(self.parity)
    }

    /// Whether a stripe that holds `user_bytes` is a large one, with its shards on whole pages.
    pub fn is_large(&self, user_bytes: usize) -> bool {
        user_bytes.div_ceil(usize::from(self.data)) >= limits::LARGE_SHARD_BYTES_MIN
    }

    /// Bytes of one shard of a stripe that holds `user_bytes`: the k-th part, rounded up to the alignment.
    pub fn shard_bytes(&self, user_bytes: usize) -> usize {
        let align = if self.is_large(user_bytes) { limits::DIRECT_ALIGN_BYTES } else { limits::BLOCK_ALIGN_BYTES };
        user_bytes.div_ceil(usize::from(self.data)).next_multiple_of(align)
    }

    /// Bytes of a block (header and shard) of such a stripe.
    pub fn block_bytes(&self, user_bytes: usize) -> usize {
        limits::BLOCK_HEADER_BYTES + self.shard_bytes(user_bytes)
    }

    /// Bytes from a block of a full stripe to that of the next stripe: whole pages, so that each shard lies on a page.
    pub fn full_block_stride(&self) -> usize {
        limits::DIRECT_ALIGN_BYTES + self.shard_bytes(limits::STRIPE_BYTES)
    }

    /// Memory that a large stripe takes while it is filled, written and hashed.
    pub fn stripe_memory_bytes(&self) -> usize {
        PageMemory::length_for(self.shards() * self.full_block_stride())
    }

    /// Bytes that a run of `length` user bytes takes on each drive.
    pub fn run_bytes(&self, length: u64) -> u64 {
        let full = length / limits::STRIPE_BYTES as u64;
        let rest = (length % limits::STRIPE_BYTES as u64) as usize;
        let tail = match rest {
            0 => 0,
            _ if full > 0 || self.is_large(rest) => {
                limits::DIRECT_ALIGN_BYTES + self.shard_bytes(rest).next_multiple_of(limits::DIRECT_ALIGN_BYTES)
            }
            _ => self.block_bytes(rest),
        };
        full * self.full_block_stride() as u64 + tail as u64
    }

    /// Bytes of such a run before its first block: a large stripe's header ends where a page does.
    pub fn run_lead_bytes(&self, length: u64) -> u64 {
        let first = length.min(limits::STRIPE_BYTES as u64) as usize;
        if self.is_large(first) { (limits::DIRECT_ALIGN_BYTES - limits::BLOCK_HEADER_BYTES) as u64 } else { 0 }
    }
}

/// Bytes of one extent in its stored form: segment, offset (u32) and length (u64), little-endian.
pub const EXTENT_STORED_BYTES: usize = 16;

/// Stored form of a list of extents.
pub fn encode(extents: &[Extent]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(extents.len() * EXTENT_STORED_BYTES);
    for extent in extents {
        bytes.extend_from_slice(&extent.segment.to_le_bytes());
        bytes.extend_from_slice(&extent.offset.to_le_bytes());
        bytes.extend_from_slice(&extent.length.to_le_bytes());
    }
    bytes
}

/// Reads the stored form; `None` when its length is not a whole number of extents.
pub fn decode(bytes: &[u8]) -> Option<Vec<Extent>> {
    let (chunks, rest) = bytes.as_chunks::<EXTENT_STORED_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    let extent = |c: &[u8; EXTENT_STORED_BYTES]| Extent {
        segment: u32::from_le_bytes([c[0], c[1], c[2], c[3]]),
        offset: u32::from_le_bytes([c[4], c[5], c[6], c[7]]),
        length: u64::from_le_bytes([c[8], c[9], c[10], c[11], c[12], c[13], c[14], c[15]]),
    };
    Some(chunks.iter().map(extent).collect())
}
