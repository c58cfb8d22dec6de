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
mod latency;
mod link;
mod publisher;
mod session;
mod settings;
mod topic;
mod trust;

#[cfg(test)]
pub(crate) mod tests;

pub use broker::Broker;
pub use latency::{LATENCY_BOUNDS_MS, LatencyHistogram, LatencySnapshot};
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
    /// The broker has these.
    pub acknowledged: Vec<i64>,
    /// These expired, or can never be sent.
    pub dropped: Vec<i64>,
}

/// Resolves when what was settled has left the queue for good.
pub type SettleFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// The durable queue behind the publisher. Called on the MQTT thread only.
pub trait PublicationSource: Send {
    /// Messages in order from after `after`: at most `limit`, and no more once `bytes` of payload are together.
    fn next(&mut self, after: i64, limit: usize, bytes: usize) -> Result<Vec<Message>, String>;
    /// Takes settled messages off the queue. Ids that are gone already are passed over.
    fn settle(&mut self, settled: Settled) -> SettleFuture;
}
