//! Reading: data shards first; what is missing or wrong is reconstructed from the others.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;

use super::{Extent, Pool, PoolError};
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

/// A read on its way from the drives. While it lives, the space of its extents is not given back.
#[derive(Debug)]
pub struct StripeReader {
    pool: Arc<Pool>,
    extents: Vec<Extent>,
    stripes: VecDeque<StripePlace>,
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
        let stripes = stripes_of(&pool, extents, range);
        pool.pin(extents);
        StripeReader { pool, extents: extents.to_vec(), stripes, started: VecDeque::new(), ready: VecDeque::new() }
    }

    /// The next bytes of the range in order, verified; `None` at its end. Reads ahead by one stripe when drives are asked.
    pub async fn next(&mut self) -> Option<Result<Bytes, PoolError>> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(Ok(bytes));
        }
        if self.started.is_empty() {
            self.start_next();
        }
        let stripe = self.started.pop_front()?;
        let waits = stripe.shards.iter().any(|(_, read)| matches!(read, BlockRead::Waiting(_)));
        if waits {
            self.start_next();
        }
        match self.pool.finish_stripe(stripe).await {
            Ok(pieces) => {
                self.ready.extend(pieces);
                self.ready.pop_front().map(Ok)
            }
            Err(error) => {
                self.stripes.clear();
                self.started.clear();
                Some(Err(error))
            }
        }
    }

    fn start_next(&mut self) {
        if let Some(place) = self.stripes.pop_front() {
            self.started.push_back(self.pool.start_stripe(place));
        }
    }
}

impl Drop for StripeReader {
    fn drop(&mut self) {
        self.pool.unpin(&self.extents);
    }
}

/// The stripes that hold `range` of the concatenated extents.
pub(super) fn stripes_of(pool: &Pool, extents: &[Extent], range: Range<u64>) -> VecDeque<StripePlace> {
    let full_block = pool.geometry.full_block_stride() as u64;
    let stripe_bytes = STRIPE_BYTES as u64;
    let mut places = VecDeque::new();
    let mut extent_start = 0u64;
    for extent in extents {
        let (from, to) = (range.start.max(extent_start), range.end.min(extent_start + extent.length));
        if from < to {
            let (from, to) = (from - extent_start, to - extent_start);
            for index in from / stripe_bytes..=(to - 1) / stripe_bytes {
                let start = index * stripe_bytes;
                let user_bytes = (extent.length - start).min(stripe_bytes) as usize;
                let offset = extent.offset + (index * full_block / BLOCK_ALIGN_BYTES as u64) as u32;
                let range = from.saturating_sub(start) as usize..((to - start) as usize).min(user_bytes);
                places.push_back(StripePlace { segment: extent.segment, offset, user_bytes, range });
            }
        }
        extent_start += extent.length;
    }
    places
}

impl Pool {
    fn start_stripe(&self, place: StripePlace) -> StartedStripe {
        let shard_bytes = self.geometry.shard_bytes(place.user_bytes);
        let wanted = place.range.start / shard_bytes..=(place.range.end - 1) / shard_bytes;
        let shards = wanted.map(|shard| (shard, self.start_block(&place, shard))).collect();
        StartedStripe { place, shards }
    }

    /// Reads what is in memory on the calling thread; asks the drive's thread for the rest.
    fn start_block(&self, place: &StripePlace, shard: usize) -> BlockRead {
        let Some(drive) = self.drive_of(place.segment, shard) else { return BlockRead::Missing };
        let length = self.geometry.block_bytes(place.user_bytes);
        let offset = u64::from(place.offset) * BLOCK_ALIGN_BYTES as u64;
        match drive.read_nowait(place.segment, offset, length) {
            Ok(block) => BlockRead::Done(block),
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
        let right = header.is_some_and(|header| header.user_bytes as usize == place.user_bytes);
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
            return Err(PoolError::Lost { segment: place.segment, offset: place.offset, found: present.len(), needed });
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
