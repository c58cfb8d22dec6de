//! Opening: which copies can be trusted, which one is ahead, and making all of them equal.
//!
//! What is relied on:
//! - An acknowledged commit was synced in the log of every copy that the labels call current. Any current, sound copy
//!   therefore has all of them; a copy that is not current, or that is being replaced, is never a source.
//! - A page is moved from the log into the database only after the log was synced on all current copies, and a log begins
//!   anew only after the database was synced on all of them. So under the newest log every current database is right:
//!   where databases differ, the log covers it.
//!
//! The copy whose log began last, and of those the one with most committed frames, is ahead. Its log replaces the others
//! (by rename: each copy has its old or its new log, both of which fit its database), then the log is moved into all
//! databases at once, which must then be equal byte for byte; one that differs is damaged. What is damaged, absent or
//! not current is written anew from a good copy, under a marker that keeps a half-written copy from being trusted.
//! A crash at any point leaves copies for which the same holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::files::{self, CREATING_FILE, Found, LOG_NEW_FILE};
use super::log::LogState;
use super::open::{DATABASE_FILE, Database, LOG_FILE, connect, connect_to_new};
use super::vfs::CopyPlace;
use super::{Copy, MetaError, OnCopyFailed, schema};
use crate::limits;
use crate::seam::thread::{self, Progress};
use crate::seam::{Storage, StorageFile, World, replace_file};

/// Opens the database over all copies that are, or can be made, current and equal.
pub(super) fn open_copies(
    copies: Vec<Copy>,
    pool_id: &str,
    on_copy_failed: OnCopyFailed,
    world: World,
) -> Result<Database, MetaError> {
    let mut opening = Opening { sites: Vec::new(), on_copy_failed, world };
    for copy in copies {
        opening.add(copy)?;
    }
    if opening.is_new() {
        opening.create(pool_id)?;
    } else {
        opening.unite(pool_id)?;
        opening.replace_others()?;
    }
    let sites = opening.sites.iter().filter(|site| matches!(site.found, Found::Sound(_)));
    let places = sites.clone().map(Site::place).collect();
    let locks = sites.map(|site| site.lock.clone()).collect();
    Database::over(places, locks, opening.on_copy_failed, opening.world)
}

/// One copy while it is looked at.
struct Site {
    copy: Copy,
    lock: Arc<dyn StorageFile>,
    found: Found,
}

impl Site {
    fn place(&self) -> CopyPlace {
        CopyPlace { slot: self.copy.slot, storage: self.copy.storage.clone() }
    }

    /// May be read from.
    fn log(&self) -> Option<Option<LogState>> {
        match &self.found {
            Found::Sound(log) if self.copy.current => Some(*log),
            _ => None,
        }
    }
}

struct Opening {
    sites: Vec<Site>,
    on_copy_failed: OnCopyFailed,
    world: World,
}

impl Opening {
    /// Locks a copy and looks at it. One whose drive fails is left out.
    fn add(&mut self, copy: Copy) -> Result<(), MetaError> {
        let prepared = watched(&copy.storage, |storage, _| {
            let lock = files::lock(storage)?;
            Ok((lock, files::examine(storage)?))
        });
        match prepared {
            Ok((lock, found)) => {
                if let Found::Damaged(reason) = &found {
                    tracing::warn!(slot = copy.slot, reason, "a copy of the metadata is damaged");
                }
                self.sites.push(Site { copy, lock, found });
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(MetaError::Unavailable(format!(
                "{} is used by another process; stop it first",
                copy.storage.describe()
            ))),
            Err(error) => {
                self.report_failed(copy.slot, &error);
                Ok(())
            }
        }
    }

    fn report_failed(&self, slot: usize, error: &dyn std::fmt::Display) {
        tracing::error!(slot, %error, "a copy of the metadata failed; replace the drive");
        (self.on_copy_failed)(slot);
    }

    fn is_new(&self) -> bool {
        self.sites.iter().any(|site| site.copy.current) && self.sites.iter().all(|site| site.found == Found::Nothing)
    }

    /// Indices of the copies that may be read from.
    fn good(&self) -> Vec<usize> {
        (0..self.sites.len()).filter(|index| self.sites[*index].log().is_some()).collect()
    }

    /// Runs `work` on one copy; one whose drive fails, or does not answer, is left out from here on. `None` then.
    fn attempt<T: Send + 'static>(
        &mut self,
        index: usize,
        work: impl FnOnce(&dyn Storage) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let site = &self.sites[index];
        match watched(&site.copy.storage, |storage, _| work(storage)) {
            Ok(done) => Some(done),
            Err(error) => {
                self.leave_out(index, &error);
                None
            }
        }
    }

