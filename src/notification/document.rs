//! The configuration document, read and written. Elements that are not known are passed over, as S3 does.

use super::arn::entry_of;
use super::configuration::{Configuration, NotificationError, Rule};
use super::event::is_known_pattern;
use super::{EventName, Filter, Target};
use crate::limits;
use crate::xml::{self, Document, Element};

/// The kinds of entry, by what S3 sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Topic,
    Queue,
    CloudFunction,
}

impl Entry {
    fn of_element(name: &str) -> Option<Entry> {
        [Entry::Topic, Entry::Queue, Entry::CloudFunction].into_iter().find(|entry| entry.element() == name)
    }

    fn element(self) -> &'static str {
        match self {
            Entry::Topic => "TopicConfiguration",
            Entry::Queue => "QueueConfiguration",
            Entry::CloudFunction => "CloudFunctionConfiguration",
        }
    }

    fn destination(self) -> &'static str {
        match self {
            Entry::Topic => "Topic",
            Entry::Queue => "Queue",
            Entry::CloudFunction => "CloudFunction",
        }
    }
}

impl Configuration {
    /// Reads and checks a document. An empty one gives no rules: it turns notifications off.
    pub fn parse(document: &[u8]) -> Result<Configuration, NotificationError> {
        let root = xml::parse(document)?;
        if root.name() != "NotificationConfiguration" {
            return Err(NotificationError::Root(root.name().to_owned()));
        }
        let mut rules = Vec::new();
        for element in root.children() {
            if element.name() == "EventBridgeConfiguration" {
                return Err(NotificationError::EventBridge);
            }
            let Some(entry) = Entry::of_element(element.name()) else { continue };
            if rules.len() == limits::NOTIFICATION_RULES_MAX {
                return Err(NotificationError::TooMany { limit: limits::NOTIFICATION_RULES_MAX });
            }
            rules.push(read_rule(entry, element)?);
        }
        let configuration = Configuration { rules };
        configuration.check()?;
        Ok(configuration)
    }

    /// The document with every id filled in; `parse` reads it back to the same rules.
    pub fn to_xml(&self) -> String {
        let mut document = Document::new("NotificationConfiguration");
        for rule in &self.rules {
            let entry = entry_of(&rule.arn, &rule.target);
            document.inside(entry.element(), |document| write_rule(document, entry, rule));
        }
        document.finish()
    }
}

fn read_rule(entry: Entry, element: &Element<'_>) -> Result<Rule, NotificationError> {
    let missing = |name| NotificationError::Missing { entry: entry.element(), element: name };
    let arn = element.text_of(entry.destination()).ok_or_else(|| missing(entry.destination()))?.trim();
    let target = Target::parse(arn)?;
    let expected = entry_of(arn, &target);
    if expected != entry {
        return Err(NotificationError::WrongEntry {
            arn: arn.to_owned(),
            entry: entry.element(),
            expected: expected.element(),
        });
    }
    let events = element.children_named("Event").map(read_event).collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Err(missing("Event"));
    }
    let (prefix, suffix, filter) = read_filter(element)?;
    let mut rule = Rule { id: String::new(), target, arn: arn.to_owned(), events, prefix, suffix, filter };
    rule.id = match element.text_of("Id").map(str::trim) {
        None | Some("") => made_id(&rule),
        Some(id) if id.len() > limits::NOTIFICATION_ID_BYTES_MAX => {
            return Err(NotificationError::IdTooLong { limit: limits::NOTIFICATION_ID_BYTES_MAX });
        }
        Some(id) => id.to_owned(),
    };
    Ok(rule)
}

fn read_event(element: &Element<'_>) -> Result<String, NotificationError> {
    let event = element.text().trim();
    if is_known_pattern(event) {
        return Ok(event.to_owned());
    }
    Err(NotificationError::Event { event: event.to_owned(), known: known_patterns() })
}

fn known_patterns() -> String {
    let mut patterns: Vec<String> = Vec::new();
    for event in EventName::ALL {
        let family = format!("s3:{}:*", event.family());
        if !patterns.contains(&family) {
            patterns.push(family);
        }
        patterns.push(format!("s3:{}", event.as_str()));
    }
    patterns.join(", ")
}

