//! What hooks logged and how they fared: bounded, in memory, since the start of the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;

use serde::Serialize;

use super::HookFault;
use super::host::Usage;
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
    /// Microseconds of all attempts, inference counted, and of the longest.
    pub total_us: u64,
    pub max_us: u64,
    /// Upper bounds of the histogram's classes.
    pub p50_us: u64,
    pub p99_us: u64,
    /// The most that an attempt took of its memory and of its output.
    pub memory_bytes_max: u64,
    pub output_bytes_max: u64,
    /// Microseconds of all attempts in inference.
    pub inference_us: u64,
    pub messages: u64,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Counts the attempts of the hook, from 1; given by the journal.
    pub number: u64,
    pub event_id: String,
    pub duration_us: u64,
    pub usage: Usage,
    /// Why it failed; `None`: it ended well.
    pub fault: Option<HookFault>,
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
    /// The last ones.
    endings: VecDeque<Ending>,
    memory_bytes_max: u64,
    output_bytes_max: u64,
    inference_us: u64,
    messages: u64,
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
            endings: VecDeque::new(),
            memory_bytes_max: 0,
            output_bytes_max: 0,
            inference_us: 0,
            messages: 0,
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
                return (1 << class).min(self.max_us);
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
    pub(super) fn note(&self, hook: &str, lines: Vec<LogLine>, mut ending: Ending) {
        let Ending { duration_us, usage, .. } = ending;
        let mut hooks = self.hooks.lock().expect("no holder of this lock panics");
        let entry = hooks.entry(hook.to_owned()).or_default();
        lines.into_iter().for_each(|line| entry.push(line));
        entry.invocations += 1;
        entry.total_us += duration_us;
        entry.max_us = entry.max_us.max(duration_us);
        let class = (u64::BITS - duration_us.leading_zeros()) as usize;
        entry.classes[class.min(CLASSES - 1)] += 1;
        entry.memory_bytes_max = entry.memory_bytes_max.max(usage.memory_bytes);
        entry.output_bytes_max = entry.output_bytes_max.max(usage.output_bytes);
        entry.inference_us += usage.inference_us;
        match &ending.fault {
            Some(fault) => *entry.failures.entry(fault.name()).or_default() += 1,
            None => entry.messages += usage.messages as u64,
        }
        if entry.endings.len() >= limits::HOOK_ENDINGS_KEPT {
            entry.endings.pop_front();
        }
        ending.number = entry.invocations;
        entry.endings.push_back(ending);
    }

    /// Lines after number `after`, oldest first.
    pub fn lines(&self, hook: &str, after: u64) -> Vec<LogLine> {
        let hooks = self.hooks.lock().expect("no holder of this lock panics");
        let lines =
            hooks.get(hook).map(|entry| entry.lines.iter().filter(|line| line.number > after).cloned().collect());
        lines.unwrap_or_default()
    }

    /// How an event's attempt ended, of those after the hook's attempt number `after`.
    pub fn ending(&self, hook: &str, event_id: &str, after: u64) -> Option<Ending> {
        let hooks = self.hooks.lock().expect("no holder of this lock panics");
        let mut endings = hooks.get(hook)?.endings.iter();
        endings.find(|ending| ending.number > after && ending.event_id == event_id).cloned()
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
            memory_bytes_max: entry.memory_bytes_max,
            output_bytes_max: entry.output_bytes_max,
            inference_us: entry.inference_us,
            messages: entry.messages,
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
            let fault = (n % 2 == 0).then_some(HookFault::Deadline { limit_ms: 1 });
            let usage = Usage { memory_bytes: 2000 - n as u64, messages: 1, ..Usage::default() };
            let ending = Ending { number: 0, event_id: format!("e{n}"), duration_us: n as u64, usage, fault };
            journal.note("h", vec![line(n)], ending);
        }
        let kept = journal.lines("h", 0);
        assert!(kept.len() * 1000 <= limits::HOOK_LOG_KEPT_BYTES && kept.last().unwrap().number == 2000);
        assert_eq!(journal.lines("h", 1999).len(), 1);
        let stats = journal.stats("h");
        assert_eq!((stats.invocations, stats.max_us, stats.failures["deadline"]), (2000, 1999, 1000));
        assert!(stats.p50_us >= 1000 && stats.p50_us <= 2048 && stats.p99_us == 1999);
        assert_eq!((stats.memory_bytes_max, stats.messages), (2000, 1000));
        let ending = journal.ending("h", "e1999", 0).unwrap();
        assert_eq!((ending.number, ending.duration_us, ending.fault), (2000, 1999, None));
        assert!(journal.ending("h", "e1998", 0).unwrap().fault.is_some());
        assert_eq!((journal.ending("h", "e1999", 2000), journal.ending("h", "e0", 0)), (None, None));
        assert!(journal.lines("other", 0).is_empty());
    }
}
