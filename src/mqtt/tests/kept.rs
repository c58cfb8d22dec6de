//! What the built-in broker keeps for subscribers with a session, through crashes.

use std::collections::BTreeSet;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Event, MqttOptions};

use super::equipment::{MemoryQueue, Subscriber, durable, message, until};
use crate::mqtt::{Broker, BrokerSettings, Message, SessionRow};

/// A subscriber with a session.
struct Visitor<'a> {
    id: &'a str,
    subscribe: &'a [(&'a str, QoS)],
    unsubscribe: &'a [&'a str],
    clean_start: bool,
    expiry_s: u32,
    acknowledges: bool,
}

impl Default for Visitor<'_> {
    fn default() -> Self {
        Visitor {
            id: "visitor",
            subscribe: &[],
            unsubscribe: &[],
            clean_start: false,
            expiry_s: 3600,
            acknowledges: true,
        }
    }
}

impl Visitor<'_> {
    /// Connects, does what it is to do, and reads until `enough`. The connection is then cut.
    fn visit(&self, broker: &Broker, mut enough: impl FnMut(&Packet) -> bool) {
        let mut options = MqttOptions::new(self.id, broker.address().ip().to_string(), broker.address().port());
        options.set_clean_start(self.clean_start).set_session_expiry_interval(Some(self.expiry_s));
        options.set_manual_acks(!self.acknowledges);
        let (client, mut connection) = Client::new(options, 16);
        self.subscribe.iter().for_each(|(filter, qos)| client.subscribe(*filter, *qos).unwrap());
        self.unsubscribe.iter().for_each(|filter| client.unsubscribe(*filter).unwrap());
        loop {
            let event =
                connection.recv_timeout(Duration::from_secs(60)).expect("in time").expect("the broker is there");
            if let Event::Incoming(packet) = event
                && enough(&packet)
            {
                // An acknowledgement that is queued leaves before the goodbye.
                _ = client.disconnect();
                while let Ok(Ok(_)) = connection.recv_timeout(Duration::from_secs(60)) {}
                return;
            }
        }
    }

    fn subscribe(id: &str, broker: &Broker, filter: &str, qos: QoS) {
        let subscribed = |packet: &Packet| matches!(packet, Packet::SubAck(_));
        Visitor { id, subscribe: &[(filter, qos)], ..Visitor::default() }.visit(broker, subscribed);
    }

    /// Messages until there are `count` different ones, and none of QoS 2 is half delivered.
    fn fetch(&self, broker: &Broker, count: usize) -> Vec<Publish> {
        let (mut all, mut seen, mut half) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        self.visit(broker, |packet| {
            if let Packet::ConnAck(answer) = packet {
                assert!(answer.session_present, "the broker knows the session");
            }
            if let Packet::Publish(publish) = packet {
                seen.insert(publish.payload.clone());
                all.push(publish.clone());
                if publish.qos == QoS::ExactlyOnce {
                    half.insert(publish.pkid);
                }
            }
            if let Packet::PubRel(release) = packet {
                half.remove(&release.pkid);
            }
            seen.len() >= count && half.is_empty()
        });
        all
    }
}

fn numbers(messages: &[Publish]) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    let number = |one: &Publish| String::from_utf8_lossy(&one.payload).parse().unwrap();
    messages.iter().map(number).filter(|number| seen.insert(*number)).collect()
}

#[test]
fn sessions_and_all_that_waits_for_them_outlive_a_crash() {
    let queue = MemoryQueue::default();
    let (broker, publisher) = durable(&queue, BrokerSettings::default());
    Visitor::subscribe("one", &broker, "t/#", QoS::AtLeastOnce);
    Visitor::subscribe("two", &broker, "t/1", QoS::ExactlyOnce);
    let properties = vec![("aerie-hook".to_owned(), "look".to_owned())];
    for id in 1..=100 {
        let topic = format!("t/{}", id % 2);
        let qos = 1 + (id % 2) as u8;
        queue.push(Message { properties: properties.clone(), ..message(id, &topic, qos) });
    }
    // And some that nobody waits for.
    queue.push(message(101, "other", 1));
    queue.push(message(102, "t/1", 0));
    publisher.waker()();
    until("the broker has all", || queue.len() == 0);
    assert_eq!(queue.kept(), 100);
    assert_eq!(publisher.stats().ledger.kept, 100);
    let after = queue.crashed();
    drop((publisher, broker));

    let (broker, publisher) = durable(&after, BrokerSettings::default());
    assert_eq!(publisher.stats().ledger.sessions, 2);
    let received = Visitor { id: "one", ..Visitor::default() }.fetch(&broker, 100);
    let mut got = numbers(&received);
    for lane in 0..2 {
        assert!(got.iter().filter(|number| *number % 2 == lane).is_sorted(), "in order in each topic: {got:?}");
    }
    got.sort_unstable();
    assert_eq!(got, (1..=100).collect::<Vec<_>>());
    for one in &received {
        let own = one.properties.as_ref().unwrap().user_properties.clone();
        let event_id = ("event-id".to_owned(), format!("event-{}", String::from_utf8_lossy(&one.payload)));
        assert!(own.contains(&event_id) && own.contains(&properties[0]), "{own:?}");
    }
    let through = |queue: &MemoryQueue| queue.kept.lock().unwrap().sessions["one"].through;
    until("only what the other waits for is kept", || after.kept() == 50 && through(&after) == 100);
    // It is not sent what it has acknowledged, not even after another crash.
    let again = after.crashed();
    drop((publisher, broker));
    let (broker, publisher) = durable(&again, BrokerSettings::default());
    again.push(message(200, "t/1", 1));
    publisher.waker()();
    assert_eq!(numbers(&Visitor { id: "one", ..Visitor::default() }.fetch(&broker, 1)), [200]);
    let got = numbers(&Visitor { id: "two", ..Visitor::default() }.fetch(&broker, 51));
    assert_eq!(got.len(), 51);
    until("nothing is kept", || again.rows.lock().unwrap().is_empty() && again.kept() == 0);
    assert_eq!(publisher.stats().ledger.dropped, 0);
}

