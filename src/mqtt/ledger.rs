//! The ledger of the built-in broker: which messages it has taken and which subscribers still wait for them.
//!
//! A message that the broker has acknowledged stays in the durable queue, as kept, until every subscriber with a session
//! that outlives its connection has acknowledged it too. Each taken message gets a place, in the order in which the broker
//! took it; a session's `through` is the place up to which nothing waits for it any more. Those two, the sessions and the
//! retained messages are all that has to be found again after a crash.
//!
//! Invariants: a message is released only when no session waits for it; a session lets go of a message only in order,
//! from the oldest on; whatever it lets go of unacknowledged, because its room is used up, is counted. Shared by the
//! threads `mqtt` (takes) and `mqtt-broker` (observes); nobody waits while it is locked. Knows nothing of connections.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mqtt5::{strip_shared_subscription_prefix, topic_matches_filter};
use tokio::sync::{Notify, watch};

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
    inner: Mutex<Inner>,
    /// No session waits for anything, as on most boards: nothing to look up.
    idle: AtomicBool,
    news: Notify,
    checks: Notify,
    durable: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    sessions: HashMap<String, Session>,
    kept: BTreeMap<i64, Kept>,
    kept_bytes: u64,
    next_place: i64,
    dropped: u64,
    retained: HashMap<String, u64>,
    retained_bytes: u64,
    messages_max: usize,
    bytes_max: u64,
    /// Bytes of all that is kept.
    total_max: u64,
    released: Vec<i64>,
    dirty: BTreeSet<String>,
    advanced: BTreeSet<String>,
    fresh_retained: Vec<(String, Option<RetainedRow>)>,
    ticket: u64,
    to_check: BTreeSet<String>,
}

#[derive(Debug)]
struct Kept {
    id: i64,
    bytes: u64,
    /// Sessions that wait for it.
    waiting: usize,
}

/// A session that outlives its connection.
#[derive(Debug, Default)]
struct Session {
    /// As it is stored.
    document: String,
    /// Of subscriptions above QoS 0.
    filters: Vec<String>,
    connected: bool,
    waits: VecDeque<Wait>,
    bytes: u64,
    through: i64,
    /// Acknowledgements since it was last looked at.
    acknowledged: usize,
    /// Let go of since its `through` was last made durable.
    unsaved: usize,
    /// It was said that its room is used up.
    overflowed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    place: i64,
    name: u64,
    bytes: u64,
}

impl Session {
    fn wants(&self, topic: &str) -> bool {
        let matches = |filter: &String| topic_matches_filter(topic, strip_shared_subscription_prefix(filter));
        self.filters.iter().any(matches)
    }
}

impl Inner {
    /// Lets the session go of its oldest message.
    fn let_go(&mut self, client: &str) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        let Some(wait) = session.waits.pop_front() else { return };
        session.bytes -= wait.bytes;
        session.through = wait.place;
        session.unsaved += 1;
        self.advanced.insert(client.to_owned());
        self.release(wait.place);
    }

    fn release(&mut self, place: i64) {
        let Some(kept) = self.kept.get_mut(&place) else { return };
        kept.waiting = kept.waiting.saturating_sub(1);
        if kept.waiting == 0 {
            self.kept_bytes -= kept.bytes;
            self.released.push(kept.id);
            self.kept.remove(&place);
        }
    }

    /// Lets go of the oldest messages of sessions whose room, or all of whose room together, is used up.
    fn enforce(&mut self, client: &str) {
        while let Some(session) = self.sessions.get(client)
            && (session.waits.len() > self.messages_max || session.bytes > self.bytes_max)
        {
            self.overflow(client);
        }
        while self.kept_bytes > self.total_max
            && let Some((&oldest, _)) = self.kept.first_key_value()
        {
            let holds = |session: &Session| session.waits.front().is_some_and(|wait| wait.place == oldest);
            let holders: Vec<String> =
                self.sessions.iter().filter(|(_, session)| holds(session)).map(|(client, _)| client.clone()).collect();
            assert!(!holders.is_empty(), "whoever waits for the oldest of all has it as its own oldest");
            holders.iter().for_each(|client| self.overflow(client));
        }
    }

    fn overflow(&mut self, client: &str) {
        self.dropped += 1;
        if let Some(session) = self.sessions.get_mut(client)
            && !std::mem::replace(&mut session.overflowed, true)
        {
            tracing::warn!(
                client,
                "a subscriber has not fetched its messages and its room is used up: the oldest go; see broker.queued_bytes_max"
            );
        }
        self.let_go(client);
    }

    fn forget(&mut self, client: &str) {
        while self.sessions.get(client).is_some_and(|session| !session.waits.is_empty()) {
            self.let_go(client);
        }
        self.advanced.remove(client);
        let through = self.next_place - 1;
        if let Some(session) = self.sessions.get_mut(client) {
            session.through = through;
        }
    }
}

