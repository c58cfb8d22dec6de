//! The built-in broker: MQTT 5 and 3.1.1 on loopback, so that nothing else needs to be installed.
//!
//! The crate that does the work keeps everything in memory. Beside it stands a ledger (`ledger.rs`, kept true by
//! `keeper.rs`), by which the outbox keeps a message until the subscribers whose sessions outlive their connections have
//! acknowledged it, and by which sessions, subscriptions and retained messages are found again after a crash. Without a
//! store all of it ends with the process. Lives on the thread `mqtt-broker`, with a current-thread runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, BrokerEventHandler, BrokerShutdownHandle, MqttBroker};

use super::front::{Front, RealAddresses};
use super::gate::{Gate, PUBLISHER_USER};
use super::keeper::Keeper;
use super::ledger::Ledger;
use super::restore::restore;
use super::{BrokerSettings, BrokerStore, MqttError, Password, PublisherSettings};
use crate::limits;
use crate::seam::World;

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    publisher: Password,
    ledger: Option<Arc<Ledger>>,
    shutdown: BrokerShutdownHandle,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the thread tells once it listens.
struct Listening {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    shutdown: BrokerShutdownHandle,
}

impl Broker {
    /// Starts the thread and returns once it listens. What it keeps ends with the process.
    pub fn start(settings: &BrokerSettings, world: &World) -> Result<Broker, MqttError> {
        Broker::start_over(settings, None, world)
    }

    /// The same, with what it finds in the store; the ledger tells a publisher what to store.
    pub fn start_durable(
        settings: &BrokerSettings,
        store: Box<dyn BrokerStore>,
        world: &World,
    ) -> Result<Broker, MqttError> {
        Broker::start_over(settings, Some(store), world)
    }

