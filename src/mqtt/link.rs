//! One connection by rumqttc, in either protocol version, behind one type.
//!
//! rumqttc would reconnect by itself and forget what it held, so a `Link` is used for exactly one connection: it is
//! dropped on the first error. Flow control stays with the caller, who never has more than the window on its way; that
//! is why `publish` cannot find rumqttc's channel full. `poll` must not be cancelled half-way: a packet could be lost.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{NetworkOptions, v5};

use super::settings::Endpoint;
use super::trust::Trust;
use super::{Message, MqttError, PublisherSettings};

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// The broker has no room or no right for it now.
    Later,
    /// It will not take this message, whenever it is sent.
    Never,
}

/// What a broker grants a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    pub window: u16,
    pub qos_max: u8,
    pub retain: bool,
    pub packet_bytes_max: usize,
}

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    Connected(Grants),
    /// The oldest publish that was handed over has left, with this packet id (0 for QoS 0).
    Sent(u16),
    Acknowledged(u16, Verdict),
    /// A QoS 2 message was refused. rumqttc does not free its place in the window, so the connection has to end.
    Refused(u16, Verdict),
    /// Pings and the like.
    Other,
}

/// Hands messages to a link.
pub enum LinkSender {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

pub enum Link {
    V4(Box<rumqttc::EventLoop>, u16),
    V5(Box<v5::EventLoop>, u16),
}

/// How links are made; built once, so that bad files are found at the start.
pub struct LinkFactory {
    settings: PublisherSettings,
    endpoint: Endpoint,
    client_id: String,
    status_topic: Option<String>,
    trust: Trust,
}

/// The retained state of the appliance.
pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";

impl LinkFactory {
    pub fn new(settings: PublisherSettings, device: &str) -> Result<LinkFactory, MqttError> {
        settings.check()?;
        let endpoint = settings.endpoint()?;
        let trust = Trust::new(&settings, endpoint.tls)?;
        let client_id = match settings.client_id.as_str() {
            "" => format!("aerie-{device}"),
            given => given.to_owned(),
        };
        let status_topic = settings.status.then(|| format!("aerie/{device}/status"));
        Ok(LinkFactory { settings, endpoint, client_id, status_topic, trust })
    }

    pub fn settings(&self) -> &PublisherSettings {
        &self.settings
    }

    pub fn status_topic(&self) -> Option<&str> {
        self.status_topic.as_deref()
    }

    /// Prepares a connection; the first `poll` makes it.
    pub fn open(&self) -> (LinkSender, Link) {
        let settings = &self.settings;
        let transport = self.trust.transport();
        let mut network = NetworkOptions::new();
        // Results are small and urgent: without this, Nagle's algorithm holds each back for the last one's TCP ACK.
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(u64::from(settings.connect_timeout_s));
        let keep_alive = Duration::from_secs(u64::from(settings.keep_alive_s));
        // The window, the status message and the disconnect fit at once.
        let capacity = usize::from(settings.window) + 2;
        let password = settings.password.as_ref().map_or("", |password| password.0.as_str());
        if settings.version == 4 {
            let mut options = rumqttc::MqttOptions::new(&self.client_id, &self.endpoint.host, self.endpoint.port);
            options.set_transport(transport).set_keep_alive(keep_alive).set_clean_session(true);
            options.set_inflight(settings.window).set_request_channel_capacity(capacity);
            options.set_max_packet_size(64 << 10, crate::limits::MQTT_PACKET_BYTES_MAX);
            if let Some(username) = &settings.username {
                options.set_credentials(username, password);
            }
            if let Some(topic) = &self.status_topic {
                options.set_last_will(rumqttc::LastWill::new(topic, OFFLINE, rumqttc::QoS::AtLeastOnce, true));
            }
            let (client, mut events) = rumqttc::AsyncClient::new(options, capacity);
            events.set_network_options(network);
            return (LinkSender::V4(client), Link::V4(Box::new(events), settings.window));
        }
        let mut options = v5::MqttOptions::new(&self.client_id, &self.endpoint.host, self.endpoint.port);
        options.set_transport(transport).set_keep_alive(keep_alive).set_clean_start(true);
        options.set_outgoing_inflight_upper_limit(settings.window).set_request_channel_capacity(capacity);
        options.set_connection_timeout(u64::from(settings.connect_timeout_s)).set_network_options(network);
        if let Some(username) = &settings.username {
            options.set_credentials(username, password);
        }
        if let Some(topic) = &self.status_topic {
            let qos = v5::mqttbytes::QoS::AtLeastOnce;
            options.set_last_will(v5::mqttbytes::v5::LastWill::new(topic, OFFLINE, qos, true, None));
        }
        let (client, events) = v5::AsyncClient::new(options, capacity);
        (LinkSender::V5(client), Link::V5(Box::new(events), settings.window))
    }
}

impl LinkSender {
    /// Hands a message over; `remaining_s` is its time to live. An error means that the link is gone.
    pub fn publish(&self, message: &Message, qos: u8, retain: bool, remaining_s: Option<u32>) -> Result<(), String> {
        let topic = message.topic.as_str();
        match self {
            LinkSender::V4(client) => {
                let qos = match qos {
                    0 => rumqttc::QoS::AtMostOnce,
                    1 => rumqttc::QoS::AtLeastOnce,
                    _ => rumqttc::QoS::ExactlyOnce,
                };
                client.try_publish(topic, qos, retain, message.payload.to_vec()).map_err(|error| error.to_string())
            }
            LinkSender::V5(client) => {
                let qos = match qos {
                    0 => v5::mqttbytes::QoS::AtMostOnce,
                    1 => v5::mqttbytes::QoS::AtLeastOnce,
                    _ => v5::mqttbytes::QoS::ExactlyOnce,
                };
                let mut properties =
                    v5::mqttbytes::v5::PublishProperties { message_expiry_interval: remaining_s, ..Default::default() };
                if !message.event_id.is_empty() {
                    properties.correlation_data = Some(Bytes::copy_from_slice(message.event_id.as_bytes()));
                    properties.user_properties = vec![("event-id".to_owned(), message.event_id.clone())];
                }
                properties.user_properties.extend(message.properties.iter().cloned());
                let sent = client.try_publish_with_properties(topic, qos, retain, message.payload.clone(), properties);
                sent.map_err(|error| error.to_string())
            }
        }
    }

