//! Power cuts at every step of the engine's trace, SQLite's own writes included: each key has its old or its new version,
//! never a mix, never less than was acknowledged; what a recovery leaves survives a cut of that recovery, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aerie::drive::Label;
use aerie::engine::Engine;
use aerie::seam::sim::{self, Cut, Image, SimClock, SimMachine, SkipSync};
use aerie::upkeep::{HealState, Upkeep, UpkeepSettings};
use bytes::Bytes;

use crate::store::{self, Store, bytes, is_absent, put_parts};

const DRIVES: usize = 3;
const DRIVE_BYTES: u64 = 100 << 20;

/// What a key became when: `None` is a delete. Written by one thread, so that the order is known.
#[derive(Debug, Clone)]
struct Write {
    begun: usize,
    acknowledged: usize,
    body: Option<Bytes>,
}

#[derive(Debug, Default)]
struct History {
    created: usize,
    /// Before this point no drive has missed anything: any one may be lost.
    degraded: usize,
    /// Nothing is in stripes: wherever the labels call the other copy of the metadata current, a drive may be lost.
    is_inline: bool,
    keys: Mutex<BTreeMap<String, Vec<Write>>>,
}

impl History {
    fn write(&self, machine: &SimMachine, engine: &Engine, key: &str, body: Option<Bytes>) {
        let begun = machine.position();
        match &body {
            Some(body) if body.len() > 6 << 20 => {
                let (first, last) = (body.slice(..5 << 20), body.slice(5 << 20..));
                put_parts(engine, key, &[first, last]).expect("the drives take it");
            }
            Some(body) => _ = store::put(engine, key, body).expect("the drives take it"),
            None => store::delete(engine, key).expect("the drives take it"),
        }
        let acknowledged = machine.position();
        let mut keys = self.keys.lock().unwrap();
        keys.entry(key.to_owned()).or_default().push(Write { begun, acknowledged, body });
    }
}

/// Uploads side by side, inline and in stripes, overwritten and deleted; upkeep reclaims; restarts; a drive is pulled and
/// replaced, and rebuilt.
fn play(machine: &SimMachine, seed: u64) -> History {
    let (world, clock) = sim::world(seed);
    let mut history = History::default();
    let store = Store::on(machine, &world).expect("empty drives make a store");
    history.created = machine.position();
    let lengths: [&[usize]; 3] = [&[5_000, 100, 0], &[80_000, 1_025], &[600, 1_100_000]];
    std::thread::scope(|scope| {
        for (thread, lengths) in lengths.into_iter().enumerate() {
            let (engine, history) = (store.another_engine(), &history);
            scope.spawn(move || {
                for (at, length) in lengths.iter().enumerate() {
                    // The second write of a thread replaces its first.
                    let body = bytes(*length, seed << 16 | (thread * 10 + at) as u64);
                    history.write(machine, &engine, &format!("thread-{thread}-{}", at / 2), Some(body));
                }
            });
        }
    });
    history.write(machine, &store.engine, "thread-1-0", None);
    history.write(machine, &store.engine, "in-parts", Some(bytes((6 << 20) + 10, seed)));
    tend(&store, &clock);
    store.close();

    let store = Store::on(machine, &world).expect("a whole store opens");
    history.write(machine, &store.engine, "in-parts", Some(bytes(20_000, seed + 1)));
    history.degraded = machine.position();
    machine.unplug(1, true);
    history.write(machine, &store.engine, "degraded", Some(bytes(30_000, seed + 2)));
    history.write(machine, &store.engine, "degraded-inline", Some(bytes(300, seed + 3)));
    store.close();
    machine.unplug(1, false);

    let store = Store::on(machine, &world).expect("the drive is back");
    tend(&store, &clock);
    history.write(machine, &store.engine, "degraded", None);
    store.close();

    // A new drive for slot 0: its copy of the metadata and its blocks are made anew.
    machine.replace(0);
    let store = Store::on(machine, &world).expect("two of three drives are enough");
    history.write(machine, &store.engine, "last", Some(bytes(2_000, seed + 4)));
    tend(&store, &clock);
    store.close();
    history
}

