//! What the publisher promises: nothing lost, in order, acknowledged before it is forgotten.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::equipment::{
    CuttingProxy, MemoryQueue, Received, Subscriber, broker, free_address, message, publisher, until,
};
use crate::mqtt::{Broker, BrokerSettings, Message, MqttError, PublisherSettings};
use crate::seam::real::world;

fn towards(broker: &Broker) -> PublisherSettings {
    let mut settings = PublisherSettings::default();
    broker.lead(&mut settings);
    settings
}

fn id_of(received: &Received) -> i64 {
    std::str::from_utf8(&received.payload).unwrap().parse().unwrap()
}

/// First arrivals of each topic rise: duplicates may come, nothing overtakes.
fn assert_order(received: &[Received]) {
    let mut seen = HashSet::new();
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for message in received {
        let id = id_of(message);
        if seen.insert(id) {
            let before = last.insert(&message.topic, id);
            assert!(before.is_none_or(|before| before < id), "{id} came after {before:?} in {}", message.topic);
        }
    }
}

#[test]
fn every_version_and_qos_empties_the_queue_in_order() {
    for version in [5, 4] {
        for qos in [0, 1, 2] {
            let broker = broker(BrokerSettings::default());
            let subscriber = Subscriber::connect(broker.address(), "t/#");
            let queue = MemoryQueue::default();
            queue.fill(200, 7, qos);
            let publisher = publisher(&queue, PublisherSettings { version, ..towards(&broker) });
            let received = subscriber.take(200);
            assert_eq!(
                received.iter().map(id_of).collect::<Vec<_>>(),
                (1..=200).collect::<Vec<_>>(),
                "v{version} q{qos}"
            );
            let event_id = (version == 5).then(|| "event-1".to_owned());
            assert_eq!(received[0].event_id, event_id);
            until("the queue is empty", || queue.len() == 0);
            // What comes later is sent at a wake-up.
            queue.push(message(201, "t/late", qos));
            publisher.waker()();
            assert_eq!(subscriber.take(1)[0].payload, b"201");
            until("the queue is empty again", || queue.len() == 0);
            assert_eq!(publisher.stats().published, 201);
            assert_eq!(publisher.latency().snapshot().count(), 201);
            publisher.stop();
            broker.stop();
        }
    }
}

#[test]
fn links_that_are_cut_again_and_again_lose_nothing_and_keep_the_order() {
    for (version, qos) in [(5, 1), (4, 1), (5, 2)] {
        let broker = broker(BrokerSettings::default());
        let subscriber = Subscriber::connect(broker.address(), "t/#");
        let proxy = CuttingProxy::start(broker.address(), 1500);
        let queue = MemoryQueue::default();
        queue.fill(2000, 5, qos);
        let settings = PublisherSettings { url: format!("mqtt://{}", proxy.address), version, ..towards(&broker) };
        let publisher = publisher(&queue, settings);
        let received = subscriber.take_distinct(2000);
        assert_order(&received);
        until("the queue is empty", || queue.len() == 0);
        let connections = proxy.connections.load(Ordering::SeqCst);
        assert!(connections > 5, "the proxy cut {connections} times only");
        assert_eq!(publisher.stats().published, 2000);
        proxy.cutting.store(false, Ordering::SeqCst);
        publisher.stop();
    }
}

#[test]
fn a_broker_that_comes_later_gets_everything() {
    let address = free_address();
    let queue = MemoryQueue::default();
    queue.fill(300, 3, 1);
    let mut settings = PublisherSettings { url: format!("mqtt://{address}"), ..PublisherSettings::default() };
    settings.status = false;
    let publisher = publisher(&queue, settings);
    until("connections are refused", || publisher.stats().last_error.is_some());
    assert_eq!(queue.len(), 300);
    let folder = tempfile::tempdir().unwrap();
    let own = BrokerSettings { address, folder: Some(folder.path().to_owned()), ..BrokerSettings::default() };
    let first = broker(own.clone());
    until("the queue is empty", || queue.len() == 0);
    // It goes away and comes back on the same port; in between the queue grows.
    first.stop();
    until("the loss is seen", || !publisher.stats().connected);
    queue.push(message(301, "t/back", 1));
    publisher.waker()();
    let second = broker(own);
    until("the queue is empty again", || queue.len() == 0);
    assert_eq!(publisher.stats().published, 301);
    assert!(publisher.stats().connections >= 2);
    publisher.stop();
    second.stop();
}