#[test]
fn what_a_subscriber_got_but_did_not_acknowledge_comes_again_after_a_crash() {
    let queue = MemoryQueue::default();
    let (broker, publisher) = durable(&queue, BrokerSettings::default());
    Visitor::subscribe("visitor", &broker, "t/#", QoS::AtLeastOnce);
    queue.push(message(11, "t/0", 1));
    queue.push(message(12, "t/1", 2));
    publisher.waker()();
    let deaf = Visitor { acknowledges: false, ..Visitor::default() };
    assert_eq!(numbers(&deaf.fetch(&broker, 2)), [11, 12]);
    until("both are kept", || queue.kept() == 2);
    let after = queue.crashed();
    drop((publisher, broker));
    let (broker, _publisher) = durable(&after, BrokerSettings::default());
    let got = numbers(&Visitor::default().fetch(&broker, 2));
    assert_eq!(got, [11, 12]);
    until("nothing is kept", || after.kept() == 0);
}

#[test]
fn a_subscription_is_durable_once_it_is_acknowledged() {
    let queue = MemoryQueue::default();
    let (broker, _publisher) = durable(&queue, BrokerSettings::default());
    let both = [("t/1", QoS::AtLeastOnce), ("t/2", QoS::AtLeastOnce)];
    let mut stored = Vec::new();
    Visitor { subscribe: &both, ..Visitor::default() }.visit(&broker, |packet| {
        if matches!(packet, Packet::SubAck(_)) {
            stored.push(queue.kept.lock().unwrap().sessions["visitor"].session.clone());
        }
        stored.len() == 2
    });
    assert!(stored[0].contains("t/1") && stored[1].contains("t/1") && stored[1].contains("t/2"), "{stored:?}");
    let unsubscribed = |packet: &Packet| matches!(packet, Packet::UnsubAck(_));
    Visitor { unsubscribe: &["t/1"], ..Visitor::default() }.visit(&broker, unsubscribed);
    until("it is forgotten", || !queue.kept.lock().unwrap().sessions["visitor"].session.contains("t/1"));
}

#[test]
fn a_session_that_ends_takes_with_it_what_waited() {
    let connected = |packet: &Packet| matches!(packet, Packet::ConnAck(_));
    // A clean start, and a connection whose session ends with it.
    for (clean_start, expiry_s, sessions) in [(true, 3600, 1), (true, 0, 0), (false, 0, 0)] {
        let queue = MemoryQueue::default();
        let (broker, publisher) = durable(&queue, BrokerSettings::default());
        Visitor::subscribe("visitor", &broker, "t/#", QoS::AtLeastOnce);
        queue.fill(20, 1, 1);
        publisher.waker()();
        until("the broker has all", || queue.len() == 0);
        assert_eq!(queue.kept(), 20);
        let deaf = Visitor { clean_start, expiry_s, acknowledges: false, ..Visitor::default() };
        deaf.visit(&broker, connected);
        until("nothing is kept", || queue.kept() == 0 && queue.kept.lock().unwrap().sessions.len() == sessions);
    }
}

