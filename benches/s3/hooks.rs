//! What hooks do: one invocation by itself, events through a real hook to a subscriber, the way of a single event, what
//! was stored while the broker was away, and what an idle server takes.
//!
//! Count and order are checked at the subscriber: the n-th write of a key has n bytes, which the `digest` hook publishes.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aerie::mqtt::{Broker, BrokerSettings};
use aerie::seam::real;
use serde_json::{Value, json};

use crate::client::{Client, Connection, Signer, Target};
use crate::others::Watch;
use crate::process::Aerie;
use crate::sandbox;
use crate::subscriber::{Message, Subscriber};
use crate::work::{on_connections, text};

/// One line of the table.
pub struct Figure {
    what: String,
    value: String,
}

impl Figure {
    pub fn line(&self) -> String {
        format!("| {} | {} |", self.what, self.value)
    }

    pub fn json(&self) -> Value {
        json!({"what": self.what, "value": self.value})
    }
}

const BUCKET: &str = "aerie-bench-hook";
const HOOK: &str = "digest";
/// Keys that are written side by side, a connection each.
const KEYS: usize = 32;
/// Writes of each key, while hook and broker keep up or not.
const WRITES: usize = 625;
/// Writes of each key while the broker is away: 100,000 events in all.
const STORED_WRITES: usize = 3125;
/// Objects that are put one after the other.
const SINGLE_OBJECTS: usize = 2000;
const IDLE: Duration = Duration::from_secs(20);
/// A server that has just started settles within this time.
const SETTLE: Duration = Duration::from_secs(3);
/// Whatever is waited for has come by then.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn measure(binary: &Path, folder: &Path) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    let mut add = |what: &str, value: String| {
        let figure = Figure { what: what.to_owned(), value };
        println!("{}", figure.line());
        figures.push(figure);
    };
    let alone = sandbox::measure(folder)?;
    add("warm invocation of an empty hook", format!("p50 {:.0} µs, p99 {:.0} µs", alone.warm_us, alone.warm_p99_us));
    let cold = (alone.cold_us / 1e3, alone.cold_digest_us / 1e3);
    add(
        "first invocation of a process, code cached",
        format!("empty {:.2} ms, digest (Rust) {:.2} ms", cold.0, cold.1),
    );

    let mut aerie = Aerie::start(binary, &folder.join("events"), "", false)?;
    add("idle", idle(&aerie)?);
    aerie.wire(BUCKET, HOOK)?;
    add("200 of a PUT to MQTT message, one at a time", single(&aerie)?);
    add("events from PUT to subscriber", through(&aerie)?);
    aerie.stop();

    add("stored events after the broker's return", drained(binary, &folder.join("drain"))?);
    Ok(figures)
}

fn idle(aerie: &Aerie) -> Result<String, String> {
    std::thread::sleep(SETTLE);
    let watch = Watch::start(&[aerie]);
    std::thread::sleep(IDLE);
    Ok(format!("{:.0} MiB resident, {:.2} % of a processor", aerie.resident_mib()?, watch.own() * 100.0))
}

