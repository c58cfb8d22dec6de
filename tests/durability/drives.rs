//! Drives that come and go while the store runs, on simulated drives: more than m at a time, in any order, in the midst of
//! a heal. Nothing acknowledged is lost, what cannot be kept is refused, and no restart is needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aerie::engine::{self, Engine};
use aerie::pool::{Pool, PoolOptions};
use aerie::seam::World;
use aerie::seam::sim::{self, Dice, SimClock, SimMachine};
use aerie::upkeep::{HealState, HealStatus, Upkeep, UpkeepSettings};
use bytes::Bytes;

use crate::store::{Places, Store, bytes};

const DRIVE_BYTES: u64 = 256 << 20;
const DRIVES: usize = 6;
const PARITY: u8 = 2;

/// A store that is tended, its drives and its clock.
struct Board {
    machine: SimMachine,
    clock: Arc<SimClock>,
    world: World,
    store: Store,
    upkeep: Option<Upkeep>,
    acknowledged: BTreeMap<String, Bytes>,
    next: u64,
}

fn reopen_by(pool: &Arc<Pool>, machine: &SimMachine) {
    let machine = machine.clone();
    pool.reopen_by(Arc::new(move |name: &str| {
        let drive: usize = name.trim_start_matches("sim-").parse().expect("places are named so");
        Ok(machine.storage(drive))
    }));
}

impl Board {
    fn new(seed: u64) -> Board {
        let machine = SimMachine::new(DRIVES, DRIVE_BYTES);
        Board::boot(machine, seed)
    }

    fn boot(machine: SimMachine, seed: u64) -> Board {
        let (world, clock) = sim::world(seed);
        let store = Store::open(machine.places(), PARITY, &world).expect("enough drives are there");
        let mut board =
            Board { machine, clock, world, store, upkeep: None, acknowledged: BTreeMap::new(), next: seed << 32 };
        board.tend();
        board
    }

    fn tend(&mut self) {
        reopen_by(&self.store.pool, &self.machine);
        let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
        let (meta, pool) = (self.store.meta.clone(), self.store.pool.clone());
        self.upkeep = Some(Upkeep::start(meta, pool, settings, self.world.clone()).expect("a thread can be started"));
    }

    fn upkeep(&self) -> &Upkeep {
        self.upkeep.as_ref().expect("it was started")
    }

    /// Polls until it is right; the simulated clock moves on meanwhile.
    fn wait(&self, what: &str, right: impl Fn(&HealStatus) -> bool) {
        for _ in 0..2400 {
            if right(&self.upkeep().status()) {
                return;
            }
            self.clock.advance_ms(500);
            std::thread::park_timeout(Duration::from_millis(25));
            self.upkeep().request(aerie::upkeep::UpkeepRequest::Heal);
        }
        let faults: Vec<_> = self.store.pool.status().into_iter().map(|drive| drive.fault).collect();
        panic!("{what}: {:?}, {faults:?}, copies {:?}", self.upkeep().status(), self.store.meta.current_copies());
    }

    fn wait_whole(&self) {
        self.wait("whole", |status| status.state == HealState::Whole && status.walk.is_none());
        self.wait("all copies", |_| self.store.meta.current_copies().len() == usize::from(PARITY) + 1);
    }

    fn put(&mut self, length: usize) -> bool {
        let (key, body) = (format!("k{}", self.next % 40), bytes(length, self.next));
        self.next += 1;
        let before = self.acknowledged.remove(&key);
        match self.store.put(&key, &body) {
            Ok(_) => {
                self.acknowledged.insert(key, body);
                true
            }
            Err(_) => {
                // Whether it is there is open: it is put aside.
                drop(before);
                false
            }
        }
    }

    fn compare(&self, at: &str) {
        self.compare_with(&self.acknowledged, at);
    }

    fn compare_with(&self, acknowledged: &BTreeMap<String, Bytes>, at: &str) {
        for (key, body) in acknowledged {
            let found = self.store.get(key).unwrap_or_else(|error| panic!("{at}: {key}: {error}"));
            assert!(found == *body, "{at}: {key} differs");
        }
    }

