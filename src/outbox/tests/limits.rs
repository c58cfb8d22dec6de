//! Bounds: an outbox that is full, an index that is small, settings that cannot work.

use std::collections::BTreeMap;

use super::appliance::{Appliance, Runner, answer};
use crate::hook::Outcome;
use crate::meta::{NewPublication, OutboxUpdate};
use crate::mqtt::tests::until;
use crate::notification::Target;
use crate::outbox::overflow::relieve;
use crate::outbox::{OutboxError, OutboxSettings, Route, RouteChange};

fn publication(priority: u8, expires_ms: Option<i64>) -> NewPublication {
    NewPublication {
        event_id: "e".to_owned(),
        topic: "t".to_owned(),
        payload: vec![0; 999],
        qos: 1,
        retain: false,
        priority,
        expires_ms,
        properties: Vec::new(),
    }
}

#[test]
fn a_full_outbox_drops_the_expired_then_the_oldest_of_the_lowest_priority() {
    let appliance = Appliance::new();
    let now_ms = 1_000_000;
    // Rows 1 to 40: each fourth has expired, each third of the rest is important.
    let publications: Vec<_> = (1..=40)
        .map(|id| match id {
            id if id % 4 == 0 => publication(9, Some(now_ms)),
            id if id % 3 == 0 => publication(5, Some(now_ms + 1)),
            _ => publication(0, None),
        })
        .collect();
    appliance.update(OutboxUpdate { publications, ..OutboxUpdate::default() });
    let reader = appliance.meta.reader().unwrap();
    let left = || reader.publications(0, 100).unwrap().iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(relieve(&appliance.meta, &reader, 40_000, now_ms).unwrap(), 0);
    // 40,000 bytes are there, 27,000 may stay: ten expired rows go, and the three oldest unimportant ones.
    assert_eq!(relieve(&appliance.meta, &reader, 30_000, now_ms).unwrap(), 13);
    let expected: Vec<i64> =
        (6..=40).filter(|id| id % 4 != 0).chain([3]).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    assert_eq!(left(), expected);
    // The unimportant are used up (17 are left) before the first important one goes.
    assert_eq!(relieve(&appliance.meta, &reader, 10_000, now_ms).unwrap(), 18);
    assert_eq!(left(), [6, 9, 15, 18, 21, 27, 30, 33, 39]);
    assert_eq!(reader.outbox_stats().unwrap().dropped, 31);
}

#[test]
fn uploads_go_on_while_results_overflow() {
    let appliance = Appliance::new();
    let runner = Runner::new(|invocation| Ok(answer(&format!("{:0>4000}", invocation.change.etag))));
    let important = RouteChange { priority: Some(1), ..RouteChange::default() };
    let settings = OutboxSettings {
        publication_bytes_max: 64 << 10,
        hooks: BTreeMap::from([("alarm".to_owned(), important)]),
        ..OutboxSettings::default()
    };
    let outbox = appliance.outbox(&runner, settings, None);
    for number in 0..100 {
        appliance.put(&format!("k{number}"), number);
    }
    until("all have run", || runner.count() == 100);
    until("it is within its bound", || {
        let stats = outbox.metrics().unwrap().stored;
        stats.pending == 0 && stats.publication_bytes <= 64 << 10
    });
    let stats = outbox.metrics().unwrap().stored;
    assert_eq!(stats.publications + stats.dropped, 100);
    assert!(stats.publications >= 10, "{stats:?}");
    // The newest are there.
    let rows = appliance.meta.reader().unwrap().publications(0, 100).unwrap();
    assert_eq!(rows.last().unwrap().id, 100);
    outbox.stop();
}

