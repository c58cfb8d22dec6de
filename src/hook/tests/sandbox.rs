//! Each bad guest ends within its limit, with the fault that names it, and the next guest runs as if nothing had been.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::bad_hooks::{BadHook, Ends, bad_hooks};
use super::guest::{self, ANSWER, WORD};
use crate::hook::contract::types;
use crate::hook::host::{Host, HostParts, StateSource};
use crate::hook::manifest::{Bounds, Grants};
use crate::hook::object::{LocalObject, ObjectInfo};
use crate::hook::runtime::{Runtime, Transformed};
use crate::hook::{HookFault, HookWorld};
use crate::inference::{Inference, InferenceSettings, ModelFile, ModelSource, onnx};
use crate::limits;
use crate::seam::{World, real};

const MIB: u64 = 1 << 20;
/// Tight enough that a test is quick, wide enough for a busy machine.
const BOUNDS: Bounds = Bounds { memory_bytes: 64 * MIB, deadline_ms: 200, output_bytes: 256 << 10, inference_ms: 300 };
/// By then every guest must be gone. Its own limit is at most 200 + 300 ms; the rest is the busy machine's.
const END_MS: u64 = 10_000;

struct Kept(HashMap<String, Vec<u8>>);

impl StateSource for Kept {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.get(key).cloned())
    }
    fn keys(&self) -> Result<usize, String> {
        Ok(self.0.len())
    }
}

struct Models;

impl ModelSource for Models {
    fn stamp(&self, name: &str) -> Result<Option<String>, String> {
        Ok((name == "key").then(String::new))
    }
    fn read(&self, _name: &str, _bytes_max: u64) -> Result<Option<ModelFile>, String> {
        Ok(Some(ModelFile { bytes: onnx::sigmoid(), labels: Vec::new() }))
    }
}

/// A runtime with all that guests need.
pub struct Bench {
    pub runtime: Runtime,
    inference: Arc<Inference>,
    world: World,
}

impl Bench {
    pub fn new() -> Bench {
        let inference = Arc::new(Inference::new(InferenceSettings::default()));
        Bench { runtime: Runtime::new(2).unwrap(), inference, world: real::world() }
    }

    fn parts(&self) -> HostParts {
        let bytes = b"0123456789".to_vec();
        let info = ObjectInfo { size: bytes.len() as u64, ..ObjectInfo::default() };
        HostParts {
            object: Box::new(LocalObject { bytes: bytes.into(), info, changes: Rc::default() }),
            models: Box::new(Models),
            state: Box::new(Kept(HashMap::from([("key".to_owned(), b"kept".to_vec())]))),
            inference: self.inference.clone(),
            world: self.world.clone(),
            grants: Grants::default(),
            pins: None,
            bounds: BOUNDS,
            event_id: "event".to_owned(),
        }
    }

    pub fn run(&self, wasm: &[u8]) -> (Host, Result<(), HookFault>) {
        let compiled = self.runtime.compile(wasm).unwrap();
        assert_eq!(compiled.world(), HookWorld::Hook);
        let start_ns = self.world.clock.monotonic_ns();
        let ended = self.runtime.on_event(&compiled, &event(), self.parts());
        let took_ms = (self.world.clock.monotonic_ns() - start_ns) / 1_000_000;
        assert!(took_ms < END_MS, "it ran for {took_ms} ms");
        ended
    }
}

fn event() -> types::Event {
    types::Event {
        id: "event".to_owned(),
        name: "ObjectCreated:Put".to_owned(),
        time_ms: 1,
        bucket: "bucket".to_owned(),
        key: "key".to_owned(),
        version_id: None,
        size: 10,
        etag: "etag".to_owned(),
        attempt: 1,
        record_json: "{}".to_owned(),
    }
}

fn empty() -> Vec<u8> {
    guest::hook(1, "", "i32.const 0")
}

/// Calls for ever. What the host hands over is forgotten each time, so that memory is not what ends it.
fn forever(call: &str) -> Vec<u8> {
    let body = format!("(loop $again (global.set $heap (i32.const 1024)) {call} (br $again)) unreachable");
    guest::hook(1, "", &body)
}

