//! What the built-in MQTT broker has to find again after a crash: subscribers' sessions, retained messages, and which
//! publications it has taken but not yet brought to every session that waits for them.
//!
//! Written with the outbox in one transaction, so that a publication is at no time neither to be sent nor kept. What the
//! texts hold is the broker's business: a row that cannot be read is one that it reports and leaves alone.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params};

use super::outbox::{Tally, publication_of};
use super::writer::Group;
use super::{MetaError, Reader, StoredPublication};

/// Layout step.
pub(super) const TABLES: &str = "
CREATE TABLE broker_session(client TEXT PRIMARY KEY, through INTEGER NOT NULL, session TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE broker_retained(topic TEXT PRIMARY KEY, head TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE broker_kept(place INTEGER PRIMARY KEY, publication INTEGER NOT NULL UNIQUE);
";

/// A subscriber's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    pub client: String,
    /// Place up to which the subscriber has acknowledged all that it wants.
    pub through: i64,
    pub session: String,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRetained {
    pub topic: String,
    /// All but the payload.
    pub head: String,
    pub payload: Vec<u8>,
}

/// What changes with an `OutboxUpdate`. Later entries of a list win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerUpdate {
    /// Publications that the broker has taken and keeps: place in the order in which it took them, and id.
    pub kept: Vec<(i64, i64)>,
    /// Sessions by client; `None` ends one.
    pub sessions: Vec<(String, Option<StoredSession>)>,
    /// New `through` of sessions.
    pub advanced: Vec<(String, i64)>,
    /// Retained messages by topic; `None` clears one.
    pub retained: Vec<(String, Option<StoredRetained>)>,
}

/// Applies one update.
pub(super) fn apply(group: &Group<'_>, update: &BrokerUpdate) -> Result<(), MetaError> {
    let connection = group.connection();
    let mut keep = connection.prepare_cached(
        "INSERT OR IGNORE INTO broker_kept SELECT ?1, id FROM publication WHERE id = ?2
         RETURNING (SELECT length(CAST(topic AS BLOB)) + length(payload) FROM publication WHERE id = ?2)",
    )?;
    for (place, id) in &update.kept {
        // Gone, where policy has dropped it meanwhile.
        if let Some(bytes) = keep.query_row([place, id], |row| row.get::<_, i64>(0)).optional()? {
            group.count(Tally::Publications, -1);
            group.count(Tally::PublicationBytes, -bytes);
        }
    }
    let mut put = connection.prepare_cached("INSERT OR REPLACE INTO broker_session VALUES(?1, ?2, ?3)")?;
    let mut end = connection.prepare_cached("DELETE FROM broker_session WHERE client = ?1")?;
    for (client, session) in &update.sessions {
        match session {
            Some(session) => put.execute(params![client, session.through, session.session])?,
            None => end.execute([client])?,
        };
    }
    let mut advance = connection.prepare_cached("UPDATE broker_session SET through = ?2 WHERE client = ?1")?;
    for (client, through) in &update.advanced {
        advance.execute(params![client, through])?;
    }
    let mut retain = connection.prepare_cached("INSERT OR REPLACE INTO broker_retained VALUES(?1, ?2, ?3)")?;
    let mut clear = connection.prepare_cached("DELETE FROM broker_retained WHERE topic = ?1")?;
    for (topic, message) in &update.retained {
        match message {
            Some(message) => retain.execute(params![topic, message.head, message.payload])?,
            None => clear.execute([topic])?,
        };
    }
    Ok(())
}

/// Takes a publication that is removed out of the kept ones; whether it was there.
pub(super) fn release(group: &Group<'_>, id: i64) -> Result<bool, MetaError> {
    let mut delete = group.connection().prepare_cached("DELETE FROM broker_kept WHERE publication = ?1")?;
    Ok(delete.execute([id])? > 0)
}

/// A text that may hold anything after a fault: what is no UTF-8 is the reader's to refuse.
fn lossy(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}

impl Reader {
    /// All sessions of subscribers.
    pub fn broker_sessions(&self) -> Result<Vec<StoredSession>, MetaError> {
        self.rows("SELECT client, through, session FROM broker_session", [], |row| {
            let through = row.get::<_, Option<i64>>(1).unwrap_or_default().unwrap_or_default();
            Ok(StoredSession { client: lossy(row, 0)?, through, session: lossy(row, 2)? })
        })
    }

    /// Retained messages in the order of their topics, from after `after`.
    pub fn broker_retained(&self, after: &str, limit: usize) -> Result<Vec<StoredRetained>, MetaError> {
        self.rows(
            "SELECT topic, head, payload FROM broker_retained WHERE topic > ?1 ORDER BY topic LIMIT ?2",
            params![after, limit as i64],
            |row| {
                let payload = match row.get_ref(2)? {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
                    _ => Vec::new(),
                };
                Ok(StoredRetained { topic: lossy(row, 0)?, head: lossy(row, 1)?, payload })
            },
        )
    }

    /// Kept publications in the order in which the broker took them, from after place `after`.
    pub fn broker_kept(&self, after: i64, limit: usize) -> Result<Vec<(i64, StoredPublication)>, MetaError> {
        self.rows(
            "SELECT id, event_id, topic, payload, qos, retain, priority, expires_ms, properties, place
             FROM broker_kept JOIN publication ON publication.id = broker_kept.publication
             WHERE place > ?1 ORDER BY place LIMIT ?2",
            params![after, limit as i64],
            |row| Ok((row.get(9)?, publication_of(row)?)),
        )
    }
}
