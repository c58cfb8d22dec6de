//! From changes through hooks to messages: what runs, in which order, under which topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::appliance::{Appliance, Runner, answer, refusal};
use crate::hook::{HookFault, HookResult, Outcome};
use crate::mqtt::tests::{Subscriber, until};
use crate::mqtt::{Broker, BrokerSettings, PublisherSettings};
use crate::notification::Target;
use crate::outbox::{OutboxSettings, ReplayRequest, RouteChange};
use crate::seam::real::world;

pub fn broker() -> (Broker, PublisherSettings) {
    let settings = BrokerSettings { address: "127.0.0.1:0".parse().unwrap(), ..BrokerSettings::default() };
    let broker = Broker::start(&settings, &world()).unwrap();
    let mut publisher = PublisherSettings::default();
    broker.lead(&mut publisher);
    (broker, publisher)
}

#[test]
fn an_upload_becomes_a_message_under_the_hooks_topic() {
    let appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let outbox = appliance.outbox(&Runner::echo(), OutboxSettings::default(), Some(publisher));
    appliance.put("in/a+b.jpg", 7);
    let received = &subscriber.take(1)[0];
    assert_eq!(received.topic, "aerie/hooks/look/pictures/in/a_b.jpg");
    assert_eq!(received.payload, b"7");
    assert!(received.event_id.as_ref().unwrap().ends_with("-look-rule"));
    until("all is done", || appliance.is_idle());
    let metrics = outbox.metrics().unwrap();
    assert_eq!((metrics.invocations_done, metrics.attempts_failed, metrics.oldest_ms), (1, 0, None));
    assert_eq!(metrics.publisher.unwrap().published, 1);
    assert_eq!(metrics.invocation_latency.count(), 1);
    outbox.stop();
}

#[test]
fn results_go_where_hook_and_settings_say() {
    let appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let runner = Runner::new(|_| {
        let result = |topic: Option<&str>, payload: &str| HookResult {
            topic: topic.map(str::to_owned),
            payload: payload.as_bytes().to_vec(),
        };
        let long = "x".repeat(70_000);
        let results = vec![result(None, "default"), result(Some("/al#rm/"), "below"), result(Some(&long), "too long")];
        Ok(Outcome { results, ..Outcome::default() })
    });
    let change = RouteChange {
        topic: Some("{device}/{bucket}/{hook}".to_owned()),
        prefix: Some("by/{device}".to_owned()),
        retain: Some(true),
        ..RouteChange::default()
    };
    let settings = OutboxSettings {
        device: "drone-1".to_owned(),
        hooks: BTreeMap::from([("look".to_owned(), change)]),
        ..OutboxSettings::default()
    };
    let outbox = appliance.outbox(&runner, settings, Some(publisher));
    appliance.put("a", 1);
    let received = subscriber.take(3);
    let topics: Vec<_> = received.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["drone-1/pictures/look", "by/drone-1/al_rm", "drone-1/pictures/look"]);
    let ids: std::collections::HashSet<_> = received.iter().map(|message| message.event_id.clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(Subscriber::connect(broker.address(), "by/#").take(1)[0].retain);
    outbox.stop();
}

#[test]
fn what_a_hook_keeps_is_stored_with_its_results() {
    let appliance = Appliance::new();
    let runner = Runner::new(|invocation| {
        let value = (invocation.change.key != "clear").then(|| invocation.change.key.clone().into_bytes());
        Ok(Outcome { state_writes: BTreeMap::from([("last".to_owned(), value)]), ..Outcome::default() })
    });
    let outbox = appliance.outbox(&runner, OutboxSettings::default(), None);
    let kept = || appliance.meta.reader().unwrap().property("hook-state/look/last").unwrap();
    appliance.put("a", 1);
    until("it is stored", || kept().as_deref() == Some("YQ=="));
    let names = |prefix| appliance.meta.reader().unwrap().property_names(prefix, 10).unwrap();
    assert_eq!(names("hook-state/look/"), ["hook-state/look/last"]);
    assert_eq!(names("hook-state/look/z"), Vec::<String>::new());
    appliance.put("clear", 2);
    until("it is removed", || kept().is_none());
    outbox.stop();
}

#[test]
fn plain_topics_get_the_event_record() {
    let appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let outbox = appliance.outbox(&Runner::echo(), OutboxSettings::default(), Some(publisher));
    let topic = Target::Topic("site/{bucket}/{key}".to_owned());
    appliance.set_rules(&[("plain", topic, "in/")]);
    appliance.put("out/b", 1);
    appliance.put("in/a", 4711);
    let received = &subscriber.take(1)[0];
    assert_eq!(received.topic, "site/pictures/in/a");
    let record: serde_json::Value = serde_json::from_slice(&received.payload).unwrap();
    let record = &record["Records"][0];
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["awsRegion"], "eu-edge-1");
    assert_eq!(record["s3"]["configurationId"], "plain");
    assert_eq!(record["s3"]["object"]["eTag"], "4711");
    assert_eq!(record["userIdentity"]["principalId"], "somebody");
    // New rules count from the next change on.
    appliance.set_rules(&[("other", Target::Topic("other".to_owned()), "")]);
    appliance.put("in/a", 5);
    assert_eq!(subscriber.take(1)[0].topic, "other");
    until("all is done", || appliance.is_idle());
    outbox.stop();
}

