//! Lifecycle rules: what they say of a version, and when.
//!
//! A leaf: pure, without a clock and without storage. `document` reads S3's XML, `written` writes it; who keeps the rules and who
//! carries them out is the matter of other layers. Transitions do not exist: every object is stored alike.

mod document;
mod written;

pub use document::LifecycleError;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The rules of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    pub rules: Vec<Rule>,
    /// `x-amz-transition-default-minimum-object-size`, which means nothing here and is given back as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_size: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub id: String,
    pub enabled: bool,
    pub scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Expiration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent: Option<Noncurrent>,
    /// Days after which an upload that was not completed is aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_days: Option<u32>,
}

/// What a rule is for, in the form in which the client said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `<Prefix>` of the rule itself, S3's older form.
    Prefix(String),
    Filter(Filter),
}

/// All that is named must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_greater: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_less: Option<u64>,
    /// It stood in an `<And>`.
    pub and: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expiration {
    Days(u32),
    /// Milliseconds since the Unix epoch.
    Date(i64),
    /// Delete markers that hide nothing go, if it is true.
    Marker(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noncurrent {
    pub days: u32,
    /// So many of the newest noncurrent versions stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<u32>,
}

/// How long a day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// As S3 counts: whole days, up to the next midnight (UTC).
    Real,
    /// So many milliseconds, to the millisecond: for tests.
    Short(i64),
}

const DAY_MS: i64 = 24 * 3600 * 1000;

impl Day {
    /// When so many days have passed since then.
    pub fn after(self, since_ms: i64, days: u32) -> i64 {
        match self {
            Day::Short(day_ms) => since_ms.saturating_add(i64::from(days).saturating_mul(day_ms)),
            Day::Real => {
                let passed = since_ms.saturating_add(i64::from(days).saturating_mul(DAY_MS));
                let into_day = passed.rem_euclid(DAY_MS);
                if into_day == 0 { passed } else { passed.saturating_add(DAY_MS - into_day) }
            }
        }
    }
}

/// Where a version stands among those of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The newest, and the only one.
    Only,
    Newest,
    Noncurrent {
        /// When the next newer version came.
        since_ms: i64,
        /// Noncurrent versions of the key that are newer.
        newer: u32,
    },
}

/// A version that rules are held against.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub key: &'a str,
    pub size: u64,
    pub tags: &'a BTreeMap<String, String>,
    pub modified_ms: i64,
    /// It is a delete marker.
    pub marker: bool,
    pub place: Place,
}

impl Scope {
    pub fn prefix(&self) -> &str {
        match self {
            Scope::Prefix(prefix) => prefix,
            Scope::Filter(filter) => filter.prefix.as_deref().unwrap_or_default(),
        }
    }

    /// Beyond the prefix: tags and sizes. A delete marker has neither.
    fn selects(&self, subject: &Subject<'_>) -> bool {
        if !subject.key.starts_with(self.prefix()) {
            return false;
        }
        let Scope::Filter(filter) = self else { return true };
        let bare = filter.tags.is_empty() && filter.size_greater.is_none() && filter.size_less.is_none();
        if subject.marker {
            return bare;
        }
        filter.tags.iter().all(|(key, value)| subject.tags.get(key) == Some(value))
            && filter.size_greater.is_none_or(|bound| subject.size > bound)
            && filter.size_less.is_none_or(|bound| subject.size < bound)
    }
}

impl Rule {
    /// When this rule wants the version gone; `None`: never, as it stands.
    fn due_ms(&self, subject: &Subject<'_>, day: Day) -> Option<i64> {
        if !self.enabled || !self.scope.selects(subject) {
            return None;
        }
        match (subject.place, subject.marker) {
            (Place::Noncurrent { since_ms, newer }, _) => {
                let noncurrent = self.noncurrent?;
                (newer >= noncurrent.newer.unwrap_or(0)).then(|| day.after(since_ms, noncurrent.days))
            }
            // A marker that hides something does its work.
            (Place::Newest, true) => None,
            (Place::Only, true) => match self.expiration? {
                Expiration::Marker(true) => Some(subject.modified_ms),
                Expiration::Marker(false) => None,
                Expiration::Days(days) => Some(day.after(subject.modified_ms, days)),
                Expiration::Date(date_ms) => Some(date_ms),
            },
            (Place::Only | Place::Newest, false) => match self.expiration? {
                Expiration::Days(days) => Some(day.after(subject.modified_ms, days)),
                Expiration::Date(date_ms) => Some(date_ms),
                Expiration::Marker(_) => None,
            },
        }
    }
}

