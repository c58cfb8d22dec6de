//! Topic names from templates. Purely computing.
//!
//! A template is a topic with placeholders `{device}`, `{bucket}`, `{key}` and `{hook}`. What they stand for may hold
//! any character, so those that MQTT forbids in a topic (`+`, `#`, NUL) become `_`; slashes of a key stay, and make levels.

use crate::limits;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("the topic is empty; give it at least one character")]
    Empty,
    #[error("the topic has {bytes} bytes, MQTT allows {limit}; shorten the template or the key")]
    TooLong { bytes: usize, limit: usize },
    #[error("the topic {0:?} has a wildcard or NUL; only {{device}}, {{bucket}}, {{key}} and {{hook}} vary")]
    Forbidden(String),
    #[error("the topic template {template:?} has the placeholder {{{name}}}; known are device, bucket, key and hook")]
    Placeholder { template: String, name: String },
}

/// What the placeholders stand for. `hook` is empty for a plain topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicFields<'a> {
    pub device: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    pub hook: &'a str,
}

/// Fills a template.
pub fn expand(template: &str, fields: TopicFields<'_>) -> Result<String, TopicError> {
    let mut topic = String::with_capacity(template.len() + fields.key.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        topic.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let value = match name {
            "device" => fields.device,
            "bucket" => fields.bucket,
            "key" => fields.key,
            "hook" => fields.hook,
            other => return Err(TopicError::Placeholder { template: template.to_owned(), name: other.to_owned() }),
        };
        topic.push_str(&clean(value));
        rest = after;
    }
    topic.push_str(rest);
    check_topic(&topic)?;
    Ok(topic)
}

/// Checks a template before anything is sent by it.
pub fn check_template(template: &str) -> Result<(), TopicError> {
    expand(template, TopicFields { device: "d", bucket: "b", key: "k", hook: "h" }).map(drop)
}

/// Checks a topic name by MQTT's rules.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > limits::MQTT_TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { bytes: topic.len(), limit: limits::MQTT_TOPIC_BYTES_MAX });
    }
    if topic.contains(forbidden) {
        return Err(TopicError::Forbidden(topic.to_owned()));
    }
    Ok(())
}

/// Text with what MQTT forbids in a topic replaced.
pub fn clean(text: &str) -> String {
    text.replace(forbidden, "_")
}

fn forbidden(char: char) -> bool {
    matches!(char, '+' | '#' | '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_topics() {
        let fields = TopicFields { device: "d1", bucket: "photos", key: "a/b+c#\0.jpg", hook: "detect" };
        let long = "x".repeat(limits::MQTT_TOPIC_BYTES_MAX + 1);
        let cases: [(&str, Result<&str, TopicError>); 8] = [
            ("aerie/hooks/{hook}/{bucket}/{key}", Ok("aerie/hooks/detect/photos/a/b_c__.jpg")),
            ("{device}", Ok("d1")),
            ("plain", Ok("plain")),
            ("", Err(TopicError::Empty)),
            ("a/+/b", Err(TopicError::Forbidden("a/+/b".to_owned()))),
            ("{what}", Err(TopicError::Placeholder { template: "{what}".to_owned(), name: "what".to_owned() })),
            ("{key", Ok("a/b_c__.jpg")),
            (&long, Err(TopicError::TooLong { bytes: long.len(), limit: limits::MQTT_TOPIC_BYTES_MAX })),
        ];
        for (template, expected) in cases {
            assert_eq!(expand(template, fields), expected.map(str::to_owned), "{template}");
        }
    }
}
