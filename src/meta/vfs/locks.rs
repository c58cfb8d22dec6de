//! SQLite's locks and the log's index, between the connections of one process.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::io;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rusqlite::ffi;

/// Levels of SQLite's file lock, as its documentation orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    pub fn from_sqlite(level: i32) -> Level {
        match level {
            ffi::SQLITE_LOCK_NONE => Level::None,
            ffi::SQLITE_LOCK_SHARED => Level::Shared,
            ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
            ffi::SQLITE_LOCK_PENDING => Level::Pending,
            _ => Level::Exclusive,
        }
    }
}

#[derive(Debug, Default)]
struct LockState {
    /// Connections that hold at least Shared.
    shared: u32,
    /// Some connection holds Reserved or more.
    reserved: bool,
    /// That connection waits for the others to go: no new Shared.
    pending: bool,
}

/// The file lock of one database.
#[derive(Debug, Default)]
pub(super) struct FileLocks {
    state: Mutex<LockState>,
}

impl FileLocks {
    /// Raises a connection's lock; `false` when others stand in the way (SQLITE_BUSY).
    pub fn raise(&self, held: &mut Level, wanted: Level) -> bool {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if *held >= wanted {
            return true;
        }
        if *held == Level::None {
            if state.pending {
                return false;
            }
            state.shared += 1;
            *held = Level::Shared;
        }
        if wanted >= Level::Reserved && *held < Level::Reserved {
            if state.reserved {
                return false;
            }
            state.reserved = true;
            *held = Level::Reserved;
        }
        if wanted == Level::Exclusive {
            state.pending = true;
            *held = Level::Pending;
            if state.shared > 1 {
                return false;
            }
            *held = Level::Exclusive;
        }
        true
    }

    pub fn lower(&self, held: &mut Level, wanted: Level) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if *held > Level::Shared && wanted <= Level::Shared {
            state.reserved = false;
            state.pending = false;
            *held = Level::Shared;
        }
        if *held == Level::Shared && wanted == Level::None {
            state.shared -= 1;
            *held = Level::None;
        }
    }

    pub fn is_reserved(&self) -> bool {
        self.state.lock().expect("no holder of this lock panics").reserved
    }
}

const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

#[derive(Debug, Default)]
struct IndexState {
    regions: Vec<Region>,
    shared: [u32; SLOTS],
    exclusive: [bool; SLOTS],
    users: u32,
    /// Nobody gets a lock.
    closed: bool,
}

impl IndexState {
    fn is_free(&self) -> bool {
        self.shared.iter().all(|count| *count == 0) && self.exclusive.iter().all(|held| !held)
    }
}

/// A piece of the index. SQLite reads and writes it from several threads, ordered by its own locks and barriers.
struct Region {
    bytes: UnsafeCell<Box<[u32]>>,
}

// SAFETY: the bytes are reached only through the pointer that `region` gives to SQLite, which orders its own accesses
// by the locks below and by xShmBarrier, as it does with memory shared between processes.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Region")
    }
}

/// The log's index ("shared memory") of one database.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    state: Mutex<IndexState>,
    /// Told when a lock was released.
    released: Condvar,
}

/// The end of the log as everybody sees it: the last acknowledged commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub frames: u64,
    /// Of the last of them.
    pub checksum: [u32; 2],
    pub salts: [u32; 2],
}

/// An index of which nobody holds a lock, nor gets one while this lives.
pub(super) struct ClosedIndex<'a> {
    index: &'a LogIndex,
}

/// Words of the index's header, of which there are two copies (SQLite's "WalIndexHdr").
const HEADER_WORDS: usize = 12;

/// What one connection holds of the index's locks; a bit per slot.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct IndexLocks {
    shared: u32,
    exclusive: u32,
    attached: bool,
}

impl LogIndex {
    /// Address of a region, made (zeroed) where `extend` says so; null where it is absent.
    pub fn region(&self, locks: &mut IndexLocks, number: usize, bytes: usize, extend: bool) -> *mut u8 {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if !locks.attached {
            locks.attached = true;
            state.users += 1;
        }
        while state.regions.len() <= number {
            if !extend {
                return std::ptr::null_mut();
            }
            state.regions.push(Region { bytes: UnsafeCell::new(vec![0; bytes / 4].into_boxed_slice()) });
        }
        // SAFETY: no reference to the bytes exists anywhere; they are on the heap and not freed before `detach`.
        unsafe { (*state.regions[number].bytes.get()).as_mut_ptr().cast() }
    }

    /// Takes or releases slots `first..first + count` as xShmLock asks; `false` when others hold them (SQLITE_BUSY).
    pub fn lock(&self, held: &mut IndexLocks, first: usize, count: usize, flags: i32) -> bool {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let slots = first..first + count;
        let mask = slots.clone().fold(0u32, |mask, slot| mask | 1 << slot);
        let shared = flags & ffi::SQLITE_SHM_SHARED != 0;
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            release(&mut state, held, mask);
            self.released.notify_all();
            return true;
        }
        if state.closed {
            return false;
        }
        if shared {
            if held.shared & mask != 0 {
                return true;
            }
            if slots.clone().any(|slot| state.exclusive[slot]) {
                return false;
            }
            slots.for_each(|slot| state.shared[slot] += 1);
            held.shared |= mask;
        } else {
            let others = |slot: usize| state.shared[slot] > u32::from(held.shared & 1 << slot != 0);
            if slots.clone().any(|slot| state.exclusive[slot] && held.exclusive & 1 << slot == 0 || others(slot)) {
                return false;
            }
            slots.for_each(|slot| state.exclusive[slot] = true);
            held.exclusive |= mask;
        }
        true
    }

    /// The connection is done with the index.
    pub fn detach(&self, held: &mut IndexLocks) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        release(&mut state, held, u32::MAX);
        self.released.notify_all();
        if held.attached {
            held.attached = false;
            state.users -= 1;
            if state.users == 0 {
                state.regions.clear();
            }
        }
    }
}

