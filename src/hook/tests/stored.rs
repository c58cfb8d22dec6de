//! Installed hooks: upgrades that stop half-way, what a hook keeps and changes, objects that are gone, models.
#![expect(clippy::disallowed_methods, reason = "damages files behind the program's back")]

use bytes::Bytes;
use pollster::block_on;

use super::guest;
use super::shelf::{BUCKET, Shelf, grants};
use crate::crypt::{CustomerKey, Sealing};
use crate::engine::DeleteObject;
use crate::hook::store::{self, SYSTEM_BUCKET};
use crate::hook::{Grants, HookFault, Transformed, digest};
use crate::meta::{DeleteCause, Requester, VersionRef, WriteCondition};

fn payload(shelf: &Shelf, hook: &str) -> Result<Vec<u8>, HookFault> {
    let object = shelf.put("x", b"object");
    shelf.run(hook, &object).map(|outcome| outcome.results[0].payload.clone())
}

#[test]
fn hooks_are_added_listed_upgraded_and_removed() {
    let mut shelf = Shelf::new();
    let (old, new) = (guest::publishing(1), guest::publishing(2));
    assert!(!shelf.hooks.exists(&shelf.engine, "h"));
    shelf.add("h", &old, Grants::default()).unwrap();
    assert_eq!(payload(&shelf, "h").unwrap(), b"k");
    let manifest = shelf.add("h", &new, grants(true, None)).unwrap();
    assert_eq!(payload(&shelf, "h").unwrap(), b"ke");
    shelf.restart();
    assert_eq!(payload(&shelf, "h").unwrap(), b"ke");
    assert_eq!(block_on(shelf.hooks.list(&shelf.engine)).unwrap(), [manifest]);
    let module = format!("hooks/h/{}.wasm", digest(&new));
    assert_eq!(shelf.keys(SYSTEM_BUCKET), [module, "hooks/h/manifest.json".to_owned()]);
    for (name, module) in [("H", &old[..]), ("", &old), ("a/b", &old), ("good", b"no module"), ("good", b"")] {
        assert!(shelf.add(name, module, Grants::default()).is_err(), "{name}");
    }
    assert!(shelf.add("good", &old, Grants { deadline_ms: Some(u64::MAX), ..Grants::default() }).is_err());
    block_on(shelf.hooks.remove(&shelf.engine, "h")).unwrap();
    assert!(shelf.keys(SYSTEM_BUCKET).is_empty());
    assert_eq!(payload(&shelf, "h"), Err(HookFault::NotInstalled("h".to_owned())));
    let again = block_on(shelf.hooks.remove(&shelf.engine, "h")).unwrap_err();
    assert!(again.to_string().contains("aerie hook list"), "{again}");
}

#[test]
fn an_upgrade_that_stops_half_way_leaves_the_old_hook_running() {
    let mut shelf = Shelf::new();
    shelf.add("h", &guest::publishing(1), Grants::default()).unwrap();
    let new = guest::publishing(2);
    // The power goes after the module was stored and before the manifest was.
    block_on(store::put_module(&shelf.engine, "h", &digest(&new), Bytes::copy_from_slice(&new))).unwrap();
    shelf.restart();
    assert_eq!(payload(&shelf, "h").unwrap(), b"k");
    shelf.add("h", &new, Grants::default()).unwrap();
    assert_eq!(payload(&shelf, "h").unwrap(), b"ke");
    assert_eq!(shelf.keys(SYSTEM_BUCKET).len(), 2, "one module and one manifest are left");
}

#[test]
fn a_hook_without_its_module_says_what_to_do() {
    let mut shelf = Shelf::new();
    let manifest = shelf.add("h", &guest::publishing(1), Grants::default()).unwrap();
    let bucket = shelf.engine.bucket(SYSTEM_BUCKET).unwrap();
    let delete = DeleteObject {
        key: format!("hooks/h/{}.wasm", manifest.digest),
        version: VersionRef::Latest,
        condition: WriteCondition::default(),
        requester: Requester::default(),
        cause: DeleteCause::PLAIN,
    };
    block_on(shelf.engine.delete_object(&bucket, delete)).unwrap();
    std::fs::remove_file(shelf.code(&manifest.digest)).unwrap();
    shelf.restart();
    let fault = payload(&shelf, "h").unwrap_err();
    assert!(!fault.retry() && fault.to_string().contains("aerie hook add h"), "{fault}");
}

#[test]
fn state_is_kept_with_the_results_and_ends_with_the_hook() {
    let mut shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    shelf.add("h", &guest::once(), Grants::default()).unwrap();
    let outcome = shelf.run("h", &object).unwrap();
    assert_eq!(shelf.run("h", &object).as_ref(), Ok(&outcome), "what is not committed is not kept");
    shelf.commit("h", &outcome);
    shelf.restart();
    assert!(matches!(shelf.run("h", &object), Err(HookFault::Trap(_))));
    shelf.add("other", &guest::once(), Grants::default()).unwrap();
    assert!(shelf.run("other", &object).is_ok(), "each hook has a state of its own");
    block_on(shelf.hooks.remove(&shelf.engine, "h")).unwrap();
    shelf.add("h", &guest::once(), Grants::default()).unwrap();
    assert!(shelf.run("h", &object).is_ok());
}

