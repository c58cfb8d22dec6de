//! Changes against rules: what each change asks of hooks and of plain topics. The rules are those that were in force when
//! the change was written.
//!
//! A change that hook H made, or led to, never starts H again; other hooks may see it. Runs on the outbox thread.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::OutboxSettings;
use crate::hook::may_start;
use crate::meta::{
    BucketConfig, BucketId, Change, MetaError, NewInvocation, NewPublication, OutboxUpdate, Reader, Sequence, Version,
    VersionRef,
};
use crate::mqtt::{TopicFields, expand};
use crate::notification::{Configuration, EventName, ObjectFacts, Rule, Target, records_json, test_event_json};

/// Matches changes; keeps each bucket's parsed configuration as long as its document stays the same.
#[derive(Debug)]
pub struct Dispatch {
    settings: Arc<OutboxSettings>,
    parsed: HashMap<BucketId, Parsed>,
}

#[derive(Debug)]
struct Parsed {
    document: String,
    configuration: Arc<Configuration>,
    region: String,
}

/// Parsed configurations that are kept; more are parsed again when their turn comes.
const PARSED_MAX: usize = 1024;

impl Dispatch {
    pub fn new(settings: Arc<OutboxSettings>) -> Dispatch {
        Dispatch { settings, parsed: HashMap::new() }
    }

    /// Adds to `update` what the changes ask for, and that they are consumed.
    pub fn apply(
        &mut self,
        reader: &Reader,
        changes: Vec<Change>,
        now_ms: i64,
        update: &mut OutboxUpdate,
    ) -> Result<(), MetaError> {
        // One look at each bucket's document for a batch is enough: rules that change meanwhile are kept as earlier ones.
        let mut rules: HashMap<BucketId, BucketRules> = HashMap::new();
        for change in changes {
            update.consumed.push(change.sequence);
            let found = match rules.entry(change.bucket) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.rules(reader, &change)?),
            };
            let Some((configuration, region)) = found.of(change.sequence) else { continue };
            if change.event == EventName::TestEvent {
                self.greet(configuration, &change, now_ms, update);
                continue;
            }
            let matching: Vec<&Rule> = configuration.matches(change.event, &change.key).collect();
            let object = match matching.iter().any(|rule| !rule.filter.is_empty()) {
                true => object(reader, &change)?,
                false => None,
            };
            let facts = object.as_ref().map(|version| ObjectFacts {
                size: version.size,
                content_type: version.attributes.content_type.as_deref(),
                tags: &version.attributes.tags,
                metadata: &version.attributes.user_metadata,
            });
            for rule in matching.into_iter().filter(|rule| rule.wants(facts.as_ref())) {
                self.add(rule, &change, region, now_ms, update);
            }
        }
        Ok(())
    }

    fn add(&self, rule: &Rule, change: &Change, region: &str, now_ms: i64, update: &mut OutboxUpdate) {
        let event_id = format!("{:016x}-{}", change.sequence.0, rule.id);
        match &rule.target {
            Target::Hook(hook) if !may_start(&change.requester.principal, hook) => {}
            Target::Hook(hook) => update.invocations.push(NewInvocation {
                event_id,
                rule: rule.id.clone(),
                hook: hook.clone(),
                change: change.clone(),
                expires_ms: self.settings.route_of_hook(hook, &rule.id).expires_ms(now_ms),
            }),
            Target::Topic(topic) => {
                let payload = record_json(change, &rule.id, region, &self.settings.device);
                let place = (change.bucket_name.as_str(), change.key.as_str());
                update.publications.extend(self.publication(event_id, rule, topic, place, payload, now_ms));
            }
        }
    }

    /// S3's test event for each topic of a configuration that was just put. Hooks get none, as functions get none.
    fn greet(&self, configuration: &Configuration, change: &Change, now_ms: i64, update: &mut OutboxUpdate) {
        let mut greeted: Vec<&str> = Vec::new();
        for rule in &configuration.rules {
            let Target::Topic(topic) = &rule.target else { continue };
            if greeted.contains(&topic.as_str()) {
                continue;
            }
            greeted.push(topic);
            let event_id = format!("{:016x}-{}", change.sequence.0, rule.id);
            let (bucket, request) = (&change.bucket_name, &change.requester.request_id);
            let payload = test_event_json(change.time_ms, bucket, request, &self.settings.device);
            // It is of no key, and a topic made of keys must not be empty.
            let place = (bucket.as_str(), EventName::TestEvent.as_str());
            update.publications.extend(self.publication(event_id, rule, topic, place, payload, now_ms));
        }
    }

    /// The message of a plain topic; none where a key makes the topic too long (the rule was checked when it was set).
    fn publication(
        &self,
        event_id: String,
        rule: &Rule,
        topic: &str,
        (bucket, key): (&str, &str),
        payload: String,
        now_ms: i64,
    ) -> Option<NewPublication> {
        let fields = TopicFields { device: &self.settings.device, bucket, key, hook: "" };
        let route = self.settings.route_of_topic(topic, &rule.id);
        match expand(topic, fields) {
            Ok(topic) => Some(NewPublication {
                event_id,
                topic,
                payload: payload.into_bytes(),
                qos: route.qos,
                retain: route.retain,
                priority: route.priority,
                expires_ms: route.expires_ms(now_ms),
                properties: Vec::new(),
            }),
            Err(error) => {
                tracing::error!(event_id, %error, "an event has no topic and is not published");
                None
            }
        }
    }

    /// The rules of a change's bucket, those that have gone since among them.
    fn rules(&mut self, reader: &Reader, change: &Change) -> Result<BucketRules, MetaError> {
        let mut earlier = Vec::new();
        for rules in reader.earlier_rules(change.bucket)? {
            let configuration = parse(&rules.document, &change.bucket_name);
            earlier.push((rules.until, configuration.map(|configuration| (configuration, rules.region))));
        }
        // Read after the earlier ones: what is not among them yet is still the present one.
        let present = self.present(reader, change)?;
        Ok(BucketRules { earlier, present })
    }

    fn present(&mut self, reader: &Reader, change: &Change) -> Result<Option<Rules>, MetaError> {
        let Some(document) = reader.bucket_config(change.bucket, BucketConfig::Notification)? else {
            self.parsed.remove(&change.bucket);
            return Ok(None);
        };
        if let Some(parsed) = self.parsed.get(&change.bucket)
            && parsed.document == document
        {
            return Ok(Some((Arc::clone(&parsed.configuration), parsed.region.clone())));
        }
        let Some(configuration) = parse(&document, &change.bucket_name) else { return Ok(None) };
        let region = region(reader, &change.bucket_name)?;
        if self.parsed.len() >= PARSED_MAX {
            self.parsed.clear();
        }
        let parsed = Parsed { document, configuration: Arc::clone(&configuration), region: region.clone() };
        self.parsed.insert(change.bucket, parsed);
        Ok(Some((configuration, region)))
    }
}

