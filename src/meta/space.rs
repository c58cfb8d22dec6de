//! What is to be given back, what is to be healed, and how full segments are.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::outbox::{self, Tally};
use super::row::key_column;
use super::writer::Group;
use super::{BucketId, Meta, MetaError, Reader, Sequence};
use crate::pool::{self, Extent};

/// Deleted bytes whose space is to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    pub id: i64,
    pub extents: Vec<Extent>,
}

/// Extents that lack blocks on the drives of some slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealTask {
    pub id: i64,
    pub extents: Vec<Extent>,
    pub slots: u64,
}

/// A place in the walk over all extents. Can be stored (as a property) and resumed after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExtentCursor {
    /// Behind this part of an upload under way.
    Part { upload_id: String, number: u32 },
    /// Behind this version.
    Version { bucket: BucketId, key: String, sequence: Sequence },
    /// Behind this held version.
    Held { sequence: Sequence },
}

/// The extents of one part or version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferredExtents {
    /// Who refers to them, and where the walk stands behind them.
    pub owner: ExtentCursor,
    pub extents: Vec<Extent>,
}

/// A stretch of the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentPage {
    pub entries: Vec<ReferredExtents>,
    /// Where to go on; `None` at the end of the walk.
    pub next: Option<ExtentCursor>,
}

/// Adds to the live bytes of segments.
pub(super) fn add_live(connection: &Connection, deltas: &BTreeMap<u32, i64>) -> Result<(), MetaError> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO segment VALUES(?1, ?2) ON CONFLICT(number) DO UPDATE SET live = live + excluded.live",
    )?;
    for (segment, bytes) in deltas.iter().filter(|(_, bytes)| **bytes != 0) {
        upsert.execute(params![segment, bytes])?;
    }
    Ok(())
}

/// Queues deleted extents for reclaim. They stay live until they are.
pub(super) fn bury(group: &Group<'_>, extents: &[Extent], now_ms: i64) -> Result<(), MetaError> {
    if !extents.is_empty() {
        group
            .connection()
            .prepare_cached("INSERT INTO garbage(extents, deleted_ms) VALUES(?1, ?2)")?
            .execute(params![pool::encode_extents(extents), now_ms])?;
    }
    Ok(())
}

/// Queues extents for heal when drives missed them.
pub(super) fn queue_heal(group: &Group<'_>, extents: &[Extent], slots: u64) -> Result<(), MetaError> {
    if slots != 0 && !extents.is_empty() {
        group
            .connection()
            .prepare_cached("INSERT INTO heal(extents, slots) VALUES(?1, ?2)")?
            .execute(params![pool::encode_extents(extents), slots as i64])?;
        group.count(Tally::HealTasks, 1);
    }
    Ok(())
}

/// Extents from a stored column.
pub(super) fn extents_column(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Vec<Extent>>> {
    let Some(bytes) = row.get_ref(index)?.as_blob_or_null()? else { return Ok(None) };
    pool::decode_extents(bytes).map(Some).ok_or(rusqlite::Error::InvalidColumnType(
        index,
        "extents".to_owned(),
        rusqlite::types::Type::Blob,
    ))
}

impl Meta {
    /// Forgets garbage whose space was given back.
    pub async fn forget_garbage(&self, garbage: Vec<Garbage>) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let mut delete = group.connection().prepare_cached("DELETE FROM garbage WHERE id = ?1")?;
                for item in &garbage {
                    if delete.execute([item.id])? == 1 {
                        group.count_live(&item.extents, -1);
                    }
                }
                Ok(())
            })
            .await
    }

    /// Queues extents whose blocks on the drives of `slots` (a bit each) are to be healed.
    pub async fn queue_heal(&self, extents: Vec<Extent>, slots: u64) -> Result<(), MetaError> {
        self.writer.write(move |group| queue_heal(group, &extents, slots)).await
    }

    /// Forgets a heal task that was done.
    pub async fn forget_heal(&self, id: i64) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let deleted = group.connection().prepare_cached("DELETE FROM heal WHERE id = ?1")?.execute([id])?;
                group.count(Tally::HealTasks, -(deleted as i64));
                Ok(())
            })
            .await
    }

    /// Forgets segments that hold nothing, once their files are gone.
    pub async fn forget_segments(&self, segments: Vec<u32>) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let mut delete =
                    group.connection().prepare_cached("DELETE FROM segment WHERE number = ?1 AND live = 0")?;
                segments.iter().try_for_each(|segment| delete.execute([segment]).map(|_| ()))?;
                Ok(())
            })
            .await
    }
}

impl Reader {
    /// Garbage deleted before `before_ms`, oldest first.
    pub fn garbage(&self, before_ms: i64, limit: usize) -> Result<Vec<Garbage>, MetaError> {
        self.rows(
            "SELECT id, extents FROM garbage WHERE deleted_ms < ?1 ORDER BY id LIMIT ?2",
            params![before_ms, limit as i64],
            |row| Ok(Garbage { id: row.get(0)?, extents: extents_column(row, 1)?.unwrap_or_default() }),
        )
    }

