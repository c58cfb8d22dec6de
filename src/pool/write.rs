//! Writing: bytes fill a stripe, a full stripe is coded and sent to the drives, the last one with a sync.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{OptionFuture, join};

use super::allocate::{Run, RunClass};
use super::stripe::StripeBuffer;
use super::{Extent, Pool, PoolError};
use crate::drive::{Block, Outcome, Ticket, TicketWait};
use crate::hash::BatchedMd5;
use crate::limits::{
    BLOCK_ALIGN_BYTES, BLOCK_HEADER_BYTES, DIRECT_ALIGN_BYTES, STRIPE_BYTES, STRIPES_IN_FLIGHT_PER_UPLOAD,
};

/// What `StripeWriter::finish` leaves behind.
#[derive(Debug, Clone)]
pub struct Written {
    pub extents: Vec<Extent>,
    pub size: u64,
    /// Bit per slot whose drive missed at least one block: to be healed.
    pub missed: u64,
    /// MD5 of all bytes, where it was asked for.
    pub md5: Option<[u8; 16]>,
}

/// An upload on its way to the drives.
///
/// The last stripe is held back until `finish`, which writes it with a sync: the drives' queues keep their order, so
/// that this one sync covers all stripes before it.
#[derive(Debug)]
pub struct StripeWriter {
    pool: Arc<Pool>,
    size_hint: Option<u64>,
    size: u64,
    /// The stripe that is being filled; `None` until there are bytes for it.
    stripe: Option<StripeBuffer>,
    run: Option<OpenRun>,
    runs: Vec<Run>,
    extents: Vec<Extent>,
    in_flight: VecDeque<TicketWait>,
    missed: u64,
    /// Hashes what the drives were sent, where it lies: whoever gave the bytes need not keep them for it.
    md5: Option<BatchedMd5>,
    /// Drives that were put back before this upload.
    returns: u64,
    finished: bool,
}

/// The run that stripes are placed in.
#[derive(Debug)]
struct OpenRun {
    run: Run,
    used: u64,
    extent: Extent,
}

/// Largest run that an upload of unknown size reserves, in stripes.
const RUN_STRIPES_MAX: u64 = 16;

impl StripeWriter {
    pub(super) fn new(pool: Arc<Pool>, size_hint: Option<u64>) -> StripeWriter {
        StripeWriter {
            returns: pool.returns.count(),
            pool,
            size_hint,
            size: 0,
            stripe: None,
            run: None,
            runs: Vec::new(),
            extents: Vec::new(),
            in_flight: VecDeque::new(),
            missed: 0,
            md5: None,
            finished: false,
        }
    }

    /// Has it hash all bytes that it will take as well.
    pub fn hashing(mut self, md5: Option<BatchedMd5>) -> StripeWriter {
        assert_eq!(self.size, 0, "the MD5 is of all bytes");
        self.md5 = md5;
        self
    }

