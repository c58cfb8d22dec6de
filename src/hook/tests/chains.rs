//! Hooks that write where other hooks look, through the outbox: every chain ends.

use std::sync::Arc;

use pollster::block_on;

use super::guest;
use super::shelf::{BUCKET, Shelf, grants};
use crate::engine::Engine;
use crate::hook::{may_start, principal};
use crate::limits;
use crate::meta::BucketConfig;
use crate::notification::{Configuration, Rule, Target};
use crate::outbox::{Outbox, OutboxParts, OutboxSettings, ReplayRequest};
use crate::seam::real::world;

#[test]
fn a_change_names_the_hooks_that_led_to_it() {
    let first = principal("somebody", "a");
    let second = principal(&first, "b");
    assert_eq!((first.as_str(), second.as_str()), ("hook:a", "hook:a,b"));
    let cases = [("somebody", "a", true), (&first, "a", false), (&first, "b", true), (&second, "a", false)];
    for (principal, hook, expected) in cases {
        assert_eq!(may_start(principal, hook), expected, "{principal} {hook}");
    }
    let mut chain = String::new();
    for number in 0..limits::HOOK_DERIVED_DEPTH_MAX {
        assert!(may_start(&chain, "last"), "{chain}");
        chain = principal(&chain, &number.to_string());
    }
    assert!(!may_start(&chain, "last"), "{chain}");
}

fn outbox(shelf: &Shelf) -> Outbox {
    let (meta, pool) = (shelf.meta.clone(), shelf.pool.clone());
    let parts = OutboxParts {
        background: false,
        ledger: None,
        meta: shelf.meta.clone(),
        engines: Arc::new(move || Engine::new(meta.clone(), pool.clone(), world())),
        runner: shelf.hooks.clone(),
        world: world(),
        budget: crate::outbox::BudgetSettings { cpu_share: 100, temperature_max: None },
        thermometer: Arc::new(crate::seam::sim::SimThermometer::default()),
        settings: OutboxSettings { retry_ms_min: 2, retry_ms_max: 20, ..OutboxSettings::default() },
        publisher: None,
    };
    Outbox::start(parts).unwrap()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let clock = world().clock;
    let end_ns = clock.monotonic_ns() + 60_000_000_000;
    while !holds() {
        assert!(clock.monotonic_ns() < end_ns, "in vain: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

#[test]
fn two_hooks_that_feed_each_other_come_to_an_end_also_in_a_replay() {
    let shelf = Shelf::new();
    let rule = |hook: &str, prefix: &str| Rule {
        id: format!("{hook} for {prefix}"),
        target: Target::Hook(hook.to_owned()),
        arn: format!("arn:aerie:hook:::{hook}"),
        events: vec!["s3:ObjectCreated:*".to_owned()],
        prefix: prefix.to_owned(),
        suffix: String::new(),
        filter: crate::notification::Filter::default(),
    };
    // Behind every key that is there, where the walk of a replay comes by again.
    for (hook, prefix) in [("a", 'y'), ("b", 'z')] {
        shelf.add(hook, &guest::deriving(prefix), grants(false, Some(&format!("{prefix}/")))).unwrap();
    }
    let document = Configuration { rules: vec![rule("a", "x"), rule("b", "y/"), rule("a", "z/")] }.to_xml();
    let bucket = shelf.engine.bucket(BUCKET).unwrap().id;
    block_on(shelf.meta.set_bucket_config(bucket, BucketConfig::Notification, Some(document), Some(true))).unwrap();
    let outbox = outbox(&shelf);
    shelf.put("x", b"object");
    let idle = || {
        let stats = shelf.engine.reader().outbox_stats().unwrap();
        assert_eq!(stats.dead, 0);
        (stats.changes, stats.pending) == (0, 0)
    };
    until("the chain ends", idle);
    let all = ["x", "y/x", "z/y/x"];
    assert_eq!(shelf.keys(BUCKET), all);
    let metadata = shelf.head("z/y/x").unwrap().version.attributes.user_metadata;
    assert_eq!(metadata["aerie-hook"], "a,b");
    let replay = |prefix: &str, exact: bool| {
        let (bucket, prefix, hook) = (BUCKET.to_owned(), prefix.to_owned(), "a".to_owned());
        outbox.replay(ReplayRequest { bucket, prefix, exact, since_ms: 0, hook }).unwrap();
        until("the replay ends", || outbox.replays().unwrap().is_empty() && idle());
    };
    replay("", false);
    assert_eq!(shelf.keys(BUCKET), all);
    // One object means that one.
    let (one, other) = (shelf.put("xk", b"1"), shelf.put("xk2", b"2"));
    until("the chains end", idle);
    let before = shelf.hooks.journal().stats("a").invocations;
    replay("xk", true);
    assert_eq!(shelf.hooks.journal().stats("a").invocations, before + 1, "{one:?} alone, not {other:?}");
    outbox.stop();
}

#[test]
fn an_upgrade_counts_for_what_waits_and_what_failed_under_the_same_event_ids() {
    let shelf = Shelf::new();
    let rule = Rule {
        id: "r".to_owned(),
        target: Target::Hook("h".to_owned()),
        arn: "arn:aerie:hook:::h".to_owned(),
        events: vec!["s3:ObjectCreated:*".to_owned()],
        prefix: String::new(),
        suffix: String::new(),
        filter: crate::notification::Filter::default(),
    };
    let document = Configuration { rules: vec![rule] }.to_xml();
    let bucket = shelf.engine.bucket(BUCKET).unwrap().id;
    block_on(shelf.meta.set_bucket_config(bucket, BucketConfig::Notification, Some(document), Some(true))).unwrap();
    // The old hook fails each time: its invocations are half-way when the new one comes, behind them others wait.
    shelf.add("h", &guest::hook(1, "", "unreachable"), grants(false, None)).unwrap();
    let numbers: Vec<u64> = (0..20).map(|n| shelf.put(&format!("x{n}"), b"object").version.sequence.0).collect();
    let outbox = outbox(&shelf);
    until("attempts failed", || shelf.hooks.journal().stats("h").failures.get("trap") >= Some(&2));
    let new = shelf.add("h", &guest::publishing(2), grants(false, None)).unwrap();
    let reader = shelf.engine.reader();
    until("all have run", || {
        let stats = reader.outbox_stats().unwrap();
        assert_eq!(stats.dead, 0);
        (stats.changes, stats.pending) == (0, 0)
    });
    let mut published: Vec<_> = reader.publications(0, 100).unwrap().into_iter().map(|row| row.publication).collect();
    published.sort_by(|a, b| a.event_id.cmp(&b.event_id));
    let ids: Vec<_> = published.iter().map(|publication| publication.event_id.clone()).collect();
    assert_eq!(ids, numbers.iter().map(|number| format!("{number:016x}-r")).collect::<Vec<_>>());
    for publication in published {
        assert_eq!(publication.payload, b"ke");
        assert_eq!(publication.properties[1], ("aerie-hook-sha256".to_owned(), new.digest.clone()));
    }
    outbox.stop();
}
