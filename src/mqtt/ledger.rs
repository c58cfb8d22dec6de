//! The ledger of the built-in broker: which messages it has taken and which subscribers still wait for them.
//!
//! A message that the broker has acknowledged stays in the durable queue, as kept, until every subscriber with a session
//! that outlives its connection has acknowledged it too. Each taken message gets a place, in the order in which the broker
//! took it; a session's `through` is the place up to which nothing waits for it any more. Those two, the sessions and the
//! retained messages are all that has to be found again after a crash.
//!
//! Invariants: a message is released only when no session waits for it; a session lets go of acknowledged messages in
//! order, from the oldest on; whatever it lets go of unacknowledged, because its room is used up, is counted. Shared by the
//! threads `mqtt` (takes) and `mqtt-broker` (observes); nobody waits while it is locked. Knows nothing of connections.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::waits::{Kept, Session, Wait, Waits};
use super::{BrokerSettings, KeptRow, LedgerStats, Message, RetainedRow, SessionRow};
use crate::limits;

/// Names a message among those that wait: two of one name are kept the longer.
pub fn name_of(event_id: &[u8], topic: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event_id, topic).hash(&mut hasher);
    hasher.finish()
}

/// Bytes that a message is counted with: at least what the broker counts for it in a session's queue.
pub fn bytes_of(message: &Message) -> u64 {
    let property = |(name, value): &(String, String)| name.len() + value.len() + limits::BROKER_KEPT_PROPERTY_BYTES;
    let properties: usize = message.properties.iter().map(property).sum();
    let own = message.topic.len() + message.payload.len() + 2 * message.event_id.len();
    (own + properties + limits::BROKER_KEPT_OVERHEAD_BYTES) as u64
}

/// A message that the broker has taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Its place in the durable queue.
    pub id: i64,
    pub topic: &'a str,
    pub name: u64,
    pub bytes: u64,
}

/// What is to become durable. Later entries of a list win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Ids of messages that nobody waits for any more.
    pub released: Vec<i64>,
    pub sessions: Vec<(String, Option<SessionRow>)>,
    pub advanced: Vec<(String, i64)>,
    pub retained: Vec<(String, Option<RetainedRow>)>,
    /// All changes of sessions up to here are in it.
    pub ticket: u64,
}

#[derive(Debug)]
pub struct Ledger {
    waits: Mutex<Waits>,
    /// No session waits for anything, as on most boards: nothing to look up.
    idle: AtomicBool,
    news: Notify,
    checks: Notify,
    durable: watch::Sender<u64>,
}

