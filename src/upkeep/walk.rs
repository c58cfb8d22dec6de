//! A walk over every extent: scrub and rebuild mend, a census counts. Progress is a property of the metadata.

use serde::{Deserialize, Serialize};

use super::{Census, WalkKind, Worker};
use crate::limits;
use crate::meta::{ExtentCursor, Meta, MetaError, Reader};
use crate::pool::{Extent, ExtentHealth, Pool, PoolError};

/// Where the walk stands.
const WALK_PROPERTY: &str = "upkeep.walk";
/// What the last complete count found.
pub(super) const CENSUS_PROPERTY: &str = "upkeep.census";
/// When the last scrub ended, in milliseconds since 1970.
pub(super) const SCRUBBED_PROPERTY: &str = "upkeep.scrubbed_ms";

/// A walk under way, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Walk {
    pub kind: WalkKind,
    pub started_ms: i64,
    /// Bit per slot that was rebuilding when the walk began.
    slots: u64,
    cursor: Option<ExtentCursor>,
    /// What was found, after mending.
    pub counts: Census,
    /// Blocks that were mended.
    pub healed: u64,
    /// Drives that had been put back when the walk began: another that comes meanwhile was not met from the beginning.
    #[serde(skip)]
    returns: u64,
    /// The log has a warning of this walk.
    #[serde(skip)]
    told: bool,
}

impl Walk {
    pub fn begin(kind: WalkKind, now_ms: i64, slots: u64, returns: u64) -> Walk {
        tracing::info!(?kind, "a walk over all blocks begins");
        let counts = Census::default();
        Walk { kind, started_ms: now_ms, slots, cursor: None, counts, healed: 0, returns, told: false }
    }

    /// The walk that the last run did not finish, unless drives came since: what it met before it did not see on them.
    pub fn resume(reader: &Reader, pool: &Pool) -> Result<Option<Walk>, MetaError> {
        let stored = reader.property(WALK_PROPERTY)?;
        // One that an older program wrote is begun anew when it is due.
        let walk: Option<Walk> = stored.and_then(|text| serde_json::from_str(&text).ok());
        Ok(walk.filter(|walk| pool.fresh() == 0 && pool.rebuilding() & !walk.slots == 0))
    }

    pub fn save(&self, meta: &Meta) -> Result<(), MetaError> {
        let text = serde_json::to_string(self).expect("a walk has only plain fields");
        pollster::block_on(meta.set_property(WALK_PROPERTY.to_owned(), Some(text)))
    }
}

impl Worker {
    /// Goes on until the walk ends, other work is due, or the thread is to stop.
    pub(super) fn go_on(&mut self, mut walk: Walk) -> Result<(), MetaError> {
        let pool = self.pool.clone();
        let mut saved_ns = self.world.clock.monotonic_ns();
        loop {
            let page = self.reader.all_extents(walk.cursor.as_ref(), limits::UPKEEP_ROWS_MAX)?;
            for entry in &page.entries {
                let mut found = Census { owners: 1, ..Census::default() };
                for stripe in entry.extents.iter().flat_map(|extent| pool.stripes(extent)) {
                    found.add(self.visit(&mut walk, &stripe));
                    if self.stopping {
                        // The owner at hand is counted anew when the walk is resumed.
                        self.walk = Some(walk);
                        return Ok(());
                    }
                }
                walk.counts.merge(found);
                walk.cursor = Some(entry.owner.clone());
                let now_ns = self.world.clock.monotonic_ns();
                if now_ns.saturating_sub(saved_ns) >= limits::UPKEEP_SAVE_INTERVAL.as_nanos() as u64 {
                    walk.save(&self.meta)?;
                    saved_ns = now_ns;
                }
                if self.tick_is_due() {
                    self.walk = Some(walk);
                    return Ok(());
                }
            }
            match page.next {
                Some(next) => walk.cursor = Some(next),
                None => return self.end(walk),
            }
        }
    }

    /// Verifies one stripe, and mends it unless the walk only counts.
    fn visit(&mut self, walk: &mut Walk, stripe: &Extent) -> ExtentHealth {
        let found = pollster::block_on(self.pool.verify_extent(stripe));
        self.pay(self.stripe_cost(stripe));
        if found.bad == 0 || walk.kind == WalkKind::Census {
            return found;
        }
        match self.heal_stripe(stripe) {
            Ok(after) => {
                walk.healed += found.bad.saturating_sub(after.bad);
                after
            }
            Err(error) => {
                match error {
                    PoolError::Lost { .. } => tracing::error!(%error, "a stripe is lost; restore its object"),
                    // A full drive says so once in a walk, not for each stripe.
                    _ if walk.told => {}
                    _ => {
                        walk.told = true;
                        tracing::warn!(%error, "stripes could not be healed; the walk goes on");
                    }
                }
                found
            }
        }
    }

    /// The walk has met everything.
    fn end(&mut self, walk: Walk) -> Result<(), MetaError> {
        let now_ms = self.world.clock.unix_ms();
        tracing::info!(kind = ?walk.kind, counts = ?walk.counts, healed = walk.healed, "a walk over all blocks ends");
        let census = Census { counted_ms: now_ms, healthy: self.pool.healthy(), ..walk.counts };
        match walk.kind {
            // What was mended is counted by a census of its own, with nothing taken on trust.
            WalkKind::Rebuild => self.wanted.insert(0, WalkKind::Census),
            WalkKind::Scrub => {
                pollster::block_on(self.meta.set_property(SCRUBBED_PROPERTY.to_owned(), Some(now_ms.to_string())))?;
                if walk.healed > 0 {
                    self.want(WalkKind::Census);
                }
                self.publish(census)?;
            }
            WalkKind::Census => {
                self.publish(census)?;
                self.settle_rebuild(census, walk.slots & !self.pool.returned_since(walk.returns))?;
            }
        }
        if walk.kind == WalkKind::Rebuild {
            self.retry_rebuild_ns =
                self.world.clock.monotonic_ns().saturating_add(limits::REBUILD_RETRY.as_nanos() as u64);
        }
        self.board.show(None, self.reader.heal_count()?);
        pollster::block_on(self.meta.set_property(WALK_PROPERTY.to_owned(), None))
    }

    fn publish(&mut self, census: Census) -> Result<(), MetaError> {
        let text = serde_json::to_string(&census).expect("a census has only plain fields");
        pollster::block_on(self.meta.set_property(CENSUS_PROPERTY.to_owned(), Some(text)))?;
        self.board.counted(census);
        Ok(())
    }

    /// Slots are whole again when a census that began after they came found no bad block, and no task waits for them.
    fn settle_rebuild(&mut self, census: Census, counted: u64) -> Result<(), MetaError> {
        let rebuilding = self.pool.rebuilding() & self.pool.healthy();
        if census.bad != 0 {
            // Rebuild comes again by itself; what else is bad is a scrub's work. Lost stripes are beyond it.
            if rebuilding == 0 {
                self.want(WalkKind::Scrub);
            }
            return Ok(());
        }
        let slots = rebuilding & counted;
        if slots == 0 || self.queue_holds(slots)? {
            return Ok(());
        }
        match self.pool.set_rebuilt(slots) {
            Ok(()) => tracing::info!(slots = ?in_mask(slots), "the rebuilt drives are whole"),
            Err(error) => tracing::error!(%error, "the labels could not be told that a rebuild is complete"),
        }
        Ok(())
    }
}
/// The numbers of the slots in a mask, for readers.
fn in_mask(slots: u64) -> Vec<u32> {
    (0..u64::BITS).filter(|slot| slots & 1 << slot != 0).collect()
}
