//! The outbox: changes that no rule was applied to yet, invocations that are not finished, publications that are not
//! acknowledged. What is here survives everything that the versions survive.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row::{json, json_column, key_column, optional_json_column};
use super::writer::Group;
use super::{BrokerUpdate, BucketId, Change, EventName, Meta, MetaError, Reader, Sequence, broker, held};

/// Tables beside `change`, which belongs to the versions.
pub(super) const TABLES: &str = "
CREATE TABLE invocation(
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, rule TEXT NOT NULL, hook TEXT NOT NULL,
    change TEXT NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL, next_ms INTEGER NOT NULL, last_error TEXT);
CREATE INDEX invocation_by_state ON invocation(state, id);
CREATE TABLE publication(
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, priority INTEGER NOT NULL, expires_ms INTEGER);
";

/// A hook's work on one change, to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvocation {
    /// Stable over attempts and restarts: `{sequence:016x}-{rule id or hook name}`.
    pub event_id: String,
    /// Id of the rule that matched; empty for a replay.
    pub rule: String,
    pub hook: String,
    pub change: Change,
    /// Dropped, and counted, when it has not ended by then (Unix milliseconds).
    pub expires_ms: Option<i64>,
}

/// Where an invocation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvocationState {
    /// To be attempted at or after `next_ms`.
    Pending,
    /// Given up after its last attempt; kept for the operator.
    Dead,
}

/// A queued invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInvocation {
    /// Row number; the order of queueing.
    pub id: i64,
    pub event_id: String,
    pub rule: String,
    pub hook: String,
    pub change: Change,
    pub state: InvocationState,
    /// Attempts that have failed.
    pub attempts: u32,
    pub next_ms: i64,
    pub last_error: Option<String>,
    pub expires_ms: Option<i64>,
}

/// One MQTT message, to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPublication {
    pub event_id: String,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    /// Higher goes first when the outbox overflows (it is kept longer), never in the order of sending.
    pub priority: u8,
    /// Dropped, and counted, when it is not sent by then.
    pub expires_ms: Option<i64>,
    /// Where it is from, as names and values that go beside the payload (user properties of MQTT 5).
    pub properties: Vec<(String, String)>,
}

/// A queued MQTT message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPublication {
    /// Row number; the order of sending.
    pub id: i64,
    pub publication: NewPublication,
}

/// One transaction on the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxUpdate {
    /// Changes that all rules were applied to; they are removed.
    pub consumed: Vec<Sequence>,
    pub invocations: Vec<NewInvocation>,
    /// Invocations that are done; they are removed.
    pub finished: Vec<i64>,
    /// Invocations whose time to live is over; they are removed and counted.
    pub expired: Vec<i64>,
    /// Invocations to be attempted again: id, failed attempts, earliest time, the error.
    pub retried: Vec<(i64, u32, i64, String)>,
    /// Invocations that are given up: id, failed attempts, the error.
    pub dead: Vec<(i64, u32, String)>,
    /// Dead invocations to be attempted anew, at once.
    pub revived: Vec<i64>,
    pub publications: Vec<NewPublication>,
    /// Publications that the broker, and whoever it kept them for, acknowledged; they are removed.
    pub acknowledged: Vec<i64>,
    /// Publications that policy drops (expired, overflow); they are removed and counted.
    pub dropped: Vec<i64>,
    /// Held versions whose bytes are given up, though dead invocations speak of them.
    pub given_up: Vec<Sequence>,
    /// Properties that change with all this (a hook's state, where a replay stands); `None` removes.
    pub properties: Vec<(String, Option<String>)>,
    /// What the built-in broker keeps.
    pub broker: BrokerUpdate,
}

/// Sizes of the outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxStats {
    pub changes: u64,
    pub pending: u64,
    pub dead: u64,
    /// Publications that no broker has taken yet.
    pub publications: u64,
    pub publication_bytes: u64,
    /// Publications dropped by policy since the pool was created.
    pub dropped: u64,
    /// Invocations whose time to live was over, since the pool was created.
    pub expired: u64,
    /// Versions that were overwritten or deleted and wait for hooks.
    pub held: u64,
    /// Their bytes.
    pub held_bytes: u64,
}

/// Invocations of a hook that are not finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub pending: u64,
    pub dead: u64,
}

/// What is counted as it is written, so that nobody has to scan for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tally {
    Changes,
    Pending,
    Dead,
    Publications,
    PublicationBytes,
    Dropped,
    HealTasks,
    Held,
    HeldBytes,
    Expired,
}