    /// Takes bytes; waits only while `STRIPES_IN_FLIGHT_PER_UPLOAD` stripes are under way.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), PoolError> {
        while !bytes.is_empty() {
            if self.stripe.as_ref().is_some_and(|stripe| stripe.len() == STRIPE_BYTES) {
                let sent = self.send_stripe(false)?;
                self.hash(sent).await;
                self.wait_for_drives(STRIPES_IN_FLIGHT_PER_UPLOAD - 1).await?;
            }
            let (pool, left) = (&self.pool, self.size_hint.map(|hint| hint.saturating_sub(self.size)));
            let stripe = self.stripe.get_or_insert_with(|| {
                let capacity = left.map_or(STRIPE_BYTES, |left| left.clamp(1, STRIPE_BYTES as u64) as usize);
                StripeBuffer::new(pool.geometry, capacity, &pool.buffers)
            });
            let rest = stripe.fill(bytes);
            self.size += (bytes.len() - rest.len()) as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Everything written so far is durable on every healthy drive when this returns.
    pub async fn finish(mut self) -> Result<Written, PoolError> {
        let sent = self.send_stripe(true)?;
        self.hash(sent).await;
        let hashed = OptionFuture::from(self.md5.take().map(BatchedMd5::finish));
        let (md5, settled) = join(hashed, self.wait_for_drives(0)).await;
        settled?;
        // The sync of the last stripe says nothing of what a drive took before it was pulled.
        self.missed |= self.pool.returns.since(self.returns);
        if let Some(open) = self.run.take() {
            self.extents.push(open.extent);
        }
        self.finished = true;
        let extents = std::mem::take(&mut self.extents);
        assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), self.size, "extents hold every byte");
        Ok(Written { extents, size: self.size, missed: self.missed, md5 })
    }

    /// Hashes bytes that follow those before; waits while there are many of them.
    async fn hash(&mut self, sent: Option<Bytes>) {
        if let (Some(md5), Some(sent)) = (&mut self.md5, sent) {
            md5.update(&sent).await;
        }
    }

    /// Waits until no more stripes than `left` are under way.
    async fn wait_for_drives(&mut self, left: usize) -> Result<(), PoolError> {
        let mut md5 = self.md5.take();
        let settled = async {
            while self.in_flight.len() > left {
                self.settle_oldest().await?;
            }
            Ok(())
        };
        let settled = match &mut md5 {
            Some(md5) => md5.aside(settled).await,
            None => settled.await,
        };
        self.md5 = md5;
        settled
    }

    /// Codes the stripe, if there is one, and queues its blocks. Gives its user bytes.
    fn send_stripe(&mut self, last: bool) -> Result<Option<Bytes>, PoolError> {
        let Some(mut stripe) = self.stripe.take() else { return Ok(None) };
        self.pool.takes_writes()?;
        let geometry = self.pool.geometry;
        let (user_bytes, shard_bytes) = (stripe.len(), geometry.shard_bytes(stripe.len()));
        let (segment, offset) = self.place(user_bytes)?;
        let (data, mut parity) = stripe.shards(geometry);
        if !parity.is_empty() {
            self.pool.codec.encode(&data, &mut parity);
        }
        let offset_units = u32::try_from(offset / BLOCK_ALIGN_BYTES as u64).expect("a segment is small");
        for shard in 0..geometry.shards() {
            let (header, payload) = stripe.header_and_shard(shard, shard_bytes);
            let identity = self.pool.identity(segment, offset_units, shard);
            header.copy_from_slice(&identity.header(user_bytes as u32, payload));
        }
        let (large, memory_bytes) = (geometry.is_large(user_bytes), stripe.memory_bytes());
        let (blocks, user) = stripe.into_blocks(shard_bytes, large);
        if large && self.size_hint.is_some_and(|hint| self.pool.latest.takes(hint)) {
            self.pool.latest.put(segment, offset_units, user.clone(), memory_bytes);
        }
        let (tickets, wait) = Ticket::issue((0..geometry.shards()).map(|shard| self.pool.slot_of(segment, shard)));
        for (shard, (ticket, (header, payload))) in tickets.into_iter().zip(blocks).enumerate() {
            // A drive that is out drops the ticket, which counts as missed.
            if let Some(drive) = self.pool.drive_of(segment, shard) {
                let lead = (header.len() - BLOCK_HEADER_BYTES) as u64;
                drive.write(Block { segment, offset: offset - lead, header, payload }, last, ticket);
            }
        }
        self.in_flight.push_back(wait);
        Ok(Some(user))
    }

    /// An address for the next stripe's header: behind the last stripe, or in a new run.
    fn place(&mut self, user_bytes: usize) -> Result<(u32, u64), PoolError> {
        // Only runs of large stripes get more than one, the last of which may be small; all begin on pages.
        let paged =
            DIRECT_ALIGN_BYTES + self.pool.geometry.shard_bytes(user_bytes).next_multiple_of(DIRECT_ALIGN_BYTES);
        let fits = self.run.as_ref().is_some_and(|open| open.used + paged as u64 <= open.run.bytes);
        let needed = if fits { paged as u64 } else { self.pool.geometry.run_bytes(user_bytes as u64) };
        if !fits {
            self.open_run(needed, user_bytes)?;
        }
        let open = self.run.as_mut().expect("opened above where there was none");
        let offset = u64::from(open.extent.offset) * BLOCK_ALIGN_BYTES as u64 + open.used;
        open.used += needed;
        open.extent.length += user_bytes as u64;
        Ok((open.run.segment, offset))
    }

    fn open_run(&mut self, needed: u64, user_bytes: usize) -> Result<(), PoolError> {
        if let Some(open) = self.run.take() {
            self.extents.push(open.extent);
        }
        let placed: u64 = self.extents.iter().map(|extent| extent.length).sum();
        let full_stripe = self.pool.geometry.full_block_stride() as u64;
        let wanted = match self.size_hint {
            Some(hint) => self.pool.geometry.run_bytes(hint.saturating_sub(placed).max(user_bytes as u64)),
            None => full_stripe * self.runs.len().pow(2).clamp(1, RUN_STRIPES_MAX as usize) as u64,
        };
        let class = if self.pool.geometry.is_large(user_bytes) { RunClass::Large } else { RunClass::Small };
        let run = self.pool.allocator.run(class, needed, wanted.max(needed));
        self.runs.push(run);
        self.pool.reserve_number(run.segment)?;
        let first = run.offset + self.pool.geometry.run_lead_bytes(user_bytes as u64);
        let offset = u32::try_from(first / BLOCK_ALIGN_BYTES as u64).expect("a segment is small");
        self.run = Some(OpenRun { run, used: 0, extent: Extent { segment: run.segment, offset, length: 0 } });
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<(), PoolError> {
        let Some(wait) = self.in_flight.pop_front() else { return Ok(()) };
        let Outcome { failed, full } = wait.await;
        if full != 0 {
            return Err(PoolError::Full);
        }
        let (shards, needed) = (self.pool.geometry.shards(), self.pool.write_shards_min);
        let healthy = shards - failed.count_ones() as usize;
        if healthy < needed {
            return Err(PoolError::TooFewDrives { healthy, needed });
        }
        self.missed |= failed;
        Ok(())
    }
}

impl Drop for StripeWriter {
    fn drop(&mut self) {
        for run in &self.runs {
            if !self.finished {
                for drive in self.pool.there() {
                    drive.punch(run.segment, run.offset, run.bytes);
                }
            }
            self.pool.allocator.done(run.segment);
        }
    }
}
