//! Changes that were looked at, on their way off the log: with the next transaction of the outbox, or by one of their own
//! when none comes soon. Until then they stand in the log, and after a crash they are looked at once more: a change leaves
//! in the same transaction as what it asked for. Purely computing; lives on the outbox thread.

use std::time::Duration;

use crate::limits;
use crate::meta::Sequence;

#[derive(Debug, Default)]
pub struct Passed {
    /// The last change that was looked at.
    seen: Option<Sequence>,
    waiting: Vec<Sequence>,
    /// When the first of them is to leave at the latest, in monotonic nanoseconds.
    due_ns: u64,
}

impl Passed {
    /// Changes after this one were not looked at yet.
    pub fn seen(&self) -> Sequence {
        self.seen.unwrap_or(Sequence(0))
    }

    pub fn add(&mut self, changes: Vec<Sequence>, now_ns: u64) {
        if self.waiting.is_empty() {
            self.due_ns = now_ns.saturating_add(limits::OUTBOX_PASS_DELAY.as_nanos() as u64);
        }
        self.seen = changes.last().copied().or(self.seen);
        self.waiting.extend(changes);
    }

    /// Whether they must not wait for company any longer.
    pub fn is_due(&self, now_ns: u64) -> bool {
        !self.waiting.is_empty() && (now_ns >= self.due_ns || self.waiting.len() >= limits::OUTBOX_BATCH_MAX)
    }

    /// How long the outbox may sleep.
    pub fn wait(&self, now_ns: u64) -> Duration {
        match self.waiting.is_empty() {
            true => limits::OUTBOX_IDLE,
            false => Duration::from_nanos(self.due_ns.saturating_sub(now_ns)).min(limits::OUTBOX_IDLE),
        }
    }

    /// They leave with a transaction that is about to be made.
    pub fn take(&mut self) -> Vec<Sequence> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY_NS: u64 = limits::OUTBOX_PASS_DELAY.as_nanos() as u64;

    #[test]
    fn changes_leave_together_and_none_waits_long() {
        let mut passed = Passed::default();
        assert_eq!((passed.seen(), passed.is_due(u64::MAX), passed.wait(0)), (Sequence(0), false, limits::OUTBOX_IDLE));
        passed.add(vec![Sequence(3), Sequence(7)], 100);
        passed.add(vec![Sequence(8)], 100 + DELAY_NS / 2);
        // A look that finds nothing puts nothing off.
        passed.add(Vec::new(), 100 + DELAY_NS / 2);
        assert_eq!(passed.seen(), Sequence(8));
        assert!(!passed.is_due(100 + DELAY_NS - 1));
        assert_eq!(passed.wait(100 + DELAY_NS - 1), Duration::from_nanos(1));
        assert!(passed.is_due(100 + DELAY_NS));
        assert_eq!(passed.take(), [Sequence(3), Sequence(7), Sequence(8)]);
        assert_eq!((passed.seen(), passed.is_due(u64::MAX)), (Sequence(8), false));
    }

    #[test]
    fn a_full_transaction_does_not_wait() {
        let mut passed = Passed::default();
        passed.add((1..limits::OUTBOX_BATCH_MAX as u64).map(Sequence).collect(), 0);
        assert!(!passed.is_due(0));
        passed.add(vec![Sequence(limits::OUTBOX_BATCH_MAX as u64)], 0);
        assert!(passed.is_due(0));
    }
}
