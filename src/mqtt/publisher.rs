//! The publisher's thread: one connection after the other, and what has to outlive them.
//!
//! Every error ends the connection; the next one starts clean and offers again, in order, whatever the queue still
//! holds. Lives on the thread `mqtt`, with a current-thread runtime.

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger::{Ledger, Taken};
use super::link::LinkFactory;
use super::session::{self, Ended, Head};
use super::{
    LatencyHistogram, LedgerStats, Message, MqttError, PublicationSource, PublisherSettings, SettleFuture, Settled,
};
use crate::limits;
use crate::seam::World;

/// A running publisher.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    ledger: Option<Arc<Ledger>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Counters since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublisherStats {
    pub connected: bool,
    /// Acknowledged by the broker.
    pub published: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Dropped because their time had passed.
    pub expired: u64,
    /// Dropped because the broker will never take them.
    pub refused: u64,
    /// Put off because the broker has no room or no right for them now.
    pub put_off: u64,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
    /// What the built-in broker keeps for subscribers that are away.
    pub ledger: LedgerStats,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub wake: Notify,
    pub connected: AtomicBool,
    pub published: AtomicU64,
    pub connections: AtomicU64,
    pub expired: AtomicU64,
    pub refused: AtomicU64,
    pub put_off: AtomicU64,
    pub last_error: Mutex<Option<String>>,
    /// From the read of a message to its acknowledgement.
    pub latency: LatencyHistogram,
}

impl Publisher {
    /// Starts the thread. `device` names the appliance in the client id and in the status topic; the ledger is that of the
    /// built-in broker, where it is the one to publish to.
    pub fn start(
        settings: PublisherSettings,
        device: &str,
        source: Box<dyn PublicationSource>,
        ledger: Option<Arc<Ledger>>,
        world: World,
    ) -> Result<Publisher, MqttError> {
        let factory = LinkFactory::new(settings, device)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| MqttError::Thread(error.to_string()))?;
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = watch::channel(false);
        let (inside, entered) = (Arc::clone(&shared), ledger.clone());
        let thread = std::thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn(move || {
                let queue = Queue::new(source, entered);
                runtime.block_on(run(factory, queue, inside, stopped, world));
                // A name that is still being looked up must not hold the thread.
                runtime.shutdown_background();
            })
            .map_err(|error| MqttError::Thread(error.to_string()))?;
        Ok(Publisher { shared, ledger, stop, thread: Some(thread) })
    }

    /// Tells the publisher that the queue has grown. From any thread; never blocks.
    pub fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.wake.notify_one())
    }

    pub fn stats(&self) -> PublisherStats {
        let shared = &self.shared;
        PublisherStats {
            connected: shared.connected.load(Ordering::Relaxed),
            published: shared.published.load(Ordering::Relaxed),
            connections: shared.connections.load(Ordering::Relaxed),
            expired: shared.expired.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            put_off: shared.put_off.load(Ordering::Relaxed),
            last_error: shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ledger: self.ledger.as_ref().map(|ledger| ledger.stats()).unwrap_or_default(),
        }
    }

    /// From the read of a message to its acknowledgement.
    pub fn latency(&self) -> &LatencyHistogram {
        &self.shared.latency
    }

    /// Lets what is on its way arrive, says goodbye and ends the thread. Bounded by `PUBLISH_STOP_GRACE`, twice.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the MQTT thread had panicked; what it had not published stays in the outbox");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(
    factory: LinkFactory,
    mut queue: Queue,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    world: World,
) {
    let mut backoff = Backoff::new(factory.settings());
    let mut stuck: (Option<Head>, u32) = (None, 0);
    while !*stop.borrow() {
        // A message on which connection after connection dies is passed over once, with its topic, for the others' sake.
        let held = if stuck.1 >= limits::PUBLISH_STUCK_MAX { stuck.0.take().map(|head| head.topic) } else { None };
        if let Some(topic) = &held {
            stuck.1 = 0;
            tracing::warn!(topic, "the broker hangs up on a message of this topic; the others go first");
        }
        let began = Instant::now();
        let ended = session::run(&factory, &mut queue, &shared, &mut stop, &world, held).await;
        shared.connected.store(false, Ordering::Relaxed);
        let Ended::Lost { reason, progress, head } = ended else { break };
        let reason = advised(reason);
        if progress && began.elapsed() >= limits::PUBLISH_STEADY {
            backoff.reset();
        }
        stuck = match head {
            Some(head) if stuck.0.as_ref() == Some(&head) => (Some(head), stuck.1 + 1),
            Some(head) => (Some(head), 1),
            None => stuck,
        };
        let outage = backoff.is_first();
        let wait = backoff.next(&world);
        if outage {
            tracing::warn!(
                reason,
                wait_ms = wait.as_millis(),
                "the MQTT connection is lost; results wait in the outbox"
            );
        } else {
            tracing::debug!(reason, wait_ms = wait.as_millis(), "still no MQTT connection");
        }
        *shared.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        rest(&mut queue, &mut stop, wait).await;
    }
    queue.finish().await;
}

