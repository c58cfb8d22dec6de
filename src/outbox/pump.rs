//! The outbox thread: changes become invocations and publications, outcomes become publications.
//!
//! Everything that came together since the last transaction goes into the next one: changes, outcomes, retries. A lane
//! is released only once its outcome is durable, so the publications of a key stand in the order of its changes.
//! Nothing is forgotten when a transaction fails: the same one is tried again. Changes that ask for nothing wait a moment
//! for company before they are taken off the log: uploads share the metadata's writer with these transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};

use super::dispatch::Dispatch;
use super::overflow;
use super::passed::Passed;
use super::replay::{Replay, ReplayRequest, Replays};
use super::schedule::LaneId;
use super::worker::{Attempt, Finished, Line};
use super::{OutboxError, OutboxSettings};
use crate::hook::{HookFault, Outcome};
use crate::limits;
use crate::meta::{InvocationState, Meta, MetaError, NewPublication, OutboxUpdate, Reader, StoredInvocation};
use crate::mqtt::{LatencyHistogram, TopicFields};
use crate::seam::World;

/// What an operator asks for; each is answered once it is durable.
pub enum Command {
    Revive(Vec<i64>, Sender<Result<(), OutboxError>>),
    Forget(Vec<i64>, Sender<Result<(), OutboxError>>),
    Replay(ReplayRequest, Sender<Result<u64, OutboxError>>),
    CancelReplay(u64, Sender<Result<(), OutboxError>>),
    Replays(Sender<Vec<Replay>>),
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub invocations_done: AtomicU64,
    pub attempts_failed: AtomicU64,
    pub invocations_dead: AtomicU64,
    /// From the commit of a version to the commit of what a hook made of it.
    pub latency: LatencyHistogram,
}

pub struct Pump {
    pub meta: Meta,
    pub reader: Reader,
    pub world: World,
    pub settings: Arc<OutboxSettings>,
    pub dispatch: Dispatch,
    pub replays: Replays,
    pub line: Arc<Line>,
    pub finished: Receiver<Finished>,
    pub wake: Receiver<()>,
    pub commands: Receiver<Command>,
    /// Called when publications were added.
    pub on_publication: Arc<dyn Fn() + Send + Sync>,
    pub counters: Arc<Counters>,
    pub stopping: Arc<AtomicBool>,
    /// The last invocation that the schedule has seen, and whether more may follow it.
    pub cursor: i64,
    pub more: bool,
    pub passed: Passed,
    /// When to look next for what dead invocations keep too long, in monotonic nanoseconds.
    pub let_go_ns: u64,
}

/// What goes into one transaction, and what follows from it.
#[derive(Default)]
struct Batch {
    update: OutboxUpdate,
    /// Lanes to be released: with a wait, where the head runs again.
    released: Vec<(LaneId, Option<Duration>)>,
    /// Times of the changes whose invocations are done.
    done_ms: Vec<i64>,
    payload_bytes: usize,
}

