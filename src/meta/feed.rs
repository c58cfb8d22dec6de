//! The live feed: committed changes for those who listen right now, kept nowhere.
//!
//! Whoever may miss nothing reads the change log; a tap sees what is committed while it lives, and nothing before. Without
//! a tap the writer pays one atomic load for each fact. Taps are filled on the writer's thread and emptied on any other.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_channel::mpsc;
use futures_util::Stream;

use super::{Change, MetaError};
use crate::limits;

/// Says whether a tap wants a change. Called on the writer's thread, must not block.
pub type Wants = Box<dyn Fn(&Change) -> bool + Send>;

/// All taps of a store.
#[derive(Default)]
pub(super) struct Feed {
    any: AtomicBool,
    open: Mutex<Vec<Inlet>>,
}

struct Inlet {
    wants: Wants,
    changes: mpsc::Sender<Arc<Change>>,
}

/// The receiving end: a stream of changes. It ends when it was too slow, or when the store closes.
pub struct ChangeTap {
    changes: mpsc::Receiver<Arc<Change>>,
    feed: Arc<Feed>,
}

impl Feed {
    /// Whether a fact has to be told at all.
    pub fn is_tapped(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub fn tap(self: &Arc<Feed>, wants: Wants) -> Result<ChangeTap, MetaError> {
        let mut open = self.lock();
        open.retain(|inlet| !inlet.changes.is_closed());
        if open.len() >= limits::LISTENERS_MAX {
            return Err(MetaError::Busy);
        }
        let (sender, changes) = mpsc::channel(limits::LISTENER_CHANGES_MAX);
        open.push(Inlet { wants, changes: sender });
        self.any.store(true, Ordering::Release);
        Ok(ChangeTap { changes, feed: self.clone() })
    }

    /// Hands out what a group has committed. A tap that has no room left is closed: it would show a gap.
    pub fn tell(&self, committed: Vec<Change>) {
        if committed.is_empty() {
            return;
        }
        let mut open = self.lock();
        for change in committed.into_iter().map(Arc::new) {
            open.retain_mut(|inlet| {
                if !(inlet.wants)(&change) {
                    return true;
                }
                match inlet.changes.try_send(change.clone()) {
                    Ok(()) => true,
                    Err(error) => {
                        if error.is_full() {
                            let limit = limits::LISTENER_CHANGES_MAX;
                            tracing::warn!(limit, "a listener was too slow for the changes it wants and is ended");
                        }
                        false
                    }
                }
            });
        }
        self.any.store(!open.is_empty(), Ordering::Release);
    }

    /// Ends all taps.
    pub fn close(&self) {
        self.lock().clear();
        self.any.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Inlet>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for ChangeTap {
    type Item = Arc<Change>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<Change>>> {
        Pin::new(&mut self.changes).poll_next(context)
    }
}

impl Drop for ChangeTap {
    fn drop(&mut self) {
        self.changes.close();
        let mut open = self.feed.lock();
        open.retain(|inlet| !inlet.changes.is_closed());
        self.feed.any.store(!open.is_empty(), Ordering::Release);
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("taps", &self.lock().len()).finish()
    }
}

impl std::fmt::Debug for ChangeTap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeTap").finish_non_exhaustive()
    }
}
