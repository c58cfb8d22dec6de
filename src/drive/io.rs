//! The drive's thread: a bounded queue, drained in groups, one sync per dirty file and group.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;

use super::segment::{self, SEGMENTS_DIR, Segments};
use super::ticket::Ticket;
use crate::limits;
use crate::seam::{Space, Storage};

/// Why a drive could not be opened or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum DriveFault {
    #[error("{place}: {source}")]
    Io { place: String, source: io::Error },
    #[error("{place}: failed earlier and is out until the next start: {reason}")]
    Failed { place: String, reason: String },
}

/// A block to be written: header and payload, shared without copying.
#[derive(Debug, Clone)]
pub struct Block {
    pub segment: u32,
    /// In bytes.
    pub offset: u64,
    pub header: Bytes,
    pub payload: Bytes,
}

#[derive(Debug)]
enum Request {
    /// With `sync`, the ticket is settled once this and everything before it is on stable storage.
    Write {
        block: Block,
        sync: bool,
        ticket: Ticket,
    },
    Read {
        segment: u32,
        offset: u64,
        length: usize,
        reply: oneshot::Sender<io::Result<Vec<u8>>>,
    },
    Punch {
        segment: u32,
        offset: u64,
        length: u64,
    },
    Remove {
        segment: u32,
    },
    Stop,
}

/// One drive. Shared by all threads.
#[derive(Debug)]
pub struct Drive {
    slot: usize,
    storage: Arc<dyn Storage>,
    segments: Arc<Segments>,
    queue: Sender<Request>,
    health: Arc<Health>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Health {
    failed: AtomicBool,
    reason: OnceLock<String>,
}

impl Health {
    fn fail(&self, reason: String) {
        // The first reason is the one to know.
        _ = self.reason.set(reason);
        self.failed.store(true, Ordering::Release);
    }
}

impl Drive {
    /// Starts the drive's thread. The caller has checked the label; new segments get `segment_bytes` of space.
    pub fn start(slot: usize, storage: Arc<dyn Storage>, segment_bytes: u64) -> Result<Drive, DriveFault> {
        let place = storage.describe();
        let fault = |source| DriveFault::Io { place: place.clone(), source };
        if !storage.exists(SEGMENTS_DIR).map_err(fault)? {
            storage.create_dir(SEGMENTS_DIR).map_err(fault)?;
            storage.sync_dir("").map_err(fault)?;
        }
        let (queue, requests) = crossbeam_channel::bounded(limits::DRIVE_QUEUE_MAX);
        let segments = Arc::new(Segments::new(storage.clone(), segment_bytes));
        let health = Arc::new(Health::default());
        let mut worker =
            Worker { slot, segments: segments.clone(), health: health.clone(), requests, dirty: Dirty::default() };
        let thread =
            std::thread::Builder::new().name(format!("drive-{slot}")).spawn(move || worker.run()).map_err(fault)?;
        Ok(Drive { slot, storage, segments, queue, health, thread: Mutex::new(Some(thread)) })
    }

    pub fn slot(&self) -> usize {
        self.slot
    }

    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub fn is_healthy(&self) -> bool {
        !self.health.failed.load(Ordering::Acquire)
    }

    /// Why the drive is out; `None` while it is healthy.
    pub fn fault(&self) -> Option<String> {
        (!self.is_healthy()).then(|| self.health.reason.get().cloned().unwrap_or_default())
    }

    /// Takes the drive out: its label is gone, or the operator said so.
    pub fn fail(&self, reason: String) {
        if self.is_healthy() {
            tracing::error!(slot = self.slot, place = self.storage.describe(), %reason, "drive failed; replace it");
        }
        self.health.fail(reason);
    }

    pub fn space(&self) -> io::Result<Space> {
        self.storage.space()
    }

    /// Whether so little is left that even small writes to the metadata must be deletes.
    pub fn is_full(&self) -> io::Result<bool> {
        let space = self.storage.space()?;
        Ok(space.available < segment::reserve(space) / 2)
    }

    pub fn segment_numbers(&self) -> io::Result<Vec<u32>> {
        segment::numbers(&*self.storage)
    }

    /// Queues a write. A failed drive settles the ticket as failed at once.
    pub fn write(&self, block: Block, sync: bool, ticket: Ticket) {
        if self.is_healthy() {
            // An error gives the request, and with it the ticket, back: dropped, it counts as failed.
            _ = self.queue.send(Request::Write { block, sync, ticket });
        }
    }

