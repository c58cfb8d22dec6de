//! The copies of each file, and which of them are current.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::page;
use crate::limits;
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
    /// Threads that sync the copies.
    syncers: Vec<Sender<SyncRequest>>,
    /// A copy whose sync takes longer has failed.
    sync_timeout: Duration,
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
        let syncers = places.iter().map(|place| start_syncer(place.slot)).collect::<io::Result<_>>()?;
        Ok(Copies {
            places,
            failed: AtomicU64::new(0),
            on_copy_failed,
            reporting: Mutex::default(),
            files: Mutex::default(),
            syncers,
            sync_timeout: limits::DRIVE_STALL_TIMEOUT,
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

    /// Syncs all copies at the same time. One that does not answer has failed: nobody waits for a drive that hangs.
    pub(super) fn sync(&self, file: &MirroredFile) -> io::Result<()> {
        let current: Vec<usize> = (0..self.places.len()).filter(|index| self.is_current(*index)).collect();
        if let [only] = current[..] {
            // Without it there is nothing to go on with.
            self.judge(only, file.handle(only)?.sync_data().map(Some))?;
        } else {
            let mut waiting = Vec::with_capacity(current.len());
            for index in current {
                let (done, answer) = crossbeam_channel::bounded(1);
                let request = SyncRequest { file: file.handle(index)?.clone(), done };
                self.syncers[index].send(request).map_err(|_| io::Error::other("a sync thread ended"))?;
                waiting.push((index, answer));
            }
            for (index, answer) in waiting {
                // All have been at it since the first was waited for: two that hang are let go of one after the other.
                let synced = answer.recv_timeout(self.sync_timeout);
                let synced = synced.unwrap_or_else(|error| Err(no_answer(error, self.sync_timeout)));
                self.judge(index, synced.map(Some))?;
            }
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

fn no_answer(error: RecvTimeoutError, waited: Duration) -> io::Error {
    match error {
        RecvTimeoutError::Timeout => {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer to a sync for {} s", waited.as_secs()))
        }
        RecvTimeoutError::Disconnected => io::Error::other("a sync thread ended"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::sim::SimMachine;

    fn copies(machine: &SimMachine, count: usize, reported: Arc<Mutex<Vec<usize>>>) -> Copies {
        let place = |slot| CopyPlace { slot, storage: machine.storage(slot) };
        let places: Vec<CopyPlace> = (0..count).map(place).collect();
        for place in &places {
            place.storage.create_dir(FOLDER).unwrap();
        }
        let mut copies = Copies::new(places, Arc::new(move |slot| reported.lock().unwrap().push(slot))).unwrap();
        copies.sync_timeout = Duration::from_secs(1);
        copies
    }

    /// A drive whose I/O never came back once stopped every commit for ever.
    #[test]
    fn a_copy_whose_sync_never_returns_is_given_up_and_the_others_go_on() {
        for hanging in [0, 2] {
            let machine = SimMachine::new(3, 1 << 20);
            let reported = Arc::default();
            let copies = copies(&machine, 3, Arc::clone(&reported));
            let file = copies.open("meta/file", true).unwrap();
            copies.write(&file, b"first", 0).unwrap();
            copies.sync(&file).unwrap();
            machine.hang(hanging, true);
            copies.sync(&file).unwrap();
            assert_eq!(*reported.lock().unwrap(), [hanging]);
            let others: Vec<usize> = (0..3).filter(|slot| *slot != hanging).collect();
            assert_eq!(copies.current_slots(), others);
            copies.write(&file, b"second", 0).unwrap();
            copies.sync(&file).unwrap();
            let mut found = [0; 6];
            assert_eq!(copies.read(&file, &mut found, 0).unwrap(), 6);
            assert_eq!(&found, b"second");
            // Its thread ends with the test's machine.
            machine.hang(hanging, false);
        }
    }
}
