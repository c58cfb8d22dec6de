//! Subscribers with a session that are away while the board is killed: what was acknowledged to an uploader reaches them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::{QoS, v5};

use crate::harness::{Appliance, PATIENCE, Site};

/// Keys that are written over and over, each by an uploader of its own.
const KEYS: usize = 4;
/// Acknowledged uploads after which the board is killed, again and again.
const KILLED_AFTER: [usize; 3] = [40, 25, 55];

/// Which version of which key a message tells of: the size is the version's number.
fn told(payload: &[u8]) -> (String, u64) {
    let record: serde_json::Value = serde_json::from_slice(payload).expect("the event record is JSON");
    let object = &record["Records"][0]["s3"]["object"];
    (object["key"].as_str().expect("a key").to_owned(), object["size"].as_u64().expect("a size"))
}

/// A subscriber with a session, in one of the two versions of the protocol.
#[derive(Clone, Copy)]
enum Version {
    V4,
    V5,
}

impl Version {
    fn place(aerie: &Appliance) -> (&str, u16) {
        let authority = aerie.mqtt.split_once("://").expect("the ready line names a URL").1;
        let (host, port) = authority.rsplit_once(':').expect("with a port");
        (host, port.parse().expect("a number"))
    }

    /// Subscribes and leaves.
    fn subscribe(self, aerie: &Appliance) {
        let (host, port) = Version::place(aerie);
        match self {
            Version::V4 => {
                let mut options = rumqttc::MqttOptions::new("away-4", host, port);
                options.set_clean_session(false);
                let (client, mut connection) = rumqttc::Client::new(options, 16);
                client.subscribe("site/#", QoS::AtLeastOnce).expect("the channel has room");
                let subscribed = |event| matches!(event, rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)));
                assert!(connection.iter().any(|event| subscribed(event.expect("the broker is there"))));
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new("away-5", host, port);
                options.set_clean_start(false).set_session_expiry_interval(Some(3600));
                let (client, mut connection) = v5::Client::new(options, 16);
                client.subscribe("site/#", QoS5::AtLeastOnce).expect("the channel has room");
                let subscribed = |event| matches!(event, v5::Event::Incoming(Packet5::SubAck(_)));
                assert!(connection.iter().any(|event| subscribed(event.expect("the broker is there"))));
            }
        }
    }

    /// Comes back and reads until `enough`; the broker must know the session.
    fn fetch(self, aerie: &Appliance, mut enough: impl FnMut(&[u8]) -> bool) {
        let (host, port) = Version::place(aerie);
        match self {
            Version::V4 => {
                let mut options = rumqttc::MqttOptions::new("away-4", host, port);
                options.set_clean_session(false);
                let (_client, mut connection) = rumqttc::Client::new(options, 16);
                loop {
                    let event = connection.recv_timeout(PATIENCE).expect("messages come in time");
                    match event.expect("the broker is there") {
                        rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(answer)) => assert!(answer.session_present),
                        rumqttc::Event::Incoming(rumqttc::Packet::Publish(one)) if enough(&one.payload) => return,
                        _ => {}
                    }
                }
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new("away-5", host, port);
                options.set_clean_start(false).set_session_expiry_interval(Some(3600));
                let (_client, mut connection) = v5::Client::new(options, 16);
                loop {
                    let event = connection.recv_timeout(PATIENCE).expect("messages come in time");
                    match event.expect("the broker is there") {
                        v5::Event::Incoming(Packet5::ConnAck(answer)) => assert!(answer.session_present),
                        v5::Event::Incoming(Packet5::Publish(one)) if enough(&one.payload) => return,
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Uploads until so many are acknowledged, then kills the board in the midst of the others. Gives what was acknowledged.
fn upload_and_kill(
    aerie: Appliance,
    acknowledged: &mut BTreeMap<String, u64>,
    after: usize,
) -> BTreeSet<(String, u64)> {
    let stored = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for lane in 0..KEYS {
            let key = format!("k{lane}");
            let last = acknowledged.get(&key).copied().unwrap_or(0);
            let (aerie, stored) = (&aerie, &stored);
            scope.spawn(move || {
                for version in last + 1.. {
                    if !aerie.put(&format!("frames/{key}"), &vec![b'x'; version as usize]).status.success() {
                        return;
                    }
                    let mut stored = stored.lock().expect("no uploader panics");
                    stored.insert((key.clone(), version));
                    if stored.len() == after {
                        aerie.signal("KILL");
                    }
                }
            });
        }
    });
    aerie.kill();
    let stored = stored.into_inner().expect("no uploader panics");
    for (key, version) in &stored {
        // One more may have been stored though its answer was lost: the next begins beyond it.
        let next = acknowledged.entry(key.clone()).or_default();
        *next = (*next).max(version + 1);
    }
    stored
}

#[test]
fn a_subscriber_that_was_away_while_the_board_was_killed_gets_every_result_in_order() {
    let site = Site::new(3);
    let aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    aerie.run(&["notify", "frames", "--topic", "site/frames"]);
    let subscribers = [Version::V4, Version::V5];
    subscribers.iter().for_each(|subscriber| subscriber.subscribe(&aerie));
    let (mut wanted, mut last) = (BTreeSet::new(), BTreeMap::new());
    let mut aerie = aerie;
    for after in KILLED_AFTER {
        wanted.extend(upload_and_kill(aerie, &mut last, after));
        aerie = site.start();
    }
    for subscriber in subscribers {
        let mut missing = wanted.clone();
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        subscriber.fetch(&aerie, |payload| {
            let (key, version) = told(payload);
            missing.remove(&(key.clone(), version));
            // What comes for the first time comes in order.
            if seen.insert((key.clone(), version)) {
                let before = newest.insert(key.clone(), version).unwrap_or(0);
                assert!(before < version, "{key}: {version} after {before}");
            }
            missing.is_empty()
        });
    }
    aerie.stop();
}
