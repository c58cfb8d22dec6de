//! Readers: parts, skips and faults over a source that says what it was asked for; then guests, and the store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use pollster::block_on;

use super::guest::{self, ANSWER};
use super::sandbox::Bench;
use super::shelf::{BUCKET, Shelf};
use crate::crypt::Sealing;
use crate::engine::DeleteObject;
use crate::hook::model::Provenance;
use crate::hook::object::{Author, ObjectFault, ObjectInfo, ObjectSource, StoredObject};
use crate::hook::reader::{ByteStream, PartReader};
use crate::hook::{Grants, HookFault};
use crate::limits;
use crate::meta::{Body, DeleteCause, Requester, VersionRef, WriteCondition};

/// Bytes 0, 1, 2 … in pieces of three; `good` of them can be read, then the stream fails or ends.
#[derive(Clone)]
struct Counted {
    size: u64,
    good: u64,
    fails: bool,
    opened: Rc<RefCell<Vec<Range<u64>>>>,
}

impl Counted {
    fn new(size: u64) -> Counted {
        Counted { size, good: size, fails: false, opened: Rc::default() }
    }
}

struct CountedStream(Counted, Range<u64>);

impl ByteStream for CountedStream {
    fn next(&mut self) -> Result<Option<Bytes>, ObjectFault> {
        let CountedStream(source, range) = self;
        let end = (range.start + 3).min(range.end).min(source.good);
        if range.start >= source.good && source.fails {
            return Err(ObjectFault::Failed("a drive".to_owned()));
        }
        let piece: Vec<u8> = (range.start..end).map(|offset| offset as u8).collect();
        range.start = end;
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

impl ObjectSource for Counted {
    fn describe(&self) -> Result<ObjectInfo, ObjectFault> {
        Ok(ObjectInfo { size: self.size, ..ObjectInfo::default() })
    }
    fn size(&self) -> Result<u64, ObjectFault> {
        Ok(self.size)
    }
    fn open(&self, range: Range<u64>) -> Result<Box<dyn ByteStream>, ObjectFault> {
        self.opened.borrow_mut().push(range.clone());
        Ok(Box::new(CountedStream(self.clone(), range)))
    }
    fn read(&self, _offset: u64, _length: u64) -> Result<Vec<u8>, ObjectFault> {
        unreachable!("a reader opens its part once")
    }
    fn set_tags(&self, _tags: &BTreeMap<String, String>, _from: &Provenance) -> Result<(), ObjectFault> {
        Ok(())
    }
    fn put_derived(&self, _: &str, _: &str, _: Bytes, _: &Provenance) -> Result<(), ObjectFault> {
        Ok(())
    }
}

#[test]
fn a_part_is_given_once_in_order_whatever_is_asked_for() {
    // Size of the object, offset, length; what is given.
    let parts = [
        (10, 0, None, 0..10),
        (10, 4, None, 4..10),
        (10, 0, Some(7), 0..7),
        (10, 2, Some(5), 2..7),
        (10, 9, Some(u64::MAX), 9..10),
        (10, 10, None, 10..10),
        (10, u64::MAX, Some(u64::MAX), 10..10),
        (10, 3, Some(0), 3..3),
        (0, 0, None, 0..0),
    ];
    for (size, offset, length, given) in parts {
        for most in [1, 2, 3, 4, 7, 100] {
            let source = Counted::new(size);
            let mut reader = PartReader::open(&source, offset, length).unwrap();
            let mut found = Vec::new();
            loop {
                let bytes = reader.read(most).unwrap();
                found.extend_from_slice(&bytes);
                if bytes.len() < most as usize {
                    break;
                }
            }
            let expected: Vec<u8> = given.clone().map(|offset| offset as u8).collect();
            assert_eq!(found, expected, "{offset} {length:?} of {size}, {most} at a time");
            assert_eq!((reader.read(most).unwrap(), reader.read(0).unwrap()), (vec![], vec![]), "the end stays");
            assert_eq!(reader.skip(&source, 5), Ok(0));
            assert_eq!(source.opened.take(), std::slice::from_ref(&given), "one part is one stream");
        }
    }
}

#[test]
fn near_bytes_are_passed_over_and_far_ones_are_not_read() {
    let far = limits::HOOK_SKIP_READ_BYTES * 3;
    let source = Counted::new(far * 2);
    let mut reader = PartReader::open(&source, 0, Some(far + 10)).unwrap();
    assert_eq!(reader.read(2).unwrap(), [0, 1]);
    assert_eq!((reader.skip(&source, 3), reader.read(2).unwrap()), (Ok(3), vec![5, 6]));
    assert_eq!(source.opened.borrow().len(), 1);
    assert_eq!((reader.skip(&source, far - 7), reader.read(3).unwrap()), (Ok(far - 7), vec![0, 1, 2]));
    assert_eq!(reader.skip(&source, u64::MAX), Ok(7), "no further than the end of the part");
    assert!(reader.read(1).unwrap().is_empty());
    assert_eq!(source.opened.take(), [0..far + 10, far..far + 10]);
}

#[test]
fn a_fault_stays_and_never_looks_like_the_end() {
    for (fails, expected) in [(true, "a drive"), (false, "ends at byte 7, 3 bytes early")] {
        let source = Counted { good: 7, fails, ..Counted::new(10) };
        let mut reader = PartReader::open(&source, 0, None).unwrap();
        assert_eq!(reader.read(5).unwrap().len(), 5);
        for attempt in 0..3 {
            let ObjectFault::Failed(text) = reader.read(5).unwrap_err() else { panic!("it may help to try again") };
            assert!(text.contains(expected), "{attempt}: {text}");
        }
        assert!(reader.skip(&source, 1).is_err());
    }
}

/// Opens the object from byte 2, with a handle in `$n`; traps where that is refused.
const OPEN: &str = "(call $open (i64.const 2) (i32.const 0) (i64.const 0) (i32.const 64))
    (if (i32.load8_u (i32.const 64)) (then unreachable)) (local.set $n (i32.load (i32.const 68)))";

#[test]
fn a_guest_reads_skips_and_has_four_readers_at_most() {
    let bench = Bench::new();
    let publish = format!(
        "(if (i32.load8_u (i32.const {ANSWER})) (then unreachable))
         (call $publish (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.load (i32.const {0})) (i32.load (i32.const {1})) (i32.const {ANSWER}))",
        ANSWER + 4,
        ANSWER + 8
    );
    // Of 0123456789: from 2 three, over two, then what is left, then nothing.
    let read = |bytes: u32| format!("(call $next (local.get $n) (i32.const {bytes}) (i32.const {ANSWER})) {publish}");
    let skip = format!("(call $skip (local.get $n) (i64.const 2) (i32.const {ANSWER}))");
    let body = format!("{OPEN} {} {skip} {} {} (call $close (local.get $n)) i32.const 0", read(3), read(100), read(1));
    let (host, answer) = bench.run(&guest::hook(1, "", &body));
    assert_eq!(answer, Ok(()));
    let given: Vec<&[u8]> = host.results.iter().map(|result| &*result.payload).collect();
    assert_eq!(given, [&b"234"[..], b"789", b""]);

    let most = limits::HOOK_READERS_OPEN_MAX;
    let (_, answer) = bench.run(&guest::hook(1, "", &format!("{} i32.const 0", OPEN.repeat(most))));
    assert_eq!(answer, Ok(()), "what is open at the end is closed with the instance");
    let (_, answer) = bench.run(&guest::hook(1, "", &format!("{} i32.const 0", OPEN.repeat(most + 1))));
    assert!(matches!(answer, Err(HookFault::Trap(_))), "{answer:?}");
    let closing = format!("{OPEN} (call $close (local.get $n))").repeat(most * 2);
    let (_, answer) = bench.run(&guest::hook(1, "", &format!("{closing} i32.const 0")));
    assert_eq!(answer, Ok(()), "one that is dropped makes room");

    let large = format!(
        "{OPEN} (call $next (local.get $n) (i32.const {}) (i32.const {ANSWER}))
         (if (i32.ne (i32.load8_u (i32.const {})) (i32.const 2)) (then unreachable)) i32.const 0",
        limits::HOOK_READ_BYTES_MAX + 1,
        ANSWER + 4
    );
    assert_eq!(bench.run(&guest::hook(1, "", &large)).1, Ok(()), "error 2 of the contract is `limit`");
}

#[test]
fn a_transform_reads_its_object_as_a_stream() {
    let shelf = Shelf::new();
    let body = format!(
        "(local $n i32) {OPEN} (call $next (local.get $n) (i32.const 4) (i32.const {ANSWER}))
         (i32.store (i32.const 16) (i32.load (i32.const {}))) (i32.store (i32.const 20) (i32.load (i32.const {}))) i32.const 0",
        ANSWER + 4,
        ANSWER + 8
    );
    shelf.add("t", &guest::transform(&body), Grants::default()).unwrap();
    shelf.put("x", b"0123456789");
    let made = shelf.hooks.transform(&shelf.engine, "t", BUCKET, "x", VersionRef::Latest).unwrap();
    assert_eq!(made.bytes, b"2345");
}

/// The versions that a reader has open were overwritten or deleted, and reclaim came by.
#[test]
fn a_reader_goes_on_to_the_end_of_a_version_that_is_gone() {
    let shelf = Shelf::new();
    let bytes: Vec<u8> = (0..5 * limits::STRIPE_BYTES + 4321).map(|n| (n % 251) as u8).collect();
    for (sealing, case) in [(None, "overwritten"), (Some(Sealing::S3), "overwritten"), (None, "deleted")] {
        let object = shelf.put_sealed("x", &bytes, sealing);
        let Body::Extents(extents) = &object.version.body else { panic!("it lies on the drives") };
        let version = VersionRef::Numbered(object.version.sequence);
        let source = StoredObject::new(shelf.engine.clone(), BUCKET, "x", version, Author::default());
        let mut reader = PartReader::open(&source, 0, None).unwrap();
        let mut found = reader.read(100_000).unwrap();
        if case == "overwritten" {
            shelf.put("x", b"new");
        } else {
            let delete = DeleteObject {
                key: "x".to_owned(),
                version: VersionRef::Latest,
                condition: WriteCondition::default(),
                requester: Requester::default(),
                cause: DeleteCause::PLAIN,
            };
            block_on(shelf.engine.delete_object(&shelf.engine.bucket(BUCKET).unwrap(), delete)).unwrap();
        }
        assert!(!shelf.pool.release(extents), "{case}: its space stays");
        found.extend(reader.read(1 << 20).unwrap());
        let far = 2 * limits::STRIPE_BYTES as u64 + 7;
        assert_eq!(reader.skip(&source, far), Ok(far));
        assert!(!shelf.pool.release(extents), "{case}: nor does it go while the reader skips");
        found.extend(vec![0; far as usize]);
        found.extend(reader.read(16 << 20).unwrap());
        assert_eq!(found.len(), bytes.len(), "{case}");
        let skipped = 100_000 + (1 << 20)..100_000 + (1 << 20) + far as usize;
        assert!((0..bytes.len()).all(|at| skipped.contains(&at) || found[at] == bytes[at]), "{case}");
        drop(reader);
        assert!(shelf.pool.release(extents), "{case}");
        let gone = StoredObject::new(shelf.engine.clone(), BUCKET, "x", version, Author::default());
        assert!(matches!(PartReader::open(&gone, 0, None), Err(ObjectFault::Gone(_))), "{case}: no other is opened");
    }
}

/// One guest that imports every function of the first contract.
#[test]
fn all_of_contract_1_0_0_is_there() {
    let functions = [
        ("object", "describe", "i32"),
        ("object", "read", "i64 i32 i32"),
        ("object", "set-tags", "i32 i32 i32"),
        ("object", "put-derived", "i32 i32 i32 i32 i32 i32 i32"),
        ("picture", "decode", "i32 i32 i32 i32"),
        ("inference", "load", "i32 i32 i32"),
        ("inference", "[method]model.inputs", "i32 i32"),
        ("inference", "[method]model.outputs", "i32 i32"),
        ("inference", "[method]model.labels", "i32 i32"),
        ("inference", "[method]model.run", "i32 i32 i32 i32"),
        ("inference", "[resource-drop]model", "i32"),
        ("log", "write", "i32 i32 i32"),
        ("results", "publish", "i32 i32 i32 i32 i32 i32"),
        ("state", "get", "i32 i32 i32"),
        ("state", "set", "i32 i32 i32 i32 i32"),
        ("state", "delete", "i32 i32 i32"),
    ];
    let import = |(interface, name, types): &(&str, &str, &str)| {
        format!(r#"(import "aerie:hook/{interface}@1.0.0" "{name}" (func (param {types})))"#)
    };
    let only_hooks = ["results", "state"];
    for (world, export) in [
        ("hook", r#"(func (export "on-event") (param i32) (result i32) i32.const 0)"#),
        ("transform", r#"(func (export "transform") (param i32 i32 i32 i32) (result i32) i32.const 0)"#),
    ] {
        let imports = functions.iter().filter(|(interface, ..)| world == "hook" || !only_hooks.contains(interface));
        let text = format!(
            r#"(module {} (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024) {export})"#,
            imports.map(import).collect::<String>()
        );
        let mut wasm = wat::parse_str(&text).unwrap();
        guest::embed(&mut wasm, world);
        let compiled = Bench::new().runtime.compile(&wasm).unwrap_or_else(|fault| panic!("{world}: {fault}"));
        assert_eq!(format!("{:?}", compiled.world()).to_lowercase(), world);
    }
}
