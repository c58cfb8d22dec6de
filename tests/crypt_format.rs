//! The format of sealed objects and of the key ring against files that were made from src/crypt/FORMAT.md alone, by another
//! program in another language and with another cryptographic library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerie::crypt::{CustomerKey, KeyRing, Opener, RING_FILES, SealError, SealFacts, SealMode, Stream, sealed_bytes};
use aerie::seam::files::RealStorage;
use aerie::seam::real;
use serde_json::Value;

const BUCKET: i64 = 12;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/crypt").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).expect("the golden file is there")
}

/// The ring of the golden files, in a folder that it may write to.
fn ring() -> (KeyRing, tempfile::TempDir) {
    ring_of(RING_FILES[0])
}

fn ring_of(file: &str) -> (KeyRing, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    std::fs::copy(golden(file), folder.path().join(RING_FILES[0])).expect("the golden ring is there");
    let storage = Arc::new(RealStorage::open(folder.path()).expect("the folder is there"));
    let ring = KeyRing::open(vec![storage], 0, None, real::world()).expect("the golden ring opens");
    (ring, folder)
}

/// The plain bytes of part `number`.
fn plain(size: usize, number: u32) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + (at >> 8) * 13) as u8).map(|byte| byte.wrapping_add(number as u8 + 1)).collect()
}

#[test]
fn golden_objects_open() {
    let (ring, _folder) = ring();
    let objects: Value = serde_json::from_slice(&read("objects.json")).expect("JSON");
    let mut modes = Vec::new();
    for object in objects.as_array().expect("a list") {
        let key = object["key"].as_str().expect("a text");
        let facts: SealFacts = serde_json::from_value(object["facts"].clone()).expect("facts");
        let client = CustomerKey::new(&(0..32).collect::<Vec<u8>>()).expect("32 bytes");
        let client = (facts.mode == SealMode::Customer).then_some(&client);
        let data_key = ring.open_object((BUCKET, key), &facts, client).expect("the envelope opens");
        let parts: Vec<(u32, &str, u64)> = object["parts"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|part| {
                let number = part["number"].as_u64().expect("a number") as u32;
                (number, part["salt"].as_str().expect("a text"), part["size"].as_u64().expect("a number"))
            })
            .collect();
        let streams = || parts.iter().map(|&(number, salt, size)| Stream { number, salt, size });
        let body = read(key);
        assert_eq!(body.len() as u64, parts.iter().map(|part| sealed_bytes(part.2)).sum::<u64>());
        let whole: Vec<u8> = parts.iter().flat_map(|part| plain(part.2 as usize, part.0)).collect();
        let size = whole.len() as u64;
        for range in [0..size, 1..size, size - 1..size, 40..41] {
            let mut opener = Opener::new(data_key.clone(), streams(), range.clone());
            let sealed = opener.sealed_range();
            let opened = opener.open(&body[sealed.start as usize..sealed.end as usize]).expect("the blocks open");
            opener.finish().expect("all of it");
            assert!(opened == whole[range.start as usize..range.end as usize], "{key} {range:?}");
        }
        modes.push(facts.mode);
        let mut elsewhere = facts.clone();
        elsewhere.mode = SealMode::S3;
        assert!(ring.open_object((BUCKET + 1, key), &elsewhere, None).is_err(), "another bucket");
    }
    assert_eq!(modes, [SealMode::S3, SealMode::Kms, SealMode::Customer]);
}

#[test]
fn the_golden_ring_says_what_was_shredded() {
    let (ring, folder) = ring();
    assert_eq!(ring.resolve("alias/aws/s3"), Ok("camera".to_owned()));
    let described = ring.list();
    assert_eq!(described.iter().map(|key| key.versions.len()).collect::<Vec<_>>(), [1, 2]);
    let objects: Value = serde_json::from_slice(&read("objects.json")).expect("JSON");
    let stored: Value = serde_json::from_slice(&read(RING_FILES[0])[64..]).expect("JSON behind the header");
    let mut facts = objects[0]["facts"].clone();
    facts["bucket_key"] = stored["keys"][0]["shredded"][0].clone();
    let facts: SealFacts = serde_json::from_value(facts).expect("facts");
    assert!(matches!(ring.open_object((BUCKET, "small"), &facts, None), Err(SealError::KeyShredded(_))));
    // Opened and not changed: the file stays as it was, byte for byte.
    drop(ring);
    let after = std::fs::read(folder.path().join(RING_FILES[0])).expect("the ring is there");
    assert!(after == read(RING_FILES[0]));
}

#[test]
fn a_golden_secret_opens_for_its_name() {
    let (ring, _folder) = ring_of("vault/aerie.keys.0");
    let vault = pollster::block_on(Arc::new(ring).vault()).expect("the ring holds the vault's key");
    let sealed = String::from_utf8(read("vault/sealed")).expect("a text");
    let opened = vault.open("access/key/AKIAGOLDEN", &sealed).expect("it was sealed for this name");
    assert_eq!(opened.as_str(), "a secret access key");
    assert!(vault.open("access/key/AKIAOTHER", &sealed).is_err());
}
