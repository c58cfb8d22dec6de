//! Settings of the publisher and of the built-in broker: plain data, checked by `check`, with no running part.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::MqttError;
use crate::limits;
use crate::tls::TlsVersion;

/// A secret that never shows up in logs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// How results leave the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublisherSettings {
    /// `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`. Empty: the built-in broker.
    pub url: String,
    /// 5, or 4 for MQTT 3.1.1.
    pub version: u8,
    /// Empty: `aerie-{device}` and, when `serve` starts, a part of the pool's id: a broker knows each client once.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<Password>,
    /// PEM file with the certificates that may sign the broker's; `mqtts` needs it.
    pub ca_file: Option<PathBuf>,
    /// PEM files with our own certificate chain and key, for mutual TLS.
    pub client_certificate_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// Publishes `online` and, by last will, `offline` to `aerie/{device}/status`, retained.
    pub status: bool,
    /// Seconds between pings on an idle connection.
    pub keep_alive_s: u16,
    /// Seconds for TCP, TLS and CONNACK together.
    pub connect_timeout_s: u16,
    /// Milliseconds before the first reconnect; doubled up to the maximum, with jitter.
    pub reconnect_ms_min: u64,
    pub reconnect_ms_max: u64,
    /// Messages that wait for their acknowledgement at once. A smaller receive maximum of an MQTT 5 broker wins;
    /// mosquitto takes 20.
    pub window: u16,
    /// Seconds without any acknowledgement, while some are due, after which the connection is given up.
    pub acknowledge_timeout_s: u16,
}

impl Default for PublisherSettings {
    fn default() -> PublisherSettings {
        PublisherSettings {
            url: String::new(),
            version: 5,
            client_id: String::new(),
            username: None,
            password: None,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            status: true,
            keep_alive_s: 30,
            connect_timeout_s: 10,
            reconnect_ms_min: 200,
            reconnect_ms_max: 30_000,
            window: 20,
            acknowledge_timeout_s: 30,
        }
    }
}

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl PublisherSettings {
    /// Finds what could not work, before anything is started.
    pub fn check(&self) -> Result<(), MqttError> {
        let endpoint = self.endpoint()?;
        let refuse = |key, reason: &str| Err(MqttError::Setting { key, reason: reason.to_owned() });
        if !matches!(self.version, 4 | 5) {
            return refuse("version", "is neither 5 nor 4 (MQTT 3.1.1)");
        }
        if endpoint.tls && self.ca_file.is_none() {
            return refuse("ca_file", "is needed for mqtts; /etc/ssl/certs/ca-certificates.crt has the public ones");
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            return refuse("client_key_file", "client_certificate_file and client_key_file go together");
        }
        let files = [&self.ca_file, &self.client_certificate_file, &self.client_key_file];
        if !endpoint.tls && files.iter().any(|file| file.is_some()) {
            return refuse("url", "is mqtt://, which is in clear, and certificates are named; write mqtts://");
        }
        if self.password.is_some() && self.username.is_none() {
            return refuse("username", "is needed with a password");
        }
        if self.window == 0 {
            return refuse("window", "is 0; at least one message must be on its way");
        }
        if self.keep_alive_s < 5 || self.connect_timeout_s == 0 || self.acknowledge_timeout_s == 0 {
            return refuse("keep_alive_s", "keep_alive_s is at least 5, the timeouts at least 1");
        }
        if self.reconnect_ms_min == 0 || self.reconnect_ms_min > self.reconnect_ms_max {
            return refuse("reconnect_ms_min", "is at least 1 and at most reconnect_ms_max");
        }
        Ok(())
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint, MqttError> {
        let refuse = |reason: &str| MqttError::Setting { key: "url", reason: format!("{:?} {reason}", self.url) };
        let (tls, rest) = if let Some(rest) = self.url.strip_prefix("mqtt://") {
            (false, rest)
        } else if let Some(rest) = self.url.strip_prefix("mqtts://") {
            (true, rest)
        } else {
            return Err(refuse("starts with neither mqtt:// nor mqtts://"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '@', '?']) {
            return Err(refuse("has more than host and port; username and password are keys of their own"));
        }
        let default_port = if tls { 8883 } else { 1883 };
        // An IPv6 address is written in brackets, whose colons do not begin a port.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| refuse("has a port that is no number up to 65535"))?)
            }
            _ => (rest, default_port),
        };
        if host.is_empty() || port == 0 {
            return Err(refuse("names no host, or port 0"));
        }
        Ok(Endpoint { host: host.to_owned(), port, tls })
    }
}

