//! Keeps the write-ahead log short without stalling commits.
//!
//! When the log has grown, a thread of its own moves it into the database while commits go on (a passive checkpoint);
//! once it is done, the writer moves the small rest between two groups, which lets the log start anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use rusqlite::Connection;

use super::MetaError;
use super::open::Database;

/// Bytes in the log at which a checkpoint begins.
const LOG_BYTES_SOFT: u64 = 8 << 20;

/// The writer's side. Dropping it ends the thread and waits for that.
pub(super) struct Checkpointer {
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    moved: Arc<AtomicBool>,
    running: bool,
    database: Arc<Database>,
}

impl Checkpointer {
    /// `connection` belongs to the checkpoint thread from here on.
    pub fn start(connection: Connection, database: Arc<Database>) -> Result<Checkpointer, MetaError> {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let moved = Arc::new(AtomicBool::new(false));
        let done = moved.clone();
        let thread = std::thread::Builder::new()
            .name("meta-checkpoint".to_owned())
            .spawn(move || checkpoint_when_woken(&connection, &woken, &done))
            .map_err(|error| MetaError::Unavailable(error.to_string()))?;
        Ok(Checkpointer { wake: Some(wake), thread: Some(thread), moved, running: false, database })
    }

    /// On the writer's thread, after each group.
    pub fn after_commit(&mut self, connection: &Connection) {
        if self.running {
            if self.moved.swap(false, Ordering::AcqRel) {
                self.running = false;
                checkpoint(connection);
            }
        } else if self.database.log_bytes() > LOG_BYTES_SOFT {
            self.running = self.wake.as_ref().is_some_and(|wake| wake.try_send(()).is_ok());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the metadata checkpointer panicked");
        }
    }
}

fn checkpoint_when_woken(connection: &Connection, woken: &Receiver<()>, done: &AtomicBool) {
    while woken.recv().is_ok() {
        checkpoint(connection);
        done.store(true, Ordering::Release);
    }
}

fn checkpoint(connection: &Connection) {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0));
    if let Err(error) = moved {
        tracing::warn!(%error, "the metadata log could not be moved into the database; it is tried again");
    }
}