impl Ledger {
    pub fn new(settings: &BrokerSettings) -> Ledger {
        let waits = Waits::new(settings.queued_messages_max, settings.queued_bytes_max as u64);
        Ledger {
            waits: Mutex::new(waits),
            idle: AtomicBool::new(true),
            news: Notify::new(),
            checks: Notify::new(),
            durable: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever makes news durable, where there are any that matter.
    fn tell(&self, waits: &Waits) {
        let unsaved = |client: &String| {
            let session = waits.sessions.get(client);
            session.is_some_and(|session| {
                session.waits.is_empty() || session.unsaved >= limits::BROKER_ADVANCED_UNSAVED_MAX
            })
        };
        let worth = !waits.released.is_empty()
            || !waits.dirty.is_empty()
            || !waits.fresh_retained.is_empty()
            || waits.advanced.iter().any(unsaved);
        if worth {
            self.news.notify_one();
        }
    }

    // The side of the publisher.

    /// Enters a message that the broker has acknowledged. `None`: nobody waits for it.
    pub fn take(&self, taken: Taken<'_>) -> Option<i64> {
        if self.idle.load(Ordering::Acquire) {
            return None;
        }
        let mut waits = self.lock();
        let place = waits.next_place;
        let mut takers = Vec::new();
        for (client, session) in waits.sessions.iter_mut().filter(|(_, session)| session.wants(taken.topic)) {
            session.waits.push_back(Wait { place, name: taken.name, bytes: taken.bytes });
            session.bytes += taken.bytes;
            takers.push(client.clone());
        }
        if takers.is_empty() {
            return None;
        }
        waits.next_place += 1;
        waits.kept.insert(place, Kept { id: taken.id, bytes: taken.bytes, waiting: takers.len() });
        waits.kept_bytes += taken.bytes;
        waits.waiting_bytes += taken.bytes * takers.len() as u64;
        // A subscriber that is there may have acknowledged it before we came here; others may have no room for it.
        let look = |client: &String| {
            waits.sessions.get(client).is_some_and(|session| session.connected || waits.is_over(session))
        };
        takers.retain(look);
        let check = !takers.is_empty();
        waits.to_check.extend(takers);
        self.tell(&waits);
        if check {
            self.checks.notify_one();
        }
        Some(place)
    }

    /// All that is to become durable, once.
    pub fn news(&self) -> News {
        let mut waits = self.lock();
        let mut news = News {
            released: std::mem::take(&mut waits.released),
            retained: std::mem::take(&mut waits.fresh_retained),
            ticket: waits.ticket,
            ..News::default()
        };
        let (dirty, advanced) = (std::mem::take(&mut waits.dirty), std::mem::take(&mut waits.advanced));
        for client in advanced {
            if let Some(session) = waits.sessions.get_mut(&client) {
                session.unsaved = 0;
                news.advanced.push((client, session.through));
            }
        }
        for client in dirty {
            let row = waits.sessions.get(&client).map(|session| SessionRow {
                client: client.clone(),
                through: session.through,
                session: session.document.clone(),
            });
            news.sessions.push((client, row));
        }
        news
    }

    /// Resolves when there are news. May be cancelled.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// News up to the ticket are durable.
    pub fn confirm(&self, ticket: u64) {
        self.durable.send_if_modified(|at| {
            let later = ticket > *at;
            *at = ticket.max(*at);
            later
        });
    }

    /// Messages that the broker has taken unknown to us will be sent to it again: what is queued for sessions is not in the
    /// order of our places, until the queues have been empty.
    pub fn disorder(&self) {
        self.lock().sessions.values_mut().for_each(|session| session.disordered = true);
    }

    pub fn stats(&self) -> LedgerStats {
        let waits = self.lock();
        LedgerStats {
            sessions: waits.sessions.len() as u64,
            kept: waits.kept.len() as u64,
            kept_bytes: waits.kept_bytes,
            dropped: waits.dropped,
        }
    }

    // The side of the broker.

    /// A session is as the document says. Gives the ticket of the change, or `None` where nothing has changed or there
    /// are too many sessions.
    pub fn put(&self, client: &str, document: String, filters: Vec<String>) -> Option<u64> {
        let mut waits = self.lock();
        let through = waits.next_place - 1;
        if !waits.sessions.contains_key(client) {
            if waits.sessions.len() >= limits::BROKER_SESSIONS_MAX {
                tracing::warn!(client, "too many sessions are kept: this one ends with the process");
                return None;
            }
            waits.sessions.insert(client.to_owned(), Session { through, ..Session::default() });
        }
        self.idle.store(false, Ordering::Release);
        let session = waits.sessions.get_mut(client).expect("inserted above where it was not there");
        if session.document == document {
            return None;
        }
        (session.document, session.filters) = (document, filters);
        Some(self.note(&mut waits, client))
    }

    /// A session has ended, and with it all that waits.
    pub fn end(&self, client: &str) {
        let mut waits = self.lock();
        waits.forget(client);
        if waits.sessions.remove(client).is_some() {
            self.note(&mut waits, client);
            self.idle.store(waits.sessions.is_empty(), Ordering::Release);
        }
    }

    /// A session has begun anew: nothing waits for it.
    pub fn clear(&self, client: &str) {
        let mut waits = self.lock();
        waits.forget(client);
        if waits.sessions.contains_key(client) {
            self.note(&mut waits, client);
        }
    }

    fn note(&self, waits: &mut Waits, client: &str) -> u64 {
        waits.dirty.insert(client.to_owned());
        waits.ticket += 1;
        self.tell(waits);
        waits.ticket
    }

    /// Whether the session is kept.
    pub fn knows(&self, client: &str) -> bool {
        self.lock().sessions.contains_key(client)
    }

    /// Waits until the change is durable; false, if that takes too long.
    pub async fn settled(&self, ticket: u64) -> bool {
        let mut durable = self.durable.subscribe();
        let settled = durable.wait_for(|at| *at >= ticket);
        tokio::time::timeout(limits::BROKER_SUBSCRIBE_WAIT, settled).await.is_ok_and(|seen| seen.is_ok())
    }

    /// A retained message was set, or cleared.
    pub fn retain(&self, topic: &str, row: Option<RetainedRow>) {
        let mut waits = self.lock();
        let bytes = row.as_ref().map(|row| (row.topic.len() + row.head.len() + row.payload.len()) as u64);
        let before = waits.retained.get(topic).copied();
        let others = waits.retained_bytes - before.unwrap_or(0);
        let fits = bytes.is_none_or(|bytes| others + bytes <= limits::BROKER_RETAINED_BYTES_MAX);
        if fits && let Some(bytes) = bytes {
            waits.retained.insert(topic.to_owned(), bytes);
            waits.retained_bytes = others + bytes;
            waits.fresh_retained.push((topic.to_owned(), row));
        } else if before.is_some() {
            waits.retained.remove(topic);
            waits.retained_bytes = others;
            waits.fresh_retained.push((topic.to_owned(), None));
        }
        if !fits {
            tracing::warn!(topic, "retained messages use up their room: this one is not found again after a restart");
        }
        self.tell(&waits);
    }

    pub fn set_connected(&self, client: &str, connected: bool) {
        let mut waits = self.lock();
        if let Some(session) = waits.sessions.get_mut(client) {
            session.connected = connected;
        }
        if waits.to_check.insert(client.to_owned()) {
            self.checks.notify_one();
        }
    }

    /// The subscriber has acknowledged something.
    pub fn acknowledged(&self, client: &str) {
        let mut waits = self.lock();
        let Some(session) = waits.sessions.get_mut(client) else { return };
        session.acknowledged += 1;
        if waits.to_check.insert(client.to_owned()) {
            self.checks.notify_one();
        }
    }

    /// Sessions to look at; waits until there are any.
    pub async fn to_check(&self) -> BTreeSet<String> {
        self.checks.notified().await;
        std::mem::take(&mut self.lock().to_check)
    }

    /// Before a session is looked at: the last place that it waits for, or `None` where a look is of no use. `busy`: more
    /// acknowledgements are to come.
    pub fn look(&self, client: &str, busy: bool) -> Option<i64> {
        let mut waits = self.lock();
        let over = waits.sessions.get(client).is_some_and(|session| waits.is_over(session));
        let session = waits.sessions.get_mut(client)?;
        if busy && !over && session.acknowledged < limits::BROKER_ACKNOWLEDGED_BATCH {
            return None;
        }
        session.acknowledged = 0;
        session.waits.back().map(|wait| wait.place)
    }

    /// What the look has found: whether messages are queued for the session, and the names of those that it was sent but
    /// has not acknowledged. They are sent in order, so that whatever is older than those has been acknowledged. Gives how
    /// many of the oldest queued ones must go for want of room.
    pub fn observe(&self, client: &str, last: i64, queued: bool, in_flight: &HashSet<u64>) -> usize {
        let mut waits = self.lock();
        let Some(session) = waits.sessions.get(client) else { return 0 };
        let mut seen = session.waits.iter().take_while(|wait| wait.place <= last);
        let oldest = seen.clone().position(|wait| in_flight.contains(&wait.name));
        let gone = match oldest {
            Some(_) | None if queued && session.disordered => 0,
            Some(position) => position,
            None if queued => 0,
            None => seen.by_ref().count(),
        };
        for _ in 0..gone {
            waits.let_go(client);
        }
        let Some(session) = waits.sessions.get_mut(client) else { return 0 };
        session.disordered &= queued;
        if session.waits.is_empty() {
            session.overflowed = false;
        }
        self.tell(&waits);
        let session = waits.sessions.get(client);
        session.map_or(0, |session| waits.excess(session, in_flight))
    }

    /// These went unsent from the session's queue, for want of room.
    pub fn dropped(&self, client: &str, names: &[u64]) {
        let mut waits = self.lock();
        for name in names {
            let Some(session) = waits.sessions.get_mut(client) else { return };
            match session.waits.iter().position(|wait| wait.name == *name) {
                // Another client's message.
                None => continue,
                Some(0) => waits.let_go(client),
                Some(position) => {
                    // Older ones are on their way.
                    let wait = session.waits.remove(position).expect("found at that position");
                    session.bytes -= wait.bytes;
                    waits.waiting_bytes -= wait.bytes;
                    waits.release(wait.place);
                }
            }
            waits.note_drop(client);
        }
        self.tell(&waits);
    }

    // After a start.

    /// A stored session, with no ticket.
    pub fn restore_session(&self, row: SessionRow, filters: Vec<String>) {
        let mut waits = self.lock();
        waits.next_place = waits.next_place.max(row.through + 1);
        let SessionRow { client, through, session } = row;
        waits.sessions.insert(client, Session { document: session, filters, through, ..Session::default() });
        self.idle.store(false, Ordering::Release);
    }

    /// A kept message; gives the sessions that wait for it. Nobody does once it has expired.
    pub fn restore_kept(&self, row: &KeptRow, expired: bool) -> Vec<String> {
        let KeptRow { place, message } = row;
        let (name, bytes) = (name_of(message.event_id.as_bytes(), &message.topic), bytes_of(message));
        let mut waits = self.lock();
        waits.next_place = waits.next_place.max(place + 1);
        let mut takers = Vec::new();
        let wants = |session: &Session| !expired && session.through < *place && session.wants(&message.topic);
        for (client, session) in waits.sessions.iter_mut().filter(|(_, session)| wants(session)) {
            session.waits.push_back(Wait { place: *place, name, bytes });
            session.bytes += bytes;
            takers.push(client.clone());
        }
        waits.kept.insert(*place, Kept { id: message.id, bytes, waiting: takers.len() });
        waits.kept_bytes += bytes;
        waits.waiting_bytes += bytes * takers.len() as u64;
        if takers.is_empty() {
            waits.release(*place);
        }
        // Their room may be smaller than it was.
        waits.to_check.extend(takers.iter().cloned());
        self.checks.notify_one();
        self.tell(&waits);
        takers
    }

    /// A retained message that is stored.
    pub fn restore_retained(&self, row: &RetainedRow) {
        let mut waits = self.lock();
        let bytes = (row.topic.len() + row.head.len() + row.payload.len()) as u64;
        waits.retained.insert(row.topic.clone(), bytes);
        waits.retained_bytes += bytes;
    }
}