/// The built-in broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSettings {
    /// `false` turns it off; `publisher.url` must then name another one.
    pub enabled: bool,
    /// Port 0 takes a free one. Beyond loopback, `users` must not be empty.
    pub address: SocketAddr,
    /// Not used any more: sessions, retained messages and what waits for a subscriber are in the pool's metadata.
    pub folder: Option<PathBuf>,
    /// Bytes in one MQTT packet.
    pub message_bytes_max: usize,
    /// Connections at once.
    pub clients_max: usize,
    /// Messages and bytes kept for a subscriber with a session that is away, in memory and in the pool's metadata. A
    /// message counts with some 700 bytes beside its own; what is too much goes from the oldest on, and is counted.
    pub queued_messages_max: usize,
    pub queued_bytes_max: usize,
    /// Who may connect. Empty: anybody on this machine, without a password.
    pub users: Vec<BrokerUser>,
    /// Who may do what. Empty: everybody who is let in may do all. Otherwise whatever no entry allows is refused.
    pub access: Vec<BrokerAccess>,
    /// A second listener, with TLS.
    pub tls: Option<BrokerTls>,
}

impl Default for BrokerSettings {
    fn default() -> BrokerSettings {
        BrokerSettings {
            enabled: true,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883),
            folder: None,
            message_bytes_max: 1 << 20,
            clients_max: 256,
            queued_messages_max: 100_000,
            queued_bytes_max: 64 << 20,
            users: Vec::new(),
            access: Vec::new(),
            tls: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerUser {
    pub name: String,
    /// In clear, or as an argon2 hash (`$argon2id$…`).
    pub password: Password,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerAccess {
    /// A user's name, `anonymous`, or `*` for all.
    pub user: String,
    /// A topic filter; `%u` stands for the user's name.
    pub topic: String,
    pub permission: BrokerPermission,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerPermission {
    /// Subscribe.
    Read,
    /// Publish.
    Write,
    ReadWrite,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerTls {
    pub address: SocketAddr,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// PEM file with the certificates that may sign a client's; given, every client must show one.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Least version that is spoken: `1.2` or `1.3`.
    #[serde(default)]
    pub version_min: TlsVersion,
}

impl BrokerSettings {
    pub fn check(&self) -> Result<(), MqttError> {
        let refuse = |key, reason: &str| Err(MqttError::Setting { key, reason: reason.to_owned() });
        let tls_address = self.tls.as_ref().map(|tls| tls.address);
        let open = [Some(self.address), tls_address].into_iter().flatten().any(|at| !at.ip().is_loopback());
        if open && self.users.is_empty() {
            return refuse("broker.users", "is empty; beyond loopback every client needs a name and a password");
        }
        if self.users.iter().any(|user| user.name.is_empty() || user.password.0.is_empty()) {
            return refuse("broker.users", "has an empty name or password");
        }
        if !(1024..=limits::MQTT_PACKET_BYTES_MAX).contains(&self.message_bytes_max) {
            return refuse("broker.message_bytes_max", "is below 1 KiB or above MQTT's 256 MiB");
        }
        if self.clients_max < 2 || self.queued_messages_max == 0 || self.queued_bytes_max == 0 {
            return refuse("broker.clients_max", "is below 2, or a queue has no room");
        }
        self.access.iter().try_for_each(|entry| self.check_access(entry))
    }

    /// An entry that names nobody, or no topic, would leave open what it was to close.
    fn check_access(&self, entry: &BrokerAccess) -> Result<(), MqttError> {
        let refuse = |reason: String| Err(MqttError::Setting { key: "broker.access", reason });
        let BrokerAccess { user, topic, .. } = entry;
        if !matches!(user.as_str(), "*" | "anonymous") && !self.users.iter().any(|known| known.name == *user) {
            return refuse(format!(
                "names {user:?}, whom broker.users does not have; add the user, or write \"*\" for all"
            ));
        }
        if !is_filter(topic) {
            return refuse(format!(
                "has the topic {topic:?}, which is no filter: `+` stands for a whole level, `#` for all that follow, at the end"
            ));
        }
        Ok(())
    }
}

/// A topic filter by MQTT's rules.
fn is_filter(topic: &str) -> bool {
    let mut levels = topic.split('/').peekable();
    let mut good = !topic.is_empty() && topic.len() <= limits::MQTT_TOPIC_BYTES_MAX && !topic.contains('\0');
    while let Some(level) = levels.next() {
        good &= match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            other => !other.contains(['+', '#']),
        };
    }
    good
}