impl LogIndex {
    /// Waits until nobody holds a lock; those who ask for one meanwhile are told to come again.
    pub fn close(&self, patience: Duration) -> io::Result<ClosedIndex<'_>> {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        state.closed = true;
        let closed = ClosedIndex { index: self };
        let waited = self.released.wait_timeout_while(state, patience, |state| !state.is_free());
        let (state, _) = waited.expect("no holder of this lock panics");
        let free = state.is_free();
        // Whatever this gives, the lock on the state goes first: letting go of the closed index takes it.
        drop(state);
        if free { Ok(closed) } else { Err(io::Error::other("the log's index is in use")) }
    }
}

impl ClosedIndex<'_> {
    /// Where the log ends, by the index's header; `None` when it has none, or not a whole one.
    pub fn settled(&self) -> Option<Settled> {
        let state = self.index.state.lock().expect("no holder of this lock panics");
        let words = state.regions.first()?.bytes.get();
        let mut header = [0u32; 2 * HEADER_WORDS];
        // SAFETY: nobody holds a lock of the index, and without one SQLite writes nothing there; the region is on the heap
        // and is not freed while the state is locked.
        header.copy_from_slice(unsafe { &(&(*words))[..2 * HEADER_WORDS] });
        let (first, second) = header.split_at(HEADER_WORDS);
        let initialized = first[3].to_ne_bytes()[0] != 0;
        // Salts are kept as they stand in the file.
        let salt = |word: u32| u32::from_be_bytes(word.to_ne_bytes());
        (initialized && first == second).then(|| Settled {
            frames: u64::from(first[4]),
            checksum: [first[6], first[7]],
            salts: [salt(first[8]), salt(first[9])],
        })
    }

    /// Makes the next one who looks build the index anew from the log.
    pub fn reset(&mut self) {
        let state = self.index.state.lock().expect("no holder of this lock panics");
        if let Some(region) = state.regions.first() {
            let words = region.bytes.get();
            // SAFETY: as in `settled`. Whoever reads the header meanwhile, as SQLite does without a lock, finds its two
            // copies to differ, or empty, and looks again under a lock.
            unsafe { (&mut (*words))[..2 * HEADER_WORDS].fill(0) };
        }
    }
}

impl Drop for ClosedIndex<'_> {
    fn drop(&mut self) {
        self.index.state.lock().expect("no holder of this lock panics").closed = false;
    }
}

fn release(state: &mut IndexState, held: &mut IndexLocks, mask: u32) {
    for slot in 0..SLOTS {
        let bit = 1 << slot;
        if held.shared & mask & bit != 0 {
            state.shared[slot] -= 1;
        }
        if held.exclusive & mask & bit != 0 {
            state.exclusive[slot] = false;
        }
    }
    held.shared &= !mask;
    held.exclusive &= !mask;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_many_readers_and_a_pending_lock_keeps_new_readers_out() {
        let locks = FileLocks::default();
        let (mut a, mut b, mut c) = (Level::None, Level::None, Level::None);
        assert!(locks.raise(&mut a, Level::Shared) && locks.raise(&mut b, Level::Shared));
        assert!(locks.raise(&mut a, Level::Reserved) && locks.is_reserved());
        assert!(!locks.raise(&mut b, Level::Reserved));
        assert!(!locks.raise(&mut a, Level::Exclusive), "b still reads");
        assert!(!locks.raise(&mut c, Level::Shared), "a waits");
        locks.lower(&mut b, Level::None);
        assert!(locks.raise(&mut a, Level::Exclusive));
        locks.lower(&mut a, Level::None);
        assert!(locks.raise(&mut c, Level::Shared) && !locks.is_reserved());
    }

    #[test]
    fn index_slots_are_shared_or_exclusive() {
        let index = LogIndex::default();
        let (mut a, mut b) = (IndexLocks::default(), IndexLocks::default());
        let (lock, unlock) = (ffi::SQLITE_SHM_LOCK, ffi::SQLITE_SHM_UNLOCK);
        let (shared, exclusive) = (ffi::SQLITE_SHM_SHARED, ffi::SQLITE_SHM_EXCLUSIVE);
        assert!(index.lock(&mut a, 3, 1, lock | shared) && index.lock(&mut b, 3, 1, lock | shared));
        assert!(!index.lock(&mut a, 3, 1, lock | exclusive));
        assert!(index.lock(&mut b, 3, 1, unlock | shared));
        assert!(index.lock(&mut a, 0, 2, lock | exclusive));
        assert!(!index.lock(&mut b, 1, 1, lock | shared));
        index.detach(&mut a);
        assert!(index.lock(&mut b, 0, 8, lock | exclusive));
    }
}