#[test]
fn of_a_full_outbox_a_rules_priority_says_what_stays_and_its_time_to_live_until_when() {
    let appliance = Appliance::new();
    let look = |id, prefix| (id, Target::Hook("look".to_owned()), prefix);
    appliance.set_rules(&[look("alarm", "alarm/"), look("brief", "brief/"), look("rest", "rest/")]);
    let runner = Runner::new(|invocation| Ok(answer(&format!("{:0>4000}", invocation.change.etag))));
    let settings = OutboxSettings {
        publication_bytes_max: 64 << 10,
        rules: BTreeMap::from([
            ("alarm".to_owned(), RouteChange { priority: Some(2), ..RouteChange::default() }),
            ("brief".to_owned(), RouteChange { priority: Some(1), ttl_s: Some(3600), ..RouteChange::default() }),
        ]),
        ..OutboxSettings::default()
    };
    let outbox = appliance.outbox(&runner, settings, None);
    for number in 0..4 {
        appliance.put(&format!("alarm/{number}"), number);
        appliance.put(&format!("brief/{number}"), number);
    }
    for number in 0..60 {
        appliance.put(&format!("rest/{number}"), number);
    }
    until("all have run", || runner.count() == 68);
    until("it is within its bound", || {
        let stats = outbox.metrics().unwrap().stored;
        stats.pending == 0 && stats.publication_bytes <= 64 << 10
    });
    let stats = outbox.metrics().unwrap().stored;
    assert!(stats.dropped > 0 && stats.publications + stats.dropped == 68, "{stats:?}");
    let rows = appliance.meta.reader().unwrap().publications(0, 100).unwrap();
    let of = |name: &str| rows.iter().filter(|row| row.publication.topic.contains(name)).collect::<Vec<_>>();
    assert_eq!((of("/alarm/").len(), of("/brief/").len()), (4, 4));
    assert!(of("/brief/").iter().all(|row| row.publication.expires_ms.is_some()));
    assert!(of("/alarm/").iter().all(|row| row.publication.expires_ms.is_none()));
    outbox.stop();
}

#[test]
fn more_pending_work_than_the_index_holds_is_done_all_the_same() {
    let appliance = Appliance::new();
    for number in 0..700 {
        appliance.put(&format!("k{}", number % 50), number);
    }
    let runner = Runner::new(|_| Ok(Outcome::default()));
    let settings = OutboxSettings { invocations_indexed_max: 2, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&runner, settings, None);
    until("all is done", || appliance.is_idle());
    for key in 0..50 {
        let expected: Vec<u64> = (0..14).map(|round| round * 50 + key).collect();
        assert_eq!(runner.numbers(&format!("k{key}")), expected);
    }
    outbox.stop();
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_key() {
    let base = OutboxSettings::default;
    let hooks = |change| OutboxSettings { hooks: BTreeMap::from([("h".to_owned(), change)]), ..base() };
    let cases: [(OutboxSettings, Option<&str>); 10] = [
        (base(), None),
        (OutboxSettings { device: "a/b".to_owned(), ..base() }, Some("device")),
        (OutboxSettings { hook_threads: 0, ..base() }, Some("hook_threads")),
        (OutboxSettings { attempts_max: 0, ..base() }, Some("attempts_max")),
        (OutboxSettings { invocations_indexed_max: 1, ..base() }, Some("invocations_indexed_max")),
        (OutboxSettings { retry_ms_min: 0, ..base() }, Some("retry_ms_min")),
        (OutboxSettings { publication_bytes_max: 1, ..base() }, Some("publication_bytes_max")),
        (OutboxSettings { events: Route { qos: 3, ..Route::default() }, ..base() }, Some("events.qos")),
        (hooks(RouteChange { topic: Some("a/#".to_owned()), ..RouteChange::default() }), Some("hooks.h.topic")),
        (hooks(RouteChange { prefix: Some("{nobody}".to_owned()), ..RouteChange::default() }), Some("hooks.h.topic")),
    ];
    for (settings, expected) in cases {
        let found = settings.check().err().map(|error| match error {
            OutboxError::Setting { key, .. } => key,
            other => panic!("{other}"),
        });
        assert_eq!(found.as_deref(), expected, "{settings:?}");
    }
    let text = r#"{"device": "d", "hook_thread": 3}"#;
    assert!(serde_json::from_str::<OutboxSettings>(text).is_err());
}