impl Configuration {
    /// When the version is to go, and the rule that says so; the earliest where several do.
    pub fn due(&self, subject: &Subject<'_>, day: Day) -> Option<(i64, &Rule)> {
        let due = self.rules.iter().filter_map(|rule| Some((rule.due_ms(subject, day)?, rule)));
        due.min_by_key(|(due_ms, _)| *due_ms)
    }

    /// When an upload that began then is to be aborted, and the rule that says so.
    pub fn abort_due(&self, key: &str, initiated_ms: i64, day: Day) -> Option<(i64, &Rule)> {
        let rules = self.rules.iter().filter(|rule| rule.enabled && key.starts_with(rule.scope.prefix()));
        let due = rules.filter_map(|rule| Some((day.after(initiated_ms, rule.abort_days?), rule)));
        due.min_by_key(|(due_ms, _)| *due_ms)
    }

    /// What the keys that the rules speak of have in common.
    pub fn common_prefix(&self) -> &str {
        let mut prefixes = self.rules.iter().filter(|rule| rule.enabled).map(|rule| rule.scope.prefix());
        let Some(mut common) = prefixes.next() else { return "" };
        for prefix in prefixes {
            let same = common.char_indices().zip(prefix.chars()).find(|((_, a), b)| a != b);
            let length = same.map_or(common.len().min(prefix.len()), |((at, _), _)| at);
            common = &common[..length];
        }
        common
    }

