//! Copies that come back while the process runs.
//!
//! `revive`: no copy is current any more. Of those that the labels still name, one whose log holds the last acknowledged
//! commit becomes the source. It is treated as after a power cut: what its log holds beyond that commit is cut off, and the
//! index is made anew from the log, so that nobody looks at pages of the database that were moved and never synced.
//! `join`: another copy is written anew, chunk by chunk while commits go on; the last ones, and the log, while they wait.
//! Runs on upkeep's thread; `revive` on the writer's, between two transactions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::copies::{Copies, CopyPlace, MirroredFile, Site};
use super::locks::Settled;
use crate::limits;
use crate::meta::files::{self, CHUNK_BYTES};
use crate::meta::log::LogState;
use crate::meta::open::{DATABASE_FILE, FOLDER, LOG_FILE};
use crate::seam::{OpenMode, Storage, StorageFile};

/// A copy on its way to be current.
pub(in crate::meta) struct Joining {
    index: usize,
    database: Arc<dyn StorageFile>,
    lock: Option<Arc<dyn StorageFile>>,
    /// Chunks before this one were given to it.
    next: u64,
}

/// How far a copy got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::meta) enum Joined {
    /// It goes on with the next call.
    Partly,
    Whole,
}

/// Chunks that commits may wait for at the end.
const LAST_CHUNKS_MAX: usize = 4;

impl Copies {
    /// Makes the copy the source again; `false` when another is current. An error says why this one cannot be it.
    pub fn revive(&self, slot: usize) -> io::Result<bool> {
        let database = self.file(DATABASE_FILE)?;
        // Whoever reads now gets an error soon, as no copy is left, and whoever comes waits.
        let mut closed = database.index.close(limits::META_REVIVE_WAIT)?;
        let sites = self.sites.write().expect("no holder of this lock panics");
        if self.current_count(&sites) > 0 {
            return Ok(false);
        }
        let index = index_of(&sites, slot).ok_or_else(|| io::Error::other("the copy was not there at the start"))?;
        let settled = closed.settled().ok_or_else(|| io::Error::other("the log's index cannot be read"))?;
        let names: Vec<String> = self.files.lock().expect("no holder of this lock panics").keys().cloned().collect();
        let site = &sites[index];
        let opened = self.answer(site.ask(&site.writer, move |storage| {
            cut_log(storage, settled)?;
            names.into_iter().map(|name| Ok((storage.open(&name, OpenMode::ReadWrite)?, name))).collect()
        }))?;
        self.set_handles(index, opened);
        closed.reset();
        let failed = self.failed.fetch_and(!(1 << index), Ordering::AcqRel) & !(1 << index);
        // The labels name the others still: the next commit, which they miss, waits until that is changed.
        self.untold.store(failed, Ordering::Release);
        Ok(true)
    }

    /// Brings a copy up to the current ones, some chunks further. After an error it begins anew.
    pub fn join(&self, place: &CopyPlace) -> io::Result<Joined> {
        let mut joining = self.joining.lock().expect("no holder of this lock panics");
        let joined = self.join_further(&mut joining, place);
        if !matches!(joined, Ok(Joined::Partly)) {
            *joining = None;
            self.is_joining.store(false, Ordering::Release);
        }
        joined
    }

    fn join_further(&self, joining: &mut Option<Joining>, place: &CopyPlace) -> io::Result<Joined> {
        let (index, is_new) = self.site_for(place)?;
        let at_hand = joining.take().filter(|at_hand| at_hand.index == index);
        let mut at_hand = match at_hand {
            Some(at_hand) => at_hand,
            None => self.begin(index, is_new)?,
        };
        for _ in 0..limits::META_JOIN_CHUNKS {
            let sites = self.sites.read().expect("no holder of this lock panics");
            let length = self.source(&sites)?.1.len()?;
            let chunk = if at_hand.next * (CHUNK_BYTES as u64) < length {
                at_hand.next += 1;
                at_hand.next - 1
            } else {
                let mut rewritten = self.rewritten.lock().expect("no holder of this lock panics");
                match rewritten.first().copied().filter(|_| rewritten.len() > LAST_CHUNKS_MAX) {
                    Some(chunk) => {
                        rewritten.remove(&chunk);
                        chunk
                    }
                    None => {
                        drop((rewritten, sites));
                        return self.finish(at_hand);
                    }
                }
            };
            self.give(&sites, &at_hand, chunk)?;
        }
        *joining = Some(at_hand);
        Ok(Joined::Partly)
    }

    /// The copy's files are thrown away; until it is whole they are not to be trusted.
    fn begin(&self, index: usize, is_new: bool) -> io::Result<Joining> {
        self.rewritten.lock().expect("no holder of this lock panics").clear();
        self.is_joining.store(true, Ordering::Release);
        let sites = self.sites.read().expect("no holder of this lock panics");
        let site = &sites[index];
        let (lock, database) = self.answer(site.ask(&site.writer, move |storage| {
            let lock = match files::lock(storage) {
                // The lock of this process, from its start.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !is_new => None,
                lock => Some(lock?),
            };
            files::begin_replacing(storage)?;
            Ok((lock, storage.open(DATABASE_FILE, OpenMode::CreateNew)?))
        }))?;
        Ok(Joining { index, database, lock, next: 0 })
    }

    /// Gives it one chunk of the database, as it is now.
    fn give(&self, sites: &[Site], joining: &Joining, chunk: u64) -> io::Result<()> {
        let (source, from) = self.source(sites)?;
        let offset = chunk * CHUNK_BYTES as u64;
        let bytes = self.answer(source.ask(&source.reader, move |_| read_at_most(&*from, offset, CHUNK_BYTES)))?;
        let (to, site) = (joining.database.clone(), &sites[joining.index]);
        self.answer(site.ask(&site.writer, move |_| to.write_at(&bytes, offset)))
    }

