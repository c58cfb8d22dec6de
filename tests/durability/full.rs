//! Full drives: uploads are refused, everything else goes on, and reclaim gives the space back.

use std::sync::Arc;
use std::time::Duration;

use aerie::engine::EngineError;
use aerie::meta::MetaError;
use aerie::pool::PoolError;
use aerie::seam::sim::{self, Fault, SimClock, SimMachine};
use aerie::upkeep::{Upkeep, UpkeepRequest, UpkeepSettings};

use crate::store::{Store, bytes};

const DRIVE_BYTES: u64 = 48 << 20;
const OBJECT_BYTES: usize = 3 << 20;

fn is_full(error: &EngineError) -> bool {
    matches!(error, EngineError::Pool(PoolError::Full) | EngineError::Meta(MetaError::Full))
}

/// Writes until the drives are full; gives the number of objects.
fn fill(store: &Store, round: u64) -> u64 {
    for number in 0.. {
        match store.put(&format!("{round}-{number}"), &bytes(OBJECT_BYTES, round << 16 | number)) {
            Ok(_) => {}
            Err(error) if is_full(&error) => return number,
            Err(error) => panic!("round {round}, object {number}: {error}"),
        }
    }
    unreachable!("drives are finite")
}

/// Lets reclaim run until the drives have the space again.
fn reclaim(store: &Store, upkeep: &Upkeep, clock: &Arc<SimClock>) {
    for _ in 0..600 {
        let least = store.pool.status().iter().map(|drive| drive.available_bytes).min().expect("there are drives");
        if least > DRIVE_BYTES * 3 / 4 {
            return;
        }
        clock.advance_ms(12_000);
        upkeep.request(UpkeepRequest::Heal);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    panic!("the space does not come back: {:?}", store.pool.status());
}

#[test]
fn ten_times_the_pools_size_goes_through_it() {
    let (world, clock) = sim::world(1);
    let machine = SimMachine::new(3, DRIVE_BYTES);
    let store = Store::on(&machine, &world).unwrap();
    let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
    let upkeep = Upkeep::start(store.meta.clone(), store.pool.clone(), settings, world.clone()).unwrap();
    let (mut written, mut round) = (0u64, 0);
    // Two data drives of three.
    while written < 10 * 2 * DRIVE_BYTES {
        let count = fill(&store, round);
        assert!(count * OBJECT_BYTES as u64 > DRIVE_BYTES, "round {round}: full after {count} objects");
        let small = store.put("small", &bytes(100, round));
        assert!(small.is_ok() || small.is_err_and(|error| is_full(&error)));
        for number in 0..count {
            let key = format!("{round}-{number}");
            assert!(store.get(&key).unwrap() == bytes(OBJECT_BYTES, round << 16 | number), "{key}");
            store.delete(&key).unwrap();
        }
        reclaim(&store, &upkeep, &clock);
        written += count * OBJECT_BYTES as u64;
        round += 1;
    }
    println!("{} MiB went through drives of {} MiB in {round} rounds", written >> 20, DRIVE_BYTES >> 20);
    drop(upkeep);
    store.close();
    let store = Store::on(&SimMachine::boot(machine.image(), DRIVE_BYTES), &world).unwrap();
    assert!(store.get("0-0").is_err_and(|error| crate::store::is_absent(&error)));
    store.put("after", &bytes(OBJECT_BYTES, 9)).unwrap();
    store.close();
}

/// A commit that one copy of the metadata had no space for was refused, and its blocks given back, while the other copy had
/// it: the next start took that one.
#[test]
fn an_upload_that_is_refused_for_want_of_space_never_takes_the_old_version_with_it() {
    let mut refused = 0;
    for (drive, after) in (0..3).flat_map(|drive| (0..8).map(move |after| (drive, after))) {
        let (world, _) = sim::world(1);
        let machine = SimMachine::new(3, DRIVE_BYTES);
        let store = Store::on(&machine, &world).unwrap();
        let (old, new) = (bytes(30_000, 1), bytes(40_000, 2));
        store.put("key", &old).unwrap();
        machine.fail(drive, Fault::Full, after);
        let put = store.put("key", &new);
        assert!(put.is_ok() || put.as_ref().is_err_and(is_full), "{put:?}");
        refused += u32::from(put.is_err());
        // Each drive has done what was asked of it; the process is killed before it asks for anything else.
        store.pool.check_drives();
        let image = machine.image();
        store.close();
        let store = Store::on(&SimMachine::boot(image, DRIVE_BYTES), &world).unwrap();
        let found = store.get("key").unwrap_or_else(|error| panic!("drive {drive}, write {after}: {error}"));
        assert!(found == new || (put.is_err() && found == old), "drive {drive}, write {after}: {} bytes", found.len());
        store.close();
    }
    assert!(refused >= 4, "only {refused} uploads were refused");
}
