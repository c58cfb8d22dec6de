//! The order of hook work: strict within a lane, free between lanes.
//!
//! A lane is one hook on one key of one bucket. Only its head may run; while the head runs or waits for its retry, the
//! lane holds back its own followers and nobody else's. Of the hooks that have lanes ready, the one goes next that has had
//! the least time: one that loops until its deadline does not hold up the others. Purely computing: threads and tables are the caller's.
//! Memory is bounded by what the caller adds: an id and a time for each row; lanes are known by a hash (two lanes of one
//! hash become one, which only orders more than is needed).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::limits;
use crate::meta::StoredInvocation;

/// Which lane: a hash of hook, bucket and key, beside one of the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    hook: HookId,
    lane: u64,
}

/// Which hook; a hash of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct HookId(u64);

impl LaneId {
    pub fn of(row: &StoredInvocation) -> LaneId {
        let hash = |what: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            what(&mut hasher);
            hasher.finish()
        };
        LaneId {
            hook: HookId(hash(&|hasher| row.hook.hash(hasher))),
            lane: hash(&|hasher| (&row.hook, row.change.bucket, &row.change.key).hash(hasher)),
        }
    }
}

/// What a hook has had of the threads.
#[derive(Debug, Default)]
struct Share {
    /// Lanes that may run, in order.
    ready: VecDeque<LaneId>,
    /// Virtual time at which its next turn begins: that of its last one, and what that took.
    start_ns: u64,
    /// What its last turn took: the guess for turns that have not ended.
    last_ns: u64,
    /// Turns that have not ended.
    running: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In `ready` of its hook's share.
    Ready,
    /// In `waiting`, under this time.
    Waiting(u64),
    Running,
}

#[derive(Debug)]
struct Lane {
    /// Rows in order with the monotonic time (nanoseconds) before which they must not run.
    rows: VecDeque<(i64, u64)>,
    state: State,
    /// Nanoseconds that the hook was charged in advance for the turn that runs.
    guess_ns: u64,
}

/// An invocation to run. The caller owes one `done` or `again` for it.
#[derive(Debug)]
pub struct Turn {
    pub lane: LaneId,
    pub id: i64,
    /// The row, where it was still in memory.
    pub row: Option<Box<StoredInvocation>>,
}

#[derive(Debug, Default)]
pub struct Schedule {
    lanes: HashMap<LaneId, Lane>,
    /// Of hooks that have lanes ready or running, or had more time than others have had yet: as many as there are hooks.
    shares: HashMap<HookId, Share>,
    /// Hooks with lanes ready, by the virtual time at which their next turn begins.
    next: BTreeSet<(u64, HookId)>,
    /// Virtual time: where the last turn began.
    now_ns: u64,
    waiting: BTreeSet<(u64, LaneId)>,
    /// A few rows that were just read and are likely to run at once.
    rows: HashMap<i64, Box<StoredInvocation>>,
    length: usize,
}

impl Schedule {
    /// Rows that are neither done nor forgotten.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Adds a row to its lane, at its place in the order. A row that is there already is passed over.
    pub fn add(&mut self, row: StoredInvocation, due_ns: u64, now_ns: u64) {
        let (lane_id, id) = (LaneId::of(&row), row.id);
        match self.lanes.get_mut(&lane_id) {
            Some(lane) => {
                let place = lane.rows.partition_point(|(other, _)| *other < id);
                if lane.rows.get(place).is_some_and(|(other, _)| *other == id) {
                    return;
                }
                // A revived row may be older than the one that runs; it comes next then.
                let running = lane.state == State::Running && place == 0;
                lane.rows.insert(if running { 1 } else { place }, (id, due_ns));
                self.length += 1;
                if place == 0 && !running {
                    self.set_aside(lane_id);
                    self.line_up(lane_id, now_ns);
                }
            }
            None => {
                self.lanes
                    .insert(lane_id, Lane { rows: VecDeque::from([(id, due_ns)]), state: State::Running, guess_ns: 0 });
                self.length += 1;
                self.line_up(lane_id, now_ns);
            }
        }
        if self.rows.len() < limits::INVOCATION_ROWS_MAX {
            self.rows.insert(id, Box::new(row));
        }
    }

    /// The next row that may run.
    pub fn take(&mut self, now_ns: u64) -> Option<Turn> {
        while let Some((due_ns, lane_id)) = self.waiting.first().copied()
            && due_ns <= now_ns
        {
            self.waiting.pop_first();
            self.lane_mut(lane_id).state = State::Ready;
            self.make_ready(lane_id);
        }
        let (lane_id, guess_ns) = self.take_ready()?;
        let lane = self.lane_mut(lane_id);
        (lane.state, lane.guess_ns) = (State::Running, guess_ns);
        let id = lane.rows.front().expect("a lane has a head as long as it is there").0;
        Some(Turn { lane: lane_id, id, row: self.rows.remove(&id) })
    }