    /// Heal tasks in order, from after `after`.
    pub fn heal_tasks(&self, after: i64, limit: usize) -> Result<Vec<HealTask>, MetaError> {
        self.rows(
            "SELECT id, extents, slots FROM heal WHERE id > ?1 ORDER BY id LIMIT ?2",
            params![after, limit as i64],
            |row| {
                let slots: i64 = row.get(2)?;
                Ok(HealTask {
                    id: row.get(0)?,
                    extents: extents_column(row, 1)?.unwrap_or_default(),
                    slots: slots as u64,
                })
            },
        )
    }

    /// Segments in which nothing lives.
    pub fn empty_segments(&self) -> Result<Vec<u32>, MetaError> {
        self.rows("SELECT number FROM segment WHERE live = 0", [], |row| row.get(0))
    }

    /// Segments in which something lives, garbage that waits for reclaim included.
    pub fn live_segments(&self) -> Result<std::collections::BTreeSet<u32>, MetaError> {
        let rows = self.rows("SELECT number FROM segment WHERE live > 0", [], |row| row.get(0))?;
        Ok(rows.into_iter().collect())
    }

    /// The highest segment number that metadata refers to; 0 when there is none.
    pub fn last_segment(&self) -> Result<u32, MetaError> {
        let rows = self.rows("SELECT coalesce(max(number), 0) FROM segment", [], |row| row.get(0))?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    /// Heal tasks that wait.
    pub fn heal_count(&self) -> Result<u64, MetaError> {
        outbox::Tally::HealTasks.read(self.connection())
    }

    /// Walks every extent that a part, a version or a held version refers to, from after `after`, visiting up to `limit`
    /// rows.
    ///
    /// Parts come before versions, and these before held ones: a part that becomes a version's, or a version that comes
    /// to be held, is met at least once. What is written during the walk may be met or not.
    pub fn all_extents(&self, after: Option<&ExtentCursor>, limit: usize) -> Result<ExtentPage, MetaError> {
        let mut visited = match after {
            None => self.parts_after("", 0, limit)?,
            Some(ExtentCursor::Part { upload_id, number }) => self.parts_after(upload_id, *number, limit)?,
            Some(ExtentCursor::Version { .. } | ExtentCursor::Held { .. }) => Vec::new(),
        };
        if visited.len() < limit {
            let rest = limit - visited.len();
            visited.extend(match after {
                Some(ExtentCursor::Version { bucket, key, sequence }) => {
                    self.versions_after(bucket.0, key.as_bytes(), super::row::rank(*sequence), rest)?
                }
                None | Some(ExtentCursor::Part { .. }) => self.versions_after(i64::MIN, b"", i64::MIN, rest)?,
                Some(ExtentCursor::Held { .. }) => Vec::new(),
            });
        }
        if visited.len() < limit {
            let first = match after {
                Some(ExtentCursor::Held { sequence }) => *sequence,
                _ => Sequence(0),
            };
            visited.extend(self.held_after(first, limit - visited.len())?);
        }
        let next = visited.last().filter(|_| visited.len() == limit).map(|(owner, _)| owner.clone());
        let referring = |(owner, extents): (_, Option<Vec<Extent>>)| Some(ReferredExtents { owner, extents: extents? });
        Ok(ExtentPage { entries: visited.into_iter().filter_map(referring).collect(), next })
    }

    fn parts_after(&self, upload_id: &str, number: u32, limit: usize) -> Result<Vec<Visited>, MetaError> {
        self.rows(
            "SELECT upload, number, extents FROM part WHERE (upload, number) > (?1, ?2) ORDER BY upload, number LIMIT ?3",
            params![upload_id, number, limit as i64],
            |row| {
                Ok((ExtentCursor::Part { upload_id: row.get(0)?, number: row.get(1)? }, extents_column(row, 2)?))
            },
        )
    }

    fn held_after(&self, sequence: Sequence, limit: usize) -> Result<Vec<Visited>, MetaError> {
        self.rows(
            "SELECT sequence, extents FROM held WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            params![sequence.0 as i64, limit as i64],
            |row| {
                let sequence = Sequence(row.get::<_, i64>(0)? as u64);
                Ok((ExtentCursor::Held { sequence }, extents_column(row, 1)?))
            },
        )
    }

    fn versions_after(&self, bucket: i64, key: &[u8], rank: i64, limit: usize) -> Result<Vec<Visited>, MetaError> {
        self.rows(
            "SELECT bucket, key, rank, extents FROM version WHERE (bucket, key, rank) > (?1, ?2, ?3)
             ORDER BY bucket, key, rank LIMIT ?4",
            params![bucket, key, rank, limit as i64],
            |row| {
                let bucket = BucketId(row.get(0)?);
                let (key, sequence) = (key_column(row, 1)?, super::row::sequence(row.get(2)?));
                Ok((ExtentCursor::Version { bucket, key, sequence }, extents_column(row, 3)?))
            },
        )
    }
}

/// A row of the walk; inline bodies and markers have no extents.
type Visited = (ExtentCursor, Option<Vec<Extent>>);
