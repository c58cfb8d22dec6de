//! Opening: who is in which slot, who is missing, who came empty, who is a stranger.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::allocate::Allocator;
use super::{Geometry, Pool, PoolError, PoolOptions};
use crate::codec::Codec;
use crate::drive::{Drive, Label, LabelError, SEGMENTS_DIR};
use crate::hash;
use crate::limits;
use crate::seam::{Storage, World};

struct Place {
    name: String,
    storage: Option<Arc<dyn Storage>>,
    label: Option<Label>,
    /// Why the drive cannot be used though it is there.
    damage: Option<String>,
}

pub(super) fn open(places: Vec<(String, Option<Arc<dyn Storage>>)>, options: PoolOptions) -> Result<Pool, PoolError> {
    if places.is_empty() || places.len() > limits::SHARDS_MAX {
        return refuse(format!("a pool has 1 to {} drives, {} were given", limits::SHARDS_MAX, places.len()));
    }
    let places = read_labels(places)?;
    let newest = places.iter().filter_map(|place| place.label.clone()).max_by_key(|label| label.epoch);
    match newest {
        // Epoch 0: the power went while the pool was made. It held nothing, so that it is made anew.
        Some(newest) if newest.epoch > 0 => reopen(places, newest, options),
        _ => create(places, options),
    }
}

fn refuse<T>(reason: String) -> Result<T, PoolError> {
    Err(PoolError::Open(reason))
}

fn read_labels(places: Vec<(String, Option<Arc<dyn Storage>>)>) -> Result<Vec<Place>, PoolError> {
    let read = |(name, storage): (String, Option<Arc<dyn Storage>>)| {
        let (label, damage) = match storage.as_ref().map(|storage| Label::read(&**storage)) {
            None => (None, None),
            Some(Ok(label)) => (label, None),
            // A newer program has been here: whatever it changed, this one must not touch.
            Some(Err(error @ LabelError::UnknownFormat { .. })) => return refuse(error.to_string()),
            Some(Err(error)) => (None, Some(error.to_string())),
        };
        Ok(Place { name, storage, label, damage })
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
        match (place.storage, place.damage) {
            (_, Some(damage)) => return refuse(format!("a new pool needs sound drives: {damage}")),
            (Some(storage), None) if has_segments(&*storage) => {
                return refuse(format!("{}: there are segments but no label; wipe the drive to use it", place.name));
            }
            (Some(storage), None) => storages.push(storage),
            (None, None) => {
                let advice = "make it a folder that this user may write";
                return refuse(format!("{}: a new pool needs all its drives; {advice}", place.name));
            }
        }
    }
    let drives: Vec<String> = (0..count).map(|_| random_id(&options.world)).collect();
    let copies = (0..=parity).collect();
    let mut label = Label::new(random_id(&options.world), 0, (count - parity) as u8, parity as u8, drives, copies);
    label.segments_reserved = limits::SEGMENTS_RESERVED;
    let segment_bytes = segment_bytes(storages.iter(), Geometry { data: label.data, parity: label.parity })?;
    let drives = storages.into_iter().enumerate().map(|(slot, storage)| start(slot, storage, segment_bytes).map(Some));
    let drives = drives.collect::<Result<Vec<_>, _>>()?;
    label.mounted = drives.iter().flatten().filter(|drive| is_mounted(drive)).map(Drive::slot).collect();
    // First all drives learn that they belong together, then that the pool exists: a power cut in between leaves a pool
    // in the making, never one that lacks drives.
    for epoch in [0, 1] {
        label.epoch = epoch;
        if write_labels(&label, drives.iter().flatten())? < count {
            return refuse("a new pool needs all its drives; replace the one that failed".to_owned());
        }
    }
    let missing = vec![None; count];
    assemble(Opened { label, drives, missing, fresh: 0, last: 0, segment_bytes }, options)
}

/// Whether blocks may lie on a drive that has no label.
fn has_segments(storage: &dyn Storage) -> bool {
    let names = storage.list(SEGMENTS_DIR);
    names.is_ok_and(|names| !names.is_empty())
}

/// Small drives get small segments, so that a few open ones do not fill them; whole stripes fill one without a rest.
/// Addresses do not depend on the size.
fn segment_bytes<'a>(
    storages: impl Iterator<Item = &'a Arc<dyn Storage>>,
    geometry: Geometry,
) -> Result<u64, PoolError> {
    let mut least = u64::MAX;
    for storage in storages {
        let space = storage.space().map_err(|e| PoolError::Open(format!("{}: {e}", storage.describe())))?;
        least = least.min(space.total);
    }
    let share = (least / limits::SEGMENTS_PER_DRIVE_MIN).max(1);
    let bytes = (1 << share.ilog2()).clamp(limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES);
    Ok(bytes.next_multiple_of(geometry.full_block_stride() as u64))
}