#[test]
fn a_hook_is_not_started_by_its_own_writes() {
    let appliance = Appliance::new();
    let other = Target::Hook("other".to_owned());
    appliance.set_rules(&[("look", Target::Hook("look".to_owned()), "in/"), ("other", other, "out/")]);
    let runner = Runner::echo();
    let outbox = appliance.outbox(&runner, OutboxSettings::default(), None);
    appliance.put_as("in/a", 1, "hook:look");
    appliance.put_as("out/a", 2, "hook:look");
    appliance.put_as("in/b", 3, "somebody");
    until("both have run", || runner.count() == 2);
    assert_eq!((runner.numbers("out/a"), runner.numbers("in/b")), (vec![2], vec![3]));
    outbox.stop();
    assert_eq!(runner.count(), 2);
}

#[test]
fn each_key_is_in_order_however_attempts_fail() {
    let appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let count = Arc::new(AtomicUsize::new(0));
    // Every third attempt fails.
    let runner = Runner::new(move |invocation| match count.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => Err(refusal(true)),
        _ => Ok(answer(&invocation.change.etag)),
    });
    let settings = OutboxSettings { hook_threads: 4, attempts_max: 100, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&runner, settings, Some(publisher));
    for number in 0..120 {
        appliance.put(&format!("k{}", number % 6), number);
    }
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for message in subscriber.take(120) {
        let number: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        let before = last.insert(message.topic.clone(), number);
        let expected = before.map_or(number % 6, |before| before + 6);
        assert_eq!(number, expected, "{}", message.topic);
    }
    until("all is done", || appliance.is_idle());
    let metrics = outbox.metrics().unwrap();
    assert_eq!((metrics.invocations_done, metrics.invocations_dead), (120, 0));
    assert!(metrics.attempts_failed >= 60);
    outbox.stop();
}

#[test]
fn a_key_that_waits_for_its_retry_holds_back_itself_alone() {
    let appliance = Appliance::new();
    let healed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&healed);
    let runner = Runner::new(move |invocation| match invocation.change.key == "bad" && !now.load(Ordering::SeqCst) {
        true => Err(HookFault::Trap("unreachable".to_owned())),
        false => Ok(Outcome::default()),
    });
    // One thread: were the bad key to hold it, nothing else would run.
    let settings = OutboxSettings { hook_threads: 1, attempts_max: 1_000_000, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&runner, settings, None);
    appliance.put("bad", 1);
    appliance.put("bad", 2);
    for number in 0..50 {
        appliance.put(&format!("good{number}"), number);
    }
    let pending = || appliance.meta.reader().unwrap().outbox_stats().unwrap();
    until("only the bad key is left", || (pending().changes, pending().pending) == (0, 2));
    assert!(!runner.numbers("bad").contains(&2));
    healed.store(true, Ordering::SeqCst);
    until("all is done", || appliance.is_idle());
    assert_eq!(runner.numbers("bad").last(), Some(&2));
    outbox.stop();
}

#[test]
fn what_fails_for_good_is_kept_and_can_be_revived_or_forgotten() {
    let appliance = Appliance::new();
    let well = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&well);
    let runner = Runner::new(move |invocation| match invocation.change.key.as_str() {
        _ if now.load(Ordering::SeqCst) => Ok(Outcome::default()),
        "hopeless" => Err(refusal(false)),
        "panics" => panic!("the test's own panic"),
        _ => Err(HookFault::Deadline { limit_ms: 5 }),
    });
    let outbox = appliance.outbox(&runner, OutboxSettings { attempts_max: 3, ..OutboxSettings::default() }, None);
    for (number, key) in ["hopeless", "slow", "panics"].into_iter().enumerate() {
        appliance.put(key, number as u64);
    }
    until("three are dead", || outbox.dead(0, 10).unwrap().len() == 3);
    let mut dead = outbox.dead(0, 10).unwrap();
    dead.sort_by_key(|row| row.id);
    let seen: Vec<_> = dead.iter().map(|row| (row.change.key.as_str(), row.attempts)).collect();
    assert_eq!(seen, [("hopeless", 1), ("slow", 3), ("panics", 3)]);
    assert_eq!(dead[0].last_error.as_deref(), Some("the hook answered: not today"));
    assert_eq!(outbox.metrics().unwrap().invocations_dead, 3);
    well.store(true, Ordering::SeqCst);
    outbox.forget(vec![dead[0].id]).unwrap();
    outbox.revive(vec![dead[1].id, dead[2].id]).unwrap();
    until("all is done", || appliance.is_idle());
    assert_eq!(outbox.dead(0, 10).unwrap(), []);
    let count = |key: &str| runner.numbers(key).len();
    assert_eq!((count("hopeless"), count("slow"), count("panics")), (1, 4, 4));
    outbox.stop();
}

#[test]
fn a_replay_runs_a_hook_over_what_is_there_within_its_budget() {
    let appliance = Appliance::new();
    appliance.set_rules(&[]);
    let runner = Runner::echo();
    let outbox = appliance.outbox(&runner, OutboxSettings::default(), None);
    for number in 0..300 {
        appliance.put(&format!("in/{number:03}"), number);
    }
    appliance.put("out/x", 1);
    until("nothing matched", || appliance.is_idle());
    let request = |since_ms| ReplayRequest {
        bucket: super::appliance::BUCKET.to_owned(),
        prefix: "in/".to_owned(),
        exact: false,
        since_ms,
        hook: "new".to_owned(),
    };
    outbox.replay(request(0)).unwrap();
    until("all have run", || runner.count() == 300);
    until("the replay has ended", || outbox.replays().unwrap().is_empty());
    assert!(runner.attempts.lock().unwrap().iter().all(|attempt| attempt.hook == "new"));
    // Pages without a match follow each other at once.
    outbox.replay(request(i64::MAX)).unwrap();
    until("it found nothing", || outbox.replays().unwrap().is_empty());
    assert_eq!(runner.count(), 300);
    let gone = ReplayRequest { bucket: "gone".to_owned(), ..request(0) };
    assert!(outbox.replay(gone).is_err());
    outbox.stop();
}