    /// Whether a row may run.
    pub fn is_due(&self, now_ns: u64) -> bool {
        !self.next.is_empty() || self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns)
    }

    /// When the first waiting row is due, in monotonic nanoseconds.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.waiting.first().map(|(due_ns, _)| *due_ns)
    }

    /// A turn has ended and took so long; called before `done` or `again`, and once for each turn.
    pub fn charge(&mut self, lane_id: LaneId, took_ns: u64) {
        let guess_ns = self.lane_mut(lane_id).guess_ns;
        self.change_share(lane_id.hook, |share| {
            share.start_ns = (share.start_ns + took_ns).saturating_sub(guess_ns);
            share.last_ns = took_ns;
            share.running = share.running.saturating_sub(1);
        });
    }

    /// The lane's running row is gone, finished or dead.
    pub fn done(&mut self, lane_id: LaneId, now_ns: u64) {
        let lane = self.lane_mut(lane_id);
        assert_eq!(lane.state, State::Running, "only what runs can be done");
        lane.rows.pop_front();
        self.length -= 1;
        if self.lane_mut(lane_id).rows.is_empty() {
            self.lanes.remove(&lane_id);
        } else {
            self.line_up(lane_id, now_ns);
        }
    }

    /// The lane's running row runs again, not before `due_ns`.
    pub fn again(&mut self, lane_id: LaneId, due_ns: u64, now_ns: u64) {
        let lane = self.lane_mut(lane_id);
        assert_eq!(lane.state, State::Running, "only what runs can run again");
        lane.rows.front_mut().expect("a running lane has a head").1 = due_ns;
        self.line_up(lane_id, now_ns);
    }

    /// Puts a lane that is in no line into the one its head belongs to.
    fn line_up(&mut self, lane_id: LaneId, now_ns: u64) {
        let lane = self.lane_mut(lane_id);
        let due_ns = lane.rows.front().expect("a lane that lines up has a head").1;
        if due_ns <= now_ns {
            lane.state = State::Ready;
            self.make_ready(lane_id);
        } else {
            lane.state = State::Waiting(due_ns);
            self.waiting.insert((due_ns, lane_id));
        }
    }

    /// Takes a lane out of the line it is in.
    fn set_aside(&mut self, lane_id: LaneId) {
        match self.lane_mut(lane_id).state {
            State::Ready => {
                self.change_share(lane_id.hook, |share| share.ready.retain(|other| *other != lane_id));
            }
            State::Waiting(due_ns) => _ = self.waiting.remove(&(due_ns, lane_id)),
            State::Running => unreachable!("a running lane is in no line"),
        }
    }

    /// Puts a lane into its hook's line.
    fn make_ready(&mut self, lane_id: LaneId) {
        let virtual_ns = self.now_ns;
        self.change_share(lane_id.hook, |share| {
            if share.ready.is_empty() {
                // Time that a hook did not ask for is not saved up.
                share.start_ns = share.start_ns.max(virtual_ns);
            }
            share.ready.push_back(lane_id);
        });
    }

    /// The first ready lane of the hook that has had the least time, and what it is charged for the turn.
    fn take_ready(&mut self) -> Option<(LaneId, u64)> {
        let (start_ns, hook) = *self.next.first()?;
        self.now_ns = self.now_ns.max(start_ns);
        self.change_share(hook, |share| {
            share.start_ns += share.last_ns;
            share.running += 1;
            Some((share.ready.pop_front()?, share.last_ns))
        })
    }

    /// Changes a share and its place in the order.
    fn change_share<T>(&mut self, hook: HookId, change: impl FnOnce(&mut Share) -> T) -> T {
        let share = self.shares.entry(hook).or_default();
        self.next.remove(&(share.start_ns, hook));
        let changed = change(share);
        if !share.ready.is_empty() {
            self.next.insert((share.start_ns, hook));
        } else if share.running == 0 && share.start_ns <= self.now_ns {
            self.shares.remove(&hook);
        }
        changed
    }

    fn lane_mut(&mut self, lane_id: LaneId) -> &mut Lane {
        self.lanes.get_mut(&lane_id).expect("a lane stays as long as it has rows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{BucketId, Change, EventName, InvocationState, Requester, Sequence};

    fn row(id: i64, key: &str) -> StoredInvocation {
        row_of("h", id, key)
    }

    fn row_of(hook: &str, id: i64, key: &str) -> StoredInvocation {
        StoredInvocation {
            id,
            event_id: format!("e{id}"),
            rule: String::new(),
            hook: hook.to_owned(),
            change: Change {
                sequence: Sequence(id.unsigned_abs()),
                event: EventName::ObjectCreatedPut,
                time_ms: 0,
                bucket: BucketId(1),
                bucket_name: "b".to_owned(),
                key: key.to_owned(),
                version_id: None,
                version: None,
                size: 0,
                etag: String::new(),
                requester: Requester::default(),
            },
            state: InvocationState::Pending,
            attempts: 0,
            next_ms: 0,
            last_error: None,
            expires_ms: None,
        }
    }

    fn ids(schedule: &mut Schedule, now_ns: u64) -> Vec<(i64, LaneId)> {
        std::iter::from_fn(|| schedule.take(now_ns).map(|turn| (turn.id, turn.lane))).collect()
    }

    #[test]
    fn lanes_run_side_by_side_and_each_in_order() {
        let mut schedule = Schedule::default();
        for (id, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "c")] {
            schedule.add(row(id, key), 0, 0);
        }
        let first = ids(&mut schedule, 0);
        assert_eq!(first.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 5]);
        schedule.done(first[0].1, 0);
        let second = ids(&mut schedule, 0);
        assert_eq!(second.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
        for (_, lane) in [second[0], first[1], first[2]] {
            schedule.done(lane, 0);
        }
        assert_eq!(schedule.take(0).map(|turn| turn.id), Some(4));
        assert_eq!(schedule.len(), 1);
    }

    #[test]
    fn a_head_that_waits_holds_back_its_own_lane_only() {
        let mut schedule = Schedule::default();
        for (id, key) in [(1, "a"), (2, "a"), (3, "b")] {
            schedule.add(row(id, key), 0, 0);
        }
        let head = schedule.take(0).unwrap();
        schedule.again(head.lane, 100, 0);
        assert_eq!(schedule.take(99).map(|turn| turn.id), Some(3));
        assert!(schedule.take(99).is_none());
        assert_eq!(schedule.next_due_ns(), Some(100));
        let again = schedule.take(100).unwrap();
        assert_eq!(again.id, 1);
        schedule.done(again.lane, 100);
        assert_eq!(schedule.take(100).map(|turn| turn.id), Some(2));
    }

    /// A hook that ran until its deadline for each of a hundred uploads held up every other hook for minutes.
    #[test]
    fn a_slow_hook_takes_no_more_time_than_the_others() {
        const SECOND: u64 = 1_000_000_000;
        let mut schedule = Schedule::default();
        let mut id = 0;
        let mut add = |schedule: &mut Schedule, hook: &str, count: usize| {
            for _ in 0..count {
                id += 1;
                schedule.add(row_of(hook, id, &format!("k{id}")), 0, 0);
            }
        };
        add(&mut schedule, "slow", 100);
        // Two threads: each turn is taken while another one runs.
        let end = |schedule: &mut Schedule, turn: &Turn| {
            let slow = turn.id <= 100;
            schedule.charge(turn.lane, if slow { 2 * SECOND } else { SECOND / 1000 });
            schedule.done(turn.lane, 0);
            slow
        };
        let mut running = schedule.take(0).unwrap();
        for _ in 0..10 {
            let next = schedule.take(0).unwrap();
            assert!(end(&mut schedule, &running));
            running = next;
        }
        add(&mut schedule, "quick", 1000);
        let mut slow = 0;
        for _ in 0..1000 {
            let next = schedule.take(0).unwrap();
            slow += u32::from(end(&mut schedule, &running));
            running = next;
        }
        assert!(slow <= 2, "{slow} turns of two seconds went before a thousand of a millisecond");
        // Time that the slow one waits is not lost to it, nor saved up by the quick one.
        loop {
            end(&mut schedule, &running);
            let Some(next) = schedule.take(0) else { break };
            running = next;
        }
        assert_eq!(schedule.len(), 0);
    }

    #[test]
    fn a_revived_row_takes_its_old_place() {
        let mut schedule = Schedule::default();
        schedule.add(row(5, "a"), 50, 0);
        schedule.add(row(5, "a"), 50, 0);
        schedule.add(row(3, "a"), 0, 0);
        assert_eq!(schedule.len(), 2);
        let first = schedule.take(0).unwrap();
        assert_eq!(first.id, 3);
        // While one runs, an older one comes next.
        schedule.add(row(2, "a"), 0, 0);
        assert!(schedule.take(0).is_none());
        schedule.done(first.lane, 0);
        assert_eq!(schedule.take(0).map(|turn| turn.id), Some(2));
    }

    #[test]
    fn rows_beyond_the_cache_are_still_in_order() {
        let mut schedule = Schedule::default();
        let count = limits::INVOCATION_ROWS_MAX as i64 + 10;
        for id in 1..=count {
            schedule.add(row(id, &id.to_string()), 0, 0);
        }
        let taken: Vec<_> = std::iter::from_fn(|| schedule.take(0)).collect();
        assert!(taken.iter().map(|turn| turn.id).eq(1..=count));
        assert_eq!(taken.iter().filter(|turn| turn.row.is_none()).count(), 10);
    }
}