fn read_filter(element: &Element<'_>) -> Result<(String, String, Filter), NotificationError> {
    let (mut prefix, mut suffix, mut filter) = (None, None, Filter::default());
    let keys = element.child("Filter").and_then(|filter| filter.child("S3Key"));
    for rule in keys.iter().flat_map(|keys| keys.children_named("FilterRule")) {
        let name = rule.text_of("Name").unwrap_or_default().trim();
        let value = rule.text_of("Value").unwrap_or_default();
        if value.len() > limits::KEY_BYTES_MAX {
            return Err(NotificationError::FilterTooLong { limit: limits::KEY_BYTES_MAX });
        }
        let (slot, word) = match name.to_ascii_lowercase().as_str() {
            "prefix" => (&mut prefix, "prefix"),
            "suffix" => (&mut suffix, "suffix"),
            _ if filter.set(name, value)? => continue,
            _ => return Err(NotificationError::FilterName(name.to_owned())),
        };
        if slot.replace(value.to_owned()).is_some() {
            return Err(NotificationError::FilterRepeated(word.to_owned()));
        }
    }
    filter.check()?;
    Ok((prefix.unwrap_or_default(), suffix.unwrap_or_default(), filter))
}

/// The same entry gets the same id again, so that a repeated PUT does not rename the invocations that wait.
fn made_id(rule: &Rule) -> String {
    let events = rule.events.join(",");
    let mut content = [rule.arn.as_str(), &events, &rule.prefix, &rule.suffix].join("\0");
    for (name, value) in rule.filter.entries() {
        content.push_str(&format!("\0{name}\0{value}"));
    }
    format!("{:032x}", twox_hash::XxHash3_128::oneshot(content.as_bytes()))
}

