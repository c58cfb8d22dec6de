//! The copies of each file, and which of them are current.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};

use super::page;
use crate::meta::OnCopyFailed;
use crate::meta::open::FOLDER;
use crate::seam::{OpenMode, Storage, StorageFile};

/// One place of the mirrored files.
#[derive(Debug, Clone)]
pub(in crate::meta) struct CopyPlace {
    pub slot: usize,
    pub storage: Arc<dyn Storage>,
}

/// All files, on all copies.
pub(in crate::meta) struct Copies {
    places: Vec<CopyPlace>,
    /// Bit per index (not slot) of a copy that failed.
    failed: AtomicU64,
    on_copy_failed: OnCopyFailed,
    /// Held while a failure is reported, by whichever thread met it.
    reporting: Mutex<()>,
    files: Mutex<HashMap<String, Arc<MirroredFile>>>,
    /// Threads that sync the copies beside the first.
    syncers: Vec<Sender<SyncRequest>>,
    /// Bytes in the log since it last began anew.
    pub log_bytes: Arc<AtomicU64>,
}

struct SyncRequest {
    file: Arc<dyn StorageFile>,
    done: Sender<io::Result<()>>,
}

/// One file on all copies.
pub(super) struct MirroredFile {
    handles: Vec<Option<Arc<dyn StorageFile>>>,
    pub locks: super::locks::FileLocks,
    pub index: super::locks::LogIndex,
}

impl Copies {
    pub fn new(places: Vec<CopyPlace>, on_copy_failed: OnCopyFailed) -> io::Result<Copies> {
        assert!(!places.is_empty() && places.len() <= 64, "metadata has 1 to m+1 copies");
        let syncers = places.iter().skip(1).map(|place| start_syncer(place.slot)).collect::<io::Result<_>>()?;
        Ok(Copies {
            places,
            failed: AtomicU64::new(0),
            on_copy_failed,
            reporting: Mutex::default(),
            files: Mutex::default(),
            syncers,
            log_bytes: Arc::default(),
        })
    }

    /// Slots of the copies that have not failed.
    pub fn current_slots(&self) -> Vec<usize> {
        let places = self.places.iter().enumerate();
        places.filter(|(index, _)| self.is_current(*index)).map(|(_, place)| place.slot).collect()
    }

    /// Opens the file on every copy that is current.
    pub(super) fn open(&self, path: &str, create: bool) -> io::Result<Arc<MirroredFile>> {
        let mut files = self.files.lock().expect("no holder of this lock panics");
        if let Some(file) = files.get(path) {
            return Ok(file.clone());
        }
        let mode = if create { OpenMode::Create } else { OpenMode::ReadWrite };
        let mut handles = Vec::with_capacity(self.places.len());
        for (index, place) in self.places.iter().enumerate() {
            handles.push(match self.is_current(index) {
                true => self.judge(index, place.storage.open(path, mode).map(Some))?,
                false => None,
            });
        }
        if create {
            // The name must be durable before the first commit in it is.
            self.on_each(|index, place| self.judge(index, place.storage.sync_dir(FOLDER).map(Some)))?;
        }
        let file = Arc::new(MirroredFile { handles, locks: Default::default(), index: Default::default() });
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        self.first_current(|_, place| place.storage.exists(path))
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        self.files.lock().expect("no holder of this lock panics").remove(path);
        self.on_each(|index, place| {
            let removed = match place.storage.remove(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.and_then(|()| place.storage.sync_dir(FOLDER)),
            };
            self.judge(index, removed.map(Some))
        })
    }

    pub(super) fn read(&self, file: &MirroredFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.first_current(|index, _| file.handle(index)?.read_at(buffer, offset))
    }

