//! Drives that come and go while the pool runs: one that is pulled is out, one that is put back takes part again.
//!
//! Invariant: a drive that was away counts as one that may lack blocks (`rebuilding`, in the labels) before it takes the
//! first read or write, and until a census has proved it whole. A drive that failed where it stands, at a sync for example,
//! stays out: its label was there all the time. Its copy of the metadata, if it missed a commit, is caught up at the next
//! start. Runs on upkeep's thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Pool, PoolError, open};
use crate::drive::{Drive, Label};

/// Drives that were put back since the pool was opened.
#[derive(Debug, Default)]
pub(super) struct Returns {
    count: AtomicU64,
    /// Bit per slot.
    slots: AtomicU64,
}

impl Returns {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Bit per slot that may have lost what was written to it since `count` had this value.
    pub fn since(&self, count: u64) -> u64 {
        if self.count() == count { 0 } else { self.slots.load(Ordering::Acquire) }
    }

    fn add(&self, slot: usize) {
        self.slots.fetch_or(1 << slot, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

impl Pool {
    /// Looks whether each drive answers, is still what its label said, and has space; one that is not is out. One that is
    /// out because it was pulled, and is there again, takes part again.
    pub fn check_drives(&self) {
        let now_ns = self.allocator.now_ns();
        let (mut full, mut room) = (false, u64::MAX);
        for drive in self.drives.iter().flatten() {
            drive.check_stall(now_ns);
            let Some(check) = drive.check() else { continue };
            let here = match check.label {
                Ok(Some(label)) if self.is_ours(&label, drive.slot()) => Ok(()),
                Ok(Some(_)) => Err("the label is another drive's".to_owned()),
                Ok(None) => Err("the drive is gone: its label cannot be found".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            if drive.is_healthy() {
                full |= check.full;
                room = room.min(check.room);
                here.unwrap_or_else(|reason| drive.fail(reason));
            } else if drive.note_presence(here.is_ok()) {
                self.take_back(drive);
            }
        }
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::warn!(
                    "a drive is full: uploads are refused, reads and deletes go on; delete objects or add space"
                );
            } else {
                tracing::info!("no drive is full any more: uploads are taken again");
            }
        }
        self.room.store(room.saturating_mul(u64::from(self.geometry.data)), Ordering::Relaxed);
        self.latest.trim();
        self.buffers.trim();
    }

    fn is_ours(&self, of_drive: &Label, slot: usize) -> bool {
        let label = self.label.lock().expect("no holder of this lock panics");
        of_drive.pool == label.pool && of_drive.slot == slot && of_drive.drives.get(slot) == label.drives.get(slot)
    }

    fn take_back(&self, drive: &Drive) {
        let slot = drive.slot();
        match self.declare_back(drive) {
            Ok(true) => tracing::warn!(slot, "drive is back; what it missed is rebuilt"),
            Ok(false) => {}
            Err(error) => tracing::warn!(slot, %error, "a drive that is back cannot be taken back yet"),
        }
    }

    /// First the others learn that the drive may lack blocks; then it takes part, and learns it, too.
    fn declare_back(&self, drive: &Drive) -> Result<bool, PoolError> {
        let slot = drive.slot();
        let mut label = self.label.lock().expect("no holder of this lock panics");
        if !label.rebuilding.contains(&slot) {
            label.rebuilding.push(slot);
        }
        label.epoch += 1;
        open::write_labels(&label, self.drives.iter().flatten())?;
        self.returns.add(slot);
        if !drive.take_back() {
            return Ok(false);
        }
        let own = Label { slot, ..label.clone() };
        let learned = own.write(&**drive.storage());
        Ok(learned.inspect_err(|error| drive.fail(error.to_string())).is_ok())
    }
}
