//! What hooks logged and how they fared: bounded, in memory, since the start of the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;

use serde::Serialize;

use super::HookFault;
use crate::limits;

/// One line of a hook's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts the lines of the hook.
    pub number: u64,
    pub time_ms: i64,
    pub event_id: String,
    pub level: &'static str,
    pub message: String,
}

/// How a hook fared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HookStats {
    pub invocations: u64,
    /// Failed attempts by the limit or fault.
    pub failures: BTreeMap<&'static str, u64>,
    pub total_us: u64,
    pub max_us: u64,
    /// Upper bounds of the histogram's classes.
    pub p50_us: u64,
    pub p99_us: u64,
}

/// Classes of the histogram: powers of two of microseconds.
const CLASSES: usize = 40;

#[derive(Debug)]
struct Entry {
    lines: VecDeque<LogLine>,
    bytes: usize,
    next: u64,
    invocations: u64,
    failures: BTreeMap<&'static str, u64>,
    total_us: u64,
    max_us: u64,
    classes: [u64; CLASSES],
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            lines: VecDeque::new(),
            bytes: 0,
            next: 1,
            invocations: 0,
            failures: BTreeMap::new(),
            total_us: 0,
            max_us: 0,
            classes: [0; CLASSES],
        }
    }
}

impl Entry {
    fn push(&mut self, mut line: LogLine) {
        line.number = self.next;
        self.next += 1;
        self.bytes += line.message.len();
        self.lines.push_back(line);
        while self.lines.len() > limits::HOOK_LOG_KEPT_LINES || self.bytes > limits::HOOK_LOG_KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.message.len();
        }
    }

    fn percentile(&self, share: f64) -> u64 {
        let wanted = (self.invocations as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return 1 << class;
            }
        }
        0
    }
}

/// The journal of all hooks; shared by all threads.
#[derive(Debug, Default)]
pub struct Journal {
    hooks: Mutex<HashMap<String, Entry>>,
}

impl Journal {
    /// Writes down an attempt and what was logged in it.
    pub(super) fn note(&self, hook: &str, lines: Vec<LogLine>, duration_us: u64, fault: Option<&HookFault>) {
        let mut hooks = self.hooks.lock().expect("no holder of this lock panics");
        let entry = hooks.entry(hook.to_owned()).or_default();
        lines.into_iter().for_each(|line| entry.push(line));
        entry.invocations += 1;
        entry.total_us += duration_us;
        entry.max_us = entry.max_us.max(duration_us);
        let class = (u64::BITS - duration_us.leading_zeros()) as usize;
        entry.classes[class.min(CLASSES - 1)] += 1;
        if let Some(fault) = fault {
            *entry.failures.entry(fault.name()).or_default() += 1;
        }
    }

    /// Lines after number `after`, oldest first.
    pub fn lines(&self, hook: &str, after: u64) -> Vec<LogLine> {
        let hooks = self.hooks.lock().expect("no holder of this lock panics");
        let lines =
            hooks.get(hook).map(|entry| entry.lines.iter().filter(|line| line.number > after).cloned().collect());
        lines.unwrap_or_default()
    }

    pub fn stats(&self, hook: &str) -> HookStats {
        let hooks = self.hooks.lock().expect("no holder of this lock panics");
        let Some(entry) = hooks.get(hook) else { return HookStats::default() };
        HookStats {
            invocations: entry.invocations,
            failures: entry.failures.clone(),
            total_us: entry.total_us,
            max_us: entry.max_us,
            p50_us: entry.percentile(0.5),
            p99_us: entry.percentile(0.99),
        }
    }

    /// Hooks that were invoked, by name.
    pub fn hooks(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.hooks.lock().expect("no holder of this lock panics").keys().cloned().collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_bounded_and_counts_on() {
        let journal = Journal::default();
        let line = |n: usize| LogLine {
            number: 0,
            time_ms: 0,
            event_id: "e".to_owned(),
            level: "info",
            message: format!("{n:0>1000}"),
        };
        for n in 0..2000 {
            journal.note("h", vec![line(n)], n as u64, (n % 2 == 0).then_some(&HookFault::Deadline { limit_ms: 1 }));
        }
        let kept = journal.lines("h", 0);
        assert!(kept.len() * 1000 <= limits::HOOK_LOG_KEPT_BYTES && kept.last().unwrap().number == 2000);
        assert_eq!(journal.lines("h", 1999).len(), 1);
        let stats = journal.stats("h");
        assert_eq!((stats.invocations, stats.max_us, stats.failures["deadline"]), (2000, 1999, 1000));
        assert!(stats.p50_us >= 1000 && stats.p50_us <= 2048 && stats.p99_us == 2048);
        assert!(journal.lines("other", 0).is_empty());
    }
}