    fn start_over(
        settings: &BrokerSettings,
        store: Option<Box<dyn BrokerStore>>,
        world: &World,
    ) -> Result<Broker, MqttError> {
        settings.check()?;
        let ledger = store.is_some().then(|| Arc::new(Ledger::new(settings)));
        let kept = store.zip(ledger.clone());
        let mut random = [0; 24];
        world.entropy.fill(&mut random);
        let publisher = Password(hex::encode(random));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Names that are looked up; tokio would allow 512.
            .max_blocking_threads(2)
            .build()
            .map_err(|error| MqttError::Thread(error.to_string()))?;
        let (listening, started) = channel();
        let (end, ended) = channel();
        let (settings, password, world) = (settings.clone(), publisher.clone(), world.clone());
        let thread = std::thread::Builder::new()
            .name("mqtt-broker".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    match bind(&settings, password, kept, &world).await {
                        Err(error) => _ = listening.send(Err(error)),
                        Ok(bound) => serve(bound, &listening).await,
                    }
                });
                runtime.shutdown_timeout(limits::BROKER_STOP_GRACE);
                // Nobody listens when the broker could not be started.
                _ = end.send(());
            })
            .map_err(|error| MqttError::Thread(error.to_string()))?;
        let told = started.recv().map_err(|_| MqttError::Thread("it ended before it listened".to_owned()))??;
        let Listening { address, tls_address, shutdown } = told;
        tracing::info!(%address, "the built-in MQTT broker listens");
        if let Some(address) = tls_address {
            tracing::info!(%address, "the built-in MQTT broker listens for TLS");
        }
        Ok(Broker { address, tls_address, publisher, ledger, shutdown, ended, thread: Some(thread) })
    }

    /// With the real port where 0 was asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Points a publisher at this broker, with the name and password that only it has.
    pub fn lead(&self, settings: &mut PublisherSettings) {
        settings.url = format!("mqtt://{}", within(self.address));
        settings.username = Some(PUBLISHER_USER.to_owned());
        settings.password = Some(self.publisher.clone());
        // The keeper knows messages by a property that MQTT 3.1.1 has not.
        settings.version = 5;
    }

    /// For the publisher; none where nothing is stored.
    pub fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }

    /// Closes all connections and ends the thread, within `BROKER_STOP_GRACE`, twice.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shutdown.shutdown();
        if self.ended.recv_timeout(limits::BROKER_STOP_GRACE * 2).is_err() && !thread.is_finished() {
            tracing::warn!("the MQTT broker does not stop; it ends with the process");
            return;
        }
        if thread.join().is_err() {
            tracing::error!("the MQTT broker's thread had panicked");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where this machine reaches an address that it listens on: one that listens everywhere, over loopback.
fn within(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// What is ready to be served.
struct Bound {
    broker: MqttBroker,
    front: Option<Front>,
    keeper: Option<Arc<Keeper>>,
}

async fn bind(
    settings: &BrokerSettings,
    publisher: Password,
    kept: Option<(Box<dyn BrokerStore>, Arc<Ledger>)>,
    world: &World,
) -> Result<Bound, MqttError> {
    let addresses = RealAddresses::default();
    let front = match &settings.tls {
        Some(tls) => Some(Front::bind(tls, settings.clients_max, addresses.clone(), world).await?),
        None => None,
    };
    let (store, ledger) = kept.unzip();
    let keeper = ledger.clone().map(|ledger| Arc::new(Keeper::new(ledger, settings.queued_messages_max)));
    let gate = Gate::new(settings, publisher, addresses, keeper.clone()).await?;
    let listen = |error: mqtt5::MqttError| MqttError::Listen {
        address: settings.address.to_string(),
        key: "broker.address",
        reason: listen_reason(&error.to_string()),
    };
    let broker = MqttBroker::with_config(config(settings, keeper.clone())).await.map_err(listen)?;
    if let (Some(keeper), Some(ledger), Some(mut store), Some(storage)) = (&keeper, ledger, store, broker.storage()) {
        restore(&ledger, &mut *store, &storage, world.clock.unix_ms()).await;
        keeper.attach(storage, &broker.router());
    }
    Ok(Bound { broker: broker.with_auth_provider(Arc::new(gate)), front, keeper })
}

/// The crate gives a paragraph with a list of addresses; one is asked for, and one reason is wanted.
fn listen_reason(paragraph: &str) -> String {
    let listed = paragraph.lines().find_map(|line| line.trim().strip_prefix("- ")?.split_once(": "));
    listed.map_or(paragraph, |(_, reason)| reason).to_owned()
}

fn config(settings: &BrokerSettings, keeper: Option<Arc<Keeper>>) -> BrokerConfig {
    // Where there is a keeper, it drops what is too much, and counts it, before the crate would.
    let slack = if keeper.is_some() { 2 } else { 1 };
    let storage = StorageConfig::new()
        .with_backend(StorageBackend::Memory)
        .with_max_queued_messages_per_client(settings.queued_messages_max.saturating_mul(slack))
        .with_max_queued_bytes_per_client(settings.queued_bytes_max.saturating_mul(slack));
    let mut config = BrokerConfig::new()
        .with_bind_address(settings.address)
        .with_max_clients(settings.clients_max)
        .with_max_packet_size(settings.message_bytes_max)
        .with_storage(storage)
        // They would wake the processor on an idle board, and tell strangers about it.
        .with_sys_topics_enabled(false);
    // The gate takes the place of this before the first connection is accepted; `false` would ask for a password file.
    config.auth_config.allow_anonymous = true;
    config.event_handler = keeper.map(|keeper| keeper as Arc<dyn BrokerEventHandler>);
    config
}

async fn serve(bound: Bound, listening: &std::sync::mpsc::Sender<Result<Listening, MqttError>>) {
    let Bound { mut broker, front, keeper } = bound;
    let (address, tls_address) = (broker.local_addr(), front.as_ref().and_then(Front::address));
    let shutdown = broker.shutdown_handle();
    let mut ready = broker.ready_receiver();
    let running = broker.run();
    tokio::pin!(running);
    // A stop is heard only once it is ready, so nobody may be able to ask for one before.
    let early = tokio::select! {
        result = &mut running => Some(result),
        _ = ready.wait_for(|ready| *ready) => None,
    };
    let told = match (&early, address) {
        (None, Some(address)) => Ok(Listening { address, tls_address, shutdown }),
        (Some(Err(error)), _) => Err(MqttError::Thread(error.to_string())),
        _ => Err(MqttError::Thread("the broker has ended, or has no address".to_owned())),
    };
    let failed = told.is_err();
    // Where the starter is gone, the handle that would stop us is gone too, and `run` ends.
    if listening.send(told).is_err() || failed {
        return;
    }
    // The runtime ends with the broker, and with it what keeper and front have under way.
    if let Some(keeper) = keeper {
        tokio::spawn(keeper.run());
    }
    if let Some((front, address)) = front.zip(address) {
        tokio::spawn(front.run(within(address)));
    }
    if let Err(error) = running.await {
        tracing::error!(%error, "the MQTT broker failed");
    }
}
