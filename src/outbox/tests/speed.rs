//! How fast: events through a hook that does nothing to a subscriber, and the latency of single ones. Printed, with
//! loose bounds, because these run unoptimised on whatever machine tests run on.

use futures_util::future::join_all;
use pollster::block_on;

use super::appliance::{Appliance, Runner};
use super::flow::broker;
use crate::mqtt::tests::{Subscriber, until};
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
