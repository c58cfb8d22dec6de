//! Writes guests: the frame of a core module around the body of its export.

use std::path::Path;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Imports that a guest may take of the newest contract, with the types that its functions have in a core module.
const IMPORTS: [(&str, &str, &str); 12] = [
    ("log", r#"log@V" "write""#, "i32 i32 i32"),
    ("publish", r#"results@V" "publish""#, "i32 i32 i32 i32 i32 i32"),
    ("read", r#"object@V" "read""#, "i64 i32 i32"),
    ("open", r#"object@V" "open""#, "i64 i32 i64 i32"),
    ("next", r#"object@V" "[method]reader.read""#, "i32 i32 i32"),
    ("skip", r#"object@V" "[method]reader.skip""#, "i32 i64 i32"),
    ("close", r#"object@V" "[resource-drop]reader""#, "i32"),
    ("tag", r#"object@V" "set-tags""#, "i32 i32 i32"),
    ("derive", r#"object@V" "put-derived""#, "i32 i32 i32 i32 i32 i32 i32"),
    ("get", r#"state@V" "get""#, "i32 i32 i32"),
    ("set", r#"state@V" "set""#, "i32 i32 i32 i32 i32"),
    ("load", r#"inference@V" "load""#, "i32 i32 i32"),
];

/// Versions of the contract, oldest first, with the files that have them.
const VERSIONS: [(&str, &str); 2] =
    [("1.0.0", "tests/golden/hook/contract-1.0.0.wit"), ("1.1.0", "wasm-hooks/wit/hook.wit")];

/// Where answers of host calls go, below the heap.
pub const ANSWER: u32 = 64;
/// Where the word `key` lies.
pub const WORD: u32 = 128;

/// A guest of world `hook`. `body` is `on-event`: it leaves the address of its result, where 0 means that all is well.
pub fn hook(pages: u32, functions: &str, body: &str) -> Vec<u8> {
    module(
        "hook",
        pages,
        functions,
        &format!(r#"(func (export "on-event") (param i32) (result i32) (local $n i32) {body})"#),
    )
}

/// A guest of world `transform`; the result's record follows at address 4: content type (12 bytes), then the list.
pub fn transform(body: &str) -> Vec<u8> {
    let export = format!(r#"(func (export "transform") (param i32 i32 i32 i32) (result i32) {body})"#);
    module("transform", 1, "", &export)
}

/// A transform that gives the first bytes of its object, at most so many; it fails for good where there is no object.
pub fn first_bytes(most: u32) -> Vec<u8> {
    transform(&format!(
        "(call $read (i64.const 0) (i32.const {most}) (i32.const {ANSWER}))
         (if (i32.load8_u (i32.const {ANSWER}))
            (then (i32.store8 (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const {WORD}))
                  (i32.store (i32.const 8) (i32.const 3)))
            (else (i32.store (i32.const 16) (i32.load (i32.const {}))) (i32.store (i32.const 20) (i32.load (i32.const {})))))
         i32.const 0",
        ANSWER + 4,
        ANSWER + 8
    ))
}

/// A hook that stores the event's key as `PREFIX/KEY`, where the prefix is one letter.
pub fn deriving(prefix: char) -> Vec<u8> {
    let body = format!(
        r#"(memory.copy (i32.const 302) (i32.load offset=32 (local.get 0)) (i32.load offset=36 (local.get 0)))
           (call $derive (i32.const 300) (i32.add (i32.const 2) (i32.load offset=36 (local.get 0)))
                (i32.const {WORD}) (i32.const 3)
                (i32.const 302) (i32.load offset=36 (local.get 0)) (i32.const {ANSWER}))
           (if (i32.load8_u (i32.const {ANSWER})) (then unreachable)) i32.const 0"#
    );
    hook(1, &format!(r#"(data (i32.const 300) "{prefix}/")"#), &body)
}

/// A hook that sets the tag `key=ke`.
pub fn tagging() -> Vec<u8> {
    let list = r#"(data (i32.const 192) "\80\00\00\00\03\00\00\00\80\00\00\00\02\00\00\00")"#;
    let body = format!(
        "(call $tag (i32.const 192) (i32.const 1) (i32.const {ANSWER}))
         (if (i32.load8_u (i32.const {ANSWER})) (then unreachable)) i32.const 0"
    );
    hook(1, list, &body)
}

/// A hook that remembers that it ran, and traps when it runs again.
pub fn once() -> Vec<u8> {
    hook(
        1,
        "",
        &format!(
            "(call $get (i32.const {WORD}) (i32.const 3) (i32.const {ANSWER}))
             (if (i32.load8_u (i32.const {})) (then unreachable))
             (call $set (i32.const {WORD}) (i32.const 3) (i32.const {WORD}) (i32.const 2) (i32.const {ANSWER})) i32.const 0",
            ANSWER + 4
        ),
    )
}

/// A hook that publishes the first `bytes` of the word.
pub fn publishing(bytes: u32) -> Vec<u8> {
    let body = format!(
        "(call $publish (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {WORD}) (i32.const {bytes}) (i32.const {ANSWER}))
         i32.const 0"
    );
    hook(1, "", &body)
}

fn module(world: &str, pages: u32, functions: &str, export: &str) -> Vec<u8> {
    let used = IMPORTS.iter().filter(|(name, ..)| {
        let call = format!("call ${name} ");
        export.contains(&call) || functions.contains(&call)
    });
    let (newest, _) = VERSIONS[VERSIONS.len() - 1];
    let imports: String = used
        .map(|(name, import, types)| {
            format!(
                r#"(import "aerie:hook/{} (func ${name} (param {types})))"#,
                import.replace("@V", &format!("@{newest}"))
            )
        })
        .collect();
    let text = format!(
        r#"(module {imports}
            (memory (export "memory") {pages})
            (data (i32.const {WORD}) "key\ff\ff\ff")
            (global $heap (mut i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
                    (then (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1))))))
                (local.get $at))
            {functions} {export})"#
    );
    let mut wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    embed(&mut wasm, world);
    wasm
}

/// Makes a core module a guest of a world of the contract: of the version that it imports, or the newest.
pub fn embed(wasm: &mut Vec<u8>, world: &str) {
    let imports = |version: &str| {
        let end = format!("@{version}");
        wasm.windows(end.len()).any(|bytes| bytes == end.as_bytes())
    };
    let (_, file) = VERSIONS.iter().find(|(version, _)| imports(version)).unwrap_or(&VERSIONS[VERSIONS.len() - 1]);
    let (mut resolve, path) = (Resolve::default(), Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let text = std::fs::read_to_string(&path).expect("the contract is text");
    let package = resolve.push_str(&path, &text).expect("the contract parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the contract has it");
    embed_component_metadata(wasm, &resolve, world, StringEncoding::UTF8).expect("the world fits the module");
}
