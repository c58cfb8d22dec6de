//! The drive's format against files that were made from src/drive/FORMAT.md alone, by another program in another language.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerie::drive::{BlockIdentity, LABEL_FILE, Label};
use aerie::pool::{Extent, Pool, PoolOptions};
use aerie::seam::files::RealStorage;
use aerie::seam::{Storage, real};

const SLOTS: usize = 3;
const OBJECTS: [(Extent, u8); 6] = [
    (Extent { segment: 1, offset: 0, length: 100 }, 1),
    (Extent { segment: 1, offset: 2, length: 500 }, 2),
    (Extent { segment: 1, offset: 7, length: 3000 }, 3),
    (Extent { segment: 1, offset: 32, length: 250 }, 4),
    // Large stripes, whose shards lie on pages.
    (Extent { segment: 2, offset: 63, length: 70_000 }, 5),
    (Extent { segment: 2, offset: 703, length: 65_536 }, 6),
];

fn golden(slot: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/drive/slot-{slot}"))
}

fn segment(slot: usize, number: u32) -> Vec<u8> {
    std::fs::read(golden(slot).join(format!("segments/{number:08x}.seg"))).expect("the golden segment is there")
}

fn user_bytes(length: u64, salt: u8) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + (at >> 8) * 13) as u8).map(|byte| byte.wrapping_add(salt)).collect()
}

/// Copies of the golden drives, in folders that a test may change.
fn copies() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder for the test");
    for slot in 0..SLOTS {
        let target = root.path().join(slot.to_string());
        std::fs::create_dir_all(target.join("segments")).expect("the folder is new");
        for file in [LABEL_FILE, "segments/00000001.seg", "segments/00000002.seg"] {
            std::fs::copy(golden(slot).join(file), target.join(file)).expect("the golden file is there");
        }
    }
    root
}

fn label(slot: usize) -> Label {
    let drives = ["a0", "a1", "a2"].map(|byte| byte.repeat(16)).to_vec();
    let mut label = Label::new("00112233445566778899aabbccddeeff".to_owned(), slot, 2, 1, drives, vec![0, 1]);
    (label.epoch, label.rebuilding, label.segments_reserved) = (3, vec![2], 4096);
    label
}

#[test]
fn a_label_is_read_and_written_byte_for_byte() {
    for slot in 0..SLOTS {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let stored = RealStorage::open(&golden(slot)).expect("the golden drive is there");
        assert_eq!(Label::read(&stored).expect("it is sound"), Some(label(slot)));
        label(slot).write(&RealStorage::open(folder.path()).expect("it is there")).expect("it can be written");
        let written = std::fs::read(folder.path().join(LABEL_FILE)).expect("it was written");
        assert_eq!(written, std::fs::read(golden(slot).join(LABEL_FILE)).expect("it is there"), "slot {slot}");
    }
}

#[test]
fn every_block_is_written_byte_for_byte() {
    for (extent, _) in OBJECTS {
        for shard in 0..SLOTS {
            let stored = segment((shard + extent.segment as usize) % SLOTS, extent.segment);
            let block = &stored[extent.offset as usize * 64..];
            let identity = BlockIdentity {
                seed: label(0).seed(),
                segment: extent.segment,
                offset: extent.offset,
                data: 2,
                parity: 1,
                shard: shard as u8,
            };
            let header = identity.verify(block).expect("a golden block is sound");
            let payload = &block[64..64 + header.shard_bytes as usize];
            assert_eq!(u64::from(header.user_bytes), extent.length);
            assert_eq!(identity.header(header.user_bytes, payload), block[..64], "{extent:?} shard {shard}");
        }
    }
}

#[test]
fn the_objects_come_back_with_any_one_drive_gone() {
    for gone in [None, Some(0), Some(1), Some(2)] {
        let root = copies();
        let place = |slot: usize| {
            let storage = RealStorage::open(&root.path().join(slot.to_string())).expect("it was copied");
            (slot.to_string(), Some(Arc::new(storage) as Arc<dyn Storage>).filter(|_| gone != Some(slot)))
        };
        let options = PoolOptions { parity: None, write_shards_min: None, replace: vec![], world: real::world() };
        let pool = Pool::open((0..SLOTS).map(place).collect(), options).expect("two of three drives are enough");
        assert_eq!(pool.rebuilding(), 0b100);
        for (extent, salt) in OBJECTS {
            let mut reader = pool.reader(&[extent], 0..extent.length);
            let mut bytes = Vec::new();
            while let Some(piece) = pollster::block_on(reader.next()) {
                bytes.extend_from_slice(&piece.expect("two blocks are enough"));
            }
            assert!(bytes == user_bytes(extent.length, salt), "{extent:?} without {gone:?}");
        }
    }
}
