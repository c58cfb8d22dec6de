//! The appliance: opens the pool and its metadata, starts every part in the order in which it may be needed, and stops
//! them in reverse.
//!
//! Threads: one for each core (S3), one for each drive, the metadata writer, hook threads, MQTT, the broker, upkeep.
//! Knows nothing of S3's operations or of SQL; it owns the parts' life times, and no more.

mod admin;
mod core;
pub mod credentials;
mod metrics;
mod place;
mod process;

pub use place::expand;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_channel::oneshot;

use crate::config::{self, Plan, Settings};
use crate::engine::Engine;
use crate::hook;
use crate::meta::{self, Meta};
use crate::mqtt::Broker;
use crate::outbox::Outbox;
use crate::pool::{Pool, PoolOptions};
use crate::seam::files::RealStorage;
use crate::seam::{Storage, World};
use crate::upkeep::Upkeep;
use crate::wire;
use admin::AdminApi;
use core::Connections;
use credentials::RootKeys;

/// A running appliance.
pub struct Server {
    address: SocketAddr,
    /// Where results go.
    mqtt: Option<String>,
    keys: RootKeys,
    geometry: String,
    cores: Vec<Core>,
    parts: Parts,
}

struct Core {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Everything below the cores; shared with the admin API.
#[derive(Clone)]
struct Parts {
    settings: Arc<Settings>,
    world: World,
    pool: Arc<Pool>,
    meta: Meta,
    hooks: Arc<hook::Hooks>,
    outbox: Arc<Outbox>,
    upkeep: Arc<Upkeep>,
    broker: Option<Arc<Broker>>,
    connections: Arc<Connections>,
    plan: Arc<Plan>,
}

/// Starts everything; when this returns, requests are answered.
pub fn start(settings: Settings, places: &[String], world: World) -> Result<Server, String> {
    process::raise_descriptor_limit();
    let pool = open_pool(&settings, places, &world)?;
    let geometry = pool.geometry();
    let plan = config::plan(&settings, usize::from(geometry.data) + usize::from(geometry.parity), geometry.parity)
        .map_err(|error| error.to_string())?;
    let meta = open_meta(&pool, &world)?;
    let storages: Vec<Arc<dyn Storage>> = pool.copies().into_iter().map(|(_, storage, _)| storage).collect();
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let keys = credentials::root_keys(environment, &settings.credentials, &storages, &world)?;

    let engines = engine_factory(&meta, &pool, &world);
    let (broker, mut publisher) = start_broker(&settings)?;
    if publisher.url.is_none() {
        publisher.url = broker.as_ref().map(|broker| broker.url());
    }
    let mqtt = publisher.url.clone();
    let hooks = hook::Hooks::start(settings.hooks.clone(), settings.inference.clone(), meta.clone(), engines.clone())
        .map_err(|error| error.to_string())?;
    let hooks = Arc::new(hooks);
    let outbox = Outbox::start(meta.clone(), engines.clone(), hooks.clone(), settings.outbox.clone(), publisher, world.clone())
        .map_err(|error| error.to_string())?;
    let upkeep = Upkeep::start(meta.clone(), pool.clone(), engines.clone(), settings.upkeep.clone(), world.clone())
        .map_err(|error| error.to_string())?;
    let parts = Parts {
        connections: Connections::new(settings.server.connections_max),
        settings: Arc::new(settings),
        world,
        pool,
        meta,
        hooks,
        outbox: Arc::new(outbox),
        upkeep: Arc::new(upkeep),
        broker: broker.map(Arc::new),
        plan: Arc::new(plan),
    };
    let (address, cores) = start_cores(&parts, &keys, &engines)?;
    let geometry = format!("{}+{}", geometry.data, geometry.parity);
    Ok(Server { address, mqtt, keys, geometry, cores, parts })
}

/// Makes an engine for the calling thread.
type EngineFactory = Arc<dyn Fn() -> Result<Engine, crate::engine::EngineError> + Send + Sync>;

fn engine_factory(meta: &Meta, pool: &Arc<Pool>, world: &World) -> EngineFactory {
    let (meta, pool, world) = (meta.clone(), pool.clone(), world.clone());
    Arc::new(move || Engine::new(meta.clone(), pool.clone(), world.clone()))
}

fn open_pool(settings: &Settings, places: &[String], world: &World) -> Result<Arc<Pool>, String> {
    if places.is_empty() {
        return Err("no drives: name their folders, for example `aerie serve /data/d{1..6}`".to_owned());
    }
    // At the very first start nothing is there yet. Later a folder that is not there is a drive that is missing.
    let first = places.iter().all(|place| !Path::new(place).exists());
    let open = |place: &String| {
        let opened = if first { RealStorage::create(Path::new(place)) } else { RealStorage::open(Path::new(place)) };
        match opened {
            Ok(storage) => (place.clone(), Some(Arc::new(storage) as Arc<dyn Storage>)),
            Err(error) => {
                tracing::warn!(place, %error, "a drive cannot be opened");
                (place.clone(), None)
            }
        }
    };
    let options = PoolOptions {
        parity: settings.pool.parity,
        write_shards_min: settings.pool.write_shards_min,
        world: world.clone(),
    };
    Pool::open(places.iter().map(open).collect(), options).map_err(|error| error.to_string())
}

fn open_meta(pool: &Arc<Pool>, world: &World) -> Result<Meta, String> {
    let copies: Vec<meta::Copy> = pool
        .copies()
        .into_iter()
        .map(|(slot, storage, current)| meta::Copy { slot, storage, current })
        .collect();
    let of_pool = Arc::downgrade(pool);
    let on_copy_failed = Arc::new(move |slot: usize| {
        let Some(pool) = of_pool.upgrade() else { return };
        let copies = pool.current_copies().into_iter().filter(|copy| *copy != slot).collect();
        if let Err(error) = pool.set_copies(copies) {
            tracing::error!(slot, %error, "the labels could not be told that a copy of the metadata is behind");
        }
    });
    let opened = Meta::open(copies, &pool.id(), on_copy_failed, world.clone()).map_err(|error| error.to_string())?;
    pool.set_copies(opened.current_copies()).map_err(|error| error.to_string())?;
    let reader = opened.reader().map_err(|error| error.to_string())?;
    pool.reserve_segments(reader.last_segment().map_err(|error| error.to_string())?);
    Ok(opened)
}

/// The broker of our own, unless it is off or an external one is named.
fn start_broker(settings: &Settings) -> Result<(Option<Broker>, crate::mqtt::PublisherSettings), String> {
    let publisher = settings.mqtt.clone();
    if !settings.broker.enabled || publisher.url.is_some() {
        return Ok((None, publisher));
    }
    let broker = Broker::start(&settings.broker).map_err(|error| error.to_string())?;
    Ok((Some(broker), publisher))
}

fn start_cores(parts: &Parts, keys: &RootKeys, engines: &EngineFactory) -> Result<(SocketAddr, Vec<Core>), String> {
    let wanted = &parts.settings.server.address;
    let mut address = wanted
        .to_socket_addrs()
        .map_err(|error| format!("{wanted}: {error}; write the address as HOST:PORT"))?
        .next()
        .ok_or_else(|| format!("{wanted}: no such host"))?;
    let busy = |error: std::io::Error| format!("{wanted}: {error}; choose another --address");
    refuse_shared(address).map_err(busy)?;
    let mut cores = Vec::with_capacity(parts.plan.cores);
    for index in 0..parts.plan.cores {
        let listener = core::listen(address).map_err(busy)?;
        address = listener.local_addr().map_err(busy)?;
        cores.push(start_core(index, listener, parts, keys, engines)?);
    }
    Ok((address, cores))
}

/// SO_REUSEPORT would let two servers of one user share a port in silence: try without it first.
fn refuse_shared(address: SocketAddr) -> std::io::Result<()> {
    if address.port() == 0 { Ok(()) } else { std::net::TcpListener::bind(address).map(drop) }
}

fn start_core(
    index: usize,
    listener: std::net::TcpListener,
    parts: &Parts,
    keys: &RootKeys,
    engines: &EngineFactory,
) -> Result<Core, String> {
    let (stop, stopped) = oneshot::channel();
    let (ready, started) = crossbeam_channel::bounded::<Result<(), String>>(1);
    let (parts, keys, engines) = (parts.clone(), keys.clone(), engines.clone());
    let run = move || {
        core::pin_to(index);
        let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build();
        let prepared = runtime
            .map_err(|error| format!("no runtime for a core: {error}"))
            .and_then(|runtime| Ok((runtime, engines().map_err(|error| error.to_string())?)));
        let (mut runtime, engine) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let engine = Rc::new(engine);
        let settings = Arc::new(wire_settings(&parts, &keys));
        let connections = parts.connections.clone();
        let service = Rc::new(wire::Service::new(engine.clone(), settings, Rc::new(AdminApi::new(parts, engine))));
        _ = ready.send(Ok(()));
        runtime.block_on(core::serve(listener, service, connections, stopped));
    };
    let thread = std::thread::Builder::new()
        .name(format!("core-{index}"))
        .spawn(run)
        .map_err(|error| format!("no thread for a core: {error}"))?;
    match started.recv() {
        Ok(Ok(())) => Ok(Core { stop, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err("a core ended before it began".to_owned()),
    }
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an operator needs first, on one line.
    pub fn ready_line(&self) -> String {
        let mqtt = self.mqtt.as_deref().unwrap_or("mqtt=off");
        format!("ready http://{} {mqtt} drives={}", self.address, self.geometry)
    }

    /// File of the root keys, where they are of our own making.
    pub fn credentials_file(&self) -> Option<&str> {
        self.keys.file.as_deref()
    }

    /// Lets open requests finish, then stops every part; each wait is bounded.
    pub fn stop(self) {
        let threads: Vec<JoinHandle<()>> = self
            .cores
            .into_iter()
            .map(|core| {
                // A core that has ended needs no word.
                _ = core.stop.send(());
                core.thread
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a core panicked");
            }
        }
        self.parts.upkeep.stop();
        self.parts.outbox.stop();
        self.parts.hooks.stop();
        if let Some(broker) = &self.parts.broker {
            broker.stop();
        }
        self.parts.meta.close();
        self.parts.pool.close();
    }
}
