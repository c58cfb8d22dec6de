//! A machine with drives in memory. Its trace is the order in which the drives took their operations.

use std::collections::HashSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::power::{DataChange, NameChange, Operation, Step, Trace};
use super::volume::{Image, Inode, PAGE_BYTES, Volume, folder_of};
use crate::seam::{OpenMode, Space, Storage, StorageFile, is_aligned};

/// A class of syncs that the drives pretend to do: with any one of them a crash suite must fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipSync {
    /// Shard blocks.
    SegmentData,
    /// Names of new segments.
    SegmentNames,
    /// The new label's bytes.
    LabelFile,
    /// The label's name.
    LabelFolder,
    /// The metadata's log.
    MetaLog,
    /// The metadata's database.
    MetaDatabase,
    /// Names of the metadata's files.
    MetaNames,
    /// A log that a repair brings to a copy that is behind.
    MetaNewLog,
    /// The database of a copy while it is written anew.
    MetaReplacedDatabase,
    /// Its log.
    MetaReplacedLog,
}

impl SkipSync {
    pub const DRIVE: [SkipSync; 4] =
        [SkipSync::SegmentData, SkipSync::SegmentNames, SkipSync::LabelFile, SkipSync::LabelFolder];
    pub const META: [SkipSync; 4] =
        [SkipSync::MetaLog, SkipSync::MetaDatabase, SkipSync::MetaNames, SkipSync::MetaNewLog];

    /// Those of a copy that comes back while the store runs.
    pub const RETURN: [SkipSync; 2] = [SkipSync::MetaReplacedDatabase, SkipSync::MetaReplacedLog];

    /// The class of the file while its copy is written anew.
    fn while_replaced(self) -> SkipSync {
        match self {
            SkipSync::MetaDatabase => SkipSync::MetaReplacedDatabase,
            SkipSync::MetaLog => SkipSync::MetaReplacedLog,
            other => other,
        }
    }

    fn of_file(path: &str) -> Option<SkipSync> {
        match path {
            _ if path.starts_with("segments/") => Some(SkipSync::SegmentData),
            _ if path.starts_with("aerie.label") => Some(SkipSync::LabelFile),
            _ if path.starts_with("meta/") && path.ends_with("-wal") => Some(SkipSync::MetaLog),
            "meta/log.new" => Some(SkipSync::MetaNewLog),
            // Marks are empty files, whose names are all there is to them.
            "meta/creating" | "meta/replacing" => None,
            _ if path.starts_with("meta/") => Some(SkipSync::MetaDatabase),
            _ => None,
        }
    }

    fn of_folder(path: &str) -> Option<SkipSync> {
        match path {
            "segments" => Some(SkipSync::SegmentNames),
            "" => Some(SkipSync::LabelFolder),
            "meta" => Some(SkipSync::MetaNames),
            _ => None,
        }
    }
}

/// What a drive is to fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Read,
    Write,
    /// A write finds no space.
    Full,
    /// What the sync covered is lost, though reads still show it and later syncs succeed.
    Sync,
}

#[derive(Debug)]
struct State {
    drives: Vec<DriveState>,
    start: Image,
    steps: Vec<Step>,
    skip: Option<SkipSync>,
    locks: HashSet<(usize, Inode)>,
}

#[derive(Debug)]
struct DriveState {
    volume: Volume,
    capacity_bytes: u64,
    unplugged: bool,
    /// Its folder is a mount point.
    mounted: bool,
    hangs: bool,
    /// The fault strikes when as many operations of its kind have passed.
    fault: Option<(Fault, u32)>,
}

/// A machine with drives in memory; cheap to clone.
#[derive(Debug, Clone)]
pub struct SimMachine {
    state: Arc<Mutex<State>>,
    /// Told when a drive stops hanging.
    woken: Arc<Condvar>,
}

impl SimMachine {
    /// A machine with empty drives.
    pub fn new(drives: usize, capacity_bytes: u64) -> SimMachine {
        SimMachine::boot(Image { volumes: vec![Volume::default(); drives] }, capacity_bytes)
    }

    /// A machine that finds this on its drives.
    pub fn boot(image: Image, capacity_bytes: u64) -> SimMachine {
        let drive = |volume: &Volume| DriveState {
            volume: volume.clone(),
            capacity_bytes,
            unplugged: false,
            mounted: false,
            hangs: false,
            fault: None,
        };
        let drives = image.volumes.iter().map(drive).collect();
        let state = State { drives, start: image, steps: Vec::new(), skip: None, locks: HashSet::new() };
        SimMachine { state: Arc::new(Mutex::new(state)), woken: Arc::default() }
    }

    pub fn storage(&self, drive: usize) -> Arc<dyn Storage> {
        Arc::new(SimStorage { machine: self.clone(), drive })
    }

