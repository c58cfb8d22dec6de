//! Opening: who is in which slot, who is missing, who came empty, who is a stranger.

use std::sync::Arc;

use super::allocate::Allocator;
use super::{Geometry, Pool, PoolError, PoolOptions};
use crate::codec::Codec;
use crate::drive::{Drive, Label};
use crate::hash;
use crate::limits;
use crate::seam::{Storage, World};

struct Place {
    name: String,
    storage: Option<Arc<dyn Storage>>,
    label: Option<Label>,
}

pub(super) fn open(
    places: Vec<(String, Option<Arc<dyn Storage>>)>,
    options: PoolOptions,
) -> Result<Pool, PoolError> {
    if places.is_empty() || places.len() > limits::SHARDS_MAX {
        return refuse(format!("a pool has 1 to {} drives, {} were given", limits::SHARDS_MAX, places.len()));
    }
    let places = read_labels(places)?;
    let newest = places.iter().filter_map(|place| place.label.clone()).max_by_key(|label| label.epoch);
    match newest {
        None => create(places, options),
        Some(newest) => reopen(places, newest, options),
    }
}

fn refuse<T>(reason: String) -> Result<T, PoolError> {
    Err(PoolError::Open(reason))
}

fn read_labels(places: Vec<(String, Option<Arc<dyn Storage>>)>) -> Result<Vec<Place>, PoolError> {
    let read = |(name, storage): (String, Option<Arc<dyn Storage>>)| {
        let label = match &storage {
            Some(storage) => Label::read(&**storage).map_err(|error| PoolError::Open(error.to_string()))?,
            None => None,
        };
        Ok(Place { name, storage, label })
    };
    places.into_iter().map(read).collect()
}

fn create(places: Vec<Place>, options: PoolOptions) -> Result<Pool, PoolError> {
    let count = places.len();
    let parity = usize::from(options.parity.unwrap_or(default_parity(count)));
    if parity >= count {
        return refuse(format!("{count} drives cannot hold {parity} parity shards; give more drives or less parity"));
    }
    let mut storages = Vec::with_capacity(count);
    for place in places {
        match place.storage {
            Some(storage) => storages.push(storage),
            None => return refuse(format!("{}: a new pool needs all its drives; create the folder", place.name)),
        }
    }
    let drives: Vec<String> = (0..count).map(|_| random_id(&options.world)).collect();
    let copies = (0..=parity).collect();
    let label = Label::new(random_id(&options.world), 0, (count - parity) as u8, parity as u8, drives, copies);
    let drives = storages.into_iter().enumerate().map(|(slot, storage)| start(slot, storage).map(Some));
    let drives = drives.collect::<Result<Vec<_>, _>>()?;
    write_labels(&label, drives.iter().flatten())?;
    let missing = vec![None; count];
    assemble(label, drives, missing, 0, options)
}

/// Parity of a new pool when nobody says: two drives may go of six or more, one of three or more.
fn default_parity(drives: usize) -> u8 {
    match drives {
        0..=1 => 0,
        2..=5 => 1,
        _ => 2,
    }
}

