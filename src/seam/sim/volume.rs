//! The file tree of one simulated drive: names, and sparse files whose pages are shared between copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];

/// Number of a file, never used twice on a drive.
pub(super) type Inode = u64;

/// A file. A page that is `None` takes space but was never written.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseFile {
    pub length: u64,
    pages: BTreeMap<u64, Option<Arc<Page>>>,
}

impl SparseFile {
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let available = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for_each_page(offset, available, |page, within, range| match self.pages.get(&page) {
            Some(Some(bytes)) => buffer[range.clone()].copy_from_slice(&bytes[within..within + range.len()]),
            _ => buffer[range].fill(0),
        });
        available
    }

    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        for_each_page(offset, bytes.len(), |page, within, range| {
            let slot = self.pages.entry(page).or_default();
            let target = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE_BYTES as usize])));
            target[within..within + range.len()].copy_from_slice(&bytes[range]);
        });
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    pub fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.punch(length, self.length - length);
            self.pages.split_off(&length.div_ceil(PAGE_BYTES));
        }
        self.length = length;
    }

    pub fn allocate(&mut self, offset: u64, length: u64) {
        for page in offset / PAGE_BYTES..(offset + length).div_ceil(PAGE_BYTES) {
            self.pages.entry(page).or_default();
        }
        self.length = self.length.max(offset + length);
    }

    /// Whole pages are given back, the rest of the range becomes zeros; the length stays.
    pub fn punch(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        let (first, last) = (offset.div_ceil(PAGE_BYTES), end / PAGE_BYTES);
        let mut freed = self.pages.split_off(&first);
        let mut after = freed.split_off(&last.max(first));
        self.pages.append(&mut after);
        for page in [offset / PAGE_BYTES, end / PAGE_BYTES] {
            if let Some(Some(bytes)) = self.pages.get_mut(&page) {
                let start = page * PAGE_BYTES;
                let from = offset.max(start).min(start + PAGE_BYTES) - start;
                let to = end.max(start).min(start + PAGE_BYTES) - start;
                if from < to {
                    Arc::make_mut(bytes)[from as usize..to as usize].fill(0);
                }
            }
        }
    }

    pub fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages that a write to the range would add.
    pub fn pages_missing(&self, offset: u64, length: u64) -> u64 {
        let (first, end) = (offset / PAGE_BYTES, (offset + length).div_ceil(PAGE_BYTES));
        (end - first) - self.pages.range(first..end).count() as u64
    }
}

/// Calls with the page's number, the offset in it, and the range of the buffer.
fn for_each_page(offset: u64, length: usize, mut act: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = (at % PAGE_BYTES) as usize;
        let taken = (length - done).min(PAGE_BYTES as usize - within);
        act(at / PAGE_BYTES, within, done..done + taken);
        done += taken;
    }
}

/// One drive's file tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Volume {
    pub folders: BTreeSet<String>,
    pub names: BTreeMap<String, Inode>,
    pub files: BTreeMap<Inode, Arc<SparseFile>>,
    pub next_inode: Inode,
}

impl Volume {
    pub fn file_mut(&mut self, inode: Inode) -> &mut SparseFile {
        Arc::make_mut(self.files.entry(inode).or_default())
    }

    pub fn pages_used(&self) -> u64 {
        self.files.values().map(|file| file.pages()).sum()
    }

    /// Drops files that have no name: they end with the power.
    pub fn drop_nameless(&mut self) {
        let named: BTreeSet<Inode> = self.names.values().copied().collect();
        self.files.retain(|inode, _| named.contains(inode));
    }
}

/// Folder of a path; the root is empty.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// What is on all drives of a machine while it has no power.
#[derive(Debug, Clone)]
pub struct Image {
    pub(super) volumes: Vec<Volume>,
}

impl Image {
    /// Drive `drive` is exchanged for an empty one.
    pub fn erase(&mut self, drive: usize) {
        self.volumes[drive] = Volume::default();
    }

    /// Flips one bit of a file, if it is that long; bitrot.
    pub fn flip_bit(&mut self, drive: usize, path: &str, offset: u64, bit: u8) -> bool {
        let volume = &mut self.volumes[drive];
        let Some(inode) = volume.names.get(path).copied() else { return false };
        let file = volume.file_mut(inode);
        let mut byte = [0];
        let there = file.read(&mut byte, offset) == 1;
        if there {
            file.write(&[byte[0] ^ 1 << bit], offset);
        }
        there
    }
}
