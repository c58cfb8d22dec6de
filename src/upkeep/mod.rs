//! Upkeep: reclaim, heal, scrub, rebuild, census and lifecycle, on one background thread within a byte-per-second budget.
//!
//! - **reclaim** gives back what was deleted `RECLAIM_GRACE` ago, and removes segments that hold nothing.
//! - **heal** works off the queue of extents that drives missed. A drive that is out keeps its tasks.
//! - **scrub** walks over every extent, verifies every block and heals what is wrong.
//! - **rebuild** is the same walk, for the slots that the labels call rebuilding. Its end is proven by a
//! - **census**, which counts every shard of every version and mends nothing. Status speaks from the last count.
//! - **lifecycle** carries out the buckets' rules, and **rolling** buckets give way while the drives are short of space.
//!
//! Drives: a start without up to m of them is degraded but serves. A drive that fails where it stands is out until the next
//! start, whatever it says later: what it did with unsynced writes cannot be known. What it missed is in the heal queue. One
//! that was pulled, or was missing at the start, takes part again when it is there, and its whole slot is rebuilt; its copy
//! of the metadata is caught up. An empty drive that takes a missing one's place is rebuilt too: at a start, or when the
//! operator asks for a heal. It may be only the folder on which that one was mounted: that takes the operator's word.
//!
//! Reclaim and walks share the thread: an extent that a walk has just looked up cannot be given back under it.
//! Absent here: S3, and the decision whether a version may go: the transaction that removes it takes it.

mod budget;
mod copies;
mod lifecycle;
mod queue;
mod reclaim;
mod rolling;
mod status;
mod walk;

pub use lifecycle::LifecycleSettings;
pub use status::{Census, HealState, HealStatus, WalkKind, WalkStatus};

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::meta::{Meta, MetaError, Reader};
use crate::pool::Pool;
use crate::seam::World;

use budget::Budget;
use lifecycle::Lifecycle;
use reclaim::Reclaim;
use rolling::Rolls;
use status::Board;
use walk::Walk;

/// How upkeep runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpkeepSettings {
    /// Bytes a second, on all drives together, that scrub, heal, rebuild and census may read and write. 0: no bound.
    pub bytes_per_second: u64,
    /// Seconds between the end of a scrub and the beginning of the next. 0: only on request.
    pub scrub_interval_s: u64,
}