/// Lets upkeep reclaim, heal and count.
fn tend(store: &Store, clock: &Arc<SimClock>) {
    clock.advance_ms(15_000);
    let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
    let upkeep = Upkeep::start(store.meta.clone(), store.pool.clone(), settings, store.world.clone()).unwrap();
    // Its thread has the lowest priority: on a busy machine it may wait for seconds.
    for _ in 0..12_000 {
        let status = upkeep.status();
        if status.state == HealState::Whole && status.walk.is_none() {
            return;
        }
        upkeep.request(aerie::upkeep::UpkeepRequest::Heal);
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("upkeep does not get there: {:?}", upkeep.status());
}

/// Opens the store after a cut and holds every key against the history. Gives the machine that recovered. With `lose`,
/// a drive is lost together with the power, where nothing was missing before.
fn check(
    history: &History,
    position: usize,
    image: Image,
    lose: Option<usize>,
    skip: Option<SkipSync>,
) -> Result<SimMachine, String> {
    let machine = SimMachine::boot(image, DRIVE_BYTES);
    machine.skip(skip);
    let may_lose = |drive: &usize| match history.is_inline {
        true => position >= history.created && has_other_copy(&machine, *drive),
        false => (history.created..history.degraded).contains(&position),
    };
    if let Some(drive) = lose.filter(may_lose) {
        machine.unplug(drive, true);
    }
    let (world, _) = sim::world(position as u64);
    let store = Store::on(&machine, &world)?;
    let result = compare(history, position, &store);
    store.close();
    result.map(|()| machine)
}

/// Whether the labels of the others call one of their copies current.
fn has_other_copy(machine: &SimMachine, lost: usize) -> bool {
    let others = || (0..DRIVES).filter(|drive| *drive != lost);
    let labels = others().filter_map(|drive| Label::read(&*machine.storage(drive)).ok().flatten());
    let newest = labels.max_by_key(|label| label.epoch);
    newest.is_some_and(|newest| others().any(|drive| newest.copies.contains(&drive)))
}

fn compare(history: &History, position: usize, store: &Store) -> Result<(), String> {
    for (key, writes) in history.keys.lock().unwrap().iter() {
        let begun = writes.iter().filter(|write| write.begun < position);
        let last = writes.iter().rposition(|write| write.acknowledged <= position && position >= history.created);
        let mut allowed: Vec<Option<&Bytes>> = begun.skip(last.unwrap_or(0)).map(|write| write.body.as_ref()).collect();
        if last.is_none() {
            allowed.push(None);
        }
        let found = match store.get(key) {
            Ok(found) => Some(found),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(format!("{key}: {error}")),
        };
        if !allowed.contains(&found.as_ref()) {
            let lengths: Vec<_> = allowed.iter().map(|body| body.map(Bytes::len)).collect();
            let found = found.map(|found| found.len());
            return Err(format!("{key} has {found:?} bytes, it may have one of {lengths:?}"));
        }
    }
    let bucket = store::bucket(&store.engine).map_err(|error| format!("no bucket: {error}"))?.id;
    let (usage, counted) = (store.engine.reader().usage(bucket), store.engine.reader().recount(bucket));
    if usage != counted || usage.is_err() {
        return Err(format!("the bucket is said to hold {usage:?}, it holds {counted:?}"));
    }
    let more = bytes(3_000, position as u64);
    store.put("after the cut", &more).map_err(|error| format!("no new upload: {error}"))?;
    match store.get("after the cut") {
        Ok(found) if found == more => Ok(()),
        other => Err(format!("a new upload reads as {:?}", other.map(|found| found.len()))),
    }
}

struct Tally {
    cuts: usize,
    images: usize,
    recovery_images: usize,
}

/// Cuts the power everywhere; `stride` thins out the fates and the recoveries, never the cut points.
fn suite(seed: u64, skip: Option<SkipSync>, fates: u64, recovery_stride: usize) -> Result<Tally, String> {
    let machine = SimMachine::new(DRIVES, DRIVE_BYTES);
    machine.skip(skip);
    let history = play(&machine, seed);
    let trace = machine.trace();
    let mut tally = Tally { cuts: trace.len() + 1, images: 0, recovery_images: 0 };
    for cut in trace.cuts() {
        for fate in 0..fates {
            let context = |what| format!("cut {} of {}, fate {fate}: {what}", cut.position, trace.len());
            let recovered = check(&history, cut.position, cut.image(seed ^ fate), None, skip).map_err(context)?;
            let lost = Some(cut.position % DRIVES).filter(|_| fate == 1);
            if lost.is_some() {
                check(&history, cut.position, cut.image(seed ^ fate), lost, skip).map_err(context)?;
            }
            tally.images += 1 + usize::from(lost.is_some());
            // What only repairs sync can only be missed by a cut of a repair.
            let repaired = skip == Some(SkipSync::MetaNewLog) && recovered.trace().creates("meta/log.new");
            if repaired || cut.position % recovery_stride == fate as usize {
                tally.recovery_images +=
                    cut_recovery(&history, &cut, &recovered, seed ^ fate, skip).map_err(context)?;
            }
        }
    }
    Ok(tally)
}

fn cut_recovery(
    history: &History,
    first: &Cut,
    recovered: &SimMachine,
    seed: u64,
    skip: Option<SkipSync>,
) -> Result<usize, String> {
    let trace = recovered.trace();
    let context = |second: &Cut, what| format!("cut {} of {} of the recovery: {what}", second.position, trace.len());
    for second in trace.cuts() {
        let lost = Some((first.position + second.position) % (DRIVES + 1)).filter(|drive| *drive < DRIVES);
        check(history, first.position, second.image(seed), lost, skip).map_err(|what| context(&second, what))?;
    }
    Ok(trace.len() + 1)
}

#[test]
fn every_key_is_old_or_new_wherever_the_power_goes() {
    let tally = suite(1, None, 2, 397).unwrap_or_else(|loss| panic!("{loss}"));
    println!(
        "engine: {} cut points, {} images, {} images of cut recoveries",
        tally.cuts, tally.images, tally.recovery_images
    );
    assert!(tally.cuts > 300, "the scenario has shrunk to {} cut points", tally.cuts);
}

#[test]
fn without_any_one_sync_the_engine_suite_finds_the_loss() {
    for skip in SkipSync::DRIVE.into_iter().chain(SkipSync::META) {
        let loss = (0..4).find_map(|seed| suite(seed, Some(skip), 1, usize::MAX).err());
        println!("without {skip:?}: {}", loss.unwrap_or_else(|| panic!("{skip:?} is never missed")));
    }
}

/// A drive with a copy of the metadata is pulled while the store runs and put back, commits go on beside it; then all
/// drives are, and what was the last copy becomes the source again.
fn play_returns(machine: &SimMachine, seed: u64) -> History {
    let (world, clock) = sim::world(seed);
    let mut history = History { is_inline: true, ..History::default() };
    let store = Store::on(machine, &world).expect("empty drives make a store");
    history.created = machine.position();
    let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
    let upkeep = Upkeep::start(store.meta.clone(), store.pool.clone(), settings, world.clone()).unwrap();
    let mut number = 0;
    let mut write = |key: &str| {
        number += 1;
        history.write(machine, &store.engine, key, Some(bytes(300, seed << 16 | number)));
    };
    let poll = |what: &str, right: &dyn Fn() -> bool| {
        for _ in 0..2_400 {
            if right() {
                return;
            }
            clock.advance_ms(500);
            std::thread::park_timeout(std::time::Duration::from_millis(5));
            upkeep.request(aerie::upkeep::UpkeepRequest::Heal);
        }
        panic!("{what}: {:?}, copies {:?}", upkeep.status(), store.meta.current_copies());
    };
    let is_away = |slot: usize| {
        let fault = store.pool.status()[slot].fault.clone().unwrap_or_default();
        fault.contains("now: ") || fault.contains("it takes part again")
    };
    let is_whole = || {
        let labelled = store.pool.copies().iter().filter(|(_, _, current)| *current).count();
        let status = upkeep.status();
        labelled == 2 && store.meta.current_copies().len() == 2 && status.state == HealState::Whole
    };
    write("first");
    machine.unplug(1, true);
    write("without it");
    poll("the drive is away", &|| is_away(1));
    write("without it");
    machine.unplug(1, false);
    (0..4).for_each(|at| write(&format!("beside {at}")));
    poll("both copies", &is_whole);
    write("first");
    write("with it");

    (0..DRIVES).for_each(|drive| machine.unplug(drive, true));
    // Not acknowledged: whether it is there is open.
    assert!(store.put("while none is there", &bytes(300, seed)).is_err());
    poll("all are away", &|| (0..DRIVES).all(is_away));
    (0..DRIVES).for_each(|drive| machine.unplug(drive, false));
    poll("all are back", &is_whole);
    write("without it");
    write("last");
    drop(upkeep);
    store.close();
    history
}

/// Gives the number of cut points.
fn suite_of_returns(seed: u64, skip: Option<SkipSync>) -> Result<usize, String> {
    let machine = SimMachine::new(DRIVES, DRIVE_BYTES);
    machine.skip(skip);
    let history = play_returns(&machine, seed);
    let trace = machine.trace();
    for cut in trace.cuts().filter(|cut| cut.position >= history.created) {
        // What the copy that came back lacks shows when the other one is lost.
        for lose in [Some(0), [None, Some(1)][cut.position % 2]] {
            check(&history, cut.position, cut.image(seed), lose, skip)
                .map_err(|what| format!("cut {} of {}, {lose:?} lost: {what}", cut.position, trace.len()))?;
        }
    }
    Ok(trace.len() + 1 - history.created)
}

#[test]
fn a_copy_that_came_back_has_all_wherever_the_power_goes() {
    let cuts = suite_of_returns(1, None).unwrap_or_else(|loss| panic!("{loss}"));
    println!("copies that come back: {cuts} cut points, {} images", 2 * cuts);
    assert!(cuts > 100, "the scenario has shrunk to {cuts} cut points");
}

#[test]
fn without_any_one_sync_of_its_return_the_loss_is_found() {
    for skip in SkipSync::RETURN {
        let loss = (0..4).find_map(|seed| suite_of_returns(seed, Some(skip)).err());
        println!("without {skip:?}: {}", loss.unwrap_or_else(|| panic!("{skip:?} is never missed")));
    }
}
