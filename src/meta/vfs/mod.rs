//! The file system that SQLite sees: every write goes to all copies, on different drives.
//!
//! SQL runs once; what is mirrored is its bytes. All writes, truncations and syncs of the database and its log go to
//! each current copy, so that the copies are identical up to the last sync. A copy whose drive fails, or does not answer in
//! time, is left behind, and the commit that it misses is acknowledged only after `on_copy_failed` has recorded that.
//! Whatever may wait for a drive is done by threads of its copy: SQLite's own wait has an end. Locks and the log's index
//! live in this process's memory: no other process uses the files (a lock file sees to that).

mod copies;
mod ffi;
mod join;
mod locks;
mod page;
mod pending;

pub(super) use copies::{Copies, CopyPlace};
pub(super) use ffi::{Vfs, reserve_checksums};
pub(super) use join::Joined;
pub(super) use page::PAGE_BYTES;
