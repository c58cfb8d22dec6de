//! Names of events, and the patterns that rules name them by.

use serde::{Deserialize, Serialize};

/// What happened, in S3's event names (`s3:` left out).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventName {
    ObjectCreatedPut,
    ObjectCreatedPost,
    ObjectCreatedCopy,
    ObjectCreatedCompleteMultipartUpload,
    ObjectRemovedDelete,
    ObjectRemovedDeleteMarkerCreated,
    ObjectTaggingPut,
    ObjectTaggingDelete,
    LifecycleExpirationDelete,
    LifecycleExpirationDeleteMarkerCreated,
    ObjectAclPut,
    /// Not of an object: a notification configuration was put, and its topics are told so. No rule names it.
    TestEvent,
}

impl EventName {
    /// As S3 writes it in an event record, for example `ObjectCreated:Put`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventName::ObjectCreatedPut => "ObjectCreated:Put",
            EventName::ObjectCreatedPost => "ObjectCreated:Post",
            EventName::ObjectCreatedCopy => "ObjectCreated:Copy",
            EventName::ObjectCreatedCompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
            EventName::ObjectRemovedDelete => "ObjectRemoved:Delete",
            EventName::ObjectRemovedDeleteMarkerCreated => "ObjectRemoved:DeleteMarkerCreated",
            EventName::ObjectTaggingPut => "ObjectTagging:Put",
            EventName::ObjectTaggingDelete => "ObjectTagging:Delete",
            EventName::LifecycleExpirationDelete => "LifecycleExpiration:Delete",
            EventName::LifecycleExpirationDeleteMarkerCreated => "LifecycleExpiration:DeleteMarkerCreated",
            EventName::ObjectAclPut => "ObjectAcl:Put",
            EventName::TestEvent => "TestEvent",
        }
    }

    /// The part before the colon, for example `ObjectCreated`.
    pub fn family(self) -> &'static str {
        self.as_str().split(':').next().expect("a split has a first piece")
    }

    /// Version of the record's layout, by AWS's table: 2.3 for what came later than puts and deletes.
    pub(super) fn record_version(self) -> &'static str {
        match self.family() {
            "ObjectTagging" | "ObjectAcl" | "LifecycleExpiration" => "2.3",
            _ => "2.1",
        }
    }

    /// What rules and listeners may ask for.
    pub const ALL: [EventName; 11] = [
        EventName::ObjectCreatedPut,
        EventName::ObjectCreatedPost,
        EventName::ObjectCreatedCopy,
        EventName::ObjectCreatedCompleteMultipartUpload,
        EventName::ObjectRemovedDelete,
        EventName::ObjectRemovedDeleteMarkerCreated,
        EventName::ObjectTaggingPut,
        EventName::ObjectTaggingDelete,
        EventName::LifecycleExpirationDelete,
        EventName::LifecycleExpirationDeleteMarkerCreated,
        EventName::ObjectAclPut,
    ];

    pub fn parse(text: &str) -> Option<EventName> {
        EventName::ALL.into_iter().chain([EventName::TestEvent]).find(|event| event.as_str() == text)
    }
}

/// Whether a rule's event type (`s3:ObjectCreated:Put`, `s3:ObjectCreated:*`, and `s3:*` as MinIO's listeners send it)
/// covers this event.
pub fn event_matches(pattern: &str, event: EventName) -> bool {
    let Some(pattern) = pattern.strip_prefix("s3:").filter(|_| event != EventName::TestEvent) else { return false };
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(start) => start.strip_suffix(':') == Some(event.family()),
        None => pattern == event.as_str(),
    }
}

/// Whether a stored rule may name events so: one that can be raised, or all of a family.
pub(super) fn is_known_pattern(pattern: &str) -> bool {
    pattern != "s3:*" && EventName::ALL.into_iter().any(|event| event_matches(pattern, event))
}

/// Families of AWS's and MinIO's events that never happen here. A listener may name them, as `mc watch` does by habit; a
/// stored rule may not, since nothing would ever come of it.
const NEVER_RAISED: [&str; 9] = [
    "ObjectAccessed",
    "ObjectRestore",
    "ObjectTransition",
    "LifecycleTransition",
    "IntelligentTiering",
    "Replication",
    "ReducedRedundancyLostObject",
    "BucketCreated",
    "BucketRemoved",
];

/// Whether a listener may name events so.
pub fn may_listen_to(pattern: &str) -> bool {
    let family = |name: &str| name.split(':').next().is_some_and(|family| NEVER_RAISED.contains(&family));
    pattern == "s3:*"
        || is_known_pattern(pattern)
        || pattern.strip_prefix("s3:").is_some_and(|name| family(name) || name.starts_with("Scanner:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for event in EventName::ALL {
            assert_eq!(EventName::parse(event.as_str()), Some(event));
            assert!(event_matches(&format!("s3:{}", event.as_str()), event));
            assert!(event_matches(&format!("s3:{}:*", event.family()), event));
        }
        let put = EventName::ObjectCreatedPut;
        for (pattern, covers, known) in [
            ("s3:ObjectCreated:*", true, true),
            ("s3:ObjectCreated:Put", true, true),
            ("s3:*", true, false),
            ("s3:ObjectRemoved:*", false, true),
            ("s3:ObjectCreated:P*", false, false),
            ("s3:Object*", false, false),
            ("ObjectCreated:Put", false, false),
            ("s3:ObjectCreated:", false, false),
            ("s3:ObjectAccessed:Get", false, false),
            ("s3:TestEvent", false, false),
            ("", false, false),
        ] {
            assert_eq!((event_matches(pattern, put), is_known_pattern(pattern)), (covers, known), "{pattern}");
        }
        for (pattern, may) in [
            ("s3:*", true),
            ("s3:ObjectCreated:*", true),
            ("s3:ObjectAccessed:*", true),
            ("s3:BucketCreated:*", true),
            ("s3:Scanner:ManyVersions", true),
            ("s3:ObjectEaten:*", false),
            ("ObjectCreated:*", false),
            ("", false),
        ] {
            assert_eq!(may_listen_to(pattern), may, "{pattern}");
        }
        assert_eq!(EventName::parse("TestEvent"), Some(EventName::TestEvent));
        assert!(!event_matches("s3:*", EventName::TestEvent), "no rule and no listener gets it as an event");
    }
}
