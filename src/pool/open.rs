//! Opening: who is in which slot, who is missing, who came empty, who is a stranger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::allocate::Allocator;
use super::places::Places;
use super::{Geometry, Pool, PoolError, PoolOptions};
use crate::codec::Codec;
use crate::drive::{Drive, Label, LabelError, has_no_segments};
use crate::hash;
use crate::limits;
use crate::seam::{Space, Storage, World, thread};

#[derive(Default)]
struct Place {
    name: String,
    storage: Option<Arc<dyn Storage>>,
    label: Option<Label>,
    /// There is no segment, nor a label of a pool that was made.
    empty: bool,
    mounted: bool,
    space: Option<Space>,
    /// Why the drive cannot be used though it is there.
    damage: Option<String>,
    /// Its label is of a format that this program does not know.
    newer: Option<String>,
}

pub(super) fn open(
    places: Vec<(String, Option<Arc<dyn Storage>>)>,
    options: PoolOptions,
    patience: Duration,
) -> Result<Pool, PoolError> {
    if places.is_empty() || places.len() > limits::SHARDS_MAX {
        return refuse(format!("a pool has 1 to {} drives, {} were given", limits::SHARDS_MAX, places.len()));
    }
    let names = places.iter().map(|(name, _)| name.clone()).collect();
    let places = look_at_all(places, patience)?;
    let pool = main_pool(&places)?;
    let labels = places.iter().filter_map(|place| place.label.clone());
    let newest = labels.filter(|label| Some(&label.pool) == pool.as_ref()).max_by_key(|label| label.epoch);
    match newest {
        // Epoch 0: the power went while the pool was made. It held nothing, so that it is made anew.
        Some(newest) if newest.epoch > 0 => reopen(places, names, newest, options),
        _ => create(places, options),
    }
}

/// The pool that most of the drives belong to; `None` where none has a label of one that was made.
fn main_pool(places: &[Place]) -> Result<Option<String>, PoolError> {
    let mut pools: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for place in places {
        // A pool in the making is none yet.
        if let Some(label) = place.label.as_ref().filter(|label| label.epoch > 0) {
            pools.entry(&label.pool).or_default().push(&place.name);
        }
    }
    let most = pools.values().map(Vec::len).max().unwrap_or(0);
    let mut first = pools.iter().filter(|(_, names)| names.len() == most);
    match (first.next(), first.next()) {
        (Some((pool, names)), Some((other, others))) => refuse(format!(
            "{} is of pool {pool} and {} of another pool, {other}; leave out the drives of one of them",
            names.join(", "),
            others.join(", ")
        )),
        (main, _) => Ok(main.map(|(pool, _)| (*pool).to_owned())),
    }
}

fn refuse<T>(reason: String) -> Result<T, PoolError> {
    Err(PoolError::Open(reason))
}

/// Looks at all places at the same time; one that does not answer is left out.
fn look_at_all(places: Vec<(String, Option<Arc<dyn Storage>>)>, patience: Duration) -> Result<Vec<Place>, PoolError> {
    let look = |(name, storage): &(String, Option<Arc<dyn Storage>>)| {
        let (name, Some(storage)) = (name.clone(), storage.clone()) else {
            return Place { name: name.clone(), ..Place::default() };
        };
        let of_thread = storage.clone();
        match thread::watched(patience, move |_| look_at(&*of_thread)) {
            Some(found) => {
                let Found { label, empty, mounted, space } = found;
                let (label, damage, newer) = match label {
                    Ok(label) => (label, None, None),
                    Err(error @ LabelError::UnknownFormat { .. }) => (None, None, Some(error.to_string())),
                    Err(error) => (None, Some(error.to_string()), None),
                };
                Place { name, storage: Some(storage), label, empty, mounted, space, damage, newer }
            }
            None => {
                let damage = Some(format!("{name}: it does not answer for {} s", patience.as_secs()));
                Place { name, storage: Some(storage), damage, ..Place::default() }
            }
        }
    };
    let look = &look;
    let places: Vec<Place> = std::thread::scope(|scope| {
        let looks: Vec<_> = places.iter().map(|place| scope.spawn(move || look(place))).collect();
        looks.into_iter().map(|look| look.join().expect("looking does not panic")).collect()
    });
    // A newer program has been here: whatever it changed, this one must not touch.
    match places.iter().find_map(|place| place.newer.clone()) {
        Some(newer) => refuse(newer),
        None => Ok(places),
    }
}

