//! The writer thread: many mutations, one transaction, one sync round.
//!
//! Each mutation runs in a savepoint of its own, so that one that fails leaves nothing and disturbs no other. A result
//! is delivered only after the COMMIT of its group is durable.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use futures_channel::oneshot;
use rusqlite::Connection;

use super::checkpoint::Checkpointer;
use super::feed::Feed;
use super::open::Database;
use super::outbox::{Counts, Tally};
use super::retention::RetentionClock;
use super::usage::{UsageDelta, UsageDeltas};
use super::{Bucket, BucketId, Change, MetaError, Sequence};
use crate::limits;
use crate::pool::Extent;

/// The transaction of a group, as one mutation sees it. Runs on the writer thread.
pub(super) struct Group<'a> {
    connection: &'a Connection,
    sequence: Cell<u64>,
    /// Bytes that this mutation adds to (or takes from) segments.
    live: RefCell<Vec<(u32, i64)>>,
    buckets: RefCell<HashMap<BucketId, Bucket>>,
    /// Rows that this mutation adds to (or takes from) the counted tables.
    counts: Cell<Counts>,
    usage: RefCell<UsageDeltas>,
    retention: &'a RetentionClock,
    changed: Cell<bool>,
    feed: &'a Feed,
    /// Facts for those who listen, until they are committed.
    told: RefCell<Vec<Change>>,
    /// Some bucket's row or configuration changed.
    buckets_changed: Cell<bool>,
}

impl Group<'_> {
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    pub fn next_sequence(&self) -> Sequence {
        self.sequence.set(self.sequence.get() + 1);
        Sequence(self.sequence.get())
    }

    /// Notes that extents came to life (or ended, with `sign` -1).
    pub fn count_live(&self, extents: &[Extent], sign: i64) {
        let deltas = extents.iter().map(|extent| (extent.segment, extent.length as i64 * sign));
        self.live.borrow_mut().extend(deltas);
    }

    /// Notes that a counted table grew or shrank.
    pub fn count(&self, tally: Tally, delta: i64) {
        let mut counts = self.counts.get();
        counts.add(tally, delta);
        self.counts.set(counts);
    }

    /// Notes that a bucket holds more, or less.
    pub fn count_usage(&self, bucket: BucketId, bytes: i64, objects: i64) {
        self.usage.borrow_mut().add(bucket, UsageDelta { bytes, objects });
    }

    /// Looks at what the group changes in the buckets' usage.
    pub fn usage<T>(&self, look: impl FnOnce(&UsageDeltas) -> T) -> T {
        look(&self.usage.borrow())
    }

    /// The time by which retention is judged.
    pub fn retention_now_ms(&self) -> i64 {
        self.retention.now_ms()
    }

    /// From now on versions may be locked: the retention clock no longer follows the wall clock.
    pub fn guard_retention(&self) -> Result<(), MetaError> {
        super::save_mark(self.connection, &self.retention.guard())
    }

    /// A row was written to the outbox: its readers are to be woken after the commit.
    pub fn note_change(&self) {
        self.changed.set(true);
    }

    /// Whether somebody listens to the live feed.
    pub fn is_heard(&self) -> bool {
        self.feed.is_tapped()
    }

    /// For the live feed, after the commit.
    pub fn tell(&self, change: Change) {
        self.told.borrow_mut().push(change);
    }

    /// The bucket's row, remembered until a bucket changes.
    pub fn bucket(&self, id: BucketId) -> Result<Bucket, MetaError> {
        if let Some(bucket) = self.buckets.borrow().get(&id) {
            return Ok(bucket.clone());
        }
        let bucket = super::bucket::by_id(self.connection, id)?;
        self.buckets.borrow_mut().insert(id, bucket.clone());
        Ok(bucket)
    }

    /// To be called by whatever changes a bucket's row or configuration.
    pub fn forget_buckets(&self) {
        self.buckets.borrow_mut().clear();
        self.buckets_changed.set(true);
    }
}

