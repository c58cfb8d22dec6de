//! A world in memory: drives that keep a trace, fail on demand and lose power; a clock and entropy that tests set.
//!
//! What is promised is no more than src/drive/FORMAT.md assumes of a medium: unsynced writes may be dropped, torn at
//! sectors or swapped, unsynced names may be missing, and a failed sync loses what it covered for good. All drives of
//! a machine share one trace, so that one cut takes the power from all of them at the same moment. For tests only.

mod machine;
mod power;
mod volume;

pub use machine::{Fault, SimMachine, SkipSync};
pub use power::{Cut, Trace};
pub use volume::Image;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::{Clock, Entropy, World};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    unix_ms: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl SimClock {
    /// Time passes, on both clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.unix_ms.fetch_add(ms as i64, Ordering::Relaxed);
        self.monotonic_ns.fetch_add(ms * 1_000_000, Ordering::Relaxed);
    }

    /// The wall clock jumps, as boards' clocks do.
    pub fn jump_to(&self, unix_ms: i64) {
        self.unix_ms.store(unix_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }
}

/// Bytes that follow from a seed.
#[derive(Debug)]
pub struct SimEntropy {
    state: AtomicU64,
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let step = self.state.fetch_add(Dice::STEP, Ordering::Relaxed);
            chunk.copy_from_slice(&Dice::mix(step).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A thermometer that shows what it was told to.
#[derive(Debug, Default)]
pub struct SimThermometer {
    celsius: std::sync::Mutex<Option<f64>>,
}

impl SimThermometer {
    pub fn set(&self, celsius: Option<f64>) {
        *self.celsius.lock().expect("no holder of this lock panics") = celsius;
    }
}

impl super::Thermometer for SimThermometer {
    fn celsius(&self) -> Option<f64> {
        *self.celsius.lock().expect("no holder of this lock panics")
    }
}

/// A world that depends on nothing but the seed, and the handle of its clock.
pub fn world(seed: u64) -> (World, Arc<SimClock>) {
    let clock = Arc::new(SimClock { unix_ms: AtomicI64::new(1_700_000_000_000), monotonic_ns: AtomicU64::new(0) });
    let entropy = Arc::new(SimEntropy { state: AtomicU64::new(Dice::mix(seed)) });
    (World { clock: clock.clone(), entropy }, clock)
}

/// Seeded choices (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    pub fn new(seed: u64) -> Dice {
        Dice { state: Dice::mix(seed ^ Dice::STEP) }
    }

    fn mix(step: u64) -> u64 {
        let mixed = (step ^ step >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(Dice::STEP);
        Dice::mix(self.state) % limit
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 1
    }
}
