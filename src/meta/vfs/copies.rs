//! The copies of each file, and which of them are current.
//!
//! Each copy has two threads, one for what changes it and one for reads of what is not in memory. Nobody else waits for its
//! drive, and nobody waits for them longer than `DRIVE_STALL_TIMEOUT`: a copy that takes longer has failed.
//!
//! A commit that a copy missed succeeds only when the labels say so. When the last current copy fails, or all at once, the
//! labels are left as they are: nothing is acknowledged any more, so that each of these copies has all that was. `revive`
//! takes one of them back, `join` brings others up to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::page;
use super::pending::Run;
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
    /// Whoever changes which copies are current waits until nobody is at any file: others hold it for reading meanwhile.
    /// A copy keeps its index.
    pub(super) sites: RwLock<Vec<Site>>,
    /// Bit per index (not slot) of a copy that is not current.
    pub(super) failed: AtomicU64,
    /// Bit per index of a copy that failed while the labels could not be told.
    pub(super) untold: AtomicU64,
    on_copy_failed: OnCopyFailed,
    /// Held while a failure is reported, by whichever thread met it.
    reporting: Mutex<()>,
    pub(super) files: Mutex<BTreeMap<String, Arc<MirroredFile>>>,
    /// A copy that takes longer for anything has failed.
    pub(super) timeout: Duration,
    /// Bytes in the log since it last began anew.
    pub log_bytes: Arc<AtomicU64>,
    /// A copy that is brought up to the others.
    pub(super) joining: Mutex<Option<super::join::Joining>>,
    pub(super) is_joining: AtomicBool,
    /// Chunks of the database that were written since the joining copy was given them.
    pub(super) rewritten: Mutex<BTreeSet<u64>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// A copy and its threads.
pub(super) struct Site {
    pub place: CopyPlace,
    /// The thread that changes the copy, in the order in which it is asked.
    pub writer: Sender<Job>,
    /// The thread that reads.
    pub reader: Sender<Job>,
    /// Held so that no other process uses the copy, where it joined while this one runs.
    pub lock: Option<Arc<dyn StorageFile>>,
}

impl Site {
    pub fn start(place: CopyPlace) -> io::Result<Site> {
        let (writer, reader) =
            (start_thread(format!("meta-write-{}", place.slot))?, start_thread(format!("meta-read-{}", place.slot))?);
        Ok(Site { place, writer, reader, lock: None })
    }

    /// Has one of the threads do the work.
    pub fn ask<T: Send + 'static>(
        &self,
        thread: &Sender<Job>,
        work: impl FnOnce(&dyn Storage) -> io::Result<T> + Send + 'static,
    ) -> Receiver<io::Result<T>> {
        let (done, answer) = crossbeam_channel::bounded(1);
        let storage = self.place.storage.clone();
        // Each asker waits for its answer, so that no more jobs wait than threads do. One that has given up is gone, and a
        // thread that has ended drops the job, which closes the answer's channel.
        let job = Box::new(move || _ = done.send(work(&*storage)));
        _ = thread.send(job);
        answer
    }
}

/// One file on all copies.
pub(super) struct MirroredFile {
    /// It is the database.
    pub is_database: bool,
    handles: RwLock<Vec<Option<Arc<dyn StorageFile>>>>,
    pub locks: super::locks::FileLocks,
    pub index: super::locks::LogIndex,
}

impl Copies {
    pub fn new(places: Vec<CopyPlace>, on_copy_failed: OnCopyFailed) -> io::Result<Copies> {
        assert!(!places.is_empty() && places.len() <= 64, "metadata has 1 to m+1 copies");
        Ok(Copies {
            sites: RwLock::new(places.into_iter().map(Site::start).collect::<io::Result<_>>()?),
            failed: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            on_copy_failed,
            reporting: Mutex::default(),
            files: Mutex::default(),
            timeout: limits::DRIVE_STALL_TIMEOUT,
            log_bytes: Arc::default(),
            joining: Mutex::default(),
            is_joining: AtomicBool::new(false),
            rewritten: Mutex::default(),
        })
    }

