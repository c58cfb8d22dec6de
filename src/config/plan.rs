//! The plan: bounds that follow from settings and geometry. `aerie plan` prints it, `serve` keeps it.

use std::fmt;

use super::{ConfigError, Settings};
use crate::limits;
use crate::pool::{Geometry, default_parity};

/// Bounds of a running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Threads that serve S3.
    pub cores: usize,
    pub data: usize,
    pub parity: usize,
    /// Bytes that one upload or download holds at most.
    pub transfer_bytes: u64,
    /// Bytes of the last uploads that stay in memory for those who read them at once.
    pub latest_bytes: u64,
    /// Transfers that may run at once, in the whole process; one more waits, then gets 503 SlowDown.
    pub transfers_max: usize,
    /// Each part of the budget: what for, bytes.
    pub parts: Vec<(&'static str, u64)>,
    pub budget_bytes: u64,
}

/// Page cache of one SQLite connection.
const META_CACHE_BYTES: u64 = 8 << 20;
/// Code, stacks and what else is always there; measured idle, rounded up.
const BASE_BYTES: u64 = 48 << 20;
/// The part of the budget that goes to the last uploads.
const LATEST_PART: u64 = 16;
/// Fewer transfers than this at once would make an S3 client's own parallelism fail.
const TRANSFERS_MIN: usize = 8;

/// Computes the bounds for a pool, with the usual parity where none is given; an error says which key to change when
/// they do not fit the budget.
pub fn plan(settings: &Settings, drives: usize, parity: Option<u8>) -> Result<Plan, ConfigError> {
    let parity = usize::from(parity.or(settings.pool.parity).unwrap_or(default_parity(drives)));
    if drives == 0 || parity >= drives || drives > limits::SHARDS_MAX {
        let most = limits::SHARDS_MAX;
        return Err(ConfigError::Plan(format!(
            "{drives} drives cannot hold {parity} parity shards (1 to {most} drives, fewer parity shards than drives)"
        )));
    }
    let data = drives - parity;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = if settings.server.cores == 0 { processors } else { settings.server.cores };
    let guest_bytes = settings.hooks.memory_bytes + limits::HOOK_READERS_OPEN_MAX as u64 * limits::HOOK_READER_BYTES;
    let hooks = settings.outbox.hook_threads as u64 * guest_bytes;
    let connections = cores as u64 + settings.outbox.hook_threads as u64 + 4;
    let fixed = [
        ("process", BASE_BYTES),
        ("metadata caches", connections * META_CACHE_BYTES),
        ("hook guests", hooks),
        ("models", 2 * settings.inference.memory_bytes),
    ];
    let used: u64 = fixed.iter().map(|(_, bytes)| bytes).sum();
    let budget_bytes = settings.memory.budget_bytes;
    // Stripes under way, whether drives or MD5 still need them, and the one being filled, each with its parity; the socket
    // holds less than half of one besides.
    let stripe = Geometry { data: data as u8, parity: parity as u8 }.stripe_memory_bytes() as u64;
    let transfer_bytes = (limits::STRIPES_IN_FLIGHT_PER_UPLOAD as u64 + 1) * stripe + (limits::STRIPE_BYTES / 2) as u64;
    let left = budget_bytes.saturating_sub(used);
    // Transfers that must be come first.
    let latest_bytes = (budget_bytes / LATEST_PART)
        .min(limits::LATEST_BYTES_MAX)
        .min(left.saturating_sub(TRANSFERS_MIN as u64 * transfer_bytes));
    let transfers = (left - latest_bytes) / transfer_bytes;
    let transfers_max = usize::try_from(transfers).unwrap_or(usize::MAX).min(settings.server.connections_max);
    if transfers_max < TRANSFERS_MIN {
        return Err(ConfigError::Plan(format!(
            "memory.budget_bytes = {budget_bytes} leaves room for {transfers_max} transfers of {transfer_bytes} bytes, at least \
             {TRANSFERS_MIN} are needed: raise it to {}, or lower outbox.hook_threads, hooks.memory_bytes or inference.memory_bytes",
            used + TRANSFERS_MIN as u64 * transfer_bytes
        )));
    }
    let mut parts = fixed.to_vec();
    parts.push(("latest uploads", latest_bytes));
    parts.push(("transfers", transfers_max as u64 * transfer_bytes));
    Ok(Plan { cores, data, parity, transfer_bytes, latest_bytes, transfers_max, parts, budget_bytes })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        writeln!(f, "cores                  {:>8}", self.cores)?;
        writeln!(f, "geometry               {:>8}", format!("{}+{}", self.data, self.parity))?;
        writeln!(f, "drives that may go     {:>8}", self.parity)?;
        writeln!(f, "transfers at once      {:>8}", self.transfers_max)?;
        writeln!(f, "memory, MiB")?;
        for (name, bytes) in &self.parts {
            writeln!(f, "  {name:<21}{:>8}", bytes.div_ceil(MIB))?;
        }
        let sum: u64 = self.parts.iter().map(|(_, bytes)| bytes).sum();
        writeln!(f, "  {:<21}{:>8}", "sum", sum.div_ceil(MIB))?;
        writeln!(f, "  {:<21}{:>8}", "budget", self.budget_bytes / MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fit_the_budget_or_the_error_says_what_would() {
        let mut settings = Settings::default();
        let good = plan(&settings, 6, Some(2)).unwrap();
        assert!(good.parts.iter().map(|(_, bytes)| bytes).sum::<u64>() <= settings.memory.budget_bytes);
        settings.memory.budget_bytes = 64 << 20;
        let error = plan(&settings, 6, Some(2)).unwrap_err().to_string();
        let least: u64 =
            error.split("raise it to ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap();
        settings.memory.budget_bytes = least;
        assert_eq!(plan(&settings, 6, Some(2)).unwrap().transfers_max, TRANSFERS_MIN);
        assert!(plan(&settings, 2, Some(2)).is_err());
    }
}
