//! Power cuts at every step of the drives' trace: what was acknowledged is there, what was not is whole or absent, and
//! recovery survives power cuts of its own. Without any one class of syncs the suite finds a loss.

use std::sync::{Arc, Mutex};

use pollster::block_on;

use super::*;
use crate::seam::sim::{Cut, Dice, Fault, Image, SimClock, SimMachine, SkipSync};
use crate::seam::{World, sim};

const DRIVES: usize = 3;
/// Segments of the least size, so that the trace has several.
const DRIVE_BYTES: u64 = 100 << 20;
/// How many fates of the unsynced writes are tried at each cut point.
const FATES: u64 = 3;

/// What the scenario knows of an object, by positions in the trace.
#[derive(Debug, Clone)]
struct Known {
    extents: Vec<Extent>,
    body: Vec<u8>,
    /// Durable from here on, on all slots but those of `missed`.
    acknowledged: usize,
    missed: u64,
    /// Whole from here on.
    healed: usize,
    /// Given up from here on.
    released: usize,
}

const NEVER: usize = usize::MAX;

/// A value of the labels: who asked for it when, and when that was durable.
#[derive(Debug, Clone, PartialEq)]
struct Said<T> {
    asked: usize,
    durable: usize,
    value: T,
}

#[derive(Debug, Default)]
struct Script {
    objects: Mutex<Vec<Known>>,
    copies: Vec<Said<Vec<usize>>>,
    rebuilding: Vec<Said<u64>>,
    pool_id: String,
    created: usize,
}

struct Stage {
    machine: SimMachine,
    world: World,
    clock: Arc<SimClock>,
}

fn open(machine: &SimMachine, world: &World) -> Result<Arc<Pool>, PoolError> {
    Pool::open(
        machine.places(),
        PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world: world.clone() },
    )
}

fn body(length: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..length.div_ceil(8)).flat_map(|_| dice.below(u64::MAX).to_le_bytes()).take(length).collect()
}

fn write(pool: &Arc<Pool>, body: &[u8]) -> Result<Written, PoolError> {
    block_on(async {
        let mut writer = pool.writer(Some(body.len() as u64));
        writer.write(body).await?;
        writer.finish().await
    })
}