    /// Reads one page of the database. A copy in which it has a wrong checksum is passed over; when it is wrong in all,
    /// the error is `InvalidData`.
    pub(super) fn read_page(&self, file: &MirroredFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        for (index, place) in self.places.iter().enumerate().filter(|(index, _)| self.is_current(*index)) {
            let read = file.handle(index).and_then(|handle| handle.read_at(buffer, offset));
            match self.judge(index, read.map(Some))? {
                None => {}
                Some(read) if read < buffer.len() || page::is_good(buffer, offset) => return Ok(read),
                Some(_) => {
                    let slot = place.slot;
                    tracing::error!(
                        slot,
                        offset,
                        "a page of the metadata has a wrong checksum; the next start heals it"
                    );
                }
            }
        }
        if self.current_count() == 0 { Err(none_left()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    pub(super) fn len(&self, file: &MirroredFile) -> io::Result<u64> {
        self.first_current(|index, _| file.handle(index)?.len())
    }

    pub(super) fn write(&self, file: &MirroredFile, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.on_each(|index, _| self.judge(index, file.handle(index)?.write_at(buffer, offset).map(Some)))
    }

    pub(super) fn truncate(&self, file: &MirroredFile, length: u64) -> io::Result<()> {
        self.on_each(|index, _| self.judge(index, file.handle(index)?.set_len(length).map(Some)))
    }

    /// Syncs all copies at the same time.
    pub(super) fn sync(&self, file: &MirroredFile) -> io::Result<()> {
        let mut waiting = Vec::with_capacity(self.places.len());
        let mut own = None;
        for index in (0..self.places.len()).filter(|index| self.is_current(*index)) {
            let handle = file.handle(index)?;
            if own.is_none() {
                own = Some((index, handle));
                continue;
            }
            let (done, answer) = crossbeam_channel::bounded(1);
            let request = SyncRequest { file: handle.clone(), done };
            self.syncers[index - 1].send(request).map_err(|_| io::Error::other("a sync thread ended"))?;
            waiting.push((index, answer));
        }
        let (index, handle) = own.ok_or_else(none_left)?;
        self.judge(index, handle.sync_data().map(Some))?;
        for (index, answer) in waiting {
            let synced = answer.recv().map_err(|_| io::Error::other("a sync thread ended")).flatten();
            self.judge(index, synced.map(Some))?;
        }
        self.await_reports();
        if self.current_count() == 0 { Err(none_left()) } else { Ok(()) }
    }

    fn is_current(&self, index: usize) -> bool {
        self.failed.load(Ordering::Acquire) & 1 << index == 0
    }

    fn current_count(&self) -> usize {
        self.places.len() - self.failed.load(Ordering::Acquire).count_ones() as usize
    }

    /// Runs on every current copy.
    fn on_each(&self, mut work: impl FnMut(usize, &CopyPlace) -> io::Result<Option<()>>) -> io::Result<()> {
        for (index, place) in self.places.iter().enumerate() {
            if self.is_current(index) {
                work(index, place)?;
            }
        }
        if self.current_count() == 0 { Err(none_left()) } else { Ok(()) }
    }

    /// Runs on the first current copy that answers.
    fn first_current<T>(&self, mut work: impl FnMut(usize, &CopyPlace) -> io::Result<T>) -> io::Result<T> {
        for (index, place) in self.places.iter().enumerate() {
            if self.is_current(index)
                && let Some(answer) = self.judge(index, work(index, place).map(Some))?
            {
                return Ok(answer);
            }
        }
        Err(none_left())
    }

    /// A full drive is the caller's to report; any other error fails the copy, and the others go on.
    fn judge<T>(&self, index: usize, result: io::Result<Option<T>>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                self.report_failed(index, &error);
                if self.current_count() == 0 { Err(error) } else { Ok(None) }
            }
            other => other,
        }
    }
}

impl Copies {
    fn report_failed(&self, index: usize, error: &io::Error) {
        let _reporting = self.reporting.lock().expect("no holder of this lock panics");
        let before = self.failed.fetch_or(1 << index, Ordering::AcqRel);
        if before & 1 << index == 0 {
            let slot = self.places[index].slot;
            tracing::error!(slot, %error, "a copy of the metadata failed; replace the drive");
            (self.on_copy_failed)(slot);
        }
    }

    /// A copy that was passed over may have been failed by another thread, which is still recording that. No commit is
    /// acknowledged before it has.
    fn await_reports(&self) {
        drop(self.reporting.lock().expect("no holder of this lock panics"));
    }
}

impl MirroredFile {
    fn handle(&self, index: usize) -> io::Result<&Arc<dyn StorageFile>> {
        self.handles[index].as_ref().ok_or_else(|| io::Error::other("the file was not opened on this copy"))
    }
}

fn none_left() -> io::Error {
    io::Error::other("no copy of the metadata is left")
}

fn start_syncer(slot: usize) -> io::Result<Sender<SyncRequest>> {
    let (sender, requests): (_, Receiver<SyncRequest>) = crossbeam_channel::bounded(4);
    std::thread::Builder::new().name(format!("meta-sync-{slot}")).spawn(move || {
        while let Ok(SyncRequest { file, done }) = requests.recv() {
            // The asker waits for the answer, or is gone with the process.
            _ = done.send(file.sync_data());
        }
    })?;
    Ok(sender)
}
