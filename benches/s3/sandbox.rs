//! One invocation by itself, in this process, on a store of its own: warm, and cold from the cache of compiled code.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use aerie::engine::{Engine, open_meta};
use aerie::hook::{Grants, HookRunner, HookSettings, Hooks, Invocation};
use aerie::inference::InferenceSettings;
use aerie::meta::{BucketId, Change, EventName, Requester, Sequence};
use aerie::pool::{Pool, PoolOptions};
use aerie::seam::files::RealStorage;
use aerie::seam::{Storage, real};
use bytes::Bytes;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const HOOK: &str = "empty";
const WARM_CALLS: usize = 20_000;
const COLD_STARTS: usize = 20;

/// Medians, in microseconds.
pub struct Sandbox {
    pub warm_us: f64,
    pub warm_p99_us: f64,
    pub cold_us: f64,
    /// The same of a hook that does something: 48 KB of Rust.
    pub cold_digest_us: f64,
}

pub fn measure(folder: &Path) -> Result<Sandbox, String> {
    let engine = open(folder)?;
    add(&engine, HOOK, empty_hook()?)?;
    let digest = Path::new(env!("CARGO_MANIFEST_DIR")).join("wasm-hooks/built/digest.wasm");
    let digest = std::fs::read(&digest).map_err(|error| format!("{}: {error}", digest.display()))?;
    add(&engine, "digest", digest)?;
    let hooks = hooks()?;
    call(&hooks, &engine, HOOK)?;
    let warm = (0..WARM_CALLS).map(|_| call(&hooks, &engine, HOOK)).collect::<Result<Vec<f64>, String>>()?;
    Ok(Sandbox {
        warm_us: percentile(&warm, 0.5),
        warm_p99_us: percentile(&warm, 0.99),
        cold_us: cold(&engine, HOOK)?,
        cold_digest_us: cold(&engine, "digest")?,
    })
}

/// The first invocation of a process that finds the hook's code in the cache.
fn cold(engine: &Rc<Engine>, hook: &str) -> Result<f64, String> {
    let mut starts = Vec::with_capacity(COLD_STARTS);
    for _ in 0..COLD_STARTS {
        let hooks = hooks()?;
        starts.push(begin(&hooks, engine, hook).1);
        hooks.stop();
    }
    Ok(percentile(&starts, 0.5))
}

fn open(folder: &Path) -> Result<Rc<Engine>, String> {
    let world = real::world();
    let place = |name: &str| {
        let storage = RealStorage::create(&folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
        Ok((name.to_owned(), Some(Arc::new(storage) as Arc<dyn Storage>)))
    };
    let places = ["sandbox-1", "sandbox-2"].into_iter().map(place).collect::<Result<_, String>>()?;
    let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world: world.clone() };
    let pool = Pool::open(places, options).map_err(|error| error.to_string())?;
    let meta = open_meta(&pool, world.clone()).map_err(|error| error.to_string())?;
    Engine::new(meta, pool, world).map(Rc::new).map_err(|error| error.to_string())
}

fn hooks() -> Result<Hooks, String> {
    Hooks::new(HookSettings::default(), InferenceSettings::default()).map_err(|error| error.to_string())
}

fn add(engine: &Rc<Engine>, name: &str, module: Vec<u8>) -> Result<(), String> {
    let hooks = hooks()?;
    let added = pollster::block_on(hooks.add(engine, name, Bytes::from(module), Grants::default()));
    hooks.stop();
    added.map(|_| ()).map_err(|error| error.to_string())
}

/// Time of one invocation that ends well, in microseconds: from the outbox's call to its outcome.
fn call(hooks: &Hooks, engine: &Rc<Engine>, hook: &str) -> Result<f64, String> {
    let (ended, took_us) = begin(hooks, engine, hook);
    ended.map(|()| took_us)
}

/// However it ends: `digest` finds no object here.
fn begin(hooks: &Hooks, engine: &Rc<Engine>, hook: &str) -> (Result<(), String>, f64) {
    let invocation = Invocation {
        event_id: "0000000000000001-bench".to_owned(),
        hook: hook.to_owned(),
        change: Change {
            sequence: Sequence(1),
            event: EventName::ObjectCreatedPut,
            time_ms: 0,
            bucket: BucketId(1),
            bucket_name: "bench".to_owned(),
            key: "frame".to_owned(),
            version_id: None,
            version: None,
            size: 1000,
            etag: String::new(),
            requester: Requester::default(),
        },
        record_json: "{\"Records\":[]}".to_owned(),
        attempt: 1,
    };
    let started = Instant::now();
    let ended = hooks.run(engine, &invocation);
    (ended.map(|_| ()).map_err(|error| error.to_string()), started.elapsed().as_secs_f64() * 1e6)
}

fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}

/// A hook that does nothing: a core module with the contract embedded.
fn empty_hook() -> Result<Vec<u8>, String> {
    let text = r#"(module (memory (export "memory") 1)
        (global $heap (mut i32) (i32.const 1024))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
            (global.set $heap (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
        (func (export "on-event") (param i32) (result i32) i32.const 0))"#;
    let mut wasm = wat::parse_str(text).map_err(|error| error.to_string())?;
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wasm-hooks/wit");
    let (package, _) = resolve.push_dir(&folder).map_err(|error| error.to_string())?;
    let world = resolve.select_world(&[package], Some("hook")).map_err(|error| error.to_string())?;
    embed_component_metadata(&mut wasm, &resolve, world, StringEncoding::UTF8).map_err(|error| error.to_string())?;
    Ok(wasm)
}
