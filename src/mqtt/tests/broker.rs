//! The built-in broker: who is let in, what they may do, what it refuses.

use super::equipment::{Subscriber, broker};
use crate::mqtt::{Broker, BrokerAccess, BrokerPermission, BrokerSettings, BrokerUser, MqttError, Password};
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

#[test]
fn a_taken_port_is_named_in_the_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Broker::start(&BrokerSettings { address, ..BrokerSettings::default() }, &world()).unwrap_err();
    assert!(matches!(&error, MqttError::Listen { address: named, .. } if *named == address.to_string()), "{error}");
}
