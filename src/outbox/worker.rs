//! A hook thread: takes one invocation after the other, runs it, and hands the outcome to the outbox thread.
//!
//! It writes nothing itself, so that the outcomes of all hook threads share transactions. A panic of the runner is an
//! attempt that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::budget::Budget;
use super::dispatch::{record_json, region};
use super::schedule::{LaneId, Schedule, Turn};
use super::{EngineFactory, OutboxSettings};
use crate::engine::Engine;
use crate::hook::{HookFault, HookRunner, Invocation, Outcome};
use crate::limits;
use crate::meta::{InvocationState, StoredInvocation};
use crate::seam::World;

/// The schedule, shared by the threads.
#[derive(Debug)]
pub struct Line {
    inside: Mutex<Inside>,
    changed: Condvar,
    world: World,
    budget: Budget,
}

#[derive(Debug, Default)]
struct Inside {
    schedule: Schedule,
    closed: bool,
}

impl Line {
    pub fn new(world: World, budget: Budget) -> Line {
        Line { inside: Mutex::default(), changed: Condvar::new(), world, budget }
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Changes the schedule, at the present monotonic time, and wakes the hook threads.
    pub fn change<T>(&self, change: impl FnOnce(&mut Schedule, u64) -> T) -> T {
        let mut inside = self.lock();
        let result = change(&mut inside.schedule, self.world.clock.monotonic_ns());
        drop(inside);
        self.changed.notify_all();
        result
    }

    pub fn len(&self) -> usize {
        self.lock().schedule.len()
    }

    /// No further turns are given.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for a turn; `None` once closed.
    fn take(&self) -> Option<Turn> {
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return None;
            }
            let now_ns = self.world.clock.monotonic_ns();
            let free_ns = self.budget.free_ns(now_ns);
            if free_ns > now_ns && inside.schedule.is_due(now_ns) {
                let wait = Duration::from_nanos(free_ns - now_ns).min(limits::OUTBOX_IDLE);
                inside = self.changed.wait_timeout(inside, wait).unwrap_or_else(PoisonError::into_inner).0;
                self.budget.note_wait(self.world.clock.monotonic_ns().saturating_sub(now_ns));
                continue;
            }
            if let Some(turn) = inside.schedule.take(now_ns) {
                return Some(turn);
            }
            let due = inside.schedule.next_due_ns().map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)));
            // Never longer than the idle time: the clock may be another one than the condition's.
            let wait = due.unwrap_or(limits::OUTBOX_IDLE).min(limits::OUTBOX_IDLE);
            inside = self.changed.wait_timeout(inside, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a turn.
#[derive(Debug)]
pub struct Finished {
    pub lane: LaneId,
    pub id: i64,
    pub attempt: Attempt,
}

#[derive(Debug)]
pub enum Attempt {
    Ran(Box<StoredInvocation>, Result<Outcome, HookFault>),
    /// The row is gone; somebody forgot it.
    Gone,
    /// Its time to live is over.
    Expired,
    /// Its hook has begun too often; no attempt of it.
    Later(Duration),
    /// The metadata could not be read: no attempt of the hook's.
    Unread(String),
}

pub struct Worker {
    pub line: Arc<Line>,
    pub engines: EngineFactory,
    pub runner: Arc<dyn HookRunner>,
    pub settings: Arc<OutboxSettings>,
    pub finished: Sender<Finished>,
}

impl Worker {
    /// Runs until the line is closed.
    pub fn run(self) {
        let mut engine: Option<Rc<Engine>> = None;
        while let Some(turn) = self.line.take() {
            let (lane, id) = (turn.lane, turn.id);
            let start_ns = self.line.world.clock.monotonic_ns();
            let attempt = self.attempt(&mut engine, turn);
            let now_ns = self.line.world.clock.monotonic_ns();
            let took_ns = now_ns.saturating_sub(start_ns);
            self.line.budget.spend(took_ns, now_ns);
            self.line.lock().schedule.charge(lane, took_ns);
            // The outbox thread outlives the hook threads; it is gone only when it panicked.
            if self.finished.send(Finished { lane, id, attempt }).is_err() {
                return;
            }
        }
    }

    fn attempt(&self, lent: &mut Option<Rc<Engine>>, turn: Turn) -> Attempt {
        let engine = match lent {
            Some(engine) => Rc::clone(engine),
            None => match (self.engines)() {
                Ok(made) => Rc::clone(lent.insert(Rc::new(made))),
                Err(error) => return Attempt::Unread(error.to_string()),
            },
        };
        let row = match turn.row {
            Some(row) => row,
            None => match engine.reader().invocations(InvocationState::Pending, turn.id - 1, 1) {
                Ok(rows) => match rows.into_iter().find(|row| row.id == turn.id) {
                    Some(row) => Box::new(row),
                    None => return Attempt::Gone,
                },
                Err(error) => return Attempt::Unread(error.to_string()),
            },
        };
        if row.expires_ms.is_some_and(|at| at <= engine.world().clock.unix_ms()) {
            return Attempt::Expired;
        }
        if let Some(wait) = self.runner.wait(&engine, &row.hook) {
            return Attempt::Later(wait);
        }
        let run = AssertUnwindSafe(|| self.invoke(&engine, &row));
        let result = catch_unwind(run).unwrap_or_else(|_| {
            // What the panic left behind in the engine is not trusted.
            *lent = None;
            Err(HookFault::Trap("the hook runner panicked; see the log".to_owned()))
        });
        Attempt::Ran(row, result)
    }

    fn invoke(&self, engine: &Rc<Engine>, row: &StoredInvocation) -> Result<Outcome, HookFault> {
        let change = &row.change;
        let region =
            region(engine.reader(), &change.bucket_name).map_err(|error| HookFault::Object(error.to_string()))?;
        let invocation = Invocation {
            event_id: row.event_id.clone(),
            hook: row.hook.clone(),
            change: change.clone(),
            record_json: record_json(change, &row.rule, &region, &self.settings.device),
            attempt: row.attempts + 1,
        };
        self.runner.run(engine, &invocation)
    }
}