    /// Reads what is in memory already; `WouldBlock` when the drive's thread must do it.
    pub fn read_nowait(&self, segment: u32, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.segments.file(segment)?;
        let mut buffer = vec![0; length];
        match file.read_at_nowait(&mut buffer, offset)? {
            read if read == length => Ok(buffer),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads by the drive's thread. The channel is cancelled when the drive is out.
    pub fn read(&self, segment: u32, offset: u64, length: usize) -> oneshot::Receiver<io::Result<Vec<u8>>> {
        let (reply, answer) = oneshot::channel();
        if self.is_healthy() {
            _ = self.queue.send(Request::Read { segment, offset, length, reply });
        }
        answer
    }

    /// Gives space back, after everything queued before.
    pub fn punch(&self, segment: u32, offset: u64, length: u64) {
        if self.is_healthy() {
            _ = self.queue.send(Request::Punch { segment, offset, length });
        }
    }

    /// Removes a segment file, after everything queued before.
    pub fn remove_segment(&self, segment: u32) {
        if self.is_healthy() {
            _ = self.queue.send(Request::Remove { segment });
        }
    }

    /// Finishes what is queued and ends the thread.
    pub fn stop(&self) {
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            _ = self.queue.send(Request::Stop);
            if thread.join().is_err() {
                tracing::error!(slot = self.slot, "the drive's thread panicked");
            }
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Files written since the last sync.
#[derive(Debug, Default)]
struct Dirty {
    segments: BTreeSet<u32>,
    new_names: bool,
}

struct Worker {
    slot: usize,
    segments: Arc<Segments>,
    health: Arc<Health>,
    requests: Receiver<Request>,
    dirty: Dirty,
}

impl Worker {
    fn run(&mut self) {
        let mut group = Vec::new();
        while let Ok(first) = self.requests.recv() {
            group.push(first);
            group.extend(self.requests.try_iter().take(limits::DRIVE_GROUP_MAX));
            if !self.execute(&mut group) {
                return;
            }
        }
    }

    /// Executes a group in order; `false` after `Stop`.
    fn execute(&mut self, group: &mut Vec<Request>) -> bool {
        let mut waiting = Vec::new();
        let mut go_on = true;
        for request in group.drain(..) {
            match request {
                Request::Write { block, sync, ticket } => match self.write(&block) {
                    Ok(()) if sync => waiting.push(ticket),
                    Ok(()) => ticket.done(),
                    Err(error) if is_full(&error) => ticket.full(),
                    Err(error) => {
                        self.fail("write", &error);
                        ticket.failed();
                    }
                },
                Request::Read { segment, offset, length, reply } => {
                    // The asker may have gone; that is no fault.
                    _ = reply.send(self.read(segment, offset, length));
                }
                Request::Punch { segment, offset, length } => self.punch(segment, offset, length),
                Request::Remove { segment } => self.remove(segment),
                Request::Stop => go_on = false,
            }
        }
        if !waiting.is_empty() {
            match self.sync() {
                Ok(()) => waiting.into_iter().for_each(Ticket::done),
                Err(error) => {
                    // What an fsync that failed has lost cannot be known: never repeat it, the drive is out.
                    self.fail("sync", &error);
                    waiting.into_iter().for_each(Ticket::failed);
                }
            }
        }
        go_on
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        if self.health.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the drive failed before"));
        }
        let (file, new) = self.segments.file_or_new(block.segment)?;
        self.dirty.new_names |= new;
        self.dirty.segments.insert(block.segment);
        file.write_vectored_at(&[IoSlice::new(&block.header), IoSlice::new(&block.payload)], block.offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.health.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the drive failed before"));
        }
        for segment in &self.dirty.segments {
            self.segments.file(*segment)?.sync_data()?;
        }
        if self.dirty.new_names {
            self.segments.sync_names()?;
        }
        self.dirty = Dirty::default();
        Ok(())
    }

    fn read(&self, segment: u32, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        let read = self.segments.file(segment)?.read_at(&mut buffer, offset)?;
        buffer.truncate(read);
        Ok(buffer)
    }

    fn punch(&self, segment: u32, offset: u64, length: u64) {
        let punched = self.segments.file(segment).and_then(|file| file.punch_hole(offset, length));
        match punched {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(slot = self.slot, segment, %error, "space could not be given back; it goes with its segment");
            }
            _ => {}
        }
    }

    fn remove(&mut self, segment: u32) {
        self.dirty.segments.remove(&segment);
        if let Err(error) = self.segments.remove(segment) {
            tracing::warn!(slot = self.slot, segment, %error, "an empty segment could not be removed");
        }
    }

    fn fail(&self, what: &str, error: &io::Error) {
        if !self.health.failed.load(Ordering::Acquire) {
            tracing::error!(slot = self.slot, %error, "drive failed at a {what}; replace it");
        }
        self.health.fail(format!("{what}: {error}"));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