    fn out(&self, slots: &[usize]) {
        self.wait("out", |status| status.out == slots);
    }

    /// The drive is put back, after it was seen to be gone: otherwise it would be one that failed where it stands.
    fn put_back(&self, slot: usize) {
        let gone = format!("sim-{slot}: Input/output error");
        let seen = [format!("now: {gone}"), "it takes part again once that has changed".to_owned()];
        self.wait("seen to be gone", |_| {
            let fault = self.store.pool.status()[slot].fault.clone().unwrap_or_default();
            fault.contains(&gone) && seen.iter().any(|seen| fault.contains(seen))
        });
        self.machine.unplug(slot, false);
    }

    /// Everything ends and begins again, with what the drives hold.
    fn restart(mut self, seed: u64) -> Board {
        drop(self.upkeep.take());
        self.store.close();
        let machine = SimMachine::boot(self.machine.image(), DRIVE_BYTES);
        Board { acknowledged: self.acknowledged, next: self.next, ..Board::boot(machine, seed) }
    }

    fn close(mut self) {
        drop(self.upkeep.take());
        self.store.close();
    }
}

/// Once, after more than m drives had been out, none came back before a restart; and when the copies of the metadata were
/// among them, none was called current any more, so that not even a restart helped.
#[test]
fn more_than_m_drives_are_pulled_and_put_back_one_at_a_time() {
    let all: Vec<usize> = (0..DRIVES).collect();
    let cases: [(&[usize], &[usize]); 4] =
        [(&[0, 1, 2], &[2, 0, 1]), (&[3, 4, 5], &[3, 5, 4]), (&[0, 3, 4], &[4, 3, 0]), (&all, &[5, 1, 3, 0, 4, 2])];
    for (number, (pulled, back)) in cases.into_iter().enumerate() {
        let mut board = Board::new(number as u64);
        for length in [100, 5_000, 300_000, 2_500_000] {
            assert!(board.put(length));
        }
        board.wait_whole();
        let before = board.acknowledged.clone();
        for slot in pulled {
            board.machine.unplug(*slot, true);
            // Meanwhile it goes on.
            board.put(2_000);
        }
        board.out(&{
            let mut pulled = pulled.to_vec();
            pulled.sort_unstable();
            pulled
        });
        let machine = board.machine.clone();
        let epoch = |slot: usize| aerie::drive::Label::read(&*machine.storage(slot)).unwrap().unwrap().epoch;
        assert!(!board.put(50_000), "{pulled:?}: fewer than k drives take no upload");
        let refused = board.store.put("refused", &bytes(50_000, 1)).unwrap_err().to_string();
        assert!(refused.contains("needed drives") || refused.contains("metadata is unavailable"), "{refused}");
        let large = board.acknowledged.iter().find(|(_, body)| body.len() > 1_000_000).expect("one was put").0;
        assert!(board.store.get(large).is_err(), "{pulled:?}: fewer than k drives give no bytes");

        let mut epochs = Vec::new();
        for (at, slot) in back.iter().enumerate() {
            board.put_back(*slot);
            let enough = DRIVES - pulled.len() + at + 1 >= DRIVES - usize::from(PARITY);
            if !enough {
                (0..5).for_each(|_| {
                    board.clock.advance_ms(2_000);
                    board.store.pool.check_drives();
                });
                assert!(board.store.pool.status()[*slot].fault.as_ref().unwrap().contains("it is back, but only"));
                epochs.push(epoch(back[0]));
                continue;
            }
            board.wait("back", |status| !status.out.contains(slot));
            // Slot 2 had the last copy of the metadata: 0 and 1 missed what was committed after they were pulled.
            if back[..=at].contains(&2) || !pulled.contains(&2) {
                board.wait("served", |_| !board.store.meta.current_copies().is_empty());
                // What was uploaded while drives were away may be on those alone that are not back yet.
                board.compare_with(&before, &format!("{pulled:?}, {} are back", at + 1));
                assert!(board.put(60_000), "{pulled:?}: k drives take uploads");
            }
        }
        epochs.dedup();
        assert!(epochs.len() < 2, "labels were written over and over: {epochs:?}");
        board.wait_whole();
        board.compare("all are back");
        assert!(board.put(700_000));
        let board = board.restart(100 + number as u64);
        board.compare("after a restart");
        board.wait_whole();
        board.close();
    }
}

