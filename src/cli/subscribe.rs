//! An MQTT subscriber, so that a board needs no other one: prints `TOPIC PAYLOAD`, one line a message.

use std::io::Write;
use std::time::Duration;

use argh::FromArgs;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};

/// Print MQTT messages as they arrive.
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
        let (host, port) = self
            .url
            .strip_prefix("mqtt://")
            .and_then(|rest| rest.trim_end_matches('/').rsplit_once(':'))
            .and_then(|(host, port)| Some((host.to_owned(), port.parse::<u16>().ok()?)))
            .ok_or_else(|| format!("{}: write the broker as mqtt://HOST:PORT", self.url))?;
        let mut options = MqttOptions::new(format!("aerie-subscribe-{}", std::process::id()), host, port);
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 16);
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
                Ok(Event::Incoming(Incoming::SubAck(_))) => eprintln!("subscribed to {}", self.topic),
                Ok(_) => {}
                Err(error) => {
                    eprintln!("aerie: {}: {error}; trying again", self.url);
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
        Ok(())
    }
}
