//! The sandbox: one wasmtime engine for the process, compiled hooks shared, a fresh instance for each invocation.
//!
//! A guest is bounded in memory (limiter), time (epochs), stack, output and host-call traffic. It has no file system, no
//! network, no clock and no environment: nothing but the contract's interfaces is linked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, Trap, UpdateDeadline};

use super::HookFault;
use super::contract::{event, lambda, types};
use super::host::{Host, HostParts};
use super::manifest::{Bounds, HookWorld};
use crate::limits;
use crate::seam::thread::ProcessorWait;

/// A compiled hook, ready to be instantiated on any thread.
#[derive(Clone)]
pub(super) enum Compiled {
    Hook(event::HookPre<Host>),
    Transform(lambda::TransformPre<Host>),
}

impl Compiled {
    pub fn world(&self) -> HookWorld {
        match self {
            Compiled::Hook(_) => HookWorld::Hook,
            Compiled::Transform(_) => HookWorld::Transform,
        }
    }

    /// The machine code, as `Component::deserialize` of the same wasmtime and settings takes it.
    pub fn code(&self) -> Result<Vec<u8>, HookFault> {
        let component = match self {
            Compiled::Hook(pre) => pre.instance_pre().component(),
            Compiled::Transform(pre) => pre.instance_pre().component(),
        };
        component.serialize().map_err(module_fault)
    }
}

/// What a transform made of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transformed {
    pub content_type: Option<String>,
    pub bytes: Vec<u8>,
}

/// The sandbox of the process.
pub(super) struct Runtime {
    engine: Engine,
    hooks: Linker<Host>,
    transforms: Linker<Host>,
    ticker: Ticker,
}

impl Runtime {
    pub fn new(instances: u32) -> Result<Runtime, HookFault> {
        let engine = Engine::new(&config(instances)).map_err(module_fault)?;
        let (mut hooks, mut transforms) = (Linker::new(&engine), Linker::new(&engine));
        event::Hook::add_to_linker::<_, HasSelf<Host>>(&mut hooks, |host| host).map_err(module_fault)?;
        lambda::Transform::add_to_linker::<_, HasSelf<Host>>(&mut transforms, |host| host).map_err(module_fault)?;
        let ticker = Ticker::start(engine.clone()).map_err(|error| HookFault::Module(error.to_string()))?;
        Ok(Runtime { engine, hooks, transforms, ticker })
    }

