//! What other programs take of the machine while something is measured: on a shared one, a figure without it says little.

use std::time::Instant;

use crate::process::Aerie;

/// Processors that others may take without spoiling a round; the kernel itself takes half of that for drives and sockets.
pub const TOLERATED: f64 = 0.2;
/// USER_HZ: 100 on every Linux that Aerie runs on.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A look at the machine's processors, to be compared with a later one.
pub struct Watch {
    pids: Vec<u32>,
    started: Instant,
    busy_s: f64,
    own_s: f64,
    bench_s: f64,
}

impl Watch {
    pub fn start(servers: &[&Aerie]) -> Watch {
        let pids: Vec<u32> = servers.iter().filter_map(|aerie| aerie.target.pid).collect();
        let own_s = pids.iter().map(|pid| process_s(&pid.to_string())).sum();
        Watch { pids, started: Instant::now(), busy_s: machine_s(), own_s, bench_s: process_s("self") }
    }

    /// Processors that the servers have taken since.
    pub fn own(&self) -> f64 {
        let now_s: f64 = self.pids.iter().map(|pid| process_s(&pid.to_string())).sum();
        (now_s - self.own_s) / self.started.elapsed().as_secs_f64()
    }

    /// Processors that neither the servers nor the bench have taken since; the kernel's own work is among it.
    pub fn others(&self) -> f64 {
        let passed_s = self.started.elapsed().as_secs_f64();
        let bench = (process_s("self") - self.bench_s) / passed_s;
        ((machine_s() - self.busy_s) / passed_s - self.own() - bench).max(0.0)
    }
}

/// Processor time of a process so far, user and system, in seconds; 0 where it is gone.
pub fn process_s(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        / TICKS_PER_SECOND
}

/// Time in which the machine's processors were not idle, in seconds. Interrupts count: they come in part from elsewhere.
fn machine_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = fields.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3..=6));
    busy.map(|(_, ticks)| ticks).sum::<f64>() / TICKS_PER_SECOND
}