const TALLIES: [Tally; 10] = [
    Tally::Changes,
    Tally::Pending,
    Tally::Dead,
    Tally::Publications,
    Tally::PublicationBytes,
    Tally::Dropped,
    Tally::HealTasks,
    Tally::Held,
    Tally::HeldBytes,
    Tally::Expired,
];

impl Tally {
    /// Row of the `state` table.
    fn name(self) -> &'static str {
        match self {
            Tally::Changes => "count-changes",
            Tally::Pending => "count-pending",
            Tally::Dead => "count-dead",
            Tally::Publications => "count-publications",
            Tally::PublicationBytes => "count-publication-bytes",
            Tally::Dropped => "count-dropped",
            Tally::HealTasks => "count-heal",
            Tally::Held => "count-held",
            Tally::HeldBytes => "count-held-bytes",
            Tally::Expired => "count-expired",
        }
    }

    pub fn read(self, connection: &Connection) -> Result<u64, MetaError> {
        let mut statement = connection.prepare_cached("SELECT value FROM state WHERE name = ?1")?;
        let count: i64 = statement.query_row([self.name()], |row| row.get(0))?;
        u64::try_from(count).map_err(|_| MetaError::Damaged(format!("{} is {count}", self.name())))
    }
}

/// What a mutation, or a group of them, adds to the counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts([i64; TALLIES.len()]);

impl Counts {
    pub fn create(connection: &Connection) -> Result<(), MetaError> {
        let mut insert = connection.prepare("INSERT INTO state VALUES(?1, 0)")?;
        TALLIES.iter().try_for_each(|tally| insert.execute([tally.name()]).map(|_| ()))?;
        Ok(())
    }

    pub fn add(&mut self, tally: Tally, delta: i64) {
        self.0[tally as usize] += delta;
    }

    pub fn merge(&mut self, other: Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(count, delta)| *count += delta);
    }

    pub fn store(&self, connection: &Connection) -> Result<(), MetaError> {
        for tally in TALLIES {
            let delta = self.0[tally as usize];
            if delta != 0 {
                connection
                    .prepare_cached("UPDATE state SET value = value + ?2 WHERE name = ?1")?
                    .execute(params![tally.name(), delta])?;
            }
        }
        Ok(())
    }
}

impl Meta {
    /// Applies one update; durable when this returns. Row ids that are gone already are passed over.
    pub async fn update_outbox(&self, update: OutboxUpdate) -> Result<(), MetaError> {
        let now_ms = self.world.clock.unix_ms();
        self.writer
            .write(move |group| {
                let mut spoken_of = consume(group, &update.consumed)?;
                queue_invocations(group, &update.invocations)?;
                spoken_of.extend(settle_invocations(group, &update)?);
                held::release(group, &spoken_of, now_ms)?;
                update.given_up.iter().try_for_each(|version| held::give_up(group, *version, now_ms))?;
                queue_publications(group, &update.publications)?;
                broker::apply(group, &update.broker)?;
                remove_publications(group, &update.acknowledged)?;
                let dropped = remove_publications(group, &update.dropped)?;
                group.count(Tally::Dropped, dropped);
                for (name, value) in &update.properties {
                    super::set_property(group.connection(), name, value.as_deref())?;
                }
                Ok(())
            })
            .await
    }
}

/// Removes changes; gives the versions that they spoke of.
fn consume(group: &Group<'_>, sequences: &[Sequence]) -> Result<Vec<Sequence>, MetaError> {
    let mut versions = Vec::new();
    let mut delete = group.connection().prepare_cached("DELETE FROM change WHERE sequence = ?1 RETURNING version")?;
    for sequence in sequences {
        if let Some(version) = delete.query_row([sequence.0 as i64], |row| version_column(row, 0)).optional()? {
            group.count(Tally::Changes, -1);
            versions.extend(version);
        }
    }
    if !sequences.is_empty() {
        super::change::forget_rules(group)?;
    }
    Ok(versions)
}

fn version_column(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Sequence>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|version| Sequence(version as u64)))
}

const PENDING: i64 = 0;
const DEAD: i64 = 1;

fn queue_invocations(group: &Group<'_>, invocations: &[NewInvocation]) -> Result<(), MetaError> {
    let mut insert = group.connection().prepare_cached(
        "INSERT INTO invocation(event_id, rule, hook, change, state, attempts, next_ms, version, expires_ms)
         VALUES(?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7)",
    )?;
    for invocation in invocations {
        let NewInvocation { event_id, rule, hook, change, expires_ms } = invocation;
        let version = change.version.map(|version| version.0 as i64);
        insert.execute(params![event_id, rule, hook, json(change), PENDING, version, expires_ms])?;
        group.count(Tally::Pending, 1);
        group.note_change();
    }
    Ok(())
}

