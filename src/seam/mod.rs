//! The one seam to the world: clock, entropy and storage, and the scheduler of threads.
//!
//! Everything above takes these as trait objects, so that tests inject faults, stop the clock and cut the power.
//! `real` and `files` are the operating system; `sim` is a world in memory that records, drops, tears and reorders writes.
//! Architecture invariant: no other module calls `std::fs`, `SystemTime::now` or a random generator (clippy.toml).

pub mod files;
pub mod memory;
pub mod real;
mod replace;
pub mod sim;
pub mod thread;

pub use replace::replace_file;

use std::fmt::Debug;
use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use crate::limits::DIRECT_ALIGN_BYTES;

/// Whether `StorageFile::write_direct_at` takes this.
pub fn is_aligned(buffers: &[IoSlice<'_>], offset: u64) -> bool {
    let aligned = |number: usize| number.is_multiple_of(DIRECT_ALIGN_BYTES);
    offset.is_multiple_of(DIRECT_ALIGN_BYTES as u64)
        && buffers.iter().all(|buffer| aligned(buffer.as_ptr().addr()) && aligned(buffer.len()))
}

/// How `Storage::open` treats a file that is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; read only.
    Read,
    /// Must exist; read and write.
    ReadWrite,
    /// Read and write; created when absent.
    Create,
    /// Read and write; fails when present.
    CreateNew,
}

/// Bytes on the file system under a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub available: u64,
}

/// One drive's file tree. Paths are relative, `/`-separated and never leave the root.
pub trait Storage: Send + Sync + Debug {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;
    fn remove(&self, path: &str) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Creates the folder and its parents; an existing one is fine.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Names (not paths) of the files and folders in `path`, in no order.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Makes creations, renames and removals in the folder durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    fn space(&self) -> io::Result<Space>;
    /// The root lies on another device than the folder that it is in: something is mounted there.
    fn is_mounted(&self) -> io::Result<bool>;
    /// Where this is, for messages.
    fn describe(&self) -> String;
}

/// An open file. All calls block, except `read_at_nowait`.
pub trait StorageFile: Send + Sync + Debug {
    /// Reads up to `buffer.len()` bytes; less only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Fills `buffers`, one after the other, as `read_at` does, but answers `WouldBlock` where the bytes are not in memory;
    /// may also give fewer than are there.
    fn read_at_nowait(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize>;
    /// Writes all of `buffer`.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buffers`, one after the other.
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Like `write_vectored_at`, and past the page cache where the file system can (O_DIRECT). The offset and each
    /// buffer's address and length are multiples of `limits::DIRECT_ALIGN_BYTES`. It is no more durable than any other write.
    fn write_direct_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Data and what is needed to read it back are durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    fn set_len(&self, length: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reserves blocks (fallocate); the file grows to `offset + length` where it was shorter.
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Gives the blocks back; the range reads as zeros.
    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Gives back what was reserved and never written; nothing reads differently. Nobody may write meanwhile. Where the
    /// storage cannot tell what was written, nothing happens.
    fn release_unwritten(&self) -> io::Result<()> {
        Ok(())
    }
    /// Takes an advisory exclusive lock for the life of this handle; `WouldBlock` when another process holds it.
    fn lock(&self) -> io::Result<()>;
}

/// Wall time and a steady clock.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch. May jump: boards boot without a clock.
    fn unix_ms(&self) -> i64;
    /// Nanoseconds from an arbitrary start; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// Like `monotonic_ns`, from a start of its own, but the time that the machine sleeps counts as well.
    fn boot_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + Debug {
    fn fill(&self, bytes: &mut [u8]);
}

/// What the board says of its heat.
pub trait Thermometer: Send + Sync + Debug {
    /// Degrees Celsius of the hottest zone; `None` where the board tells nothing.
    fn celsius(&self) -> Option<f64>;
}

/// Clock and entropy, handed down together.
#[derive(Debug, Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}