    fn leave_out(&mut self, index: usize, error: &io::Error) {
        self.report_failed(self.sites[index].copy.slot, error);
        self.sites[index].found = Found::Failed;
    }

    /// Makes the first database on all copies. A crash leaves the marker, and the next start begins again.
    fn create(&mut self, pool_id: &str) -> Result<(), MetaError> {
        for index in 0..self.sites.len() {
            let cleared = self.attempt(index, |storage| {
                files::put_marker(storage, CREATING_FILE)?;
                files::clear(storage)
            });
            if cleared.is_some() {
                self.sites[index].found = Found::Sound(None);
                self.sites[index].copy.current = true;
            }
        }
        let database = self.database()?;
        let connection = connect_to_new(&database)?;
        schema::create(&connection, pool_id)?;
        empty_log(&connection)?;
        drop(connection);
        self.leave_failed(&database);
        for index in self.good() {
            self.attempt(index, |storage| files::remove_marker(storage, CREATING_FILE));
        }
        if self.good().is_empty() { Err(self.none_good()) } else { Ok(()) }
    }

    /// Makes all good copies equal. On the way some may turn out not to be good.
    fn unite(&mut self, pool_id: &str) -> Result<(), MetaError> {
        loop {
            let before = self.good();
            if before.is_empty() {
                return Err(self.none_good());
            }
            self.equalize_logs();
            match self.move_log(pool_id) {
                Ok(()) => self.compare(),
                Err(MetaError::Damaged(reason)) => {
                    tracing::warn!(reason, "a copy of the metadata is damaged; looking for it");
                    self.check_each();
                    if before == self.good() {
                        return Err(MetaError::Damaged(reason));
                    }
                }
                Err(error) => return Err(error),
            }
            if before == self.good() {
                return Ok(());
            }
        }
    }

    /// Gives every good copy the log of the one that is ahead.
    fn equalize_logs(&mut self) {
        let good = self.good();
        let Some(ahead) = good.iter().copied().max_by_key(|index| self.sites[*index].log()) else { return };
        let Some(Some(log)) = self.sites[ahead].log() else { return };
        let source = self.sites[ahead].copy.storage.clone();
        for index in good.into_iter().filter(|index| *index != ahead) {
            if self.sites[index].log() == Some(Some(log)) {
                continue;
            }
            // A source that fails is told from a target that fails by reading it first.
            let read = self.attempt(ahead, move |storage| files::read_file(storage, LOG_FILE, log.bytes()));
            let Some(bytes) = read else { return };
            tracing::info!(slot = self.sites[index].copy.slot, from = %source.describe(), "a metadata log is caught up");
            let replaced = self.attempt(index, move |storage| replace_file(storage, LOG_FILE, LOG_NEW_FILE, &bytes));
            if replaced.is_some() {
                self.sites[index].found = Found::Sound(Some(log));
            }
        }
    }

    /// Moves the log into the databases of all good copies.
    fn move_log(&mut self, pool_id: &str) -> Result<(), MetaError> {
        let database = self.database()?;
        let moved = connect(&database).and_then(|connection| {
            schema::check(&connection, pool_id)?;
            empty_log(&connection)
        });
        self.leave_failed(&database);
        drop(database);
        // The last connection removed the log, where it could.
        for index in self.good() {
            self.examine_again(index);
        }
        moved
    }

    fn examine_again(&mut self, index: usize) {
        if let Some(found) = self.attempt(index, files::examine) {
            self.sites[index].found = found;
        }
    }

    /// Lets SQLite check every good copy by itself.
    fn check_each(&mut self) {
        for index in self.good() {
            let site = &self.sites[index];
            if let Err(error) = self.check(site) {
                tracing::error!(slot = site.copy.slot, %error, "a copy of the metadata is damaged");
                self.sites[index].found = Found::Damaged(error.to_string());
            }
        }
        // A check ends with an empty log: what is left of the others is moved in the next turn.
        for index in self.good() {
            self.examine_again(index);
        }
    }

