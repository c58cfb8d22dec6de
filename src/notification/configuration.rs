//! A bucket's rules: what they match and which sets of them are refused.

use super::{EventName, Filter, ObjectFacts, Target, event_matches};
use crate::xml::XmlError;

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
    /// What else the object must be.
    pub filter: Filter,
}

/// A bucket's notification configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    pub rules: Vec<Rule>,
}

/// Why a configuration is refused. `code` gives the S3 error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the root element is <{0}>, it must be <NotificationConfiguration>")]
    Root(String),
    #[error("<{entry}> has no <{element}>; add one")]
    Missing { entry: &'static str, element: &'static str },
    #[error("the ARN `{arn}` is not well formed: {reason}")]
    Arn { arn: String, reason: &'static str },
    #[error("the ARN `{arn}` does not belong in <{entry}>; put it in <{expected}>")]
    WrongEntry { arn: String, entry: &'static str, expected: &'static str },
    #[error("the event is not supported for notifications: `{event}`; known are {known}")]
    Event { event: String, known: String },
    #[error(
        "filter rule name must be either prefix or suffix, not `{0}`; here also size-min, size-max, content-type, tag:KEY and metadata:KEY"
    )]
    FilterName(String),
    #[error("cannot specify more than one {0} rule in a filter")]
    FilterRepeated(String),
    #[error("the filter rule {name} cannot be used: `{value}` {reason}")]
    FilterValue { name: String, value: String, reason: &'static str },
    #[error("the filter value has more than {limit} bytes, which no key has")]
    FilterTooLong { limit: usize },
    #[error("the id has more than {limit} bytes; shorten it")]
    IdTooLong { limit: usize },
    #[error("same ID used for multiple configurations: `{0}`; IDs must be unique")]
    IdRepeated(String),
    #[error("the configuration has more than {limit} entries; use fewer with wider filters")]
    TooMany { limit: usize },
    #[error(
        "configuration is ambiguously defined: `{first}` and `{second}` share an event type and their prefixes and suffixes overlap; make one of them narrower"
    )]
    Overlap { first: String, second: String },
    #[error("EventBridge does not exist here; name a topic (`arn:aerie:mqtt:::TOPIC`) or a hook instead")]
    EventBridge,
}

impl NotificationError {
    /// As S3 names the error.
    pub fn code(&self) -> &'static str {
        match self {
            NotificationError::Xml(_) | NotificationError::Root(_) | NotificationError::Missing { .. } => {
                "MalformedXML"
            }
            NotificationError::EventBridge => "NotImplemented",
            NotificationError::Arn { .. }
            | NotificationError::WrongEntry { .. }
            | NotificationError::Event { .. }
            | NotificationError::FilterName(_)
            | NotificationError::FilterRepeated(_)
            | NotificationError::FilterValue { .. }
            | NotificationError::FilterTooLong { .. }
            | NotificationError::IdTooLong { .. }
            | NotificationError::IdRepeated(_)
            | NotificationError::TooMany { .. }
            | NotificationError::Overlap { .. } => "InvalidArgument",
        }
    }
}

impl Configuration {
    /// The rules that want this event of this key, their further filters aside (`Rule::wants`). The key is compared as it
    /// is, not in its URL-encoded form.
    pub fn matches<'a>(&'a self, event: EventName, key: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.matches(event, key))
    }

    /// The hooks that are named, for a check that they are installed.
    pub fn hooks(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match &rule.target {
            Target::Hook(name) => Some(name.as_str()),
            Target::Topic(_) => None,
        })
    }

    pub(super) fn check(&self) -> Result<(), NotificationError> {
        for (at, rule) in self.rules.iter().enumerate() {
            for earlier in &self.rules[..at] {
                if earlier.id == rule.id {
                    return Err(NotificationError::IdRepeated(rule.id.clone()));
                }
                if earlier.overlaps(rule) {
                    return Err(NotificationError::Overlap { first: earlier.id.clone(), second: rule.id.clone() });
                }
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Whether the rule's further filters hold. `None`: the object is gone, as with a removal; of that nothing is known but
    /// its key, and a rule that asks for more does not want it.
    pub fn wants(&self, object: Option<&ObjectFacts<'_>>) -> bool {
        self.filter.is_empty() || object.is_some_and(|object| self.filter.holds(object))
    }

    /// Whether the rule wants this event of this key. Prefix and suffix may overlap within the key.
    pub fn matches(&self, event: EventName, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && key.ends_with(&self.suffix)
            && self.events.iter().any(|pattern| event_matches(pattern, event))
    }

    /// S3 refuses two rules that one upload would both fire. Here a hook and a topic may share it: that an object is
    /// looked at and announced as well is what an edge box is for, and no client that S3 accepts is refused by it.
    fn overlaps(&self, other: &Rule) -> bool {
        let same_kind = matches!(
            (&self.target, &other.target),
            (Target::Hook(_), Target::Hook(_)) | (Target::Topic(_), Target::Topic(_))
        );
        let prefixes = self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        let suffixes = self.suffix.ends_with(&other.suffix) || other.suffix.ends_with(&self.suffix);
        let shares = |event: &EventName| {
            let wants = |rule: &Rule| rule.events.iter().any(|pattern| event_matches(pattern, *event));
            wants(self) && wants(other)
        };
        same_kind && prefixes && suffixes && !self.filter.excludes(&other.filter) && EventName::ALL.iter().any(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(events: &[&str], prefix: &str, suffix: &str) -> Rule {
        Rule {
            id: "r".to_owned(),
            target: Target::Hook("h".to_owned()),
            arn: "arn:aerie:hook:::h".to_owned(),
            events: events.iter().map(|&event| event.to_owned()).collect(),
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            filter: Filter::default(),
        }
    }

    #[test]
    fn rules_match_by_event_prefix_and_suffix() {
        use EventName::*;
        let cases = [
            (rule(&["s3:ObjectCreated:*"], "", ""), ObjectCreatedPut, "any", true),
            (rule(&["s3:ObjectCreated:*"], "", ""), ObjectRemovedDelete, "any", false),
            (rule(&["s3:ObjectCreated:Put"], "", ""), ObjectCreatedCopy, "any", false),
            (
                rule(&["s3:ObjectCreated:Put", "s3:ObjectRemoved:*"], "", ""),
                ObjectRemovedDeleteMarkerCreated,
                "k",
                true,
            ),
            (rule(&["s3:ObjectCreated:*"], "in/", ".jpg"), ObjectCreatedPut, "in/a.jpg", true),
            (rule(&["s3:ObjectCreated:*"], "in/", ".jpg"), ObjectCreatedPut, "in/a.JPG", false),
            (rule(&["s3:ObjectCreated:*"], "in/", ".jpg"), ObjectCreatedPut, "out/a.jpg", false),
            (rule(&["s3:ObjectCreated:*"], "a.jpg", "jpg"), ObjectCreatedPut, "a.jpg", true),
            (rule(&["s3:ObjectCreated:*"], "a b", ""), ObjectCreatedPut, "a b/c", true),
        ];
        for (rule, event, key, expected) in cases {
            let configuration = Configuration { rules: vec![rule] };
            assert_eq!(configuration.matches(event, key).count() == 1, expected, "{configuration:?} {event:?} {key}");
        }
    }
}