/// Parity of a new pool when nobody says: two drives may go of six or more, one of three or more.
pub fn default_parity(drives: usize) -> u8 {
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
        return refuse(format!(
            "the pool has {count} drives, {} were given; leave out those of other pools",
            places.len()
        ));
    }
    let mut slots: Vec<Option<Arc<dyn Storage>>> = vec![None; count];
    let mut missing: Vec<Option<String>> = vec![None; count];
    let mut empty = Vec::new();
    // Why places that were given are no drive of the pool: `aerie status` says it where a slot is missing.
    let mut left_out = Vec::new();
    let mut rebuilding: BTreeSet<usize> = label.rebuilding.iter().copied().collect();
    for place in places {
        match (place.storage, place.label) {
            (Some(_), _) if place.damage.is_some() => {
                let damage = place.damage.unwrap_or_default();
                tracing::error!(place = place.name, damage, "drive left out");
                left_out.push(damage);
            }
            (Some(storage), Some(of_drive)) => {
                let slot = check_member(&place.name, &of_drive, &label)?;
                match slot {
                    Ok(slot) if slots[slot].is_some() => {
                        return refuse(format!("{}: the drive of slot {slot} was given twice", place.name));
                    }
                    Ok(slot) => {
                        if of_drive.epoch < label.epoch && rebuilding.insert(slot) {
                            tracing::warn!(slot, place = place.name, "drive was away; what it missed is rebuilt");
                        }
                        slots[slot] = Some(storage);
                    }
                    Err(reason) => {
                        tracing::error!(place = place.name, reason, "drive left out");
                        left_out.push(format!("{}: {reason}", place.name));
                    }
                }
            }
            (Some(storage), None) if has_segments(&*storage) => {
                let reason = "it has segments but no label; wipe it to use it";
                tracing::error!(place = place.name, reason, "drive left out");
                left_out.push(format!("{}: {reason}", place.name));
            }
            (Some(storage), None) => {
                let named = options.replace.contains(&place.name);
                empty.push(Empty { takes_any: named || storage.is_mounted().unwrap_or(false), storage });
            }
            (None, _) => tracing::warn!(place = place.name, "drive is missing"),
        }
    }
    let mut fresh = 0u64;
    for slot in fill_order(&slots, &label) {
        let was_mounted = label.mounted.contains(&slot);
        let Some(at) = empty.iter().position(|empty| empty.takes_any || !was_mounted) else {
            missing[slot] = Some(why_missing(was_mounted, &empty, &left_out));
            continue;
        };
        let storage = empty.remove(at).storage;
        tracing::warn!(slot, place = storage.describe(), "empty drive takes the place of a missing one and is rebuilt");
        label.drives[slot] = random_id(&options.world);
        label.copies.retain(|copy| *copy != slot);
        rebuilding.insert(slot);
        fresh |= 1 << slot;
        slots[slot] = Some(storage);
    }
    for place in empty.iter().map(|empty| empty.storage.describe()) {
        tracing::error!(place, "left out: an empty folder where a drive was mounted. {NOT_MOUNTED}");
    }
    let with_data = slots.iter().flatten().count() - fresh.count_ones() as usize;
    if with_data < usize::from(data) {
        return refuse(format!(
            "only {with_data} of the {data} drives that are needed are there; attach more of the pool's drives"
        ));
    }
    let segment_bytes = segment_bytes(slots.iter().flatten(), Geometry { data, parity })?;
    let drives = slots.into_iter().enumerate();
    let drives = drives.map(|(slot, storage)| storage.map(|s| start(slot, s, segment_bytes)).transpose());
    let drives = drives.collect::<Result<Vec<_>, _>>()?;
    let mut last = label.segments_reserved;
    for drive in drives.iter().flatten() {
        let numbers = drive.segment_numbers();
        let numbers = numbers.map_err(|e| PoolError::Open(format!("{}: {e}", drive.storage().describe())))?;
        last = numbers.into_iter().fold(last, u32::max);
    }
    // Every start takes new numbers: a drive that is away now cannot hold blocks at an address that is given out later.
    label.segments_reserved = last.checked_add(limits::SEGMENTS_RESERVED).ok_or_else(numbers_used_up)?;
    label.rebuilding = rebuilding.into_iter().collect();
    for drive in drives.iter().flatten() {
        label.mounted.retain(|slot| *slot != drive.slot());
        label.mounted.extend(is_mounted(drive).then_some(drive.slot()));
    }
    label.mounted.sort_unstable();
    label.epoch += 1;
    write_labels(&label, drives.iter().flatten())?;
    assemble(Opened { label, drives, missing, fresh, last, segment_bytes }, options)
}

