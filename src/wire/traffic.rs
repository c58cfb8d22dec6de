//! How many requests came, how they ended and how long they took, by operation: for metrics. One for all cores; a request
//! adds to four counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::operation::Operation;

/// Counts since the start.
#[derive(Debug)]
pub struct Traffic {
    /// By operation; the last is of what was no operation of S3, or refused before that was known.
    operations: Vec<Counts>,
    /// Requests that took no longer than each of `DURATION_BOUNDS_MS`, and no less than the one before; then the others.
    durations: [AtomicU64; DURATION_BOUNDS_MS.len() + 1],
    nanoseconds: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    by_class: [AtomicU64; CLASSES.len()],
}

/// Classes of answers.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
/// Bounds of the histogram of durations, in milliseconds.
pub const DURATION_BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 25, 100, 250, 1_000, 5_000, 30_000];

/// What was counted of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// As AWS names it; `-` where it was none.
    pub operation: &'static str,
    /// `2xx` to `5xx`.
    pub class: &'static str,
    pub count: u64,
}

/// From a request's head to the beginning of its answer, all operations together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durations {
    /// Requests up to each bound, smaller ones included; the last counts all.
    pub cumulative: [u64; DURATION_BOUNDS_MS.len() + 1],
    pub sum: Duration,
}

impl Default for Traffic {
    fn default() -> Traffic {
        let operations = (0..=Operation::ALL.len()).map(|_| Counts::default()).collect();
        Traffic { operations, durations: Default::default(), nanoseconds: AtomicU64::new(0) }
    }
}

impl Traffic {
    pub fn new() -> Arc<Traffic> {
        Arc::default()
    }

    pub(super) fn count(&self, operation: Option<Operation>, status: StatusCode, took: Duration) {
        let index = operation.map_or(Operation::ALL.len(), |operation| operation as usize);
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.operations[index].by_class[class].fetch_add(1, Ordering::Relaxed);
        let slot = DURATION_BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        self.durations[slot.unwrap_or(DURATION_BOUNDS_MS.len())].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What there was at least one of.
    pub fn requests(&self) -> Vec<Requests> {
        let names = Operation::ALL.iter().map(|operation| operation.as_str()).chain(["-"]);
        let of_operation = |(operation, counts): (&'static str, &Counts)| {
            let counts = counts.by_class.each_ref().map(|count| count.load(Ordering::Relaxed));
            CLASSES.into_iter().zip(counts).map(move |(class, count)| Requests { operation, class, count })
        };
        names.zip(&self.operations).flat_map(of_operation).filter(|requests| requests.count > 0).collect()
    }

    pub fn durations(&self) -> Durations {
        let mut total = 0;
        let cumulative = self.durations.each_ref().map(|count| {
            total += count.load(Ordering::Relaxed);
            total
        });
        Durations { cumulative, sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_class_and_duration() {
        let traffic = Traffic::new();
        let count = |operation, status, ms| {
            let status = StatusCode::from_u16(status).unwrap();
            traffic.count(operation, status, Duration::from_millis(ms));
        };
        count(Some(Operation::PutObject), 200, 3);
        count(Some(Operation::PutObject), 200, 60_000);
        count(Some(Operation::PutObject), 507, 1);
        count(None, 403, 0);
        let requests = |operation, class, count| Requests { operation, class, count };
        let expected = [requests("PutObject", "2xx", 2), requests("PutObject", "5xx", 1), requests("-", "4xx", 1)];
        assert_eq!(traffic.requests(), expected);
        let durations = traffic.durations();
        assert_eq!(durations.cumulative, [2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!(durations.sum, Duration::from_millis(60_004));
    }

    #[test]
    fn operations_are_counted_under_their_own_names() {
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(index, *operation as usize);
        }
    }
}