    /// All drives, as places of a pool.
    pub fn places(&self) -> Vec<(String, Option<Arc<dyn Storage>>)> {
        let count = self.lock().drives.len();
        let there = |drive: &usize| !self.lock().drives[*drive].unplugged;
        (0..count).map(|drive| (format!("sim-{drive}"), Some(drive).filter(there).map(|d| self.storage(d)))).collect()
    }

    /// From here on syncs of this class do nothing.
    pub fn skip(&self, skip: Option<SkipSync>) {
        self.lock().skip = skip;
    }

    /// The `after`-th operation of the kind from now on fails, once.
    pub fn fail(&self, drive: usize, fault: Fault, after: u32) {
        self.lock().drives[drive].fault = Some((fault, after));
    }

    /// The drive is pulled; every operation fails until it is back.
    pub fn unplug(&self, drive: usize, unplugged: bool) {
        self.lock().drives[drive].unplugged = unplugged;
    }

    /// Every operation on the drive blocks until it is told not to.
    pub fn hang(&self, drive: usize, hangs: bool) {
        self.lock().drives[drive].hangs = hangs;
        self.woken.notify_all();
    }

    /// The drive is exchanged for an empty one while the machine has no power.
    pub fn replace(&self, drive: usize) {
        let mut state = self.lock();
        state.drives[drive].volume = Volume::default();
        state.steps.push(Step { drive, operation: Operation::Replaced });
    }

    /// The drive's folder is a mount point, or is not. (What it holds is `replace`'s to change.)
    pub fn mount(&self, drive: usize, mounted: bool) {
        self.lock().drives[drive].mounted = mounted;
    }

    /// Steps so far.
    pub fn position(&self) -> usize {
        self.lock().steps.len()
    }

    pub fn trace(&self) -> Trace {
        let state = self.lock();
        Trace { start: state.start.clone(), steps: Arc::new(state.steps.clone()) }
    }

    /// What the drives hold when the machine is shut down in order.
    pub fn image(&self) -> Image {
        let mut volumes: Vec<Volume> = self.lock().drives.iter().map(|drive| drive.volume.clone()).collect();
        volumes.iter_mut().for_each(Volume::drop_nameless);
        Image { volumes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// The drive, if it takes operations of this kind now.
    fn drive(&self, drive: usize, kind: Option<Fault>) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        while state.drives[drive].hangs {
            state = self.woken.wait(state).expect("no holder of this lock panics");
        }
        SimMachine::ready(state, drive, kind)
    }

    /// Like `drive`, for what the machine knows without the drive: that does not hang.
    fn known(&self, drive: usize, kind: Option<Fault>) -> io::Result<MutexGuard<'_, State>> {
        SimMachine::ready(self.lock(), drive, kind)
    }

