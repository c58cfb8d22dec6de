//! The machine's clocks and its random generator.
#![expect(clippy::disallowed_methods, reason = "this is the real side of the seam")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, Entropy};

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[expect(clippy::new_without_default, reason = "a clock is started, not defaulted")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A board whose clock stands before 1970 counts from there.
            Err(_) => 0,
        }
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[allow(unsafe_code)]
    fn boot_ns(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime fills the structure that it is given, which lives on this stack.
        let read = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
        match read {
            0 => (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64),
            // Kernels before 2.6.39 have no such clock.
            _ => self.monotonic_ns(),
        }
    }
}

/// The kernel's random generator, by ring.
#[derive(Debug)]
pub struct SystemEntropy {
    random: ring::rand::SystemRandom,
}

impl SystemEntropy {
    #[expect(clippy::new_without_default, reason = "a generator is opened, not defaulted")]
    pub fn new() -> SystemEntropy {
        SystemEntropy { random: ring::rand::SystemRandom::new() }
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use ring::rand::SecureRandom;
        self.random.fill(bytes).expect("getrandom(2) does not fail once the machine has booted");
    }
}

/// The world as it is.
pub fn world() -> super::World {
    super::World { clock: std::sync::Arc::new(SystemClock::new()), entropy: std::sync::Arc::new(SystemEntropy::new()) }
}
