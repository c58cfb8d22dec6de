//! Filters beyond prefix and suffix: what else an object must be for a rule to want it.
//!
//! In the configuration document they are `FilterRule`s beside S3's own, so that any S3 SDK can send them: `size-min`,
//! `size-max` (bytes, both included), `content-type` (exact, or `image/*`; parameters are not compared), `tag:KEY` and
//! `metadata:KEY` (exact value; `*` asks only that the name is there).

use std::collections::BTreeMap;

use super::NotificationError;
use crate::limits;

/// What is known of an object when its rules are looked at.
#[derive(Debug, Clone, Copy)]
pub struct ObjectFacts<'a> {
    /// Bytes.
    pub size: u64,
    pub content_type: Option<&'a str>,
    pub tags: &'a BTreeMap<String, String>,
    /// User metadata, names in lower case and without `x-amz-meta-`.
    pub metadata: &'a BTreeMap<String, String>,
}

/// All parts must hold. The default wants everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub size_min: Option<u64>,
    pub size_max: Option<u64>,
    /// In lower case; `TYPE/*` covers every subtype.
    pub content_type: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, String>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    pub fn holds(&self, object: &ObjectFacts<'_>) -> bool {
        let has = |all: &BTreeMap<String, String>, (name, value): (&String, &String)| {
            all.get(name).is_some_and(|there| value == ANY || there == value)
        };
        self.size_min.is_none_or(|least| object.size >= least)
            && self.size_max.is_none_or(|most| object.size <= most)
            && self.content_type.as_ref().is_none_or(|wanted| covers(wanted, object.content_type))
            && self.tags.iter().all(|tag| has(object.tags, tag))
            && self.metadata.iter().all(|pair| has(object.metadata, pair))
    }

    /// Whether no object could satisfy both.
    pub fn excludes(&self, other: &Filter) -> bool {
        let below =
            |a: &Filter, b: &Filter| matches!((a.size_max, b.size_min), (Some(most), Some(least)) if most < least);
        let differs = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
            a.iter()
                .any(|(name, value)| b.get(name).is_some_and(|other| other != value && other != ANY && value != ANY))
        };
        let types = match (&self.content_type, &other.content_type) {
            (Some(a), Some(b)) => !covers(a, Some(b)) && !covers(b, Some(a)),
            _ => false,
        };
        types
            || below(self, other)
            || below(other, self)
            || differs(&self.tags, &other.tags)
            || differs(&self.metadata, &other.metadata)
    }

    /// Takes one `FilterRule`; `false` where the name is none of ours.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, NotificationError> {
        let (kind, key) = match name.split_once(':') {
            Some((kind, key)) => (kind.to_ascii_lowercase(), key),
            None => (name.to_ascii_lowercase(), ""),
        };
        let bytes = |slot: &mut Option<u64>| {
            let bytes = value.trim().parse().map_err(|_| invalid(name, value, "is no number of bytes"))?;
            if slot.replace(bytes).is_some() { Err(repeated(name)) } else { Ok(true) }
        };
        match (kind.as_str(), key) {
            ("size-min", "") => bytes(&mut self.size_min),
            ("size-max", "") => bytes(&mut self.size_max),
            ("content-type", "") => {
                let wanted = essence(value);
                let (family, kind) = wanted.split_once('/').unwrap_or_default();
                if family.is_empty() || kind.is_empty() || family.contains('*') || (kind != ANY && kind.contains('*')) {
                    return Err(invalid(name, value, "is neither TYPE/SUBTYPE nor TYPE/*"));
                }
                if self.content_type.replace(wanted).is_some() { Err(repeated(name)) } else { Ok(true) }
            }
            ("tag", key) if !key.is_empty() => insert(&mut self.tags, name, key.to_owned(), value),
            ("metadata", key) if !key.is_empty() => insert(&mut self.metadata, name, key.to_ascii_lowercase(), value),
            _ => Ok(false),
        }
    }

    /// Checks the parts against each other.
    pub fn check(&self) -> Result<(), NotificationError> {
        match (self.size_min, self.size_max) {
            (Some(least), Some(most)) if least > most => {
                Err(invalid("size-min", &least.to_string(), "is above size-max: no object matches"))
            }
            _ => Ok(()),
        }
    }

    /// As `FilterRule`s: what `set` reads back.
    pub fn entries(&self) -> Vec<(String, String)> {
        let bytes = |name: &str, value: Option<u64>| value.map(|value| (name.to_owned(), value.to_string()));
        let mut entries: Vec<_> =
            [bytes("size-min", self.size_min), bytes("size-max", self.size_max)].into_iter().flatten().collect();
        entries.extend(self.content_type.iter().map(|kind| ("content-type".to_owned(), kind.clone())));
        entries.extend(self.tags.iter().map(|(key, value)| (format!("tag:{key}"), value.clone())));
        entries.extend(self.metadata.iter().map(|(key, value)| (format!("metadata:{key}"), value.clone())));
        entries
    }
}