    fn ready(mut state: MutexGuard<'_, State>, drive: usize, kind: Option<Fault>) -> io::Result<MutexGuard<'_, State>> {
        let found = &mut state.drives[drive];
        if found.unplugged {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if let Some((fault, after)) = &mut found.fault
            && kind == Some(if *fault == Fault::Full { Fault::Write } else { *fault })
        {
            if *after == 0 {
                let code = if *fault == Fault::Full { libc::ENOSPC } else { libc::EIO };
                found.fault = None;
                return Err(io::Error::from_raw_os_error(code));
            }
            *after -= 1;
        }
        Ok(state)
    }
}

impl State {
    fn name(&mut self, drive: usize, change: NameChange) {
        change.apply(&mut self.drives[drive].volume);
        self.steps.push(Step { drive, operation: Operation::Name(change) });
    }

    fn data(&mut self, drive: usize, inode: Inode, change: DataChange) -> io::Result<()> {
        let state = &mut self.drives[drive];
        let (offset, length) = match &change {
            DataChange::Write(offset, bytes) => (*offset, bytes.len() as u64),
            DataChange::Allocate(offset, length) => (*offset, *length),
            DataChange::Length(_) | DataChange::Punch(..) => (0, 0),
        };
        let needed = state.volume.files.get(&inode).map_or(0, |file| file.pages_missing(offset, length));
        if needed > 0 && (state.volume.pages_used() + needed) * PAGE_BYTES > state.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(state.volume.file_mut(inode));
        self.steps.push(Step { drive, operation: Operation::Data(inode, change) });
        Ok(())
    }
}

#[derive(Debug)]
struct SimStorage {
    machine: SimMachine,
    drive: usize,
}

impl Storage for SimStorage {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.machine.drive(self.drive, None)?;
        let volume = &mut state.drives[self.drive].volume;
        let inode = match (volume.names.get(path).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                let folder = folder_of(path);
                if !folder.is_empty() && !volume.folders.contains(folder) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let inode = volume.next_inode;
                volume.next_inode += 1;
                volume.files.entry(inode).or_default();
                state.name(self.drive, NameChange::Created(path.to_owned(), inode));
                inode
            }
        };
        let class = SkipSync::of_file(path);
        Ok(Arc::new(SimFile {
            machine: self.machine.clone(),
            drive: self.drive,
            inode,
            class,
            locked: Mutex::new(false),
        }))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        let volume = &mut state.drives[self.drive].volume;
        let Some(inode) = volume.names.get(path).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        state.name(self.drive, NameChange::Removed(path.to_owned()));
        // Its space is free at once here: open handles of a removed file are not written to any more.
        state.drives[self.drive].volume.files.remove(&inode);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        assert_eq!(folder_of(from), folder_of(to), "renames between folders are not simulated");
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        let volume = &mut state.drives[self.drive].volume;
        let Some(inode) = volume.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        if let Some(replaced) = volume.names.get(to).copied() {
            volume.files.remove(&replaced);
        }
        state.name(self.drive, NameChange::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            if !state.drives[self.drive].volume.folders.contains(&path[..end]) {
                state.name(self.drive, NameChange::Folder(path[..end].to_owned()));
            }
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let state = self.machine.drive(self.drive, Some(Fault::Read))?;
        let volume = &state.drives[self.drive].volume;
        if !path.is_empty() && !volume.folders.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = volume.names.keys().chain(&volume.folders);
        let own = all.filter(|name| folder_of(name) == path && !name.is_empty());
        Ok(own.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let state = self.machine.drive(self.drive, Some(Fault::Read))?;
        let volume = &state.drives[self.drive].volume;
        Ok(path.is_empty() || volume.names.contains_key(path) || volume.folders.contains(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Sync))?;
        if SkipSync::of_folder(path).is_none_or(|class| state.skip != Some(class)) {
            let operation = Operation::SyncFolder(path.to_owned());
            state.steps.push(Step { drive: self.drive, operation });
        }
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.machine.drive(self.drive, None)?;
        let drive = &state.drives[self.drive];
        let used = drive.volume.pages_used() * PAGE_BYTES;
        Ok(Space { total: drive.capacity_bytes, available: drive.capacity_bytes.saturating_sub(used) })
    }

    fn is_mounted(&self) -> io::Result<bool> {
        Ok(self.machine.drive(self.drive, None)?.drives[self.drive].mounted)
    }

    fn describe(&self) -> String {
        format!("sim-{}", self.drive)
    }
}

#[derive(Debug)]
struct SimFile {
    machine: SimMachine,
    drive: usize,
    inode: Inode,
    class: Option<SkipSync>,
    locked: Mutex<bool>,
}

impl StorageFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.machine.drive(self.drive, Some(Fault::Read))?;
        let file = state.drives[self.drive].volume.files.get(&self.inode);
        Ok(file.map_or(0, |file| file.read(buffer, offset)))
    }

    /// Half of the places are never "in memory", so that both ways of reading are taken.
    fn read_at_nowait(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        if (offset / 64).count_ones().is_multiple_of(2) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let state = self.machine.known(self.drive, Some(Fault::Read))?;
        let file = state.drives[self.drive].volume.files.get(&self.inode);
        let mut done = 0;
        for buffer in buffers {
            let read = file.map_or(0, |file| file.read(buffer, offset + done as u64));
            done += read;
            if read < buffer.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        state.data(self.drive, self.inode, DataChange::Write(offset, buffer.into()))
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let whole: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        self.write_at(&whole, offset)
    }

    fn write_direct_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        assert!(is_aligned(buffers, offset), "the caller aligns what it writes directly");
        self.write_vectored_at(buffers, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let step = |operation| Step { drive: self.drive, operation };
        match self.machine.drive(self.drive, Some(Fault::Sync)) {
            Ok(mut state) => {
                let replaced = state.drives[self.drive].volume.names.contains_key("meta/replacing");
                let is_skipped = |class: SkipSync| {
                    state.skip == Some(class) || replaced && state.skip == Some(class.while_replaced())
                };
                if !self.class.is_some_and(is_skipped) {
                    state.steps.push(step(Operation::SyncData(self.inode)));
                }
                Ok(())
            }
            Err(error) => {
                self.machine.lock().steps.push(step(Operation::FailedSync(self.inode)));
                Err(error)
            }
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        state.data(self.drive, self.inode, DataChange::Length(length))
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.machine.known(self.drive, Some(Fault::Read))?;
        Ok(state.drives[self.drive].volume.files.get(&self.inode).map_or(0, |file| file.length))
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        state.data(self.drive, self.inode, DataChange::Allocate(offset, length))
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, Some(Fault::Write))?;
        state.data(self.drive, self.inode, DataChange::Punch(offset, length))
    }

    fn lock(&self) -> io::Result<()> {
        let mut state = self.machine.drive(self.drive, None)?;
        if !state.locks.insert((self.drive, self.inode)) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *self.locked.lock().expect("no holder of this lock panics") = true;
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if *self.locked.lock().expect("no holder of this lock panics") {
            self.machine.lock().locks.remove(&(self.drive, self.inode));
        }
    }
}
