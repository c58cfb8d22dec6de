//! One connection to the broker, from CONNECT to its first error.
//!
//! Invariants: never more than the granted window is unacknowledged, and never is a message that many ahead of one that
//! is: rumqttc gives out its packet ids in turn, and would give that of a QoS 2 message whose PUBCOMP is still to come a
//! second time. Packet ids are paired with messages in the order in which they were handed over; a message is settled by
//! its own acknowledgement and by nothing else.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::ledger::{Taken, bytes_of, name_of};
use super::link::{Grants, LinkEvent, LinkFactory, LinkSender, OFFLINE, ONLINE, Verdict};
use super::publisher::{Queue, Shared};
use super::{Message, check_topic};
use crate::limits;
use crate::seam::World;

/// The oldest message that was on its way when a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub id: i64,
    pub topic: String,
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The program stops.
    Stopped,
    Lost {
        reason: String,
        /// The broker acknowledged something, or there was nothing to acknowledge.
        progress: bool,
        head: Option<Head>,
    },
}

/// Messages that are read ahead at once.
const READ_AHEAD: usize = 64;
/// Bytes of an MQTT 5 publish beside topic, payload and twice the event id.
const PUBLISH_OVERHEAD_BYTES: usize = 64;
/// Bytes of an MQTT 5 user property beside name and value.
const PROPERTY_OVERHEAD_BYTES: usize = 5;
/// Topics that one connection may pass over; more of them end it.
const HELD_TOPICS_MAX: usize = 1024;

/// Resolves when the program stops.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the publisher itself is gone: a stop as well.
    _ = stop.wait_for(|stop| *stop).await;
}

/// A message between hand-over and acknowledgement.
#[derive(Debug)]
struct Sending {
    /// 0 for a status message, which no queue holds.
    id: i64,
    topic: String,
    /// Among those above QoS 0; they get their packet ids in this order.
    turn: Option<u64>,
    /// As the built-in broker's ledger knows it.
    name: u64,
    bytes: u64,
    read_ns: u64,
}

struct Session<'a> {
    factory: &'a LinkFactory,
    queue: &'a mut Queue,
    shared: &'a Shared,
    world: &'a World,
    sender: LinkSender,
    /// None until the broker has answered.
    grants: Option<Grants>,
    /// The last message that was read from the queue.
    cursor: i64,
    ahead: VecDeque<Message>,
    /// The queue may hold more than was read.
    more: bool,
    /// Handed over, packet id not known yet.
    handed: VecDeque<Sending>,
    in_flight: HashMap<u16, Sending>,
    next_turn: u64,
    /// Turns of what is unacknowledged.
    turns: BTreeSet<u64>,
    /// Topics of refused messages: what follows them must not overtake.
    held: HashSet<String>,
    retry_at: Option<Instant>,
    silent_at: Instant,
    acknowledge_at: Option<Instant>,
    progress: bool,
}

/// Runs one connection. `held` is a topic to pass over.
pub async fn run(
    factory: &LinkFactory,
    queue: &mut Queue,
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
    world: &World,
    held: Option<String>,
) -> Ended {
    let (sender, link) = factory.open();
    // The future inside survives when `next` is cancelled: no packet is torn in half.
    let events = stream::unfold(link, |mut link| async move {
        let event = link.poll().await;
        Some((event, link))
    });
    tokio::pin!(events);
    let connect = Duration::from_secs(u64::from(factory.settings().connect_timeout_s) + 1);
    let mut session = Session {
        factory,
        queue,
        shared,
        world,
        sender,
        grants: None,
        cursor: 0,
        ahead: VecDeque::new(),
        more: true,
        handed: VecDeque::new(),
        in_flight: HashMap::new(),
        next_turn: 0,
        turns: BTreeSet::new(),
        retry_at: held.is_some().then(|| Instant::now() + limits::PUBLISH_REFUSED_RETRY),
        held: held.into_iter().collect(),
        silent_at: Instant::now() + connect,
        acknowledge_at: None,
        progress: false,
    };
    loop {
        if let Err(reason) = session.fill() {
            return session.lost(reason);
        }
        let (deadline, what) = session.deadline();
        let result = tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => session.take(event),
                Some(Err(error)) => Err(error),
                None => Err("the connection has ended".to_owned()),
            },
            () = session.queue.drive() => Ok(()),
            () = shared.wake.notified() => {
                session.more = true;
                Ok(())
            }
            () = stopped(stop) => {
                session.say_goodbye(&mut events).await;
                return Ended::Stopped;
            }
            () = sleep_until(deadline) => Err(what.to_owned()),
        };
        if let Err(reason) = result {
            return session.lost(reason);
        }
    }
}