/// Why there is no connection, with the setting that helps where the reason names none.
fn advised(reason: String) -> String {
    let advice = [
        (
            &["NotAuthorized", "BadUserNamePassword"][..],
            "the broker wants another name or password: mqtt.username, mqtt.password",
        ),
        (
            &["CertificateRequired", "HandshakeFailure"],
            "the broker asks for a certificate: mqtt.client_certificate_file, mqtt.client_key_file",
        ),
        (&["UnknownIssuer"], "mqtt.ca_file does not hold the authority that signed the broker's certificate"),
        (&["UnknownCA"], "the broker does not know the authority that signed mqtt.client_certificate_file"),
        (
            &["InvalidContentType", "TLS: I/O: Connection reset", "error: IO: Connection reset"],
            "mqtts:// is for a port with TLS, mqtt:// for one without",
        ),
    ];
    let found = advice.iter().find(|(signs, _)| signs.iter().any(|sign| reason.contains(sign)));
    found.map_or(reason.clone(), |(_, advice)| format!("{reason}; {advice}"))
}

/// Waits, but goes on with removals and ends early at a stop.
async fn rest(queue: &mut Queue, stop: &mut watch::Receiver<bool>, wait: Duration) {
    let waited = sleep(wait);
    tokio::pin!(waited);
    loop {
        tokio::select! {
            () = &mut waited => return,
            () = session::stopped(stop) => return,
            () = queue.drive() => {}
        }
    }
}

/// Waits between connections: doubled each time, with jitter so that a fleet does not come back all at once.
struct Backoff {
    min_ms: u64,
    max_ms: u64,
    next_ms: u64,
}

impl Backoff {
    fn new(settings: &PublisherSettings) -> Backoff {
        let (min_ms, max_ms) = (settings.reconnect_ms_min, settings.reconnect_ms_max);
        Backoff { min_ms, max_ms, next_ms: min_ms }
    }

    fn is_first(&self) -> bool {
        self.next_ms == self.min_ms
    }

    fn reset(&mut self) {
        self.next_ms = self.min_ms;
    }

    fn next(&mut self, world: &World) -> Duration {
        let mut random = [0; 8];
        world.entropy.fill(&mut random);
        let base = self.next_ms;
        self.next_ms = base.saturating_mul(2).min(self.max_ms);
        Duration::from_millis(base / 2 + u64::from_le_bytes(random) % (base / 2 + 1))
    }
}

/// The durable queue with what has been settled but not yet stored.
pub(super) struct Queue {
    source: Box<dyn PublicationSource>,
    ledger: Option<Arc<Ledger>>,
    /// Not handed to the source yet.
    fresh: Batch,
    /// Handed over; not known to be stored.
    under_way: Option<(Batch, SettleFuture)>,
    /// Messages of these, so that a new connection does not send them again.
    unremoved: HashSet<i64>,
    not_before: Instant,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Batch {
    settled: Settled,
    /// Of the ledger's news in it.
    ticket: u64,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.settled == Settled::default()
    }

    /// Adds what the ledger has to tell.
    fn hear(&mut self, ledger: &Ledger) {
        let news = ledger.news();
        let released: HashSet<i64> = news.released.iter().copied().collect();
        let settled = &mut self.settled;
        if !released.is_empty() {
            // Those that are not stored as kept yet need not be.
            settled.kept.retain(|(_, id)| !released.contains(id));
        }
        settled.acknowledged.extend(news.released);
        settled.sessions.extend(news.sessions);
        settled.advanced.extend(news.advanced);
        settled.retained.extend(news.retained);
        self.ticket = news.ticket;
    }
}

impl Queue {
    fn new(source: Box<dyn PublicationSource>, ledger: Option<Arc<Ledger>>) -> Queue {
        Queue {
            source,
            ledger,
            fresh: Batch::default(),
            under_way: None,
            unremoved: HashSet::new(),
            not_before: Instant::now(),
        }
    }

    /// Room for further messages on their way.
    pub fn has_room(&self) -> bool {
        self.unremoved.len() < limits::PUBLISH_UNSETTLED_MAX
    }

