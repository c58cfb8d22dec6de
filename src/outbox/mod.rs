//! The outbox: from each acknowledged change to what hooks make of it and to the broker's acknowledgement.
//!
//! It reads the change log that uploads write in their own transaction, so nothing that was acknowledged can be missed,
//! and it keeps every step in the metadata, so that after a crash everything pending goes on. It promises:
//! at least once, with an event id that is the same each time; in order for each hook and key; and that a hook that
//! fails, or a broker that is away, holds back neither uploads nor other keys.
//!
//! Threads: `outbox` (the only writer of invocations and publications), `hook-N` (run hooks), `mqtt` (publishes).
//! Architecture invariant: uploads know nothing of this layer; it learns of them from the change log alone.

mod budget;
mod dispatch;
mod overflow;
mod passed;
mod pump;
mod replay;
mod schedule;
mod settings;
mod source;
mod worker;

#[cfg(test)]
mod tests;

pub use budget::{Budget, BudgetMetrics, BudgetSettings};
pub use replay::{Replay, ReplayRequest, replay_event_id};
pub use settings::{OutboxSettings, Route, RouteChange};
pub use source::KeptPublications;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::engine::{Engine, EngineError};
use crate::hook::HookRunner;
use crate::limits;
use crate::meta::{Backlog, InvocationState, Meta, MetaError, OutboxStats, Sequence, StoredInvocation};
use crate::mqtt::{LatencySnapshot, Ledger, MqttError, Publisher, PublisherSettings, PublisherStats};
use crate::seam::{self, Thermometer, World};

use dispatch::Dispatch;
use passed::Passed;
use pump::{Command, Counters, Pump};
use replay::Replays;
use source::Publications;
use worker::{Line, Worker};

/// Makes the engine of a hook thread, on that thread.
pub type EngineFactory = Arc<dyn Fn() -> Result<Engine, EngineError> + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    #[error("outbox setting {key}: {reason}")]
    Setting { key: String, reason: String },
    #[error("{limit} replays are under way; wait for one to end, or cancel one")]
    TooManyReplays { limit: usize },
    #[error("the outbox does not answer; look at the log for what holds it up")]
    NoAnswer,
    #[error("a thread of the outbox could not be started: {0}")]
    Thread(String),
}

/// What an outbox is built from.
pub struct OutboxParts {
    pub meta: Meta,
    pub engines: EngineFactory,
    pub runner: Arc<dyn HookRunner>,
    pub world: World,
    pub settings: OutboxSettings,
    /// How much of the machine hooks may take.
    pub budget: BudgetSettings,
    pub thermometer: Arc<dyn Thermometer>,
    /// `None`: publications wait.
    pub publisher: Option<PublisherSettings>,
    /// Of the built-in broker, where it is the one to publish to.
    pub ledger: Option<Arc<Ledger>>,
    /// Hooks, and the inference that they start, run behind the threads that serve requests.
    pub background: bool,
}

/// How the outbox stands.
#[derive(Debug, Clone)]
pub struct OutboxMetrics {
    pub stored: OutboxStats,
    /// Milliseconds since the oldest change that is not done yet; `None` when all are.
    pub oldest_ms: Option<i64>,
    /// Since the start of the process.
    pub invocations_done: u64,
    pub attempts_failed: u64,
    pub invocations_dead: u64,
    /// From the commit of a version to the commit of what a hook made of it.
    pub invocation_latency: LatencySnapshot,
    pub budget: BudgetMetrics,
    pub publisher: Option<PublisherStats>,
    /// From the read of a publication to its acknowledgement.
    pub publication_latency: Option<LatencySnapshot>,
}

