//! Reading: data shards first; what is missing or wrong is reconstructed from the others.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;

use super::{Extent, Geometry, Pool, PoolError, buffer};
use crate::drive::BlockHeader;
use crate::limits::{BLOCK_ALIGN_BYTES, BLOCK_HEADER_BYTES, STRIPE_BYTES};

/// One stripe's place, and which of its user bytes are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StripePlace {
    pub segment: u32,
    /// In units of `BLOCK_ALIGN_BYTES`.
    pub offset: u32,
    pub user_bytes: usize,
    pub range: Range<usize>,
}

impl StripePlace {
    fn offset_bytes(&self) -> u64 {
        u64::from(self.offset) * BLOCK_ALIGN_BYTES as u64
    }

    /// The block is one of this stripe's.
    fn is_of(&self, header: &BlockHeader) -> bool {
        header.user_bytes as usize == self.user_bytes
    }
}

/// A read on its way from the drives. While it lives, the space of its extents is not given back.
#[derive(Debug)]
pub struct StripeReader {
    pool: Arc<Pool>,
    stripes: Stripes,
    started: VecDeque<StartedStripe>,
    ready: VecDeque<Bytes>,
}

/// A stripe whose needed data shards are being read.
#[derive(Debug)]
struct StartedStripe {
    place: StripePlace,
    shards: Vec<(usize, BlockRead)>,
}

#[derive(Debug)]
enum BlockRead {
    Done(Vec<u8>),
    Waiting(oneshot::Receiver<io::Result<Vec<u8>>>),
    Missing,
}

impl StripeReader {
    pub(super) fn new(pool: Arc<Pool>, extents: &[Extent], range: Range<u64>) -> StripeReader {
        let stripes = Stripes::of(pool.geometry, extents, range);
        pool.pin(extents);
        StripeReader { pool, stripes, started: VecDeque::new(), ready: VecDeque::new() }
    }

    /// The next bytes of the range in order, verified; `None` at its end. Reads ahead by one stripe when drives are asked.
    pub async fn next(&mut self) -> Option<Result<Bytes, PoolError>> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(Ok(bytes));
        }
        if self.started.is_empty() {
            let place = self.stripes.next()?;
            if let Some(bytes) = self.pool.read_in_memory(&place) {
                return Some(Ok(bytes));
            }
            self.started.push_back(self.pool.start_stripe(place));
        }
        let stripe = self.started.pop_front()?;
        let waits = stripe.shards.iter().any(|(_, read)| matches!(read, BlockRead::Waiting(_)));
        if waits && let Some(place) = self.stripes.next() {
            self.started.push_back(self.pool.start_stripe(place));
        }
        match self.pool.finish_stripe(stripe).await {
            Ok(pieces) => {
                self.ready.extend(pieces);
                self.ready.pop_front().map(Ok)
            }
            Err(error) => {
                self.stripes.end();
                self.started.clear();
                Some(Err(error))
            }
        }
    }
}

impl Drop for StripeReader {
    fn drop(&mut self) {
        self.pool.unpin(&self.stripes.extents);
    }
}

/// The stripes that hold a range of concatenated extents, one after the other.
#[derive(Debug)]
pub(super) struct Stripes {
    geometry: Geometry,
    extents: Vec<Extent>,
    /// The extent at hand, and the user bytes before it.
    extent: usize,
    extent_start: u64,
    /// What is left.
    range: Range<u64>,
}

impl Stripes {
    pub fn of(geometry: Geometry, extents: &[Extent], range: Range<u64>) -> Stripes {
        Stripes { geometry, extents: extents.to_vec(), extent: 0, extent_start: 0, range }
    }

    fn end(&mut self) {
        self.range.start = self.range.end;
    }
}

impl Iterator for Stripes {
    type Item = StripePlace;

