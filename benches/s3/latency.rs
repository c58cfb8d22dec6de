//! From the 200 of a PUT to the MQTT message of the hook that looked at the object: what a robot waits for.
//!
//! The bucket must be wired to a hook that publishes for each object, `digest` for instance.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};

use crate::client::{Client, Target};

pub const BUCKET: &str = "aerie-bench-hook";
const OBJECTS: usize = 2000;
/// Every wait for a message ends by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts objects one after the other; gives the line to print.
pub fn measure(target: &Target, mqtt: &str) -> Result<String, String> {
    let wanted = Arc::new(());
    let messages = subscribe(mqtt, Arc::downgrade(&wanted))?;
    let mut client = Client::connect(target)?;
    let mut latencies_us = Vec::with_capacity(OBJECTS);
    let mut early: HashMap<String, Instant> = HashMap::new();
    for number in 0..OBJECTS {
        let key = format!("frame-{number:05}");
        let answer = client.send("PUT", &format!("/{BUCKET}/{key}"), "", &[number as u8; 1000])?;
        if answer.status != 200 {
            return Err(format!("{BUCKET}: PUT gave {}; is the bucket wired to a hook?", answer.status));
        }
        let stored = Instant::now();
        let arrived = loop {
            if let Some(arrived) = early.remove(&key) {
                break arrived;
            }
            let (topic, at) = messages.recv_timeout(PATIENCE).map_err(|_| format!("no message for {key}"))?;
            early.insert(topic.rsplit('/').next().unwrap_or_default().to_owned(), at);
        };
        latencies_us.push(u32::try_from(arrived.saturating_duration_since(stored).as_micros()).unwrap_or(u32::MAX));
    }
    latencies_us.sort_unstable();
    let at = |share: f64| f64::from(latencies_us[((OBJECTS as f64 * share) as usize).min(OBJECTS - 1)]) / 1e3;
    Ok(format!(
        "hook latency  200 of a PUT to MQTT message, {OBJECTS} objects: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    ))
}

/// Topics with the time of their arrival, from a thread of its own. The broker may go once they are not `wanted` any more.
fn subscribe(url: &str, wanted: Weak<()>) -> Result<Receiver<(String, Instant)>, String> {
    let form = || format!("{url}: expected mqtt://HOST:PORT");
    let (host, port) = url.strip_prefix("mqtt://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(form)?;
    let mut options = MqttOptions::new("aerie-bench", host, port.parse().map_err(|_| form())?);
    options.set_keep_alive(Duration::from_secs(30));
    let (sender, messages) = channel();
    let (ready, subscribed) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let (client, mut events) = AsyncClient::new(options, 16);
            client.try_subscribe("aerie/hooks/#", QoS::AtLeastOnce).expect("an empty queue has room");
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        let topic = String::from_utf8_lossy(&message.topic).into_owned();
                        if sender.send((topic, Instant::now())).is_err() {
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
        });
    });
    subscribed.recv_timeout(PATIENCE).map_err(|_| format!("{url}: the broker does not answer"))?;
    Ok(messages)
}
