//! The byte-per-second budget: work is paid for afterwards, by waiting.

use std::sync::Arc;
use std::time::Duration;

use crate::seam::Clock;

/// Debts shorter than this are carried on, so that small stripes do not wake the thread one by one.
const DEBT_NS_MIN: u64 = 5_000_000;

#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_second: u64,
    clock: Arc<dyn Clock>,
    debt_ns: u64,
    paid_until_ns: u64,
}

impl Budget {
    /// 0 bytes a second: no bound.
    pub fn new(bytes_per_second: u64, clock: Arc<dyn Clock>) -> Budget {
        let paid_until_ns = clock.monotonic_ns();
        Budget { bytes_per_second, clock, debt_ns: 0, paid_until_ns }
    }

    /// How long to wait now that so many bytes were moved.
    pub fn pay(&mut self, bytes: u64) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let now_ns = self.clock.monotonic_ns();
        let passed_ns = now_ns.saturating_sub(self.paid_until_ns);
        let cost_ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.debt_ns = self.debt_ns.saturating_add(u64::try_from(cost_ns).unwrap_or(u64::MAX));
        // Time in which nothing was done is no credit for a burst.
        self.debt_ns = self.debt_ns.saturating_sub(passed_ns);
        self.paid_until_ns = now_ns;
        if self.debt_ns < DEBT_NS_MIN { Duration::ZERO } else { Duration::from_nanos(self.debt_ns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::sim;

    #[test]
    fn a_second_of_bytes_takes_a_second() {
        let (world, clock) = sim::world(1);
        let mut budget = Budget::new(1_000_000, world.clock);
        assert_eq!(budget.pay(1_000), Duration::ZERO, "a short debt is carried on");
        assert_eq!(budget.pay(999_000), Duration::from_secs(1));
        clock.advance_ms(400);
        assert_eq!(budget.pay(0), Duration::from_millis(600));
        clock.advance_ms(60_000);
        assert_eq!(budget.pay(500_000), Duration::ZERO, "it cost less time than has passed");
        assert_eq!(budget.pay(500_000), Duration::from_millis(500), "but there is no credit left");
    }

    #[test]
    fn zero_is_no_bound() {
        let (world, _) = sim::world(1);
        assert_eq!(Budget::new(0, world.clock).pay(u64::MAX), Duration::ZERO);
    }
}
