//! The outbox: changes that no rule was applied to yet, invocations that are not finished, publications that are not
//! acknowledged. What is here survives everything that the versions survive.

use super::{Change, Meta, MetaError, Reader, Sequence};

/// A hook's work on one change, to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvocation {
    /// Stable over attempts and restarts: `{sequence:016x}-{rule id or hook name}`.
    pub event_id: String,
    /// Id of the rule that matched; empty for a replay.
    pub rule: String,
    pub hook: String,
    pub change: Change,
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
    /// Invocations to be attempted again: id, failed attempts, earliest time, the error.
    pub retried: Vec<(i64, u32, i64, String)>,
    /// Invocations that are given up: id, failed attempts, the error.
    pub dead: Vec<(i64, u32, String)>,
    /// Dead invocations to be attempted anew, at once.
    pub revived: Vec<i64>,
    pub publications: Vec<NewPublication>,
    /// Publications that the broker acknowledged; they are removed.
    pub acknowledged: Vec<i64>,
    /// Publications that policy drops (expired, overflow); they are removed and counted.
    pub dropped: Vec<i64>,
}

/// Sizes of the outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxStats {
    pub changes: u64,
    pub pending: u64,
    pub dead: u64,
    pub publications: u64,
    pub publication_bytes: u64,
    /// Since the pool was created.
    pub dropped: u64,
}

impl Meta {
    /// Applies one update; durable when this returns. Row ids that are gone already are passed over.
    pub async fn update_outbox(&self, _update: OutboxUpdate) -> Result<(), MetaError> {
        todo!("meta")
    }
}

impl Reader {
    /// Changes in order, from after `after`.
    pub fn changes(&self, _after: Sequence, _limit: usize) -> Result<Vec<Change>, MetaError> {
        todo!("meta")
    }

    /// Invocations of one state in order, from after row `after`.
    pub fn invocations(&self, _state: InvocationState, _after: i64, _limit: usize) -> Result<Vec<StoredInvocation>, MetaError> {
        todo!("meta")
    }

    /// Publications in order, from after row `after`.
    pub fn publications(&self, _after: i64, _limit: usize) -> Result<Vec<StoredPublication>, MetaError> {
        todo!("meta")
    }

    pub fn outbox_stats(&self) -> Result<OutboxStats, MetaError> {
        todo!("meta")
    }
}