    /// Messages in order from after `after`, and whether the queue was read to its end.
    pub fn next(&mut self, after: &mut i64, limit: usize) -> Result<(Vec<Message>, bool), String> {
        let mut messages = self.source.next(*after, limit, limits::PUBLISH_AHEAD_BYTES_MAX)?;
        let end = messages.is_empty();
        if let Some(last) = messages.last() {
            assert!(last.id > *after, "the queue gives messages in rising order");
            *after = last.id;
        }
        messages.retain(|message| !self.unremoved.contains(&message.id));
        Ok((messages, end))
    }

    /// The broker has it. `kept`: a session may be waiting for it there.
    pub fn acknowledge(&mut self, taken: Taken<'_>, kept: bool) {
        self.unremoved.insert(taken.id);
        match self.ledger.as_ref().filter(|_| kept).and_then(|ledger| ledger.take(taken)) {
            Some(place) => self.fresh.settled.kept.push((place, taken.id)),
            None => self.fresh.settled.acknowledged.push(taken.id),
        }
    }

    /// The broker may have messages that it has not acknowledged to us.
    pub fn disorder(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.disorder();
        }
    }

    pub fn drop_message(&mut self, id: i64) {
        self.fresh.settled.dropped.push(id);
        self.unremoved.insert(id);
    }

    /// Resolves when one batch has been stored; never, while nothing is to be stored. May be cancelled.
    pub async fn drive(&mut self) {
        if self.under_way.is_none() {
            self.hear();
            while self.fresh.is_empty() {
                match &self.ledger {
                    Some(ledger) => ledger.changed().await,
                    None => return pending().await,
                }
                self.hear();
            }
            sleep_until(self.not_before).await;
            // Everything that was settled while the last batch was written goes into this one.
            let batch = std::mem::take(&mut self.fresh);
            let future = self.source.settle(batch.settled.clone());
            self.under_way = Some((batch, future));
        }
        let Some((_, future)) = &mut self.under_way else { return };
        let result = future.await;
        let Some((mut batch, _)) = self.under_way.take() else { return };
        match result {
            Ok(()) => {
                let Settled { acknowledged, dropped, kept, .. } = &batch.settled;
                for id in acknowledged.iter().chain(dropped).chain(kept.iter().map(|(_, id)| id)) {
                    self.unremoved.remove(id);
                }
                if let Some(ledger) = &self.ledger {
                    ledger.confirm(batch.ticket);
                }
            }
            Err(error) => {
                tracing::warn!(error, "acknowledged messages cannot be taken off the outbox; trying again");
                let since = std::mem::take(&mut self.fresh);
                // What is newer comes last, and wins.
                batch.settled.acknowledged.extend(since.settled.acknowledged);
                batch.settled.dropped.extend(since.settled.dropped);
                batch.settled.kept.extend(since.settled.kept);
                batch.settled.sessions.extend(since.settled.sessions);
                batch.settled.advanced.extend(since.settled.advanced);
                batch.settled.retained.extend(since.settled.retained);
                batch.ticket = batch.ticket.max(since.ticket);
                self.fresh = batch;
                self.not_before = Instant::now() + limits::OUTBOX_COMMIT_RETRY;
            }
        }
    }

    fn hear(&mut self) {
        if let Some(ledger) = &self.ledger {
            self.fresh.hear(ledger);
        }
    }

    /// Stores what is settled, within the grace. What is left will be sent again after the next start.
    async fn finish(&mut self) {
        let all = async {
            self.hear();
            while !self.unremoved.is_empty() || !self.fresh.is_empty() || self.under_way.is_some() {
                self.drive().await;
                self.hear();
            }
        };
        if tokio::time::timeout(limits::PUBLISH_STOP_GRACE, all).await.is_err() {
            tracing::warn!("some acknowledged messages stay in the outbox; they will be published twice");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_publisher_away_names_the_setting_that_helps() {
        for (reason, setting) in [
            ("Connection refused, return code: `NotAuthorized`", "mqtt.username"),
            (
                "Mqtt state: Mqtt serialization/deserialization error: IO: received fatal alert: CertificateRequired",
                "mqtt.client_key_file",
            ),
            ("TLS: I/O: invalid peer certificate: UnknownIssuer", "mqtt.ca_file"),
            ("TLS: I/O: Connection reset by peer (os error 104)", "mqtts://"),
        ] {
            let told = advised(reason.to_owned());
            assert!(told.starts_with(reason) && told.contains(setting), "{told}");
        }
        assert_eq!(
            advised("I/O: Connection refused (os error 111)".to_owned()),
            "I/O: Connection refused (os error 111)"
        );
    }
}