    /// Compiles a component, or a core module with the contract embedded, and checks it against both worlds.
    pub fn compile(&self, wasm: &[u8]) -> Result<Compiled, HookFault> {
        let component = to_component(wasm)?;
        self.prepare(&Component::new(&self.engine, component).map_err(module_fault)?)
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Checks a component against both worlds.
    pub fn prepare(&self, component: &Component) -> Result<Compiled, HookFault> {
        let as_hook = self.hooks.instantiate_pre(component).and_then(event::HookPre::new).map(Compiled::Hook);
        let hook_fault = match as_hook {
            Ok(compiled) => return Ok(compiled),
            Err(error) => error,
        };
        let as_transform =
            self.transforms.instantiate_pre(component).and_then(lambda::TransformPre::new).map(Compiled::Transform);
        as_transform.map_err(|transform_fault| {
            let advice = self.advice(component);
            HookFault::Module(format!(
                "it fits no world of wasm-hooks/wit{advice}; as `hook`: {hook_fault:#}; as `transform`: {transform_fault:#}"
            ))
        })
    }

    /// What an author does about a component that fits no world.
    fn advice(&self, component: &Component) -> String {
        let kind = component.component_type();
        let foreign =
            kind.imports(&self.engine).map(|(name, _)| name.to_owned()).find(|name| !name.starts_with(PACKAGE));
        let exports = |wanted: &str| kind.exports(&self.engine).any(|(name, _)| name == wanted);
        match foreign {
            Some(name) if name.starts_with("wasi:") => format!(
                ": it imports {name}, and no hook has WASI; build it with `--stub-wasi` (Python, JavaScript), or without files, clock, random numbers and printf (Rust, C)"
            ),
            Some(name) => format!(": it imports {name}, which the contract does not have"),
            None if let Some(version) = self.later_version(component) => format!(
                ": it is built for contract {version}, this appliance has {CONTRACT}; build it with the wit/ of `aerie hook new`, or update the appliance"
            ),
            None if !exports("on-event") && !exports("transform") => {
                ": it exports neither `on-event` (a hook) nor `transform` (for GETs)".to_owned()
            }
            None => String::new(),
        }
    }

    /// The contract that a component imports, where it is a later one than this appliance's.
    fn later_version(&self, component: &Component) -> Option<String> {
        let numbers =
            |version: &str| version.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
        let kind = component.component_type();
        let found = kind.imports(&self.engine).filter_map(|(name, _)| Some(name.rsplit_once('@')?.1.to_owned()));
        found.filter(|version| numbers(version) > numbers(CONTRACT)).max_by_key(|version| numbers(version))
    }

    /// Calls a hook. The host's state is given back however the call ended.
    pub fn on_event(
        &self,
        compiled: &Compiled,
        event: &types::Event,
        parts: HostParts,
    ) -> (Host, Result<(), HookFault>) {
        let Compiled::Hook(pre) = compiled else {
            let fault = HookFault::Module("it is a transform; a rule needs a hook".to_owned());
            return (Host::new(parts), Err(fault));
        };
        self.call(parts, |store| pre.instantiate(&mut *store)?.call_on_event(store, event))
    }

    /// Calls a transform.
    pub fn transform(
        &self,
        compiled: &Compiled,
        bucket: &str,
        key: &str,
        parts: HostParts,
    ) -> (Host, Result<Transformed, HookFault>) {
        let Compiled::Transform(pre) = compiled else {
            let fault = HookFault::Module("it is a hook; a GET needs a transform".to_owned());
            return (Host::new(parts), Err(fault));
        };
        let limit_bytes = parts.bounds.output_bytes;
        let (mut host, answer) =
            self.call(parts, |store| pre.instantiate(&mut *store)?.call_transform(store, bucket, key));
        let answer = answer.and_then(|response| {
            host.take_output(response.bytes.len() as u64).map_err(|_| HookFault::Output { limit_bytes })?;
            Ok(Transformed { content_type: response.content_type, bytes: response.bytes })
        });
        (host, answer)
    }

    fn call<T>(
        &self,
        parts: HostParts,
        call: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<Result<T, types::Failure>>,
    ) -> (Host, Result<T, HookFault>) {
        let (bounds, clock) = (parts.bounds, parts.world.clock.clone());
        let mut store = Store::new(&self.engine, Host::new(parts));
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(limits::HOOK_CALL_BYTES_MAX);
        store.set_epoch_deadline(ticks(bounds.deadline_ms));
        let thread = ProcessorWait::of_this_thread();
        let (start_ns, starved_before) = (clock.monotonic_ns(), thread.so_far());
        store.epoch_deadline_callback(move |context| {
            let passed = Duration::from_nanos(clock.monotonic_ns().saturating_sub(start_ns));
            let starved = thread.so_far().saturating_sub(starved_before);
            match left_ms(bounds, passed, context.data().waited, starved) {
                0 => Err(Trap::Interrupt.into()),
                left_ms => Ok(UpdateDeadline::Continue(ticks(left_ms))),
            }
        });
        let answer = {
            let _running = self.ticker.run();
            call(&mut store)
        };
        let host = store.into_data();
        let answer = match answer {
            // A guest that passes over a refused publication would lose a result in silence: it did not end well.
            Ok(Ok(value)) => output_limit(&host, bounds).map_or(Ok(value), Err),
            Ok(Err(failure)) => Err(limit_hit(&host, bounds)
                .unwrap_or(HookFault::Rejected { message: failure.message, retry: failure.retry })),
            Err(error) => Err(trap_fault(&host, bounds, &error)),
        };
        (host, answer)
    }

    /// Ends the ticker's thread.
    pub fn stop(&self) {
        self.ticker.stop();
    }
}

fn config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(limits::HOOK_CORE_INSTANCES_MAX))
        .max_core_instances_per_component(limits::HOOK_CORE_INSTANCES_MAX)
        .total_memories(instances.saturating_mul(limits::HOOK_MEMORIES_MAX))
        .total_tables(instances.saturating_mul(limits::HOOK_CORE_INSTANCES_MAX))
        .max_memories_per_component(limits::HOOK_MEMORIES_MAX)
        .max_tables_per_component(limits::HOOK_CORE_INSTANCES_MAX)
        .table_elements(limits::HOOK_TABLE_ELEMENTS_MAX)
        .max_memory_size(limits::HOOK_MEMORY_BYTES_MAX as usize)
        // Pages of an ended instance go back to the system at once: memory on a board is scarce.
        .linear_memory_keep_resident(0)
        .max_unused_warm_slots(instances);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(limits::HOOK_STACK_BYTES)
        .memory_reservation(limits::HOOK_MEMORY_BYTES_MAX)
        .memory_guard_size(2 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// What a guest has left of its deadline. Inference has a time of its own, up to its bound: without one a guest that loops
/// over inference would never end. The time for which requests took the processor away is not the guest's, either.
fn left_ms(bounds: Bounds, passed: Duration, inference: Duration, starved: Duration) -> u64 {
    let inference = inference.min(Duration::from_millis(bounds.inference_ms));
    let own = passed.saturating_sub(inference + starved.min(limits::HOOK_STARVED_MAX));
    bounds.deadline_ms.saturating_sub(own.as_millis() as u64)
}

fn ticks(ms: u64) -> u64 {
    ms.div_ceil(limits::HOOK_TICK.as_millis() as u64) + 1
}

fn module_fault(error: wasmtime::Error) -> HookFault {
    HookFault::Module(format!("{error:#}"))
}

/// Version of the contract, as wasm-hooks/wit has it.
const CONTRACT: &str = "1.1.0";
/// What the contract's interfaces begin with.
const PACKAGE: &str = "aerie:hook/";
/// First bytes of a component (against a core module).
const COMPONENT_MAGIC: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

fn to_component(wasm: &[u8]) -> Result<Vec<u8>, HookFault> {
    if wasm.get(..4) != Some(&COMPONENT_MAGIC[..4]) {
        return Err(HookFault::Module(
            "it is no WebAssembly file; build the hook (the README.md of its template says how) and give the .wasm"
                .to_owned(),
        ));
    }
    if wasm.get(..8) == Some(&COMPONENT_MAGIC) {
        return Ok(wasm.to_vec());
    }
    wit_component::ComponentEncoder::default()
        .module(wasm)
        .map(|encoder| encoder.validate(true))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            HookFault::Module(format!(
                "it is a core module that cannot be made a component: {error:#}; build it with wit-bindgen and wasm-hooks/wit"
            ))
        })
}

