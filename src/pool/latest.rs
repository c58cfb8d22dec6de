//! The last large stripes that were written, in memory: direct writes leave nothing in the page cache, and an object is
//! often read right after its upload, by its hook first of all.
//!
//! Invariants: an address is used once, so that what is found here is what was written there; the bytes that are held,
//! parity and headers included, stay within the budget. Nothing is kept for long, or without a budget. Any thread.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;

use crate::limits;

/// Segment, and offset in units of `BLOCK_ALIGN_BYTES`.
type Address = (u32, u32);

#[derive(Debug, Default)]
pub(super) struct Latest {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    budget_bytes: usize,
    bytes: usize,
    stripes: HashMap<Address, Bytes>,
    /// The oldest first, with the memory that it holds and when it came.
    order: VecDeque<(Address, usize, u64)>,
    /// Calls of `trim`.
    now: u64,
}

impl Latest {
    pub fn set_budget(&self, bytes: usize) {
        let mut state = self.state();
        state.budget_bytes = bytes;
        state.make_room(0);
    }

    /// Whether an upload of so many bytes is kept: one that would push out all others is not.
    pub fn takes(&self, upload_bytes: u64) -> bool {
        upload_bytes <= self.state().budget_bytes as u64 / 4
    }

    /// Keeps a stripe's user bytes, which hold `memory_bytes`.
    pub fn put(&self, segment: u32, offset: u32, stripe: Bytes, memory_bytes: usize) {
        let mut state = self.state();
        if memory_bytes > state.budget_bytes {
            return;
        }
        let freed = state.make_room(memory_bytes);
        state.bytes += memory_bytes;
        state.stripes.insert((segment, offset), stripe);
        let now = state.now;
        state.order.push_back(((segment, offset), memory_bytes, now));
        drop(state);
        // Outside of the lock: their memory goes back to where it came from.
        drop(freed);
    }

    /// User bytes of the stripe.
    pub fn get(&self, segment: u32, offset: u32) -> Option<Bytes> {
        self.state().stripes.get(&(segment, offset)).cloned()
    }

    /// To be called every second: lets go of what is old.
    pub fn trim(&self) {
        let mut state = self.state();
        state.now += 1;
        let mut freed = Vec::new();
        while state.order.front().is_some_and(|(_, _, came)| came + limits::LATEST_TRIMS <= state.now) {
            freed.extend(state.remove_oldest());
        }
        drop(state);
        drop(freed);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn make_room(&mut self, bytes: usize) -> Vec<Bytes> {
        let mut freed = Vec::new();
        while self.bytes + bytes > self.budget_bytes && !self.order.is_empty() {
            freed.extend(self.remove_oldest());
        }
        freed
    }

    fn remove_oldest(&mut self) -> Option<Bytes> {
        let (address, bytes, _) = self.order.pop_front()?;
        self.bytes -= bytes;
        self.stripes.remove(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_within_the_budget_and_none_for_long() {
        let latest = Latest::default();
        latest.put(1, 0, Bytes::from_static(b"no budget"), 9);
        assert!(latest.get(1, 0).is_none() && !latest.takes(1));
        latest.set_budget(100);
        assert!(latest.takes(25) && !latest.takes(26));
        for offset in 0..5 {
            latest.put(1, offset, Bytes::from(vec![offset as u8; 8]), 30);
        }
        let kept = || (0..5).filter(|offset| latest.get(1, *offset).is_some()).collect::<Vec<u32>>();
        assert_eq!(kept(), [2, 3, 4]);
        assert_eq!(latest.get(1, 4).unwrap(), [4; 8][..]);
        assert!(latest.get(2, 4).is_none());
        latest.set_budget(60);
        assert_eq!(kept(), [3, 4]);
        (1..limits::LATEST_TRIMS).for_each(|_| latest.trim());
        assert_eq!(kept(), [3, 4]);
        latest.trim();
        assert!(kept().is_empty() && latest.state().bytes == 0);
    }
}