/// Whatever the order in which drives are pulled and put back, also in the midst of a heal.
#[test]
fn drives_come_and_go_at_random() {
    for seed in 0..3 {
        let mut board = Board::new(50 + seed);
        let mut dice = Dice::new(seed);
        let mut away = [false; DRIVES];
        let (mut taken, mut refused) = (0, 0);
        for step in 0..60 {
            match dice.below(8) {
                0..3 => {
                    let slot = dice.below(DRIVES as u64) as usize;
                    away[slot] = !away[slot];
                    match away[slot] {
                        true => board.machine.unplug(slot, true),
                        false => board.put_back(slot),
                    }
                }
                3 => {
                    board.clock.advance_ms(2_000);
                    std::thread::park_timeout(Duration::from_millis(30));
                }
                _ => match board.put([200, 3_000, 70_000, 1_300_000][dice.below(4) as usize]) {
                    true => taken += 1,
                    false => refused += 1,
                },
            }
            if step % 20 == 19 {
                (0..DRIVES).filter(|slot| away[*slot]).for_each(|slot| board.put_back(slot));
                away = [false; DRIVES];
                board.wait("all are back", |status| status.out.is_empty());
                board.wait("served", |_| !board.store.meta.current_copies().is_empty());
                board.compare(&format!("seed {seed} step {step}"));
            }
        }
        board.wait_whole();
        board.compare(&format!("seed {seed}"));
        println!("drives, seed {seed}: {taken} uploads taken, {refused} refused");
        let board = board.restart(500 + seed);
        board.compare(&format!("seed {seed} after a restart"));
        board.close();
    }
}

/// It was once taken in by the next start only.
#[test]
fn drives_that_were_missing_at_the_start_are_taken_in_when_they_appear() {
    let mut board = Board::new(20);
    for length in [100, 5_000, 2_000_000] {
        assert!(board.put(length));
    }
    let (acknowledged, next) = (board.acknowledged.clone(), board.next);
    let machine = SimMachine::boot(
        {
            let image = board.machine.clone();
            board.close();
            image.image()
        },
        DRIVE_BYTES,
    );
    machine.unplug(0, true);
    machine.unplug(4, true);
    let mut board = Board { acknowledged, next, ..Board::boot(machine, 21) };
    board.compare("degraded");
    assert!(board.put(400_000));
    board.out(&[0, 4]);
    board.machine.unplug(0, false);
    board.machine.unplug(4, false);
    board.wait_whole();
    board.compare("all are there");
    let board = board.restart(22);
    assert_eq!(board.store.pool.rebuilding(), 0);
    board.compare("after a restart");
    board.close();
}

/// An empty drive in the place of one that is gone is used when the operator says so, and not before.
#[test]
fn an_empty_drive_takes_a_slot_while_the_store_runs() {
    for (slot, was_mounted, is_mounted, named, taken) in [
        (1, false, false, false, true),
        (0, true, false, false, false),
        (0, true, false, true, true),
        (5, true, true, false, true),
    ] {
        let case = format!("slot {slot}, mounted before {was_mounted}, now {is_mounted}, named {named}");
        let machine = SimMachine::new(DRIVES, DRIVE_BYTES);
        machine.mount(slot, was_mounted);
        let mut board = Board::boot(machine, 30);
        for length in [100, 5_000, 2_000_000] {
            assert!(board.put(length));
        }
        board.machine.unplug(slot, true);
        board.store.pool.check_drives();
        board.store.pool.check_drives();
        assert!(board.put(9_000));
        board.machine.replace(slot);
        board.machine.mount(slot, is_mounted);
        board.machine.unplug(slot, false);
        for _ in 0..3 {
            board.store.pool.check_drives();
        }
        let fault = board.store.pool.status()[slot].fault.clone().expect("it waits for the operator");
        assert!(
            fault.contains("sim-") && fault.contains("is empty") && fault.contains("aerie heal"),
            "{case}: {fault}"
        );
        let word = if named { vec![format!("sim-{slot}")] } else { vec![] };
        assert!(board.upkeep().replace(word), "{case}");
        if taken {
            board.wait_whole();
        } else {
            board.clock.advance_ms(5_000);
            board.wait("out", |status| status.out == [slot]);
            assert!(board.machine.storage(slot).list("").unwrap().is_empty(), "{case}");
        }
        board.compare(&case);
        board.close();
    }
}