#[test]
fn the_last_will_and_the_status_say_whether_the_appliance_is_there() {
    let broker = broker(BrokerSettings::default());
    let subscriber = Subscriber::connect(broker.address(), "aerie/+/status");
    let proxy = CuttingProxy::start(broker.address(), 1);
    let queue = MemoryQueue::default();
    let through = PublisherSettings { url: format!("mqtt://{}", proxy.address), ..towards(&broker) };
    let cut = publisher(&queue, through);
    // The proxy cuts the connection behind CONNECT, so the broker speaks for the appliance.
    let will = &subscriber.take(1)[0];
    assert_eq!((will.topic.as_str(), will.payload.as_slice()), ("aerie/dev1/status", b"offline".as_slice()));
    cut.stop();
    let whole = publisher(&queue, towards(&broker));
    until("it is online", || subscriber.messages.try_recv().is_ok_and(|got| got.payload == b"online"));
    // It is retained, for whoever comes later.
    let late = &Subscriber::connect(broker.address(), "aerie/+/status").take(1)[0];
    assert!(late.retain && late.payload == b"online");
    whole.stop();
    until("it is offline", || subscriber.messages.try_recv().is_ok_and(|got| got.payload == b"offline"));
}

#[test]
fn what_can_never_be_sent_is_dropped_and_counted_and_holds_nothing_up() {
    let broker = broker(BrokerSettings { message_bytes_max: 4096, ..BrokerSettings::default() });
    let subscriber = Subscriber::connect(broker.address(), "t/#");
    let queue = MemoryQueue::default();
    let now_ms = world().clock.unix_ms();
    queue.push(Message { expires_ms: Some(now_ms - 1), ..message(1, "t/old", 1) });
    queue.push(Message { payload: Bytes::from(vec![0; 5000]), ..message(2, "t/large", 1) });
    queue.push(message(3, "t/#", 1));
    queue.push(Message { expires_ms: Some(now_ms + 60_000), ..message(4, "t/good", 1) });
    let publisher = publisher(&queue, towards(&broker));
    assert_eq!(subscriber.take(1)[0].payload, b"4");
    until("the queue is empty", || queue.len() == 0);
    let stats = publisher.stats();
    assert_eq!((stats.published, stats.expired, stats.refused, stats.connections), (1, 1, 2, 1));
    assert_eq!(*queue.dropped.lock().unwrap(), [1, 2, 3]);
}

#[test]
fn a_topic_that_the_broker_refuses_waits_and_the_others_pass() {
    use crate::mqtt::{BrokerAccess, BrokerPermission, BrokerUser, Password};
    let grant = |topic: &str, permission| BrokerAccess { user: "*".to_owned(), topic: topic.to_owned(), permission };
    let user = BrokerUser { name: "edge".to_owned(), password: Password("secret".to_owned()) };
    let broker = broker(BrokerSettings {
        users: vec![user.clone()],
        access: vec![grant("open/#", BrokerPermission::ReadWrite)],
        ..BrokerSettings::default()
    });
    let queue = MemoryQueue::default();
    for (id, topic) in [(1, "closed/a"), (2, "open/a"), (3, "closed/a"), (4, "open/b")] {
        queue.push(message(id, topic, 1));
    }
    let login = PublisherSettings { username: Some(user.name), password: Some(user.password), ..towards(&broker) };
    let publisher = publisher(&queue, PublisherSettings { status: false, window: 1, ..login });
    until("the open topics are through", || queue.len() == 2);
    assert_eq!(queue.rows.lock().unwrap().keys().copied().collect::<Vec<_>>(), [1, 3]);
    let stats = publisher.stats();
    assert_eq!((stats.published, stats.put_off, stats.connections), (2, 1, 1));
}

