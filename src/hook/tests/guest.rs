//! Writes guests: the frame of a core module around the body of its export.

use std::path::Path;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Imports that a guest may take, with the types that the contract's functions have in a core module.
const IMPORTS: [(&str, &str); 6] = [
    ("log", r#"(import "aerie:hook/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#),
    ("publish", r#"(import "aerie:hook/results@1.0.0" "publish" (func $publish (param i32 i32 i32 i32 i32 i32)))"#),
    ("read", r#"(import "aerie:hook/object@1.0.0" "read" (func $read (param i64 i32 i32)))"#),
    ("get", r#"(import "aerie:hook/state@1.0.0" "get" (func $get (param i32 i32 i32)))"#),
    ("set", r#"(import "aerie:hook/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#),
    ("load", r#"(import "aerie:hook/inference@1.0.0" "load" (func $load (param i32 i32 i32)))"#),
];

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

fn module(world: &str, pages: u32, functions: &str, export: &str) -> Vec<u8> {
    let used = IMPORTS.iter().filter(|(name, _)| {
        let call = format!("call ${name}");
        export.contains(&call) || functions.contains(&call)
    });
    let imports: String = used.map(|(_, import)| *import).collect();
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

fn embed(wasm: &mut Vec<u8>, world: &str) {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wasm-hooks/wit");
    let (package, _) = resolve.push_dir(&folder).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(wasm, &resolve, world, StringEncoding::UTF8).unwrap();
}
