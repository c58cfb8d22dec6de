//! Verify and heal: every block of an extent, not only those that a read needs.

use std::sync::Arc;

use super::read::{StripePlace, Stripes};
use super::{Extent, Pool, PoolError};
use crate::drive::{Block, Ticket};
use crate::limits::BLOCK_ALIGN_BYTES;

/// What a look at every block of an extent found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtentHealth {
    pub stripes: u64,
    pub blocks: u64,
    /// Blocks that are missing or damaged on drives that are there.
    pub bad: u64,
    /// Blocks on drives that are out.
    pub out: u64,
    /// Stripes with fewer than k good blocks.
    pub lost: u64,
}

impl ExtentHealth {
    pub fn is_whole(&self) -> bool {
        self.bad == 0 && self.out == 0
    }

    pub fn add(&mut self, other: ExtentHealth) {
        self.stripes += other.stripes;
        self.blocks += other.blocks;
        self.bad += other.bad;
        self.out += other.out;
        self.lost += other.lost;
    }
}

impl Pool {
    /// The extent cut into its stripes, each an extent of its own: upkeep works stripe by stripe, within its budget.
    pub fn stripes(&self, extent: &Extent) -> impl Iterator<Item = Extent> + use<> {
        Stripes::of(self.geometry, &[*extent], 0..extent.length).map(|place| Extent {
            segment: place.segment,
            offset: place.offset,
            length: place.user_bytes as u64,
        })
    }

    /// Reads and verifies every block.
    pub async fn verify_extent(&self, extent: &Extent) -> ExtentHealth {
        let mut health = ExtentHealth::default();
        for place in Stripes::of(self.geometry, &[*extent], 0..extent.length) {
            let found = self.read_all_blocks(&place).await;
            health.add(self.stripe_health(&place, |shard| found[shard].is_some()));
        }
        health
    }

    /// Rewrites every block that is missing or damaged on a drive that is there; durable when this returns. Gives what
    /// is still wrong afterwards.
    pub async fn heal_extent(self: &Arc<Self>, extent: &Extent) -> Result<ExtentHealth, PoolError> {
        let mut health = ExtentHealth::default();
        for place in Stripes::of(self.geometry, &[*extent], 0..extent.length) {
            let mut found = self.read_all_blocks(&place).await;
            let missing: Vec<usize> = (0..found.len()).filter(|shard| found[*shard].is_none()).collect();
            let healed = if missing.is_empty() {
                0
            } else {
                self.reconstruct(&place, &missing, &mut found).await?;
                self.rewrite(&place, &missing, &found).await?
            };
            let good =
                |shard: usize| !missing.contains(&shard) || healed & 1 << self.slot_of(place.segment, shard) != 0;
            health.add(self.stripe_health(&place, good));
        }
        Ok(health)
    }

    /// Writes the given shards where their drives are there; gives the slots that have them now.
    async fn rewrite(
        &self,
        place: &StripePlace,
        shards: &[usize],
        found: &[Option<bytes::Bytes>],
    ) -> Result<u64, PoolError> {
        let reachable: Vec<usize> =
            shards.iter().copied().filter(|shard| self.drive_of(place.segment, *shard).is_some()).collect();
        let slots = reachable.iter().map(|shard| self.slot_of(place.segment, *shard));
        let all = slots.clone().fold(0u64, |mask, slot| mask | 1 << slot);
        let (tickets, wait) = Ticket::issue(slots);
        for (shard, ticket) in reachable.into_iter().zip(tickets) {
            let payload = found[shard].clone().expect("reconstructed by the caller");
            let identity = self.identity(place.segment, place.offset, shard);
            let header = bytes::Bytes::copy_from_slice(&identity.header(place.user_bytes as u32, &payload));
            let offset = u64::from(place.offset) * BLOCK_ALIGN_BYTES as u64;
            if let Some(drive) = self.drive_of(place.segment, shard) {
                drive.write(Block { segment: place.segment, offset, header, payload }, true, ticket);
            }
        }
        let outcome = wait.await;
        if outcome.full != 0 {
            return Err(PoolError::Full);
        }
        Ok(all & !outcome.failed)
    }

    fn stripe_health(&self, place: &StripePlace, good: impl Fn(usize) -> bool) -> ExtentHealth {
        let shards = self.geometry.shards();
        let mut health = ExtentHealth { stripes: 1, blocks: shards as u64, ..ExtentHealth::default() };
        for shard in (0..shards).filter(|shard| !good(*shard)) {
            match self.drive_of(place.segment, shard) {
                Some(_) => health.bad += 1,
                None => health.out += 1,
            }
        }
        let present = shards as u64 - health.bad - health.out;
        health.lost = u64::from(present < u64::from(self.geometry.data));
        health
    }
}
