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
        }
    }

    /// The part before the colon, for example `ObjectCreated`.
    pub fn family(self) -> &'static str {
        self.as_str().split_once(':').expect("every event name has a colon").0
    }

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
        EventName::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// Whether a rule's event type (`s3:ObjectCreated:Put`, `s3:ObjectCreated:*`, and `s3:*` as MinIO's listeners send it)
/// covers this event.
pub fn event_matches(pattern: &str, event: EventName) -> bool {
    let Some(pattern) = pattern.strip_prefix("s3:") else { return false };
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
            ("", false, false),
        ] {
            assert_eq!((event_matches(pattern, put), is_known_pattern(pattern)), (covers, known), "{pattern}");
        }
    }
}