#[test]
fn bad_guests_end_within_their_limits() {
    let bench = Bench::new();
    let mut faults = std::collections::BTreeSet::new();
    for BadHook { name, wasm, ends } in bad_hooks() {
        let Ends::With(expected) = ends else { continue };
        let (host, answer) = bench.run(&wasm);
        let fault = answer.expect_err(&name);
        assert_eq!(fault.name(), expected, "{name}: {fault}");
        assert!(fault.retry(), "{name}: the machine may have been busy");
        let limit = match &fault {
            HookFault::Memory { limit_bytes } => *limit_bytes == BOUNDS.memory_bytes,
            HookFault::Deadline { limit_ms } => *limit_ms == BOUNDS.deadline_ms,
            HookFault::Output { limit_bytes } => *limit_bytes == BOUNDS.output_bytes,
            HookFault::Messages { limit } => *limit == limits::HOOK_MESSAGES_MAX,
            HookFault::Call { limit_bytes } => *limit_bytes == limits::HOOK_CALL_BYTES_MAX,
            HookFault::Stack { limit_bytes } => *limit_bytes == limits::HOOK_STACK_BYTES as u64,
            _ => true,
        };
        assert!(limit, "{name}: {fault}");
        assert!(host.lines.len() <= limits::HOOK_LOG_LINES_MAX, "{name}");
        assert!(host.usage().memory_bytes <= BOUNDS.memory_bytes, "{name}");
        let (_, next) = bench.run(&empty());
        assert_eq!(next, Ok(()), "after {name}");
        faults.insert(fault.name());
    }
    let all = ["call", "deadline", "memory", "messages", "output", "rejected", "stack", "trap"];
    assert_eq!(faults.into_iter().collect::<Vec<_>>(), all, "every limit has a hook that breaks it");
}

/// The folder's README.md lists each file with its end.
#[test]
fn the_bad_hooks_are_listed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-hooks");
    let listed = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for BadHook { name, ends, .. } in bad_hooks() {
        let ends = match ends {
            Ends::With(fault) => fault,
            Ends::Refused(_) => "refused".to_owned(),
        };
        let row = format!("| `{name}` | {ends} |");
        assert!(listed.contains(&row), "{row} is missing in tests/bad-hooks/README.md");
    }
}

#[test]
fn a_storm_of_log_lines_is_cut_and_counted() {
    let call = format!("(call $log (i32.const 1) (i32.const {WORD}) (i32.const 3))");
    let (mut host, _) = Bench::new().run(&forever(&call));
    let lines = host.take_lines();
    assert_eq!(lines.len(), limits::HOOK_LOG_LINES_MAX);
    assert!(lines.last().is_some_and(|line| line.message.contains("more lines were cut")));
}

/// A panic, an assertion and an exception all end in `unreachable`: its author was told that, and no more.
#[test]
fn a_trap_repeats_the_last_error_that_the_guest_logged() {
    let bench = Bench::new();
    let log =
        |level: u32, length: u32| format!("(call $log (i32.const {level}) (i32.const {WORD}) (i32.const {length}))");
    let message = |body: &str| bench.run(&guest::hook(1, "", body)).1.unwrap_err().to_string();
    let last = message(&format!("{} {} {} unreachable", log(3, 2), log(3, 3), log(1, 1)));
    assert!(last.contains("`unreachable`") && last.ends_with("the last error that it logged: key"), "{last}");
    // A log that is full loses lines, but not what the guest says at its end.
    let full = format!(
        "(loop $again {} (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300))))",
        log(0, 1)
    );
    assert!(message(&format!("{full} {} unreachable", log(3, 3))).ends_with("logged: key"));
    let long = message(&format!("{} unreachable", log(3, 30_000)));
    assert!(long.len() < limits::HOOK_TRAP_LINE_BYTES_MAX + 200, "{} bytes", long.len());
    // Who says nothing is told how to; of another trap the machine knows what it was.
    let silent = message("unreachable");
    assert!(silent.contains("logged no error") && silent.contains("aerie hook new"), "{silent}");
    assert!(message("(drop (i32.load (i32.const -4))) i32.const 0").ends_with("out of bounds memory access"));
}