    /// Slots of the copies that are current.
    pub fn current_slots(&self) -> Vec<usize> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        let sites = sites.iter().enumerate();
        sites.filter(|(index, _)| self.is_current(*index)).map(|(_, site)| site.place.slot).collect()
    }

    /// Calls with the slots of the current copies, while none can be found to have failed: what is written to the labels so
    /// is not outdated when it gets there.
    pub fn with_current_slots<T>(&self, tell: impl FnOnce(Vec<usize>) -> T) -> T {
        let _reporting = self.reporting.lock().expect("no holder of this lock panics");
        tell(self.current_slots())
    }

    /// Opens the file on every copy that is current.
    pub(super) fn open(&self, path: &str, create: bool) -> io::Result<Arc<MirroredFile>> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        let mut files = self.files.lock().expect("no holder of this lock panics");
        if let Some(file) = files.get(path) {
            return Ok(file.clone());
        }
        let mode = if create { OpenMode::Create } else { OpenMode::ReadWrite };
        let name = path.to_owned();
        let opened = self.on_each(&sites, move |_, storage| {
            let file = storage.open(&name, mode)?;
            if create {
                // The name must be durable before the first commit in it is.
                storage.sync_dir(FOLDER)?;
            }
            Ok(file)
        })?;
        let mut handles = vec![None; sites.len()];
        opened.into_iter().for_each(|(index, handle)| handles[index] = Some(handle));
        let file = Arc::new(MirroredFile {
            is_database: path == crate::meta::open::DATABASE_FILE,
            handles: RwLock::new(handles),
            locks: Default::default(),
            index: Default::default(),
        });
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        let path: Arc<str> = path.into();
        self.first_current(&sites, |index| {
            let path = path.clone();
            self.answer(sites[index].ask(&sites[index].reader, move |storage| storage.exists(&path)))
        })
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        self.files.lock().expect("no holder of this lock panics").remove(path);
        let path = path.to_owned();
        self.on_each(&sites, move |_, storage| match storage.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| storage.sync_dir(FOLDER)),
        })?;
        Ok(())
    }

    pub(super) fn read(&self, file: &Arc<MirroredFile>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        self.first_current(&sites, |index| self.read_copy(&sites[index], index, file, buffer, offset))
    }

    /// Reads one page of the database. A copy in which it has a wrong checksum is passed over; when it is wrong in all,
    /// the error is `InvalidData`.
    pub(super) fn read_page(&self, file: &Arc<MirroredFile>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        for (index, site) in sites.iter().enumerate().filter(|(index, _)| self.is_current(*index)) {
            match self.judge(&sites, index, self.read_copy(site, index, file, buffer, offset))? {
                None => {}
                Some(read) if read < buffer.len() || page::is_good(buffer, offset) => return Ok(read),
                Some(_) => {
                    let slot = site.place.slot;
                    tracing::error!(
                        slot,
                        offset,
                        "a page of the metadata has a wrong checksum; the next start heals it"
                    );
                }
            }
        }
        if self.current_count(&sites) == 0 { Err(none_left()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// What is in memory is read by the calling thread; what is not by the copy's.
    fn read_copy(
        &self,
        site: &Site,
        index: usize,
        file: &Arc<MirroredFile>,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        match file.handle(index)?.read_at_nowait(&mut [IoSliceMut::new(buffer)], offset) {
            Ok(read) if read == buffer.len() => return Ok(read),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // The end of the file may be there, or only of what is in memory.
            Ok(_) | Err(_) => {}
        }
        let (file, length) = (file.clone(), buffer.len());
        let read = self.answer(site.ask(&site.reader, move |_| {
            let mut bytes = vec![0; length];
            let read = file.handle(index)?.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            Ok(bytes)
        }))?;
        buffer[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    /// The kernel knows the length of a file that is open: this waits for no drive.
    pub(super) fn len(&self, file: &MirroredFile) -> io::Result<u64> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        self.first_current(&sites, |index| file.handle(index)?.len())
    }

    /// Writes on all copies at the same time, one run after the other. With `sync` all that was ever written to the file
    /// is durable afterwards.
    pub(super) fn write(&self, file: &Arc<MirroredFile>, runs: Vec<Run>, sync: bool) -> io::Result<()> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        let touched: Vec<(u64, u64)> = match file.is_database {
            true => runs.iter().map(|run| (run.offset, run.bytes.len() as u64)).collect(),
            false => vec![],
        };
        let of_copy = file.clone();
        let written = self.on_each(&sites, move |index, _| {
            let handle = of_copy.handle(index)?;
            runs.iter().try_for_each(|run| handle.write_at(&run.bytes, run.offset))?;
            if sync { handle.sync_data() } else { Ok(()) }
        });
        touched.into_iter().for_each(|(offset, length)| self.note_rewritten(offset, length));
        written.map(|_| ())
    }

    pub(super) fn truncate(&self, file: &Arc<MirroredFile>, length: u64) -> io::Result<()> {
        let sites = self.sites.read().expect("no holder of this lock panics");
        let of_copy = file.clone();
        let done = self.on_each(&sites, move |index, _| of_copy.handle(index)?.set_len(length));
        if file.is_database {
            self.note_rewritten(length.saturating_sub(1), 1);
        }
        done.map(|_| ())
    }

    pub(super) fn is_current(&self, index: usize) -> bool {
        self.failed.load(Ordering::Acquire) & 1 << index == 0
    }

    pub(super) fn current_count(&self, sites: &[Site]) -> usize {
        sites.len() - self.failed.load(Ordering::Acquire).count_ones() as usize
    }

    /// Runs on every current copy, on all of them at the same time; gives what came of it by index. One that does not answer
    /// has failed: nobody waits for a drive that hangs.
    fn on_each<T: Send + 'static>(
        &self,
        sites: &[Site],
        work: impl Fn(usize, &dyn Storage) -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<Vec<(usize, T)>> {
        let work = Arc::new(work);
        let ask = |index: usize| {
            let work = work.clone();
            (index, sites[index].ask(&sites[index].writer, move |storage| work(index, storage)))
        };
        let asked: Vec<_> = (0..sites.len()).filter(|index| self.is_current(*index)).map(ask).collect();
        let mut results = Vec::with_capacity(asked.len());
        for (index, answer) in asked {
            // All have been at it since the first was waited for: two that hang are let go of one after the other.
            results.push((index, self.answer(answer)));
        }
        if results.iter().all(|(_, result)| result.as_ref().is_err_and(is_failure)) {
            let mask = results.iter().fold(0, |mask, (index, _)| mask | 1 << index);
            let Some(reason) = results.into_iter().find_map(|(_, result)| result.err()) else {
                return Err(none_left());
            };
            self.failed.fetch_or(mask, Ordering::AcqRel);
            tracing::error!(%reason, "{NONE_LEFT}");
            return Err(reason);
        }
        let mut done = Vec::with_capacity(results.len());
        let mut full = None;
        for (index, result) in results {
            match self.judge(sites, index, result) {
                Ok(result) => done.extend(result.map(|value| (index, value))),
                // The others are judged all the same: one that failed at this is not to be trusted later.
                Err(error) => full = Some(error),
            }
        }
        if let Some(error) = full {
            return Err(error);
        }
        self.tell_failures(sites)?;
        if self.current_count(sites) == 0 { Err(none_left()) } else { Ok(done) }
    }

    /// Runs on the first current copy that answers.
    fn first_current<T>(&self, sites: &[Site], mut work: impl FnMut(usize) -> io::Result<T>) -> io::Result<T> {
        for index in 0..sites.len() {
            if self.is_current(index)
                && let Some(answer) = self.judge(sites, index, work(index))?
            {
                return Ok(answer);
            }
        }
        Err(none_left())
    }

    pub(super) fn answer<T>(&self, answer: Receiver<io::Result<T>>) -> io::Result<T> {
        answer.recv_timeout(self.timeout).unwrap_or_else(|error| Err(no_answer(error, self.timeout)))
    }

    /// A full drive is the caller's to report; any other error fails the copy, and the others go on.
    fn judge<T>(&self, sites: &[Site], index: usize, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if is_failure(&error) => {
                self.report_failed(sites, index, &error);
                if self.current_count(sites) == 0 { Err(error) } else { Ok(None) }
            }
            other => other.map(Some),
        }
    }
}

impl Copies {
    fn report_failed(&self, sites: &[Site], index: usize, error: &io::Error) {
        let _reporting = self.reporting.lock().expect("no holder of this lock panics");
        let before = self.failed.fetch_or(1 << index, Ordering::AcqRel);
        if before & 1 << index != 0 {
            return;
        }
        let slot = sites[index].place.slot;
        tracing::error!(slot, %error, "a copy of the metadata failed");
        if self.current_count(sites) == 0 {
            // The labels go on to name it: it has every acknowledged commit.
            tracing::error!("{NONE_LEFT}");
        } else {
            self.untold.fetch_or(1 << index, Ordering::AcqRel);
            self.tell(sites);
        }
    }

    /// Tells the labels what they were not told yet.
    fn tell(&self, sites: &[Site]) {
        for (index, site) in sites.iter().enumerate() {
            let bit = 1 << index;
            if self.untold.load(Ordering::Acquire) & bit != 0 && (self.on_copy_failed)(site.place.slot) {
                self.untold.fetch_and(!bit, Ordering::AcqRel);
            }
        }
    }

    /// A copy that was passed over may have been failed by another thread, which is still recording that, or it could not
    /// be recorded yet. No commit is acknowledged before it is.
    fn tell_failures(&self, sites: &[Site]) -> io::Result<()> {
        let _reporting = self.reporting.lock().expect("no holder of this lock panics");
        if self.untold.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        self.tell(sites);
        match self.untold.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(io::Error::other("too few drives are left to record which copies of the metadata are current")),
        }
    }
}

