//! Writing: bytes fill a stripe, a full stripe is coded and sent to the drives, the last one with a sync.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::allocate::{Run, RunClass};
use super::{Extent, Pool, PoolError};
use crate::drive::{Block, Outcome, Ticket, TicketWait};
use crate::limits::{BLOCK_ALIGN_BYTES, STRIPE_BYTES, STRIPES_IN_FLIGHT_PER_UPLOAD};

/// What `StripeWriter::finish` leaves behind.
#[derive(Debug, Clone)]
pub struct Written {
    pub extents: Vec<Extent>,
    pub size: u64,
    /// Bit per slot whose drive missed at least one block: to be healed.
    pub missed: u64,
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
    /// User bytes of the stripe that is being filled.
    stripe: Vec<u8>,
    run: Option<OpenRun>,
    runs: Vec<Run>,
    extents: Vec<Extent>,
    in_flight: VecDeque<TicketWait>,
    missed: u64,
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
        let capacity = size_hint.map_or(STRIPE_BYTES, |size| size.min(STRIPE_BYTES as u64) as usize);
        let padded = pool.geometry.shard_bytes(capacity) * usize::from(pool.geometry.data);
        StripeWriter {
            pool,
            size_hint,
            size: 0,
            stripe: Vec::with_capacity(padded),
            run: None,
            runs: Vec::new(),
            extents: Vec::new(),
            in_flight: VecDeque::new(),
            missed: 0,
            finished: false,
        }
    }

    /// Takes bytes; waits only while `STRIPES_IN_FLIGHT_PER_UPLOAD` stripes are under way.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), PoolError> {
        while !bytes.is_empty() {
            if self.stripe.len() == STRIPE_BYTES {
                self.send_stripe(false)?;
                while self.in_flight.len() >= STRIPES_IN_FLIGHT_PER_UPLOAD {
                    self.settle_oldest().await?;
                }
            }
            let taken = bytes.len().min(STRIPE_BYTES - self.stripe.len());
            self.stripe.extend_from_slice(&bytes[..taken]);
            self.size += taken as u64;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Everything written so far is durable on every healthy drive when this returns.
    pub async fn finish(mut self) -> Result<Written, PoolError> {
        if !self.stripe.is_empty() {
            self.send_stripe(true)?;
        }
        while !self.in_flight.is_empty() {
            self.settle_oldest().await?;
        }
        if let Some(open) = self.run.take() {
            self.extents.push(open.extent);
        }
        self.finished = true;
        let extents = std::mem::take(&mut self.extents);
        assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), self.size, "extents hold every byte");
        Ok(Written { extents, size: self.size, missed: self.missed })
    }

    /// Codes the stripe and queues its blocks.
    fn send_stripe(&mut self, last: bool) -> Result<(), PoolError> {
        self.pool.takes_writes()?;
        let next_capacity = if last { 0 } else { self.stripe.capacity() };
        let mut stripe = std::mem::replace(&mut self.stripe, Vec::with_capacity(next_capacity));
        let user_bytes = stripe.len();
        let (segment, offset) = self.place(user_bytes)?;
        let shard_bytes = self.pool.geometry.shard_bytes(user_bytes);
        let data_bytes = shard_bytes * usize::from(self.pool.geometry.data);
        stripe.resize(data_bytes, 0);
        let parity = self.parity_of(&stripe, shard_bytes);
        let (data, parity) = (Bytes::from(stripe), Bytes::from(parity));

        let shards = self.pool.geometry.shards();
        let (tickets, wait) = Ticket::issue((0..shards).map(|shard| self.pool.slot_of(segment, shard)));
        let offset_units = u32::try_from(offset / BLOCK_ALIGN_BYTES as u64).expect("a segment is small");
        for (shard, ticket) in tickets.into_iter().enumerate() {
            let at = shard * shard_bytes;
            let payload = match at.checked_sub(data_bytes) {
                None => data.slice(at..at + shard_bytes),
                Some(at) => parity.slice(at..at + shard_bytes),
            };
            // A drive that is out drops the ticket, which counts as missed.
            if let Some(drive) = self.pool.drive_of(segment, shard) {
                let identity = self.pool.identity(segment, offset_units, shard);
                let header = Bytes::copy_from_slice(&identity.header(user_bytes as u32, &payload));
                drive.write(Block { segment, offset, header, payload }, last, ticket);
            }
        }
        self.in_flight.push_back(wait);
        Ok(())
    }

    fn parity_of(&self, data: &[u8], shard_bytes: usize) -> Vec<u8> {
        let mut parity = vec![0; shard_bytes * usize::from(self.pool.geometry.parity)];
        if !parity.is_empty() {
            let data: Vec<&[u8]> = data.chunks_exact(shard_bytes).collect();
            let mut targets: Vec<&mut [u8]> = parity.chunks_exact_mut(shard_bytes).collect();
            self.pool.codec.encode(&data, &mut targets);
        }
        parity
    }

    /// An address for the next stripe: behind the last one, or in a new run.
    fn place(&mut self, user_bytes: usize) -> Result<(u32, u64), PoolError> {
        let needed = self.pool.geometry.block_bytes(user_bytes) as u64;
        let fits = self.run.as_ref().is_some_and(|open| open.used + needed <= open.run.bytes);
        if !fits {
            self.open_run(needed, user_bytes)?;
        }
        let open = self.run.as_mut().expect("opened above where there was none");
        let offset = open.run.offset + open.used;
        open.used += needed;
        open.extent.length += user_bytes as u64;
        Ok((open.run.segment, offset))
    }

    fn open_run(&mut self, needed: u64, user_bytes: usize) -> Result<(), PoolError> {
        if let Some(open) = self.run.take() {
            self.extents.push(open.extent);
        }
        let placed: u64 = self.extents.iter().map(|extent| extent.length).sum();
        let full_stripe = self.pool.geometry.block_bytes(STRIPE_BYTES) as u64;
        let wanted = match self.size_hint {
            Some(hint) => self.pool.geometry.run_bytes(hint.saturating_sub(placed).max(user_bytes as u64)),
            None => full_stripe * self.runs.len().pow(2).clamp(1, RUN_STRIPES_MAX as usize) as u64,
        };
        let class = if self.size < STRIPE_BYTES as u64 { RunClass::Small } else { RunClass::Large };
        let run = self.pool.allocator.run(class, needed, wanted.max(needed));
        self.runs.push(run);
        self.pool.reserve_number(run.segment)?;
        let offset = u32::try_from(run.offset / BLOCK_ALIGN_BYTES as u64).expect("a segment is small");
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
                for drive in self.pool.drives.iter().flatten() {
                    drive.punch(run.segment, run.offset, run.bytes);
                }
            }
            self.pool.allocator.done(run.segment);
        }
    }
}
