//! Pool: user bytes in stripes, coded to k+m shards, spread over the drives.
//!
//! Promises: bytes given to a `StripeWriter` are on stable storage on every healthy drive when `finish` returns; a read
//! gives exactly those bytes or an error, never others. Knows nothing of keys, versions or SQL.

mod allocate;
mod buffer;
#[cfg(test)]
mod crash;
mod extent;
mod heal;
mod latest;
mod open;
mod places;
mod presence;
mod read;
mod stripe;
#[cfg(test)]
mod tests;
mod write;

pub use buffer::read_exactly;
pub use extent::{Extent, Geometry, decode as decode_extents, encode as encode_extents};
pub use heal::ExtentHealth;
pub use open::default_parity;
pub use places::OpenPlace;
pub use read::StripeReader;
pub use write::{StripeWriter, Written};

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use allocate::Allocator;
use stripe::Shelf;

use crate::codec::Codec;
use crate::drive::{BlockIdentity, Drive, Label};
use crate::limits::{self, BLOCK_ALIGN_BYTES};
use crate::seam::{Storage, World};

/// Why the pool could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("only {healthy} of {needed} needed drives take writes; put drives back or replace them")]
    TooFewDrives { healthy: usize, needed: usize },
    #[error("the drives are full; delete objects or add space")]
    Full,
    #[error(
        "stripe at segment {segment} offset {offset} has only {found} of {needed} readable shards; put the drives that are out back"
    )]
    Lost { segment: u32, offset: u32, found: usize, needed: usize },
    #[error("{0}")]
    Open(String),
}

/// How a pool is opened.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Parity shards of a new pool. An existing one keeps its geometry and refuses another.
    pub parity: Option<u8>,
    /// Least shards of a stripe that must be durable before a write counts; k where it is not said. With k, a drone
    /// whose m drives broke goes on recording; more would refuse uploads that k drives could have kept.
    pub write_shards_min: Option<u8>,
    /// Places that may take the slot of a drive that was mounted though nothing is mounted there: the operator's word.
    pub replace: Vec<String>,
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
pub struct Pool {
    geometry: Geometry,
    write_shards_min: usize,
    codec: Codec,
    /// By slot. Empty: missing since the start.
    drives: Vec<OnceLock<Drive>>,
    /// Places that are looked at again.
    places: places::Places,
    /// Slots whose drive came empty: everything on it is to be rebuilt.
    fresh: AtomicU64,
    /// The pool-wide part of the labels, as last written.
    label: Mutex<Label>,
    /// Segment numbers up to this one are reserved in the labels.
    numbers_reserved: AtomicU32,
    /// Some drive has so little space left that uploads are refused.
    full: AtomicBool,
    /// User bytes that fit, as the drives were last asked.
    room: AtomicU64,
    seed: u64,
    allocator: Allocator,
    buffers: Arc<Shelf>,
    returns: presence::Returns,
    latest: latest::Latest,
    world: World,
    pins: Mutex<HashMap<Extent, u32>>,
}

impl Pool {
    /// Opens the drives, in any order; `None` stands for a place that is not there.
    pub fn open(places: Vec<(String, Option<Arc<dyn Storage>>)>, options: PoolOptions) -> Result<Arc<Pool>, PoolError> {
        Pool::open_within(places, options, limits::DRIVE_STALL_TIMEOUT)
    }

