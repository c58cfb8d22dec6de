//! The pool on real folders: what is written comes back, whatever up to m drives do.
#![expect(clippy::disallowed_methods, reason = "tests damage the real files")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pollster::block_on;

use super::*;
use crate::seam::files::RealStorage;
use crate::seam::sim::SimMachine;
use crate::seam::{real, sim};

struct Folders {
    root: tempfile::TempDir,
    count: usize,
}

impl Folders {
    fn new(count: usize) -> Folders {
        let root = tempfile::tempdir().unwrap();
        for slot in 0..count {
            std::fs::create_dir(root.path().join(format!("d{slot}"))).unwrap();
        }
        Folders { root, count }
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.root.path().join(format!("d{slot}"))
    }

    fn open(&self, parity: u8) -> Result<Arc<Pool>, PoolError> {
        let place = |slot: usize| {
            let path = self.path(slot);
            let storage = RealStorage::open(&path).ok().map(|storage| Arc::new(storage) as Arc<dyn Storage>);
            (path.display().to_string(), storage)
        };
        let options =
            PoolOptions { parity: Some(parity), write_shards_min: None, replace: vec![], world: real::world() };
        Pool::open((0..self.count).map(place).collect(), options)
    }
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u64).wrapping_mul(0x9e37_79b9).rotate_left(13) as u8 ^ seed).collect()
}

fn put(pool: &Arc<Pool>, body: &[u8], hint: Option<u64>) -> Written {
    block_on(async {
        let mut writer = pool.writer(hint);
        for piece in body.chunks(100_000) {
            writer.write(piece).await.unwrap();
        }
        writer.finish().await.unwrap()
    })
}

