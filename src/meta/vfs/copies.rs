//! The copies of each file, and which of them are current.
//!
//! Each copy has two threads, one for what changes it and one for reads of what is not in memory. Nobody else waits for its
//! drive, and nobody waits for them longer than `DRIVE_STALL_TIMEOUT`: a copy that takes longer has failed.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
    places: Vec<CopyPlace>,
    /// Bit per index (not slot) of a copy that failed.
    failed: AtomicU64,
    on_copy_failed: OnCopyFailed,
    /// Held while a failure is reported, by whichever thread met it.
    reporting: Mutex<()>,
    files: Mutex<HashMap<String, Arc<MirroredFile>>>,
    /// Threads that change the copies, in the order in which they are asked.
    writers: Vec<Sender<Job>>,
    /// Threads that read.
    readers: Vec<Sender<Job>>,
    /// A copy that takes longer for anything has failed.
    timeout: Duration,
    /// Bytes in the log since it last began anew.
    pub log_bytes: Arc<AtomicU64>,
}

type Job = Box<dyn FnOnce() + Send>;

/// One file on all copies.
pub(super) struct MirroredFile {
    handles: Vec<Option<Arc<dyn StorageFile>>>,
    pub locks: super::locks::FileLocks,
    pub index: super::locks::LogIndex,
}

impl Copies {
    pub fn new(places: Vec<CopyPlace>, on_copy_failed: OnCopyFailed) -> io::Result<Copies> {
        assert!(!places.is_empty() && places.len() <= 64, "metadata has 1 to m+1 copies");
        let threads = |what: &str| -> io::Result<Vec<Sender<Job>>> {
            places.iter().map(|place| start_thread(format!("meta-{what}-{}", place.slot))).collect()
        };
        Ok(Copies {
            writers: threads("write")?,
            readers: threads("read")?,
            places,
            failed: AtomicU64::new(0),
            on_copy_failed,
            reporting: Mutex::default(),
            files: Mutex::default(),
            timeout: limits::DRIVE_STALL_TIMEOUT,
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
        let name = path.to_owned();
        let opened = self.on_each(move |_, storage| {
            let file = storage.open(&name, mode)?;
            if create {
                // The name must be durable before the first commit in it is.
                storage.sync_dir(FOLDER)?;
            }
            Ok(file)
        })?;
        let mut handles = vec![None; self.places.len()];
        opened.into_iter().for_each(|(index, handle)| handles[index] = Some(handle));
        let file = Arc::new(MirroredFile { handles, locks: Default::default(), index: Default::default() });
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        let path: Arc<str> = path.into();
        self.first_current(|index| {
            let path = path.clone();
            self.answer(self.ask(&self.readers, index, move |_, storage| storage.exists(&path)))
        })
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        self.files.lock().expect("no holder of this lock panics").remove(path);
        let path = path.to_owned();
        self.on_each(move |_, storage| match storage.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| storage.sync_dir(FOLDER)),
        })?;
        Ok(())
    }

    pub(super) fn read(&self, file: &Arc<MirroredFile>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.first_current(|index| self.read_copy(index, file, buffer, offset))
    }