    fn next(&mut self) -> Option<StripePlace> {
        if self.range.is_empty() {
            return None;
        }
        let extent = loop {
            let extent = self.extents.get(self.extent)?;
            if self.range.start < self.extent_start + extent.length {
                break extent;
            }
            self.extent_start += extent.length;
            self.extent += 1;
        };
        let (full_block, stripe_bytes) = (self.geometry.full_block_stride() as u64, STRIPE_BYTES as u64);
        let from = self.range.start - self.extent_start;
        let start = from / stripe_bytes * stripe_bytes;
        let user_bytes = (extent.length - start).min(stripe_bytes);
        let to = (self.range.end - self.extent_start).min(start + user_bytes);
        self.range.start = self.extent_start + to;
        Some(StripePlace {
            segment: extent.segment,
            offset: extent.offset + (start / stripe_bytes * full_block / BLOCK_ALIGN_BYTES as u64) as u32,
            user_bytes: user_bytes as usize,
            range: (from - start) as usize..(to - start) as usize,
        })
    }
}

impl Pool {
    /// The data shards that hold the wanted bytes.
    fn wanted(&self, place: &StripePlace) -> Range<usize> {
        let shard_bytes = self.geometry.shard_bytes(place.user_bytes);
        place.range.start / shard_bytes..place.range.end.div_ceil(shard_bytes)
    }

    /// The wanted bytes, when all blocks that hold them are in memory and good: without a copy, and at one piece.
    fn read_in_memory(&self, place: &StripePlace) -> Option<Bytes> {
        if self.geometry.is_large(place.user_bytes)
            && let Some(stripe) = self.latest.get(place.segment, place.offset)
        {
            return Some(stripe.slice(place.range.clone()));
        }
        let shard_bytes = self.geometry.shard_bytes(place.user_bytes);
        let wanted = self.wanted(place);
        let first = wanted.start * shard_bytes;
        let read = buffer::read_exactly(wanted.len() * shard_bytes, |buffer| {
            for (shard, payload) in wanted.zip(buffer.chunks_exact_mut(shard_bytes)) {
                let drive = self.drive_of(place.segment, shard).ok_or(io::ErrorKind::NotFound)?;
                let mut header = [0; BLOCK_HEADER_BYTES];
                drive.read_nowait(place.segment, place.offset_bytes(), &mut header, payload)?;
                let found = self.identity(place.segment, place.offset, shard).verify_parts(&header, payload);
                // Whatever is wrong is found again, and told, by those who read with patience.
                found.filter(|found| place.is_of(found)).ok_or(io::ErrorKind::InvalidData)?;
            }
            Ok(())
        });
        Some(read.ok()?.slice(place.range.start - first..place.range.end - first))
    }

    fn start_stripe(&self, place: StripePlace) -> StartedStripe {
        let shards = self.wanted(&place).map(|shard| (shard, self.start_block(&place, shard))).collect();
        StartedStripe { place, shards }
    }

