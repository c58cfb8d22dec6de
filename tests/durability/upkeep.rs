//! Upkeep on simulated drives: what is missing comes back, and "whole" is said only when it was counted.

use std::sync::Arc;
use std::time::Duration;

use aerie::seam::sim::{self, Fault, SimClock, SimMachine};
use aerie::upkeep::{HealState, HealStatus, Upkeep, UpkeepRequest, UpkeepSettings, WalkKind};

use crate::store::{Store, bytes, put_parts};

const DRIVE_BYTES: u64 = 256 << 20;
const KEYS: u64 = 30;

fn start(store: &Store) -> Upkeep {
    let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
    Upkeep::start(store.meta.clone(), store.pool.clone(), settings, store.world.clone()).unwrap()
}

/// Polls until the status is right; the simulated clock moves on meanwhile.
fn wait(upkeep: &Upkeep, clock: &SimClock, right: impl Fn(&HealStatus) -> bool) -> HealStatus {
    for _ in 0..600 {
        let status = upkeep.status();
        if right(&status) {
            return status;
        }
        clock.advance_ms(200);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("upkeep does not get there: {:?}", upkeep.status());
}

fn fill(store: &Store, from: u64) {
    for key in from..from + KEYS {
        store.put(&format!("key-{key}"), &bytes(2_000 + key as usize * 700, key)).unwrap();
    }
}

fn compare(store: &Store, keys: u64) {
    for key in 0..keys {
        assert!(store.get(&format!("key-{key}")).unwrap() == bytes(2_000 + key as usize * 700, key), "key-{key}");
    }
}

#[test]
fn a_replaced_drive_is_rebuilt_across_a_restart_and_proved_whole() {
    let (world, clock) = sim::world(1);
    let first = SimMachine::new(3, DRIVE_BYTES);
    let store = Store::on(&first, &world).unwrap();
    fill(&store, 0);
    store.close();
    let mut image = first.image();
    image.erase(1);
    let machine = SimMachine::boot(image, DRIVE_BYTES);
    let store = Store::on(&machine, &world).unwrap();
    assert_eq!(store.pool.fresh(), 0b010);
    let upkeep = start(&store);
    assert_ne!(upkeep.status().state, HealState::Whole);
    upkeep.stop();
    store.close();
    // The next start sees a labelled drive; that it is not whole yet is in the labels.
    let store = Store::on(&SimMachine::boot(machine.image(), DRIVE_BYTES), &world).unwrap();
    assert_eq!((store.pool.fresh(), store.pool.rebuilding()), (0, 0b010));
    let upkeep = start(&store);
    let status = wait(&upkeep, &clock, |status| status.state == HealState::Whole);
    let census = status.census.unwrap();
    assert_eq!((census.owners, census.bad, census.out, census.lost), (KEYS, 0, 0, 0));
    assert_eq!(census.good, census.stripes * 3);
    assert!(status.rebuilding.is_empty());
    drop(upkeep);
    store.close();
}

#[test]
fn what_a_pulled_drive_missed_is_healed_when_it_is_put_back_and_never_called_whole_before() {
    let (world, clock) = sim::world(2);
    let machine = SimMachine::new(3, DRIVE_BYTES);
    let store = Store::on(&machine, &world).unwrap();
    fill(&store, 0);
    let upkeep = start(&store);
    wait(&upkeep, &clock, |status| status.state == HealState::Whole);
    machine.unplug(0, true);
    wait(&upkeep, &clock, |status| status.out == [0]);
    assert_eq!(upkeep.status().state, HealState::Degraded);
    fill(&store, KEYS);
    put_parts(&store.engine, "in-parts", &[bytes(5 << 20, 7), bytes(1000, 8)]).unwrap();
    wait(&upkeep, &clock, |status| status.queued == KEYS + 2);
    compare(&store, KEYS * 2);
    upkeep.request(UpkeepRequest::Census);
    let census = wait(&upkeep, &clock, |status| status.census.is_some_and(|census| census.out > 0)).census.unwrap();
    assert_eq!(census.lost, 0);
    assert_eq!(upkeep.status().state, HealState::Degraded);
    // It is put back while all goes on: it takes part again, and is whole when a census has counted what it missed.
    machine.unplug(0, false);
    let status = wait(&upkeep, &clock, |status| status.state == HealState::Whole);
    assert_eq!((status.queued, status.census.unwrap().owners), (0, KEYS * 2 + 1));
    assert_eq!((status.out.len(), status.census.unwrap().out), (0, 0));
    upkeep.stop();
    store.close();

    // Its copy of the metadata missed commits, and is caught up by the start.
    let store = Store::on(&SimMachine::boot(machine.image(), DRIVE_BYTES), &world).unwrap();
    assert_eq!((store.pool.fresh(), store.pool.rebuilding()), (0, 0));
    compare(&store, KEYS * 2);
    let upkeep = start(&store);
    wait(&upkeep, &clock, |status| status.state == HealState::Whole);
    drop(upkeep);
    store.close();
}

#[test]
fn a_drive_that_failed_where_it_stands_is_not_taken_back() {
    let (world, _) = sim::world(7);
    let machine = SimMachine::new(3, DRIVE_BYTES);
    let store = Store::on(&machine, &world).unwrap();
    machine.fail(2, Fault::Sync, 0);
    fill(&store, 0);
    for _ in 0..3 {
        store.pool.check_drives();
    }
    assert_eq!(store.pool.healthy(), 0b011);
    store.close();
}

#[test]
fn scrub_finds_bitrot_on_every_drive_and_mends_it() {
    let (world, clock) = sim::world(3);
    let first = SimMachine::new(3, DRIVE_BYTES);
    let store = Store::on(&first, &world).unwrap();
    fill(&store, 0);
    store.close();
    let mut image = first.image();
    // One block of each of three stripes; the first object's blocks are 64 + 1024 bytes long on each drive.
    for (drive, offset) in [(0, 700), (1, 5_000), (2, 30_000)] {
        assert!(image.flip_bit(drive, "segments/00000001.seg", offset, 3));
    }
    let store = Store::on(&SimMachine::boot(image, DRIVE_BYTES), &world).unwrap();
    let bad = || -> u64 {
        let page = store.meta.reader().unwrap().all_extents(None, 1000).unwrap();
        let extents = page.entries.iter().flat_map(|entry| &entry.extents);
        extents.map(|extent| pollster::block_on(store.pool.verify_extent(extent)).bad).sum()
    };
    assert_eq!(bad(), 3);
    let upkeep = start(&store);
    upkeep.request(UpkeepRequest::Scrub);
    wait(&upkeep, &clock, |status| status.state == HealState::Whole && status.walk.is_none());
    assert_eq!(bad(), 0);
    compare(&store, KEYS);
    drop(upkeep);
    store.close();
}

#[test]
fn an_interrupted_walk_goes_on_where_it_was() {
    let (world, _) = sim::world(4);
    let machine = SimMachine::new(3, DRIVE_BYTES);
    let store = Store::on(&machine, &world).unwrap();
    fill(&store, 0);
    // So slow that the first debt lasts longer than the test.
    let settings = UpkeepSettings { bytes_per_second: 1 << 20, scrub_interval_s: 0 };
    let upkeep = Upkeep::start(store.meta.clone(), store.pool.clone(), settings, store.world.clone()).unwrap();
    let walking = |status: &HealStatus| status.walk.is_some_and(|walk| walk.kind == WalkKind::Census);
    let mut polls = 0;
    while !walking(&upkeep.status()) {
        polls += 1;
        assert!(polls < 600, "the first census does not begin");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    upkeep.stop();
    let reader = store.meta.reader().unwrap();
    let stored = reader.property("upkeep.walk").unwrap().expect("a stopped walk is stored");
    assert!(stored.contains("\"census\""), "{stored}");
    drop(reader);
    let (_, clock) = sim::world(5);
    let upkeep = start(&store);
    let status = wait(&upkeep, &clock, |status| status.census.is_some());
    assert_eq!(status.census.unwrap().owners, KEYS);
    drop(upkeep);
    store.close();
}

#[test]
fn strangers_and_duplicates_are_refused_by_name() {
    let (world, _) = sim::world(6);
    let (ours, theirs) = (SimMachine::new(3, DRIVE_BYTES), SimMachine::new(3, DRIVE_BYTES));
    Store::on(&ours, &world).unwrap().close();
    Store::on(&theirs, &world).unwrap().close();
    let cases: [(&str, Vec<Arc<dyn aerie::seam::Storage>>); 3] = [
        ("another pool", vec![ours.storage(0), theirs.storage(2)]),
        ("given twice", vec![ours.storage(0), ours.storage(1), ours.storage(1)]),
        ("only 1 of the 2", vec![ours.storage(2)]),
    ];
    for (reason, storages) in cases {
        let places = storages.into_iter().map(|storage| (storage.describe(), Some(storage))).collect();
        let refused = Store::open(places, 1, &world).err().expect(reason);
        assert!(refused.contains(reason), "{refused}");
    }
    // One that strayed in is left out, whatever its label counts to, and the others start.
    let strayed = [ours.storage(0), ours.storage(1), theirs.storage(2)];
    let places = strayed.into_iter().map(|storage| (storage.describe(), Some(storage))).collect();
    let store = Store::open(places, 1, &world).unwrap();
    let fault = store.pool.status()[2].fault.clone().unwrap();
    assert!(fault.contains("sim-2: the drive is of another pool"), "{fault}");
    store.close();
    // The order in which drives are named does not matter: each knows its slot.
    let swapped = [2, 0, 1].map(|drive| (format!("sim-{drive}"), Some(ours.storage(drive))));
    Store::open(swapped.to_vec(), 1, &world).unwrap().close();
}