impl Ledger {
    pub fn new(settings: &BrokerSettings) -> Ledger {
        let inner = Inner {
            sessions: HashMap::new(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            next_place: 1,
            dropped: 0,
            retained: HashMap::new(),
            retained_bytes: 0,
            messages_max: settings.queued_messages_max,
            bytes_max: settings.queued_bytes_max as u64,
            total_max: limits::BROKER_KEPT_BYTES_MAX.max(settings.queued_bytes_max as u64),
            released: Vec::new(),
            dirty: BTreeSet::new(),
            advanced: BTreeSet::new(),
            fresh_retained: Vec::new(),
            ticket: 0,
            to_check: BTreeSet::new(),
        };
        Ledger {
            inner: Mutex::new(inner),
            idle: AtomicBool::new(true),
            news: Notify::new(),
            checks: Notify::new(),
            durable: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever makes news durable, where there are any that matter.
    fn tell(&self, inner: &Inner) {
        let unsaved = |client: &String| {
            let session = inner.sessions.get(client);
            session.is_some_and(|session| {
                session.waits.is_empty() || session.unsaved >= limits::BROKER_ADVANCED_UNSAVED_MAX
            })
        };
        let worth = !inner.released.is_empty()
            || !inner.dirty.is_empty()
            || !inner.fresh_retained.is_empty()
            || inner.advanced.iter().any(unsaved);
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
        let mut inner = self.lock();
        let place = inner.next_place;
        let mut takers = Vec::new();
        let mut check = false;
        let Inner { sessions, to_check, .. } = &mut *inner;
        for (client, session) in sessions.iter_mut().filter(|(_, session)| session.wants(taken.topic)) {
            session.waits.push_back(Wait { place, name: taken.name, bytes: taken.bytes });
            session.bytes += taken.bytes;
            takers.push(client.clone());
            // It may have acknowledged it before we came here.
            if session.connected {
                check |= to_check.insert(client.clone());
            }
        }
        if takers.is_empty() {
            return None;
        }
        inner.next_place += 1;
        inner.kept.insert(place, Kept { id: taken.id, bytes: taken.bytes, waiting: takers.len() });
        inner.kept_bytes += taken.bytes;
        takers.iter().for_each(|client| inner.enforce(client));
        self.tell(&inner);
        if check {
            self.checks.notify_one();
        }
        Some(place)
    }

    /// All that is to become durable, once.
    pub fn news(&self) -> News {
        let mut inner = self.lock();
        let mut news = News {
            released: std::mem::take(&mut inner.released),
            retained: std::mem::take(&mut inner.fresh_retained),
            ticket: inner.ticket,
            ..News::default()
        };
        let (dirty, advanced) = (std::mem::take(&mut inner.dirty), std::mem::take(&mut inner.advanced));
        for client in advanced {
            if let Some(session) = inner.sessions.get_mut(&client) {
                session.unsaved = 0;
                news.advanced.push((client, session.through));
            }
        }
        for client in dirty {
            let row = inner.sessions.get(&client).map(|session| SessionRow {
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

    pub fn stats(&self) -> LedgerStats {
        let inner = self.lock();
        LedgerStats {
            sessions: inner.sessions.len() as u64,
            kept: inner.kept.len() as u64,
            kept_bytes: inner.kept_bytes,
            dropped: inner.dropped,
        }
    }

    // The side of the broker.

    /// A session is as the document says. Gives the ticket of the change, or `None` where nothing has changed or there
    /// are too many sessions.
    pub fn put(&self, client: &str, document: String, filters: Vec<String>) -> Option<u64> {
        let mut inner = self.lock();
        let through = inner.next_place - 1;
        if !inner.sessions.contains_key(client) {
            if inner.sessions.len() >= limits::BROKER_SESSIONS_MAX {
                tracing::warn!(client, "too many sessions are kept: this one ends with the process");
                return None;
            }
            inner.sessions.insert(client.to_owned(), Session { through, ..Session::default() });
        }
        self.idle.store(false, Ordering::Release);
        let session = inner.sessions.get_mut(client).expect("inserted above where it was not there");
        if session.document == document {
            return None;
        }
        (session.document, session.filters) = (document, filters);
        Some(self.note(&mut inner, client))
    }

    /// A session has ended, and with it all that waits.
    pub fn end(&self, client: &str) {
        let mut inner = self.lock();
        inner.forget(client);
        if inner.sessions.remove(client).is_some() {
            self.note(&mut inner, client);
            self.idle.store(inner.sessions.is_empty(), Ordering::Release);
        }
    }

    /// A session has begun anew: nothing waits for it.
    pub fn clear(&self, client: &str) {
        let mut inner = self.lock();
        inner.forget(client);
        if inner.sessions.contains_key(client) {
            self.note(&mut inner, client);
        }
    }

    fn note(&self, inner: &mut Inner, client: &str) -> u64 {
        inner.dirty.insert(client.to_owned());
        inner.ticket += 1;
        self.tell(inner);
        inner.ticket
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
        let mut inner = self.lock();
        let bytes = row.as_ref().map(|row| (row.topic.len() + row.head.len() + row.payload.len()) as u64);
        let before = inner.retained.get(topic).copied();
        let others = inner.retained_bytes - before.unwrap_or(0);
        let fits = bytes.is_none_or(|bytes| others + bytes <= limits::BROKER_RETAINED_BYTES_MAX);
        if fits && let Some(bytes) = bytes {
            inner.retained.insert(topic.to_owned(), bytes);
            inner.retained_bytes = others + bytes;
            inner.fresh_retained.push((topic.to_owned(), row));
        } else if before.is_some() {
            inner.retained.remove(topic);
            inner.retained_bytes = others;
            inner.fresh_retained.push((topic.to_owned(), None));
        }
        if !fits {
            tracing::warn!(topic, "retained messages use up their room: this one is not found again after a restart");
        }
        self.tell(&inner);
    }

    pub fn set_connected(&self, client: &str, connected: bool) {
        let mut inner = self.lock();
        if let Some(session) = inner.sessions.get_mut(client) {
            session.connected = connected;
        }
        if inner.to_check.insert(client.to_owned()) {
            self.checks.notify_one();
        }
    }

    /// The subscriber has acknowledged something.
    pub fn acknowledged(&self, client: &str) {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(client) else { return };
        session.acknowledged += 1;
        if inner.to_check.insert(client.to_owned()) {
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
        let mut inner = self.lock();
        let session = inner.sessions.get_mut(client)?;
        if busy && session.acknowledged < limits::BROKER_ACKNOWLEDGED_BATCH {
            return None;
        }
        session.acknowledged = 0;
        session.waits.back().map(|wait| wait.place)
    }

    /// What the look has found: whether messages are queued for the session, and the names of those that it was sent but
    /// has not acknowledged. They are sent in order, so that whatever is older than those has been acknowledged.
    pub fn observe(&self, client: &str, last: i64, queued: bool, in_flight: &HashSet<u64>) {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(client) else { return };
        let mut seen = session.waits.iter().take_while(|wait| wait.place <= last);
        let oldest = seen.clone().position(|wait| in_flight.contains(&wait.name));
        let gone = match oldest {
            Some(position) => position,
            None if queued => return,
            None => seen.by_ref().count(),
        };
        for _ in 0..gone {
            inner.let_go(client);
        }
        if let Some(session) = inner.sessions.get_mut(client)
            && session.waits.is_empty()
        {
            session.overflowed = false;
        }
        self.tell(&inner);
    }

    // After a start.

    /// A stored session, with no ticket.
    pub fn restore_session(&self, row: SessionRow, filters: Vec<String>) {
        let mut inner = self.lock();
        inner.next_place = inner.next_place.max(row.through + 1);
        let SessionRow { client, through, session } = row;
        inner.sessions.insert(client, Session { document: session, filters, through, ..Session::default() });
        self.idle.store(false, Ordering::Release);
    }

    /// A kept message; gives the sessions that wait for it. Nobody does once it has expired.
    pub fn restore_kept(&self, row: &KeptRow, expired: bool) -> Vec<String> {
        let KeptRow { place, message } = row;
        let (name, bytes) = (name_of(message.event_id.as_bytes(), &message.topic), bytes_of(message));
        let mut inner = self.lock();
        inner.next_place = inner.next_place.max(place + 1);
        let mut takers = Vec::new();
        let wants = |session: &Session| !expired && session.through < *place && session.wants(&message.topic);
        for (client, session) in inner.sessions.iter_mut().filter(|(_, session)| wants(session)) {
            session.waits.push_back(Wait { place: *place, name, bytes });
            session.bytes += bytes;
            takers.push(client.clone());
        }
        inner.kept.insert(*place, Kept { id: message.id, bytes, waiting: takers.len() });
        inner.kept_bytes += bytes;
        if takers.is_empty() {
            inner.release(*place);
        }
        self.tell(&inner);
        takers
    }

    /// A retained message that is stored.
    pub fn restore_retained(&self, row: &RetainedRow) {
        let mut inner = self.lock();
        let bytes = (row.topic.len() + row.head.len() + row.payload.len()) as u64;
        inner.retained.insert(row.topic.clone(), bytes);
        inner.retained_bytes += bytes;
    }
}