#[test]
fn a_sealed_object_is_read_in_the_clear_and_one_with_its_clients_key_ends_the_invocation() {
    let shelf = Shelf::new();
    let reading = guest::hook(
        1,
        "",
        &format!(
            "(call $read (i64.const 0) (i32.const 4) (i32.const {0}))
             (if (i32.load8_u (i32.const {0})) (then unreachable))
             (call $publish (i32.const 0) (i32.const 0) (i32.const 0)
                 (i32.load (i32.const {1})) (i32.load (i32.const {2})) (i32.const {0}))
             i32.const 0",
            guest::ANSWER,
            guest::ANSWER + 4,
            guest::ANSWER + 8
        ),
    );
    shelf.add("h", &reading, Grants::default()).unwrap();
    let sealed = shelf.put_sealed("s3", b"0123456789", Some(Sealing::S3));
    assert_eq!(shelf.run("h", &sealed).unwrap().results[0].payload, b"0123");
    let key = CustomerKey::new(&[1; 32]).unwrap();
    let closed = shelf.put_sealed("c", b"0123456789", Some(Sealing::Customer(key)));
    let fault = shelf.run("h", &closed).unwrap_err();
    assert!(!fault.retry() && fault.to_string().contains("SSE-C"), "{fault}");
}

#[test]
fn tags_are_set_beside_those_that_are_there_and_only_where_they_fit() {
    let shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    shelf.add("h", &guest::tagging(), Grants::default()).unwrap();
    assert!(matches!(shelf.run("h", &object), Err(HookFault::Trap(_))), "the capability was not granted");
    shelf.add("h", &guest::tagging(), grants(true, None)).unwrap();
    let bucket = shelf.engine.bucket(BUCKET).unwrap();
    let tag = |count: usize| {
        let tags = (0..count).map(|n| (format!("t{n}"), String::new())).collect();
        block_on(shelf.engine.set_tags(&bucket, "x", VersionRef::Latest, tags, Requester::default())).unwrap();
    };
    tag(8);
    shelf.run("h", &object).unwrap();
    let tags = shelf.head("x").unwrap().version.attributes.tags;
    assert_eq!((tags.len(), tags.get("key").map(String::as_str)), (10, Some("ke")));
    assert_eq!(tags.get("aerie-hook.h"), Some(&digest(&guest::tagging())), "a tag says where the others are from");
    tag(9);
    let fault = shelf.run("h", &object).unwrap_err();
    assert!(!fault.retry() && fault.to_string().contains("more than 10"), "{fault}");
}

#[test]
fn a_derived_object_says_where_it_is_from_and_is_stored_once() {
    let shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    let manifest = shelf.add("h", &guest::deriving('d'), grants(false, Some("d/"))).unwrap();
    shelf.run("h", &object).unwrap();
    let first = shelf.head("d/x").unwrap().version;
    let metadata = |name: &str| first.attributes.user_metadata.get(name).map(String::as_str);
    assert_eq!((first.size, metadata("aerie-hook")), (1, Some("h")));
    assert_eq!(metadata("aerie-hook-sha256"), Some(&*manifest.digest));
    assert_eq!(metadata("aerie-event"), Some(&*format!("{:016x}-h", object.version.sequence.0)));
    shelf.run("h", &object).unwrap();
    assert_eq!(shelf.head("d/x").unwrap().version.sequence, first.sequence, "a repeated attempt stores nothing");
    let next = shelf.put("x", b"object");
    shelf.run("h", &next).unwrap();
    assert_ne!(shelf.head("d/x").unwrap().version.sequence, first.sequence, "another event does");
    shelf.add("h", &guest::deriving('e'), grants(false, Some("d/"))).unwrap();
    assert!(matches!(shelf.run("h", &object), Err(HookFault::Trap(_))), "outside its prefix it may not write");
}

#[test]
fn a_transform_reads_the_stored_object_and_one_that_is_gone_is_said_to_be() {
    let shelf = Shelf::new();
    shelf.add("t", &guest::first_bytes(4), Grants::default()).unwrap();
    shelf.add("h", &guest::publishing(1), Grants::default()).unwrap();
    let old = VersionRef::Numbered(shelf.put("x", b"first object").version.sequence);
    let ask = |hook: &str, version| shelf.hooks.transform(&shelf.engine, hook, BUCKET, "x", version);
    let made = |bytes: &[u8]| Ok(Transformed { content_type: None, bytes: bytes.to_vec() });
    assert_eq!(ask("t", old), made(b"firs"));
    shelf.put("x", b"new");
    assert_eq!(ask("t", VersionRef::Latest), made(b"new"));
    assert_eq!(ask("t", old), Err(HookFault::Rejected { message: "key".to_owned(), retry: false }));
    assert!(matches!(ask("h", VersionRef::Latest), Err(HookFault::Module(_))));
    assert_eq!(ask("none", VersionRef::Latest), Err(HookFault::NotInstalled("none".to_owned())));
    assert_eq!(shelf.hooks.journal().stats("t").failures.get("rejected"), Some(&1));
}

#[test]
fn a_real_guest_finds_a_face_with_a_stored_model() {
    let shelf = Shelf::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |path: &str| std::fs::read(root.join(path)).unwrap();
    let object = shelf.put("astronaut.jpg", &file("tests/pictures/astronaut.jpg"));
    shelf.add("faces", &file("wasm-hooks/built/faces.wasm"), Grants::default()).unwrap();
    let fault = shelf.run("faces", &object).unwrap_err();
    assert!(fault.to_string().contains("not found"), "there is no model yet: {fault}");
    let model = file("wasm-hooks/models/blazeface.onnx");
    block_on(store::put_model(&shelf.engine, "faces", model.into())).unwrap();
    let outcome = shelf.run("faces", &object).unwrap();
    let message: serde_json::Value = serde_json::from_slice(&outcome.results[0].payload).unwrap();
    assert_eq!(message["objects"].as_array().map(Vec::len), Some(1), "{message}");
    assert_eq!(message["objects"][0]["label"], "Face");
}
