//! How fast: events through a hook that does nothing to a subscriber, and the latency of single ones. Printed, with
//! loose bounds, because these run unoptimised on whatever machine tests run on.

use futures_util::future::join_all;
use pollster::block_on;

use super::appliance::{Appliance, Runner};
use super::flow::broker;
use crate::meta::{NewPublication, OutboxUpdate};
use crate::mqtt::tests::{Subscriber, until};
use crate::mqtt::{Broker, BrokerSettings, PublisherSettings};
use crate::outbox::OutboxSettings;
use crate::seam::real::world;

#[test]
fn events_pass_at_a_rate_and_with_a_latency() {
    let appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let clock = world().clock;
    // Uploads side by side, as from many clients: their commits come in groups.
    const EVENTS: usize = 4000;
    for number in 0..EVENTS / 100 {
        let puts = (0..100).map(|key| {
            let number = (number * 100 + key) as u64;
            appliance.meta.put_version(appliance.version(&format!("k{key}"), number, "somebody"))
        });
        assert!(block_on(join_all(puts)).iter().all(Result::is_ok));
    }
    let start = clock.monotonic_ns();
    let outbox = appliance.outbox(&Runner::echo(), OutboxSettings::default(), Some(publisher));
    subscriber.take_distinct(EVENTS);
    let all_ms = (clock.monotonic_ns() - start) / 1_000_000;
    until("all is done", || appliance.is_idle());
    let mut latencies_us: Vec<u64> = (0..200)
        .map(|number| {
            appliance.put("single", number);
            let put = clock.monotonic_ns();
            subscriber.take(1);
            (clock.monotonic_ns() - put) / 1000
        })
        .collect();
    latencies_us.sort_unstable();
    let (p50, p99) = (latencies_us[100], latencies_us[198]);
    let per_s = EVENTS as u64 * 1000 / all_ms.max(1);
    println!("{EVENTS} stored events through hook and MQTT: {per_s}/s; commit to message p50 {p50} µs, p99 {p99} µs");
    assert!(all_ms < 60_000 && p50 < 1_000_000);
    outbox.stop();
}

/// How many publications wait: `AERIE_TEST_DRAIN`, or few enough for every day.
fn stored_publications() -> u64 {
    std::env::var("AERIE_TEST_DRAIN").map_or(10_000, |count| count.parse().unwrap())
}

#[test]
fn stored_publications_drain_in_order_when_the_broker_is_back() {
    let count = stored_publications();
    let mut appliance = Appliance::new();
    for first in (0..count).step_by(1000) {
        let publication = |number: u64| NewPublication {
            event_id: format!("{number:016x}-r"),
            topic: format!("aerie/hooks/look/pictures/k{}", number % 50),
            payload: number.to_string().into_bytes(),
            qos: 1,
            retain: false,
            priority: 0,
            expires_ms: None,
            properties: Vec::new(),
        };
        let publications = (first..count.min(first + 1000)).map(publication).collect();
        appliance.update(OutboxUpdate { publications, ..OutboxUpdate::default() });
    }
    // They outlive a restart without a broker.
    appliance = appliance.restart();
    let settings = BrokerSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        queued_messages_max: 1 << 20,
        queued_bytes_max: 1 << 30,
        ..BrokerSettings::default()
    };
    let broker = Broker::start(&settings, &world()).unwrap();
    let mut publisher = PublisherSettings::default();
    broker.lead(&mut publisher);
    let subscriber = Subscriber::connect(broker.address(), "aerie/#");
    let clock = world().clock;
    let start_ns = clock.monotonic_ns();
    let outbox = appliance.outbox(&Runner::echo(), OutboxSettings::default(), Some(publisher));
    for number in 0..count {
        let received = subscriber.take(1).remove(0);
        assert_eq!(received.payload, number.to_string().into_bytes(), "in the order in which they were stored");
    }
    let took_ms = (clock.monotonic_ns() - start_ns) / 1_000_000;
    println!("{count} stored publications drained in {took_ms} ms: {}/s", count * 1000 / took_ms.max(1));
    until("nothing is left", || appliance.is_idle());
    assert_eq!(outbox.metrics().unwrap().publisher.unwrap().published, count);
    outbox.stop();
}