/// Each of them waits for the operator, who is told what it is.
#[test]
fn a_wrong_drive_in_the_place_of_one_that_was_pulled_is_refused_by_name() {
    let other = Board::new(40);
    let theirs = other.machine.clone();
    other.close();
    let cases = ["another pool", "the drive of slot 3", "is damaged", "used by another process", "format 9"];
    for (number, reason) in cases.into_iter().enumerate() {
        let mut board = Board::new(41 + number as u64);
        assert!(board.put(100_000));
        board.wait_whole();
        board.machine.unplug(2, true);
        board.out(&[2]);
        let storage = |machine: &SimMachine, slot| machine.storage(slot);
        board.machine.unplug(2, false);
        let own = aerie::drive::Label::read(&*storage(&board.machine, 2)).unwrap().unwrap();
        board.machine.unplug(2, true);
        let label = match number {
            0 => aerie::drive::Label::read(&*storage(&theirs, 2)).unwrap().unwrap(),
            1 => aerie::drive::Label { slot: 3, ..own.clone() },
            3 => aerie::drive::Label { epoch: own.epoch + 1_000, ..own.clone() },
            4 => aerie::drive::Label { format: 9, ..own.clone() },
            _ => own.clone(),
        };
        board.machine.unplug(2, false);
        let drive = storage(&board.machine, 2);
        label.write(&*drive).unwrap();
        if number == 2 {
            let file = drive.open(aerie::drive::LABEL_FILE, aerie::seam::OpenMode::ReadWrite).unwrap();
            file.write_at(b"x", 3).unwrap();
        }
        let told = || board.store.pool.status()[2].fault.clone().unwrap_or_default();
        board.wait(reason, |_| told().contains(reason));
        assert_eq!(board.upkeep().status().out, [2], "{reason}: {}", told());
        board.compare(reason);
        // The right one is taken all the same, later.
        own.write(&*drive).unwrap();
        board.wait_whole();
        board.compare(reason);
        board.close();
    }
}

/// A drive that hung when it was first read once held up the start for ever.
#[test]
fn a_drive_that_hangs_at_the_start_is_left_out_and_taken_in_later() {
    let mut board = Board::new(60);
    assert!(board.put(500_000));
    let (acknowledged, machine) = (board.acknowledged.clone(), board.machine.clone());
    board.close();
    let machine = SimMachine::boot(machine.image(), DRIVE_BYTES);
    machine.hang(1, true);
    let (world, clock) = sim::world(61);
    let options = PoolOptions { parity: Some(PARITY), write_shards_min: None, replace: vec![], world: world.clone() };
    let places: Places = machine.places();
    let pool = Pool::open_within(places, options, Duration::from_millis(300)).unwrap();
    let fault = pool.status()[1].fault.clone().unwrap();
    assert!(fault.contains("sim-1: it does not answer"), "{fault}");
    let meta = engine::open_meta(&pool, world.clone()).unwrap();
    let engine = Engine::new(meta.clone(), pool.clone(), world.clone()).unwrap();
    let store = Store { engine, pool, meta, world: world.clone() };
    let mut board = Board { machine, clock, world, store, upkeep: None, acknowledged, next: 1 };
    board.tend();
    board.compare("without it");
    assert!(board.put(30_000));
    board.machine.hang(1, false);
    board.wait_whole();
    board.compare("with it");
    board.close();
}