/// What there is to know of a drive before it takes part.
pub(super) struct Found {
    pub label: Result<Option<Label>, LabelError>,
    pub empty: bool,
    pub mounted: bool,
    pub space: Option<Space>,
}

/// May hang: for a thread that nobody needs.
pub(super) fn look_at(storage: &dyn Storage) -> Found {
    let label = Label::read(storage);
    // A pool in the making, of epoch 0, has none either.
    let may_be_empty = label.as_ref().is_ok_and(|label| label.as_ref().is_none_or(|label| label.epoch == 0));
    let empty = may_be_empty && has_no_segments(storage);
    // What cannot be found out counts as a plain folder.
    Found { label, empty, mounted: storage.is_mounted().unwrap_or(false), space: storage.space().ok() }
}

fn create(places: Vec<Place>, options: PoolOptions) -> Result<Pool, PoolError> {
    let count = places.len();
    let parity = usize::from(options.parity.unwrap_or(default_parity(count)));
    if parity >= count {
        return refuse(format!("{count} drives cannot hold {parity} parity shards; give more drives or less parity"));
    }
    let mut storages = Vec::with_capacity(count);
    let segment_bytes = segment_bytes(places.iter(), Geometry { data: (count - parity) as u8, parity: parity as u8 })?;
    let mounted = places.iter().map(|place| place.mounted).collect::<Vec<bool>>();
    for place in places {
        match (place.storage, place.damage) {
            (_, Some(damage)) => return refuse(format!("a new pool needs sound drives: {damage}")),
            (Some(_), None) if !place.empty => {
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
    let drives = storages.into_iter().enumerate().map(|(slot, storage)| start(slot, storage, segment_bytes).map(Some));
    let drives = drives.collect::<Result<Vec<_>, _>>()?;
    label.mounted = (0..count).filter(|slot| mounted[*slot]).collect();
    // First all drives learn that they belong together, then that the pool exists: a power cut in between leaves a pool
    // in the making, never one that lacks drives.
    let all: Vec<&Drive> = drives.iter().flatten().collect();
    for _ in 0..2 {
        if (write_each(&label, &all, |drive, reason| drive.fail(reason)).count_ones() as usize) < count {
            return refuse("a new pool needs all its drives; replace the one that failed".to_owned());
        }
        if label.epoch == 0 {
            label.advance(0..count);
        }
    }
    let places = Places::default();
    assemble(Opened { label, drives, places, fresh: 0, last: 0, segment_bytes }, options)
}

/// Small drives get small segments, so that a few open ones do not fill them; whole stripes fill one without a rest.
/// Addresses do not depend on the size.
fn segment_bytes<'a>(places: impl Iterator<Item = &'a Place>, geometry: Geometry) -> Result<u64, PoolError> {
    let mut least = u64::MAX;
    for place in places {
        let space = place.space.ok_or_else(|| PoolError::Open(format!("{}: its size cannot be found", place.name)))?;
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

fn reopen(places: Vec<Place>, names: Vec<String>, mut label: Label, options: PoolOptions) -> Result<Pool, PoolError> {
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
    let mut slots: Vec<Option<Place>> = (0..count).map(|_| None).collect();
    let mut unused = names;
    let mut missing: Vec<Option<String>> = vec![None; count];
    let mut empty = Vec::new();
    // Why places that were given are no drive of the pool: `aerie status` says it where a slot is missing.
    let mut left_out = Vec::new();
    let mut rebuilding: BTreeSet<usize> = label.rebuilding.iter().copied().collect();
    for place in places {
        match (&place.storage, &place.label) {
            (Some(_), _) if place.damage.is_some() => {
                let damage = place.damage.unwrap_or_default();
                tracing::error!(place = place.name, damage, "drive left out");
                left_out.push(damage);
            }
            (Some(_), Some(of_drive)) => match check_member(of_drive, &label) {
                Ok(slot) if slots[slot].is_some() => {
                    let first = slots[slot].take().map(|place| place.name).unwrap_or_default();
                    return refuse(format!(
                        "{first} and {}: the drive of slot {slot} was given twice; take the copy out",
                        place.name
                    ));
                }
                Ok(slot) => {
                    if of_drive.epoch < label.epoch && rebuilding.insert(slot) {
                        tracing::warn!(slot, place = place.name, "drive was away; what it missed is rebuilt");
                    }
                    slots[slot] = Some(place);
                }
                Err(reason) => {
                    tracing::error!(place = place.name, reason, "drive left out");
                    left_out.push(format!("{}: {reason}", place.name));
                }
            },
            (Some(_), None) if !place.empty => {
                let reason = "it has segments but no label; wipe it to use it";
                tracing::error!(place = place.name, reason, "drive left out");
                left_out.push(format!("{}: {reason}", place.name));
            }
            (Some(_), None) => {
                let named = options.replace.contains(&place.name);
                empty.push(Empty { takes_any: named || place.mounted, place });
            }
            (None, _) => tracing::warn!(place = place.name, "drive is missing"),
        }
    }
    let copies = label.copies.clone();
    let has_copy = copies.iter().any(|slot| slots.get(*slot).is_some_and(Option::is_some));
    let mut fresh = 0u64;
    for slot in fill_order(&slots, &label) {
        let was_mounted = label.mounted.contains(&slot);
        let Some(at) = empty.iter().position(|empty| empty.takes_any || !was_mounted) else {
            missing[slot] = Some(why_missing(was_mounted, &empty));
            continue;
        };
        let place = empty.remove(at).place;
        tracing::warn!(slot, place = place.name, "empty drive takes the place of a missing one and is rebuilt");
        label.drives[slot] = random_id(&options.world);
        label.copies.retain(|copy| *copy != slot);
        rebuilding.insert(slot);
        fresh |= 1 << slot;
        slots[slot] = Some(place);
    }
    for place in empty.iter().map(|empty| &empty.place.name) {
        tracing::error!(place, "left out: an empty folder where a drive was mounted. {NOT_MOUNTED}");
    }
    let with_data = slots.iter().flatten().count() - fresh.count_ones() as usize;
    if with_data < usize::from(data) {
        return refuse(format!(
            "only {with_data} of the {data} drives that are needed are there; attach more of the pool's drives"
        ));
    }
    // Whoever filled the slot of the last copy would make the former drive, which still has it, one that was replaced.
    if !has_copy {
        let slots = copies.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
        return refuse(format!("no drive that is there has all of the metadata; attach the drive of slot {slots}"));
    }
    let segment_bytes = segment_bytes(slots.iter().flatten(), Geometry { data, parity })?;
    let mut mounted = Vec::new();
    let mut drives = Vec::with_capacity(count);
    let mut last = label.segments_reserved;
    for (slot, place) in slots.into_iter().enumerate() {
        let Some(Place { name, storage: Some(storage), mounted: is_mounted, .. }) = place else {
            drives.push(None);
            continue;
        };
        let started = start(slot, storage, segment_bytes).and_then(|drive| {
            let numbers = drive.segment_numbers();
            Ok((numbers.map_err(|error| PoolError::Open(format!("{name}: {error}")))?, drive))
        });
        match started {
            Ok((numbers, drive)) => {
                last = numbers.into_iter().fold(last, u32::max);
                unused.retain(|unused| *unused != name);
                mounted.extend(is_mounted.then_some(slot));
                drives.push(Some(drive));
            }
            // It answered, and does no more.
            Err(error) => {
                tracing::error!(slot, place = name, %error, "drive left out");
                fresh &= !(1 << slot);
                missing[slot] = Some(error.to_string());
                drives.push(None);
            }
        }
    }
    // Every start takes new numbers: a drive that is away now cannot hold blocks at an address that is given out later.
    label.segments_reserved = last.checked_add(limits::SEGMENTS_RESERVED).ok_or_else(numbers_used_up)?;
    label.rebuilding = rebuilding.into_iter().collect();
    label.mounted.retain(|slot| drives[*slot].is_none());
    label.mounted.extend(mounted);
    label.mounted.sort_unstable();
    write_labels(&mut label, drives.iter().flatten())?;
    let places = Places::new(unused, missing, left_out);
    assemble(Opened { label, drives, places, fresh, last, segment_bytes }, options)
}

/// A folder with nothing in it.
struct Empty {
    place: Place,
    /// Something is mounted there, or the operator named it.
    takes_any: bool,
}

/// Slots to be filled: first those that few may take.
fn fill_order(slots: &[Option<Place>], label: &Label) -> Vec<usize> {
    let mut free: Vec<usize> = (0..slots.len()).filter(|slot| slots[*slot].is_none()).collect();
    free.sort_by_key(|slot| !label.mounted.contains(slot));
    free
}

const NOT_MOUNTED: &str =
    "Mount the drive; if the folder itself is to replace it, say so by `aerie heal --replace FOLDER`";

fn why_missing(was_mounted: bool, empty: &[Empty]) -> String {
    match empty.first() {
        Some(empty) if was_mounted => format!("not mounted at {}. {NOT_MOUNTED}", empty.place.name),
        _ => "missing since the start; attach it, or give an empty folder in its place and run `aerie heal`".to_owned(),
    }
}

pub(super) fn numbers_used_up() -> PoolError {
    PoolError::Open("the pool has used up its 2^32 segment numbers; copy it to a new pool".to_owned())
}

/// Why a drive is left out that would be taken for a stale one, and written over.
pub(super) const APART: &str = "it was used without the other drives, and they without it: each side may hold objects \
    that the other lacks. Save those of this one (start it alone, or scripts/rescue.py), then wipe it to use it here";

/// The slot of a labelled drive; the error says why it is left out.
fn check_member(of_drive: &Label, newest: &Label) -> Result<usize, String> {
    if of_drive.pool != newest.pool {
        return Err(format!("the drive is of another pool ({}); take it out of the list", of_drive.pool));
    }
    let slot = of_drive.slot;
    let own_id = of_drive.drives.get(slot);
    if own_id.is_none() || own_id != newest.drives.get(slot) {
        return Err("the drive was replaced; wipe it to use it again".to_owned());
    }
    if newest.follows(of_drive) { Ok(slot) } else { Err(APART.to_owned()) }
}

fn start(slot: usize, storage: Arc<dyn Storage>, segment_bytes: u64) -> Result<Drive, PoolError> {
    Drive::start(slot, storage, segment_bytes).map_err(|error| PoolError::Open(error.to_string()))
}

/// Writes the pool-wide part of `label`, under a new epoch, to the healthy drives, each under its own slot. Gives a bit per
/// slot that took it, of which there are at least k.
pub(super) fn write_labels<'a>(label: &mut Label, drives: impl Iterator<Item = &'a Drive>) -> Result<u64, PoolError> {
    let drives: Vec<&Drive> = drives.filter(|drive| drive.is_healthy()).collect();
    label.advance(drives.iter().map(|drive| drive.slot()));
    let written = write_each(label, &drives, |drive, reason| drive.fail(reason));
    let (healthy, needed) = (written.count_ones() as usize, usize::from(label.data));
    if healthy < needed { Err(PoolError::TooFewDrives { healthy, needed }) } else { Ok(written) }
}

/// Writes it to these drives, on all at the same time; gives a bit per slot that took it.
pub(super) fn write_each(label: &Label, drives: &[&Drive], failed: impl Fn(&Drive, String)) -> u64 {
    let ask = |drive: &&Drive| {
        let own = Label { slot: drive.slot(), ..label.clone() };
        drive.ask(move |storage| own.write(storage))
    };
    let answers = thread::answers(drives.iter().map(ask).collect(), limits::DRIVE_STALL_TIMEOUT);
    let mut written = 0;
    for (drive, answer) in drives.iter().zip(answers) {
        match answer {
            Some(Ok(())) => written |= 1 << drive.slot(),
            Some(Err(error)) => failed(drive, error.to_string()),
            None => failed(drive, "it does not answer while its label is written".to_owned()),
        }
    }
    written
}

/// What was found and started.
struct Opened {
    label: Label,
    drives: Vec<Option<Drive>>,
    places: Places,
    fresh: u64,
    /// The highest segment number that may have been used.
    last: u32,
    segment_bytes: u64,
}

fn assemble(opened: Opened, options: PoolOptions) -> Result<Pool, PoolError> {
    let Opened { label, drives, places, fresh, last, segment_bytes } = opened;
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
        drives: drives.into_iter().map(|drive| drive.map_or_else(OnceLock::new, OnceLock::from)).collect(),
        places,
        fresh: AtomicU64::new(fresh),
        numbers_reserved: AtomicU32::new(label.segments_reserved),
        full: AtomicBool::new(false),
        room: AtomicU64::new(u64::MAX),
        label: std::sync::Mutex::new(label),
        buffers: Arc::default(),
        returns: Default::default(),
        latest: Default::default(),
        world: options.world,
        pins: std::sync::Mutex::default(),
    })
}

pub(super) fn random_id(world: &World) -> String {
    let mut bytes = [0; 16];
    world.entropy.fill(&mut bytes);
    hash::hex_encode(&bytes)
}
