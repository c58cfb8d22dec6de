//! Places whose drives were not there, or were not to be used, when the pool was opened: they are looked at again.
//!
//! A drive of the pool that appears takes part as one that was pulled and put back. An empty one takes a slot only on the
//! operator's word. A look may hang: it has a thread of its own, and no other is begun before it ends. Runs on upkeep's thread.

use std::io;
use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;

use super::open::{Found, look_at};
use super::{Pool, presence};
use crate::drive::{Drive, Label};
use crate::seam::{Storage, thread};

/// Opens a place by its name, again and again.
pub type OpenPlace = Arc<dyn Fn(&str) -> io::Result<Arc<dyn Storage>> + Send + Sync>;

#[derive(Default)]
pub(super) struct Places {
    state: Mutex<State>,
    /// Why a slot was empty at the start.
    missing: Vec<Option<String>>,
}

#[derive(Default)]
struct State {
    open: Option<OpenPlace>,
    unused: Vec<Unused>,
}

/// A place that no slot has.
struct Unused {
    name: String,
    /// Why what is there is no drive of the pool.
    reason: Option<String>,
    look: Option<Receiver<io::Result<Seen>>>,
    /// An empty drive is there.
    empty: Option<Candidate>,
}

struct Seen {
    storage: Arc<dyn Storage>,
    found: Found,
}

/// An empty drive.
pub(super) struct Candidate {
    pub storage: Arc<dyn Storage>,
    pub mounted: bool,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl Places {
    /// `unused` are names; `missing` has a reason per empty slot; `left_out` begin with the names.
    pub fn new(unused: Vec<String>, missing: Vec<Option<String>>, left_out: Vec<String>) -> Places {
        let place = |name: String| {
            let begins = format!("{name}: ");
            let reason = left_out.iter().find(|reason| reason.starts_with(&begins)).cloned();
            Unused { name, reason, look: None, empty: None }
        };
        let unused = unused.into_iter().map(place).collect();
        Places { state: Mutex::new(State { open: None, unused }), missing }
    }

    pub fn why_missing(&self, slot: usize) -> String {
        let missing = self.missing.get(slot).cloned().flatten().unwrap_or_else(|| "missing".to_owned());
        let state = self.state.lock().expect("no holder of this lock panics");
        let reasons: Vec<&str> = state.unused.iter().filter_map(|place| place.reason.as_deref()).collect();
        if reasons.is_empty() { missing } else { format!("{missing}. Left out: {}", reasons.join("; ")) }
    }

    /// Begins a look at each place that is not being looked at, and gives those that were.
    fn look(&self) -> Vec<(String, io::Result<Seen>)> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let Some(open) = state.open.clone() else { return vec![] };
        let mut seen = Vec::new();
        for place in &mut state.unused {
            match place.look.as_ref().map(Receiver::try_recv) {
                Some(Ok(found)) => {
                    seen.push((place.name.clone(), found));
                    place.look = None;
                }
                // It is still being looked at.
                Some(Err(crossbeam_channel::TryRecvError::Empty)) => {}
                Some(Err(_)) | None => {
                    let (open, name) = (open.clone(), place.name.clone());
                    place.look = Some(thread::begin(move || {
                        let storage = open(&name)?;
                        let found = look_at(&*storage);
                        Ok(Seen { storage, found })
                    }));
                }
            }
        }
        seen
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut Unused)) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if let Some(place) = state.unused.iter_mut().find(|place| place.name == name) {
            change(place);
        }
    }

    fn note(&self, name: &str, reason: Option<String>, empty: Option<Candidate>) {
        self.update(name, |place| {
            if place.reason != reason {
                if let Some(reason) = &reason {
                    tracing::warn!(place = name, reason, "a drive is left out");
                }
                place.reason = reason;
            }
            place.empty = empty;
        });
    }

    fn forget(&self, name: &str) {
        self.state.lock().expect("no holder of this lock panics").unused.retain(|place| place.name != name);
    }

    /// A drive that was taken and cannot be used: its place is looked at again.
    pub fn give_back(&self, name: String, reason: String) {
        let place = Unused { name, reason: Some(reason), look: None, empty: None };
        self.state.lock().expect("no holder of this lock panics").unused.push(place);
    }

    /// The first empty drive that `fits`; it is in use from here on.
    pub fn take_empty(&self, fits: impl Fn(&str, &Candidate) -> bool) -> Option<(String, Candidate)> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let at = state.unused.iter().position(|p| p.empty.as_ref().is_some_and(|empty| fits(&p.name, empty)))?;
        let place = state.unused.remove(at);
        Some((place.name, place.empty?))
    }
}

impl Pool {
    /// From now on places that were not there are opened again by this.
    pub fn reopen_by(&self, open: OpenPlace) {
        self.places.state.lock().expect("no holder of this lock panics").open = Some(open);
    }

    /// Takes in the pool's drives that appeared. Each is one that was pulled, until it is taken back.
    pub(super) fn look_for_missing(&self) {
        for (name, seen) in self.places.look() {
            let Seen { storage, found } = match seen {
                Ok(seen) => seen,
                // It is not there.
                Err(_) => {
                    self.places.note(&name, None, None);
                    continue;
                }
            };
            match found.label {
                Ok(Some(label)) => match self.take_in(&name, &label, storage) {
                    Ok(()) => self.places.forget(&name),
                    Err(reason) => self.places.note(&name, Some(format!("{name}: {reason}")), None),
                },
                Ok(None) if found.empty => {
                    let reason =
                        format!("{name}: it is empty; `aerie heal --replace {name}` gives it a missing drive's slot");
                    self.places.note(&name, Some(reason), Some(Candidate { storage, mounted: found.mounted }));
                }
                Ok(None) => {
                    let reason = format!("{name}: it has segments but no label; wipe it to use it");
                    self.places.note(&name, Some(reason), None);
                }
                Err(error) => self.places.note(&name, Some(error.to_string()), None),
            }
        }
    }

    fn take_in(&self, name: &str, of_drive: &Label, storage: Arc<dyn Storage>) -> Result<(), String> {
        let slot = of_drive.slot;
        self.is_ours(of_drive, slot)?;
        if self.drives[slot].get().is_some() {
            return Err(format!("the drive of slot {slot} is there already"));
        }
        let drive = self.start_away(slot, storage)?;
        tracing::info!(slot, place = name, "a drive that was missing has appeared");
        _ = self.drives[slot].set(drive);
        Ok(())
    }

    /// Starts a drive that is out until it is taken back.
    pub(super) fn start_away(&self, slot: usize, storage: Arc<dyn Storage>) -> Result<Drive, String> {
        let drive = Drive::start(slot, storage, self.segment_bytes()).map_err(|error| error.to_string())?;
        let numbers = drive.segment_numbers().map_err(|error| error.to_string())?;
        self.allocator.reserve(numbers.into_iter().max().unwrap_or(0));
        drive.fail_quietly(presence::MISSING.to_owned());
        drive.note_presence(false);
        Ok(drive)
    }
}