/// A limit of the results that the guest ran into.
fn output_limit(host: &Host, bounds: Bounds) -> Option<HookFault> {
    if host.messages_hit {
        return Some(HookFault::Messages { limit: limits::HOOK_MESSAGES_MAX });
    }
    host.output_hit.then_some(HookFault::Output { limit_bytes: bounds.output_bytes })
}

/// A limit that the guest ran into before it failed by itself.
fn limit_hit(host: &Host, bounds: Bounds) -> Option<HookFault> {
    output_limit(host, bounds)
        .or_else(|| host.memory.hit.then_some(HookFault::Memory { limit_bytes: bounds.memory_bytes }))
}

/// What wasmtime says of a call whose arguments are too large to be copied; its error has no type that can be named.
const CALL_TOO_LARGE: &str = "fuel allocated for hostcalls has been exhausted";

fn trap_fault(host: &Host, bounds: Bounds, error: &wasmtime::Error) -> HookFault {
    // The first limit that broke is the reason, even if the guest went on for a while: one that was refused memory and
    // asked until its time was over ran out of memory.
    if let Some(limit) = limit_hit(host, bounds) {
        return limit;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => HookFault::Deadline { limit_ms: bounds.deadline_ms },
        Some(Trap::StackOverflow) => HookFault::Stack { limit_bytes: limits::HOOK_STACK_BYTES as u64 },
        None if error.root_cause().to_string().contains(CALL_TOO_LARGE) => {
            HookFault::Call { limit_bytes: limits::HOOK_CALL_BYTES_MAX }
        }
        // The root says what happened, what is around it where: enough for a log, too much for a message.
        trap => {
            let unreachable = trap == Some(&Trap::UnreachableCodeReached);
            HookFault::Trap(format!("{}{}", error.root_cause(), last_words(host, unreachable)))
        }
    }
}

