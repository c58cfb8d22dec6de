//! Reclaim: deleted extents give their space back, empty segments go.

use std::collections::HashMap;

use super::Worker;
use crate::limits;
use crate::meta::{Garbage, MetaError};

/// What reclaim remembers between rounds.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    /// Garbage whose time stamp lies in the future (the clock jumped back): when it was first seen, on the steady clock.
    seen_ns: HashMap<i64, u64>,
    segments_looked_ns: Option<u64>,
    /// Segments of earlier runs that may hold reserved space: each start takes new ones and leaves the last half empty.
    /// `None` before they were looked up.
    untrimmed: Option<Vec<u32>>,
}

impl Worker {
    /// Gives back what was deleted long enough ago that nobody who looked it up before is about to read it.
    pub(super) fn reclaim_garbage(&mut self) -> Result<(), MetaError> {
        let grace_ms = limits::RECLAIM_GRACE.as_millis() as i64;
        let mut given_back = false;
        loop {
            let before_ms = self.world.clock.unix_ms().saturating_sub(grace_ms);
            let due = self.reader.garbage(before_ms, limits::UPKEEP_ROWS_MAX)?;
            let found = due.len();
            given_back |= self.give_back(due)?;
            self.take_messages();
            if found < limits::UPKEEP_ROWS_MAX || self.stopping {
                break;
            }
        }
        let stuck = self.stuck_garbage()?;
        given_back |= self.give_back(stuck)?;
        self.remove_empty_segments(given_back)?;
        self.trim_segments();
        Ok(())
    }

    /// A few in each round, so that no upload waits long behind them.
    fn trim_segments(&mut self) {
        let pool = &self.pool;
        let retired = || pool.segment_numbers().into_iter().filter(|segment| pool.retire_segment(*segment)).collect();
        let untrimmed = self.reclaim.untrimmed.get_or_insert_with(retired);
        let rest = untrimmed.len().saturating_sub(limits::TRIM_SEGMENTS_MAX);
        untrimmed.drain(rest..).for_each(|segment| pool.trim_segment(segment));
    }

    /// Returns whether anything was given back. What is being read stays for the next round.
    fn give_back(&mut self, due: Vec<Garbage>) -> Result<bool, MetaError> {
        let released: Vec<Garbage> = due.into_iter().filter(|garbage| self.pool.release(&garbage.extents)).collect();
        if released.is_empty() {
            return Ok(false);
        }
        // A crash in between punches the same holes again: addresses are never used twice.
        pollster::block_on(self.meta.forget_garbage(released))?;
        Ok(true)
    }

    /// Garbage that the wall clock would keep for ever because it jumped back, once it was seen for the time of grace.
    fn stuck_garbage(&mut self) -> Result<Vec<Garbage>, MetaError> {
        let now_ns = self.world.clock.monotonic_ns();
        let all = self.reader.garbage(i64::MAX, limits::UPKEEP_ROWS_MAX)?;
        let before: HashMap<i64, u64> = std::mem::take(&mut self.reclaim.seen_ns);
        let seen = |garbage: &Garbage| before.get(&garbage.id).copied().unwrap_or(now_ns);
        self.reclaim.seen_ns = all.iter().map(|garbage| (garbage.id, seen(garbage))).collect();
        let grace_ns = limits::RECLAIM_GRACE.as_nanos() as u64;
        let due = all.into_iter().filter(|garbage| now_ns.saturating_sub(seen(garbage)) > grace_ns);
        Ok(due.collect())
    }

    /// Removes segment files in which nothing lives, those of uploads that never were committed included.
    fn remove_empty_segments(&mut self, given_back: bool) -> Result<(), MetaError> {
        let now_ns = self.world.clock.monotonic_ns();
        let interval_ns = limits::RECLAIM_GRACE.as_nanos() as u64;
        let due = self.reclaim.segments_looked_ns.is_none_or(|then| now_ns.saturating_sub(then) >= interval_ns);
        if !given_back && !due {
            return Ok(());
        }
        self.reclaim.segments_looked_ns = Some(now_ns);
        let live = self.reader.live_segments()?;
        let mut candidates = self.pool.segment_numbers();
        candidates.extend(self.reader.empty_segments()?);
        candidates.retain(|segment| !live.contains(segment));
        candidates.retain(|segment| self.pool.retire_segment(*segment));
        if candidates.is_empty() {
            return Ok(());
        }
        // An upload may have committed between the first look and the retirement, none can have since.
        let live = self.reader.live_segments()?;
        candidates.retain(|segment| !live.contains(segment));
        candidates.iter().for_each(|segment| self.pool.remove_segment(*segment));
        pollster::block_on(self.meta.forget_segments(candidates.into_iter().collect()))
    }
}
