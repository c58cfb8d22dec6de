//! The appliance: opens the pool and its metadata, starts every part in the order in which it may be needed, and stops
//! them in reverse.
//!
//! Threads: one for each core (S3), one for each drive, the metadata writer, hook threads, errands, MQTT, the broker, upkeep.
//! Knows nothing of S3's operations or of SQL; it owns the parts' life times, and no more.

mod admin;
mod buckets;
mod core;
pub mod credentials;
mod errands;
mod hooks;
mod keys;
mod metrics;
mod place;
mod process;
mod transforms;
mod transport;

pub use place::expand;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_channel::oneshot;

use crate::access::{Registry, Secret};
use crate::config::{self, Plan, Settings};
use crate::crypt::{EncryptionRule, KeyRing};
use crate::engine::{Engine, open_meta};
use crate::hook;
use crate::meta::{Meta, MetaError};
use crate::mqtt::{Broker, BrokerSettings, BrokerStore, MqttError, PublisherSettings};
use crate::outbox::{Budget, BudgetSettings, KeptPublications, Outbox, OutboxParts};
use crate::pool::{Pool, PoolOptions};
use crate::seam::files::RealStorage;
use crate::seam::real::ThermalZones;
use crate::seam::{self, Storage, Thermometer, World, thread};
use crate::tls::{self, PlainHttp};
use crate::upkeep::Upkeep;
use crate::wire;
use admin::AdminApi;
use core::Connections;
use credentials::RootKeys;
use errands::Errands;
use place::Place;

/// A running appliance.
pub struct Server {
    address: SocketAddr,
    /// Where results go.
    mqtt: Option<String>,
    keys: RootKeys,
    geometry: String,
    cores: Vec<Core>,
    broker: Option<Broker>,
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
    pool: Arc<Pool>,
    meta: Meta,
    access: Arc<Registry>,
    hooks: Arc<hook::Hooks>,
    errands: Arc<Errands>,
    transform_budget: Arc<Budget>,
    outbox: Arc<Outbox>,
    upkeep: Arc<Upkeep>,
    connections: Arc<Connections>,
    tls: Option<Arc<tls::Acceptor>>,
    transfers: Arc<wire::Transfers>,
    traffic: Arc<wire::Traffic>,
    plan: Arc<Plan>,
    places: Arc<Vec<Place>>,
}

/// Starts everything; when this returns, requests are answered.
pub fn start(settings: Settings, places: &[String], world: World) -> Result<Server, String> {
    process::raise_descriptor_limit();
    // What can be found wrong without the drives is found before a pool is made on them.
    settings.broker.check().map_err(|error| error.to_string())?;
    settings.outbox.check().map_err(|error| error.to_string())?;
    settings.hooks.check()?;
    if !settings.mqtt.url.is_empty() {
        settings.mqtt.check().map_err(|error| error.to_string())?;
    }
    let tls = start_tls(&settings, &world)?;
    let (pool, places) = open_pool(&settings, places, &world)?;
    let geometry = pool.geometry();
    let plan = config::plan(&settings, geometry.shards(), Some(geometry.parity)).map_err(|error| error.to_string())?;
    pool.keep_latest(plan.latest_bytes);
    let meta = open_meta(&pool, world.clone()).map_err(|error| error.to_string())?;
    let storages: Vec<Arc<dyn Storage>> = pool.copies().into_iter().map(|(_, storage, _)| storage).collect();
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let keys = credentials::root_keys(environment, &settings.credentials, &storages, &world)?;
    let ring = Arc::new(keys::open(environment, &settings.encryption, &pool, &world)?);
    let vault = pollster::block_on(ring.vault()).map_err(|error| error.to_string())?;
    let access = Registry::open(meta.clone(), vault, &keys.access_key, Secret::new(&keys.secret_key), world.clone());
    let access = Arc::new(access.map_err(|error| error.to_string())?);

    let engines = engine_factory(&meta, &pool, &world, &ring, keys::store_rule(&settings.encryption));
    let store = || Ok(Box::new(KeptPublications { reader: meta.reader()? }) as Box<dyn BrokerStore>);
    let (broker, publisher) = start_broker(&settings, &pool.id(), &store, &world)?;
    let mqtt = publisher.as_ref().map(|publisher| publisher.url.clone());
    let hooks = hook::Hooks::new(settings.hooks.clone(), settings.inference.clone());
    let hooks = Arc::new(hooks.map_err(|error| error.to_string())?);
    engines().and_then(|engine| keys::sweep(&engine)).map_err(|error| error.to_string())?;
    let thermometer: Arc<dyn Thermometer> = Arc::new(ThermalZones::new());
    let outbox = Outbox::start(OutboxParts {
        background: true,
        meta: meta.clone(),
        engines: engines.clone(),
        runner: hooks.clone(),
        world: world.clone(),
        settings: settings.outbox.clone(),
        budget: BudgetSettings { cpu_share: settings.hooks.cpu_share, temperature_max: settings.hooks.temperature_max },
        thermometer: thermometer.clone(),
        publisher,
        ledger: broker.as_ref().and_then(Broker::ledger),
    });
    let outbox = outbox.map_err(|error| error.to_string())?;
    let start_upkeep = || {
        let (settings, lifecycle) = (settings.upkeep.clone(), settings.lifecycle.clone());
        Upkeep::start_with(meta.clone(), pool.clone(), settings, lifecycle, world.clone())
    };
    let upkeep = seam::thread::in_background(start_upkeep).map_err(|error| error.to_string())?;
    let errands = Errands::start(&engines).map_err(|error| format!("no thread for errands: {error}"))?;
    let parts = Parts {
        errands: Arc::new(errands),
        transform_budget: transforms::budget(&settings.hooks, thermometer)?,
        connections: Connections::new(settings.server.connections_max),
        tls,
        transfers: wire::Transfers::new(plan.transfers_max),
        traffic: wire::Traffic::new(),
        settings: Arc::new(settings),
        pool,
        meta,
        access,
        hooks,
        outbox: Arc::new(outbox),
        upkeep: Arc::new(upkeep),
        plan: Arc::new(plan),
        places: Arc::new(places),
    };
    let (address, cores) = start_cores(&parts, wire_settings(&parts, &engines)?, &engines)?;
    let geometry = format!("{}+{}", geometry.data, geometry.parity);
    Ok(Server { address, mqtt, keys, geometry, cores, broker, parts })
}

