//! Drives that come and go while the pool runs: one that is pulled is out, one that is put back takes part again.
//!
//! Invariant: a drive that was away counts as one that may lack blocks (`rebuilding`, in the labels) before it takes the
//! first read or write, and until a census has proved it whole. A drive that failed where it stands, at a sync for example,
//! stays out: its label was there all the time. Nothing is written to the labels unless k drives can take it: after more
//! than m were away, those that are back wait for each other. An empty drive takes the place of one that is out on the
//! operator's word. Runs on upkeep's thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::places::Candidate;
use super::{Pool, PoolError, open};
use crate::drive::{Check, Drive, Label};

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

    fn add(&self, slots: u64) {
        self.slots.fetch_or(slots, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

pub(super) const MISSING: &str = "missing since the start";

impl Pool {
    /// Looks whether each drive answers, is still what its label said, and has space; one that is not is out. Those that are
    /// out because they were pulled or missing, and are there again, take part again.
    pub fn check_drives(&self) {
        let now_ns = self.allocator.now_ns();
        let (mut full, mut room) = (false, u64::MAX);
        self.look_for_missing();
        let mut back = Vec::new();
        for drive in self.there() {
            drive.check_stall(now_ns);
            let Some(check) = drive.check() else { continue };
            let here = self.is_here(drive, &check);
            if drive.is_healthy() {
                full |= check.full;
                room = room.min(check.room);
                here.unwrap_or_else(|reason| drive.fail(reason));
            } else if drive.note_presence(here.is_ok()) {
                back.push(drive);
            } else if drive.is_away() {
                drive.note_obstacle(here.err());
            }
        }
        if !back.is_empty() {
            self.take_back(&back);
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

    /// The drive is where it was; the error says what is there instead.
    fn is_here(&self, drive: &Drive, check: &Check) -> Result<(), String> {
        match &check.label {
            Ok(Some(label)) => self.is_ours(label, drive.slot()),
            Ok(None) if check.empty => Err(format!(
                "the drive is gone: {} is empty; put it back, or let `aerie heal --replace FOLDER` use an empty one",
                drive.storage().describe()
            )),
            Ok(None) => Err("the drive is gone: its label cannot be found".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether this is the label of the drive that belongs in the slot.
    pub(super) fn is_ours(&self, of_drive: &Label, slot: usize) -> Result<(), String> {
        let label = self.label.lock().expect("no holder of this lock panics");
        if of_drive.pool != label.pool {
            return Err(format!("a drive of another pool ({}) is in its place; take it out", of_drive.pool));
        }
        if of_drive.slot != slot {
            return Err(format!(
                "the drive of slot {} is in its place; put each in its own, or restart",
                of_drive.slot
            ));
        }
        let own_id = of_drive.drives.get(slot);
        if own_id.is_none() || own_id != label.drives.get(slot) {
            return Err("the drive was replaced; wipe it to use it again".to_owned());
        }
        if of_drive.epoch > label.epoch {
            return Err("the drive was used by another process meanwhile; stop that one and restart".to_owned());
        }
        if !label.follows(of_drive) {
            return Err(open::APART.to_owned());
        }
        Ok(())
    }

    /// Takes the drives back, if there are enough for the pool to record it.
    fn take_back(&self, back: &[&Drive]) {
        let slots: Vec<usize> = back.iter().map(|drive| drive.slot()).collect();
        match self.declare_back(back, |_| Ok(())) {
            Ok(taken) => tracing::warn!(slots = ?taken, "drives are back; what they missed is rebuilt"),
            Err(error) => {
                tracing::debug!(?slots, %error, "drives that are back cannot be taken back yet");
                for drive in back.iter().filter(|drive| drive.is_away()) {
                    drive.note_obstacle(Some(format!("it is back, but {error}")));
                }
            }
        }
    }

    /// The labels learn that the drives may lack blocks, then they take part; gives their slots. Nothing is written unless
    /// enough drives are there.
    fn declare_back(
        &self,
        back: &[&Drive],
        change: impl FnOnce(&mut Label) -> Result<(), PoolError>,
    ) -> Result<Vec<usize>, PoolError> {
        let mut label = self.label.lock().expect("no holder of this lock panics");
        let others: Vec<&Drive> = self.there().filter(|drive| drive.is_healthy()).collect();
        let needed = usize::from(label.data);
        let healthy = others.len() + back.len();
        if healthy < needed {
            return Err(PoolError::TooFewDrives { healthy, needed });
        }
        change(&mut label)?;
        for slot in back.iter().map(|drive| drive.slot()) {
            if !label.rebuilding.contains(&slot) {
                label.rebuilding.push(slot);
            }
        }
        let all: Vec<&Drive> = others.into_iter().chain(back.iter().copied()).collect();
        label.advance(all.iter().map(|drive| drive.slot()));
        let written = open::write_each(&label, &all, |drive, reason| match drive.is_healthy() {
            true => drive.fail(reason),
            // It is not tried again before it was taken out once more.
            false => drive.fail_back(format!("its label cannot be written: {reason}")),
        });
        let healthy = written.count_ones() as usize;
        if healthy < needed {
            return Err(PoolError::TooFewDrives { healthy, needed });
        }
        let taken: Vec<&Drive> = back.iter().copied().filter(|drive| written & 1 << drive.slot() != 0).collect();
        self.returns.add(taken.iter().fold(0, |mask, drive| mask | 1 << drive.slot()));
        Ok(taken.into_iter().filter(|drive| drive.take_back()).map(Drive::slot).collect())
    }

    /// Gives the slots of drives that are out to empty ones: to one at the same place, or at a place that had none. Where
    /// something was mounted, only to a mount point or to a place that the operator `named`. Gives the slots that were taken.
    pub fn fill_slots(&self, named: &[String]) -> Vec<usize> {
        let mut filled = Vec::new();
        for slot in 0..self.drives.len() {
            let done = match self.drives[slot].get() {
                Some(drive) if drive.is_away() => self.refill(drive, named),
                Some(_) => Ok(false),
                None => self.fill(slot, named),
            };
            match done {
                Ok(true) => {
                    tracing::warn!(slot, "empty drive takes the place of a missing one and is rebuilt");
                    filled.push(slot);
                }
                Ok(false) => {}
                Err(reason) => tracing::warn!(slot, reason, "an empty drive cannot take the place of a missing one"),
            }
        }
        filled
    }

    /// An empty drive is where the former one was.
    fn refill(&self, drive: &Drive, named: &[String]) -> Result<bool, String> {
        let Some(check) = drive.check().filter(|check| check.empty) else { return Ok(false) };
        let slot = drive.slot();
        let place = drive.storage().describe();
        let mounted = drive.ask(|storage| storage.is_mounted().unwrap_or(false));
        let mounted = mounted.recv_timeout(crate::limits::DRIVE_STALL_TIMEOUT).unwrap_or(false);
        if check.space.is_none() || !self.may_fill(slot, &place, mounted, named) {
            return Ok(false);
        }
        drive.make_folder().map_err(|error| error.to_string())?;
        self.declare_new(drive, mounted)
    }

    /// An empty drive is at a place that had none.
    fn fill(&self, slot: usize, named: &[String]) -> Result<bool, String> {
        let fits = |name: &str, empty: &Candidate| self.may_fill(slot, name, empty.mounted, named);
        let Some((name, empty)) = self.places.take_empty(fits) else { return Ok(false) };
        let mounted = empty.mounted;
        match self.start_away(slot, empty.storage) {
            Ok(drive) => self.declare_new(self.drives[slot].get_or_init(|| drive), mounted),
            Err(error) => {
                let reason = format!("{name}: {error}");
                self.places.give_back(name, reason.clone());
                Err(reason)
            }
        }
    }

    fn may_fill(&self, slot: usize, place: &str, mounted: bool, named: &[String]) -> bool {
        let was_mounted = self.label.lock().expect("no holder of this lock panics").mounted.contains(&slot);
        mounted || !was_mounted || named.iter().any(|name| name == place)
    }

    /// The drive is a new one in its slot, and everything on it is to be rebuilt.
    fn declare_new(&self, drive: &Drive, mounted: bool) -> Result<bool, String> {
        let slot = drive.slot();
        let change = |label: &mut Label| {
            if label.copies == [slot] {
                let reason = "the former drive has the only current copy of the metadata; put it back";
                return Err(PoolError::Open(reason.to_owned()));
            }
            label.copies.retain(|copy| *copy != slot);
            label.drives[slot] = open::random_id(&self.world);
            label.mounted.retain(|other| *other != slot);
            label.mounted.extend(mounted.then_some(slot));
            label.mounted.sort_unstable();
            Ok(())
        };
        let taken = self.declare_back(&[drive], change).map_err(|error| error.to_string())?;
        self.fresh.fetch_or(taken.iter().fold(0, |mask, slot| mask | 1 << slot), Ordering::AcqRel);
        Ok(!taken.is_empty())
    }
}