#[test]
fn retained_messages_outlive_a_crash_as_they_were() {
    let queue = MemoryQueue::default();
    let (broker, publisher) = durable(&queue, BrokerSettings::default());
    let properties = vec![("aerie-hook".to_owned(), "look".to_owned())];
    for (id, topic) in [(1, "t/1"), (2, "t/2"), (3, "t/1")] {
        queue.push(Message { retain: true, properties: properties.clone(), ..message(id, topic, 1) });
    }
    queue.push(Message { retain: true, payload: bytes::Bytes::new(), ..message(4, "t/2", 1) });
    publisher.waker()();
    until("the broker has all", || queue.len() == 0);
    let after = queue.crashed();
    drop((publisher, broker));
    assert_eq!(after.kept.lock().unwrap().retained.len(), 1, "one was cleared");
    let (broker, _publisher) = durable(&after, BrokerSettings::default());
    let received = Subscriber::connect(broker.address(), "t/#").take(1).remove(0);
    assert_eq!((received.topic.as_str(), received.payload.as_slice(), received.retain), ("t/1", b"3".as_slice(), true));
    assert_eq!(received.event_id.as_deref(), Some("event-3"));
    assert!(received.properties.contains(&properties[0]), "{received:?}");
}

#[test]
fn a_slow_subscriber_that_is_there_loses_nothing_for_want_of_room() {
    let queue = MemoryQueue::default();
    let settings = BrokerSettings { queued_messages_max: 100, ..BrokerSettings::default() };
    let (broker, publisher) = durable(&queue, settings);
    Visitor::subscribe("visitor", &broker, "t/#", QoS::AtLeastOnce);
    queue.fill(3000, 1, 1);
    let waker = publisher.waker();
    let mut got = Vec::new();
    Visitor::default().visit(&broker, |packet| {
        waker();
        if let Packet::Publish(publish) = packet {
            got.push(publish.clone());
            if got.len() % 50 == 0 {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
        got.len() >= 3000
    });
    assert_eq!(numbers(&got), (1..=3000).collect::<Vec<_>>());
    assert_eq!(publisher.stats().ledger.dropped, 0);
    until("nothing is kept", || queue.kept() == 0 && queue.len() == 0);
}

#[test]
fn a_subscriber_that_is_away_too_long_loses_the_oldest_and_that_is_counted() {
    let queue = MemoryQueue::default();
    let settings = BrokerSettings { queued_messages_max: 100, ..BrokerSettings::default() };
    let (broker, publisher) = durable(&queue, settings.clone());
    Visitor::subscribe("visitor", &broker, "t/#", QoS::AtLeastOnce);
    queue.fill(150, 1, 1);
    publisher.waker()();
    until("the broker has all", || queue.len() == 0 && queue.kept() == 100);
    assert_eq!(publisher.stats().ledger.dropped, 50);
    let after = queue.crashed();
    drop((publisher, broker));
    let (broker, _publisher) = durable(&after, settings);
    assert_eq!(numbers(&Visitor::default().fetch(&broker, 100)), (51..=150).collect::<Vec<_>>());
}

#[test]
fn what_is_damaged_is_left_alone_and_the_rest_is_found() {
    let queue = MemoryQueue::default();
    let (broker, publisher) = durable(&queue, BrokerSettings::default());
    for id in ["good", "torn", "other", "gone"] {
        Visitor::subscribe(id, &broker, "t/#", QoS::AtLeastOnce);
    }
    for id in 1..=10 {
        queue.push(Message { retain: id == 10, ..message(id, "t/0", 1) });
    }
    publisher.waker()();
    until("the broker has all", || queue.len() == 0);
    let after = queue.crashed();
    drop((publisher, broker));
    {
        let mut kept = after.kept.lock().unwrap();
        let text = |kept: &super::equipment::Kept, id: &str| kept.sessions[id].session.clone();
        let whole = text(&kept, "torn");
        let another = text(&kept, "good");
        let row = |client: &str, session: String| SessionRow { client: client.to_owned(), through: 0, session };
        for (client, session) in
            [("torn", whole[..whole.len() / 2].to_owned()), ("other", another), ("gone", String::new())]
        {
            kept.sessions.insert(client.to_owned(), row(client, session));
        }
        let mut bad = kept.retained["t/0"].clone();
        (bad.topic, bad.head) = ("t/bad".to_owned(), "{\"topic\":".to_owned());
        kept.retained.insert("t/bad".to_owned(), bad);
    }
    let (broker, publisher) = durable(&after, BrokerSettings::default());
    assert_eq!(publisher.stats().ledger.sessions, 1);
    assert_eq!(Subscriber::connect(broker.address(), "t/#").take(1)[0].topic, "t/0");
    assert_eq!(numbers(&Visitor { id: "good", ..Visitor::default() }.fetch(&broker, 10)).len(), 10);
    // The damaged rows are there to be looked at; whose client comes anew is written anew.
    assert_eq!(after.kept.lock().unwrap().sessions.len(), 4);
    Visitor::subscribe("torn", &broker, "t/#", QoS::AtLeastOnce);
    assert!(after.kept.lock().unwrap().sessions["torn"].session.ends_with('}'));
}