fn reopen(places: Vec<Place>, mut label: Label, options: PoolOptions) -> Result<Pool, PoolError> {
    let count = label.drives.len();
    let (data, parity) = (label.data, label.parity);
    if options.parity.is_some_and(|wanted| wanted != parity) {
        return refuse(format!("the pool has geometry {data}+{parity}; it cannot be changed, leave --parity out"));
    }
    if places.len() > count {
        return refuse(format!("the pool has {count} drives, {} were given; leave out those of other pools", places.len()));
    }
    let mut slots: Vec<Option<Arc<dyn Storage>>> = vec![None; count];
    let mut missing: Vec<Option<String>> = vec![None; count];
    let mut empty = Vec::new();
    for place in places {
        match (place.storage, place.label) {
            (Some(storage), Some(of_drive)) => {
                let slot = check_member(&place.name, &of_drive, &label)?;
                match slot {
                    Ok(slot) if slots[slot].is_some() => {
                        return refuse(format!("{}: the drive of slot {slot} was given twice", place.name));
                    }
                    Ok(slot) => slots[slot] = Some(storage),
                    Err(reason) => tracing::error!(place = place.name, reason, "drive left out"),
                }
            }
            (Some(storage), None) => empty.push(storage),
            (None, _) => tracing::warn!(place = place.name, "drive is missing"),
        }
    }
    let mut fresh = 0u64;
    for slot in 0..count {
        if slots[slot].is_none() && let Some(storage) = empty.pop() {
            tracing::warn!(slot, place = storage.describe(), "empty drive takes the place of a missing one and is rebuilt");
            label.drives[slot] = random_id(&options.world);
            label.copies.retain(|copy| *copy != slot);
            fresh |= 1 << slot;
            slots[slot] = Some(storage);
        } else if slots[slot].is_none() {
            missing[slot] = Some("missing since the start".to_owned());
        }
    }
    let with_data = slots.iter().flatten().count() - fresh.count_ones() as usize;
    if with_data < usize::from(data) {
        return refuse(format!("only {with_data} of the {data} drives that are needed are there; attach more of the pool's drives"));
    }
    let drives = slots.into_iter().enumerate().map(|(slot, storage)| storage.map(|s| start(slot, s)).transpose());
    let drives = drives.collect::<Result<Vec<_>, _>>()?;
    if fresh != 0 {
        label.epoch += 1;
        write_labels(&label, drives.iter().flatten())?;
    }
    assemble(label, drives, missing, fresh, options)
}

/// The slot of a labelled drive; the inner error says why it is left out, the outer refuses the start.
fn check_member(place: &str, of_drive: &Label, newest: &Label) -> Result<Result<usize, &'static str>, PoolError> {
    if of_drive.pool != newest.pool {
        return refuse(format!("{place}: the drive is of another pool ({}); take it out of the list", of_drive.pool));
    }
    let slot = of_drive.slot;
    let own_id = of_drive.drives.get(slot);
    if own_id.is_none() || own_id != newest.drives.get(slot) {
        return Ok(Err("the drive was replaced; wipe it to use it again"));
    }
    Ok(Ok(slot))
}

fn start(slot: usize, storage: Arc<dyn Storage>) -> Result<Drive, PoolError> {
    Drive::start(slot, storage).map_err(|error| PoolError::Open(error.to_string()))
}

/// Writes the pool-wide part of `label` to the drives, each under its own slot.
pub(super) fn write_labels<'a>(label: &Label, drives: impl Iterator<Item = &'a Drive>) -> Result<(), PoolError> {
    let mut written = 0;
    for drive in drives.filter(|drive| drive.is_healthy()) {
        let own = Label { slot: drive.slot(), ..label.clone() };
        match own.write(&**drive.storage()) {
            Ok(()) => written += 1,
            Err(error) => drive.fail(error.to_string()),
        }
    }
    let needed = usize::from(label.data);
    if written < needed { Err(PoolError::TooFewDrives { healthy: written, needed }) } else { Ok(()) }
}

fn assemble(
    label: Label,
    drives: Vec<Option<Drive>>,
    missing: Vec<Option<String>>,
    fresh: u64,
    options: PoolOptions,
) -> Result<Pool, PoolError> {
    let geometry = Geometry { data: label.data, parity: label.parity };
    let codec = Codec::new(label.data, label.parity).map_err(|error| PoolError::Open(error.to_string()))?;
    let mut last = 0;
    for drive in drives.iter().flatten() {
        let numbers = drive.segment_numbers();
        let numbers = numbers.map_err(|e| PoolError::Open(format!("{}: {e}", drive.storage().describe())))?;
        last = numbers.into_iter().fold(last, u32::max);
    }
    let write_shards_min = usize::from(options.write_shards_min.unwrap_or(label.data).max(label.data));
    if write_shards_min > geometry.shards() {
        return refuse(format!("write_shards_min is {write_shards_min}, but a stripe has {} shards", geometry.shards()));
    }
    Ok(Pool {
        geometry,
        write_shards_min,
        codec,
        allocator: Allocator::new(options.world.clock.clone(), last),
        seed: label.seed(),
        drives,
        missing,
        fresh,
        label: std::sync::Mutex::new(label),
        pins: std::sync::Mutex::default(),
    })
}

fn random_id(world: &World) -> String {
    let mut bytes = [0; 16];
    world.entropy.fill(&mut bytes);
    hash::hex_encode(&bytes)
}