impl Pump {
    /// Runs until all hook threads have ended and their outcomes are stored.
    pub fn run(mut self) {
        let mut wait = Duration::ZERO;
        loop {
            let mut batch = Batch::default();
            if !self.wait(wait, &mut batch) {
                return;
            }
            self.collect(&mut batch);
            wait = match self.step(batch) {
                Ok(true) => Duration::ZERO,
                Ok(false) => self.passed.wait(self.world.clock.monotonic_ns()),
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot go on yet");
                    limits::OUTBOX_COMMIT_RETRY
                }
            };
        }
    }

    /// Waits for work; `false` when the hook threads have ended.
    fn wait(&mut self, wait: Duration, batch: &mut Batch) -> bool {
        select! {
            recv(self.finished) -> finished => match finished {
                Ok(finished) => self.take(finished, batch),
                Err(_) => return false,
            },
            recv(self.wake) -> _ => {}
            recv(self.commands) -> command => match command {
                Ok(command) => self.obey(command),
                // The facade is gone, and with it the hook threads in a moment.
                Err(_) => std::thread::park_timeout(limits::OUTBOX_COMMIT_RETRY),
            },
            default(wait) => {}
        }
        true
    }

    /// Takes the outcomes that have come meanwhile.
    fn collect(&mut self, batch: &mut Batch) {
        while batch.released.len() < limits::OUTBOX_BATCH_MAX && batch.payload_bytes < limits::OUTBOX_BATCH_BYTES_MAX {
            let Ok(finished) = self.finished.try_recv() else { return };
            self.take(finished, batch);
        }
    }

    fn take(&mut self, finished: Finished, batch: &mut Batch) {
        let wait = match finished.attempt {
            Attempt::Ran(row, Ok(outcome)) => {
                batch.update.finished.push(row.id);
                batch.done_ms.push(row.change.time_ms);
                batch.update.properties.extend(outcome.properties(&row.hook));
                self.publish(&row, outcome, batch);
                None
            }
            Attempt::Ran(row, Err(fault)) => self.fail(&row, &fault, batch),
            Attempt::Gone => None,
            Attempt::Expired => {
                batch.update.expired.push(finished.id);
                None
            }
            Attempt::Later(wait) => Some(wait),
            Attempt::Unread(error) => {
                tracing::warn!(id = finished.id, error, "an invocation cannot be read; it waits");
                Some(limits::OUTBOX_COMMIT_RETRY)
            }
        };
        batch.released.push((finished.lane, wait));
    }

    /// Adds what a hook made to the publications.
    fn publish(&self, row: &StoredInvocation, outcome: Outcome, batch: &mut Batch) {
        let route = self.settings.route_of_hook(&row.hook, &row.rule);
        let fields = TopicFields {
            device: &self.settings.device,
            bucket: &row.change.bucket_name,
            key: &row.change.key,
            hook: &row.hook,
        };
        let expires_ms = route.expires_ms(self.world.clock.unix_ms());
        let properties = outcome.provenance.properties(&row.hook);
        for (index, result) in outcome.results.into_iter().enumerate() {
            let named = result.topic.as_deref();
            let topic = route.topic_for(named, fields).or_else(|error| {
                if named.is_some() {
                    tracing::warn!(hook = row.hook, %error, "a result goes to the hook's default topic");
                }
                route.topic_for(None, fields)
            });
            let topic = match topic {
                Ok(topic) => topic,
                Err(error) => {
                    tracing::error!(hook = row.hook, event_id = row.event_id, %error, "a result has no topic and is lost");
                    continue;
                }
            };
            batch.payload_bytes += result.payload.len();
            batch.update.publications.push(NewPublication {
                // Several results of one invocation are several messages to whoever drops duplicates.
                event_id: if index == 0 { row.event_id.clone() } else { format!("{}.{index}", row.event_id) },
                topic,
                payload: result.payload,
                qos: route.qos,
                retain: route.retain,
                priority: route.priority,
                expires_ms,
                properties: properties.clone(),
            });
        }
    }

    /// Notes a failed attempt; gives the wait before the next one, if there is one.
    fn fail(&self, row: &StoredInvocation, fault: &HookFault, batch: &mut Batch) -> Option<Duration> {
        self.counters.attempts_failed.fetch_add(1, Ordering::Relaxed);
        let attempts = row.attempts.saturating_add(1);
        let mut error = fault.to_string();
        error.truncate(error.floor_char_boundary(limits::INVOCATION_ERROR_BYTES_MAX));
        if !fault.retry() || attempts >= self.settings.attempts_max {
            self.counters.invocations_dead.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                hook = row.hook,
                event_id = row.event_id,
                attempts,
                error,
                "an invocation is dead; see the dead list"
            );
            batch.update.dead.push((row.id, attempts, error));
            return None;
        }
        let wait_ms = self.retry_ms(attempts);
        let next_ms = self.world.clock.unix_ms().saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        tracing::warn!(hook = row.hook, event_id = row.event_id, attempts, wait_ms, error, "an attempt failed");
        batch.update.retried.push((row.id, attempts, next_ms, error));
        Some(Duration::from_millis(wait_ms))
    }

    /// Doubled each time; half of it is left to chance, so that what failed together does not come back together.
    fn retry_ms(&self, attempts: u32) -> u64 {
        let doubled = self.settings.retry_ms_min.saturating_mul(1 << (attempts - 1).min(32));
        let base = doubled.min(self.settings.retry_ms_max);
        let mut random = [0; 8];
        self.world.entropy.fill(&mut random);
        base - base / 2 + u64::from_le_bytes(random) % (base / 2 + 1)
    }

    /// Adds the changes to the batch, stores it and does what follows. Gives whether more is to be done at once.
    fn step(&mut self, mut batch: Batch) -> Result<bool, MetaError> {
        let stopping = self.stopping.load(Ordering::Acquire);
        let mut dispatched = Ok(0);
        if !stopping {
            dispatched = self.add_changes(&mut batch);
        }
        if batch.update != OutboxUpdate::default() || self.passed.is_due(self.world.clock.monotonic_ns()) {
            batch.update.consumed = self.passed.take();
        }
        self.commit(&batch.update)?;
        self.release(&batch);
        self.more |= !batch.update.invocations.is_empty();
        let now_ns = self.world.clock.monotonic_ns();
        if now_ns >= self.let_go_ns {
            self.let_go()?;
            self.let_go_ns = now_ns.saturating_add(nanoseconds(limits::OUTBOX_IDLE));
        }
        if !batch.update.publications.is_empty() {
            (self.on_publication)();
            self.relieve()?;
        }
        if stopping {
            return Ok(false);
        }
        let replayed = self.replays.step(&self.meta, &self.reader)?;
        self.more |= replayed;
        self.load()?;
        Ok(dispatched? == limits::OUTBOX_BATCH_MAX || replayed)
    }

    /// Where the changes cannot be read, the outcomes in the batch are stored all the same.
    fn add_changes(&mut self, batch: &mut Batch) -> Result<usize, MetaError> {
        let changes = self.reader.changes(self.passed.seen(), limits::OUTBOX_BATCH_MAX)?;
        let count = changes.len();
        let mut update = OutboxUpdate::default();
        self.dispatch.apply(&self.reader, changes, self.world.clock.unix_ms(), &mut update)?;
        self.passed.add(update.consumed, self.world.clock.monotonic_ns());
        batch.update.invocations = update.invocations;
        batch.update.publications.extend(update.publications);
        Ok(count)
    }

    /// Tries until it is durable. Only a stop gives up; what was not stored is done again after the next start.
    fn commit(&self, update: &OutboxUpdate) -> Result<(), MetaError> {
        if *update == OutboxUpdate::default() {
            return Ok(());
        }
        loop {
            match pollster::block_on(self.meta.update_outbox(update.clone())) {
                Ok(()) => return Ok(()),
                Err(error) if self.stopping.load(Ordering::Acquire) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be written; trying again");
                    std::thread::park_timeout(limits::OUTBOX_COMMIT_RETRY);
                }
            }
        }
    }

    fn release(&self, batch: &Batch) {
        let now_ms = self.world.clock.unix_ms();
        for time_ms in &batch.done_ms {
            self.counters.invocations_done.fetch_add(1, Ordering::Relaxed);
            let ms = u64::try_from(now_ms - time_ms).unwrap_or(0);
            self.counters.latency.record_us(ms.saturating_mul(1000));
        }
        if batch.released.is_empty() {
            return;
        }
        self.line.change(|schedule, now_ns| {
            for (lane, wait) in &batch.released {
                match wait {
                    None => schedule.done(*lane, now_ns),
                    Some(wait) => schedule.again(*lane, now_ns.saturating_add(nanoseconds(*wait)), now_ns),
                }
            }
        });
    }

    /// Brings new invocations into the schedule, as far as it has room.
    fn load(&mut self) -> Result<(), MetaError> {
        while self.more && self.line.len() < self.settings.invocations_indexed_max {
            let rows = self.reader.invocations(InvocationState::Pending, self.cursor, limits::OUTBOX_BATCH_MAX)?;
            self.more = rows.len() == limits::OUTBOX_BATCH_MAX;
            let Some(last) = rows.last() else { return Ok(()) };
            self.cursor = last.id;
            self.line_up(rows);
        }
        Ok(())
    }

    fn line_up(&self, rows: Vec<StoredInvocation>) {
        let now_ms = self.world.clock.unix_ms();
        self.line.change(|schedule, now_ns| {
            for row in rows {
                // The wall clock may have jumped since the time was noted: no wait is longer than the longest.
                let left_ms = u64::try_from(row.next_ms.saturating_sub(now_ms)).unwrap_or(0);
                let wait = Duration::from_millis(left_ms.min(self.settings.retry_ms_max));
                schedule.add(row, now_ns.saturating_add(nanoseconds(wait)), now_ns);
            }
        });
    }

    fn relieve(&self) -> Result<(), MetaError> {
        let now_ms = self.world.clock.unix_ms();
        let dropped = overflow::relieve(&self.meta, &self.reader, self.settings.publication_bytes_max, now_ms)?;
        if dropped > 0 {
            tracing::warn!(dropped, "the outbox was full; messages of low priority are dropped and counted");
        }
        Ok(())
    }

    /// Ends dead invocations whose time is over, and gives up the oldest versions that only dead ones speak of where those
    /// take more than their bound.
    fn let_go(&self) -> Result<(), MetaError> {
        let stats = self.reader.outbox_stats()?;
        let mut update = OutboxUpdate::default();
        if stats.dead > 0 {
            update.expired = self.reader.expired_dead(self.world.clock.unix_ms(), limits::OUTBOX_BATCH_MAX)?;
        }
        if update.expired.is_empty() && stats.dead > 0 && stats.held_bytes > self.settings.held_bytes_max {
            update.given_up = overflow::beyond(&self.reader, stats.held_bytes - self.settings.held_bytes_max)?;
        }
        if !update.given_up.is_empty() {
            tracing::warn!(
                versions = update.given_up.len(),
                "dead invocations hold more than outbox.held_bytes_max; the oldest can no longer be revived with their object"
            );
        }
        self.commit(&update)
    }

    /// An answer that nobody waits for any longer is let go.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Revive(ids, answer) => _ = answer.send(self.revive(ids)),
            Command::Forget(ids, answer) => {
                let update = OutboxUpdate { finished: ids, ..OutboxUpdate::default() };
                _ = answer.send(pollster::block_on(self.meta.update_outbox(update)).map_err(OutboxError::from));
            }
            Command::Replay(request, answer) => {
                _ = answer.send(self.replays.add(&self.meta, &self.reader, request));
            }
            Command::CancelReplay(id, answer) => _ = answer.send(self.replays.cancel(&self.meta, id)),
            Command::Replays(answer) => _ = answer.send(self.replays.jobs().to_vec()),
        }
    }

    fn revive(&self, ids: Vec<i64>) -> Result<(), OutboxError> {
        let update = OutboxUpdate { revived: ids.clone(), ..OutboxUpdate::default() };
        pollster::block_on(self.meta.update_outbox(update))?;
        // What lies behind the cursor would not be found by it; what lies ahead of it will be.
        for id in ids.into_iter().filter(|id| *id <= self.cursor) {
            let mut rows = self.reader.invocations(InvocationState::Pending, id - 1, 1)?;
            rows.retain(|row| row.id == id);
            self.line_up(rows);
        }
        Ok(())
    }
}

fn nanoseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}
