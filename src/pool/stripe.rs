//! The memory of a stripe: headers, data shards and parity shards in one piece, on page boundaries.
//!
//! Large stripes get theirs from a shelf that lives as long as the pool: fresh memory costs as much to fault in as to
//! fill, and direct I/O wants pages, huge ones best of all. Small stripes get just what they need.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::Geometry;
use crate::limits::{self, BLOCK_HEADER_BYTES, DIRECT_ALIGN_BYTES, STRIPE_BYTES};
use crate::seam::memory::PageMemory;

/// Buffers that wait for their next stripe. Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    state: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    buffers: Vec<PageMemory>,
    /// The fewest that waited since the last `trim`: so many were not needed.
    least: usize,
}

impl Shelf {
    fn take(&self) -> Option<PageMemory> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let buffer = state.buffers.pop();
        state.least = state.least.min(state.buffers.len());
        buffer
    }

    fn put(&self, buffer: PageMemory) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if state.buffers.len() < limits::STRIPE_BUFFERS_KEPT {
            state.buffers.push(buffer);
        }
    }

    /// Frees the buffers that nobody needed since the last call.
    pub fn trim(&self) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let kept = state.buffers.len() - state.least;
        let freed = state.buffers.split_off(kept);
        state.least = kept;
        drop(state);
        drop(freed);
    }
}

/// Memory of one stripe.
#[derive(Debug)]
enum Memory {
    /// Grows where an upload is longer than was announced.
    Small(Vec<u8>),
    /// Has room for any stripe, and goes back on the shelf.
    Large(PageMemory),
}

impl Memory {
    fn grow(&mut self, length: usize) {
        match self {
            Memory::Small(memory) if memory.len() < length => memory.resize(length, 0),
            Memory::Small(_) => {}
            Memory::Large(memory) => assert!(memory.len() >= length, "a large buffer holds any stripe"),
        }
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Memory::Small(memory) => memory,
            Memory::Large(memory) => memory,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Small(memory) => memory,
            Memory::Large(memory) => memory,
        }
    }
}

/// A stripe that is being filled, and then the blocks that it became.
#[derive(Debug)]
pub(super) struct StripeBuffer {
    memory: Memory,
    /// Room for each header, which stands at its end. A large stripe's is a page that is zeros but for the header.
    header_room: usize,
    shards: usize,
    filled: usize,
    shelf: Option<Arc<Shelf>>,
}

impl StripeBuffer {
    /// For a stripe of as many bytes as `capacity` or fewer.
    pub fn new(geometry: Geometry, capacity: usize, shelf: &Arc<Shelf>) -> StripeBuffer {
        let shards = geometry.shards();
        if !geometry.is_large(capacity) {
            let memory = Memory::Small(vec![0; shards * geometry.block_bytes(capacity)]);
            return StripeBuffer { memory, header_room: BLOCK_HEADER_BYTES, shards, filled: 0, shelf: None };
        }
        let fresh = || PageMemory::zeroed(geometry.stripe_memory_bytes());
        let memory = Memory::Large(shelf.take().unwrap_or_else(fresh));
        let shelf = Some(shelf.clone());
        StripeBuffer { memory, header_room: DIRECT_ALIGN_BYTES, shards, filled: 0, shelf }
    }

