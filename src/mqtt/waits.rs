//! What the ledger holds: sessions, the messages that each waits for, and what of all that is to become durable.
//!
//! Invariants: a message is here as long as some session waits for it; the bytes add up. Purely computing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use mqtt5::{strip_shared_subscription_prefix, topic_matches_filter};

use super::RetainedRow;
use crate::limits;

#[derive(Debug)]
pub struct Waits {
    pub sessions: HashMap<String, Session>,
    pub kept: BTreeMap<i64, Kept>,
    pub kept_bytes: u64,
    /// Of all sessions: a message counts in each that waits for it, as it does in the broker's memory.
    pub waiting_bytes: u64,
    pub next_place: i64,
    pub dropped: u64,
    pub retained: HashMap<String, u64>,
    pub retained_bytes: u64,
    pub messages_max: usize,
    pub bytes_max: u64,
    pub released: Vec<i64>,
    pub dirty: BTreeSet<String>,
    pub advanced: BTreeSet<String>,
    pub fresh_retained: Vec<(String, Option<RetainedRow>)>,
    pub ticket: u64,
    pub to_check: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Kept {
    pub id: i64,
    pub bytes: u64,
    /// Sessions that wait for it.
    pub waiting: usize,
}

/// A session that outlives its connection.
#[derive(Debug, Default)]
pub struct Session {
    /// As it is stored.
    pub document: String,
    /// Of subscriptions above QoS 0.
    pub filters: Vec<String>,
    pub connected: bool,
    /// What is queued for it may not be in the order of the places.
    pub disordered: bool,
    pub waits: VecDeque<Wait>,
    pub bytes: u64,
    pub through: i64,
    /// Acknowledgements since it was last looked at.
    pub acknowledged: usize,
    /// Let go of since its `through` was last made durable.
    pub unsaved: usize,
    /// It was said that its room is used up.
    pub overflowed: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Wait {
    pub place: i64,
    pub name: u64,
    pub bytes: u64,
}

impl Session {
    pub fn wants(&self, topic: &str) -> bool {
        let matches = |filter: &String| topic_matches_filter(topic, strip_shared_subscription_prefix(filter));
        self.filters.iter().any(matches)
    }
}

impl Waits {
    pub fn new(messages_max: usize, bytes_max: u64) -> Waits {
        Waits {
            sessions: HashMap::new(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            waiting_bytes: 0,
            next_place: 1,
            dropped: 0,
            retained: HashMap::new(),
            retained_bytes: 0,
            messages_max,
            bytes_max,
            released: Vec::new(),
            dirty: BTreeSet::new(),
            advanced: BTreeSet::new(),
            fresh_retained: Vec::new(),
            ticket: 0,
            to_check: BTreeSet::new(),
        }
    }

    /// Lets the session go of its oldest message.
    pub fn let_go(&mut self, client: &str) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        let Some(wait) = session.waits.pop_front() else { return };
        session.bytes -= wait.bytes;
        self.waiting_bytes -= wait.bytes;
        session.through = wait.place;
        session.unsaved += 1;
        self.advanced.insert(client.to_owned());
        self.release(wait.place);
    }

    pub fn release(&mut self, place: i64) {
        let Some(kept) = self.kept.get_mut(&place) else { return };
        kept.waiting = kept.waiting.saturating_sub(1);
        if kept.waiting == 0 {
            self.kept_bytes -= kept.bytes;
            self.released.push(kept.id);
            self.kept.remove(&place);
        }
    }

    /// Bytes that each session may take: when all together take too much, its share.
    pub fn bytes_each(&self) -> u64 {
        if self.waiting_bytes <= limits::BROKER_KEPT_BYTES_MAX {
            return self.bytes_max;
        }
        let waiting = self.sessions.values().filter(|session| !session.waits.is_empty()).count() as u64;
        self.bytes_max.min(limits::BROKER_KEPT_BYTES_MAX / waiting.max(1))
    }

    pub fn note_drop(&mut self, client: &str) {
        self.dropped += 1;
        if let Some(session) = self.sessions.get_mut(client)
            && !std::mem::replace(&mut session.overflowed, true)
        {
            tracing::warn!(
                client,
                "a subscriber does not fetch its messages and their room is used up: the oldest go; see broker.queued_bytes_max"
            );
        }
    }

    pub fn is_over(&self, session: &Session) -> bool {
        session.waits.len() > self.messages_max || session.bytes > self.bytes_each()
    }

    /// How many of the messages that are queued for the session must go, so that its room is enough.
    pub fn excess(&self, session: &Session, in_flight: &HashSet<u64>) -> usize {
        if !self.is_over(session) {
            return 0;
        }
        let queued: Vec<Wait> = session.waits.iter().filter(|wait| !in_flight.contains(&wait.name)).copied().collect();
        let mut bytes: u64 = queued.iter().map(|wait| wait.bytes).sum();
        let bytes_max = self.bytes_each();
        let mut excess = 0;
        for wait in &queued {
            // One message always has room.
            let left = queued.len() - excess;
            if left <= self.messages_max && (bytes <= bytes_max || left == 1) {
                break;
            }
            bytes -= wait.bytes;
            excess += 1;
        }
        excess
    }

    pub fn forget(&mut self, client: &str) {
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
