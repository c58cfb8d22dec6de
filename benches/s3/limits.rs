//! The machine's own limits, measured beside the server's figures.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use aerie::limits::{DIRECT_ALIGN_BYTES, STRIPE_BYTES};
use aerie::seam::files::RealStorage;
use aerie::seam::memory::{HUGE_PAGE_BYTES, PageMemory};
use aerie::seam::{OpenMode, Storage};

use crate::work::noise;

pub struct Machine {
    pub memcpy_gb_s: f64,
    pub md5_gb_s: f64,
    pub loopback_gb_s: f64,
    /// Append of 4 KiB and fdatasync, median, in microseconds.
    pub fdatasync_us: f64,
    /// Blocks of large objects written directly to six files at the same time, as six drives of the server on this machine's
    /// one do it. A third of it is parity.
    pub direct_writes_gb_s: f64,
    pub cores: usize,
}

/// Files are made in the folder, where the server's drives are, too.
pub fn measure(folder: &Path) -> Result<Machine, String> {
    Ok(Machine {
        memcpy_gb_s: memcpy(),
        md5_gb_s: md5(),
        loopback_gb_s: loopback().map_err(|e| format!("loopback: {e}"))?,
        fdatasync_us: fdatasync().map_err(|e| format!("fdatasync: {e}"))?,
        direct_writes_gb_s: direct_writes(folder).map_err(|e| format!("direct writes: {e}"))?,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Runs `work`, which handles `bytes` a call, for a third of a second.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut calls = 0u32;
    while started.elapsed() < Duration::from_millis(300) {
        work();
        calls += 1;
    }
    f64::from(calls) * bytes as f64 / started.elapsed().as_secs_f64() / 1e9
}

fn memcpy() -> f64 {
    let from = vec![7u8; 32 << 20];
    let mut to = vec![0u8; 32 << 20];
    rate(from.len(), || std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from)))
}

fn md5() -> f64 {
    let bytes = vec![7u8; 1 << 20];
    rate(bytes.len(), || {
        let mut md5 = aerie::hash::Md5::new();
        md5.update(&bytes);
        std::hint::black_box(md5.finish());
    })
}

fn loopback() -> std::io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let total = 2usize << 30;
    let started = Instant::now();
    let sending = std::thread::spawn(move || -> std::io::Result<()> {
        let bytes = vec![7u8; 1 << 20];
        (0..total >> 20).try_for_each(|_| sender.write_all(&bytes))
    });
    let mut buffer = vec![0u8; 1 << 20];
    while receiver.read(&mut buffer)? > 0 {}
    sending.join().map_err(|_| std::io::Error::other("the sender panicked"))??;
    Ok(total as f64 / started.elapsed().as_secs_f64() / 1e9)
}

fn fdatasync() -> std::io::Result<f64> {
    let mut file = tempfile::tempfile()?;
    let block = [7u8; 4096];
    let mut samples: Vec<f64> = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(started.elapsed().as_secs_f64() * 1e6);
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}

/// Drives of the pool that is measured, and how many of them hold data.
const DRIVES: usize = 6;
const DATA_DRIVES: usize = 4;
/// A drive's blocks in this measurement.
const BLOCKS: u64 = 400;

/// On space that was reserved and never written, each file synced at its end.
fn direct_writes(folder: &Path) -> std::io::Result<f64> {
    let storage = RealStorage::open(folder)?;
    let shard = STRIPE_BYTES / DATA_DRIVES;
    let (block_bytes, name) = ((DIRECT_ALIGN_BYTES + shard) as u64, |drive: usize| format!("direct-{drive}"));
    let mut memory = PageMemory::zeroed(HUGE_PAGE_BYTES);
    memory.copy_from_slice(&noise(HUGE_PAGE_BYTES));
    let files = (0..DRIVES).map(|drive| {
        let file = storage.open(&name(drive), OpenMode::CreateNew)?;
        file.allocate(0, BLOCKS * block_bytes)?;
        Ok(file)
    });
    let files = files.collect::<std::io::Result<Vec<_>>>()?;
    let (header, payload) = memory[..DIRECT_ALIGN_BYTES + shard].split_at(DIRECT_ALIGN_BYTES);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let write = |file: &std::sync::Arc<dyn aerie::seam::StorageFile>| {
            let file = file.clone();
            scope.spawn(move || {
                (0..BLOCKS).try_for_each(|block| {
                    file.write_direct_at(&[IoSlice::new(header), IoSlice::new(payload)], block * block_bytes)
                })?;
                file.sync_data()
            })
        };
        let threads: Vec<_> = files.iter().map(write).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| std::io::Error::other("a writer panicked"))?)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    (0..DRIVES).try_for_each(|drive| storage.remove(&name(drive)))?;
    Ok((DRIVES as u64 * BLOCKS * block_bytes) as f64 / seconds / 1e9)
}