impl MirroredFile {
    pub(super) fn handle(&self, index: usize) -> io::Result<Arc<dyn StorageFile>> {
        let handles = self.handles.read().expect("no holder of this lock panics");
        let handle = handles.get(index).cloned().flatten();
        handle.ok_or_else(|| io::Error::other("the file was not opened on this copy"))
    }

    /// The copy was opened anew.
    pub(super) fn set_handle(&self, index: usize, handle: Arc<dyn StorageFile>) {
        let mut handles = self.handles.write().expect("no holder of this lock panics");
        if handles.len() <= index {
            handles.resize(index + 1, None);
        }
        handles[index] = Some(handle);
    }
}

const NONE_LEFT: &str =
    "no copy of the metadata is left: nothing can be read or written until a drive that holds one is put back";

fn none_left() -> io::Error {
    io::Error::other("no copy of the metadata is left")
}

/// Anything but a full drive.
fn is_failure(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::StorageFull
}

fn no_answer(error: RecvTimeoutError, waited: Duration) -> io::Error {
    match error {
        RecvTimeoutError::Timeout => {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", waited.as_secs()))
        }
        RecvTimeoutError::Disconnected => io::Error::other("a thread of this copy ended"),
    }
}

fn start_thread(name: String) -> io::Result<Sender<Job>> {
    let (sender, jobs): (_, Receiver<Job>) = crossbeam_channel::unbounded();
    std::thread::Builder::new().name(name).spawn(move || jobs.iter().for_each(|job| job()))?;
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
        let mut copies = Copies::new(
            places,
            Arc::new(move |slot| {
                reported.lock().unwrap().push(slot);
                true
            }),
        )
        .unwrap();
        copies.timeout = Duration::from_millis(500);
        copies
    }

    fn runs(bytes: &[u8]) -> Vec<Run> {
        vec![Run { offset: 0, bytes: bytes.to_vec() }]
    }

    type Operation = fn(&Copies, &Arc<MirroredFile>) -> io::Result<()>;

    /// A drive whose I/O never came back once stopped every commit, or every reader, for ever.
    #[test]
    fn a_copy_that_never_returns_is_given_up_and_the_others_go_on() {
        let read: Operation = |copies, file| {
            // Not in the simulated memory, so that the drive is asked.
            let read = copies.read(file, &mut [0; 5], 4096 * 3)?;
            assert_eq!(read, 5);
            Ok(())
        };
        let operations: [(&str, Operation, &[usize]); 7] = [
            ("sync", |copies, file| copies.write(file, vec![], true), &[0, 2]),
            ("write", |copies, file| copies.write(file, runs(b"other"), false), &[0, 2]),
            ("truncate", |copies, file| copies.truncate(file, 4096 * 4), &[1]),
            ("open", |copies, _| copies.open("meta/new", true).map(|_| ()), &[1]),
            ("remove", |copies, _| copies.remove("meta/old"), &[1]),
            ("exists", |copies, _| copies.exists("meta/old").map(|_| ()), &[0]),
            ("read", read, &[0]),
        ];
        for (name, operation, hanging) in operations {
            for hanging in hanging {
                let machine = SimMachine::new(3, 1 << 20);
                let reported = Arc::default();
                let copies = copies(&machine, 3, Arc::clone(&reported));
                let file = copies.open("meta/file", true).unwrap();
                copies.open("meta/old", true).unwrap();
                copies.write(&file, runs(&[7; 4096 * 4]), true).unwrap();
                machine.hang(*hanging, true);
                operation(&copies, &file).unwrap();
                assert_eq!(*reported.lock().unwrap(), [*hanging], "{name}");
                let others: Vec<usize> = (0..3).filter(|slot| slot != hanging).collect();
                assert_eq!(copies.current_slots(), others, "{name}");
                copies.write(&file, runs(b"second"), true).unwrap();
                let mut found = [0; 6];
                assert_eq!(copies.read(&file, &mut found, 0).unwrap(), 6);
                assert_eq!(&found, b"second");
                // Its threads end with the test's machine.
                machine.hang(*hanging, false);
            }
        }
    }

    #[test]
    fn the_last_copy_that_hangs_is_an_error_and_not_a_wait() {
        let machine = SimMachine::new(1, 1 << 20);
        let copies = copies(&machine, 1, Arc::default());
        let file = copies.open("meta/file", true).unwrap();
        machine.hang(0, true);
        assert_eq!(copies.write(&file, runs(b"first"), true).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(copies.write(&file, runs(b"first"), true).is_err() && copies.current_slots().is_empty());
        machine.hang(0, false);
    }
}
