//! The retention clock: the time by which it is judged whether a version is still held.
//!
//! Boards boot without a clock, and whoever can set one could end a retention early. So:
//! - While nothing can be locked (no bucket ever had object lock) it is the wall clock, forth and back.
//! - From then on it is **guarded**: it never goes back, and it advances by what the steady clock (which counts sleep)
//!   proves to have passed. A wall clock that jumps while we run changes nothing.
//! - The time that the machine was off cannot be proved. After each start the wall clock is believed once, as soon as it
//!   is ahead, and only as far as a **credit** reaches. The credit grows with proven time and is spent by belief, so that
//!   no number of restarts gains more than `RETENTION_CREDIT_MAX` and twice the time that really passed.
//! - What is beyond the credit is not believed until an operator confirms the wall clock (`aerie clock accept`).
//!
//! Whatever goes wrong errs on one side: versions are held for longer. Absent here: SQL, and what is locked.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::seam::Clock;

/// What is stored of a guarded clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    time_ms: i64,
    credit_ms: i64,
}

/// How the retention clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetentionClockStatus {
    /// It is not simply the wall clock.
    pub guarded: bool,
    pub time_ms: i64,
    /// How far it is behind the wall clock (negative: ahead of it).
    pub behind_ms: i64,
}

#[derive(Debug)]
pub(super) struct RetentionClock {
    clock: Arc<dyn Clock>,
    /// `None`: not guarded.
    guarded: Mutex<Option<Guarded>>,
}

#[derive(Debug, Clone, Copy)]
struct Guarded {
    time_ms: i64,
    /// The steady clock, in ns, at `time_ms`.
    at_ns: u64,
    credit_ms: i64,
    /// The wall clock has not been believed since the start.
    catching_up: bool,
}

/// A wall clock that is behind by less than this is right, and no clock that still waits to be set.
const RIGHT_WITHIN_MS: i64 = 60_000;

fn credit_max_ms() -> i64 {
    limits::RETENTION_CREDIT_MAX.as_millis() as i64
}

impl Guarded {
    /// Time passes.
    fn advance(&mut self, now_ns: u64) {
        let passed_ms = now_ns.saturating_sub(self.at_ns) / 1_000_000;
        self.at_ns += passed_ms * 1_000_000;
        let passed_ms = i64::try_from(passed_ms).unwrap_or(i64::MAX);
        self.time_ms = self.time_ms.saturating_add(passed_ms);
        self.credit_ms = self.credit_ms.saturating_add(passed_ms).min(credit_max_ms());
    }

    /// Believes the wall clock as far as the credit reaches, once after a start.
    fn catch_up(&mut self, wall_ms: i64) {
        if !self.catching_up || wall_ms < self.time_ms.saturating_sub(RIGHT_WITHIN_MS) {
            return;
        }
        self.catching_up = false;
        let believed_ms = wall_ms.saturating_sub(self.time_ms).clamp(0, self.credit_ms);
        self.time_ms += believed_ms;
        self.credit_ms -= believed_ms;
    }
}

impl RetentionClock {
    /// Goes on from what was stored.
    pub fn new(clock: Arc<dyn Clock>, stored: Option<Mark>) -> RetentionClock {
        let guarded = stored.map(|Mark { time_ms, credit_ms }| Guarded {
            time_ms,
            at_ns: clock.boot_ns(),
            credit_ms: credit_ms.clamp(0, credit_max_ms()),
            catching_up: true,
        });
        let retention = RetentionClock { clock, guarded: Mutex::new(guarded) };
        retention.look();
        retention
    }

    fn with<T>(&self, then: impl FnOnce(&mut Option<Guarded>, i64) -> T) -> T {
        let mut guarded = self.guarded.lock().expect("no holder of this lock panics");
        if let Some(guarded) = &mut *guarded {
            guarded.advance(self.clock.boot_ns());
        }
        then(&mut guarded, self.clock.unix_ms())
    }