/// Applies what became of invocations; gives the versions that the ended ones spoke of.
fn settle_invocations(group: &Group<'_>, update: &OutboxUpdate) -> Result<Vec<Sequence>, MetaError> {
    let connection = group.connection();
    let mut versions = Vec::new();
    let mut delete = connection.prepare_cached("DELETE FROM invocation WHERE id = ?1 RETURNING state, version")?;
    for (id, counter) in
        update.finished.iter().map(|id| (id, None)).chain(update.expired.iter().map(|id| (id, Some(Tally::Expired))))
    {
        let removed = delete.query_row([id], |row| Ok((row.get::<_, i64>(0)?, version_column(row, 1)?))).optional()?;
        if let Some((state, version)) = removed {
            group.count(if state == PENDING { Tally::Pending } else { Tally::Dead }, -1);
            counter.into_iter().for_each(|counter| group.count(counter, 1));
            versions.extend(version);
        }
    }
    let mut retry = connection.prepare_cached(
        "UPDATE invocation SET attempts = ?2, next_ms = ?3, last_error = ?4 WHERE id = ?1 AND state = 0",
    )?;
    for (id, attempts, next_ms, error) in &update.retried {
        retry.execute(params![id, attempts, next_ms, error])?;
    }
    let mut give_up = connection.prepare_cached(
        "UPDATE invocation SET state = 1, attempts = ?2, last_error = ?3 WHERE id = ?1 AND state = 0",
    )?;
    for (id, attempts, error) in &update.dead {
        let moved = give_up.execute(params![id, attempts, error])? as i64;
        group.count(Tally::Pending, -moved);
        group.count(Tally::Dead, moved);
    }
    let mut revive = connection
        .prepare_cached("UPDATE invocation SET state = 0, attempts = 0, next_ms = 0 WHERE id = ?1 AND state = 1")?;
    for id in &update.revived {
        let moved = revive.execute([id])? as i64;
        group.count(Tally::Pending, moved);
        group.count(Tally::Dead, -moved);
        if moved > 0 {
            group.note_change();
        }
    }
    Ok(versions)
}

/// Bytes that a publication is counted with.
fn counted_bytes(topic: usize, payload: usize) -> i64 {
    (topic + payload) as i64
}

fn queue_publications(group: &Group<'_>, publications: &[NewPublication]) -> Result<(), MetaError> {
    let mut insert = group.connection().prepare_cached(
        "INSERT INTO publication(event_id, topic, payload, qos, retain, priority, expires_ms, properties)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for publication in publications {
        let NewPublication { event_id, topic, payload, qos, retain, priority, expires_ms, properties } = publication;
        let properties = (!properties.is_empty()).then(|| json(properties));
        insert.execute(params![event_id, topic, payload, qos, retain, priority, expires_ms, properties])?;
        group.count(Tally::Publications, 1);
        group.count(Tally::PublicationBytes, counted_bytes(topic.len(), payload.len()));
        group.note_change();
    }
    Ok(())
}

/// Removes publications; gives how many were there.
fn remove_publications(group: &Group<'_>, ids: &[i64]) -> Result<i64, MetaError> {
    let mut delete =
        group.connection().prepare_cached("DELETE FROM publication WHERE id = ?1 RETURNING topic, length(payload)")?;
    let mut removed = 0;
    for id in ids {
        let sizes =
            |row: &Row<'_>| Ok(counted_bytes(row.get_ref(0)?.as_bytes()?.len(), row.get::<_, i64>(1)? as usize));
        if let Some(bytes) = delete.query_row([id], sizes).optional()? {
            removed += 1;
            // What the broker keeps is out of the counts already.
            if !broker::release(group, *id)? {
                group.count(Tally::Publications, -1);
                group.count(Tally::PublicationBytes, -bytes);
            }
        }
    }
    Ok(removed)
}

impl Reader {
    /// Changes in order, from after `after`.
    pub fn changes(&self, after: Sequence, limit: usize) -> Result<Vec<Change>, MetaError> {
        self.rows(
            "SELECT sequence, event, time_ms, bucket, bucket_name, key, version_id, version, size, etag, requester
             FROM change WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            params![after.0 as i64, limit as i64],
            change_of,
        )
    }

