//! Restarts, brokers that are away, links that break: nothing is lost, order is kept.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::appliance::{Appliance, BUCKET, Runner, answer, refusal};
use super::flow::broker;
use crate::hook::Outcome;
use crate::mqtt::tests::{CuttingProxy, Mosquitto, Received, Subscriber, free_address, until};
use crate::mqtt::{Broker, BrokerSettings, PublisherSettings};
use crate::outbox::{OutboxSettings, ReplayRequest, Route};
use crate::seam::real::world;

/// First arrivals of each topic rise by their number.
fn assert_order(received: &[Received]) {
    let mut seen = HashSet::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for message in received {
        let number: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        if seen.insert(number) {
            let before = last.insert(&message.topic, number);
            assert!(before.is_none_or(|before| before < number), "{number} after {before:?} in {}", message.topic);
        }
    }
}

#[test]
fn a_restart_in_the_middle_loses_nothing() {
    let mut appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    for number in 0..200 {
        appliance.put(&format!("k{}", number % 5), number);
    }
    // Each life does a part of the work.
    for life in 1..=4 {
        let runner = Runner::echo();
        let settings = OutboxSettings { hook_threads: 3, ..OutboxSettings::default() };
        let outbox = appliance.outbox(&runner, settings, Some(publisher.clone()));
        until("a part is done", || runner.count() >= 20 || appliance.is_idle());
        for number in 0..10 {
            appliance.put("late", life * 1000 + number);
        }
        outbox.stop();
        appliance = appliance.restart();
    }
    let outbox = appliance.outbox(&Runner::echo(), OutboxSettings::default(), Some(publisher));
    let received = subscriber.take_distinct(240);
    assert_order(&received);
    until("all is done", || appliance.is_idle());
    outbox.stop();
}

#[test]
fn a_retry_outlives_a_restart_with_its_attempts() {
    let mut appliance = Appliance::new();
    let failing = Runner::new(|_| Err(refusal(true)));
    let many = || OutboxSettings { attempts_max: 1_000_000, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&failing, many(), None);
    appliance.put("a", 1);
    until("it failed some times", || failing.count() >= 5);
    outbox.stop();
    let before = failing.count() as u32;
    appliance = appliance.restart();
    let runner = Runner::echo();
    let outbox = appliance.outbox(&runner, many(), None);
    until("it has run", || runner.count() == 1);
    assert_eq!(runner.attempts.lock().unwrap()[0].attempt, before + 1);
    outbox.stop();
}

#[test]
fn a_broker_that_is_away_gets_all_when_it_is_back() {
    let appliance = Appliance::new();
    let address = free_address();
    let publisher = PublisherSettings { url: format!("mqtt://{address}"), ..PublisherSettings::default() };
    let outbox = appliance.outbox(&Runner::echo(), OutboxSettings::default(), Some(publisher));
    for number in 0..100 {
        appliance.put(&format!("k{}", number % 4), number);
    }
    let waiting = || appliance.meta.reader().unwrap().outbox_stats().unwrap().publications;
    until("all wait for the broker", || waiting() == 100);
    // A subscriber can only be there in time by a session that the broker keeps; the proxy opens once it has subscribed.
    let settings = BrokerSettings { address: "127.0.0.1:0".parse().unwrap(), ..BrokerSettings::default() };
    let broker = Broker::start(&settings, &world()).unwrap();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let listener = std::net::TcpListener::bind(address).unwrap();
    let _proxy = CuttingProxy::serve(listener, broker.address(), usize::MAX);
    let received = subscriber.take_distinct(100);
    assert_order(&received);
    until("all is done", || appliance.is_idle());
    outbox.stop();
}

#[test]
fn cut_links_lose_nothing_from_upload_to_subscriber() {
    let appliance = Appliance::new();
    let (broker, publisher) = broker();
    let subscriber = Subscriber::connect(broker.address(), "#");
    let proxy = CuttingProxy::start(broker.address(), 2500);
    let publisher = PublisherSettings { url: format!("mqtt://{}", proxy.address), ..publisher };
    let outbox = appliance.outbox(
        &Runner::echo(),
        OutboxSettings { hook_threads: 3, ..OutboxSettings::default() },
        Some(publisher),
    );
    for number in 0..400 {
        appliance.put(&format!("k{}", number % 8), number);
    }
    let received = subscriber.take_distinct(400);
    assert_order(&received);
    until("all is done", || appliance.is_idle());
    assert!(proxy.connections.load(Ordering::SeqCst) > 3);
    proxy.cutting.store(false, Ordering::SeqCst);
    outbox.stop();
}

#[test]
fn a_replay_goes_on_after_a_restart() {
    let mut appliance = Appliance::new();
    appliance.set_rules(&[]);
    for number in 0..700 {
        appliance.put(&format!("{number:03}"), number);
    }
    // The hook hangs after a few, so the replay's budget fills and the restart finds it half-way.
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let first = Runner::new(move |_| match gate.load(Ordering::SeqCst) {
        true => Ok(answer("1")),
        false => Err(refusal(true)),
    });
    let settings = || OutboxSettings { attempts_max: 1_000_000, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&first, settings(), None);
    let request = ReplayRequest {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        exact: false,
        since_ms: 0,
        hook: "new".to_owned(),
    };
    let id = outbox.replay(request).unwrap();
    until("the budget is full", || outbox.metrics().unwrap().stored.pending >= crate::limits::REPLAY_PENDING_MAX);
    let half = outbox.replays().unwrap();
    assert!(half[0].id == id && half[0].queued < 700, "{half:?}");
    outbox.stop();
    appliance = appliance.restart();
    let runner = Runner::new(|_| Ok(Outcome::default()));
    let outbox = appliance.outbox(&runner, settings(), None);
    until("the replay has ended", || outbox.replays().unwrap().is_empty());
    until("all is done", || appliance.is_idle());
    let attempts = runner.attempts.lock().unwrap();
    let keys: HashSet<_> = attempts.iter().map(|attempt| attempt.change.key.clone()).collect();
    assert_eq!(keys.len(), 700);
    drop(attempts);
    outbox.stop();
}

#[test]
fn results_reach_mosquitto_through_its_restarts() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let appliance = Appliance::new();
    let publisher = PublisherSettings { url: format!("mqtt://{}", broker.address), ..PublisherSettings::default() };
    // Retained, so that a subscriber who comes at the end sees what ever arrived.
    let results = Route { retain: true, ..Route::default() };
    let settings = OutboxSettings { results, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&Runner::echo(), settings, Some(publisher));
    for number in 0..400 {
        appliance.put(&format!("k{number}"), number);
        if number % 150 == 100 {
            broker.end();
            broker.begin();
        }
    }
    until("all is done", || appliance.is_idle());
    let received = Subscriber::connect(broker.address, "aerie/hooks/look/#").take_distinct(400);
    assert!(received.iter().all(|message| message.retain && message.event_id.is_some()));
    outbox.stop();
}
