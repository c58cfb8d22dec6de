//! How many objects may move at once: each transfer holds stripes in memory, so their number bounds the memory.
//!
//! Shared by all cores. A transfer over the bound waits a while, then its client is told to slow down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::{S3Code, S3Error};
use super::operation::Operation;
use crate::limits;

/// The bound, and how many transfers there are.
#[derive(Debug)]
pub struct Transfers {
    max: usize,
    open: AtomicUsize,
}

impl Transfers {
    pub fn new(max: usize) -> Arc<Transfers> {
        Arc::new(Transfers { max, open: AtomicUsize::new(0) })
    }

    /// Transfers under way.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn try_begin(self: &Arc<Self>) -> Option<Transfer> {
        let free = |open: usize| (open < self.max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).ok()?;
        Some(Transfer(self.clone()))
    }

    /// Begins a transfer, at the latest after `TRANSFER_WAIT_MAX`.
    async fn begin(self: &Arc<Self>) -> Result<Transfer, S3Error> {
        let mut waited = std::time::Duration::ZERO;
        loop {
            if let Some(transfer) = self.try_begin() {
                return Ok(transfer);
            }
            if waited >= limits::TRANSFER_WAIT_MAX {
                let text = format!("{} objects move already, as many as memory.budget_bytes has room for", self.max);
                return Err(S3Error::with(S3Code::SlowDown, text));
            }
            monoio::time::sleep(limits::TRANSFER_POLL).await;
            waited += limits::TRANSFER_POLL;
        }
    }

    /// Begins a transfer where the operation is one.
    pub(super) async fn admit(self: &Arc<Self>, operation: Operation) -> Result<Option<Transfer>, S3Error> {
        use Operation::{CopyObject, GetObject, PostObject, PutObject, UploadPart, UploadPartCopy};
        match operation {
            CopyObject | GetObject | PostObject | PutObject | UploadPart | UploadPartCopy => {
                self.begin().await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A transfer under way; it ends with the value.
#[derive(Debug)]
pub struct Transfer(Arc<Transfers>);

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_and_each_end_makes_room() {
        let transfers = Transfers::new(2);
        let first = transfers.try_begin().expect("there is room");
        let second = transfers.try_begin().expect("there is room");
        assert!(transfers.try_begin().is_none());
        drop(first);
        assert!(transfers.try_begin().is_some());
        drop(second);
        assert_eq!(transfers.open(), 0);
    }
}