/// What the guest said of its trap. A panic and an uncaught exception end in the same `unreachable`: only the guest knows
/// what they were.
fn last_words(host: &Host, unreachable: bool) -> String {
    match &host.last_error {
        Some(line) => format!("; the last error that it logged: {line}"),
        None if unreachable => {
            "; it panicked, aborted or threw an exception, and logged no error: `report` of its language's template tells which (aerie hook new)".to_owned()
        }
        None => String::new(),
    }
}

/// Advances the engine's epoch while guests run; sleeps while none does, so that an idle board stays idle.
struct Ticker {
    shared: Arc<TickerState>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
    handle: std::thread::Thread,
}

#[derive(Default)]
struct TickerState {
    running: AtomicUsize,
    stopping: AtomicBool,
}

/// A guest runs as long as this lives.
struct Running<'a>(&'a TickerState);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Ticker> {
        let shared = Arc::new(TickerState::default());
        let state = shared.clone();
        let thread = std::thread::Builder::new().name("hook-ticker".to_owned()).spawn(move || {
            while !state.stopping.load(Ordering::Acquire) {
                if state.running.load(Ordering::Acquire) == 0 {
                    std::thread::park();
                } else {
                    std::thread::sleep(limits::HOOK_TICK);
                    engine.increment_epoch();
                }
            }
        })?;
        let handle = thread.thread().clone();
        Ok(Ticker { shared, thread: std::sync::Mutex::new(Some(thread)), handle })
    }

    fn run(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.handle.unpark();
        }
        Running(&self.shared)
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.handle.unpark();
        if let Some(thread) = self.thread.lock().expect("no holder of this lock panics").take()
            && thread.join().is_err()
        {
            tracing::error!("the hook ticker panicked");
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_has_the_version_that_errors_speak_of() {
        let text = include_str!("../../wasm-hooks/wit/hook.wit");
        assert!(text.contains(&format!("package aerie:hook@{CONTRACT};")));
    }

    /// A hook was ended at its deadline though it had not run: uploads had kept both processors of the board.
    #[test]
    fn a_deadline_counts_the_guests_own_time() {
        let bounds = Bounds { memory_bytes: 0, deadline_ms: 200, output_bytes: 0, inference_ms: 300 };
        let starved_most_ms = limits::HOOK_STARVED_MAX.as_millis() as u64;
        // Milliseconds passed, in inference, without a processor; what is left.
        let cases = [
            (0, 0, 0, 200),
            (199, 0, 0, 1),
            (200, 0, 0, 0),
            (450, 300, 0, 50),
            (900, 700, 0, 0),
            (5_000, 0, 4_900, 100),
            (5_000, 250, 4_650, 100),
            (starved_most_ms + 150, 0, starved_most_ms + 150, 50),
            (starved_most_ms + 200, 0, starved_most_ms + 200, 0),
        ];
        for (passed, inference, starved, left) in cases {
            let [passed, inference, starved] = [passed, inference, starved].map(Duration::from_millis);
            assert_eq!(left_ms(bounds, passed, inference, starved), left, "{passed:?} {inference:?} {starved:?}");
        }
    }
}