    fn check(&self, site: &Site) -> Result<(), MetaError> {
        let database = Database::over(vec![site.place()], Vec::new(), Arc::new(|_| true), self.world.clone())?;
        let connection = connect(&database)?;
        empty_log(&connection)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(MetaError::Damaged(verdict)) }
    }

    /// Compares the good databases byte for byte. Of those that differ, the largest group that SQLite finds sound is kept.
    fn compare(&mut self) {
        let good = self.good();
        let storages: Vec<_> = good.iter().map(|index| self.sites[*index].copy.storage.clone()).collect();
        let sums: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = storages
                .iter()
                .map(|storage| {
                    let sum =
                        |storage: &dyn Storage, progress: &Progress| files::checksums(storage, DATABASE_FILE, progress);
                    scope.spawn(move || watched(storage, sum))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("comparing does not panic")).collect()
        });
        let mut groups: BTreeMap<Vec<[u8; 16]>, Vec<usize>> = BTreeMap::new();
        for (index, sums) in good.into_iter().zip(sums) {
            match sums {
                Ok(sums) => groups.entry(sums).or_default().push(index),
                Err(error) => self.leave_out(index, &error),
            }
        }
        if groups.len() < 2 {
            return;
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0]));
        let sound = groups.iter().position(|group| self.check(&self.sites[group[0]]).is_ok());
        let Some(kept) = sound else {
            groups.concat().into_iter().for_each(|index| self.distrust(index));
            return;
        };
        for group in groups.iter().enumerate().filter(|(number, _)| *number != kept).map(|(_, group)| group) {
            group.iter().for_each(|index| self.distrust(*index));
        }
    }

    fn distrust(&mut self, index: usize) {
        let slot = self.sites[index].copy.slot;
        tracing::error!(slot, "a copy of the metadata differs from the others; it is written anew");
        self.sites[index].found = Found::Damaged("it differs from the others".to_owned());
    }

    /// Writes every other copy anew from a good one.
    fn replace_others(&mut self) -> Result<(), MetaError> {
        let good = self.good();
        let Some(source) = good.first().map(|index| self.sites[*index].copy.storage.clone()) else {
            return Err(self.none_good());
        };
        for index in (0..self.sites.len()).filter(|index| !good.contains(index)) {
            let site = &self.sites[index];
            if site.found == Found::Failed {
                continue;
            }
            tracing::info!(slot = site.copy.slot, from = %source.describe(), "a copy of the metadata is written anew");
            let from = source.clone();
            let replaced = watched(&site.copy.storage, move |target, progress| {
                files::replace_copy(from.as_ref(), target, progress)
            });
            match replaced {
                Ok(()) => {
                    self.sites[index].found = Found::Sound(None);
                    self.sites[index].copy.current = true;
                }
                Err(error) => {
                    self.report_failed(site.copy.slot, &error);
                    self.sites[index].found = Found::Failed;
                }
            }
        }
        Ok(())
    }

    /// The mirrored database over the good copies.
    fn database(&self) -> Result<Database, MetaError> {
        let places: Vec<_> = self.good().into_iter().map(|index| self.sites[index].place()).collect();
        if places.is_empty() {
            return Err(self.none_good());
        }
        Database::over(places, Vec::new(), self.on_copy_failed.clone(), self.world.clone())
    }

    /// Leaves out the copies that failed under a database; that was reported when it happened.
    fn leave_failed(&mut self, database: &Database) {
        let current = database.current_slots();
        for index in self.good() {
            if !current.contains(&self.sites[index].copy.slot) {
                self.sites[index].found = Found::Failed;
            }
        }
    }

    fn none_good(&self) -> MetaError {
        let state = |site: &Site| {
            let what = match &site.found {
                Found::Nothing => "empty".to_owned(),
                Found::Damaged(reason) => format!("damaged: {reason}"),
                Found::Sound(_) => "not current".to_owned(),
                Found::Failed => "its drive failed".to_owned(),
            };
            format!("slot {}: {what}", site.copy.slot)
        };
        let states: Vec<String> = self.sites.iter().map(state).collect();
        MetaError::Unavailable(format!(
            "no copy of the metadata is current and readable ({}); bring back a drive that holds one",
            states.join("; ")
        ))
    }
}

/// Does something with a drive that may hang: an error, when it does not get on.
fn watched<T: Send + 'static>(
    storage: &Arc<dyn Storage>,
    work: impl FnOnce(&dyn Storage, &Progress) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let of_thread = storage.clone();
    let done = thread::watched(limits::DRIVE_STALL_TIMEOUT, move |progress| work(&*of_thread, progress));
    done.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")))
}

fn empty_log(connection: &rusqlite::Connection) -> Result<(), MetaError> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        0 => Ok(()),
        _ => Err(MetaError::Unavailable("the metadata log is in use".to_owned())),
    }
}
