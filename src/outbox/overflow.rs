//! What goes when too much waits for the broker: first the expired, then the oldest of the lowest priority. And which held
//! versions go when dead invocations keep too much.
//!
//! Runs on the outbox thread. One run frees a tenth of the bound, so that the table is walked seldom.

use crate::limits;
use crate::meta::{Meta, MetaError, OutboxUpdate, Reader, Sequence, StoredPublication};

/// Rows that are looked at together.
const PAGE: usize = 16;

/// Drops publications until nine tenths of `bytes_max` are left; gives how many.
pub fn relieve(meta: &Meta, reader: &Reader, bytes_max: u64, now_ms: i64) -> Result<u64, MetaError> {
    let waiting = reader.outbox_stats()?.publication_bytes;
    if waiting <= bytes_max {
        return Ok(0);
    }
    let mut quota = Quota::new(waiting - bytes_max / 10 * 9, &Weights::of(reader, now_ms)?);
    let (mut dropped, mut update, mut after) = (0, OutboxUpdate::default(), 0);
    loop {
        let rows = reader.publications(after, PAGE)?;
        after = rows.last().map_or(after, |row| row.id);
        let end = rows.is_empty();
        update.dropped.extend(rows.iter().filter(|row| quota.takes(row, now_ms)).map(|row| row.id));
        let done = end || quota.is_met();
        if update.dropped.len() >= limits::OUTBOX_BATCH_MAX || done {
            dropped += update.dropped.len() as u64;
            pollster::block_on(meta.update_outbox(std::mem::take(&mut update)))?;
        }
        if done {
            return Ok(dropped);
        }
    }
}

/// The oldest versions that only dead invocations speak of, `excess` bytes together.
pub fn beyond(reader: &Reader, excess: u64) -> Result<Vec<Sequence>, MetaError> {
    let mut left = excess;
    let mut versions = Vec::new();
    for (version, bytes) in reader.held_by_dead(limits::OUTBOX_BATCH_MAX)? {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(bytes);
        versions.push(version);
    }
    Ok(versions)
}

fn bytes_of(row: &StoredPublication) -> u64 {
    (row.publication.topic.len() + row.publication.payload.len()) as u64
}

fn is_expired(row: &StoredPublication, now_ms: i64) -> bool {
    row.publication.expires_ms.is_some_and(|at| at <= now_ms)
}

/// Bytes by what decides who goes first.
struct Weights {
    expired: u64,
    by_priority: [u64; 256],
}

impl Weights {
    fn of(reader: &Reader, now_ms: i64) -> Result<Weights, MetaError> {
        let mut weights = Weights { expired: 0, by_priority: [0; 256] };
        let mut after = 0;
        loop {
            let rows = reader.publications(after, PAGE)?;
            let Some(last) = rows.last() else { return Ok(weights) };
            after = last.id;
            for row in &rows {
                match is_expired(row, now_ms) {
                    true => weights.expired += bytes_of(row),
                    false => weights.by_priority[usize::from(row.publication.priority)] += bytes_of(row),
                }
            }
        }
    }
}

/// How many bytes of each kind are still to go.
struct Quota {
    expired: u64,
    by_priority: [u64; 256],
}

impl Quota {
    fn new(excess: u64, weights: &Weights) -> Quota {
        // All that is expired goes, be it more than is needed.
        let mut left = excess.saturating_sub(weights.expired);
        let by_priority = weights.by_priority.map(|bytes| {
            let share = bytes.min(left);
            left -= share;
            share
        });
        Quota { expired: weights.expired, by_priority }
    }

    /// Whether the row goes. Rows come oldest first.
    fn takes(&mut self, row: &StoredPublication, now_ms: i64) -> bool {
        let left = match is_expired(row, now_ms) {
            true => &mut self.expired,
            false => &mut self.by_priority[usize::from(row.publication.priority)],
        };
        let takes = *left > 0;
        *left = left.saturating_sub(bytes_of(row));
        takes
    }

    fn is_met(&self) -> bool {
        self.expired == 0 && self.by_priority.iter().all(|left| *left == 0)
    }
}
