//! What upkeep tells: the last count, and what is under way.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::walk::{CENSUS_PROPERTY, Walk};
use crate::meta::{MetaError, Reader};
use crate::pool::{ExtentHealth, Pool};

/// What a walk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalkKind {
    Scrub,
    Rebuild,
    Census,
}

/// A count of every shard of every version and part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Versions and parts with bytes on the drives.
    pub owners: u64,
    pub stripes: u64,
    /// Shards there ought to be; `good + bad + out`.
    pub shards: u64,
    pub good: u64,
    /// Missing or damaged on drives that are there.
    pub bad: u64,
    /// On drives that are out.
    pub out: u64,
    /// Stripes with fewer than k good shards.
    pub lost: u64,
    /// When the count ended; milliseconds since 1970.
    pub counted_ms: i64,
    /// Bit per slot that was there at the end.
    pub healthy: u64,
}

impl Census {
    pub(super) fn add(&mut self, health: ExtentHealth) {
        self.stripes += health.stripes;
        self.shards += health.blocks;
        self.bad += health.bad;
        self.out += health.out;
        self.lost += health.lost;
        self.good += health.blocks - health.bad - health.out;
    }

    pub(super) fn merge(&mut self, other: Census) {
        self.owners += other.owners;
        self.stripes += other.stripes;
        self.shards += other.shards;
        self.good += other.good;
        self.bad += other.bad;
        self.out += other.out;
        self.lost += other.lost;
    }
}

/// The pool's health in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealState {
    /// Nothing was counted yet.
    Unknown,
    /// The last census found every shard, and nothing has happened since that could have changed that.
    Whole,
    /// Shards are missing, and work that restores them is under way or queued.
    Healing,
    /// Shards are missing, and no drive is there to restore them on.
    Degraded,
    /// Some stripe has too few shards to be read.
    Lost,
}

/// A walk under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkStatus {
    pub kind: WalkKind,
    pub started_ms: i64,
    /// What it has met so far, after mending.
    pub counts: Census,
    pub healed: u64,
}

/// What `aerie heal status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealStatus {
    pub state: HealState,
    /// The last complete count.
    pub census: Option<Census>,
    pub walk: Option<WalkStatus>,
    /// Heal tasks that wait.
    pub queued: u64,
    /// Slots that are out.
    pub out: Vec<usize>,
    /// Slots that no census has proved whole since they came empty or were away.
    pub rebuilding: Vec<usize>,
}

/// Where the thread writes and everybody reads.
#[derive(Debug)]
pub(super) struct Board {
    pool: Arc<Pool>,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    census: Option<Census>,
    walk: Option<WalkStatus>,
    queued: u64,
}

impl Board {
    pub fn load(reader: &Reader, pool: Arc<Pool>) -> Result<Board, MetaError> {
        let census = reader.property(CENSUS_PROPERTY)?.and_then(|text| serde_json::from_str(&text).ok());
        let shown = Shown { census, walk: None, queued: reader.heal_count()? };
        Ok(Board { pool, shown: Mutex::new(shown) })
    }

    pub fn show(&self, walk: Option<&Walk>, queued: u64) {
        let mut shown = self.shown.lock().expect("no holder of this lock panics");
        shown.queued = queued;
        shown.walk = walk.map(|walk| WalkStatus {
            kind: walk.kind,
            started_ms: walk.started_ms,
            counts: walk.counts,
            healed: walk.healed,
        });
    }

    pub fn counted(&self, census: Census) {
        self.shown.lock().expect("no holder of this lock panics").census = Some(census);
    }

    pub fn census(&self) -> Option<Census> {
        self.shown.lock().expect("no holder of this lock panics").census
    }

    pub fn status(&self) -> HealStatus {
        let shown = self.shown.lock().expect("no holder of this lock panics");
        let slots = |mask: u64| (0..self.pool.geometry().shards()).filter(|slot| mask & 1 << slot != 0).collect();
        let (healthy, rebuilding) = (self.pool.healthy(), self.pool.rebuilding());
        let out = self.pool.all_slots() & !healthy;
        let mends = shown.queued > 0 || shown.walk.is_some_and(|walk| walk.kind != WalkKind::Census);
        HealStatus {
            state: state_of(shown.census, out, rebuilding, shown.queued, mends),
            census: shown.census,
            walk: shown.walk,
            queued: shown.queued,
            out: slots(out),
            rebuilding: slots(rebuilding),
        }
    }
}

/// Whole and lost are said from the count alone; what is known to have happened since takes "whole" back.
fn state_of(census: Option<Census>, out: u64, rebuilding: u64, queued: u64, mends: bool) -> HealState {
    let Some(census) = census else { return HealState::Unknown };
    if census.lost > 0 {
        return HealState::Lost;
    }
    let unproven = out != 0 || rebuilding != 0 || queued != 0;
    match (census.bad + census.out == 0 && !unproven, out == 0 && (mends || rebuilding != 0)) {
        (true, _) => HealState::Whole,
        (false, true) => HealState::Healing,
        (false, false) => HealState::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_count_and_is_taken_back_by_what_happened_since() {
        let whole = Some(Census { shards: 6, good: 6, ..Census::default() });
        let bad = Some(Census { shards: 6, good: 5, bad: 1, ..Census::default() });
        let lost = Some(Census { shards: 6, good: 1, bad: 5, lost: 1, ..Census::default() });
        let cases = [
            (None, 0, 0, 0, false, HealState::Unknown),
            (whole, 0, 0, 0, false, HealState::Whole),
            (whole, 0b10, 0, 0, false, HealState::Degraded),
            (whole, 0, 0b10, 0, true, HealState::Healing),
            (whole, 0, 0, 4, true, HealState::Healing),
            (whole, 0b10, 0, 4, true, HealState::Degraded),
            (bad, 0, 0, 0, false, HealState::Degraded),
            (bad, 0, 0, 0, true, HealState::Healing),
            (lost, 0, 0, 0, true, HealState::Lost),
        ];
        for (census, out, rebuilding, queued, mends, expected) in cases {
            assert_eq!(
                state_of(census, out, rebuilding, queued, mends),
                expected,
                "{census:?} {out} {rebuilding} {queued}"
            );
        }
    }
}
