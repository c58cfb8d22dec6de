//! An MQTT subscriber, so that a board needs no other one: prints `TOPIC PAYLOAD`, one line a message.
//!
//! It waits for a broker that is away, and ends where waiting is of no use: a wrong password, a topic that is not allowed.

use std::io::Write;
use std::time::Duration;

use argh::FromArgs;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, Incoming, MqttOptions};

/// Print MQTT messages as they arrive. A name and a password for the broker: AERIE_MQTT_USERNAME, AERIE_MQTT_PASSWORD.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "subscribe")]
pub(super) struct Subscribe {
    #[argh(
        positional,
        description = "topic filter, for example 'aerie/hooks/#'",
        default = "String::from(\"aerie/#\")"
    )]
    topic: String,
    #[argh(
        option,
        description = "broker, mqtt://127.0.0.1:1883 unless said",
        default = "String::from(\"mqtt://127.0.0.1:1883\")"
    )]
    url: String,
    #[argh(option, description = "end after this many messages")]
    count: Option<u64>,
}

/// Pause before the next try to reach the broker.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

impl Subscribe {
    pub fn run(self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(self.print_messages())
    }

    async fn print_messages(self) -> Result<(), String> {
        let (host, port) = place(&self.url).ok_or_else(|| {
            let clear = "it speaks no TLS (mosquitto_sub --cafile does)";
            format!("{}: write the broker as mqtt://HOST:PORT; {clear}", self.url)
        })?;
        let mut options = MqttOptions::new(format!("aerie-subscribe-{}", std::process::id()), host, port);
        options.set_keep_alive(Duration::from_secs(30));
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(username) = variable("AERIE_MQTT_USERNAME") {
            options.set_credentials(username, variable("AERIE_MQTT_PASSWORD").unwrap_or_default());
        }
        let (client, mut events) = AsyncClient::new(options, 16);
        let mut said = String::new();
        let mut seen = 0u64;
        while self.count.is_none_or(|count| seen < count) {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    client.try_subscribe(&self.topic, QoS::AtLeastOnce).map_err(|error| error.to_string())?;
                }
                Ok(Event::Incoming(Incoming::Publish(message))) => {
                    seen += 1;
                    let (topic, payload) =
                        (String::from_utf8_lossy(&message.topic), String::from_utf8_lossy(&message.payload));
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{topic} {payload}").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
                }
                Ok(Event::Incoming(Incoming::SubAck(answer))) => {
                    if !answer.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))) {
                        return Err(format!("{}: the broker does not let this user subscribe to it", self.topic));
                    }
                    said.clear();
                    eprintln!("subscribed to {}", self.topic);
                }
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(
                    ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword,
                )) => {
                    let variables = "AERIE_MQTT_USERNAME and AERIE_MQTT_PASSWORD";
                    return Err(format!("{}: the broker wants another name or password; set {variables}", self.url));
                }
                Err(error) => {
                    let error = error.to_string();
                    if said != error {
                        eprintln!("{}", waits(&self.url, &error));
                        said = error;
                    }
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
        Ok(())
    }
}

/// What is said while the broker is away.
fn waits(url: &str, error: &str) -> String {
    format!(
        "aerie: {url}: {error}; trying again (`aerie serve` prints its broker's address when it is ready: say it by --url)"
    )
}

/// Host and port of a broker's URL.
fn place(url: &str) -> Option<(String, u16)> {
    let rest = url.strip_prefix("mqtt://")?.trim_end_matches('/');
    match rest.rsplit_once(':') {
        // The colons of an IPv6 address in brackets begin no port.
        Some((host, port)) if !port.ends_with(']') => Some((host.to_owned(), port.parse().ok()?)),
        _ => (!rest.is_empty()).then(|| (rest.to_owned(), 1883)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_named_with_and_without_a_port() {
        for (url, expected) in [
            ("mqtt://board7.local", Some(("board7.local", 1883))),
            ("mqtt://127.0.0.1:1884/", Some(("127.0.0.1", 1884))),
            ("mqtt://[::1]", Some(("[::1]", 1883))),
            ("mqtt://", None),
            ("mqtt://host:port", None),
            ("http://host:1", None),
        ] {
            assert_eq!(place(url), expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        }
    }
}
