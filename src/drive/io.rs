//! A drive as the others see it: a bounded queue to its thread, its health, and a watch over a thread that hangs.

use std::io::{self, IoSliceMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;

use super::label::{Label, LabelError};
use super::segment::{self, SEGMENTS_DIR, Segments};
use super::ticket::Ticket;
use super::worker::{Desk, Dirty, Health, Request, Worker};
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

/// A block to be written: header and payload, shared without copying. One whose parts lie on pages, in memory and on the
/// drive, goes past the page cache; its header brings the page that it ends.
#[derive(Debug, Clone)]
pub struct Block {
    pub segment: u32,
    /// In bytes.
    pub offset: u64,
    pub header: Bytes,
    pub payload: Bytes,
}

/// What a look at a drive finds.
#[derive(Debug)]
pub struct Check {
    pub label: Result<Option<Label>, LabelError>,
    /// So little is left that even small writes to the metadata must be deletes.
    pub full: bool,
    /// Bytes that segments may still take.
    pub room: u64,
    /// There is neither a label nor a segment.
    pub empty: bool,
    pub space: Option<Space>,
}

/// The last look at the thread's progress.
#[derive(Debug, Default)]
struct Watch {
    progress: u64,
    since_ns: Option<u64>,
}

/// One drive. Shared by all threads.
#[derive(Debug)]
pub struct Drive {
    slot: usize,
    storage: Arc<dyn Storage>,
    segments: Arc<Segments>,
    queue: Sender<Request>,
    /// Only to drop what waits when the thread hangs.
    queued: Receiver<Request>,
    desk: Arc<Desk>,
    watch: Mutex<Watch>,
    /// As of the last look.
    space: Mutex<Option<Space>>,
    health: Arc<Health>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drive {
    /// Starts the drive's thread. The caller has checked the label; new segments get `segment_bytes` of space.
    pub fn start(slot: usize, storage: Arc<dyn Storage>, segment_bytes: u64) -> Result<Drive, DriveFault> {
        let place = storage.describe();
        let fault = |source| DriveFault::Io { place: place.clone(), source };
        let (queue, requests) = crossbeam_channel::bounded(limits::DRIVE_QUEUE_MAX);
        let segments = Arc::new(Segments::new(storage.clone(), segment_bytes));
        let health = Arc::new(Health::default());
        let (desk, queued, watch) = (Arc::new(Desk::default()), requests.clone(), Mutex::default());
        let mut worker = Worker {
            slot,
            storage: storage.clone(),
            segments: segments.clone(),
            health: health.clone(),
            desk: desk.clone(),
            requests,
            dirty: Dirty::default(),
        };
        let thread =
            std::thread::Builder::new().name(format!("drive-{slot}")).spawn(move || worker.run()).map_err(fault)?;
        let (thread, space) = (Mutex::new(Some(thread)), Mutex::default());
        let drive = Drive { slot, storage, segments, queue, queued, desk, watch, space, health, thread };
        drive.make_folder().map_err(fault)?;
        Ok(drive)
    }

    /// Makes the folder of the segments where it is missing.
    pub fn make_folder(&self) -> io::Result<()> {
        let space = self.wait_for(|storage| {
            if !storage.exists(SEGMENTS_DIR)? {
                storage.create_dir(SEGMENTS_DIR)?;
                storage.sync_dir("")?;
            }
            storage.space()
        })?;
        *self.space.lock().expect("no holder of this lock panics") = Some(space);
        Ok(())
    }

    /// Has the drive's thread do something short; the answer comes by the channel, if ever.
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce(&dyn Storage) -> T + Send + 'static) -> Receiver<T> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let work = Box::new(move |storage: &dyn Storage| _ = reply.send(work(storage)));
        if !self.health.gone.load(Ordering::Acquire) {
            // What cannot be queued is dropped, which closes the answer's channel.
            _ = self.queue.send_timeout(Request::Do { work }, limits::DRIVE_CHECK_TIMEOUT);
        }
        answer
    }

    /// The same with a wait that has an end; a drive that does not answer is out.
    fn wait_for<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Storage) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.ask(work).recv_timeout(limits::DRIVE_STALL_TIMEOUT).unwrap_or_else(|_| {
            self.give_up("it does not answer".to_owned());
            Err(io::ErrorKind::TimedOut.into())
        })
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
        let reason = || self.health.reason.lock().expect("no holder of this lock panics").clone().unwrap_or_default();
        let obstacle = || self.health.obstacle.lock().expect("no holder of this lock panics").clone();
        (!self.is_healthy()).then(|| match obstacle() {
            Some(obstacle) if obstacle == reason() => format!("{obstacle}; it takes part again once that has changed"),
            Some(obstacle) => format!("{}; now: {obstacle}", reason()),
            None => reason(),
        })
    }

    /// Says why a drive that is out is not taken back. Told once.
    pub fn note_obstacle(&self, found: Option<String>) {
        let mut obstacle = self.health.obstacle.lock().expect("no holder of this lock panics");
        if *obstacle != found {
            if let Some(found) = &found {
                tracing::warn!(slot = self.slot, place = self.storage.describe(), reason = %found, "a drive is not taken back");
            }
            *obstacle = found;
        }
    }

    /// Whether it was pulled, and its thread could take it back.
    pub fn is_away(&self) -> bool {
        !self.is_healthy() && self.health.away.load(Ordering::Acquire) && !self.health.gone.load(Ordering::Acquire)
    }

    /// A drive that was pulled and is there again failed at being taken back: it counts as one that failed where it stands.
    pub fn fail_back(&self, reason: String) {
        self.health.away.store(false, Ordering::Release);
        self.note_obstacle(Some(reason));
    }

    /// Takes the drive out: its label is gone, or the operator said so.
    pub fn fail(&self, reason: String) {
        if self.is_healthy() {
            tracing::error!(slot = self.slot, place = self.storage.describe(), %reason, "drive failed; replace it");
        }
        self.health.fail(reason);
    }

    /// It is out, and was from the start.
    pub fn fail_quietly(&self, reason: String) {
        self.health.fail(reason);
    }

    /// As of the last look at it; `None` while it is out, when something else may be in its place.
    pub fn space(&self) -> Option<Space> {
        if !self.is_healthy() {
            return None;
        }
        *self.space.lock().expect("no holder of this lock panics")
    }

    /// Looks at label and space by the drive's thread; `None` when it does not answer in time.
    pub fn check(&self) -> Option<Check> {
        if self.health.gone.load(Ordering::Acquire) {
            return None;
        }
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.queue.send_timeout(Request::Check { reply }, limits::DRIVE_CHECK_TIMEOUT).ok()?;
        let check: Check = answer.recv_timeout(limits::DRIVE_CHECK_TIMEOUT).ok()?;
        *self.space.lock().expect("no holder of this lock panics") = check.space;
        Some(check)
    }

    /// Tells a drive that failed whether its label is there. `true` when it is there again after it was not: the drive was
    /// pulled and put back. One that failed where it stands never is.
    pub fn note_presence(&self, present: bool) -> bool {
        if !present {
            self.health.away.store(true, Ordering::Release);
        }
        present && self.health.away.load(Ordering::Acquire)
    }

    /// Takes reads and writes again, with what is on the drive now. Whatever was under way before has failed. `false` when
    /// the thread does not answer.
    pub fn take_back(&self) -> bool {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let asked = self.queue.send_timeout(Request::TakeBack { reply }, limits::DRIVE_CHECK_TIMEOUT).is_ok();
        asked && answer.recv_timeout(limits::DRIVE_CHECK_TIMEOUT).is_ok()
    }

    /// Takes the drive out when its thread has been in one operation for `DRIVE_STALL_TIMEOUT`, and lets go of everyone who
    /// waits for it. To be called now and then, with the steady clock.
    pub fn check_stall(&self, now_ns: u64) {
        let mut watch = self.watch.lock().expect("no holder of this lock panics");
        let progress = self.desk.progress.load(Ordering::Acquire);
        if !self.desk.busy.load(Ordering::Acquire) || watch.progress != progress || watch.since_ns.is_none() {
            *watch = Watch { progress, since_ns: Some(now_ns) };
            return;
        }
        let stands_ns = now_ns.saturating_sub(watch.since_ns.unwrap_or(now_ns));
        // One that is out already may have failed while it hung, with others still waiting for it.
        if stands_ns >= limits::DRIVE_STALL_TIMEOUT.as_nanos() as u64 && !self.health.gone.load(Ordering::Acquire) {
            self.give_up(format!("no answer for {} s", stands_ns / 1_000_000_000));
        }
    }

    /// Takes a drive out whose thread hangs, and lets go of everyone who waits for it.
    fn give_up(&self, reason: String) {
        self.fail(reason);
        self.health.gone.store(true, Ordering::Release);
        // Dropped tickets count as failed, dropped replies as missing blocks.
        drop(std::mem::take(&mut *self.desk.papers()));
        self.drop_queued();
    }

    pub fn segment_numbers(&self) -> io::Result<Vec<u32>> {
        self.wait_for(segment::numbers)
    }

    /// Queues a request; one that comes too late is dropped, which tells whoever waits for it.
    fn send(&self, request: Request) {
        if self.is_healthy() {
            // This end holds a receiver, so that the queue is never closed.
            _ = self.queue.send(request);
            // The drive may have failed or stopped meanwhile, after its queue was emptied.
            if self.health.gone.load(Ordering::Acquire) {
                self.drop_queued();
            }
        }
    }

    fn drop_queued(&self) {
        while self.queued.try_recv().is_ok() {}
    }

    /// Queues a write. A failed drive settles the ticket as failed at once.
    pub fn write(&self, block: Block, sync: bool, ticket: Ticket) {
        if self.is_healthy() {
            // An error gives the request, and with it the ticket, back: dropped, it counts as failed.
            self.send(Request::Write { block, sync, ticket });
        }
    }

    /// Fills both buffers, one after the other, with what is in memory already; `WouldBlock` when the drive's thread must
    /// do it.
    pub fn read_nowait(&self, segment: u32, offset: u64, header: &mut [u8], payload: &mut [u8]) -> io::Result<()> {
        // Opening may block, and is the thread's work, too.
        let file = self.segments.opened(segment).ok_or(io::ErrorKind::WouldBlock)?;
        let length = header.len() + payload.len();
        match file.read_at_nowait(&mut [IoSliceMut::new(header), IoSliceMut::new(payload)], offset)? {
            read if read == length => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads by the drive's thread. The channel is cancelled when the drive is out.
    pub fn read(&self, segment: u32, offset: u64, length: usize) -> oneshot::Receiver<io::Result<Vec<u8>>> {
        let (reply, answer) = oneshot::channel();
        if self.is_healthy() {
            self.send(Request::Read { segment, offset, length, reply });
        }
        answer
    }

    /// Gives space back, after everything queued before.
    pub fn punch(&self, segment: u32, offset: u64, length: u64) {
        if self.is_healthy() {
            self.send(Request::Punch { segment, offset, length });
        }
    }

    /// Removes a segment file, after everything queued before.
    pub fn remove_segment(&self, segment: u32) {
        if self.is_healthy() {
            self.send(Request::Remove { segment });
        }
    }

    /// Gives back what a segment that is not filled any more has reserved and not written, after everything queued before.
    pub fn trim_segment(&self, segment: u32) {
        if self.is_healthy() {
            self.send(Request::Trim { segment });
        }
    }

    /// Finishes what is queued and ends the thread.
    pub fn stop(&self) {
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            if self.health.gone.load(Ordering::Acquire) {
                // It may hang for ever; it ends by itself if it does not.
                _ = self.queue.try_send(Request::Stop);
                return;
            }
            _ = self.queue.send(Request::Stop);
            if thread.join().is_err() {
                tracing::error!(slot = self.slot, "the drive's thread panicked");
            }
            self.health.fail("the drive was stopped".to_owned());
            self.health.gone.store(true, Ordering::Release);
            self.drop_queued();
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.stop();
    }
}
