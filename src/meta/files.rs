//! The files of one copy of the metadata: what state they are in, and how they are replaced so that a crash is harmless.

use std::io;
use std::sync::Arc;

use super::log::LogState;
use super::open::{DATABASE_FILE, FOLDER, LOG_FILE};
use crate::hash;
use crate::seam::thread::Progress;
use crate::seam::{OpenMode, Storage, StorageFile};

const LOCK_FILE: &str = "meta/lock";
/// Present while the first database is made: its files may be thrown away.
pub(super) const CREATING_FILE: &str = "meta/creating";
/// Present while a copy is written anew: its files are not to be trusted.
const REPLACING_FILE: &str = "meta/replacing";
pub(super) const LOG_NEW_FILE: &str = "meta/log.new";
const JOURNAL_FILE: &str = "meta/aerie.db-journal";
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes compared, or copied, at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// What a copy's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// No database, or one whose creation was not finished.
    Nothing,
    /// A database that cannot be trusted, and why.
    Damaged(String),
    /// A database and how far its log goes.
    Sound(Option<LogState>),
    /// The drive failed while this ran, which was reported.
    Failed,
}

pub(super) fn lock(storage: &dyn Storage) -> io::Result<Arc<dyn StorageFile>> {
    if !storage.exists(FOLDER)? {
        storage.create_dir(FOLDER)?;
        storage.sync_dir("")?;
    }
    let file = storage.open(LOCK_FILE, OpenMode::Create)?;
    file.lock()?;
    Ok(file)
}

pub(super) fn examine(storage: &dyn Storage) -> io::Result<Found> {
    if storage.exists(REPLACING_FILE)? {
        return Ok(Found::Damaged("it was being written anew".to_owned()));
    }
    if storage.exists(CREATING_FILE)? {
        return Ok(Found::Nothing);
    }
    let Some(database) = open_present(storage, DATABASE_FILE)? else {
        let has_log = open_present(storage, LOG_FILE)?.is_some();
        return Ok(if has_log { Found::Damaged("the database is gone".to_owned()) } else { Found::Nothing });
    };
    let mut magic = [0; MAGIC.len()];
    database.read_at(&mut magic, 0)?;
    if magic != *MAGIC {
        return Ok(Found::Damaged("it is no database".to_owned()));
    }
    match open_present(storage, LOG_FILE)? {
        Some(log) => Ok(Found::Sound(LogState::read(log.as_ref())?)),
        None => Ok(Found::Sound(None)),
    }
}

/// Opens a file that exists and is not empty.
fn open_present(storage: &dyn Storage, path: &str) -> io::Result<Option<Arc<dyn StorageFile>>> {
    match storage.open(path, OpenMode::Read) {
        Ok(file) if file.is_empty()? => Ok(None),
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn put_marker(storage: &dyn Storage, marker: &str) -> io::Result<()> {
    storage.open(marker, OpenMode::Create)?.sync_data()?;
    storage.sync_dir(FOLDER)
}

/// Everything before this is durable before the marker goes.
pub(super) fn remove_marker(storage: &dyn Storage, marker: &str) -> io::Result<()> {
    storage.sync_dir(FOLDER)?;
    storage.remove(marker)?;
    storage.sync_dir(FOLDER)
}

/// Removes the database's files, of which some may be absent.
pub(super) fn clear(storage: &dyn Storage) -> io::Result<()> {
    for path in [DATABASE_FILE, LOG_FILE, LOG_NEW_FILE, JOURNAL_FILE] {
        match storage.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    storage.sync_dir(FOLDER)
}

pub(super) fn read_file(storage: &dyn Storage, path: &str, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = storage.open(path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
    if read < bytes.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

/// Writes a copy anew from one whose log is empty.
pub(super) fn replace_copy(source: &dyn Storage, target: &dyn Storage, progress: &Progress) -> io::Result<()> {
    begin_replacing(target)?;
    let from = source.open(DATABASE_FILE, OpenMode::Read)?;
    let to = target.open(DATABASE_FILE, OpenMode::CreateNew)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let read = from.read_at(&mut chunk, offset)?;
        if read == 0 {
            break;
        }
        to.write_at(&chunk[..read], offset)?;
        offset += read as u64;
        progress.step();
    }
    to.sync_data()?;
    end_replacing(target)
}

/// From here on the copy's files are not to be trusted; they are gone.
pub(super) fn begin_replacing(target: &dyn Storage) -> io::Result<()> {
    if !target.exists(FOLDER)? {
        target.create_dir(FOLDER)?;
        target.sync_dir("")?;
    }
    put_marker(target, REPLACING_FILE)?;
    clear(target)
}

/// They are whole, and synced.
pub(super) fn end_replacing(target: &dyn Storage) -> io::Result<()> {
    if target.exists(CREATING_FILE)? {
        remove_marker(target, CREATING_FILE)?;
    }
    remove_marker(target, REPLACING_FILE)
}

/// A checksum of each chunk of a file.
pub(super) fn checksums(storage: &dyn Storage, path: &str, progress: &Progress) -> io::Result<Vec<[u8; 16]>> {
    let file = storage.open(path, OpenMode::Read)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut sums = Vec::new();
    loop {
        let read = file.read_at(&mut chunk, sums.len() as u64 * CHUNK_BYTES as u64)?;
        if read == 0 {
            return Ok(sums);
        }
        sums.push(hash::block_checksum(0, &[], &chunk[..read]));
        progress.step();
    }
}