    /// Reads what is in memory on the calling thread; asks the drive's thread for the rest.
    fn start_block(&self, place: &StripePlace, shard: usize) -> BlockRead {
        let Some(drive) = self.drive_of(place.segment, shard) else { return BlockRead::Missing };
        let (length, offset) = (self.geometry.block_bytes(place.user_bytes), place.offset_bytes());
        let mut block = vec![0; length];
        let (header, payload) = block.split_at_mut(BLOCK_HEADER_BYTES);
        match drive.read_nowait(place.segment, offset, header, payload) {
            Ok(()) => BlockRead::Done(block),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                BlockRead::Waiting(drive.read(place.segment, offset, length))
            }
            Err(error) => {
                // A fresh or returned drive lacks segments: what it misses is reconstructed.
                tracing::debug!(slot = drive.slot(), segment = place.segment, %error, "a block cannot be read");
                BlockRead::Missing
            }
        }
    }

    /// The block, when it is there and is what it must be.
    async fn finish_block(&self, place: &StripePlace, shard: usize, read: BlockRead) -> Option<Bytes> {
        let block = match read {
            BlockRead::Done(block) => block,
            BlockRead::Waiting(answer) => answer.await.ok()?.ok()?,
            BlockRead::Missing => return None,
        };
        let header = self.identity(place.segment, place.offset, shard).verify(&block);
        let right = header.is_some_and(|header| place.is_of(&header));
        if !right {
            let (segment, offset, slot) = (place.segment, place.offset, self.slot_of(place.segment, shard));
            // A drive that is rebuilt lacks blocks; elsewhere it is a finding.
            if self.rebuilding() & 1 << slot != 0 {
                tracing::debug!(segment, offset, slot, "a block is not rebuilt yet; it is reconstructed");
            } else {
                tracing::warn!(segment, offset, slot, "a block is missing or damaged; it is reconstructed");
            }
            return None;
        }
        Some(Bytes::from(block).slice(BLOCK_HEADER_BYTES..))
    }

    /// The wanted bytes of a stripe, in order.
    async fn finish_stripe(&self, stripe: StartedStripe) -> Result<Vec<Bytes>, PoolError> {
        let StartedStripe { place, shards } = stripe;
        let mut found: Vec<Option<Bytes>> = vec![None; self.geometry.shards()];
        let wanted: Vec<usize> = shards.iter().map(|(shard, _)| *shard).collect();
        for (shard, read) in shards {
            found[shard] = self.finish_block(&place, shard, read).await;
        }
        if wanted.iter().any(|shard| found[*shard].is_none()) {
            self.reconstruct(&place, &wanted, &mut found).await?;
        }
        let shard_bytes = self.geometry.shard_bytes(place.user_bytes);
        let piece = |shard: usize| {
            let start = shard * shard_bytes;
            let from = place.range.start.max(start) - start;
            let to = (place.range.end - start).min(shard_bytes);
            found[shard].as_ref().expect("read or reconstructed").slice(from..to)
        };
        Ok(wanted.into_iter().map(piece).collect())
    }

    /// Fills the wanted shards that were not found, from any k others.
    pub(super) async fn reconstruct(
        &self,
        place: &StripePlace,
        wanted: &[usize],
        found: &mut [Option<Bytes>],
    ) -> Result<(), PoolError> {
        let needed = usize::from(self.geometry.data);
        let others: Vec<usize> = (0..found.len()).filter(|s| found[*s].is_none() && !wanted.contains(s)).collect();
        for shard in others {
            if found.iter().flatten().count() >= needed {
                break;
            }
            found[shard] = self.finish_block(place, shard, self.start_block(place, shard)).await;
        }
        let present: Vec<(u8, &[u8])> =
            found.iter().enumerate().filter_map(|(shard, b)| Some((shard as u8, b.as_deref()?))).collect();
        if present.len() < needed {
            let out = self.geometry.shards() - self.healthy().count_ones() as usize;
            let (segment, offset, found) = (place.segment, place.offset, present.len());
            return Err(PoolError::Lost { segment, offset, found, needed, waits: found + out >= needed });
        }
        let shard_bytes = self.geometry.shard_bytes(place.user_bytes);
        let lost: Vec<usize> = wanted.iter().copied().filter(|shard| found[*shard].is_none()).collect();
        let mut decoded = vec![vec![0; shard_bytes]; lost.len()];
        let mut missing: Vec<(u8, &mut [u8])> =
            lost.iter().zip(&mut decoded).map(|(shard, bytes)| (*shard as u8, bytes.as_mut_slice())).collect();
        self.codec.reconstruct(&present, &mut missing).expect("k shards were counted above");
        for (shard, bytes) in lost.into_iter().zip(decoded) {
            found[shard] = Some(Bytes::from(bytes));
        }
        Ok(())
    }

    /// Every shard of a stripe that is there and right; for verify and heal.
    pub(super) async fn read_all_blocks(&self, place: &StripePlace) -> Vec<Option<Bytes>> {
        let reads: Vec<BlockRead> = (0..self.geometry.shards()).map(|shard| self.start_block(place, shard)).collect();
        let mut found = Vec::with_capacity(reads.len());
        for (shard, read) in reads.into_iter().enumerate() {
            found.push(self.finish_block(place, shard, read).await);
        }
        found
    }
}
