//! The built-in broker: who is let in, what they may do, what it refuses.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::equipment::{MemoryQueue, Subscriber, broker, message, publisher, until};
use crate::mqtt::{
    Broker, BrokerAccess, BrokerPermission, BrokerSettings, BrokerUser, Message, MqttError, Password, PublisherSettings,
};
use crate::seam::real::world;

fn user(name: &str, password: &str) -> BrokerUser {
    BrokerUser { name: name.to_owned(), password: Password(password.to_owned()) }
}

#[test]
fn without_users_whoever_is_on_this_machine_is_let_in() {
    let broker = broker(BrokerSettings::default());
    assert!(Subscriber::connect_as(broker.address(), "#", None).is_some_and(|client| client.granted));
    assert!(Subscriber::connect_as(broker.address(), "#", Some(("anyone", "x"))).is_some());
    // Nobody takes the publisher's name.
    assert!(Subscriber::connect_as(broker.address(), "#", Some(("$aerie", "guess"))).is_none());
}

#[test]
fn users_need_their_password_and_their_rights() {
    let broker = broker(BrokerSettings {
        users: vec![user("reader", "open sesame")],
        access: vec![BrokerAccess {
            user: "reader".to_owned(),
            topic: "aerie/#".to_owned(),
            permission: BrokerPermission::Read,
        }],
        ..BrokerSettings::default()
    });
    let connect = |filter, login| Subscriber::connect_as(broker.address(), filter, login);
    assert!(connect("aerie/hooks/x", None).is_none());
    assert!(connect("aerie/hooks/x", Some(("reader", "wrong"))).is_none());
    assert!(connect("aerie/hooks/x", Some(("reader", "open sesame"))).is_some_and(|client| client.granted));
    assert!(connect("other/x", Some(("reader", "open sesame"))).is_some_and(|client| !client.granted));
}

#[test]
fn settings_that_would_open_the_broker_to_strangers_are_refused() {
    let cases = [
        BrokerSettings { address: "0.0.0.0:0".parse().unwrap(), ..BrokerSettings::default() },
        BrokerSettings { users: vec![user("", "x")], ..BrokerSettings::default() },
        BrokerSettings { users: vec![user("x", "")], ..BrokerSettings::default() },
        BrokerSettings {
            address: "127.0.0.1:0".parse().unwrap(),
            users: vec![user("$aerie", "x")],
            ..BrokerSettings::default()
        },
        BrokerSettings { message_bytes_max: 10, ..BrokerSettings::default() },
    ];
    for settings in cases {
        assert!(matches!(Broker::start(&settings, &world()), Err(MqttError::Setting { .. })), "{settings:?}");
    }
}

/// A rule for a user who is not there, or with a filter that matches nothing, was taken: what it denied stayed open.
#[test]
fn rights_that_would_have_no_effect_are_refused() {
    let settings = |user_name: &str, topic: &str| BrokerSettings {
        users: vec![user("ann", "open sesame")],
        access: vec![BrokerAccess {
            user: user_name.to_owned(),
            topic: topic.to_owned(),
            permission: BrokerPermission::Deny,
        }],
        ..BrokerSettings::default()
    };
    for (name, topic, expected) in [
        ("ann", "a/+/b/#", None),
        ("*", "#", None),
        ("anonymous", "%u/+", None),
        ("bob", "a/#", Some("bob")),
        ("ann", "a/#/b", Some("a/#/b")),
        ("ann", "a/b#", Some("a/b#")),
        ("ann", "a+/b", Some("a+/b")),
        ("ann", "", Some("no filter")),
    ] {
        let found = settings(name, topic).check().err().map(|error| error.to_string());
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                assert!(found.contains("broker.access") && found.contains(expected), "{found}")
            }
            _ => panic!("{name} {topic}: {found:?}"),
        }
    }
}

#[test]
fn a_taken_port_is_named_in_the_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Broker::start(&BrokerSettings { address, ..BrokerSettings::default() }, &world()).unwrap_err();
    assert!(matches!(&error, MqttError::Listen { address: named, .. } if *named == address.to_string()), "{error}");
}

#[test]
fn user_properties_are_handed_on_live_and_retained() {
    let broker = broker(BrokerSettings::default());
    let live = Subscriber::connect(broker.address(), "t/#");
    let properties = vec![("aerie-hook".to_owned(), "look".to_owned()), ("aerie-model".to_owned(), "m=1".to_owned())];
    let queue = MemoryQueue::default();
    for qos in [0, 1, 2] {
        let id = i64::from(qos) + 1;
        queue.push(Message { properties: properties.clone(), retain: true, ..message(id, &format!("t/{qos}"), qos) });
    }
    let mut towards = PublisherSettings { status: false, ..PublisherSettings::default() };
    broker.lead(&mut towards);
    let publisher = publisher(&queue, towards);
    let mut received = live.take(3);
    until("the broker has all", || queue.len() == 0);
    received.extend(Subscriber::connect(broker.address(), "t/#").take(3));
    for message in received {
        let ours: Vec<_> = message.properties.iter().filter(|(name, _)| name.starts_with("aerie-")).cloned().collect();
        assert_eq!(ours, properties, "{message:?}");
    }
    publisher.stop();
}

/// A client by hand, of MQTT 3.1.1, that is let in.
fn connect_raw(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    stream.write_all(b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03raw").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

#[test]
fn a_packet_above_the_limit_costs_its_sender_the_connection_and_nobody_else() {
    let broker = broker(BrokerSettings { message_bytes_max: 4096, ..BrokerSettings::default() });
    let subscriber = Subscriber::connect(broker.address(), "t/#");
    let mut large = connect_raw(broker.address());
    // 5,000 bytes, and more that never come: the limit is looked at before memory is.
    for length in [b"\x88\x27".as_slice(), b"\xff\xff\xff\x7f"] {
        let packet = [b"\x30".as_slice(), length, b"\0\x03t/x", &[b'x'; 4995]].concat();
        // It may hang up before all is written.
        _ = large.write_all(&packet);
        let mut rest = Vec::new();
        assert!(matches!(large.read_to_end(&mut rest), Ok(0..=64) | Err(_)), "the connection ends");
        large = connect_raw(broker.address());
    }
    large.write_all(b"\x30\x07\0\x03t/yok").unwrap();
    let received = subscriber.take(1).remove(0);
    assert_eq!((received.topic.as_str(), received.payload.as_slice()), ("t/y", b"ok".as_slice()));
}
