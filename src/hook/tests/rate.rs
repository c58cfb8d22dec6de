//! How fast: stored events through a real WASM hook to a subscriber. Printed, with a loose bound, because this runs
//! unoptimised on whatever machine tests run on. `AERIE_TEST_EVENTS` asks for another number of events.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use pollster::block_on;

use super::guest;
use super::shelf::{BUCKET, Shelf, grants};
use crate::engine::Engine;
use crate::meta::{Attributes, Body, BucketConfig, EventName, NewVersion, Requester, WriteCondition};
use crate::mqtt::tests::{Subscriber, until};
use crate::mqtt::{Broker, BrokerSettings, PublisherSettings};
use crate::notification::{Configuration, Filter, Rule, Target};
use crate::outbox::{BudgetSettings, Outbox, OutboxParts, OutboxSettings};
use crate::seam::real::world;
use crate::seam::sim::SimThermometer;

#[test]
fn events_pass_through_a_real_hook_and_none_is_lost() {
    let events: u64 = std::env::var("AERIE_TEST_EVENTS").map_or(2000, |count| count.parse().unwrap());
    let shelf = Shelf::new();
    let module = shelf.add("h", &guest::publishing(3), grants(false, None)).unwrap().digest;
    let rule = Rule {
        id: "r".to_owned(),
        target: Target::Hook("h".to_owned()),
        arn: "arn:aerie:hook:::h".to_owned(),
        events: vec!["s3:ObjectCreated:*".to_owned()],
        prefix: String::new(),
        suffix: String::new(),
        filter: Filter::default(),
    };
    let document = Some(Configuration { rules: vec![rule] }.to_xml());
    let bucket = shelf.engine.bucket(BUCKET).unwrap().id;
    block_on(shelf.meta.set_bucket_config(bucket, BucketConfig::Notification, document, Some(true))).unwrap();
    let version = |number: u64| NewVersion {
        bucket,
        key: format!("k{}", number % 100),
        size: 4,
        etag: number.to_string(),
        modified_ms: world().clock.unix_ms(),
        attributes: Attributes::default(),
        body: Body::Inline(Bytes::from_static(b"body")),
        condition: WriteCondition::default(),
        event: EventName::ObjectCreatedPut,
        requester: Requester::default(),
        missed: 0,
    };
    for first in (0..events).step_by(500) {
        let puts = (first..events.min(first + 500)).map(|number| shelf.meta.put_version(version(number)));
        assert!(block_on(join_all(puts)).iter().all(Result::is_ok));
    }
    let settings = BrokerSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        queued_messages_max: 1 << 20,
        ..BrokerSettings::default()
    };
    let broker = Broker::start(&settings, &world()).unwrap();
    let mut publisher = PublisherSettings { status: false, ..PublisherSettings::default() };
    broker.lead(&mut publisher);
    let subscriber = Subscriber::connect(broker.address(), "#");
    let clock = world().clock;
    let start_ns = clock.monotonic_ns();
    let (meta, pool) = (shelf.meta.clone(), shelf.pool.clone());
    let outbox = Outbox::start(OutboxParts {
        meta: shelf.meta.clone(),
        engines: Arc::new(move || Engine::new(meta.clone(), pool.clone(), world())),
        runner: shelf.hooks.clone(),
        world: world(),
        settings: OutboxSettings::default(),
        budget: BudgetSettings { cpu_share: 100, temperature_max: None },
        thermometer: Arc::new(SimThermometer::default()),
        publisher: Some(publisher),
        ledger: None,
        background: false,
    });
    let outbox = outbox.unwrap();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < events as usize {
        let message = subscriber.take(1).remove(0);
        assert_eq!(message.payload, b"key");
        // The built-in broker hands user properties on twice.
        assert!(message.properties.contains(&("aerie-hook-sha256".to_owned(), module.clone())));
        seen.insert(message.event_id.unwrap());
    }
    let took_ms = (clock.monotonic_ns() - start_ns) / 1_000_000;
    println!("{events} stored events through a WASM hook and MQTT: {}/s", events * 1000 / took_ms.max(1));
    until("nothing is left", || {
        let stats = shelf.engine.reader().outbox_stats().unwrap();
        (stats.pending, stats.dead, stats.publications, stats.held) == (0, 0, 0, 0)
    });
    outbox.stop();
}
