//! What the tests of MQTT stand on: a queue in memory, a subscriber, and a proxy that cuts connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use crate::mqtt::{
    Broker, BrokerSettings, BrokerStore, KeptRow, Message, PublicationSource, Publisher, PublisherSettings,
    RetainedRow, SessionRow, SettleFuture, Settled,
};
use crate::seam::real::world;

/// Polls until `check` holds; a minute is far beyond what any of these takes on a loaded machine.
pub fn until(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if check() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("waited in vain: {what}");
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A queue in memory.
#[derive(Clone, Default)]
pub struct MemoryQueue {
    pub rows: Arc<Mutex<BTreeMap<i64, Message>>>,
    pub dropped: Arc<Mutex<Vec<i64>>>,
    /// The next removals fail.
    pub failures: Arc<AtomicUsize>,
    pub kept: Arc<Mutex<Kept>>,
}

/// What is stored of the built-in broker.
#[derive(Clone, Default)]
pub struct Kept {
    /// Ids by place.
    pub places: BTreeMap<i64, i64>,
    pub sessions: BTreeMap<String, SessionRow>,
    pub retained: BTreeMap<String, RetainedRow>,
}

impl MemoryQueue {
    pub fn push(&self, message: Message) {
        self.rows.lock().unwrap().insert(message.id, message);
    }

    /// Messages `1..=count`, in lanes of topics `t/0` to `t/{lanes - 1}`; the payload is the id.
    pub fn fill(&self, count: i64, lanes: i64, qos: u8) {
        for id in 1..=count {
            self.push(message(id, &format!("t/{}", id % lanes), qos));
        }
    }

    /// Messages that no broker has taken.
    pub fn len(&self) -> usize {
        self.rows.lock().unwrap().len() - self.kept()
    }

    /// Messages that a broker has taken and keeps.
    pub fn kept(&self) -> usize {
        self.kept.lock().unwrap().places.len()
    }

    /// A copy that shares nothing: what a crash would leave.
    pub fn crashed(&self) -> MemoryQueue {
        let (rows, kept) = (self.rows.lock().unwrap(), self.kept.lock().unwrap());
        MemoryQueue {
            rows: Arc::new(Mutex::new(rows.clone())),
            kept: Arc::new(Mutex::new(kept.clone())),
            ..MemoryQueue::default()
        }
    }
}

impl BrokerStore for MemoryQueue {
    fn sessions(&mut self) -> Result<Vec<SessionRow>, String> {
        Ok(self.kept.lock().unwrap().sessions.values().cloned().collect())
    }

    fn retained(&mut self, after: &str, limit: usize) -> Result<Vec<RetainedRow>, String> {
        let kept = self.kept.lock().unwrap();
        Ok(kept.retained.values().filter(|row| row.topic.as_str() > after).take(limit).cloned().collect())
    }

    fn kept(&mut self, after: i64, limit: usize) -> Result<Vec<KeptRow>, String> {
        let (rows, kept) = (self.rows.lock().unwrap(), self.kept.lock().unwrap());
        let later = kept.places.iter().filter(|(place, _)| **place > after).take(limit);
        Ok(later.map(|(place, id)| KeptRow { place: *place, message: rows[id].clone() }).collect())
    }
}

pub fn message(id: i64, topic: &str, qos: u8) -> Message {
    Message {
        id,
        event_id: format!("event-{id}"),
        topic: topic.to_owned(),
        payload: Bytes::from(id.to_string()),
        qos,
        retain: false,
        expires_ms: None,
        properties: Vec::new(),
    }
}

impl PublicationSource for MemoryQueue {
    fn next(&mut self, after: i64, limit: usize, _bytes: usize) -> Result<Vec<Message>, String> {
        let (rows, kept) = (self.rows.lock().unwrap(), self.kept.lock().unwrap());
        let kept: std::collections::HashSet<i64> = kept.places.values().copied().collect();
        let later = rows.range(after + 1..).filter(|(id, _)| !kept.contains(id)).take(limit);
        Ok(later.map(|(_, message)| message.clone()).collect())
    }

    fn settle(&mut self, settled: Settled) -> SettleFuture {
        let queue = self.clone();
        Box::pin(async move {
            if queue.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                return Err("the drive is away".to_owned());
            }
            let (mut rows, mut kept) = (queue.rows.lock().unwrap(), queue.kept.lock().unwrap());
            kept.places.extend(settled.kept);
            for (client, row) in settled.sessions {
                match row {
                    Some(row) => _ = kept.sessions.insert(client, row),
                    None => _ = kept.sessions.remove(&client),
                }
            }
            for (client, through) in settled.advanced {
                if let Some(row) = kept.sessions.get_mut(&client) {
                    row.through = through;
                }
            }
            for (topic, row) in settled.retained {
                match row {
                    Some(row) => _ = kept.retained.insert(topic, row),
                    None => _ = kept.retained.remove(&topic),
                }
            }
            for id in settled.acknowledged.iter().chain(&settled.dropped) {
                rows.remove(id);
                kept.places.retain(|_, kept| kept != id);
            }
            queue.dropped.lock().unwrap().extend(settled.dropped);
            Ok(())
        })
    }
}

pub fn broker(settings: BrokerSettings) -> Broker {
    let address = if settings.address.port() == 1883 { "127.0.0.1:0".parse().unwrap() } else { settings.address };
    Broker::start(&BrokerSettings { address, ..settings }, &world()).unwrap()
}