trait Job: Send {
    fn run(&mut self, group: &Group<'_>) -> bool;
    fn deliver(self: Box<Self>, commit: &Result<(), MetaError>);
}

struct Mutation<T, F> {
    work: Option<F>,
    result: Option<Result<T, MetaError>>,
    reply: oneshot::Sender<Result<T, MetaError>>,
}

impl<T: Send, F: FnOnce(&Group<'_>) -> Result<T, MetaError> + Send> Job for Mutation<T, F> {
    /// `false` when its writes are to be undone.
    fn run(&mut self, group: &Group<'_>) -> bool {
        let work = self.work.take().expect("a job is run once");
        let result = work(group);
        let good = result.is_ok();
        self.result = Some(result);
        good
    }

    fn deliver(self: Box<Self>, commit: &Result<(), MetaError>) {
        let result = match (commit, self.result) {
            (Err(error), _) => Err(error.clone()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(MetaError::Unavailable("the change was not run".to_owned())),
        };
        // The asker may have gone; the commit stands all the same.
        _ = self.reply.send(result);
    }
}

enum Request {
    Run(Box<dyn Job>),
    /// Done while no transaction is open.
    Between(Box<dyn FnOnce() + Send>),
    Stop,
}

/// Called after commits that wrote to the outbox.
pub type Listener = Arc<dyn Fn() + Send + Sync>;

/// Sends mutations to the writer thread.
#[derive(Clone)]
pub(super) struct WriterHandle {
    queue: Sender<Request>,
    listeners: Arc<RwLock<Vec<Listener>>>,
    bucket_changes: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for WriterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterHandle").field("waiting", &self.queue.len()).finish_non_exhaustive()
    }
}

impl WriterHandle {
    pub fn start(
        connection: Connection,
        checkpointer: Checkpointer,
        database: Arc<Database>,
        feed: Arc<Feed>,
        retention: Arc<RetentionClock>,
    ) -> Result<WriterHandle, MetaError> {
        let (queue, requests) = crossbeam_channel::bounded(limits::META_QUEUE_MAX);
        let listeners = Arc::new(RwLock::new(Vec::new()));
        let sequence: i64 =
            connection.query_row("SELECT value FROM state WHERE name = 'sequence'", [], |row| row.get(0))?;
        let bucket_changes = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            connection,
            requests,
            listeners: listeners.clone(),
            bucket_changes: bucket_changes.clone(),
            checkpointer,
            feed,
            sequence: sequence as u64,
            retention,
            _database: database,
        };
        let thread = std::thread::Builder::new()
            .name("meta-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| MetaError::Unavailable(error.to_string()))?;
        Ok(WriterHandle { queue, listeners, bucket_changes, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Group<'_>) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let (reply, answer) = oneshot::channel();
        let job = Mutation { work: Some(work), result: None, reply };
        match self.queue.try_send(Request::Run(Box::new(job))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(MetaError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(stopped()),
        }
        answer.await.map_err(|_| stopped())?
    }

    pub fn bucket_changes(&self) -> u64 {
        self.bucket_changes.load(Ordering::Acquire)
    }

    pub fn listen(&self, listener: Listener) {
        self.listeners.write().expect("no holder of this lock panics").push(listener);
    }

    /// Does something on the writer's thread while no transaction is open; what it gives.
    pub fn between<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, MetaError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let work = Box::new(move || _ = reply.send(work()));
        match self.queue.try_send(Request::Between(work)) {
            Ok(()) => answer.recv().map_err(|_| stopped()),
            Err(TrySendError::Full(_)) => Err(MetaError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(stopped()),
        }
    }

    /// Finishes what is queued and ends the thread.
    pub fn stop(&self) {
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread {
            _ = self.queue.send(Request::Stop);
            if thread.join().is_err() {
                tracing::error!("the metadata writer panicked");
            }
        }
    }

    /// What `bucket_changes` looks at, for those that look often.
    pub fn count_of_bucket_changes(&self) -> Arc<AtomicU64> {
        self.bucket_changes.clone()
    }
}

fn stopped() -> MetaError {
    MetaError::Unavailable("the metadata writer has stopped".to_owned())
}

/// What a group that is durable has done.
#[derive(Default)]
struct Committed {
    /// The outbox was written to.
    changed: bool,
    /// For those who listen.
    told: Vec<Change>,
}

struct Writer {
    connection: Connection,
    requests: Receiver<Request>,
    listeners: Arc<RwLock<Vec<Listener>>>,
    bucket_changes: Arc<AtomicU64>,
    checkpointer: Checkpointer,
    feed: Arc<Feed>,
    sequence: u64,
    retention: Arc<RetentionClock>,
    /// Outlives the connection: fields are dropped in this order.
    _database: Arc<Database>,
}

impl Writer {
    fn run(&mut self) {
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        let mut stopping = false;
        while !stopping {
            let Ok(first) = self.requests.recv() else { return };
            for request in std::iter::once(first).chain(self.requests.try_iter().take(limits::GROUP_COMMIT_MAX - 1)) {
                match request {
                    Request::Run(job) => jobs.push(job),
                    Request::Between(work) => {
                        self.leave_transaction();
                        work();
                    }
                    Request::Stop => stopping = true,
                }
            }
            if !jobs.is_empty() {
                self.commit_group(&mut jobs);
                self.checkpointer.after_commit(&self.connection);
            }
        }
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if let Err(error) = emptied {
            tracing::warn!(%error, "the metadata log could not be emptied; the next start does it");
        }
    }

    fn commit_group(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let (Committed { changed, told }, commit) = match self.transaction(jobs) {
            Ok(committed) => (committed, Ok(())),
            Err(error) => {
                tracing::error!(%error, "a group of metadata changes failed");
                self.leave_transaction();
                (Committed::default(), Err(error))
            }
        };
        jobs.drain(..).for_each(|job| job.deliver(&commit));
        if changed {
            self.listeners.read().expect("no holder of this lock panics").iter().for_each(|listener| listener());
        }
        self.feed.tell(told);
    }

    /// Rolls back what a failed group left open.
    fn leave_transaction(&self) {
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            tracing::error!("the failed group could not be rolled back");
        }
    }

    /// Runs all jobs and commits.
    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Committed, MetaError> {
        self.run_cached("BEGIN IMMEDIATE")?;
        let group = Group {
            connection: &self.connection,
            sequence: Cell::new(self.sequence),
            live: RefCell::default(),
            counts: Cell::default(),
            buckets: RefCell::default(),
            usage: RefCell::default(),
            retention: &self.retention,
            changed: Cell::new(false),
            feed: &self.feed,
            told: RefCell::default(),
            buckets_changed: Cell::new(false),
        };
        let mut live: BTreeMap<u32, i64> = BTreeMap::new();
        let mut counts = Counts::default();
        for job in jobs {
            let changed_before = group.changed.get();
            let told_before = group.told.borrow().len();
            self.run_cached("SAVEPOINT mutation")?;
            let good = job.run(&group);
            group.usage.borrow_mut().end(good);
            if good {
                group.live.take().into_iter().for_each(|(segment, bytes)| *live.entry(segment).or_default() += bytes);
                counts.merge(group.counts.take());
            } else {
                self.run_cached("ROLLBACK TO mutation")?;
                group.live.take();
                group.counts.take();
                group.forget_buckets();
                group.changed.set(changed_before);
                group.told.borrow_mut().truncate(told_before);
            }
            self.run_cached("RELEASE mutation")?;
        }
        let (sequence, changed, told) = (group.sequence.get(), group.changed.get(), group.told.take());
        super::space::add_live(&self.connection, &live)?;
        counts.store(&self.connection)?;
        group.usage.borrow().store(&self.connection)?;
        if sequence != self.sequence {
            self.connection
                .prepare_cached("UPDATE state SET value = ?1 WHERE name = 'sequence'")?
                .execute([sequence as i64])?;
        }
        self.run_cached("COMMIT")?;
        // Before anybody is told: whoever asks after the acknowledgement sees that what it remembers is old.
        if group.buckets_changed.get() {
            self.bucket_changes.fetch_add(1, Ordering::Release);
        }
        self.sequence = sequence;
        Ok(Committed { changed, told })
    }

    fn run_cached(&self, sql: &str) -> Result<(), MetaError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