fn read(pool: &Arc<Pool>, extents: &[Extent]) -> Result<Vec<u8>, PoolError> {
    let length = extents.iter().map(|extent| extent.length).sum();
    let mut reader = pool.reader(extents, 0..length);
    let mut all = Vec::new();
    while let Some(piece) = block_on(reader.next()) {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

impl Script {
    fn put(&self, stage: &Stage, pool: &Arc<Pool>, length: usize, seed: u64) {
        let body = body(length, seed);
        let written = write(pool, &body).expect("the drives take it");
        let acknowledged = stage.machine.position();
        let healed = if written.missed == 0 { acknowledged } else { NEVER };
        let (missed, extents) = (written.missed, written.extents);
        let known = Known { extents, body, acknowledged, missed, healed, released: NEVER };
        self.objects.lock().unwrap().push(known);
    }

    fn put_from_threads(&self, stage: &Stage, pool: &Arc<Pool>, lengths: &[&[usize]], seed: u64) {
        std::thread::scope(|scope| {
            for (thread, lengths) in lengths.iter().enumerate() {
                scope.spawn(move || {
                    for (at, length) in lengths.iter().enumerate() {
                        self.put(stage, pool, *length, seed + (thread * 100 + at) as u64);
                    }
                });
            }
        });
    }

    fn release(&self, stage: &Stage, pool: &Arc<Pool>, at: usize) {
        let mut objects = self.objects.lock().unwrap();
        objects[at].released = stage.machine.position();
        assert!(pool.release(&objects[at].extents));
    }

    /// Bit per slot that the scenario's own degraded write missed and that heal mends.
    fn heal_all(&self, stage: &Stage, pool: &Arc<Pool>) {
        for known in self.objects.lock().unwrap().iter_mut().filter(|known| known.healed == NEVER) {
            for extent in &known.extents {
                assert!(block_on(pool.heal_extent(extent)).expect("k shards are there").is_whole());
            }
            known.healed = stage.machine.position();
        }
    }
}

/// Everything a pool does to its drives: creation, uploads side by side, releases, labels, a drive that is pulled and
/// comes back, heal, removal of a segment, restarts.
fn play(stage: &Stage) -> Script {
    let mut script = Script::default();
    let pool = open(&stage.machine, &stage.world).expect("empty drives make a pool");
    script.created = stage.machine.position();
    script.pool_id = pool.id();
    script.copies.push(Said { asked: 0, durable: script.created, value: vec![0, 1] });
    script.rebuilding.push(Said { asked: 0, durable: script.created, value: 0 });
    script.put_from_threads(stage, &pool, &[&[100, 5_000, 40_000], &[1_200_000], &[7, 70_000]], 1);
    block_on(async {
        let mut given_up = pool.writer(Some(200_000));
        given_up.write(&body(150_000, 2)).await.expect("nothing is sent before the stripe is full");
    });
    script.release(stage, &pool, 1);
    let asked = stage.machine.position();
    pool.set_copies(vec![1]).expect("all drives take labels");
    script.copies.push(Said { asked, durable: stage.machine.position(), value: vec![1] });
    pool.close();

    let asked = stage.machine.position();
    let pool = open(&stage.machine, &stage.world).expect("a whole pool opens");
    script.put_from_threads(stage, &pool, &[&[3_000, 200], &[90_000]], 1_000);
    stage.machine.unplug(2, true);
    pool.check_drives();
    script.put(stage, &pool, 20_000, 2_000);
    script.release(stage, &pool, 0);
    pool.close();
    stage.machine.unplug(2, false);

    // The drive's label is not behind unless the pool started without it.
    stage.machine.unplug(2, true);
    open(&stage.machine, &stage.world).expect("two of three drives are enough").close();
    stage.machine.unplug(2, false);
    let pool = open(&stage.machine, &stage.world).expect("the drive is back");
    assert_eq!(pool.rebuilding(), 0b100);
    script.rebuilding.push(Said { asked, durable: stage.machine.position(), value: 0b100 });
    script.heal_all(stage, &pool);
    let asked = stage.machine.position();
    pool.set_rebuilt(0b100).expect("all drives take labels");
    script.rebuilding.push(Said { asked, durable: stage.machine.position(), value: 0 });
    script.put(stage, &pool, 11_111, 3_000);

    // A segment that nothing refers to any more goes.
    let last = script.objects.lock().unwrap().len() - 1;
    let segment = script.objects.lock().unwrap()[last].extents[0].segment;
    script.release(stage, &pool, last);
    stage.clock.advance_ms(61_000);
    assert!(pool.retire_segment(segment));
    pool.remove_segment(segment);
    script.put(stage, &pool, 4_444, 4_000);
    pool.close();
    script
}

/// Opens the pool after a power cut and holds it against what the script knows. Gives the machine that recovered.
fn check(script: &Script, position: usize, image: Image) -> Result<SimMachine, String> {
    let machine = SimMachine::boot(image, DRIVE_BYTES);
    let (world, _) = sim::world(position as u64 + 77);
    let pool = open(&machine, &world).map_err(|error| format!("the pool does not open: {error}"))?;
    let result = compare(script, position, &pool);
    pool.close();
    result.map(|()| machine)
}

fn compare(script: &Script, position: usize, pool: &Arc<Pool>) -> Result<(), String> {
    if position < script.created {
        return Ok(());
    }
    if pool.id() != script.pool_id {
        return Err("the pool was made anew over an acknowledged one".to_owned());
    }
    let copies = pool.label.lock().unwrap().copies.clone();
    allowed(&script.copies, position, |value| *value == copies).ok_or(format!("copies are {copies:?}"))?;
    // A drive that was caught with an older label is rebuilt once more than needed, never once less.
    let rebuilding = pool.rebuilding();
    allowed(&script.rebuilding, position, |value| rebuilding & value == *value)
        .ok_or(format!("rebuilding is {rebuilding:b}"))?;
    let objects = script.objects.lock().unwrap();
    for (number, known) in objects.iter().enumerate() {
        let alive = known.acknowledged <= position && position < known.released;
        match read(pool, &known.extents) {
            Ok(bytes) if bytes != known.body => return Err(format!("object {number} has other bytes")),
            Err(error) if alive => return Err(format!("object {number} was acknowledged: {error}")),
            Ok(_) | Err(_) => {}
        }
        if alive {
            let mut health = ExtentHealth::default();
            known.extents.iter().for_each(|extent| health.add(block_on(pool.verify_extent(extent))));
            let missed = if known.healed <= position { 0 } else { u64::from(known.missed.count_ones()) };
            if health.bad + health.out > missed * health.stripes {
                return Err(format!("object {number} lacks blocks that were acknowledged: {health:?}"));
            }
        }
    }
    // Life goes on, at addresses that nobody had before.
    let more = body(9_000, 5);
    let written = write(pool, &more).map_err(|error| format!("no new upload: {error}"))?;
    let used = objects.iter().filter(|known| known.acknowledged <= position);
    let used = used.flat_map(|known| &known.extents).map(|extent| extent.segment).max();
    if used.is_some_and(|used| written.extents[0].segment <= used) {
        return Err("a segment's number was given out again".to_owned());
    }
    match read(pool, &written.extents) {
        Ok(bytes) if bytes == more => Ok(()),
        other => Err(format!("a new upload reads as {:?}", other.map(|bytes| bytes.len()))),
    }
}

/// Whether a value fits the last one that was durable before the cut, or one that was asked for since.
fn allowed<T>(said: &[Said<T>], position: usize, fits: impl Fn(&T) -> bool) -> Option<()> {
    let last = said.iter().rposition(|said| said.durable <= position)?;
    said[last..].iter().filter(|said| said.asked <= position).any(|said| fits(&said.value)).then_some(())
}

struct Tally {
    steps: usize,
    images: usize,
    recovery_images: usize,
}

/// Plays the scenario once and cuts the power everywhere.
fn suite(seed: u64, skip: Option<SkipSync>) -> Result<Tally, String> {
    let (world, clock) = sim::world(seed);
    let stage = Stage { machine: SimMachine::new(DRIVES, DRIVE_BYTES), world, clock };
    stage.machine.skip(skip);
    let script = play(&stage);
    let trace = stage.machine.trace();
    let mut tally = Tally { steps: trace.len(), images: 0, recovery_images: 0 };
    for cut in trace.cuts() {
        for fate in 0..FATES {
            let context = |what: String| format!("cut {} of {}, fate {fate}: {what}", cut.position, trace.len());
            let recovered = check(&script, cut.position, cut.image(seed ^ fate)).map_err(context)?;
            tally.images += 1;
            // The power fails again while the pool opens: at every step, for a part of the cut points.
            if cut.position as u64 % 16 == fate {
                tally.recovery_images += cut_recovery(&script, &cut, &recovered, seed ^ fate).map_err(context)?;
            }
        }
    }
    Ok(tally)
}

fn cut_recovery(script: &Script, first: &Cut, recovered: &SimMachine, seed: u64) -> Result<usize, String> {
    let trace = recovered.trace();
    for second in trace.cuts() {
        check(script, first.position, second.image(seed))
            .map_err(|what| format!("cut {} of {} of the recovery: {what}", second.position, trace.len()))?;
    }
    Ok(trace.len() + 1)
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_goes() {
    for seed in 0..2 {
        let tally = suite(seed, None).unwrap_or_else(|loss| panic!("seed {seed}: {loss}"));
        println!(
            "pool, seed {seed}: {} cut points, {} images, {} images of cut recoveries",
            tally.steps + 1,
            tally.images,
            tally.recovery_images
        );
        assert!(tally.steps > 150, "the scenario has shrunk to {} steps", tally.steps);
    }
}

#[test]
fn without_any_one_sync_the_suite_finds_the_loss() {
    for skip in SkipSync::DRIVE {
        let loss = (0..8).find_map(|seed| suite(seed, Some(skip)).err());
        println!("without {skip:?}: {}", loss.unwrap_or_else(|| panic!("{skip:?} is never missed")));
    }
}

#[test]
fn a_drive_that_hangs_is_let_go_of() {
    let (world, clock) = sim::world(9);
    let machine = SimMachine::new(DRIVES, DRIVE_BYTES);
    let pool = open(&machine, &world).expect("empty drives make a pool");
    let before = body(100_000, 1);
    let extents = write(&pool, &before).expect("all drives are there").extents;
    machine.hang(1, true);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&pool, &body(50_000, 2)).expect("two drives are enough"));
        let reading = scope.spawn(|| read(&pool, &extents).expect("two drives are enough"));
        let mut looks = 0;
        while pool.healthy() != 0b101 {
            pool.check_drives();
            clock.advance_ms(limits::DRIVE_STALL_TIMEOUT.as_millis() as u64);
            looks += 1;
            assert!(looks < 20, "the drive is still waited for");
        }
        assert_eq!(writing.join().expect("it does not panic").missed, 0b010);
        assert!(reading.join().expect("it does not panic") == before);
    });
    machine.hang(1, false);
    pool.close();
}

#[test]
fn a_failed_sync_takes_the_drive_out_and_nothing_is_lost() {
    for after in 0..6 {
        let (world, clock) = sim::world(after);
        let stage = Stage { machine: SimMachine::new(DRIVES, DRIVE_BYTES), world, clock };
        let mut script = Script::default();
        let pool = open(&stage.machine, &stage.world).expect("empty drives make a pool");
        (script.created, script.pool_id) = (stage.machine.position(), pool.id());
        script.copies.push(Said { asked: 0, durable: 0, value: vec![0, 1] });
        script.rebuilding.push(Said { asked: 0, durable: 0, value: 0 });
        stage.machine.fail(1, Fault::Sync, after as u32);
        for seed in 0..8 {
            script.put(&stage, &pool, 3_000, seed);
        }
        assert_eq!(pool.healthy(), 0b101, "after {after}");
        pool.close();
        let missed = script.objects.lock().unwrap().iter().filter(|known| known.missed == 0b010).count();
        assert!(missed >= 8 - after as usize, "{missed} uploads know that the drive missed them");
        for cut in stage.machine.trace().cuts() {
            check(&script, cut.position, cut.image(after)).unwrap_or_else(|loss| panic!("after {after}: {loss}"));
        }
    }
}