/// Makes an engine for the calling thread.
type EngineFactory = Arc<dyn Fn() -> Result<Engine, crate::engine::EngineError> + Send + Sync>;

fn engine_factory(
    meta: &Meta,
    pool: &Arc<Pool>,
    world: &World,
    ring: &Arc<KeyRing>,
    rule: Option<EncryptionRule>,
) -> EngineFactory {
    let (meta, pool, world, ring) = (meta.clone(), pool.clone(), world.clone(), ring.clone());
    Arc::new(move || {
        let engine = Engine::new(meta.clone(), pool.clone(), world.clone())?;
        Ok(engine.with_keys(ring.clone(), rule.clone()))
    })
}

fn open_pool(settings: &Settings, places: &[String], world: &World) -> Result<(Arc<Pool>, Vec<Place>), String> {
    if places.is_empty() {
        return Err("no drives: name their folders, for example `aerie serve /data/d{1..6}`".to_owned());
    }
    let spots = place::look_at(places);
    place::refuse_repeated(&spots)?;
    // At the very first start nothing is there yet. Later a folder that is not there is a drive that is missing.
    let first = spots.iter().all(|spot| spot.exists == Some(false));
    let opened = place::open_all(&spots, first);
    let options = PoolOptions {
        parity: settings.pool.parity,
        write_shards_min: settings.pool.write_shards_min,
        replace: replacements(&settings.pool.replace, places)?,
        world: world.clone(),
    };
    let pool = Pool::open(opened, options).map_err(|error| error.to_string())?;
    pool.reopen_by(Arc::new(|name: &str| {
        RealStorage::open(Path::new(name)).map(|storage| Arc::new(storage) as Arc<dyn Storage>)
    }));
    Ok((pool, spots))
}

/// The places that `--replace` names, as the list of drives writes them.
fn replacements(named: &[String], places: &[String]) -> Result<Vec<String>, String> {
    let find = |name: &String| {
        let place = places.iter().find(|place| Path::new(place) == Path::new(name)).cloned();
        place.ok_or_else(|| {
            format!("--replace {name}: no drive is given by that name; write it as in the list of drives")
        })
    };
    named.iter().map(find).collect()
}

/// The broker of our own, unless it is off or an external one is named; and where results are published.
fn start_broker(
    settings: &Settings,
    pool_id: &str,
    store: &dyn Fn() -> Result<Box<dyn BrokerStore>, MetaError>,
    world: &World,
) -> Result<(Option<Broker>, Option<PublisherSettings>), String> {
    let mut publisher = settings.mqtt.clone();
    if publisher.client_id.is_empty() {
        // Boards of one profile share its device's name, and a broker lets a client id in once.
        publisher.client_id = format!("aerie-{}-{}", settings.outbox.device, &pool_id[..8.min(pool_id.len())]);
    }
    if !publisher.url.is_empty() {
        return Ok((None, Some(publisher)));
    }
    if !settings.broker.enabled {
        tracing::warn!("no broker: results wait in the outbox until mqtt.url names one or broker.enabled is true");
        return Ok((None, None));
    }
    if settings.broker.folder.is_some() {
        tracing::warn!("broker.folder is not used any more: sessions and what waits for them are in the metadata");
    }
    let start = |settings: &BrokerSettings| {
        let store = store().map_err(|error| MqttError::Thread(error.to_string()))?;
        Broker::start_durable(settings, store, world)
    };
    let broker = match start(&settings.broker) {
        // The usual port is taken, by another appliance for instance; nobody asked for this very one.
        Err(MqttError::Listen { address, reason, .. }) if settings.broker == BrokerSettings::default() => {
            tracing::warn!(address, reason, "the built-in broker takes another port");
            let mut elsewhere = settings.broker.clone();
            elsewhere.address.set_port(0);
            start(&elsewhere)
        }
        started => started,
    };
    let broker = broker.map_err(|error| error.to_string())?;
    broker.lead(&mut publisher);
    Ok((Some(broker), Some(publisher)))
}