#[test]
fn what_is_no_guest_is_refused_with_the_reason() {
    let bench = Bench::new();
    for BadHook { name, wasm, ends } in bad_hooks() {
        let Ends::Refused(reason) = ends else { continue };
        let fault = match bench.runtime.compile(&wasm) {
            Err(fault) => fault,
            // Of the wrong world: it is told when an event comes.
            Ok(compiled) => bench.runtime.on_event(&compiled, &event(), bench.parts()).1.expect_err(&name),
        };
        assert!(!fault.retry() && fault.to_string().contains(&reason), "{name}: {fault}");
    }
    assert_eq!(bench.run(&empty()).1, Ok(()));
}

#[test]
fn results_and_state_come_out_and_a_failure_is_the_guests_own() {
    let bench = Bench::new();
    let good = format!(
        "(call $publish (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {WORD}) (i32.const 3) (i32.const {ANSWER}))
         (call $set (i32.const {WORD}) (i32.const 3) (i32.const {WORD}) (i32.const 2) (i32.const {ANSWER})) i32.const 0"
    );
    let (host, answer) = bench.run(&guest::hook(1, "", &good));
    assert_eq!(answer, Ok(()));
    assert_eq!((host.results.len(), host.results[0].topic.as_deref()), (1, None));
    assert_eq!(host.results[0].payload, b"key");
    assert_eq!(host.state_writes, BTreeMap::from([("key".to_owned(), Some(b"ke".to_vec()))]));

    // Result: error (1), then message (address, length) and `retry`.
    let rejects = format!(
        "(i32.store8 (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const {WORD}))
         (i32.store (i32.const 8) (i32.const 3)) (i32.store8 (i32.const 12) (i32.const 1)) i32.const 0"
    );
    let (_, answer) = bench.run(&guest::hook(1, "", &rejects));
    assert_eq!(answer, Err(HookFault::Rejected { message: "key".to_owned(), retry: true }));
}

#[test]
fn a_transform_answers_within_its_output() {
    let bench = Bench::new();
    let body = |bytes: u32| {
        format!(
            "(i32.store (i32.const 16) (i32.const {WORD})) (i32.store (i32.const 20) (i32.const {bytes})) i32.const 0"
        )
    };
    let call = |wasm: &[u8]| {
        let compiled = bench.runtime.compile(wasm).unwrap();
        assert_eq!(compiled.world(), HookWorld::Transform);
        let mut parts = bench.parts();
        parts.bounds.output_bytes = 16;
        bench.runtime.transform(&compiled, "bucket", "key", parts).1
    };
    let wanted = Transformed { content_type: None, bytes: b"key".to_vec() };
    assert_eq!(call(&guest::transform(&body(3))), Ok(wanted));
    assert_eq!(call(&guest::transform(&body(17))), Err(HookFault::Output { limit_bytes: 16 }));
    let lambda = bench.runtime.compile(&guest::transform(&body(3))).unwrap();
    let fault = bench.runtime.on_event(&lambda, &event(), bench.parts()).1.unwrap_err();
    assert!(!fault.retry() && fault.to_string().contains("a rule needs a hook"), "of the wrong world: {fault}");
    let hook = bench.runtime.compile(&empty()).unwrap();
    assert!(matches!(bench.runtime.transform(&hook, "b", "k", bench.parts()).1, Err(HookFault::Module(_))));
}

/// Prints what an empty hook costs; the bound catches a loss of pooling or of sharing, not a slow machine.
#[test]
fn a_warm_invocation_is_cheap() {
    const CALLS: usize = 500;
    let bench = Bench::new();
    let compiled = bench.runtime.compile(&empty()).unwrap();
    let event = event();
    let mut took_ns: Vec<u64> = (0..CALLS)
        .map(|_| {
            let parts = bench.parts();
            let start_ns = bench.world.clock.monotonic_ns();
            assert_eq!(bench.runtime.on_event(&compiled, &event, parts).1, Ok(()));
            bench.world.clock.monotonic_ns() - start_ns
        })
        .collect();
    took_ns.sort_unstable();
    let (p50, p99) = (took_ns[CALLS / 2] / 1000, took_ns[CALLS * 99 / 100] / 1000);
    println!("warm invocation of an empty hook: p50 {p50} µs, p99 {p99} µs");
    assert!(p50 < 2000, "p50 {p50} µs");
}
