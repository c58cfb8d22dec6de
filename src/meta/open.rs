//! The database over its mirrored copies, and connections to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::vfs::{self, Copies, CopyPlace, PAGE_BYTES, Vfs};
use super::{MetaError, OnCopyFailed};
use crate::seam::{StorageFile, World};

/// Folder of the metadata on each drive.
pub(super) const FOLDER: &str = "meta";
pub(super) const DATABASE_FILE: &str = "meta/aerie.db";
pub(super) const LOG_FILE: &str = "meta/aerie.db-wal";

/// A lock that another connection of this process holds is waited for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept by each connection; there are some sixty different ones.
const STATEMENTS_MAX: usize = 128;
/// Page cache of each connection, in KiB.
const CACHE_KIB: i64 = 8 << 10;

/// The mirrored files. Lives until the last connection to them is closed.
pub(super) struct Database {
    vfs: Vfs,
    copies: Arc<Copies>,
    /// Held so that no other process opens the files.
    _locks: Vec<Arc<dyn StorageFile>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("current", &self.current_slots()).finish_non_exhaustive()
    }
}

impl Database {
    pub fn over(
        places: Vec<CopyPlace>,
        locks: Vec<Arc<dyn StorageFile>>,
        on_copy_failed: OnCopyFailed,
        world: World,
    ) -> Result<Database, MetaError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("aerie-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let copies = Copies::new(places, on_copy_failed).map_err(|error| MetaError::Unavailable(error.to_string()))?;
        let copies = Arc::new(copies);
        let vfs = Vfs::register(&name, copies.clone(), world).map_err(MetaError::Unavailable)?;
        Ok(Database { vfs, copies, _locks: locks })
    }

    pub fn current_slots(&self) -> Vec<usize> {
        self.copies.current_slots()
    }

    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Bytes in the log since it last began anew.
    pub fn log_bytes(&self) -> u64 {
        self.copies.log_bytes.load(Ordering::Relaxed)
    }
}

/// Opens a connection, which must not outlive the database.
pub(super) fn connect(database: &Database) -> Result<Connection, MetaError> {
    set_up(open(database)?)
}

/// Like `connect`, for a database that has no files yet.
pub(super) fn connect_to_new(database: &Database) -> Result<Connection, MetaError> {
    let connection = open(database)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    vfs::reserve_checksums(&connection)?;
    set_up(connection)
}

fn open(database: &Database) -> Result<Connection, MetaError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags_and_vfs(DATABASE_FILE, flags, database.vfs.name())?)
}

fn set_up(connection: Connection) -> Result<Connection, MetaError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Without it SQLite prepares a statement anew whenever other values are bound to it, to look for a better plan: that
    // was half the cost of every read and write, and there are no statistics from which a better plan could come.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(MetaError::Unavailable(format!("SQLite kept journal mode {mode}, write-ahead logging is needed")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // What was replaced or deleted is overwritten where that costs no further page: a secret does not linger.
    connection.pragma_update(None, "secure_delete", "FAST")?;
    Ok(connection)
}