    /// Reads one page of the database. A copy in which it has a wrong checksum is passed over; when it is wrong in all,
    /// the error is `InvalidData`.
    pub(super) fn read_page(&self, file: &Arc<MirroredFile>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        for (index, place) in self.places.iter().enumerate().filter(|(index, _)| self.is_current(*index)) {
            match self.judge(index, self.read_copy(index, file, buffer, offset))? {
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

    /// What is in memory is read by the calling thread; what is not by the copy's.
    fn read_copy(&self, index: usize, file: &Arc<MirroredFile>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match file.handle(index)?.read_at_nowait(&mut [IoSliceMut::new(buffer)], offset) {
            Ok(read) if read == buffer.len() => return Ok(read),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // The end of the file may be there, or only of what is in memory.
            Ok(_) | Err(_) => {}
        }
        let (file, length) = (file.clone(), buffer.len());
        let read = self.answer(self.ask(&self.readers, index, move |index, _| {
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
        self.first_current(|index| file.handle(index)?.len())
    }

    /// Writes on all copies at the same time, one run after the other. With `sync` all that was ever written to the file
    /// is durable afterwards.
    pub(super) fn write(&self, file: &Arc<MirroredFile>, runs: Vec<Run>, sync: bool) -> io::Result<()> {
        let file = file.clone();
        self.on_each(move |index, _| {
            let handle = file.handle(index)?;
            runs.iter().try_for_each(|run| handle.write_at(&run.bytes, run.offset))?;
            if sync { handle.sync_data() } else { Ok(()) }
        })?;
        Ok(())
    }

    pub(super) fn truncate(&self, file: &Arc<MirroredFile>, length: u64) -> io::Result<()> {
        let file = file.clone();
        self.on_each(move |index, _| file.handle(index)?.set_len(length))?;
        Ok(())
    }

    fn is_current(&self, index: usize) -> bool {
        self.failed.load(Ordering::Acquire) & 1 << index == 0
    }

    fn current_count(&self) -> usize {
        self.places.len() - self.failed.load(Ordering::Acquire).count_ones() as usize
    }

    /// Runs on every current copy, on all of them at the same time; gives what came of it by index. One that does not answer
    /// has failed: nobody waits for a drive that hangs.
    fn on_each<T: Send + 'static>(
        &self,
        work: impl Fn(usize, &dyn Storage) -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<Vec<(usize, T)>> {
        let work = Arc::new(work);
        let ask = |index: usize| {
            let work = work.clone();
            (index, self.ask(&self.writers, index, move |index, storage| work(index, storage)))
        };
        let asked: Vec<_> = (0..self.places.len()).filter(|index| self.is_current(*index)).map(ask).collect();
        let mut results = Vec::with_capacity(asked.len());
        for (index, answer) in asked {
            // All have been at it since the first was waited for: two that hang are let go of one after the other.
            results.push((index, self.answer(answer)));
        }
        let mut done = Vec::with_capacity(results.len());
        for (index, result) in results {
            done.extend(self.judge(index, result)?.map(|value| (index, value)));
        }
        self.await_reports();
        if self.current_count() == 0 { Err(none_left()) } else { Ok(done) }
    }

    /// Runs on the first current copy that answers.
    fn first_current<T>(&self, mut work: impl FnMut(usize) -> io::Result<T>) -> io::Result<T> {
        for index in 0..self.places.len() {
            if self.is_current(index)
                && let Some(answer) = self.judge(index, work(index))?
            {
                return Ok(answer);
            }
        }
        Err(none_left())
    }

    /// Has a thread of the copy do the work.
    fn ask<T: Send + 'static>(
        &self,
        threads: &[Sender<Job>],
        index: usize,
        work: impl FnOnce(usize, &dyn Storage) -> io::Result<T> + Send + 'static,
    ) -> Receiver<io::Result<T>> {
        let (done, answer) = crossbeam_channel::bounded(1);
        let storage = self.places[index].storage.clone();
        // Each asker waits for its answer, so that no more jobs wait than threads do. One that has given up is gone, and a
        // thread that has ended drops the job, which closes the answer's channel.
        let job = Box::new(move || _ = done.send(work(index, &*storage)));
        _ = threads[index].send(job);
        answer
    }

    fn answer<T>(&self, answer: Receiver<io::Result<T>>) -> io::Result<T> {
        answer.recv_timeout(self.timeout).unwrap_or_else(|error| Err(no_answer(error, self.timeout)))
    }

    /// A full drive is the caller's to report; any other error fails the copy, and the others go on.
    fn judge<T>(&self, index: usize, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                self.report_failed(index, &error);
                if self.current_count() == 0 { Err(error) } else { Ok(None) }
            }
            other => other.map(Some),
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
        let mut copies = Copies::new(places, Arc::new(move |slot| reported.lock().unwrap().push(slot))).unwrap();
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