impl Default for UpkeepSettings {
    /// A week between scrubs; 64 MiB/s walk over a terabyte in five hours.
    fn default() -> UpkeepSettings {
        UpkeepSettings { bytes_per_second: 64 << 20, scrub_interval_s: 7 * 24 * 3600 }
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpkeepRequest {
    /// Verify everything, heal what is wrong.
    Scrub,
    /// Work off the heal queue now and rebuild again what a census did not find whole.
    Heal,
    /// Count every shard of every version.
    Census,
}

enum Message {
    Request(UpkeepRequest),
    /// Heal, and let these places take the slots of missing drives though nothing is mounted there.
    Replace(Vec<String>),
    Stop,
}

/// Handle to the upkeep thread.
#[derive(Debug)]
pub struct Upkeep {
    messages: Sender<Message>,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    /// Starts the thread. A walk that a restart interrupted goes on where it was.
    pub fn start(meta: Meta, pool: Arc<Pool>, settings: UpkeepSettings, world: World) -> Result<Upkeep, MetaError> {
        Upkeep::start_with(meta, pool, settings, LifecycleSettings::default(), world)
    }

    /// The same, with lifecycle settings other than the usual.
    pub fn start_with(
        meta: Meta,
        pool: Arc<Pool>,
        settings: UpkeepSettings,
        lifecycle_settings: LifecycleSettings,
        world: World,
    ) -> Result<Upkeep, MetaError> {
        let (messages, inbox) = crossbeam_channel::bounded(limits::UPKEEP_ROWS_MAX);
        let reader = meta.reader()?;
        let board = Arc::new(Board::load(&reader, pool.clone())?);
        let mut worker = Worker {
            budget: Budget::new(settings.bytes_per_second, world.clock.clone()),
            reclaim: Reclaim::default(),
            lifecycle: Lifecycle::default(),
            lifecycle_settings,
            rolls: Rolls::default(),
            clock_saved_ns: world.clock.monotonic_ns(),
            walk: Walk::resume(&reader, &pool)?,
            wanted: Vec::new(),
            retry_rebuild_ns: 0,
            retry_join_ns: 0,
            heal_after: 0,
            ticked_ns: None,
            stopping: false,
            board: board.clone(),
            meta,
            reader,
            pool,
            settings,
            world,
            inbox,
        };
        let thread = std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| MetaError::Unavailable(error.to_string()))?;
        Ok(Upkeep { messages, board, thread: Mutex::new(Some(thread)) })
    }

    pub fn status(&self) -> HealStatus {
        self.board.status()
    }

    /// Asks for work; it is done as soon as what is under way lets it. `false` when the thread has stopped, or more
    /// than enough has been asked for already.
    pub fn request(&self, request: UpkeepRequest) -> bool {
        self.messages.try_send(Message::Request(request)).is_ok()
    }

    /// Asks for a heal on the operator's word that the empty folders at these places are new drives.
    pub fn replace(&self, places: Vec<String>) -> bool {
        self.messages.try_send(Message::Replace(places)).is_ok()
    }

    /// Stops after the stripe at hand, with the progress kept.
    pub fn stop(&self) {
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            _ = self.messages.send(Message::Stop);
            if thread.join().is_err() {
                tracing::error!("the upkeep thread panicked");
            }
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's state. Each kind of work has a file of its own.
struct Worker {
    meta: Meta,
    reader: Reader,
    pool: Arc<Pool>,
    settings: UpkeepSettings,
    world: World,
    inbox: Receiver<Message>,
    board: Arc<Board>,
    budget: Budget,
    reclaim: Reclaim,
    lifecycle: Lifecycle,
    lifecycle_settings: LifecycleSettings,
    rolls: Rolls,
    clock_saved_ns: u64,
    /// The walk under way.
    walk: Option<Walk>,
    /// Walks that were asked for.
    wanted: Vec<WalkKind>,
    retry_rebuild_ns: u64,
    /// A copy of the metadata that could not be caught up is tried again then.
    retry_join_ns: u64,
    /// Heal tasks up to this row were looked at in this round.
    heal_after: i64,
    ticked_ns: Option<u64>,
    stopping: bool,
}

impl Worker {
    fn run(&mut self) {
        while !self.stopping {
            if let Err(error) = self.turn() {
                tracing::error!(%error, "upkeep cannot go on; it tries again");
                self.rest(limits::UPKEEP_TICK);
            }
        }
        if let Some(walk) = &self.walk
            && let Err(error) = walk.save(&self.meta)
        {
            tracing::warn!(%error, "the progress of a walk could not be stored; a part of it is repeated");
        }
    }

    /// One round: what is due, then a part of the walk, or rest.
    fn turn(&mut self) -> Result<(), MetaError> {
        self.pool.check_drives();
        self.tend_copies();
        // What these delete may be refused for want of space: reclaim must not wait for them.
        if let Err(error) = self.tend_clock().and_then(|()| self.roll()).and_then(|()| self.expire()) {
            tracing::warn!(%error, "rules could not be carried out; upkeep tries again");
        }
        self.reclaim_garbage()?;
        self.work_off_heals()?;
        self.ticked_ns = Some(self.world.clock.monotonic_ns());
        if self.walk.is_none() {
            let (now_ms, returns) = (self.world.clock.unix_ms(), self.pool.returns());
            let slots = self.pool.rebuilding() & self.pool.healthy();
            self.walk = self.next_walk()?.map(|kind| Walk::begin(kind, now_ms, slots, returns));
        }
        self.board.show(self.walk.as_ref(), self.reader.heal_count()?);
        match self.walk.take() {
            Some(walk) => self.go_on(walk)?,
            None => self.rest(limits::UPKEEP_TICK),
        }
        Ok(())
    }

    /// The retention clock looks at the wall clock, and is stored now and then.
    fn tend_clock(&mut self) -> Result<(), MetaError> {
        self.meta.look_at_clock();
        let now_ns = self.world.clock.monotonic_ns();
        if now_ns.saturating_sub(self.clock_saved_ns) >= limits::RETENTION_SAVE_INTERVAL.as_nanos() as u64 {
            self.clock_saved_ns = now_ns;
            pollster::block_on(self.meta.save_retention_clock())?;
        }
        Ok(())
    }

    /// What to walk for next: rebuild first, then what was asked for, then what is due.
    fn next_walk(&mut self) -> Result<Option<WalkKind>, MetaError> {
        let rebuilding = self.pool.rebuilding() & self.pool.healthy();
        if rebuilding != 0 && self.world.clock.monotonic_ns() >= self.retry_rebuild_ns {
            return Ok(Some(WalkKind::Rebuild));
        }
        if !self.wanted.is_empty() {
            return Ok(Some(self.wanted.remove(0)));
        }
        if self.board.census().is_none() {
            return Ok(Some(WalkKind::Census));
        }
        Ok(self.scrub_is_due()?.then_some(WalkKind::Scrub))
    }

    fn scrub_is_due(&self) -> Result<bool, MetaError> {
        if self.settings.scrub_interval_s == 0 {
            return Ok(false);
        }
        let stored = self.reader.property(walk::SCRUBBED_PROPERTY)?.and_then(|text| text.parse::<i64>().ok());
        let now_ms = self.world.clock.unix_ms();
        let Some(last_ms) = stored else {
            // The first interval begins with the pool.
            pollster::block_on(self.meta.set_property(walk::SCRUBBED_PROPERTY.to_owned(), Some(now_ms.to_string())))?;
            return Ok(false);
        };
        let interval_ms = i64::try_from(self.settings.scrub_interval_s).unwrap_or(i64::MAX).saturating_mul(1000);
        Ok(now_ms.saturating_sub(last_ms) >= interval_ms)
    }

    /// Asks for a walk, once.
    fn want(&mut self, kind: WalkKind) {
        if !self.wanted.contains(&kind) {
            self.wanted.push(kind);
        }
    }

    /// Waits for the time, or for a message.
    fn rest(&mut self, time: std::time::Duration) {
        match self.inbox.recv_timeout(time) {
            Ok(message) => self.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
        self.take_messages();
    }

    fn take_messages(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Stop => self.stopping = true,
            Message::Request(UpkeepRequest::Scrub) => self.want(WalkKind::Scrub),
            Message::Request(UpkeepRequest::Census) => self.want(WalkKind::Census),
            Message::Request(UpkeepRequest::Heal) => self.heal_now(&[]),
            Message::Replace(places) => self.heal_now(&places),
        }
    }

    /// Pays for bytes that were read or written, and takes messages meanwhile.
    fn pay(&mut self, bytes: u64) {
        let wait = self.budget.pay(bytes);
        if wait.is_zero() { self.take_messages() } else { self.rest(wait) }
    }

    /// Whether it is time for the short tasks again.
    fn tick_is_due(&self) -> bool {
        let now_ns = self.world.clock.monotonic_ns();
        self.ticked_ns.is_none_or(|then| now_ns.saturating_sub(then) >= limits::UPKEEP_TICK.as_nanos() as u64)
    }
}