impl Session<'_> {
    /// Hands over messages until the window is full or the queue is empty.
    fn fill(&mut self) -> Result<(), String> {
        let Some(grants) = self.grants else { return Ok(()) };
        while self.has_turn(grants.window) && self.queue.has_room() {
            let Some(message) = self.next_message()? else { return Ok(()) };
            self.offer(message, grants)?;
        }
        Ok(())
    }

    fn has_turn(&self, window: u16) -> bool {
        let oldest = self.turns.first().copied().unwrap_or(self.next_turn);
        self.handed.len() + self.in_flight.len() < usize::from(window) && self.next_turn - oldest < u64::from(window)
    }

    fn next_message(&mut self) -> Result<Option<Message>, String> {
        while self.ahead.is_empty() && self.more {
            let (messages, end) = self.queue.next(&mut self.cursor, READ_AHEAD)?;
            self.more = !end;
            self.ahead = messages.into();
        }
        Ok(self.ahead.pop_front())
    }

    /// Hands one message over, or drops it where it can never be sent.
    fn offer(&mut self, message: Message, grants: Grants) -> Result<(), String> {
        if self.held.contains(&message.topic) {
            return Ok(());
        }
        let now_ms = self.world.clock.unix_ms();
        let remaining_s = match message.expires_ms.map(|at| at - now_ms) {
            Some(left) if left <= 0 => {
                self.shared.expired.fetch_add(1, Ordering::Relaxed);
                self.queue.drop_message(message.id);
                return Ok(());
            }
            Some(left) => Some(u32::try_from(left.div_euclid(1000) + 1).unwrap_or(u32::MAX)),
            None => None,
        };
        let bytes = message.payload.len()
            + message.topic.len()
            + 2 * message.event_id.len()
            + message
                .properties
                .iter()
                .map(|(name, value)| name.len() + value.len() + PROPERTY_OVERHEAD_BYTES)
                .sum::<usize>()
            + PUBLISH_OVERHEAD_BYTES;
        let reason = match check_topic(&message.topic) {
            Err(error) => Some(error.to_string()),
            Ok(()) if bytes > grants.packet_bytes_max => {
                Some(format!("it has {bytes} bytes, the broker takes {}", grants.packet_bytes_max))
            }
            Ok(()) => None,
        };
        if let Some(reason) = reason {
            self.refuse(message.id, &message.topic, &reason);
            return Ok(());
        }
        self.hand_over(message, grants, remaining_s)
    }

    fn hand_over(&mut self, message: Message, grants: Grants, remaining_s: Option<u32>) -> Result<(), String> {
        let qos = message.qos.min(grants.qos_max);
        self.sender.publish(&message, qos, message.retain && grants.retain, remaining_s)?;
        let read_ns = self.world.clock.monotonic_ns();
        let (name, bytes) = (name_of(message.event_id.as_bytes(), &message.topic), bytes_of(&message));
        let turn = (qos > 0).then_some(self.next_turn);
        if let Some(turn) = turn {
            self.turns.insert(turn);
            self.next_turn += 1;
        }
        self.handed.push_back(Sending { id: message.id, topic: message.topic, turn, name, bytes, read_ns });
        if self.acknowledge_at.is_none() {
            self.expect_acknowledgement();
        }
        Ok(())
    }

    fn refuse(&mut self, id: i64, topic: &str, reason: &str) {
        tracing::error!(id, topic, reason, "a message can never be published and is dropped");
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        self.queue.drop_message(id);
    }

    fn take(&mut self, event: LinkEvent) -> Result<(), String> {
        // A ping and its answer pass at least once in `keep_alive_s`.
        self.silent_at = Instant::now() + Duration::from_secs(u64::from(self.factory.settings().keep_alive_s) * 2);
        match event {
            LinkEvent::Connected(grants) => self.connected(grants),
            LinkEvent::Sent(packet) => {
                let sending = self.handed.pop_front().ok_or("rumqttc sent a message that was not handed over")?;
                if packet == 0 {
                    // At QoS 0 no session waits for it.
                    self.acknowledged(&sending, false);
                } else {
                    self.in_flight.insert(packet, sending);
                }
                Ok(())
            }
            LinkEvent::Acknowledged(packet, verdict) => {
                let sending = self.in_flight.remove(&packet).ok_or("the broker acknowledged what was not sent")?;
                sending.turn.iter().for_each(|turn| _ = self.turns.remove(turn));
                self.settle(&sending, verdict)
            }
            LinkEvent::Refused(packet, verdict) => {
                let sending = self.in_flight.remove(&packet).ok_or("the broker refused what was not sent")?;
                self.settle(&sending, verdict)?;
                Err(format!("the broker refused a QoS 2 message to {}", sending.topic))
            }
            LinkEvent::Other => Ok(()),
        }
    }

    fn connected(&mut self, grants: Grants) -> Result<(), String> {
        self.grants = Some(grants);
        self.shared.connected.store(true, Ordering::Relaxed);
        let connections = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(connections, window = grants.window, "connected to the MQTT broker");
        self.send_status(ONLINE, grants)
    }

    fn send_status(&mut self, state: &'static str, grants: Grants) -> Result<(), String> {
        let Some(topic) = self.factory.status_topic() else { return Ok(()) };
        let message = Message {
            id: 0,
            event_id: String::new(),
            topic: topic.to_owned(),
            payload: Bytes::from_static(state.as_bytes()),
            qos: 1,
            retain: true,
            expires_ms: None,
            properties: Vec::new(),
        };
        self.hand_over(message, grants, None)
    }

    fn settle(&mut self, sending: &Sending, verdict: Verdict) -> Result<(), String> {
        match verdict {
            Verdict::Accepted => self.acknowledged(sending, true),
            Verdict::Never if sending.id > 0 => {
                self.refuse(sending.id, &sending.topic, "the broker says that it is malformed");
            }
            Verdict::Never | Verdict::Later => {
                // It stays in the queue for the next connection, and so does what follows it in its topic.
                tracing::warn!(topic = sending.topic, "the broker refuses a message for now; check its access rules");
                self.shared.put_off.fetch_add(1, Ordering::Relaxed);
                self.retry_at.get_or_insert_with(|| Instant::now() + limits::PUBLISH_REFUSED_RETRY);
                self.held.insert(sending.topic.clone());
                if self.held.len() > HELD_TOPICS_MAX {
                    return Err("the broker refuses too many topics; check its access rules".to_owned());
                }
            }
        }
        self.expect_acknowledgement();
        Ok(())
    }

    fn acknowledged(&mut self, sending: &Sending, kept: bool) {
        self.expect_acknowledgement();
        if sending.id == 0 {
            return;
        }
        self.progress = true;
        self.shared.published.fetch_add(1, Ordering::Relaxed);
        let ns = self.world.clock.monotonic_ns().saturating_sub(sending.read_ns);
        self.shared.latency.record_us(ns / 1000);
        let Sending { id, name, bytes, .. } = *sending;
        self.queue.acknowledge(Taken { id, topic: &sending.topic, name, bytes }, kept);
    }

    /// Starts the wait for the next acknowledgement, where one is due.
    fn expect_acknowledgement(&mut self) {
        let due = !self.handed.is_empty() || !self.in_flight.is_empty();
        let wait = Duration::from_secs(u64::from(self.factory.settings().acknowledge_timeout_s));
        self.acknowledge_at = due.then(|| Instant::now() + wait);
    }

    fn deadline(&self) -> (Instant, &'static str) {
        let mut first = (self.silent_at, "the broker is silent");
        if let Some(at) = self.acknowledge_at.filter(|at| *at < first.0) {
            first = (at, "the broker acknowledges nothing");
        }
        if let Some(at) = self.retry_at.filter(|at| *at < first.0) {
            first = (at, "refused messages are offered again");
        }
        first
    }

    /// Waits for what is on its way, then disconnects.
    async fn say_goodbye<S>(&mut self, events: &mut S)
    where
        S: futures_util::Stream<Item = Result<LinkEvent, String>> + Unpin,
    {
        let Some(grants) = self.grants else { return };
        let goodbye = async {
            self.send_status(OFFLINE, grants)?;
            while !self.handed.is_empty() || !self.in_flight.is_empty() {
                match events.next().await {
                    Some(event) => self.take(event?)?,
                    None => return Ok(()),
                }
            }
            self.sender.disconnect();
            // The broker closes the connection, which ends the stream with an error.
            while let Some(Ok(_)) = events.next().await {}
            Ok::<(), String>(())
        };
        match timeout(limits::PUBLISH_STOP_GRACE, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::debug!(reason, "the MQTT connection ended before the goodbye"),
            Err(_) => tracing::debug!("the MQTT broker did not take the goodbye in time"),
        }
    }

    fn lost(&self, reason: String) -> Ended {
        if !self.handed.is_empty() || !self.in_flight.is_empty() {
            self.queue.disorder();
        }
        let head = self.in_flight.values().filter(|sending| sending.id > 0).min_by_key(|sending| sending.id);
        let head = head.map(|sending| Head { id: sending.id, topic: sending.topic.clone() });
        // Coming up and finding nothing to send is as good as it gets.
        let idle = self.grants.is_some() && head.is_none() && self.handed.is_empty();
        Ended::Lost { reason, progress: self.progress || idle, head: head.filter(|_| !self.progress) }
    }
}