pub fn publisher(queue: &MemoryQueue, settings: PublisherSettings) -> Publisher {
    let settings = PublisherSettings { reconnect_ms_min: 5, reconnect_ms_max: 100, ..settings };
    Publisher::start(settings, "dev1", Box::new(queue.clone()), None, world()).unwrap()
}

/// A broker that keeps what it has in the queue, and its publisher.
pub fn durable(queue: &MemoryQueue, settings: BrokerSettings) -> (Broker, Publisher) {
    let settings = BrokerSettings { address: "127.0.0.1:0".parse().unwrap(), ..settings };
    let broker = Broker::start_durable(&settings, Box::new(queue.clone()), &world()).unwrap();
    let mut towards =
        PublisherSettings { status: false, reconnect_ms_min: 5, reconnect_ms_max: 100, ..PublisherSettings::default() };
    broker.lead(&mut towards);
    let publisher = Publisher::start(towards, "dev1", Box::new(queue.clone()), broker.ledger(), world()).unwrap();
    (broker, publisher)
}

/// A message as a subscriber got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub event_id: Option<String>,
    /// User properties beside it.
    pub properties: Vec<(String, String)>,
}

/// An MQTT 5 client on a thread of its own, subscribed with QoS 1.
pub struct Subscriber {
    pub messages: Receiver<Received>,
    /// The SUBACK's reason, one for the one filter.
    pub granted: bool,
    client: rumqttc::v5::Client,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    pub fn connect(address: SocketAddr, filter: &str) -> Subscriber {
        Subscriber::connect_as(address, filter, None).expect("the broker lets the subscriber in")
    }

    pub fn connect_as(address: SocketAddr, filter: &str, login: Option<(&str, &str)>) -> Option<Subscriber> {
        use rumqttc::v5::mqttbytes::QoS;
        use rumqttc::v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
        use rumqttc::v5::{Client, Event, MqttOptions};
        let id = format!("subscriber-{:x}", world().clock.monotonic_ns() ^ u64::from(address.port()));
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_max_packet_size(Some(4 << 20));
        if let Some((name, password)) = login {
            options.set_credentials(name, password);
        }
        let (client, mut connection) = Client::new(options, 16);
        client.subscribe(filter, QoS::AtLeastOnce).unwrap();
        let (sender, messages) = channel();
        let (ready, subscribed) = channel();
        let thread = std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(answer))) => {
                        _ = ready.send(matches!(answer.return_codes[0], SubscribeReasonCode::Success(_)));
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let properties = publish.properties.unwrap_or_default();
                        let (ids, properties): (Vec<_>, Vec<_>) =
                            properties.user_properties.into_iter().partition(|(name, _)| name == "event-id");
                        let received = Received {
                            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                            payload: publish.payload.to_vec(),
                            retain: publish.retain,
                            event_id: ids.into_iter().next().map(|(_, value)| value),
                            properties,
                        };
                        if sender.send(received).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        let granted = subscribed.recv_timeout(Duration::from_secs(60)).ok()?;
        Some(Subscriber { messages, granted, client, thread: Some(thread) })
    }

    /// The next `count` messages.
    pub fn take(&self, count: usize) -> Vec<Received> {
        (0..count)
            .map(|index| {
                let got = self.messages.recv_timeout(Duration::from_secs(60));
                got.unwrap_or_else(|error| panic!("message {index} of {count}: {error}"))
            })
            .collect()
    }

    /// Messages until `count` different payloads are in.
    pub fn take_distinct(&self, count: usize) -> Vec<Received> {
        let (mut all, mut seen) = (Vec::new(), std::collections::HashSet::new());
        while seen.len() < count {
            let got = self.messages.recv_timeout(Duration::from_secs(60));
            let received = got.unwrap_or_else(|error| panic!("{} of {count}: {error}", seen.len()));
            seen.insert(received.payload.clone());
            all.push(received);
        }
        all
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        _ = self.client.disconnect();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// Forwards TCP to `target` and cuts each connection after `bytes` from the client.
pub struct CuttingProxy {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    /// Once false, connections live on.
    pub cutting: Arc<AtomicBool>,
}

impl CuttingProxy {
    pub fn start(target: SocketAddr, bytes: usize) -> CuttingProxy {
        CuttingProxy::serve(TcpListener::bind("127.0.0.1:0").unwrap(), target, bytes)
    }

    pub fn serve(listener: TcpListener, target: SocketAddr, bytes: usize) -> CuttingProxy {
        let proxy = CuttingProxy {
            address: listener.local_addr().unwrap(),
            connections: Arc::new(AtomicUsize::new(0)),
            cutting: Arc::new(AtomicBool::new(true)),
        };
        let (connections, cutting) = (Arc::clone(&proxy.connections), Arc::clone(&proxy.cutting));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(target)) else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let cutting = Arc::clone(&cutting);
                std::thread::spawn(move || forward(client, server, bytes, &cutting));
                std::thread::spawn(move || forward(back_from, back_to, usize::MAX, &AtomicBool::new(false)));
            }
        });
        proxy
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, bytes: usize, cutting: &AtomicBool) {
    let mut left = bytes;
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        left = left.saturating_sub(read);
        if left == 0 && cutting.load(Ordering::SeqCst) {
            break;
        }
    }
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}
