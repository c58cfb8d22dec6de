//! The metadata's copies on drives that come back, and the operator's word about drives that were replaced.

use super::Worker;
use crate::limits;
use crate::meta::{Copy, MetaError};

impl Worker {
    /// Catches up copies whose drives were put back, appeared or are new. A drive that failed where it stands is not one of them.
    pub(super) fn tend_copies(&mut self) {
        let there = self.pool.returned_since(0) & self.pool.healthy();
        let now_ns = self.world.clock.monotonic_ns();
        if there == 0 || now_ns < self.retry_join_ns {
            return;
        }
        let copies = self.pool.copies().into_iter().filter(|(slot, ..)| there & 1 << slot != 0);
        let copies = copies.map(|(slot, storage, current)| Copy { slot, storage, current }).collect();
        let tended = self.meta.tend_copies(copies).and_then(|grown| if grown { self.tell_labels() } else { Ok(()) });
        if let Err(error) = tended {
            tracing::warn!(%error, "a copy of the metadata is not caught up yet");
            let frozen = self.meta.current_copies().is_empty();
            // Where none is left, everybody waits for it.
            let pause = if frozen { limits::UPKEEP_TICK } else { limits::REBUILD_RETRY };
            self.retry_join_ns = now_ns.saturating_add(pause.as_nanos() as u64);
        }
    }

    fn tell_labels(&self) -> Result<(), MetaError> {
        let told = self.meta.with_current_copies(|slots| self.pool.set_copies(slots));
        told.map_err(|error| MetaError::Unavailable(error.to_string()))
    }

    /// What the operator asks for by `aerie heal`: all that waits is tried now, and empty drives take the slots of missing
    /// ones. `named` are places that may do so though nothing is mounted there.
    pub(super) fn heal_now(&mut self, named: &[String]) {
        (self.retry_rebuild_ns, self.retry_join_ns, self.heal_after) = (0, 0, 0);
        for slot in self.pool.fill_slots(named) {
            // What is open of its copy is the former drive's.
            self.meta.leave_copy(slot);
        }
    }
}