    /// User bytes so far.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Takes the front of `bytes`, as much as the stripe holds, and gives the rest.
    pub fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(STRIPE_BYTES - self.filled));
        let at = self.data_at() + self.filled;
        self.memory.grow(at + taken.len());
        self.memory[at..at + taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        rest
    }

    /// Data shards, padded with zeros, and parity shards to be computed.
    pub fn shards(&mut self, geometry: Geometry) -> (Vec<&[u8]>, Vec<&mut [u8]>) {
        let shard_bytes = geometry.shard_bytes(self.filled);
        let (at, data_bytes) = (self.data_at(), shard_bytes * usize::from(geometry.data));
        let end = at + shard_bytes * self.shards;
        self.memory.grow(end);
        self.memory[at + self.filled..at + data_bytes].fill(0);
        let (data, parity) = self.memory[at..end].split_at_mut(data_bytes);
        (data.chunks_exact(shard_bytes).collect(), parity.chunks_exact_mut(shard_bytes).collect())
    }

    /// Shard `shard` of those that `shards` gave, and its header to be written.
    pub fn header_and_shard(&mut self, shard: usize, shard_bytes: usize) -> (&mut [u8], &[u8]) {
        let header_at = (shard + 1) * self.header_room - BLOCK_HEADER_BYTES;
        let data_at = self.data_at();
        let (headers, shards) = self.memory.split_at_mut(data_at);
        (&mut headers[header_at..header_at + BLOCK_HEADER_BYTES], &shards[shard * shard_bytes..][..shard_bytes])
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.memory.len()
    }

    /// The stripe's blocks, header and shard each, and its user bytes in one piece. With `large` the header comes with all
    /// of its room.
    pub fn into_blocks(self, shard_bytes: usize, large: bool) -> (Vec<(Bytes, Bytes)>, Bytes) {
        let (data_at, filled) = (self.data_at(), self.filled);
        let (shards, room) = (self.shards, self.header_room);
        let header_bytes = if large { room } else { BLOCK_HEADER_BYTES };
        let all = Bytes::from_owner(self);
        let block = |shard: usize| {
            let header_end = (shard + 1) * room;
            let shard_at = data_at + shard * shard_bytes;
            (all.slice(header_end - header_bytes..header_end), all.slice(shard_at..shard_at + shard_bytes))
        };
        ((0..shards).map(block).collect(), all.slice(data_at..data_at + filled))
    }

    fn data_at(&self) -> usize {
        self.shards * self.header_room
    }
}

impl AsRef<[u8]> for StripeBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for StripeBuffer {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelf.take() {
            let memory = std::mem::replace(&mut self.memory, Memory::Small(Vec::new()));
            if let Memory::Large(memory) = memory {
                shelf.put(memory);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { data: 3, parity: 1 };

    #[test]
    fn large_blocks_lie_on_pages_and_reused_memory_shows_nothing_of_before() {
        let shelf = Arc::new(Shelf::default());
        for (round, bytes) in [STRIPE_BYTES, 500_000, 98_303].into_iter().enumerate() {
            let mut buffer = StripeBuffer::new(GEOMETRY, STRIPE_BYTES, &shelf);
            let body: Vec<u8> = (0..bytes).map(|at| (at * 31 + at / 251) as u8 | 1).collect();
            assert!(buffer.fill(&body).is_empty());
            let shard_bytes = GEOMETRY.shard_bytes(bytes);
            let (data, mut parity) = buffer.shards(GEOMETRY);
            assert!(data.concat()[..bytes] == body && data.concat()[bytes..].iter().all(|byte| *byte == 0));
            parity[0].fill(0xff);
            for shard in 0..4 {
                buffer.header_and_shard(shard, shard_bytes).0.fill(0xee);
            }
            let large = GEOMETRY.is_large(bytes);
            for (header, shard) in buffer.into_blocks(shard_bytes, large).0 {
                let (zeros, own) = header.split_at(header.len() - BLOCK_HEADER_BYTES);
                assert!(zeros.iter().all(|byte| *byte == 0) && own == [0xee; BLOCK_HEADER_BYTES]);
                if large {
                    assert!(header.as_ptr().addr().is_multiple_of(DIRECT_ALIGN_BYTES) && zeros.len() == 4032);
                    assert!(shard.as_ptr().addr().is_multiple_of(DIRECT_ALIGN_BYTES));
                }
            }
            let waiting = shelf.state.lock().unwrap().buffers.len();
            assert_eq!(waiting, 1, "round {round}");
        }
    }

    #[test]
    fn an_upload_may_be_longer_than_announced() {
        let shelf = Arc::new(Shelf::default());
        let mut buffer = StripeBuffer::new(GEOMETRY, 10, &shelf);
        let body = vec![7; STRIPE_BYTES + 5];
        assert_eq!(buffer.fill(&body).len(), 5);
        let (data, _) = buffer.shards(GEOMETRY);
        assert!(data.concat()[..STRIPE_BYTES] == body[5..]);
    }

    #[test]
    fn what_nobody_needed_is_freed() {
        let shelf = Arc::new(Shelf::default());
        let buffers: Vec<_> = (0..3).map(|_| StripeBuffer::new(GEOMETRY, STRIPE_BYTES, &shelf)).collect();
        drop(buffers);
        let waiting = || shelf.state.lock().unwrap().buffers.len();
        shelf.trim();
        assert_eq!(waiting(), 3, "they were needed since the last look");
        drop(StripeBuffer::new(GEOMETRY, STRIPE_BYTES, &shelf));
        shelf.trim();
        assert_eq!(waiting(), 1);
        shelf.trim();
        assert_eq!(waiting(), 0);
    }
}
