//! MQTT: the publisher that empties a queue of messages into a broker, and the broker that is built in.
//!
//! The publisher promises at-least-once, in the order of the queue: a message leaves the queue on the broker's own
//! acknowledgement only (PUBACK, or PUBCOMP for QoS 2; at QoS 0 once it was written to the socket). Each message carries
//! a stable event id for deduplication, as the user property `event-id` and as correlation data of MQTT 5; MQTT 3.1.1 has
//! no place for it beside the payload, which is never touched.
//!
//! Architecture invariant: this layer knows nothing of objects, hooks or the metadata. Each part has one thread of its
//! own with a current-thread tokio runtime, because the MQTT crates need tokio; no other module sees that runtime.

mod broker;
mod front;
mod gate;
mod keeper;
mod latency;
mod ledger;
mod link;
mod publisher;
mod restore;
mod session;
mod settings;
mod topic;
mod trust;
mod waits;

#[cfg(test)]
pub(crate) mod tests;

pub use broker::Broker;
pub use latency::{LATENCY_BOUNDS_MS, LatencyHistogram, LatencySnapshot};
pub use ledger::Ledger;
pub use publisher::{Publisher, PublisherStats};
pub use settings::{
    BrokerAccess, BrokerPermission, BrokerSettings, BrokerTls, BrokerUser, Password, PublisherSettings,
};
pub use topic::{TopicError, TopicFields, check_template, check_topic, clean, expand};

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// Why the publisher or the broker could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MqttError {
    #[error("mqtt setting {key}: {reason}")]
    Setting { key: &'static str, reason: String },
    #[error("the MQTT broker cannot listen on {address}: {reason}; free the port or set {key}")]
    Listen { address: String, key: &'static str, reason: String },
    #[error("the MQTT thread could not be started: {0}")]
    Thread(String),
}

/// One message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Place in the queue; above zero and rising.
    pub id: i64,
    pub event_id: String,
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
    /// Not sent after this time (Unix milliseconds).
    pub expires_ms: Option<i64>,
    /// User properties beside `event-id`; MQTT 3.1.1 has no place for them.
    pub properties: Vec<(String, String)>,
}

/// What is to leave the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The broker has these, and nobody there waits for them any more.
    pub acknowledged: Vec<i64>,
    /// These expired, or can never be sent.
    pub dropped: Vec<i64>,
    /// The built-in broker has these, but subscribers still wait for them: they stay, and are not sent again. Place in the
    /// order in which the broker took them, and id.
    pub kept: Vec<(i64, i64)>,
    /// Sessions of its subscribers by client; `None` ends one. Here and below later entries win.
    pub sessions: Vec<(String, Option<SessionRow>)>,
    /// New `through` of sessions.
    pub advanced: Vec<(String, i64)>,
    /// Its retained messages by topic; `None` clears one.
    pub retained: Vec<(String, Option<RetainedRow>)>,
}

/// A session of the built-in broker, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub client: String,
    /// Nothing up to this place waits for it.
    pub through: i64,
    /// JSON of the broker's crate.
    pub session: String,
}

/// A retained message of the built-in broker, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedRow {
    pub topic: String,
    /// JSON of the broker's crate, without the payload.
    pub head: String,
    pub payload: Vec<u8>,
}

/// A message that the built-in broker had taken, and that a subscriber may still wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    pub place: i64,
    pub message: Message,
}

/// What the built-in broker keeps for subscribers with a session that outlives their connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerStats {
    pub sessions: u64,
    /// Messages that some session waits for.
    pub kept: u64,
    pub kept_bytes: u64,
    /// Messages that a session had no room for, since the start.
    pub dropped: u64,
}

/// Where the built-in broker finds again what `PublicationSource::settle` has stored.
pub trait BrokerStore: Send {
    fn sessions(&mut self) -> Result<Vec<SessionRow>, String>;
    /// In the order of their topics, from after `after`.
    fn retained(&mut self, after: &str, limit: usize) -> Result<Vec<RetainedRow>, String>;
    /// In the order of their places, from after `after`.
    fn kept(&mut self, after: i64, limit: usize) -> Result<Vec<KeptRow>, String>;
}

/// Resolves when what was settled has left the queue for good.
pub type SettleFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// The durable queue behind the publisher. Called on the MQTT thread only.
pub trait PublicationSource: Send {
    /// Messages that are to be sent, in order from after `after`: at most `limit`, and no more once `bytes` of payload are together.
    fn next(&mut self, after: i64, limit: usize, bytes: usize) -> Result<Vec<Message>, String>;
    /// Takes settled messages off the queue. Ids that are gone already are passed over.
    fn settle(&mut self, settled: Settled) -> SettleFuture;
}