/// A running outbox.
pub struct Outbox {
    meta: Meta,
    world: World,
    commands: Sender<Command>,
    counters: Arc<Counters>,
    line: Arc<Line>,
    stopping: Arc<AtomicBool>,
    publisher: Option<Publisher>,
    /// Never carries anything: it disconnects when the last thread has ended.
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Outbox {
    /// Starts all threads; what was pending goes on at once.
    pub fn start(parts: OutboxParts) -> Result<Outbox, OutboxError> {
        let OutboxParts { meta, engines, runner, world, settings, budget, thermometer, publisher, ledger, background } =
            parts;
        settings.check()?;
        budget.check("hooks.cpu_share")?;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let budget = Budget::new(budget, processors, thermometer);
        let settings = Arc::new(settings);
        let publisher = match publisher {
            Some(publisher) => {
                let source = Publications { meta: meta.clone(), reader: meta.reader()? };
                Some(Publisher::start(publisher, &settings.device, Box::new(source), ledger, world.clone())?)
            }
            None => None,
        };
        let (wake_sender, wake) = bounded(1);
        let (command_sender, commands) = bounded(16);
        let (finished_sender, finished) = bounded(limits::OUTBOX_BATCH_MAX);
        let (end, ended) = bounded::<()>(0);
        let line = Arc::new(Line::new(world.clone(), budget));
        let counters = Arc::new(Counters::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let reader = meta.reader()?;
        let pump = Pump {
            replays: Replays::load(&reader)?,
            reader,
            meta: meta.clone(),
            world: world.clone(),
            dispatch: Dispatch::new(Arc::clone(&settings)),
            settings: Arc::clone(&settings),
            line: Arc::clone(&line),
            finished,
            wake,
            commands,
            on_publication: publisher.as_ref().map_or_else(|| Arc::new(|| {}) as _, Publisher::waker),
            counters: Arc::clone(&counters),
            stopping: Arc::clone(&stopping),
            cursor: 0,
            more: true,
            let_go_ns: 0,
            passed: Passed::default(),
        };
        // A full channel says that the outbox will look anyway.
        meta.listen(Arc::new(move || _ = wake_sender.try_send(())));
        let mut outbox = Outbox {
            meta,
            world,
            commands: command_sender,
            counters,
            line: Arc::clone(&line),
            stopping,
            publisher,
            ended,
            threads: Vec::new(),
        };
        for number in 0..settings.hook_threads {
            let worker = Worker {
                line: Arc::clone(&line),
                engines: Arc::clone(&engines),
                runner: Arc::clone(&runner),
                settings: Arc::clone(&settings),
                finished: finished_sender.clone(),
            };
            outbox.spawn(&format!("hook-{number}"), end.clone(), move || {
                if background {
                    seam::thread::compute_in_background();
                }
                worker.run();
            })?;
        }
        drop(finished_sender);
        outbox.spawn("outbox", end, move || pump.run())?;
        Ok(outbox)
    }

    fn spawn(&mut self, name: &str, end: Sender<()>, run: impl FnOnce() + Send + 'static) -> Result<(), OutboxError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(limits::HOOK_THREAD_STACK_BYTES);
        let thread = thread.spawn(move || {
            let _end = end;
            run();
        });
        self.threads.push(thread.map_err(|error| OutboxError::Thread(error.to_string()))?);
        Ok(())
    }

    /// Invocations that were given up, oldest first, from after an id.
    pub fn dead(&self, after: i64, limit: usize) -> Result<Vec<StoredInvocation>, OutboxError> {
        Ok(self.meta.reader()?.invocations(InvocationState::Dead, after, limit)?)
    }

    /// What waits and what is dead of each hook that has any.
    pub fn backlogs(&self) -> Result<BTreeMap<String, Backlog>, OutboxError> {
        Ok(self.meta.reader()?.backlogs()?)
    }

    /// Attempts dead invocations anew, at once.
    pub fn revive(&self, ids: Vec<i64>) -> Result<(), OutboxError> {
        self.ask(|answer| Command::Revive(ids, answer))?
    }

    /// Removes invocations for good.
    pub fn forget(&self, ids: Vec<i64>) -> Result<(), OutboxError> {
        self.ask(|answer| Command::Forget(ids, answer))?
    }

    /// Lets a hook look at objects that are there already; gives the replay's id. Live events go first.
    pub fn replay(&self, request: ReplayRequest) -> Result<u64, OutboxError> {
        self.ask(|answer| Command::Replay(request, answer))?
    }

    /// Queues nothing more for a replay; what it has queued runs.
    pub fn cancel_replay(&self, id: u64) -> Result<(), OutboxError> {
        self.ask(|answer| Command::CancelReplay(id, answer))?
    }

    /// Replays that have not queued everything yet.
    pub fn replays(&self) -> Result<Vec<Replay>, OutboxError> {
        self.ask(Command::Replays)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, OutboxError> {
        let (sender, answer) = bounded(1);
        let timeout = limits::OUTBOX_COMMAND_TIMEOUT;
        self.commands.send_timeout(command(sender), timeout).map_err(|_| OutboxError::NoAnswer)?;
        answer.recv_timeout(timeout).map_err(|_| OutboxError::NoAnswer)
    }

    pub fn metrics(&self) -> Result<OutboxMetrics, OutboxError> {
        let reader = self.meta.reader()?;
        let change = reader.changes(Sequence(0), 1)?.first().map(|change| change.time_ms);
        let invocation = reader.invocations(InvocationState::Pending, 0, 1)?.first().map(|row| row.change.time_ms);
        let now_ms = self.world.clock.unix_ms();
        let oldest = [change, invocation].into_iter().flatten().min();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Ok(OutboxMetrics {
            stored: reader.outbox_stats()?,
            oldest_ms: oldest.map(|time_ms| now_ms.saturating_sub(time_ms).max(0)),
            invocations_done: count(&self.counters.invocations_done),
            attempts_failed: count(&self.counters.attempts_failed),
            invocations_dead: count(&self.counters.invocations_dead),
            invocation_latency: self.counters.latency.snapshot(),
            budget: self.line.budget().metrics(),
            publisher: self.publisher.as_ref().map(Publisher::stats),
            publication_latency: self.publisher.as_ref().map(|publisher| publisher.latency().snapshot()),
        })
    }

    /// Finishes what runs, stores its outcome and ends all threads, within `OUTBOX_STOP_GRACE` and the publisher's.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.line.close();
        // Nothing is ever sent: this waits for the disconnection.
        let waited = self.ended.recv_timeout(limits::OUTBOX_STOP_GRACE);
        if waited == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tracing::warn!("a hook does not end; its invocation is done again after the next start");
        }
        for thread in self.threads.drain(..) {
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("a thread of the outbox had panicked; what it held is done again after the next start");
            }
        }
        if let Some(publisher) = self.publisher.take() {
            publisher.stop();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if !self.threads.is_empty() || self.publisher.is_some() {
            self.end();
        }
    }
}
