//! A latency histogram that threads share without a lock. Purely counting: the caller brings the times.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, in milliseconds; one more bucket takes what is above the last.
pub const LATENCY_BOUNDS_MS: [u64; 14] = [1, 2, 3, 5, 8, 12, 25, 50, 100, 250, 500, 1_000, 5_000, 60_000];

#[derive(Debug, Default)]
pub struct LatencyHistogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

/// The counts at one moment: not cumulative, in the order of `LATENCY_BOUNDS_MS`, then the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencySnapshot {
    pub counts: [u64; LATENCY_BOUNDS_MS.len() + 1],
    pub sum_us: u64,
}

impl LatencyHistogram {
    pub fn record_us(&self, us: u64) {
        let bucket = LATENCY_BOUNDS_MS.partition_point(|bound_ms| bound_ms * 1000 < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> LatencySnapshot {
        let counts = std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed));
        LatencySnapshot { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

impl LatencySnapshot {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let histogram = LatencyHistogram::default();
        for (us, bucket) in [(0, 0), (1_000, 0), (1_001, 1), (60_000_000, 13), (60_000_001, 14)] {
            let before = histogram.snapshot().counts[bucket];
            histogram.record_us(us);
            assert_eq!(histogram.snapshot().counts[bucket], before + 1, "{us}");
        }
        assert_eq!(histogram.snapshot().count(), 5);
    }
}
