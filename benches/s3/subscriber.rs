//! A subscriber that notes when each message came.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};

/// Every wait for a message ends by then.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub arrived: Instant,
}

impl Message {
    /// The last part of the topic: the key, where keys have no parts.
    pub fn key(&self) -> &str {
        self.topic.rsplit('/').next().unwrap_or_default()
    }
}

/// Its thread ends with the broker's connection, in silence once the value is gone.
pub struct Subscriber {
    messages: Receiver<Message>,
    _wanted: Arc<()>,
}

impl Subscriber {
    /// Takes all results of hooks from the broker at `mqtt://HOST:PORT`.
    pub fn connect(url: &str) -> Result<Subscriber, String> {
        let form = || format!("{url}: expected mqtt://HOST:PORT");
        let (host, port) = url.strip_prefix("mqtt://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(form)?;
        let mut options = MqttOptions::new("aerie-bench", host, port.parse().map_err(|_| form())?);
        options.set_keep_alive(Duration::from_secs(30));
        let wanted = Arc::new(());
        let (sender, messages) = channel();
        let (ready, subscribed) = channel();
        let still_wanted = Arc::downgrade(&wanted);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(receive(options, sender, ready, still_wanted));
        });
        subscribed.recv_timeout(PATIENCE).map_err(|_| format!("{url}: the broker does not answer"))?;
        Ok(Subscriber { messages, _wanted: wanted })
    }

    pub fn next(&self) -> Result<Message, String> {
        self.messages.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no message for {} s", PATIENCE.as_secs()),
            RecvTimeoutError::Disconnected => "the broker closed the connection".to_owned(),
        })
    }
}

async fn receive(
    options: MqttOptions,
    messages: std::sync::mpsc::Sender<Message>,
    ready: std::sync::mpsc::Sender<()>,
    wanted: Weak<()>,
) {
    let (client, mut events) = AsyncClient::new(options, 16);
    client.try_subscribe("aerie/hooks/#", QoS::AtLeastOnce).expect("an empty queue has room");
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                let message = Message { topic, payload: message.payload.to_vec(), arrived: Instant::now() };
                if messages.send(message).is_err() {
                    return;
                }
            }
            // Nobody waits for it after the first time.
            Ok(Event::Incoming(Incoming::SubAck(_))) => _ = ready.send(()),
            Ok(_) => {}
            Err(error) => {
                if wanted.strong_count() > 0 {
                    eprintln!("s3 bench: {error}");
                }
                return;
            }
        }
    }
}