/// Rules and the region of their bucket.
type Rules = (Arc<Configuration>, String);

/// What counts for the changes of a bucket.
struct BucketRules {
    /// Up to which change, and what counted until then; oldest first.
    earlier: Vec<(Sequence, Option<Rules>)>,
    present: Option<Rules>,
}

impl BucketRules {
    fn of(&self, change: Sequence) -> Option<&Rules> {
        let earlier = self.earlier.iter().find(|(until, _)| change <= *until);
        earlier.map_or(self.present.as_ref(), |(_, rules)| rules.as_ref())
    }
}

fn parse(document: &str, bucket: &str) -> Option<Arc<Configuration>> {
    match Configuration::parse(document.as_bytes()) {
        Ok(configuration) => Some(Arc::new(configuration)),
        Err(error) => {
            // It was checked when it was set, so another version of the program wrote it.
            tracing::error!(bucket, %error, "the notification configuration cannot be read; set it again");
            None
        }
    }
}

/// The version that a change speaks of, also when it was overwritten or deleted since; `None` after a removal.
fn object(reader: &Reader, change: &Change) -> Result<Option<Version>, MetaError> {
    let Some(version) = change.version else { return Ok(None) };
    match reader.version(change.bucket, &change.key, VersionRef::Numbered(version)) {
        Ok(version) => Ok(Some(version)),
        Err(MetaError::NoSuchVersion) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The region of a bucket; empty for one that is gone.
pub fn region(reader: &Reader, bucket: &str) -> Result<String, MetaError> {
    match reader.bucket(bucket) {
        Ok(bucket) => Ok(bucket.region),
        Err(MetaError::NoSuchBucket) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The event record of a change, as S3 writes it.
pub fn record_json(change: &Change, rule: &str, region: &str, device: &str) -> String {
    records_json(&[change.event_record(rule, region, device)])
}
