//! How often each hook may begin: a share of the seconds for each of its invocations, with a burst of one second.
//!
//! Who comes too early is told when to come again, each a place later than the one before, so that a thousand that wait
//! do not ask all at once. Purely computing; shared by the hook threads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits;

/// All hooks' rates.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Rate>>);

#[derive(Debug, Default, Clone, Copy)]
struct Rate {
    /// Up to when the seconds are used, in monotonic nanoseconds.
    used_ns: u64,
    /// The last place that was given to one who waits.
    place_ns: u64,
}

impl Rates {
    /// Takes a turn of `hook`, or says how long to wait for one.
    pub fn take(&self, hook: &str, per_second: u32, now_ns: u64) -> Result<(), Duration> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= limits::HOOKS_COMPILED_MAX * 8 {
            // Names that were removed; a rate that is forgotten begins with a burst.
            rates.clear();
        }
        let rate = rates.entry(hook.to_owned()).or_default();
        let each_ns = 1_000_000_000 / u64::from(per_second.max(1));
        let burst_ns = 1_000_000_000 - each_ns;
        if rate.used_ns <= now_ns + burst_ns {
            rate.used_ns = rate.used_ns.max(now_ns) + each_ns;
            return Ok(());
        }
        let first_ns = rate.used_ns - burst_ns;
        rate.place_ns = (rate.place_ns + each_ns).max(first_ns);
        Err(Duration::from_nanos(rate.place_ns - now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_begins_no_more_often_than_its_rate_and_those_who_wait_come_one_after_the_other() {
        let rates = Rates::default();
        let second = 1_000_000_000;
        // A thousand at once: each asks, and asks again when it was told to.
        let mut waiting: Vec<u64> = vec![second; 1000];
        let (mut begun, mut asked) = (Vec::new(), 0);
        while let Some(at) = waiting.iter().enumerate().min_by_key(|(_, due)| **due).map(|(at, _)| at) {
            let now = waiting[at];
            asked += 1;
            match rates.take("h", 100, now) {
                Ok(()) => {
                    begun.push(now);
                    waiting.swap_remove(at);
                }
                Err(wait) => waiting[at] = now + wait.as_nanos() as u64,
            }
        }
        for (number, at) in begun.iter().enumerate().skip(100) {
            let earliest = second + (number as u64 + 1 - 100) * second / 100;
            assert!(*at >= earliest, "{number} begins at {at}, not before {earliest}");
        }
        assert!(*begun.last().unwrap() <= 12 * second, "nobody waits longer than the rate asks for");
        assert!(asked <= 3000, "{asked}");
        assert_eq!(rates.take("other", 1, second), Ok(()));
        assert!(rates.take("other", 1, second).is_err());
    }
}