    /// The same; a drive that does not answer within `patience` is left out.
    pub fn open_within(
        places: Vec<(String, Option<Arc<dyn Storage>>)>,
        options: PoolOptions,
        patience: std::time::Duration,
    ) -> Result<Arc<Pool>, PoolError> {
        open::open(places, options, patience).map(Arc::new)
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of a segment file on each drive.
    pub fn segment_bytes(&self) -> u64 {
        self.allocator.segment_bytes()
    }

    /// Hex id of the pool.
    pub fn id(&self) -> String {
        self.label.lock().expect("no holder of this lock panics").pool.clone()
    }

    /// Drives by slot, healthy or not.
    pub fn status(&self) -> Vec<DriveStatus> {
        let status = |(slot, drive): (usize, &OnceLock<Drive>)| match drive.get() {
            Some(drive) => {
                let space = drive.space();
                DriveStatus {
                    slot,
                    place: drive.storage().describe(),
                    fault: drive.fault(),
                    total_bytes: space.map_or(0, |space| space.total),
                    available_bytes: space.map_or(0, |space| space.available),
                }
            }
            None => DriveStatus {
                slot,
                place: "-".to_owned(),
                fault: Some(self.places.why_missing(slot)),
                total_bytes: 0,
                available_bytes: 0,
            },
        };
        self.drives.iter().enumerate().map(status).collect()
    }

    /// The drives that are there, or were since the start.
    fn there(&self) -> impl Iterator<Item = &Drive> {
        self.drives.iter().filter_map(OnceLock::get)
    }

    /// Bit per slot whose drive takes reads and writes now.
    pub fn healthy(&self) -> u64 {
        self.there().filter(|drive| drive.is_healthy()).fold(0, |mask, drive| mask | 1 << drive.slot())
    }

    /// Bit per slot of the pool.
    pub fn all_slots(&self) -> u64 {
        (0..self.geometry.shards()).fold(0, |mask, slot| mask | 1 << slot)
    }

    pub fn all_healthy(&self) -> bool {
        self.healthy() == self.all_slots()
    }

    /// Bit per slot whose drive came empty, at this start or since.
    pub fn fresh(&self) -> u64 {
        self.fresh.load(Ordering::Acquire)
    }

    /// Grows with each drive that is put back; and bit per slot that was put back since it had the value given.
    pub fn returns(&self) -> u64 {
        self.returns.count()
    }

    pub fn returned_since(&self, count: u64) -> u64 {
        self.returns.since(count)
    }

    /// Bit per slot that may lack blocks: it came empty or was away, and no census has proved it whole since.
    pub fn rebuilding(&self) -> u64 {
        let label = self.label.lock().expect("no holder of this lock panics");
        label.rebuilding.iter().fold(0, |mask, slot| mask | 1 << slot)
    }

    /// A census has proved these slots whole.
    pub fn set_rebuilt(&self, slots: u64) -> Result<(), PoolError> {
        let mut label = self.label.lock().expect("no holder of this lock panics");
        let before = label.rebuilding.len();
        label.rebuilding.retain(|slot| slots & 1 << slot == 0);
        if label.rebuilding.len() == before {
            return Ok(());
        }
        open::write_labels(&mut label, self.there()).map(|_| ())
    }

    /// Whether uploads are taken now.
    pub fn takes_writes(&self) -> Result<(), PoolError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(PoolError::Full);
        }
        let healthy = self.healthy().count_ones() as usize;
        let needed = self.write_shards_min;
        if healthy < needed { Err(PoolError::TooFewDrives { healthy, needed }) } else { Ok(()) }
    }

    /// User bytes that fit before the drives are full, as of the last look at them; the space of deleted objects counts
    /// once it is reclaimed.
    pub fn room_bytes(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }

    /// Keeps up to so many bytes of the last uploads in memory, for those who read them at once; none by default.
    pub fn keep_latest(&self, bytes: u64) {
        self.latest.set_budget(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Starts an upload; `size_hint` in bytes sizes its extents. Dropping the writer unfinished gives the space back.
    pub fn writer(self: &Arc<Self>, size_hint: Option<u64>) -> StripeWriter {
        StripeWriter::new(self.clone(), size_hint)
    }

    /// Reads `range` of the concatenated extents, a stripe or less at a time.
    pub fn reader(self: &Arc<Self>, extents: &[Extent], range: std::ops::Range<u64>) -> StripeReader {
        StripeReader::new(self.clone(), extents, range)
    }

    /// Gives back the space of a refused or abandoned upload: no metadata ever referred to it.
    pub fn discard(&self, extents: &[Extent]) {
        for extent in extents {
            let lead = self.geometry.run_lead_bytes(extent.length);
            let offset = u64::from(extent.offset) * BLOCK_ALIGN_BYTES as u64;
            let length = self.geometry.run_bytes(extent.length);
            for drive in self.there() {
                drive.punch(extent.segment, offset.saturating_sub(lead), length);
            }
        }
    }

    /// Gives back the space of deleted extents unless someone reads them; `false` then, try again later.
    pub fn release(&self, extents: &[Extent]) -> bool {
        let read = {
            let pins = self.pins.lock().expect("no holder of this lock panics");
            extents.iter().any(|extent| pins.contains_key(extent))
        };
        if !read {
            self.discard(extents);
        }
        !read
    }

    /// Takes no more uploads into the segment; `false` while one may still commit bytes in it. What the metadata says
    /// about a retired segment is final but for deletes.
    pub fn retire_segment(&self, segment: u32) -> bool {
        self.allocator.retire(segment)
    }

    /// Removes a retired segment of which the metadata refers to nothing any more.
    pub fn remove_segment(&self, segment: u32) {
        self.there().for_each(|drive| drive.remove_segment(segment));
    }

    /// Gives back what a retired segment reserved and uploads did not fill.
    pub fn trim_segment(&self, segment: u32) {
        self.there().for_each(|drive| drive.trim_segment(segment));
    }

    /// Numbers of the segments that any drive has a file of.
    pub fn segment_numbers(&self) -> BTreeSet<u32> {
        let numbers = |drive: &Drive| drive.segment_numbers().unwrap_or_default();
        self.there().filter(|drive| drive.is_healthy()).flat_map(numbers).collect()
    }

    /// Segments up to this number were used before: told by the metadata at start, so that no address is used twice.
    pub fn reserve_segments(&self, last_used: u32) {
        self.allocator.reserve(last_used);
    }

    /// Places of the metadata's copies: the first m+1 slots, where their drives are there; and whether the labels call
    /// that copy current.
    pub fn copies(&self) -> Vec<(usize, Arc<dyn Storage>, bool)> {
        let label = self.label.lock().expect("no holder of this lock panics");
        let count = usize::from(self.geometry.parity) + 1;
        let copy = |drive: &Drive| {
            let slot = drive.slot();
            let current = label.copies.contains(&slot);
            (slot, drive.storage().clone(), current)
        };
        self.drives.iter().take(count).filter_map(OnceLock::get).map(copy).collect()
    }

    /// A copy of the metadata missed a commit: the labels say so before the commit is acknowledged.
    pub fn drop_copy(&self, slot: usize) -> Result<(), PoolError> {
        // One that hangs would hold up its own label, and with it the commit.
        if let Some(drive) = self.drives[slot].get().filter(|drive| drive.is_healthy())
            && drive.check().is_none()
        {
            drive.fail("it does not answer".to_owned());
        }
        let copies = self.label.lock().expect("no holder of this lock panics").copies.clone();
        self.set_copies(copies.into_iter().filter(|copy| *copy != slot).collect())
    }

    /// Whether enough drives are there for what is written to the labels to count.
    fn takes_labels(&self) -> Result<(), PoolError> {
        let (healthy, needed) = (self.healthy().count_ones() as usize, usize::from(self.geometry.data));
        if healthy < needed { Err(PoolError::TooFewDrives { healthy, needed }) } else { Ok(()) }
    }

    /// Writes to every healthy drive's label which slots hold current copies of the metadata.
    pub fn set_copies(&self, copies: Vec<usize>) -> Result<(), PoolError> {
        let mut label = self.label.lock().expect("no holder of this lock panics");
        let copies = BTreeSet::from_iter(copies);
        if label.copies.iter().copied().collect::<BTreeSet<usize>>() == copies {
            return Ok(());
        }
        self.takes_labels()?;
        label.copies = copies.into_iter().collect();
        open::write_labels(&mut label, self.there()).map(|_| ())
    }

    /// Makes sure that the labels reserve the segment's number, before anything is written there. Waits for the drives
    /// once in `SEGMENTS_RESERVED` segments.
    fn reserve_number(&self, segment: u32) -> Result<(), PoolError> {
        if segment <= self.numbers_reserved.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut label = self.label.lock().expect("no holder of this lock panics");
        if segment > label.segments_reserved {
            label.segments_reserved =
                segment.checked_add(limits::SEGMENTS_RESERVED).ok_or_else(open::numbers_used_up)?;
            open::write_labels(&mut label, self.there())?;
        }
        self.numbers_reserved.store(label.segments_reserved, Ordering::Release);
        Ok(())
    }

    /// Finishes queued work and stops the drive threads.
    pub fn close(&self) {
        self.there().for_each(Drive::stop);
    }

    /// The slot that holds shard `shard` of a stripe in `segment`: rotated, so that all drives serve data shards.
    fn slot_of(&self, segment: u32, shard: usize) -> usize {
        (shard + segment as usize) % self.geometry.shards()
    }

    /// The healthy drive that holds the shard.
    fn drive_of(&self, segment: u32, shard: usize) -> Option<&Drive> {
        self.drives[self.slot_of(segment, shard)].get().filter(|drive| drive.is_healthy())
    }

    fn identity(&self, segment: u32, offset: u32, shard: usize) -> BlockIdentity {
        BlockIdentity {
            seed: self.seed,
            segment,
            offset,
            data: self.geometry.data,
            parity: self.geometry.parity,
            shard: shard as u8,
        }
    }

    fn pin(&self, extents: &[Extent]) {
        let mut pins = self.pins.lock().expect("no holder of this lock panics");
        extents.iter().for_each(|extent| *pins.entry(*extent).or_default() += 1);
    }

    fn unpin(&self, extents: &[Extent]) {
        let mut pins = self.pins.lock().expect("no holder of this lock panics");
        for extent in extents {
            let count = pins.get_mut(extent).expect("what is unpinned was pinned");
            *count -= 1;
            if *count == 0 {
                pins.remove(extent);
            }
        }
    }
}
