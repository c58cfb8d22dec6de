//! Random operations against a plain map, with restarts and up to m drives failing on the way; and beside it what hooks are
//! to see, however late they come.

use std::collections::{BTreeMap, VecDeque};

use aerie::meta::{BucketConfig, OutboxUpdate, Sequence};
use aerie::seam::sim::{self, Dice, Fault, SimMachine};
use aerie::upkeep::{Upkeep, UpkeepSettings};
use bytes::Bytes;
use pollster::block_on;

use crate::store::{Store, bucket, bytes, get_changed, is_absent, put_parts};

const DRIVE_BYTES: u64 = 512 << 20;
const DRIVES: usize = 4;
const PARITY: u8 = 2;
const OPERATIONS: u64 = 250;

#[test]
fn random_operations_agree_with_a_map() {
    for seed in 0..3 {
        run(seed);
    }
}

fn run(seed: u64) {
    let (world, clock) = sim::world(seed);
    let mut dice = Dice::new(seed);
    let mut machine = SimMachine::new(DRIVES, DRIVE_BYTES);
    let open = |machine: &SimMachine| Store::open(machine.places(), PARITY, &world).unwrap();
    let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
    let tend =
        |store: &Store| Upkeep::start(store.meta.clone(), store.pool.clone(), settings.clone(), world.clone()).unwrap();
    let mut store = open(&machine);
    watch(&store);
    let mut waiting: VecDeque<Option<Bytes>> = VecDeque::new();
    let mut upkeep = tend(&store);
    let mut model: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut restarts = 0;
    for step in 0..OPERATIONS {
        let key = format!("k{}", dice.below(12));
        clock.advance_ms(dice.below(5_000));
        match dice.below(20) {
            0..8 => {
                let length = [0, 10, 1_024, 1_025, 30_000, 300_000, 1_500_000][dice.below(7) as usize];
                let body = bytes(length, seed << 32 | step);
                store.put(&key, &body).unwrap_or_else(|error| panic!("seed {seed} step {step} put {key}: {error}"));
                waiting.push_back(Some(body.clone()));
                model.insert(key, body);
            }
            8 => {
                let parts = [bytes(5 << 20, step), bytes(dice.below(90_000) as usize + 1, step + 1)];
                put_parts(&store.engine, &key, &parts).unwrap();
                waiting.push_back(Some(parts.concat().into()));
                model.insert(key, parts.concat().into());
            }
            9..12 => {
                store.delete(&key).unwrap();
                // What is not there leaves no change.
                waiting.extend(model.remove(&key).map(|_| None));
            }
            12 => {
                let count = dice.below(waiting.len() as u64 + 1) as usize;
                look(&store, &mut waiting, count, &format!("seed {seed} step {step}"));
            }
            13..18 => match (store.get(&key), model.get(&key)) {
                (Ok(found), Some(expected)) => assert!(found == *expected, "seed {seed} step {step}: {key} differs"),
                (Err(error), None) if is_absent(&error) => {}
                (found, expected) => panic!(
                    "seed {seed} step {step}: {key} is {:?}, the model has {:?}",
                    found.map(|bytes| bytes.len()),
                    expected.map(Bytes::len)
                ),
            },
            18 if store.pool.healthy().count_ones() as usize > DRIVES - usize::from(PARITY) => {
                let drive = dice.below(DRIVES as u64) as usize;
                machine.fail(drive, if dice.flip() { Fault::Sync } else { Fault::Write }, dice.below(3) as u32);
            }
            _ => {
                drop(upkeep);
                // A failed sync may have hit the metadata alone: its copy is out then, on a drive that is not.
                let copies_whole = store.meta.current_copies().len() > usize::from(PARITY);
                let all_healthy = store.pool.all_healthy() && copies_whole;
                store.close();
                restarts += 1;
                let mut image = machine.image();
                // A drive comes back empty, unless others have missed something.
                if all_healthy && dice.flip() {
                    image.erase(dice.below(DRIVES as u64) as usize);
                }
                machine = SimMachine::boot(image, DRIVE_BYTES);
                store = open(&machine);
                upkeep = tend(&store);
                wait_whole(&upkeep, &clock);
            }
        }
    }
    let all = waiting.len();
    look(&store, &mut waiting, all, &format!("seed {seed} at the end"));
    let stats = store.meta.reader().unwrap().outbox_stats().unwrap();
    assert_eq!((stats.changes, stats.held, stats.held_bytes), (0, 0, 0), "seed {seed}");
    let id = bucket(&store.engine).unwrap().id;
    let (usage, counted) = (store.engine.reader().usage(id).unwrap(), store.engine.reader().recount(id).unwrap());
    assert_eq!(usage, counted, "seed {seed}");
    let held: usize = model.values().map(Bytes::len).sum();
    assert_eq!((usage.bytes, usage.objects), (held as u64, model.len() as u64), "seed {seed}");
    let listed: Vec<&String> = model.keys().collect();
    for key in listed {
        assert!(store.get(key).unwrap() == model[key], "seed {seed}: {key}");
    }
    println!("model, seed {seed}: {OPERATIONS} operations, {restarts} restarts, {} keys left", model.len());
    drop(upkeep);
    store.close();
}

/// From now on each write leaves a change.
fn watch(store: &Store) {
    let id = bucket(&store.engine).unwrap().id;
    let rules = Some("<NotificationConfiguration/>".to_owned());
    block_on(store.meta.set_bucket_config(id, BucketConfig::Notification, rules, Some(true))).unwrap();
}

/// Consumes the oldest changes as hooks do: each finds the bytes that were written, whatever became of the key since.
fn look(store: &Store, waiting: &mut VecDeque<Option<Bytes>>, count: usize, at: &str) {
    let changes = store.meta.reader().unwrap().changes(Sequence(0), count).unwrap();
    for change in &changes {
        let found = get_changed(&store.engine, change).unwrap_or_else(|error| panic!("{at}: {}: {error}", change.key));
        assert!(found == waiting.pop_front().unwrap(), "{at}: {} differs from what was written", change.key);
    }
    let consumed = changes.iter().map(|change| change.sequence).collect();
    block_on(store.meta.update_outbox(OutboxUpdate { consumed, ..OutboxUpdate::default() })).unwrap();
}

/// After a restart everything is mended before the next drives may fail: more than m at a time is not promised.
fn wait_whole(upkeep: &Upkeep, clock: &sim::SimClock) {
    // Its thread has the lowest priority: on a busy machine it may wait for seconds.
    for _ in 0..6_000 {
        let status = upkeep.status();
        if status.rebuilding.is_empty() && status.queued == 0 && status.census.is_some() {
            return;
        }
        clock.advance_ms(500);
        upkeep.request(aerie::upkeep::UpkeepRequest::Heal);
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("the pool does not get whole: {:?}", upkeep.status());
}
