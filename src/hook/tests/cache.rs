//! The cache of compiled code: used where it is ours, never where it is not.
#![expect(clippy::disallowed_methods, reason = "damages files behind the program's back")]

use pollster::block_on;

use super::guest;
use super::shelf::Shelf;
use crate::hook::{Grants, digest};

#[test]
fn a_start_takes_the_cached_code_and_passes_over_what_is_not_ours() {
    let mut shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    let (module, other) = (guest::publishing(1), guest::publishing(2));
    shelf.add("h", &module, Grants::default()).unwrap();
    shelf.add("other", &other, Grants::default()).unwrap();
    assert_eq!(shelf.compiled(), 2);
    let (file, other) = (shelf.code(&digest(&module)), shelf.code(&digest(&other)));
    let good = std::fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        ("as it was kept", good.clone(), 0),
        ("a changed tag", flipped(0), 1),
        ("changed code", flipped(good.len() / 2), 1),
        ("a torn file", good[..good.len() - 1].to_vec(), 1),
        ("less than a tag", good[..20].to_vec(), 1),
        ("nothing", Vec::new(), 1),
        ("good code of another module", std::fs::read(&other).unwrap(), 1),
    ];
    for (what, bytes, compiled) in cases {
        std::fs::write(&file, bytes).unwrap();
        for expected in [compiled, 0] {
            shelf.restart();
            assert_eq!(shelf.run("h", &object).unwrap().results[0].payload, b"k", "{what}");
            assert_eq!(shelf.compiled(), expected, "{what}");
        }
    }
    std::fs::remove_file(&file).unwrap();
    shelf.restart();
    assert_eq!((shelf.run("h", &object).is_ok(), shelf.compiled()), (true, 1), "no file");
}

#[test]
fn code_of_another_version_or_another_pool_is_compiled_anew() {
    let mut shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    let module = guest::publishing(1);
    shelf.add("h", &module, Grants::default()).unwrap();
    // Well authenticated, and nothing that this wasmtime wrote.
    shelf.hooks.cache.lock().unwrap().keep(&shelf.engine, &digest(&module), b"from another version");
    shelf.restart();
    assert_eq!((shelf.run("h", &object).is_ok(), shelf.compiled()), (true, 1));
    block_on(shelf.meta.set_property("hook-cache-key".to_owned(), None)).unwrap();
    shelf.restart();
    assert_eq!((shelf.run("h", &object).is_ok(), shelf.compiled()), (true, 1), "the key is another one");
}

/// The issue asks for 5 ms on an idle machine; the test's bound is wide, for a busy one.
#[test]
fn a_cold_start_from_the_cache_is_quick() {
    let mut shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    let module = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/wasm-hooks/built/digest.wasm")).unwrap();
    shelf.add("h", &module, Grants::default()).unwrap();
    let clock = shelf.engine.world().clock.clone();
    let mut fastest_us = u64::MAX;
    for _ in 0..5 {
        shelf.restart();
        let start_ns = clock.monotonic_ns();
        shelf.run("h", &object).unwrap();
        fastest_us = fastest_us.min((clock.monotonic_ns() - start_ns) / 1000);
        assert_eq!(shelf.compiled(), 0);
    }
    println!("cold start from the cache: {fastest_us} µs");
    assert!(fastest_us < 100_000, "{fastest_us} µs");
}
