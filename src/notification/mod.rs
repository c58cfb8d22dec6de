//! Notifications: which events of a bucket go to which hook or topic, and how S3 writes an event.
//!
//! A leaf, shared by the wire layer (which takes and gives the configuration document) and the outbox (which matches
//! changes against it). Purely computing: no I/O, no clock, no metadata. It uses the XML leaf.

mod arn;
mod configuration;
mod document;
mod event;
mod filter;
mod record;

pub use configuration::{Configuration, NotificationError, Rule};
pub use event::{EventName, event_matches, may_listen_to};
pub use filter::{Filter, ObjectFacts};
pub use record::{EventRecord, listened_json, records_json, test_event_json};

/// Where a rule sends what matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A hook, by name: `arn:aerie:hook:::NAME`, or `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
    Hook(String),
    /// A plain MQTT topic: `arn:aerie:mqtt:::TOPIC`, `arn:aws:sns:REGION:ACCOUNT:TOPIC`, `arn:aws:sqs:REGION:ACCOUNT:TOPIC`
    /// or MinIO's `arn:minio:sqs:REGION:TOPIC:mqtt`.
    Topic(String),
}