    /// The rest, while nobody reads or writes. Most of it is synced before.
    fn finish(&self, joining: Joining) -> io::Result<Joined> {
        let index = joining.index;
        {
            let sites = self.sites.read().expect("no holder of this lock panics");
            let database = joining.database.clone();
            self.answer(sites[index].ask(&sites[index].writer, move |_| database.sync_data()))?;
        }
        let mut sites = self.sites.write().expect("no holder of this lock panics");
        let rest = std::mem::take(&mut *self.rewritten.lock().expect("no holder of this lock panics"));
        rest.into_iter().try_for_each(|chunk| self.give(&sites, &joining, chunk))?;
        let (source, from) = self.source(&sites)?;
        let length = from.len()?;
        let log = self.file(LOG_FILE)?.handle(index_of(&sites, source.place.slot).expect("it is a site"))?;
        let log = self.answer(source.ask(&source.reader, move |_| {
            let bytes = usize::try_from(log.len()?).map_err(io::Error::other)?;
            read_at_most(&*log, 0, bytes)
        }))?;
        let names: Vec<String> = self.files.lock().expect("no holder of this lock panics").keys().cloned().collect();
        let (database, site) = (joining.database.clone(), &sites[index]);
        let opened = self.answer(site.ask(&site.writer, move |storage| {
            database.set_len(length)?;
            database.sync_data()?;
            let file = storage.open(LOG_FILE, OpenMode::CreateNew)?;
            file.write_at(&log, 0)?;
            file.sync_data()?;
            files::end_replacing(storage)?;
            names.into_iter().map(|name| Ok((storage.open(&name, OpenMode::ReadWrite)?, name))).collect()
        }))?;
        self.set_handles(index, opened);
        if joining.lock.is_some() {
            sites[index].lock = joining.lock;
        }
        self.failed.fetch_and(!(1 << index), Ordering::AcqRel);
        self.untold.fetch_and(!(1 << index), Ordering::AcqRel);
        Ok(Joined::Whole)
    }

    /// The slot's drive is another one now: its copy, if it has one open, is left.
    pub fn leave(&self, slot: usize) {
        let sites = self.sites.write().expect("no holder of this lock panics");
        let Some(index) = index_of(&sites, slot) else { return };
        self.failed.fetch_or(1 << index, Ordering::AcqRel);
    }

    /// Notes that the joining copy lacks these bytes of the database again.
    pub(super) fn note_rewritten(&self, offset: u64, length: u64) {
        if length > 0 && self.is_joining.load(Ordering::Acquire) {
            let chunk = CHUNK_BYTES as u64;
            let chunks = offset / chunk..=(offset + length - 1) / chunk;
            self.rewritten.lock().expect("no holder of this lock panics").extend(chunks);
        }
    }

    /// The index of the place, and whether it is a new one.
    fn site_for(&self, place: &CopyPlace) -> io::Result<(usize, bool)> {
        let mut sites = self.sites.write().expect("no holder of this lock panics");
        if let Some(index) = index_of(&sites, place.slot) {
            return Ok((index, false));
        }
        let index = sites.len();
        self.failed.fetch_or(1 << index, Ordering::AcqRel);
        sites.push(Site::start(place.clone())?);
        Ok((index, true))
    }

    /// The first current copy, and its database.
    fn source<'a>(&self, sites: &'a [Site]) -> io::Result<(&'a Site, Arc<dyn StorageFile>)> {
        let index = (0..sites.len()).find(|index| self.is_current(*index));
        let index = index.ok_or_else(|| io::Error::other("no copy of the metadata is left"))?;
        Ok((&sites[index], self.file(DATABASE_FILE)?.handle(index)?))
    }

    fn file(&self, path: &str) -> io::Result<Arc<MirroredFile>> {
        let files = self.files.lock().expect("no holder of this lock panics");
        files.get(path).cloned().ok_or_else(|| io::Error::other("the metadata is closed"))
    }

    fn set_handles(&self, index: usize, opened: Vec<(Arc<dyn StorageFile>, String)>) {
        let files = self.files.lock().expect("no holder of this lock panics");
        for (handle, name) in opened {
            if let Some(file) = files.get(&name) {
                file.set_handle(index, handle);
            }
        }
    }
}

fn index_of(sites: &[Site], slot: usize) -> Option<usize> {
    sites.iter().position(|site| site.place.slot == slot)
}

fn read_at_most(file: &dyn StorageFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let read = file.read_at(&mut buffer, offset)?;
    buffer.truncate(read);
    Ok(buffer)
}

/// Cuts off what the log holds beyond the last acknowledged commit; an error when it does not hold all up to there.
fn cut_log(storage: &dyn Storage, settled: Settled) -> io::Result<()> {
    let log = storage.open(LOG_FILE, OpenMode::ReadWrite)?;
    if settled.frames == 0 {
        // All of it was moved, and the database synced, before the log began anew.
        log.set_len(0)?;
    } else {
        let reached = LogState::read_up_to(&*log, settled.frames)?;
        let reached = reached
            .filter(|reached| reached.salts() == settled.salts && reached.is_at(settled.frames, settled.checksum));
        let reached = reached.ok_or_else(|| io::Error::other("its log does not hold the last acknowledged commit"))?;
        log.set_len(reached.bytes())?;
    }
    log.sync_data()?;
    storage.sync_dir(FOLDER)
}