    /// Invocations of one state in order, from after row `after`.
    pub fn invocations(
        &self,
        state: InvocationState,
        after: i64,
        limit: usize,
    ) -> Result<Vec<StoredInvocation>, MetaError> {
        let code = match state {
            InvocationState::Pending => PENDING,
            InvocationState::Dead => DEAD,
        };
        self.rows(
            "SELECT id, event_id, rule, hook, change, attempts, next_ms, last_error, expires_ms FROM invocation
             WHERE state = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            params![code, after, limit as i64],
            |row| {
                Ok(StoredInvocation {
                    id: row.get(0)?,
                    event_id: row.get(1)?,
                    rule: row.get(2)?,
                    hook: row.get(3)?,
                    change: json_column(row, 4)?,
                    state,
                    attempts: row.get(5)?,
                    next_ms: row.get(6)?,
                    last_error: row.get(7)?,
                    expires_ms: row.get(8)?,
                })
            },
        )
    }

    /// Dead invocations whose time to live was over before `now_ms`. (Pending ones end when their turn comes.)
    pub fn expired_dead(&self, now_ms: i64, limit: usize) -> Result<Vec<i64>, MetaError> {
        self.rows(
            "SELECT id FROM invocation WHERE expires_ms <= ?1 AND state = 1 LIMIT ?2",
            params![now_ms, limit as i64],
            |row| row.get(0),
        )
    }

    /// Publications that no broker has taken yet, in order, from after row `after`.
    pub fn publications(&self, after: i64, limit: usize) -> Result<Vec<StoredPublication>, MetaError> {
        self.rows(
            "SELECT id, event_id, topic, payload, qos, retain, priority, expires_ms, properties FROM publication
             WHERE id > ?1 AND NOT EXISTS(SELECT 1 FROM broker_kept WHERE broker_kept.publication = publication.id)
             ORDER BY id LIMIT ?2",
            params![after, limit as i64],
            publication_of,
        )
    }

    /// What waits and what is dead of each hook that has any: a walk along one index, some 10 ms for 100,000 invocations.
    pub fn backlogs(&self) -> Result<BTreeMap<String, Backlog>, MetaError> {
        let counts = self.rows("SELECT hook, state, count(*) FROM invocation GROUP BY hook, state", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)? as u64))
        })?;
        let mut backlogs: BTreeMap<String, Backlog> = BTreeMap::new();
        for (hook, state, count) in counts {
            let backlog = backlogs.entry(hook).or_default();
            match state {
                PENDING => backlog.pending = count,
                _ => backlog.dead = count,
            }
        }
        Ok(backlogs)
    }

    pub fn outbox_stats(&self) -> Result<OutboxStats, MetaError> {
        let read = |tally: Tally| tally.read(self.connection());
        Ok(OutboxStats {
            changes: read(Tally::Changes)?,
            pending: read(Tally::Pending)?,
            dead: read(Tally::Dead)?,
            publications: read(Tally::Publications)?,
            publication_bytes: read(Tally::PublicationBytes)?,
            dropped: read(Tally::Dropped)?,
            expired: read(Tally::Expired)?,
            held: read(Tally::Held)?,
            held_bytes: read(Tally::HeldBytes)?,
        })
    }
}

/// Columns in the order of the table, `properties` last.
pub(super) fn publication_of(row: &Row<'_>) -> rusqlite::Result<StoredPublication> {
    let publication = NewPublication {
        event_id: row.get(1)?,
        topic: row.get(2)?,
        payload: row.get(3)?,
        qos: row.get(4)?,
        retain: row.get(5)?,
        priority: row.get(6)?,
        expires_ms: row.get(7)?,
        properties: optional_json_column(row, 8)?.unwrap_or_default(),
    };
    Ok(StoredPublication { id: row.get(0)?, publication })
}

fn change_of(row: &Row<'_>) -> rusqlite::Result<Change> {
    let event = row.get_ref(1)?.as_str()?;
    Ok(Change {
        sequence: Sequence(row.get::<_, i64>(0)? as u64),
        event: EventName::parse(event).ok_or_else(|| {
            rusqlite::Error::InvalidColumnType(1, format!("event {event}"), rusqlite::types::Type::Text)
        })?,
        time_ms: row.get(2)?,
        bucket: BucketId(row.get(3)?),
        bucket_name: row.get(4)?,
        key: key_column(row, 5)?,
        version_id: row.get(6)?,
        version: version_column(row, 7)?,
        size: row.get::<_, i64>(8)? as u64,
        etag: row.get(9)?,
        requester: json_column(row, 10)?,
    })
}