fn get(pool: &Arc<Pool>, extents: &[Extent], range: std::ops::Range<u64>) -> Result<Vec<u8>, PoolError> {
    let mut reader = pool.reader(extents, range);
    let mut all = Vec::new();
    while let Some(piece) = block_on(reader.next()) {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

const SIZES: [usize; 9] = [1, 63, 64, 4096, 262_144, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_333_333];

#[test]
fn every_size_comes_back_in_every_geometry() {
    for (drives, parity) in [(1, 0), (3, 1), (4, 2), (6, 2)] {
        let folders = Folders::new(drives);
        let pool = folders.open(parity).unwrap();
        for size in SIZES {
            let body = bytes(size, drives as u8);
            for hint in [Some(size as u64), None, Some(10)] {
                let written = put(&pool, &body, hint);
                assert_eq!((written.size, written.missed), (size as u64, 0));
                assert!(get(&pool, &written.extents, 0..size as u64).unwrap() == body, "{drives}+{parity} {size}");
            }
        }
    }
}

#[test]
fn ranges_are_exact_at_every_edge() {
    let folders = Folders::new(6);
    let pool = folders.open(2).unwrap();
    let body = bytes(2_500_000, 1);
    let written = put(&pool, &body, None);
    let edges =
        [0, 1, 63, 64, 262_143, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577, 2_097_152, 2_499_999, 2_500_000];
    for from in edges {
        for to in edges.into_iter().filter(|to| *to >= from) {
            let got = get(&pool, &written.extents, from..to).unwrap();
            assert!(got == body[from as usize..to as usize], "{from}..{to}");
        }
    }
}

#[test]
fn any_two_of_six_drives_may_go() {
    let folders = Folders::new(6);
    let body = bytes(1_500_000, 2);
    let written = put(&folders.open(2).unwrap(), &body, None);
    for first in 0..6 {
        for second in first + 1..6 {
            let away = folders.root.path().join("away");
            std::fs::create_dir_all(&away).unwrap();
            for slot in [first, second] {
                std::fs::rename(folders.path(slot), away.join(slot.to_string())).unwrap();
            }
            let pool = folders.open(2).unwrap();
            assert!(get(&pool, &written.extents, 0..1_500_000).unwrap() == body, "{first} and {second} gone");
            let more = put(&pool, &body, None);
            assert_eq!(more.missed, 1 << first | 1 << second);
            assert!(get(&pool, &more.extents, 0..1_500_000).unwrap() == body);
            drop(pool);
            for slot in [first, second] {
                std::fs::rename(away.join(slot.to_string()), folders.path(slot)).unwrap();
            }
        }
    }
}

#[test]
fn a_drive_that_vanishes_while_running_is_noticed() {
    let folders = Folders::new(3);
    let pool = folders.open(1).unwrap();
    let body = bytes(300_000, 3);
    let before = put(&pool, &body, None);
    std::fs::rename(folders.path(1), folders.root.path().join("away")).unwrap();
    pool.check_drives();
    assert_eq!(pool.healthy(), 0b101);
    assert!(pool.status()[1].fault.as_ref().unwrap().contains("gone"));
    assert!(get(&pool, &before.extents, 0..300_000).unwrap() == body);
    assert_eq!(put(&pool, &body, None).missed, 0b010);
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn bitrot_is_reconstructed_and_healed() {
    let folders = Folders::new(6);
    let pool = folders.open(2).unwrap();
    let body = bytes(1_000_000, 4);
    let extents = put(&pool, &body, None).extents;
    let segment = crate::drive::SEGMENTS_DIR;
    for slot in [0, 3] {
        flip(&folders.path(slot).join(segment).join(format!("{:08x}.seg", extents[0].segment)), 5000);
    }
    assert!(get(&pool, &extents, 0..1_000_000).unwrap() == body);
    let health = block_on(pool.verify_extent(&extents[0]));
    assert_eq!((health.blocks, health.bad, health.out, health.lost), (6, 2, 0, 0));
    assert!(block_on(pool.heal_extent(&extents[0])).unwrap().is_whole());
    assert!(block_on(pool.verify_extent(&extents[0])).is_whole());
}

#[test]
fn more_than_m_bad_blocks_are_an_error_not_wrong_bytes() {
    let folders = Folders::new(3);
    let pool = folders.open(1).unwrap();
    let extents = put(&pool, &bytes(1000, 5), None).extents;
    for slot in [0, 1] {
        let name = format!("{:08x}.seg", extents[0].segment);
        flip(&folders.path(slot).join(crate::drive::SEGMENTS_DIR).join(name), 70);
    }
    assert!(matches!(get(&pool, &extents, 0..1000), Err(PoolError::Lost { found: 1, needed: 2, .. })));
}

#[test]
fn an_empty_drive_takes_the_place_of_a_missing_one_and_heals() {
    let folders = Folders::new(3);
    let body = bytes(700_000, 6);
    let extents = put(&folders.open(1).unwrap(), &body, None).extents;
    let away = folders.root.path().join("away");
    std::fs::rename(folders.path(2), &away).unwrap();
    std::fs::create_dir(folders.path(2)).unwrap();
    {
        let pool = folders.open(1).unwrap();
        assert_eq!(pool.fresh(), 0b100);
        assert!(get(&pool, &extents, 0..700_000).unwrap() == body);
        assert_eq!(block_on(pool.verify_extent(&extents[0])).bad, 1);
        assert!(block_on(pool.heal_extent(&extents[0])).unwrap().is_whole());
    }
    // The old drive comes back beside its replacement's absence: it is not taken for it.
    std::fs::rename(folders.path(2), folders.root.path().join("replacement")).unwrap();
    std::fs::rename(&away, folders.path(2)).unwrap();
    let pool = folders.open(1).unwrap();
    assert_eq!(pool.healthy(), 0b011);
}

#[test]
fn strangers_and_too_few_drives_are_refused() {
    let (ours, theirs) = (Folders::new(3), Folders::new(3));
    drop(ours.open(1).unwrap());
    drop(theirs.open(1).unwrap());
    assert!(ours.open(2).unwrap_err().to_string().contains("geometry 2+1"));
    // Theirs has seen more starts.
    (0..3).for_each(|_| drop(theirs.open(1).unwrap()));
    let away = ours.root.path().join("away");
    std::fs::rename(ours.path(0), &away).unwrap();
    std::fs::rename(theirs.path(0), ours.path(0)).unwrap();
    // It once spoke for the pool: the start was refused, with the advice to take out one of ours.
    let pool = ours.open(1).unwrap();
    let fault = pool.status()[0].fault.clone().unwrap();
    assert!(fault.contains("d0: the drive is of another pool"), "{fault}");
    drop(pool);
    std::fs::remove_dir_all(ours.path(2)).unwrap();
    let refused = ours.open(1).unwrap_err().to_string();
    assert!(refused.contains("d0 is of pool") || refused.contains("d1 is of pool"), "{refused}");
    std::fs::remove_dir_all(ours.path(0)).unwrap();
    assert!(ours.open(1).unwrap_err().to_string().contains("only 1 of the 2"));
}

/// Two halves of a mirror that were each used without the other once passed for one pool: what was acknowledged on one
/// of them was written over, and its addresses had other bytes on each side.
#[test]
fn drives_that_were_used_apart_are_not_put_together() {
    for (drives, parity, starts) in [(2, 1, [1, 1]), (2, 1, [3, 1]), (2, 1, [1, 3]), (4, 2, [1, 1]), (4, 2, [2, 1])] {
        let case = format!("{drives} drives, starts {starts:?}");
        let folders = Folders::new(drives);
        let away = folders.root.path().join("away");
        let rest = |slots: &[usize], is_away: bool| {
            std::fs::create_dir_all(&away).unwrap();
            for slot in slots {
                let (there, hidden) = (folders.path(*slot), away.join(slot.to_string()));
                let (from, to) = if is_away { (there, hidden) } else { (hidden, there) };
                std::fs::rename(from, to).unwrap();
            }
        };
        drop(folders.open(parity).unwrap());
        let halves: [Vec<usize>; 2] = [(0..drives / 2).collect(), (drives / 2..drives).collect()];
        let mut written = vec![];
        for (half, starts) in starts.into_iter().enumerate() {
            rest(&halves[1 - half], true);
            for start in 0..starts {
                let pool = folders.open(parity).unwrap();
                // The metadata's copies that are away miss the first commit.
                pool.set_copies(halves[half].iter().copied().filter(|slot| *slot <= usize::from(parity)).collect())
                    .unwrap();
                let body = bytes(50_000, (half * 10 + start) as u8);
                written.push((half, put(&pool, &body, None).extents, body));
                pool.close();
            }
            rest(&halves[1 - half], false);
        }
        let look = |slot: usize| crate::drive::Label::read(&RealStorage::open(&folders.path(slot)).unwrap()).unwrap();
        let before: Vec<_> = (0..drives).map(look).collect();
        let pool = folders.open(parity).unwrap();
        let left_out = (0..2).find(|half| pool.status()[halves[*half][0]].fault.is_some()).expect(&case);
        for slot in &halves[left_out] {
            let fault = pool.status()[*slot].fault.clone().expect(&case);
            assert!(fault.contains("without the other drives") && fault.contains("rescue.py"), "{case}: {fault}");
            assert_eq!(look(*slot), before[*slot], "{case}: it was written to");
        }
        for (half, extents, body) in &written {
            let size = body.len() as u64;
            assert!(*half == left_out || get(&pool, extents, 0..size).unwrap() == *body, "{case}");
        }
        // Nor is it while the pool runs.
        pool.reopen_by(Arc::new(|name| Ok(Arc::new(RealStorage::open(Path::new(name))?))));
        let told = |pool: &Pool| pool.status()[halves[left_out][0]].fault.clone().unwrap_or_default();
        for _ in 0..200 {
            pool.check_drives();
            std::thread::yield_now();
        }
        assert!(told(&pool).contains("without the other drives"), "{case}: {}", told(&pool));
        pool.close();
        // What only the other has is read from it alone.
        rest(&halves[1 - left_out], true);
        let pool = folders.open(parity).unwrap();
        for (half, extents, body) in &written {
            let size = body.len() as u64;
            assert!(*half != left_out || get(&pool, extents, 0..size).unwrap() == *body, "{case}");
        }
        pool.close();
    }
}

/// The half that was away, and not used, is taken back as ever.
#[test]
fn a_mirror_that_missed_some_starts_is_rebuilt() {
    for starts in 1..4 {
        let folders = Folders::new(2);
        let away = folders.root.path().join("away");
        drop(folders.open(1).unwrap());
        std::fs::rename(folders.path(1), &away).unwrap();
        (0..starts).for_each(|_| folders.open(1).unwrap().set_copies(vec![0]).unwrap());
        std::fs::rename(&away, folders.path(1)).unwrap();
        let pool = folders.open(1).unwrap();
        assert_eq!((pool.healthy(), pool.rebuilding()), (0b11, 0b10), "{starts} starts");
        pool.set_copies(vec![0, 1]).unwrap();
        pool.close();
        // It was told, so that it may go on alone.
        std::fs::rename(folders.path(0), &away).unwrap();
        folders.open(1).unwrap().close();
        std::fs::rename(&away, folders.path(0)).unwrap();
        assert_eq!(folders.open(1).unwrap().rebuilding(), 0b11, "{starts} starts");
    }
}

/// An empty drive once took the slot of the only one that had the metadata: the former drive, put back, was refused as
/// one that had been replaced.
#[test]
fn the_last_copy_of_the_metadata_is_not_replaced() {
    let folders = Folders::new(3);
    let pool = folders.open(1).unwrap();
    pool.set_copies(vec![1]).unwrap();
    pool.close();
    let away = folders.root.path().join("away");
    std::fs::rename(folders.path(1), &away).unwrap();
    std::fs::create_dir(folders.path(1)).unwrap();
    let refused = folders.open(1).unwrap_err().to_string();
    assert!(refused.contains("attach the drive of slot 1"), "{refused}");
    std::fs::remove_dir(folders.path(1)).unwrap();
    std::fs::rename(&away, folders.path(1)).unwrap();
    assert_eq!(folders.open(1).unwrap().healthy(), 0b111);
}

/// The tenth drive's fault once stood at the first one, too.
#[test]
fn a_reason_is_told_of_its_own_place() {
    let folders = Folders::new(11);
    drop(folders.open(2).unwrap());
    std::fs::remove_dir_all(folders.path(1)).unwrap();
    std::fs::write(folders.path(10).join(crate::drive::LABEL_FILE), b"garbage").unwrap();
    let pool = folders.open(2).unwrap();
    let fault = pool.status()[1].fault.clone().unwrap();
    assert_eq!(fault.matches("d10").count(), 1, "{fault}");
}

#[test]
fn an_unfinished_upload_gives_its_space_back_and_a_pinned_extent_stays() {
    let folders = Folders::new(3);
    let pool = folders.open(1).unwrap();
    let body = bytes(200_000, 7);
    block_on(async {
        let mut writer = pool.writer(Some(4 << 20));
        writer.write(&bytes(3 << 20, 8)).await.unwrap();
    });
    let extents = put(&pool, &body, None).extents;
    let mut reader = pool.reader(&extents, 0..200_000);
    assert!(!pool.release(&extents), "a reader holds it");
    assert!(block_on(reader.next()).unwrap().is_ok());
    drop(reader);
    assert!(pool.release(&extents));
    pool.close();
    let blocks = std::os::unix::fs::MetadataExt::blocks;
    let name = |segment: u32| folders.path(0).join(crate::drive::SEGMENTS_DIR).join(format!("{segment:08x}.seg"));
    let full = crate::limits::SEGMENT_BYTES / 512;
    let held = blocks(&std::fs::metadata(name(extents[0].segment)).unwrap());
    assert!(held < full, "{held} of {full} sectors are still held");
}

/// Where a drive was not mounted, an empty folder looks like a drive that was replaced. It was once rebuilt onto the
/// root file system.
#[test]
fn an_empty_folder_where_a_drive_was_mounted_needs_the_operators_word() {
    for (mounted_before, mounted_now, named, taken) in [
        (true, false, false, false),
        (true, true, false, true),
        (true, false, true, true),
        (false, false, false, true),
        (false, true, false, true),
    ] {
        let case = format!("mounted before: {mounted_before}, now: {mounted_now}, named: {named}");
        let machine = SimMachine::new(3, 100 << 20);
        let (world, _) = sim::world(1);
        (0..3).for_each(|drive| machine.mount(drive, mounted_before));
        let open = |replace: Vec<String>| {
            let options = PoolOptions { parity: Some(1), write_shards_min: None, replace, world: world.clone() };
            Pool::open(machine.places(), options).unwrap()
        };
        let pool = open(vec![]);
        let body = bytes(100_000, 1);
        let written = put(&pool, &body, None);
        pool.close();

        machine.replace(1);
        machine.mount(1, mounted_now);
        let pool = open(named.then(|| "sim-1".to_owned()).into_iter().collect());
        assert_eq!((pool.fresh(), pool.rebuilding()), if taken { (0b010, 0b010) } else { (0, 0) }, "{case}");
        assert!(get(&pool, &written.extents, 0..100_000).unwrap() == body, "{case}");
        let fault = pool.status()[1].fault.clone();
        assert_eq!(fault.is_some_and(|fault| fault.starts_with("not mounted at sim-1")), !taken, "{case}");
        pool.close();
        let untouched = machine.storage(1).list("").unwrap().is_empty();
        assert_eq!(untouched, !taken, "{case}");

        // The word can be said at a later start.
        if !taken {
            let pool = open(vec!["sim-1".to_owned()]);
            assert_eq!(pool.fresh(), 0b010, "{case}");
            pool.close();
        }
    }
}

/// The sync of an upload's last stripe once stood for stripes that a drive had lost when it was pulled and put back.
#[test]
fn an_upload_that_a_drive_was_pulled_and_put_back_under_is_healed_there() {
    let machine = SimMachine::new(3, 100 << 20);
    let (world, _) = sim::world(1);
    let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world };
    let pool = Pool::open(machine.places(), options).unwrap();
    let body = bytes(3 << 20, 1);
    let mut writer = pool.writer(None);
    block_on(writer.write(&body[..2 << 20])).unwrap();
    let meanwhile = |away: bool| {
        machine.unplug(1, away);
        // Once to be found gone, and once to be known to be away.
        pool.check_drives();
        pool.check_drives();
        pool.healthy()
    };
    assert_eq!((meanwhile(true), pool.rebuilding()), (0b101, 0));
    assert_eq!((meanwhile(false), pool.rebuilding()), (0b111, 0b010));
    block_on(writer.write(&body[2 << 20..])).unwrap();
    let written = block_on(writer.finish()).unwrap();
    assert_eq!(written.missed, 0b010);
    assert!(get(&pool, &written.extents, 0..body.len() as u64).unwrap() == body);
    // One that begins now lacks nothing.
    let next = put(&pool, &body, None);
    assert_eq!(next.missed, 0);
    pool.close();
    let label = crate::drive::Label::read(&*machine.storage(1)).unwrap().unwrap();
    assert_eq!(label.rebuilding, [1]);
}

#[test]
fn what_was_just_written_is_read_from_memory_for_a_while() {
    let machine = SimMachine::new(3, 100 << 20);
    let (world, _) = sim::world(1);
    let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world };
    let pool = Pool::open(machine.places(), options).unwrap();
    pool.keep_latest(16 << 20);
    let (body, large) = (bytes((1 << 20) + 70_000, 1), bytes(5 << 20, 2));
    let written = put(&pool, &body, Some(body.len() as u64));
    // This one would push out the others.
    let not_kept = put(&pool, &large, Some(large.len() as u64));
    (0..3).for_each(|drive| machine.unplug(drive, true));
    for range in [0..body.len() as u64, 1_000_000..1_060_000, (1 << 20) - 1..(1 << 20) + 1] {
        let expected = &body[range.start as usize..range.end as usize];
        assert!(get(&pool, &written.extents, range).unwrap() == expected);
    }
    assert!(get(&pool, &not_kept.extents, 0..10).is_err());
    (0..limits::LATEST_TRIMS).for_each(|_| pool.check_drives());
    assert!(get(&pool, &written.extents, 0..10).is_err());
    pool.close();
}