fn write_rule(document: &mut Document, entry: Entry, rule: &Rule) {
    document.text("Id", &rule.id);
    document.text(entry.destination(), &rule.arn);
    for event in &rule.events {
        document.text("Event", event);
    }
    let own =
        [("prefix", &rule.prefix), ("suffix", &rule.suffix)].map(|(name, value)| (name.to_owned(), value.clone()));
    let entries: Vec<_> = own.into_iter().filter(|(_, value)| !value.is_empty()).chain(rule.filter.entries()).collect();
    if entries.is_empty() {
        return;
    }
    document.inside("Filter", |document| {
        document.inside("S3Key", |document| {
            for (name, value) in &entries {
                document.inside("FilterRule", |document| {
                    document.text("Name", name);
                    document.text("Value", value);
                });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &str) -> Result<Configuration, NotificationError> {
        let document = format!("<NotificationConfiguration>{entries}</NotificationConfiguration>");
        Configuration::parse(document.as_bytes())
    }

    fn hook(id: &str, events: &str, prefix: &str) -> String {
        format!(
            "<CloudFunctionConfiguration><Id>{id}</Id><CloudFunction>arn:aerie:hook:::h</CloudFunction><Event>s3:{events}</Event>\
             <Filter><S3Key><FilterRule><Name>Prefix</Name><Value>{prefix}</Value></FilterRule></S3Key></Filter>\
             </CloudFunctionConfiguration>"
        )
    }

    #[test]
    fn all_kinds_are_read_and_written_back() {
        let configuration = parse(
            "<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:us-east-1:1:up</Topic><Event>s3:ObjectCreated:*</Event>\
             </TopicConfiguration>\
             <QueueConfiguration><Queue>arn:minio:sqs::PRIMARY:mqtt</Queue><Event>s3:ObjectRemoved:Delete</Event>\
             <Event>s3:ObjectTagging:*</Event><Other>ignored</Other></QueueConfiguration>\
             <CloudFunctionConfiguration><Id>f</Id>\
             <CloudFunction>arn:aws:lambda:us-east-1:1:function:detect</CloudFunction><Event>s3:ObjectCreated:Put</Event>\
             <Filter><S3Key><FilterRule><Name>SUFFIX</Name><Value>.jpg</Value></FilterRule>\
             <FilterRule><Name>prefix</Name><Value>a &amp; b/ </Value></FilterRule>\
             <FilterRule><Name>size-min</Name><Value>10</Value></FilterRule>\
             <FilterRule><Name>tag:kind</Name><Value>&lt;hot&gt;</Value></FilterRule></S3Key></Filter>\
             </CloudFunctionConfiguration><Unknown/>",
        )
        .expect("the document is valid");
        let rules = &configuration.rules;
        assert_eq!(rules[0].target, Target::Topic("up".to_owned()));
        assert_eq!(rules[1].target, Target::Topic("PRIMARY".to_owned()));
        assert_eq!(rules[1].events, ["s3:ObjectRemoved:Delete", "s3:ObjectTagging:*"]);
        assert_eq!(rules[1].id.len(), 32, "an id is made where there is none");
        assert_eq!(rules[2].target, Target::Hook("detect".to_owned()));
        assert_eq!((rules[2].prefix.as_str(), rules[2].suffix.as_str()), ("a & b/ ", ".jpg"));
        assert_eq!((rules[2].filter.size_min, rules[2].filter.tags["kind"].as_str()), (Some(10), "<hot>"));
        assert_eq!(configuration.hooks().collect::<Vec<_>>(), ["detect"]);
        let again = Configuration::parse(configuration.to_xml().as_bytes()).expect("what is written is valid");
        assert_eq!(again, configuration);
    }

    #[test]
    fn a_document_has_this_text() {
        let configuration = parse(&hook("one", "ObjectCreated:*", "in/")).expect("valid");
        assert_eq!(
            configuration.to_xml(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><CloudFunctionConfiguration>\
             <Id>one</Id><CloudFunction>arn:aerie:hook:::h</CloudFunction><Event>s3:ObjectCreated:*</Event>\
             <Filter><S3Key><FilterRule><Name>prefix</Name><Value>in/</Value></FilterRule></S3Key></Filter>\
             </CloudFunctionConfiguration></NotificationConfiguration>"
        );
        assert_eq!(parse("").expect("an empty document turns notifications off").rules, []);
    }

    #[test]
    fn sets_of_rules_are_accepted_or_refused() {
        let topic = "<TopicConfiguration><Topic>arn:aerie:mqtt:::t</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration>";
        let accepted = [
            hook("a", "ObjectCreated:*", "x/") + &hook("b", "ObjectCreated:*", "y/"),
            hook("a", "ObjectCreated:Put", "") + &hook("b", "ObjectCreated:Copy", ""),
            hook("a", "ObjectCreated:*", "") + &hook("b", "ObjectRemoved:*", ""),
            hook("a", "ObjectCreated:*", "") + topic,
        ];
        for entries in accepted {
            assert!(parse(&entries).is_ok(), "{entries}");
        }
        let many =
            (0..=limits::NOTIFICATION_RULES_MAX).map(|i| hook(&i.to_string(), "ObjectCreated:*", &format!("{i}/")));
        let rule = |body: &str| format!("<TopicConfiguration>{body}</TopicConfiguration>");
        let filter =
            |name: &str, value: &str| format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>");
        let filtered = |rules: String| {
            rule(&format!(
                "<Topic>arn:aerie:mqtt:::t</Topic><Event>s3:ObjectCreated:*</Event><Filter><S3Key>{rules}</S3Key></Filter>"
            ))
        };
        let cases = [
            (
                hook("a", "ObjectCreated:*", "x/") + &hook("b", "ObjectCreated:Put", "x/y"),
                "InvalidArgument",
                "ambiguously",
            ),
            (hook("a", "ObjectCreated:*", "x/") + &hook("a", "ObjectRemoved:*", "x/"), "InvalidArgument", "unique"),
            (topic.repeat(2), "InvalidArgument", "unique"),
            (hook("a", "ObjectEaten:*", ""), "InvalidArgument", "s3:ObjectCreated:*, s3:ObjectCreated:Put"),
            (hook("a", "ObjectCreated", ""), "InvalidArgument", "not supported"),
            (hook(&"i".repeat(256), "ObjectCreated:*", ""), "InvalidArgument", "255"),
            (hook("a", "ObjectCreated:*", &"p".repeat(1025)), "InvalidArgument", "1024"),
            (many.collect(), "InvalidArgument", "100"),
            (rule("<Event>s3:ObjectCreated:*</Event>"), "MalformedXML", "no <Topic>"),
            (rule("<Topic>arn:aerie:mqtt:::t</Topic>"), "MalformedXML", "no <Event>"),
            (rule("<Topic>t</Topic><Event>s3:ObjectCreated:*</Event>"), "InvalidArgument", "not well formed"),
            (
                rule("<Topic>arn:aerie:hook:::h</Topic><Event>s3:ObjectCreated:*</Event>"),
                "InvalidArgument",
                "put it in <CloudFunctionConfiguration>",
            ),
            (filtered(filter("infix", "x")), "InvalidArgument", "either prefix or suffix"),
            (filtered(filter("prefix", "x") + &filter("Prefix", "y")), "InvalidArgument", "more than one prefix"),
            (filtered(filter("size-max", "x")), "InvalidArgument", "no number of bytes"),
            (filtered(filter("tag:a", "x").repeat(2)), "InvalidArgument", "more than one tag:a"),
            ("<EventBridgeConfiguration/>".to_owned(), "NotImplemented", "EventBridge"),
        ];
        for (entries, code, expected) in cases {
            let error = parse(&entries).expect_err(&entries);
            assert_eq!(error.code(), code, "{entries}");
            assert!(error.to_string().contains(expected), "{entries}: {error}");
        }
        for document in ["<NotificationConfiguration>", "", "<Other/>"] {
            let error = Configuration::parse(document.as_bytes()).expect_err(document);
            assert_eq!(error.code(), "MalformedXML", "{document}");
        }
    }
}