    /// Whether any rule speaks of versions, and whether any speaks of uploads.
    pub fn speaks_of(&self) -> (bool, bool) {
        let enabled = || self.rules.iter().filter(|rule| rule.enabled);
        let versions = enabled().any(|rule| rule.expiration.is_some() || rule.noncurrent.is_some());
        (versions, enabled().any(|rule| rule.abort_days.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn rule(filter: Filter) -> Rule {
        Rule {
            id: "r".to_owned(),
            enabled: true,
            scope: Scope::Filter(filter),
            expiration: Some(Expiration::Days(2)),
            noncurrent: Some(Noncurrent { days: 1, newer: Some(2) }),
            abort_days: Some(3),
        }
    }

    fn configuration(rules: Vec<Rule>) -> Configuration {
        Configuration { rules, minimum_size: None }
    }

    fn subject<'a>(tags: &'a BTreeMap<String, String>, place: Place) -> Subject<'a> {
        Subject { key: "a/b", size: 100, tags, modified_ms: 10 * HOUR, marker: false, place }
    }

    #[test]
    fn days_end_at_the_next_midnight() {
        assert_eq!(Day::Real.after(10 * HOUR, 1), 48 * HOUR);
        assert_eq!(Day::Real.after(0, 1), 24 * HOUR, "midnight itself is not moved");
        assert_eq!(Day::Short(1_000).after(10 * HOUR, 3), 10 * HOUR + 3_000);
        assert_eq!(Day::Real.after(i64::MAX - 1, u32::MAX), i64::MAX);
    }

    #[test]
    fn filters_select() {
        let tags = BTreeMap::from([("k".to_owned(), "v".to_owned()), ("l".to_owned(), "w".to_owned())]);
        let tag = |value: &str| vec![("k".to_owned(), value.to_owned())];
        for (filter, selects) in [
            (Filter::default(), true),
            (Filter { prefix: Some("a/".to_owned()), ..Filter::default() }, true),
            (Filter { prefix: Some("b/".to_owned()), ..Filter::default() }, false),
            (Filter { tags: tag("v"), ..Filter::default() }, true),
            (Filter { tags: tag("w"), ..Filter::default() }, false),
            (Filter { size_greater: Some(99), ..Filter::default() }, true),
            (Filter { size_greater: Some(100), ..Filter::default() }, false),
            (Filter { size_less: Some(101), ..Filter::default() }, true),
            (Filter { size_less: Some(100), ..Filter::default() }, false),
            (Filter { tags: tag("v"), size_less: Some(100), and: true, ..Filter::default() }, false),
        ] {
            let configuration = configuration(vec![rule(filter.clone())]);
            let due = configuration.due(&subject(&tags, Place::Only), Day::Short(HOUR)).map(|(due_ms, _)| due_ms);
            assert_eq!(due, selects.then_some(12 * HOUR), "{filter:?}");
        }
    }

    #[test]
    fn each_place_has_its_own_rule() {
        let tags = BTreeMap::new();
        let with = |expiration| configuration(vec![Rule { expiration, ..rule(Filter::default()) }]);
        let days = Some(Expiration::Days(2));
        let noncurrent = |newer| Place::Noncurrent { since_ms: 20 * HOUR, newer };
        for (expiration, marker, place, due) in [
            (days, false, Place::Only, Some(12 * HOUR)),
            (days, false, Place::Newest, Some(12 * HOUR)),
            (Some(Expiration::Date(5)), false, Place::Newest, Some(5)),
            (Some(Expiration::Marker(true)), false, Place::Only, None),
            (None, false, Place::Only, None),
            (days, true, Place::Newest, None),
            (days, true, Place::Only, Some(12 * HOUR)),
            (Some(Expiration::Marker(true)), true, Place::Only, Some(10 * HOUR)),
            (Some(Expiration::Marker(true)), true, Place::Newest, None),
            (Some(Expiration::Marker(false)), true, Place::Only, None),
            (days, false, noncurrent(0), None),
            (days, false, noncurrent(1), None),
            (days, false, noncurrent(2), Some(21 * HOUR)),
            (days, true, noncurrent(2), Some(21 * HOUR)),
        ] {
            let subject = Subject { marker, ..subject(&tags, place) };
            let found = with(expiration).due(&subject, Day::Short(HOUR)).map(|(due_ms, _)| due_ms);
            assert_eq!(found, due, "{expiration:?} {marker} {place:?}");
        }
    }

    #[test]
    fn a_marker_has_no_tags_and_no_size() {
        let tags = BTreeMap::new();
        let marker = Subject { marker: true, ..subject(&tags, Place::Only) };
        let sized = configuration(vec![rule(Filter { size_less: Some(1_000), ..Filter::default() })]);
        assert_eq!(sized.due(&marker, Day::Real), None);
    }

    #[test]
    fn the_earliest_rule_counts_and_disabled_ones_do_not() {
        let tags = BTreeMap::new();
        let mut rules = vec![rule(Filter::default()), rule(Filter::default()), rule(Filter::default())];
        rules[0].expiration = Some(Expiration::Days(9));
        rules[1].id = "sooner".to_owned();
        rules[2].expiration = Some(Expiration::Days(1));
        rules[2].enabled = false;
        let configuration = configuration(rules);
        let (due_ms, rule) = configuration.due(&subject(&tags, Place::Only), Day::Short(HOUR)).unwrap();
        assert_eq!((due_ms, rule.id.as_str()), (12 * HOUR, "sooner"));
        let (due_ms, _) = configuration.abort_due("a", 0, Day::Short(HOUR)).unwrap();
        assert_eq!(due_ms, 3 * HOUR);
    }

    #[test]
    fn the_common_prefix_is_what_a_walk_needs() {
        let of = |prefixes: &[&str]| {
            let rules = prefixes
                .iter()
                .map(|prefix| Rule { scope: Scope::Prefix((*prefix).to_owned()), ..rule(Filter::default()) });
            configuration(rules.collect()).common_prefix().to_owned()
        };
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["logs/a"]), "logs/a");
        assert_eq!(of(&["logs/a", "logs/bc"]), "logs/");
        assert_eq!(of(&["logs/a", "logs/"]), "logs/");
        assert_eq!(of(&["ä1", "ä2"]), "ä");
        assert_eq!(of(&["ä", "ö"]), "");
    }
}