#[test]
fn removals_that_fail_are_tried_again_and_nothing_is_sent_twice_meanwhile() {
    let broker = broker(BrokerSettings::default());
    let subscriber = Subscriber::connect(broker.address(), "t/#");
    let queue = MemoryQueue::default();
    queue.failures.store(2, Ordering::SeqCst);
    queue.fill(50, 1, 1);
    let publisher = publisher(&queue, towards(&broker));
    until("the queue is empty", || queue.len() == 0);
    assert_eq!(subscriber.take(50).len(), 50);
    assert_eq!(publisher.stats().published, 50);
    assert!(subscriber.messages.try_recv().is_err());
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_key() {
    let base = || PublisherSettings { url: "mqtt://host".to_owned(), ..PublisherSettings::default() };
    let cases: [(PublisherSettings, Option<&str>); 14] = [
        (base(), None),
        (PublisherSettings { url: "mqtt://[::1]:1884/".to_owned(), ..base() }, None),
        (PublisherSettings { url: String::new(), ..base() }, Some("url")),
        (PublisherSettings { url: "http://host".to_owned(), ..base() }, Some("url")),
        (PublisherSettings { url: "mqtt://user:word@host".to_owned(), ..base() }, Some("url")),
        (PublisherSettings { url: "mqtt://host:99999".to_owned(), ..base() }, Some("url")),
        (PublisherSettings { url: "mqtts://host".to_owned(), ..base() }, Some("ca_file")),
        (PublisherSettings { ca_file: Some("ca".into()), ..base() }, Some("url")),
        (PublisherSettings { url: "mqtts://host".to_owned(), ca_file: Some("ca".into()), ..base() }, None),
        (PublisherSettings { version: 3, ..base() }, Some("version")),
        (PublisherSettings { window: 0, ..base() }, Some("window")),
        (PublisherSettings { client_key_file: Some("k".into()), ..base() }, Some("client_key_file")),
        (PublisherSettings { password: Some(crate::mqtt::Password("p".to_owned())), ..base() }, Some("username")),
        (PublisherSettings { reconnect_ms_min: 0, ..base() }, Some("reconnect_ms_min")),
    ];
    for (settings, expected) in cases {
        let found = settings.check().err().map(|error| match error {
            MqttError::Setting { key, .. } => key,
            other => panic!("{other}"),
        });
        assert_eq!(found, expected, "{settings:?}");
    }
    assert!(!format!("{:?}", crate::mqtt::Password("secret".to_owned())).contains("secret"));
}

/// rumqttc gave the packet id of a QoS 2 message whose PUBCOMP was still to come to another one: the acknowledgement of
/// the first settled the second, which the broker took for a repetition and never delivered.
#[test]
fn qualities_of_service_side_by_side_are_not_mixed_up() {
    for version in [4, 5] {
        let broker = broker(BrokerSettings::default());
        let subscriber = Subscriber::connect(broker.address(), "t/#");
        let queue = MemoryQueue::default();
        for id in 1..=600 {
            queue.push(message(id, &format!("t/{}", id % 3), (id % 3) as u8));
        }
        let mut towards = PublisherSettings { status: false, ..PublisherSettings::default() };
        broker.lead(&mut towards);
        towards.version = version;
        let publisher = publisher(&queue, towards);
        let mut last = [0; 3];
        for received in subscriber.take(600) {
            let id: usize = String::from_utf8_lossy(&received.payload).parse().unwrap();
            assert!(std::mem::replace(&mut last[id % 3], id) < id, "in order, and once");
        }
        until("all is settled", || queue.len() == 0);
        assert_eq!(publisher.stats().connections, 1);
    }
}
