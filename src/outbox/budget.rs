//! How much of the machine hooks, or object lambdas, may take: a share of its processors, and less of it while the board is hot.
//!
//! Each turn costs the time that it held its thread (its inference included), divided by the share; turns wait until what
//! was spent is earned again. A burst is free, so that single events do not wait. A hot board goes on at a tenth of the
//! share until it has cooled down by `COOL_DOWN_C`: work is put off, never stopped. Purely computing but for the look at
//! the thermometer; lives on the hook threads. Object lambdas, for which a client waits, have a budget of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::OutboxError;
use crate::limits;
use crate::seam::Thermometer;

/// Degrees below the limit at which a hot board counts as cool again, so that it does not go back and forth.
const COOL_DOWN_C: f64 = 5.0;
/// What is left of the share while the board is hot.
const HOT_SHARE: f64 = 0.1;

/// Bounds on what hooks take of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetSettings {
    /// Per cent of all processors, 1 to 100.
    pub cpu_share: u32,
    /// Degrees Celsius of the hottest zone from which on hooks are slowed down.
    pub temperature_max: Option<f64>,
}

impl BudgetSettings {
    /// `share_key` is the share's name in the settings.
    pub fn check(&self, share_key: &str) -> Result<(), OutboxError> {
        let refuse = |key: &str, reason: &str| OutboxError::Setting { key: key.to_owned(), reason: reason.to_owned() };
        if !(1..=100).contains(&self.cpu_share) {
            return Err(refuse(share_key, "is not from 1 to 100 per cent"));
        }
        match self.temperature_max {
            Some(celsius) if !(30.0..=150.0).contains(&celsius) => {
                Err(refuse("hooks.temperature_max", "is not from 30 to 150 degrees Celsius"))
            }
            _ => Ok(()),
        }
    }
}

/// How the budget stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BudgetMetrics {
    /// Seconds that turns held their threads, since the start.
    pub busy_s: f64,
    /// Seconds that hook threads waited though work was there.
    pub throttled_s: f64,
    /// `None` where no limit is set or the board tells nothing.
    pub celsius: Option<f64>,
    pub hot: bool,
}

#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    /// Thread-seconds that the machine has in a second.
    processors: f64,
    thermometer: Arc<dyn Thermometer>,
    inside: Mutex<Inside>,
    busy_ns: AtomicU64,
    throttled_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Inside {
    /// Until when what was spent is not earned again yet, in monotonic nanoseconds.
    spent_until_ns: u64,
    look_ns: u64,
    celsius: Option<f64>,
    hot: bool,
}

impl Budget {
    pub fn new(settings: BudgetSettings, processors: usize, thermometer: Arc<dyn Thermometer>) -> Budget {
        Budget {
            settings,
            processors: processors.max(1) as f64,
            thermometer,
            inside: Mutex::default(),
            busy_ns: AtomicU64::new(0),
            throttled_ns: AtomicU64::new(0),
        }
    }

    /// When the next turn may begin: now, or later.
    pub fn free_ns(&self, now_ns: u64) -> u64 {
        let mut inside = self.lock();
        self.look(&mut inside, now_ns);
        inside.spent_until_ns.saturating_sub(limits::HOOK_BUDGET_BURST.as_nanos() as u64).max(now_ns)
    }

    /// A turn has ended that took so long.
    pub fn spend(&self, took_ns: u64, now_ns: u64) {
        self.busy_ns.fetch_add(took_ns, Ordering::Relaxed);
        let mut inside = self.lock();
        if self.settings.cpu_share >= 100 && !inside.hot {
            return;
        }
        let heat = if inside.hot { HOT_SHARE } else { 1.0 };
        let rate = f64::from(self.settings.cpu_share) / 100.0 * heat * self.processors;
        let cost_ns = (took_ns as f64 / rate) as u64;
        inside.spent_until_ns = inside.spent_until_ns.max(now_ns.saturating_sub(took_ns)).saturating_add(cost_ns);
    }

    /// A thread waited for the budget though work was there.
    pub fn note_wait(&self, waited_ns: u64) {
        self.throttled_ns.fetch_add(waited_ns, Ordering::Relaxed);
    }

    pub fn metrics(&self) -> BudgetMetrics {
        let inside = self.lock();
        let seconds = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / 1e9;
        BudgetMetrics {
            busy_s: seconds(&self.busy_ns),
            throttled_s: seconds(&self.throttled_ns),
            celsius: inside.celsius,
            hot: inside.hot,
        }
    }