/// Objects one after the other; the next goes when the message of the last has come.
fn single(aerie: &Aerie) -> Result<String, String> {
    let subscriber = Subscriber::connect(&aerie.mqtt)?;
    let mut client = Client::connect(&aerie.target)?;
    let mut latencies_us: Vec<u128> = Vec::with_capacity(SINGLE_OBJECTS);
    let mut early: HashMap<String, Instant> = HashMap::new();
    for number in 0..SINGLE_OBJECTS {
        let key = format!("frame-{number:05}");
        let answer = client.send("PUT", &format!("/{BUCKET}/{key}"), "", &[number as u8; 1000])?;
        if answer.status != 200 {
            return Err(format!("PUT gave {}: {}", answer.status, text(&answer.body)));
        }
        let stored = Instant::now();
        let arrived = loop {
            if let Some(arrived) = early.remove(&key) {
                break arrived;
            }
            let message = subscriber.next()?;
            early.insert(message.key().to_owned(), message.arrived);
        };
        latencies_us.push(arrived.saturating_duration_since(stored).as_micros());
    }
    latencies_us.sort_unstable();
    let at = |share: f64| latencies_us[((SINGLE_OBJECTS as f64 * share) as usize).min(SINGLE_OBJECTS - 1)] as f64 / 1e3;
    Ok(format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms ({SINGLE_OBJECTS} objects)", at(0.5), at(0.99), at(1.0)))
}

/// Uploads at full speed, and what comes of them at the same time.
fn through(aerie: &Aerie) -> Result<String, String> {
    let subscriber = Subscriber::connect(&aerie.mqtt)?;
    let watch = Watch::start(&[aerie]);
    let started = Instant::now();
    let (uploaded, order) = std::thread::scope(|scope| {
        let uploads = scope.spawn(|| put_all(&aerie.target, WRITES).map(|()| started.elapsed()));
        let order = follow(&subscriber, WRITES);
        Ok::<_, String>((uploads.join().map_err(|_| "a thread panicked".to_owned())??, order?))
    })?;
    let count = KEYS * WRITES;
    let all_s = order.last.saturating_duration_since(started).as_secs_f64();
    Ok(format!(
        "{count} events, {:.0}/s, none lost, in order of each key, {} repeated (uploaded at {:.0}/s; others took {:.2} processors)",
        count as f64 / all_s,
        order.repeated,
        count as f64 / uploaded.as_secs_f64(),
        watch.others()
    ))
}

/// Events that are stored without a broker, outlive a restart, and leave when it comes.
fn drained(binary: &Path, folder: &Path) -> Result<String, String> {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|e| e.to_string())?.port();
    let mut aerie = Aerie::start(binary, folder, &format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n"), false)?;
    aerie.wire(BUCKET, HOOK)?;
    put_all(&aerie.target, STORED_WRITES)?;
    let count = KEYS * STORED_WRITES;
    let asked = Instant::now();
    while outbox(&aerie, "publications")? < count as u64 || outbox(&aerie, "pending")? > 0 {
        if asked.elapsed() > PATIENCE {
            return Err("the hooks do not come to an end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    aerie.stop();
    aerie.resume()?;
    // Who subscribes must be there before the server finds the broker.
    aerie.pause()?;
    let settings = BrokerSettings {
        address: ([127, 0, 0, 1], port).into(),
        queued_messages_max: 1 << 20,
        queued_bytes_max: 1 << 30,
        ..BrokerSettings::default()
    };
    let broker = Broker::start(&settings, &real::world()).map_err(|error| error.to_string())?;
    let subscriber = Subscriber::connect(&format!("mqtt://127.0.0.1:{port}"))?;
    aerie.go_on()?;
    let order = follow(&subscriber, STORED_WRITES)?;
    let took_s = order.last.saturating_duration_since(order.first).as_secs_f64();
    drop(subscriber);
    aerie.stop();
    broker.stop();
    let rate = count as f64 / took_s;
    Ok(format!("{count} in {took_s:.1} s ({rate:.0}/s), none lost, in order of each key, {} repeated", order.repeated))
}

fn outbox(aerie: &Aerie, what: &str) -> Result<u64, String> {
    let status: Value = serde_json::from_str(&aerie.command(&["status"])?).map_err(|error| error.to_string())?;
    status["outbox"][what].as_u64().ok_or_else(|| format!("the status has no outbox.{what}"))
}

/// Writes each key so often, one byte longer each time, all keys side by side.
fn put_all(target: &Target, writes: usize) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let body = vec![7u8; writes];
    let connection = async || -> Result<(), String> {
        let key = next.fetch_add(1, Ordering::Relaxed);
        let mut connection = Connection::open(target).await?;
        let mut signer = Signer::new(target);
        for length in 1..=writes {
            let body = &body[..length];
            let request = signer.sign("PUT", &format!("/{BUCKET}/key-{key:02}"), "", body);
            let answer = connection.exchange(&request, body).await?;
            if answer.status != 200 {
                return Err(format!("PUT gave {}: {}", answer.status, text(&answer.body)));
            }
        }
        Ok(())
    };
    on_connections(KEYS, PATIENCE, &connection).map(|_| ())
}

/// What the subscriber saw.
struct Order {
    first: Instant,
    last: Instant,
    /// Messages that came once more.
    repeated: usize,
}

/// Takes messages until each key's last write has come; none may be missing, none too early.
fn follow(subscriber: &Subscriber, writes: usize) -> Result<Order, String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut first, mut count, mut repeated) = (None, 0, 0);
    loop {
        let message =
            subscriber.next().map_err(|error| format!("after {count} of {} messages: {error}", KEYS * writes))?;
        let size = size_of(&message)?;
        let last = seen.entry(message.key().to_owned()).or_default();
        if size <= *last {
            repeated += 1;
            continue;
        }
        if size != *last + 1 {
            return Err(format!("{}: write {size} came after write {last}", message.topic));
        }
        *last = size;
        count += 1;
        let first = *first.get_or_insert(message.arrived);
        if count == KEYS * writes {
            return Ok(Order { first, last: message.arrived, repeated });
        }
    }
}

fn size_of(message: &Message) -> Result<usize, String> {
    let payload: Value =
        serde_json::from_slice(&message.payload).map_err(|error| format!("{}: {error}", message.topic))?;
    let size = payload["size"].as_u64().ok_or_else(|| format!("{}: no size in {payload}", message.topic))?;
    usize::try_from(size).map_err(|error| error.to_string())
}
