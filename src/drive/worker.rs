//! What the drive's thread does: drains the queue in groups, one sync for each dirty file and group.
//!
//! Invariant: a ticket is settled as done when its write, and with `sync` all before it, is on stable storage; after the
//! first error, and whenever the thread hangs, all are settled as failed. What is at hand lies on the desk, so that others
//! can let go of it.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;

use super::io::{Block, Check};
use super::label::Label;
use super::segment::{self, Segments};
use super::ticket::Ticket;
use crate::limits;
use crate::seam::{Storage, is_aligned};

pub(super) type Work = Box<dyn FnOnce(&dyn Storage) + Send>;

pub(super) enum Request {
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
    Trim {
        segment: u32,
    },
    Check {
        reply: Sender<Check>,
    },
    /// Something short, in its turn.
    Do {
        work: Work,
    },
    /// The drive was away and is there again.
    TakeBack {
        reply: Sender<()>,
    },
    Stop,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

/// What the thread has in hand, within reach of whoever finds that it hangs in a system call.
#[derive(Debug, Default)]
pub(super) struct Desk {
    papers: Mutex<Papers>,
    /// Operations done; while it stands still with `busy`, the thread hangs.
    pub progress: AtomicU64,
    pub busy: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Papers {
    group: VecDeque<Request>,
    /// Written, to be settled by the next sync.
    waiting: Vec<Ticket>,
    /// Of the operation at hand.
    ticket: Option<Ticket>,
    reply: Option<oneshot::Sender<io::Result<Vec<u8>>>>,
}

impl Desk {
    pub fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug, Default)]
pub(super) struct Health {
    pub failed: AtomicBool,
    /// The thread hangs, or has ended: nobody takes from the queue.
    pub gone: AtomicBool,
    /// Since it failed, its label could not be found: it was pulled.
    pub away: AtomicBool,
    pub reason: Mutex<Option<String>>,
    /// What stands in the way of taking it back.
    pub obstacle: Mutex<Option<String>>,
}

impl Health {
    pub fn fail(&self, reason: String) {
        // The first reason is the one to know.
        self.reason.lock().expect("no holder of this lock panics").get_or_insert(reason);
        self.failed.store(true, Ordering::Release);
    }

    pub fn take_back(&self) {
        *self.reason.lock().expect("no holder of this lock panics") = None;
        *self.obstacle.lock().expect("no holder of this lock panics") = None;
        self.away.store(false, Ordering::Release);
        self.failed.store(false, Ordering::Release);
    }
}

/// Files written since the last sync.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    segments: BTreeSet<u32>,
    new_names: bool,
}

pub(super) struct Worker {
    pub slot: usize,
    pub storage: Arc<dyn Storage>,
    pub segments: Arc<Segments>,
    pub health: Arc<Health>,
    pub desk: Arc<Desk>,
    pub requests: Receiver<Request>,
    pub dirty: Dirty,
}

impl Worker {
    pub fn run(&mut self) {
        let mut go_on = true;
        while go_on {
            let Ok(first) = self.requests.recv() else { return };
            let group = std::iter::once(first).chain(self.requests.try_iter().take(limits::DRIVE_GROUP_MAX));
            self.desk.papers().group.extend(group);
            self.desk.busy.store(true, Ordering::Release);
            go_on = self.execute();
            self.desk.busy.store(false, Ordering::Release);
        }
    }

    /// Executes the group in order; `false` after `Stop`. The lock on the papers is never held over an operation.
    fn execute(&mut self) -> bool {
        let mut go_on = true;
        loop {
            let Some(request) = self.desk.papers().group.pop_front() else { break };
            go_on &= self.execute_one(request);
            self.desk.progress.fetch_add(1, Ordering::AcqRel);
        }
        if !self.desk.papers().waiting.is_empty() {
            let synced = self.sync();
            if let Err(error) = &synced {
                // What an fsync that failed has lost cannot be known: never repeat it, the drive is out.
                self.fail("sync", error);
            }
            let waiting = std::mem::take(&mut self.desk.papers().waiting);
            let settle = if synced.is_ok() { Ticket::done } else { Ticket::failed };
            waiting.into_iter().for_each(settle);
            self.desk.progress.fetch_add(1, Ordering::AcqRel);
        }
        go_on
    }

    fn execute_one(&mut self, request: Request) -> bool {
        match request {
            Request::Write { block, sync, ticket } => {
                self.desk.papers().ticket = Some(ticket);
                let written = self.write(&block);
                // Gone when the drive was found hanging in this operation.
                let Some(ticket) = self.desk.papers().ticket.take() else { return true };
                match written {
                    Ok(()) if sync => self.desk.papers().waiting.push(ticket),
                    Ok(()) => ticket.done(),
                    Err(error) if is_full(&error) => ticket.full(),
                    Err(error) => {
                        self.fail("write", &error);
                        ticket.failed();
                    }
                }
            }
            Request::Read { segment, offset, length, reply } => {
                self.desk.papers().reply = Some(reply);
                let read = self.read(segment, offset, length);
                let reply = self.desk.papers().reply.take();
                if let Some(reply) = reply {
                    // The asker may have gone; that is no fault.
                    _ = reply.send(read);
                }
            }
            Request::Punch { segment, offset, length } => self.punch(segment, offset, length),
            Request::Remove { segment } => self.remove(segment),
            Request::Trim { segment } => self.trim(segment),
            Request::Check { reply } => _ = reply.send(self.check()),
            Request::Do { work } => work(&*self.storage),
            Request::TakeBack { reply } => {
                // What was written before and not synced may be lost, whatever the next sync says.
                drop(std::mem::take(&mut self.desk.papers().waiting));
                self.dirty = Dirty::default();
                self.segments.forget();
                self.health.take_back();
                _ = reply.send(());
            }
            Request::Stop => return false,
        }
        true
    }

    fn check(&self) -> Check {
        let label = Label::read(&*self.storage);
        let space = self.storage.space().ok();
        let full = space.is_some_and(|space| space.available < segment::reserve(space) / 2);
        // A segment is made whole or not at all, and two are filled side by side.
        let kept = |space| segment::reserve(space) + 2 * self.segments.segment_bytes();
        let room = space.map_or(u64::MAX, |space| space.available.saturating_sub(kept(space)));
        let empty = matches!(label, Ok(None)) && segment::is_empty(&*self.storage);
        Check { label, full, room, empty, space }
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        if self.health.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the drive failed before"));
        }
        let (file, new) = self.segments.file_or_new(block.segment)?;
        self.dirty.new_names |= new;
        self.dirty.segments.insert(block.segment);
        let buffers = [IoSlice::new(&block.header), IoSlice::new(&block.payload)];
        // The page cache would cost more than the write, and a sync would have to wait for it.
        if is_aligned(&buffers, block.offset) {
            file.write_direct_at(&buffers, block.offset)
        } else {
            file.write_vectored_at(&buffers, block.offset)
        }
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

    /// Heals write by this thread, too: none can come in between what is looked up and what is given back.
    fn trim(&self, segment: u32) {
        match self.segments.file(segment).and_then(|file| file.release_unwritten()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(slot = self.slot, segment, %error, "reserved space could not be given back; it goes with its segment");
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
