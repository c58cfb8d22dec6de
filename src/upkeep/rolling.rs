//! Space pressure: rolling buckets give up their oldest versions before the drives are full.
//!
//! Space comes back only once reclaim has given it back, some ten seconds after a delete. What was given up meanwhile is
//! remembered, so that it is not given up twice.

use std::collections::VecDeque;

use super::Worker;
use crate::limits;
use crate::meta::MetaError;

/// What rolling remembers between rounds.
#[derive(Debug, Default)]
pub(super) struct Rolls {
    /// When (monotonic ns), and how many bytes; their space is on its way.
    underway: VecDeque<(u64, u64)>,
}

impl Worker {
    /// Drops the oldest versions of rolling buckets while the drives have too little room.
    pub(super) fn roll(&mut self) -> Result<(), MetaError> {
        let now_ns = self.world.clock.monotonic_ns();
        let arrives_ns = (limits::RECLAIM_GRACE + 2 * limits::UPKEEP_TICK).as_nanos() as u64;
        let underway = &mut self.rolls.underway;
        while underway.front().is_some_and(|(then_ns, _)| now_ns.saturating_sub(*then_ns) > arrives_ns) {
            underway.pop_front();
        }
        let wanted = self.pool.segment_bytes() * limits::ROLLING_SEGMENTS_FREE * u64::from(self.pool.geometry().data);
        let coming: u64 = underway.iter().map(|(_, bytes)| bytes).sum();
        let short = wanted.saturating_sub(self.pool.room_bytes().saturating_add(coming));
        if short == 0 || !self.reader.can_roll()? {
            return Ok(());
        }
        let dropped = pollster::block_on(self.meta.roll(short))?;
        if dropped > 0 {
            tracing::info!(bytes = dropped, "rolling buckets gave up their oldest versions");
            self.rolls.underway.push_back((now_ns, dropped));
        }
        Ok(())
    }
}