    fn look(&self, inside: &mut Inside, now_ns: u64) {
        let Some(most) = self.settings.temperature_max else { return };
        if now_ns < inside.look_ns {
            return;
        }
        inside.look_ns = now_ns.saturating_add(limits::TEMPERATURE_LOOK.as_nanos() as u64);
        inside.celsius = self.thermometer.celsius();
        let was_hot = inside.hot;
        // A board that tells nothing is not slowed down.
        let bound = if was_hot { most - COOL_DOWN_C } else { most };
        inside.hot = inside.celsius.is_some_and(|celsius| celsius >= bound);
        if inside.hot != was_hot {
            tracing::warn!(
                celsius = inside.celsius,
                limit = most,
                hot = inside.hot,
                "hooks are slowed down while the board is hot"
            );
        }
    }

    /// Numbers that are whole at any time: a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::sim::SimThermometer;

    const MS: u64 = 1_000_000;
    const BURST_MS: u64 = limits::HOOK_BUDGET_BURST.as_millis() as u64;

    fn budget(cpu_share: u32, temperature_max: Option<f64>) -> (Budget, Arc<SimThermometer>) {
        let thermometer = Arc::new(SimThermometer::default());
        let settings = BudgetSettings { cpu_share, temperature_max };
        (Budget::new(settings, 4, thermometer.clone()), thermometer)
    }

    /// Turns of 100 ms on two threads for a minute, as soon as they may; gives the busy share of the four processors.
    fn busy_share(budget: &Budget, start_ms: u64) -> f64 {
        let (mut threads, mut busy_ms) = ([start_ms; 2], 0);
        let end_ms = start_ms + 60_000;
        while let Some(thread) = threads.iter_mut().min().filter(|at| **at < end_ms) {
            let begin_ms = budget.free_ns(*thread * MS).div_ceil(MS);
            if begin_ms > *thread {
                *thread = begin_ms;
                continue;
            }
            *thread += 100;
            busy_ms += 100;
            budget.spend(100 * MS, *thread * MS);
        }
        busy_ms as f64 / (60_000.0 * 4.0)
    }

    #[test]
    fn hooks_stay_within_their_share_of_the_processors() {
        for (share, expected) in [(1, 0.01), (5, 0.05), (25, 0.25), (40, 0.4)] {
            let found = busy_share(&budget(share, None).0, 5_000);
            // The burst is a share of the minute, and each thread's last turn may be over.
            let burst = expected * BURST_MS as f64 / 60_000.0 + 0.002;
            assert!(found >= expected * 0.95 && found <= expected + burst, "{share} %: {found}");
        }
        let (all, _) = budget(100, None);
        assert!((busy_share(&all, 0) - 0.5).abs() < 0.01, "two threads of four, never held up");
        assert!((all.metrics().busy_s - 120.0).abs() < 0.5);
    }

    #[test]
    fn a_single_event_after_a_pause_does_not_wait() {
        let (budget, _) = budget(10, None);
        for second in 0..10 {
            let now = second * 1000 * MS;
            assert_eq!(budget.free_ns(now), now);
            budget.spend(100 * MS, now + 100 * MS);
        }
    }

    #[test]
    fn a_hot_board_slows_hooks_down_until_it_has_cooled() {
        let (budget, thermometer) = budget(100, Some(80.0));
        let hot_after = |celsius: Option<f64>, at_s: u64| {
            thermometer.set(celsius);
            _ = budget.free_ns(at_s * 1000 * MS);
            budget.metrics().hot
        };
        assert!(!hot_after(Some(79.9), 10));
        assert!(hot_after(Some(80.0), 20));
        let share = busy_share(&budget, 20_000);
        assert!((0.095..0.11).contains(&share), "a tenth: {share}");
        assert!(hot_after(Some(76.0), 100), "not cool enough");
        assert!(!hot_after(Some(74.9), 110));
        assert!(hot_after(Some(90.0), 120));
        assert!(!hot_after(None, 130), "a board that tells nothing any more is not slowed down");
        // Between two looks nothing is asked.
        assert!(!{
            thermometer.set(Some(95.0));
            _ = budget.free_ns(130_000 * MS + MS);
            budget.metrics().hot
        });
    }
}
