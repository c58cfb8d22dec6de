//! The order of hook work: strict within a lane, free between lanes.
//!
//! A lane is one hook on one key of one bucket. Only its head may run; while the head runs or waits for its retry, the
//! lane holds back its own followers and nobody else's. Purely computing: threads and tables are the caller's.
//! Memory is bounded by what the caller adds: an id and a time for each row; lanes are known by a hash (two lanes of one
//! hash become one, which only orders more than is needed).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::limits;
use crate::meta::StoredInvocation;

/// Which lane; a hash of hook, bucket and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u64);

impl LaneId {
    pub fn of(row: &StoredInvocation) -> LaneId {
        let mut hasher = DefaultHasher::new();
        (&row.hook, row.change.bucket, &row.change.key).hash(&mut hasher);
        LaneId(hasher.finish())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In `ready`.
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
    ready: VecDeque<LaneId>,
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
                self.lanes.insert(lane_id, Lane { rows: VecDeque::from([(id, due_ns)]), state: State::Running });
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
            self.ready.push_back(lane_id);
        }
        let lane_id = self.ready.pop_front()?;
        let lane = self.lane_mut(lane_id);
        lane.state = State::Running;
        let id = lane.rows.front().expect("a lane has a head as long as it is there").0;
        Some(Turn { lane: lane_id, id, row: self.rows.remove(&id) })
    }

    /// Whether a row may run.
    pub fn is_due(&self, now_ns: u64) -> bool {
        !self.ready.is_empty() || self.next_due_ns().is_some_and(|due_ns| due_ns <= now_ns)
    }

    /// When the first waiting row is due, in monotonic nanoseconds.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.waiting.first().map(|(due_ns, _)| *due_ns)
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
            self.ready.push_back(lane_id);
        } else {
            lane.state = State::Waiting(due_ns);
            self.waiting.insert((due_ns, lane_id));
        }
    }

    /// Takes a lane out of the line it is in.
    fn set_aside(&mut self, lane_id: LaneId) {
        match self.lane_mut(lane_id).state {
            State::Ready => self.ready.retain(|other| *other != lane_id),
            State::Waiting(due_ns) => _ = self.waiting.remove(&(due_ns, lane_id)),
            State::Running => unreachable!("a running lane is in no line"),
        }
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
        StoredInvocation {
            id,
            event_id: format!("e{id}"),
            rule: String::new(),
            hook: "h".to_owned(),
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