/// A folder with nothing in it.
struct Empty {
    storage: Arc<dyn Storage>,
    /// Something is mounted there, or the operator named it.
    takes_any: bool,
}

/// Slots to be filled: first those that few may take.
fn fill_order(slots: &[Option<Arc<dyn Storage>>], label: &Label) -> Vec<usize> {
    let mut free: Vec<usize> = (0..slots.len()).filter(|slot| slots[*slot].is_none()).collect();
    free.sort_by_key(|slot| !label.mounted.contains(slot));
    free
}

const NOT_MOUNTED: &str =
    "Mount the drive and start again; if the folder itself is to replace it, say so by `aerie serve --replace FOLDER`";

fn why_missing(was_mounted: bool, empty: &[Empty], left_out: &[String]) -> String {
    match empty.first() {
        Some(empty) if was_mounted => format!("not mounted at {}. {NOT_MOUNTED}", empty.storage.describe()),
        _ if !left_out.is_empty() => format!("missing since the start; left out: {}", left_out.join("; ")),
        _ => "missing since the start; attach it, or give an empty folder in its place, and restart".to_owned(),
    }
}

/// What cannot be found out counts as a plain folder.
fn is_mounted(drive: &Drive) -> bool {
    drive.storage().is_mounted().unwrap_or(false)
}

pub(super) fn numbers_used_up() -> PoolError {
    PoolError::Open("the pool has used up its 2^32 segment numbers; copy it to a new pool".to_owned())
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

fn start(slot: usize, storage: Arc<dyn Storage>, segment_bytes: u64) -> Result<Drive, PoolError> {
    Drive::start(slot, storage, segment_bytes).map_err(|error| PoolError::Open(error.to_string()))
}

/// Writes the pool-wide part of `label` to the drives, each under its own slot. Gives how many took it, at least k.
pub(super) fn write_labels<'a>(label: &Label, drives: impl Iterator<Item = &'a Drive>) -> Result<usize, PoolError> {
    let mut written = 0;
    for drive in drives.filter(|drive| drive.is_healthy()) {
        let own = Label { slot: drive.slot(), ..label.clone() };
        match own.write(&**drive.storage()) {
            Ok(()) => written += 1,
            Err(error) => drive.fail(error.to_string()),
        }
    }
    let needed = usize::from(label.data);
    if written < needed { Err(PoolError::TooFewDrives { healthy: written, needed }) } else { Ok(written) }
}

/// What was found and started.
struct Opened {
    label: Label,
    drives: Vec<Option<Drive>>,
    missing: Vec<Option<String>>,
    fresh: u64,
    /// The highest segment number that may have been used.
    last: u32,
    segment_bytes: u64,
}

fn assemble(opened: Opened, options: PoolOptions) -> Result<Pool, PoolError> {
    let Opened { label, drives, missing, fresh, last, segment_bytes } = opened;
    let geometry = Geometry { data: label.data, parity: label.parity };
    let codec = Codec::new(label.data, label.parity).map_err(|error| PoolError::Open(error.to_string()))?;
    let write_shards_min = usize::from(options.write_shards_min.unwrap_or(label.data).max(label.data));
    if write_shards_min > geometry.shards() {
        return refuse(format!(
            "write_shards_min is {write_shards_min}, but a stripe has {} shards",
            geometry.shards()
        ));
    }
    Ok(Pool {
        geometry,
        write_shards_min,
        codec,
        allocator: Allocator::new(options.world.clock.clone(), last, segment_bytes),
        seed: label.seed(),
        drives,
        missing,
        fresh,
        numbers_reserved: AtomicU32::new(label.segments_reserved),
        full: AtomicBool::new(false),
        room: AtomicU64::new(u64::MAX),
        label: std::sync::Mutex::new(label),
        buffers: Arc::default(),
        returns: Default::default(),
        latest: Default::default(),
        pins: std::sync::Mutex::default(),
    })
}

fn random_id(world: &World) -> String {
    let mut bytes = [0; 16];
    world.entropy.fill(&mut bytes);
    hash::hex_encode(&bytes)
}
