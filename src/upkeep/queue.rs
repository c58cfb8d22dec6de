//! The heal queue: extents that drives missed when they were written.

use super::{WalkKind, Worker};
use crate::limits;
use crate::meta::{HealTask, MetaError};
use crate::pool::{Extent, PoolError};

impl Worker {
    /// Heals what the drives that are there have missed. Ends with the queue, or when other work is due.
    pub(super) fn work_off_heals(&mut self) -> Result<(), MetaError> {
        self.ticked_ns = Some(self.world.clock.monotonic_ns());
        let mut healed = false;
        loop {
            let tasks = self.reader.heal_tasks(self.heal_after, limits::UPKEEP_ROWS_MAX)?;
            for task in &tasks {
                healed |= self.heal_task(task)?;
                self.heal_after = task.id;
                if self.stopping || self.tick_is_due() {
                    return Ok(());
                }
            }
            if tasks.len() < limits::UPKEEP_ROWS_MAX {
                // The next round begins anew with what had to stay.
                self.heal_after = 0;
                break;
            }
        }
        if healed && self.reader.heal_count()? == 0 {
            self.want(WalkKind::Census);
        }
        Ok(())
    }

    /// `true` when the task, or a part of it, was done.
    fn heal_task(&mut self, task: &HealTask) -> Result<bool, MetaError> {
        let there = task.slots & self.pool.healthy();
        if there == 0 {
            return Ok(false);
        }
        let pool = self.pool.clone();
        for extent in task.extents.iter().flat_map(|extent| pool.stripes(extent)) {
            match self.heal_stripe(&extent) {
                Ok(health) if health.bad == 0 => {}
                // A drive failed meanwhile; the task waits for its successor.
                Ok(_) => return Ok(false),
                Err(PoolError::Lost { .. }) if self.pool.all_healthy() => {
                    // With every drive there, only deleted bytes have no blocks; a census tells if it is not so.
                    tracing::debug!(task = task.id, "what was to be healed is deleted");
                    break;
                }
                Err(error) => {
                    tracing::warn!(task = task.id, %error, "a heal has to wait");
                    return Ok(false);
                }
            }
            if self.stopping {
                return Ok(false);
            }
        }
        if there & !self.pool.healthy() != 0 {
            // A drive failed meanwhile: what counts as healed without it is not.
            return Ok(false);
        }
        let left = task.slots & !there;
        if left != 0 {
            pollster::block_on(self.meta.queue_heal(task.extents.clone(), left))?;
        }
        pollster::block_on(self.meta.forget_heal(task.id))?;
        Ok(true)
    }

    /// Whether a task for any of the slots waits.
    pub(super) fn queue_holds(&self, slots: u64) -> Result<bool, MetaError> {
        let mut after = 0;
        loop {
            let tasks = self.reader.heal_tasks(after, limits::UPKEEP_ROWS_MAX)?;
            if tasks.iter().any(|task| task.slots & slots != 0) {
                return Ok(true);
            }
            match tasks.last() {
                Some(last) => after = last.id,
                None => return Ok(false),
            }
        }
    }

    /// Heals one stripe and pays for it.
    pub(super) fn heal_stripe(&mut self, stripe: &Extent) -> Result<crate::pool::ExtentHealth, PoolError> {
        let healed = pollster::block_on(self.pool.heal_extent(stripe));
        self.pay(self.stripe_cost(stripe));
        healed
    }

    /// Bytes of a stripe on all drives.
    pub(super) fn stripe_cost(&self, stripe: &Extent) -> u64 {
        let geometry = self.pool.geometry();
        geometry.run_bytes(stripe.length) * geometry.shards() as u64
    }
}