/// A value that any other satisfies.
const ANY: &str = "*";

fn insert(
    into: &mut BTreeMap<String, String>,
    name: &str,
    key: String,
    value: &str,
) -> Result<bool, NotificationError> {
    if into.len() >= limits::OBJECT_TAGS_MAX {
        return Err(invalid(name, value, "is one more than the tags that an object can have"));
    }
    if into.insert(key, value.to_owned()).is_some() { Err(repeated(name)) } else { Ok(true) }
}

fn repeated(name: &str) -> NotificationError {
    NotificationError::FilterRepeated(name.to_owned())
}

fn invalid(name: &str, value: &str, reason: &'static str) -> NotificationError {
    NotificationError::FilterValue { name: name.to_owned(), value: value.to_owned(), reason }
}

/// A content type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn covers(wanted: &str, content_type: Option<&str>) -> bool {
    let Some(there) = content_type.map(essence) else { return false };
    match wanted.strip_suffix(ANY) {
        Some(family) => there.starts_with(family),
        None => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and values of filter rules.
    type Rules = &'static [(&'static str, &'static str)];

    fn filter(rules: &[(&str, &str)]) -> Filter {
        let mut filter = Filter::default();
        for (name, value) in rules {
            assert_eq!(filter.set(name, value), Ok(true), "{name}");
        }
        filter
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_part_must_hold() {
        let (tags, metadata) = (map(&[("kind", "thermal")]), map(&[("camera", "2")]));
        let object =
            ObjectFacts { size: 1000, content_type: Some("Image/JPEG; q=1"), tags: &tags, metadata: &metadata };
        let cases: [(Rules, bool); 14] = [
            (&[], true),
            (&[("size-min", "1000"), ("size-max", "1000")], true),
            (&[("size-min", "1001")], false),
            (&[("Size-Max", "999")], false),
            (&[("content-type", "image/*")], true),
            (&[("content-type", "image/jpeg")], true),
            (&[("content-type", "image/jp")], false),
            (&[("content-type", "video/*")], false),
            (&[("tag:kind", "thermal")], true),
            (&[("tag:kind", "*"), ("metadata:Camera", "2")], true),
            (&[("tag:kind", "visible")], false),
            (&[("tag:other", "*")], false),
            (&[("metadata:camera", "3")], false),
            (&[("content-type", "image/*"), ("size-min", "5000")], false),
        ];
        for (rules, expected) in cases {
            let wanted = filter(rules);
            assert_eq!(wanted.holds(&object), expected, "{rules:?}");
            let entries = wanted.entries();
            let again: Vec<_> = entries.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(filter(&again), wanted);
        }
        assert!(!filter(&[("content-type", "image/*")]).holds(&ObjectFacts { content_type: None, ..object }));
    }

    #[test]
    fn filters_exclude_each_other_where_no_object_fits_both() {
        let cases: [(Rules, Rules, bool); 8] = [
            (&[], &[("size-min", "5")], false),
            (&[("size-max", "4")], &[("size-min", "5")], true),
            (&[("size-max", "5")], &[("size-min", "5")], false),
            (&[("content-type", "image/*")], &[("content-type", "audio/*")], true),
            (&[("content-type", "image/*")], &[("content-type", "image/png")], false),
            (&[("tag:a", "1")], &[("tag:a", "2")], true),
            (&[("tag:a", "1")], &[("tag:a", "*")], false),
            (&[("tag:a", "1")], &[("tag:b", "2")], false),
        ];
        for (one, other, expected) in cases {
            let (one, other) = (filter(one), filter(other));
            assert_eq!((one.excludes(&other), other.excludes(&one)), (expected, expected), "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (name, value, part) in [
            ("size-min", "1k", "no number of bytes"),
            ("content-type", "image", "TYPE/*"),
            ("content-type", "*/*", "TYPE/*"),
            ("content-type", "image/p*", "TYPE/*"),
        ] {
            let error = Filter::default().set(name, value).unwrap_err();
            assert!(error.to_string().contains(part) && error.code() == "InvalidArgument", "{error}");
        }
        assert!(filter(&[("tag:a", "1")]).set("tag:a", "2").is_err());
        assert!(filter(&[("size-min", "2"), ("size-max", "1")]).check().is_err());
        for name in ["infix", "tag:", "tag", "size-min:x"] {
            assert_eq!(Filter::default().set(name, "1"), Ok(false), "{name}");
        }
    }
}
