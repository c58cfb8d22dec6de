//! Pool: user bytes in stripes, coded to k+m shards, spread over the drives.
//!
//! Promises: bytes given to a `StripeWriter` are on stable storage on every healthy drive when `finish` returns; a read
//! gives exactly those bytes or an error, never others. Knows nothing of keys, versions or SQL.

mod extent;

pub use extent::{decode as decode_extents, encode as encode_extents, Extent, Geometry};

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::seam::{Storage, World};

/// Why the pool could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("only {healthy} of {needed} needed drives take writes; replace or reattach drives")]
    TooFewDrives { healthy: usize, needed: usize },
    #[error("the drives are full; delete objects or add space")]
    Full,
    #[error("stripe at segment {segment} offset {offset} has only {found} of {needed} readable shards")]
    Lost { segment: u32, offset: u32, found: usize, needed: usize },
    #[error("{0}")]
    Drive(String),
}

/// What `StripeWriter::finish` leaves behind.
#[derive(Debug, Clone)]
pub struct Written {
    pub extents: Vec<Extent>,
    pub size: u64,
    /// Bit per slot whose drive missed at least one block: to be healed.
    pub missed: u64,
}

/// How a pool is opened.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    pub parity: u8,
    /// Least shards of a stripe that must be durable before a write counts; at least k.
    pub write_shards_min: Option<u8>,
    pub world: World,
}

/// One drive as the operator sees it.
#[derive(Debug, Clone)]
pub struct DriveStatus {
    pub slot: usize,
    pub place: String,
    /// `None`: healthy; else why the drive is out.
    pub fault: Option<String>,
    pub total_bytes: u64,
    pub available_bytes: u64,
}

/// The pool. Shared by all threads; every async call works on any executor.
#[derive(Debug)]
pub struct Pool {}

impl Pool {
    pub fn open(_drives: Vec<Option<Arc<dyn Storage>>>, _options: PoolOptions) -> Result<Arc<Pool>, PoolError> {
        todo!("pool")
    }

    pub fn geometry(&self) -> Geometry {
        todo!("pool")
    }

    pub fn status(&self) -> Vec<DriveStatus> {
        todo!("pool")
    }

    /// Starts an upload; `size_hint` in bytes sizes its first extent. Dropping the writer unfinished gives the space back.
    pub fn writer(self: &Arc<Self>, _size_hint: Option<u64>) -> StripeWriter {
        todo!("pool")
    }

    /// Reads `range` of the concatenated extents, a stripe or less at a time.
    pub fn reader(self: &Arc<Self>, _extents: &[Extent], _range: Range<u64>) -> StripeReader {
        todo!("pool")
    }

    /// Gives back, some time later, space that no metadata ever referred to (a refused or abandoned upload).
    pub fn discard(&self, _extents: &[Extent]) {
        todo!("pool")
    }

    /// Gives back space that no metadata refers to any more.
    pub async fn release(&self, _extents: &[Extent]) -> Result<(), PoolError> {
        todo!("pool")
    }

    /// Segments below this number were allocated before: told by metadata at start, so that no address is used twice.
    pub fn reserve_segments(&self, _first_free: u32) {
        todo!("pool")
    }

    /// Finishes queued work and stops the drive threads.
    pub fn close(&self) {
        todo!("pool")
    }
}

/// An upload on its way to the drives.
#[derive(Debug)]
pub struct StripeWriter {}

impl StripeWriter {
    /// Takes bytes; waits only while `STRIPES_IN_FLIGHT_PER_UPLOAD` stripes are under way.
    pub async fn write(&mut self, _bytes: &[u8]) -> Result<(), PoolError> {
        todo!("pool")
    }

    /// Everything written so far is durable on every healthy drive when this returns.
    pub async fn finish(self) -> Result<Written, PoolError> {
        todo!("pool")
    }
}

/// A read on its way from the drives.
#[derive(Debug)]
pub struct StripeReader {}

impl StripeReader {
    /// The next bytes of the range in order, verified; `None` at its end. Reads ahead by one stripe.
    pub async fn next(&mut self) -> Option<Result<Bytes, PoolError>> {
        todo!("pool")
    }
}
