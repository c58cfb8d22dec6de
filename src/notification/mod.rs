//! Notifications: which events of a bucket go to which hook or topic, and how S3 writes an event.
//!
//! A leaf, shared by the wire layer (which takes and gives the configuration document) and the outbox (which matches
//! changes against it). Purely computing: no I/O, no clock, no metadata.

mod event;

pub use event::EventName;

/// Where a rule sends what matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A hook, by name: `arn:aerie:hook:::NAME`, or `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
    Hook(String),
    /// A plain MQTT topic: `arn:aerie:mqtt:::TOPIC`, or `arn:aws:sns:REGION:ACCOUNT:TOPIC`.
    Topic(String),
}

/// One entry of a bucket's notification configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The client's, or one made from the entry's content.
    pub id: String,
    pub target: Target,
    /// The ARN as the client wrote it.
    pub arn: String,
    /// Event types as the client wrote them, `s3:` included; `*` at the end matches every kind.
    pub events: Vec<String>,
    pub prefix: String,
    pub suffix: String,
}

/// A bucket's notification configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    pub rules: Vec<Rule>,
}