fn start_tls(settings: &Settings, world: &World) -> Result<Option<Arc<tls::Acceptor>>, String> {
    let acceptor = settings.server.tls.clone().map(|tls| tls::Acceptor::new(tls, world.clone()));
    Ok(acceptor.transpose().map_err(|error| format!("server.tls: {error}"))?.map(Arc::new))
}

/// What the wire layer is told; one for all cores.
fn wire_settings(parts: &Parts, engines: &EngineFactory) -> Result<wire::Settings, String> {
    let engine = engines().map_err(|error| error.to_string())?;
    let world = engine.world().clone();
    let clock = world.clock.clone();
    let (hooks, engine) = (parts.hooks.clone(), std::sync::Mutex::new(engine));
    let exists = move |name: &str| hooks.takes_events(&engine.lock().expect("no holder of this lock panics"), name);
    let clients = &parts.settings.server.clients;
    Ok(wire::Settings {
        region: parts.settings.server.region.clone(),
        domain: parts.settings.server.domain.clone(),
        access: parts.access.clone(),
        server: "Aerie".to_owned(),
        host_id: parts.settings.outbox.device.clone(),
        timeouts: wire::Timeouts::default(),
        plain_http: parts.settings.server.tls.as_ref().map_or(PlainHttp::Serve, |tls| tls.plain_http),
        hook_exists: wire::HookExists::new(exists),
        transforms: transforms::transforms(&parts.hooks, &parts.errands, &parts.transform_budget),
        object_ownership: parts.settings.server.object_ownership,
        clients: wire::Clients::new(
            wire::ClientLimits {
                connections_max: clients.connections_max,
                requests_per_second: clients.requests_per_second,
                bytes_per_second: clients.bytes_per_second,
            },
            clock,
        ),
        audit_requests: parts.settings.audit.requests,
        transfers: parts.transfers.clone(),
        traffic: parts.traffic.clone(),
        customer_keys_in_clear: parts.settings.encryption.customer_keys_in_clear,
    })
}

fn start_cores(
    parts: &Parts,
    settings: wire::Settings,
    engines: &EngineFactory,
) -> Result<(SocketAddr, Vec<Core>), String> {
    let settings = Arc::new(settings);
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
        cores.push(start_core(index, listener, parts, settings.clone(), engines)?);
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
    settings: Arc<wire::Settings>,
    engines: &EngineFactory,
) -> Result<Core, String> {
    let (stop, stopped) = oneshot::channel();
    let (ready, started) = crossbeam_channel::bounded::<Result<(), String>>(1);
    let (parts, engines) = (parts.clone(), engines.clone());
    let run = move || {
        thread::pin_to(index);
        let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build();
        let prepared = runtime.map_err(|error| format!("no runtime for a core: {error}")).and_then(|runtime| {
            let engine = engines().map_err(|error| error.to_string())?;
            Ok((runtime, engine))
        });
        let (mut runtime, engine) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let engine = Rc::new(engine);
        let door = core::Door { connections: parts.connections.clone(), tls: parts.tls.clone() };
        let admin = Rc::new(AdminApi::new(parts, engine.clone()));
        let service = wire::Service::new(engine, settings, admin);
        _ = ready.send(Ok(()));
        runtime.block_on(core::serve(listener, service, door, stopped));
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
        let scheme = if self.parts.tls.is_some() { "https" } else { "http" };
        format!("ready {scheme}://{} {mqtt} drives={}", self.address, self.geometry)
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
        let Parts { pool, meta, access, hooks, errands, outbox, upkeep, .. } = self.parts;
        access.stop();
        errands.stop();
        upkeep.stop();
        match Arc::try_unwrap(outbox) {
            Ok(outbox) => outbox.stop(),
            Err(_) => {
                tracing::warn!(
                    "a connection that was cut still holds the outbox; what is pending goes on at the next start"
                )
            }
        }
        hooks.stop();
        if let Some(broker) = self.broker {
            broker.stop();
        }
        meta.close();
        pool.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::real;

    #[test]
    fn one_setting_turns_the_broker_off_and_an_external_one_takes_its_place() {
        let mut settings = Settings::default();
        let store = || panic!("no broker of our own is started");
        settings.broker.enabled = false;
        assert!(matches!(start_broker(&settings, "pool", &store, &real::world()), Ok((None, None))));
        settings.broker.enabled = true;
        settings.mqtt.url = "mqtt://broker.example".to_owned();
        let (broker, publisher) = start_broker(&settings, "pool", &store, &real::world()).unwrap();
        assert!(broker.is_none());
        assert_eq!(publisher.unwrap().url, "mqtt://broker.example");
    }
}