    /// Says goodbye, so that the broker keeps the last will to itself.
    pub fn disconnect(&self) {
        // A link that is gone already needs no goodbye.
        _ = match self {
            LinkSender::V4(client) => client.try_disconnect().map_err(drop),
            LinkSender::V5(client) => client.try_disconnect().map_err(drop),
        };
    }
}

impl Link {
    /// The next event. Any error ends the link.
    pub async fn poll(&mut self) -> Result<LinkEvent, String> {
        match self {
            Link::V4(events, window) => {
                events.poll().await.map(|event| from_v4(event, *window)).map_err(|e| e.to_string())
            }
            Link::V5(events, window) => {
                events.poll().await.map(|event| from_v5(event, *window)).map_err(|e| e.to_string())
            }
        }
    }
}

fn from_v4(event: rumqttc::Event, window: u16) -> LinkEvent {
    use rumqttc::{Event, Outgoing, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(_)) => LinkEvent::Connected(Grants {
            window,
            qos_max: 2,
            retain: true,
            packet_bytes_max: crate::limits::MQTT_PACKET_BYTES_MAX,
        }),
        Event::Outgoing(Outgoing::Publish(packet)) => LinkEvent::Sent(packet),
        // MQTT 3.1.1 cannot refuse; it can only hang up.
        Event::Incoming(Packet::PubAck(ack)) => LinkEvent::Acknowledged(ack.pkid, Verdict::Accepted),
        Event::Incoming(Packet::PubComp(complete)) => LinkEvent::Acknowledged(complete.pkid, Verdict::Accepted),
        _ => LinkEvent::Other,
    }
}

fn from_v5(event: v5::Event, window: u16) -> LinkEvent {
    use rumqttc::Outgoing;
    use v5::Event;
    use v5::mqttbytes::v5::{Packet, PubAckReason, PubCompReason, PubRecReason};
    match event {
        Event::Incoming(Packet::ConnAck(answer)) => {
            let properties = answer.properties.as_ref();
            let limit = crate::limits::MQTT_PACKET_BYTES_MAX;
            let bytes = properties.and_then(|p| p.max_packet_size).map_or(limit, |bytes| bytes as usize);
            LinkEvent::Connected(Grants {
                window: properties.and_then(|p| p.receive_max).map_or(window, |most| most.min(window)).max(1),
                qos_max: properties.and_then(|p| p.max_qos).unwrap_or(2),
                retain: properties.and_then(|p| p.retain_available) != Some(0),
                packet_bytes_max: bytes.min(limit),
            })
        }
        Event::Outgoing(Outgoing::Publish(packet)) => LinkEvent::Sent(packet),
        Event::Incoming(Packet::PubAck(ack)) => LinkEvent::Acknowledged(
            ack.pkid,
            match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Accepted,
                PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => Verdict::Never,
                _ => Verdict::Later,
            },
        ),
        Event::Incoming(Packet::PubRec(received)) => match received.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => LinkEvent::Other,
            PubRecReason::TopicNameInvalid | PubRecReason::PayloadFormatInvalid => {
                LinkEvent::Refused(received.pkid, Verdict::Never)
            }
            _ => LinkEvent::Refused(received.pkid, Verdict::Later),
        },
        Event::Incoming(Packet::PubComp(complete)) => LinkEvent::Acknowledged(
            complete.pkid,
            match complete.reason {
                PubCompReason::Success => Verdict::Accepted,
                PubCompReason::PacketIdentifierNotFound => Verdict::Later,
            },
        ),
        _ => LinkEvent::Other,
    }
}
