//! Settings of the outbox: plain data, checked by `check`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::OutboxError;
use crate::mqtt::{TopicError, TopicFields, check_template, check_topic, clean, expand};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxSettings {
    /// Name of this appliance, `{device}` in topics and the host id of event records.
    pub device: String,
    /// Threads that run hooks. More of them than spare cores make uploads slower.
    pub hook_threads: usize,
    /// Unfinished invocations that are kept in order in memory (some 100 bytes each); the others wait in their table.
    pub invocations_indexed_max: usize,
    /// Failed attempts after which an invocation is dead.
    pub attempts_max: u32,
    /// Milliseconds before the second attempt; doubled each time up to the maximum, with jitter.
    pub retry_ms_min: u64,
    pub retry_ms_max: u64,
    /// Bytes of topics and payloads that wait for the broker. Beyond it the expired go, then the oldest of the lowest
    /// priority; they are counted. Uploads never fail because of it.
    pub publication_bytes_max: u64,
    /// Bytes of overwritten or deleted versions that are kept for invocations that were given up. Beyond it the oldest
    /// ones are let go; what still waits for its hook is never let go.
    pub held_bytes_max: u64,
    /// How results are published where `hooks` says nothing else.
    pub results: Route,
    /// By hook.
    pub hooks: BTreeMap<String, RouteChange>,
    /// How event records to plain topics are published where `topics` says nothing else (its `topic` is not used).
    pub events: Route,
    /// By topic, as the rule writes it.
    pub topics: BTreeMap<String, RouteChange>,
    /// By id of the bucket's rule; wins over `hooks` and `topics`.
    pub rules: BTreeMap<String, RouteChange>,
}

/// How something is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Topic of a result that names none: a template with `{device}`, `{bucket}`, `{key}` and `{hook}`.
    pub topic: String,
    /// Template of what goes before a topic that a result names.
    pub prefix: String,
    /// 0, 1 or 2. At 0 a message may be lost on the way to the broker.
    pub qos: u8,
    pub retain: bool,
    /// Of two messages the one with the higher priority is kept longer when the outbox overflows.
    pub priority: u8,
    /// Seconds after which an unsent message, or an invocation that has not ended, is worthless; 0: never.
    pub ttl_s: u64,
}

/// What one hook or topic does differently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteChange {
    pub topic: Option<String>,
    pub prefix: Option<String>,
    pub qos: Option<u8>,
    pub retain: Option<bool>,
    pub priority: Option<u8>,
    pub ttl_s: Option<u64>,
}

impl Default for OutboxSettings {
    fn default() -> OutboxSettings {
        OutboxSettings {
            device: "aerie".to_owned(),
            hook_threads: 2,
            invocations_indexed_max: 65_536,
            attempts_max: 8,
            retry_ms_min: 500,
            retry_ms_max: 300_000,
            publication_bytes_max: 64 << 20,
            held_bytes_max: 4 << 30,
            results: Route::default(),
            hooks: BTreeMap::new(),
            events: Route::default(),
            topics: BTreeMap::new(),
            rules: BTreeMap::new(),
        }
    }
}

impl Default for Route {
    fn default() -> Route {
        Route {
            topic: "aerie/hooks/{hook}/{bucket}/{key}".to_owned(),
            prefix: "aerie/hooks/{hook}".to_owned(),
            qos: 1,
            retain: false,
            priority: 0,
            ttl_s: 0,
        }
    }
}

impl Route {
    fn changed(&self, change: Option<&RouteChange>) -> Route {
        let Some(change) = change else { return self.clone() };
        Route {
            topic: change.topic.clone().unwrap_or_else(|| self.topic.clone()),
            prefix: change.prefix.clone().unwrap_or_else(|| self.prefix.clone()),
            qos: change.qos.unwrap_or(self.qos),
            retain: change.retain.unwrap_or(self.retain),
            priority: change.priority.unwrap_or(self.priority),
            ttl_s: change.ttl_s.unwrap_or(self.ttl_s),
        }
    }

    /// Topic of a result; one that it names itself lies below the prefix.
    pub fn topic_for(&self, named: Option<&str>, fields: TopicFields<'_>) -> Result<String, TopicError> {
        let Some(named) = named else { return expand(&self.topic, fields) };
        let topic = format!("{}/{}", expand(&self.prefix, fields)?, clean(named.trim_matches('/')));
        check_topic(&topic)?;
        Ok(topic)
    }

    pub(super) fn expires_ms(&self, now_ms: i64) -> Option<i64> {
        let ttl_ms = i64::try_from(self.ttl_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        (ttl_ms > 0).then(|| now_ms.saturating_add(ttl_ms))
    }
}

impl OutboxSettings {
    /// Of the results of a hook that a rule started; a replay has no rule.
    pub(super) fn route_of_hook(&self, hook: &str, rule: &str) -> Route {
        self.results.changed(self.hooks.get(hook)).changed(self.rules.get(rule))
    }

    pub(super) fn route_of_topic(&self, topic: &str, rule: &str) -> Route {
        self.events.changed(self.topics.get(topic)).changed(self.rules.get(rule))
    }

    /// Finds what could not work, before anything is started.
    pub fn check(&self) -> Result<(), OutboxError> {
        let refuse =
            |key: &str, reason: &str| Err(OutboxError::Setting { key: key.to_owned(), reason: reason.to_owned() });
        if self.device.is_empty() || self.device.contains(['+', '#', '/', '\0']) {
            return refuse("device", "is empty, or has a character that divides or matches topics");
        }
        if !(1..=256).contains(&self.hook_threads) {
            return refuse("hook_threads", "is not from 1 to 256");
        }
        if self.invocations_indexed_max < self.hook_threads {
            return refuse("invocations_indexed_max", "is below hook_threads");
        }
        if self.attempts_max == 0 {
            return refuse("attempts_max", "is 0; 1 attempts each invocation once");
        }
        if self.retry_ms_min == 0 || self.retry_ms_min > self.retry_ms_max {
            return refuse("retry_ms_min", "is at least 1 and at most retry_ms_max");
        }
        if self.publication_bytes_max < 64 << 10 {
            return refuse("publication_bytes_max", "is below 64 KiB");
        }
        let changed_hooks = self.hooks.keys().map(|hook| (format!("hooks.{hook}"), self.route_of_hook(hook, "")));
        let changed_topics =
            self.topics.keys().map(|topic| (format!("topics.{topic}"), self.route_of_topic(topic, "")));
        let changed_rules = self.rules.iter().flat_map(|(rule, change)| {
            [&self.results, &self.events].map(|route| (format!("rules.{rule}"), route.changed(Some(change))))
        });
        let plain = [("results".to_owned(), self.results.clone()), ("events".to_owned(), self.events.clone())];
        for (key, route) in plain.into_iter().chain(changed_hooks).chain(changed_topics).chain(changed_rules) {
            if route.qos > 2 {
                return refuse(&format!("{key}.qos"), "is above 2");
            }
            let wrong =
                |error: TopicError| OutboxError::Setting { key: format!("{key}.topic"), reason: error.to_string() };
            check_template(&route.topic).and_then(|()| check_template(&route.prefix)).map_err(wrong)?;
        }
        Ok(())
    }
}
