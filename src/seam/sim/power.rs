//! What is left on the drives when the power goes at a point of the trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Dice;
use super::volume::{Image, Inode, SparseFile, Volume, folder_of};

const SECTOR_BYTES: u64 = 512;

/// One step of the trace.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub drive: usize,
    pub operation: Operation,
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    Name(NameChange),
    Data(Inode, DataChange),
    /// The file's data is durable from here on.
    SyncData(Inode),
    /// A sync that failed: what it covered is lost or not, and no later sync brings it back.
    FailedSync(Inode),
    SyncFolder(String),
    /// An empty drive took the place of this one.
    Replaced,
}

/// A change of a folder.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Folder(String),
    Created(String, Inode),
    Renamed(String, String, Inode),
    Removed(String),
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            NameChange::Folder(path) | NameChange::Created(path, _) | NameChange::Removed(path) => folder_of(path),
            NameChange::Renamed(_, to, _) => folder_of(to),
        }
    }

    pub fn apply(&self, volume: &mut Volume) {
        match self {
            NameChange::Folder(path) => _ = volume.folders.insert(path.clone()),
            NameChange::Created(path, inode) => _ = volume.names.insert(path.clone(), *inode),
            NameChange::Renamed(from, to, inode) => {
                volume.names.remove(from);
                volume.names.insert(to.clone(), *inode);
            }
            NameChange::Removed(path) => _ = volume.names.remove(path),
        }
    }
}

/// A change of a file's content.
#[derive(Debug, Clone)]
pub(super) enum DataChange {
    Write(u64, Arc<[u8]>),
    Length(u64),
    Allocate(u64, u64),
    Punch(u64, u64),
}

impl DataChange {
    pub fn apply(&self, file: &mut SparseFile) {
        match self {
            DataChange::Write(offset, bytes) => file.write(bytes, *offset),
            DataChange::Length(length) => file.set_length(*length),
            DataChange::Allocate(offset, length) => file.allocate(*offset, *length),
            DataChange::Punch(offset, length) => file.punch(*offset, *length),
        }
    }

    /// Applies some sectors of a write, and nothing or all of what has no sectors.
    fn apply_torn(&self, file: &mut SparseFile, dice: &mut Dice) {
        let DataChange::Write(offset, bytes) = self else {
            if dice.flip() {
                self.apply(file);
            }
            return;
        };
        // Few kinds of tears matter: the head is there, the tail is there, or sectors at random.
        let kind = dice.below(3);
        let sectors = (offset + bytes.len() as u64).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
        let edge = dice.below(sectors + 1);
        let mut at = 0;
        let mut sector = 0;
        while at < bytes.len() {
            let left = (SECTOR_BYTES - (offset + at as u64) % SECTOR_BYTES) as usize;
            let end = bytes.len().min(at + left);
            let kept = match kind {
                0 => sector < edge,
                1 => sector >= edge,
                _ => dice.flip(),
            };
            if kept {
                file.write(&bytes[at..end], offset + at as u64);
            }
            at = end;
            sector += 1;
        }
    }
}

/// Everything that was done to the drives since the machine was started, and what was on them before.
#[derive(Debug, Clone)]
pub struct Trace {
    pub(super) start: Image,
    pub(super) steps: Arc<Vec<Step>>,
}

impl Trace {
    /// Number of steps; there is a cut before each of them and one after the last.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Some drive was asked for a new file of this path.
    pub fn creates(&self, path: &str) -> bool {
        let created =
            |step: &Step| matches!(&step.operation, Operation::Name(NameChange::Created(name, _)) if name == path);
        self.steps.iter().any(created)
    }

    /// All points at which the power may go, in order.
    pub fn cuts(&self) -> impl Iterator<Item = Cut> {
        let mut next = Some(Cut::new(self.start.clone()));
        let steps = self.steps.clone();
        std::iter::from_fn(move || {
            let cut = next.take()?;
            if let Some(step) = steps.get(cut.position) {
                let mut following = cut.clone();
                following.take(step);
                next = Some(following);
            }
            Some(cut)
        })
    }
}

/// A point of the trace: what is durable there, and what is not yet.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Steps before this point.
    pub position: usize,
    durable: Image,
    pending: Vec<Pending>,
}

#[derive(Debug, Clone, Default)]
struct Pending {
    data: BTreeMap<Inode, Vec<DataChange>>,
    names: BTreeMap<String, Vec<NameChange>>,
    /// What failed syncs covered: the page cache forgot it, the medium may have it.
    abandoned: BTreeMap<Inode, Vec<DataChange>>,
}

impl Cut {
    fn new(start: Image) -> Cut {
        let pending = vec![Pending::default(); start.volumes.len()];
        Cut { position: 0, durable: start, pending }
    }

    fn take(&mut self, step: &Step) {
        let (volume, pending) = (&mut self.durable.volumes[step.drive], &mut self.pending[step.drive]);
        match &step.operation {
            Operation::Name(change) => {
                if let NameChange::Created(_, inode) = change {
                    volume.next_inode = volume.next_inode.max(inode + 1);
                }
                pending.names.entry(change.folder().to_owned()).or_default().push(change.clone());
            }
            Operation::Data(inode, change) => pending.data.entry(*inode).or_default().push(change.clone()),
            Operation::SyncData(inode) => {
                let file = volume.file_mut(*inode);
                pending.data.remove(inode).unwrap_or_default().iter().for_each(|change| change.apply(file));
            }
            Operation::FailedSync(inode) => {
                let lost = pending.data.remove(inode).unwrap_or_default();
                pending.abandoned.entry(*inode).or_default().extend(lost);
            }
            Operation::SyncFolder(folder) => {
                let changes = pending.names.remove(folder).unwrap_or_default();
                changes.iter().for_each(|change| change.apply(volume));
            }
            Operation::Replaced => {
                *volume = Volume::default();
                *pending = Pending::default();
            }
        }
        self.position += 1;
    }

    /// What the drives hold after a power cut here. The seed chooses what becomes of the unsynced changes.
    pub fn image(&self, seed: u64) -> Image {
        let mut image = self.durable.clone();
        let mut dice = Dice::new(seed ^ (self.position as u64) << 20);
        for (volume, pending) in image.volumes.iter_mut().zip(&self.pending) {
            for changes in pending.names.values() {
                keep_names(volume, changes, &mut dice);
            }
            for (inode, changes) in pending.abandoned.iter().chain(&pending.data) {
                keep_data(volume.file_mut(*inode), changes, &mut dice);
            }
            volume.drop_nameless();
        }
        image
    }
}

fn keep_names(volume: &mut Volume, changes: &[NameChange], dice: &mut Dice) {
    // Nothing, everything, the first few, or any of them.
    let kind = dice.below(4);
    let edge = dice.below(changes.len() as u64 + 1) as usize;
    for (at, change) in changes.iter().enumerate() {
        let kept = match kind {
            0 => false,
            1 => true,
            2 => at < edge,
            _ => dice.flip(),
        };
        if kept {
            change.apply(volume);
        }
    }
}

fn keep_data(file: &mut SparseFile, changes: &[DataChange], dice: &mut Dice) {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    let kind = dice.below(4);
    if kind == 3 {
        for at in (1..order.len()).rev() {
            order.swap(at, dice.below(at as u64 + 1) as usize);
        }
    }
    for at in order {
        match kind {
            0 => {}
            1 => changes[at].apply(file),
            _ => match dice.below(3) {
                0 => {}
                1 => changes[at].apply(file),
                _ => changes[at].apply_torn(file, dice),
            },
        }
    }
}