    /// The time, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.with(|guarded, wall_ms| guarded.map_or(wall_ms, |guarded| guarded.time_ms))
    }

    /// Looks whether the wall clock has been set since the start. To be called now and then.
    pub fn look(&self) {
        self.with(|guarded, wall_ms| {
            if let Some(guarded) = guarded {
                guarded.catch_up(wall_ms);
            }
        });
    }

    /// From now on versions may be locked. Gives what is to be stored.
    pub fn guard(&self) -> Mark {
        self.with(|guarded, wall_ms| {
            let guarded = guarded.get_or_insert(Guarded {
                time_ms: wall_ms,
                at_ns: self.clock.boot_ns(),
                credit_ms: credit_max_ms(),
                catching_up: false,
            });
            Mark { time_ms: guarded.time_ms, credit_ms: guarded.credit_ms }
        })
    }

    /// An operator vouches for the wall clock: the time is what it says, forth or back. Gives what is to be stored.
    pub fn accept(&self) -> Option<Mark> {
        self.with(|guarded, wall_ms| {
            if let Some(guarded) = guarded {
                guarded.time_ms = wall_ms;
                guarded.catching_up = false;
            }
        });
        self.mark()
    }

    /// What is to be stored; `None` while it is not guarded.
    pub fn mark(&self) -> Option<Mark> {
        self.with(|guarded, _| guarded.map(|Guarded { time_ms, credit_ms, .. }| Mark { time_ms, credit_ms }))
    }

    pub fn status(&self) -> RetentionClockStatus {
        self.with(|guarded, wall_ms| {
            let time_ms = guarded.map_or(wall_ms, |guarded| guarded.time_ms);
            RetentionClockStatus { guarded: guarded.is_some(), time_ms, behind_ms: wall_ms.saturating_sub(time_ms) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::sim::{self, SimClock};

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;

    /// A machine with a guarded clock that is switched off and on.
    struct Machine {
        wall: Arc<SimClock>,
        retention: RetentionClock,
        /// What really passed since the clock was guarded.
        passed_ms: i64,
        start_ms: i64,
    }

    impl Machine {
        fn new() -> Machine {
            let (_, wall) = sim::world(1);
            let retention = RetentionClock::new(wall.clone(), None);
            let start_ms = wall.unix_ms();
            retention.guard();
            Machine { wall, retention, passed_ms: 0, start_ms }
        }

        fn run(&mut self, ms: i64) {
            self.wall.advance_ms(ms as u64);
            self.retention.look();
            self.passed_ms += ms;
        }

        /// Off for a while; the wall clock then shows what it likes, the steady one begins anew.
        fn restart(&mut self, off_ms: i64, wall_ms: i64) {
            let stored = self.retention.mark();
            let (_, wall) = sim::world(2);
            wall.jump_to(wall_ms);
            self.wall = wall.clone();
            self.retention = RetentionClock::new(wall, stored);
            self.passed_ms += off_ms;
        }

        /// How far the clock is ahead of what really passed (negative: behind).
        fn ahead_ms(&self) -> i64 {
            self.retention.now_ms() - self.start_ms - self.passed_ms
        }
    }

    #[test]
    fn it_is_the_wall_clock_until_something_can_be_locked() {
        let (_, wall) = sim::world(1);
        let retention = RetentionClock::new(wall.clone(), None);
        for wall_ms in [0, YEAR, 60 * YEAR, 55 * YEAR] {
            wall.jump_to(wall_ms);
            retention.look();
            assert_eq!((retention.now_ms(), retention.mark()), (wall_ms, None));
        }
    }

    #[test]
    fn jumps_while_it_runs_change_nothing() {
        for jump_ms in [YEAR, -YEAR, DAY, -60 * YEAR] {
            let mut machine = Machine::new();
            machine.run(HOUR);
            machine.wall.jump_to(machine.wall.unix_ms() + jump_ms);
            assert_eq!(machine.ahead_ms(), 0, "{jump_ms}");
            machine.run(HOUR);
            assert_eq!(machine.ahead_ms(), 0, "{jump_ms}");
            assert_eq!(machine.retention.status().behind_ms, jump_ms);
        }
    }

    #[test]
    fn the_time_off_is_believed_up_to_the_credit() {
        let credit = credit_max_ms();
        for (off_ms, behind_ms) in [(0, 0), (HOUR, 0), (credit, 0), (credit + DAY, DAY), (YEAR, YEAR - credit)] {
            let mut machine = Machine::new();
            let wall_ms = machine.wall.unix_ms();
            machine.restart(off_ms, wall_ms + off_ms);
            assert_eq!(machine.ahead_ms(), -behind_ms, "off for {off_ms}");
        }
    }

    #[test]
    fn a_clock_that_is_set_after_the_start_is_believed_then_and_once() {
        let mut machine = Machine::new();
        let wall_ms = machine.wall.unix_ms();
        machine.restart(2 * DAY, 0);
        assert_eq!(machine.ahead_ms(), -2 * DAY, "no clock yet, and it does not go back");
        machine.run(30_000);
        machine.wall.jump_to(wall_ms + 2 * DAY + 30_000);
        machine.run(0);
        assert_eq!(machine.ahead_ms(), 0);
        machine.wall.jump_to(wall_ms + 4 * DAY);
        machine.run(HOUR);
        assert_eq!(machine.ahead_ms(), 0, "a second jump is not believed");
    }

    #[test]
    fn restarts_with_a_false_clock_gain_no_more_than_the_credit_and_twice_the_time() {
        let mut machine = Machine::new();
        let mut wall_ms = machine.wall.unix_ms();
        for restart in 0..400 {
            wall_ms += YEAR;
            machine.restart(0, wall_ms);
            machine.run(HOUR);
            let bound_ms = credit_max_ms() + machine.passed_ms;
            assert!(machine.ahead_ms() <= bound_ms, "after {restart} restarts it is {} ahead", machine.ahead_ms());
        }
        assert!(machine.ahead_ms() > credit_max_ms(), "the bound is what is gained, so that the test means something");
    }

    #[test]
    fn nothing_makes_it_go_back_but_an_operator() {
        let mut machine = Machine::new();
        let mut dice = sim::Dice::new(7);
        let mut last_ms = machine.retention.now_ms();
        for _ in 0..2_000 {
            match dice.below(3) {
                0 => machine.run(dice.below(DAY as u64) as i64),
                1 => machine.wall.jump_to(dice.below(100 * YEAR as u64) as i64),
                _ => {
                    let wall_ms = dice.below(100 * YEAR as u64) as i64;
                    machine.restart(0, wall_ms);
                }
            }
            let now_ms = machine.retention.now_ms();
            assert!(now_ms >= last_ms);
            last_ms = now_ms;
        }
        machine.wall.jump_to(YEAR);
        machine.retention.accept();
        assert_eq!(machine.retention.now_ms(), YEAR);
        assert_eq!(machine.retention.status().behind_ms, 0);
    }

    #[test]
    fn a_crash_costs_no_more_than_what_was_not_stored() {
        let mut machine = Machine::new();
        let stored = machine.retention.mark();
        machine.run(5 * HOUR);
        let wall_ms = machine.wall.unix_ms();
        let (_, wall) = sim::world(3);
        wall.jump_to(wall_ms);
        machine.retention = RetentionClock::new(wall, stored);
        assert_eq!(machine.ahead_ms(), 0, "the wall clock makes up for it, from the credit");
    }
}
