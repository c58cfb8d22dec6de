//! Addresses for new runs: bump allocation in open segments. An address is given out once and never again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::limits::BLOCK_ALIGN_BYTES;
use crate::seam::Clock;

/// Small and large runs fill segments of their own, so that a group of small writes dirties one file on each drive, and
/// large ones begin on pages that the page cache knows nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunClass {
    Small,
    Large,
}

/// Space reserved for one upload in one segment, on every drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub segment: u32,
    /// In bytes.
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Debug)]
struct OpenSegment {
    number: u32,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    last: u32,
    open: [Option<OpenSegment>; 2],
    /// Segments that uploads of this process have runs in, and when the last of those ended (monotonic ns).
    used: BTreeMap<u32, Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    runs: u32,
    idle_since_ns: u64,
}

#[derive(Debug)]
pub(super) struct Allocator {
    clock: Arc<dyn Clock>,
    segment_bytes: u64,
    state: Mutex<State>,
}

/// An upload is committed, or given up, within this time after its last run was finished.
const COMMIT_GRACE_NS: u64 = 60_000_000_000;

impl Allocator {
    /// `last`: the highest segment number that may have been used.
    pub fn new(clock: Arc<dyn Clock>, last: u32, segment_bytes: u64) -> Allocator {
        Allocator { clock, segment_bytes, state: Mutex::new(State { last, ..State::default() }) }
    }

    pub fn reserve(&self, last_used: u32) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.last = state.last.max(last_used);
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The steady clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    /// Reserves up to `wanted` bytes, at least `least`; both multiples of the block alignment, and `least` fits a segment.
    pub fn run(&self, class: RunClass, least: u64, wanted: u64) -> Run {
        assert!(least <= wanted && least <= self.segment_bytes && least > 0, "a run fits a segment");
        assert!(least.is_multiple_of(BLOCK_ALIGN_BYTES as u64) && wanted.is_multiple_of(BLOCK_ALIGN_BYTES as u64));
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let index = class as usize;
        let full = state.open[index].as_ref().is_none_or(|open| self.segment_bytes - open.used < least);
        if full {
            state.last = state.last.checked_add(1).expect("2^32 segments outlive the drives");
            state.open[index] = Some(OpenSegment { number: state.last, used: 0 });
        }
        let open = state.open[index].as_mut().expect("opened above where there was none");
        let run = Run { segment: open.number, offset: open.used, bytes: wanted.min(self.segment_bytes - open.used) };
        open.used += run.bytes;
        state.used.entry(run.segment).or_default().runs += 1;
        run
    }

    /// The upload that reserved a run in the segment is finished or given up.
    pub fn done(&self, segment: u32) {
        let now_ns = self.clock.monotonic_ns();
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let usage = state.used.get_mut(&segment).expect("a run that ends was reserved");
        usage.runs -= 1;
        usage.idle_since_ns = now_ns;
    }

    /// Whether no upload can still refer to the segment. After `true` no upload will write to it again.
    pub fn retire(&self, segment: u32) -> bool {
        let now_ns = self.clock.monotonic_ns();
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let busy = state
            .used
            .get(&segment)
            .is_some_and(|usage| usage.runs > 0 || now_ns.saturating_sub(usage.idle_since_ns) < COMMIT_GRACE_NS);
        if busy {
            return false;
        }
        for open in &mut state.open {
            if open.as_ref().is_some_and(|open| open.number == segment) {
                *open = None;
            }
        }
        state.used.remove(&segment);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SEGMENT_BYTES;
    use crate::seam::real::SystemClock;

    fn allocator() -> Allocator {
        Allocator::new(Arc::new(SystemClock::new()), 7, SEGMENT_BYTES)
    }

    #[test]
    fn runs_never_overlap_and_classes_do_not_mix() {
        let allocator = allocator();
        let a = allocator.run(RunClass::Small, 128, 128);
        let b = allocator.run(RunClass::Small, 192, 192);
        let c = allocator.run(RunClass::Large, 64, SEGMENT_BYTES);
        assert_eq!((a.segment, a.offset), (8, 0));
        assert_eq!((b.segment, b.offset), (8, 128));
        assert_eq!((c.segment, c.offset, c.bytes), (9, 0, SEGMENT_BYTES));
        assert_eq!(allocator.run(RunClass::Large, 64, 64).segment, 10);
    }

    #[test]
    fn a_run_is_cut_at_the_segments_end() {
        let allocator = allocator();
        allocator.run(RunClass::Small, 64, SEGMENT_BYTES - 128);
        let cut = allocator.run(RunClass::Small, 64, 1 << 20);
        assert_eq!((cut.segment, cut.bytes), (8, 128));
        assert_eq!(allocator.run(RunClass::Small, 64, 64).segment, 9);
    }

    #[test]
    fn a_segment_in_use_is_not_removed_and_a_removed_one_never_used_again() {
        let allocator = allocator();
        let run = allocator.run(RunClass::Small, 64, 64);
        assert!(!allocator.retire(run.segment));
        allocator.done(run.segment);
        assert!(!allocator.retire(run.segment), "its upload may be about to commit");
        assert!(allocator.retire(3), "segments of earlier runs have no uploads");
        allocator.reserve(20);
        allocator.run(RunClass::Large, 64, 64);
        assert_eq!(allocator.run(RunClass::Large, 64, 64).segment, 21);
    }
}
