//! A part of an object from front to back, as a guest reads it: one place in one open stream.
//!
//! Invariants: every byte is given once, in order; a fault stays, so that it never looks like the end; a source that ends
//! before its part does is a fault. The stream reads ahead by itself (`pool::StripeReader`). Blocks: for hook threads.

use bytes::{Buf, Bytes};

use super::object::{ObjectFault, ObjectSource};
use crate::limits;

/// Where the bytes come from, in pieces of the source's own size; `None` at the end. Whoever holds it holds the bytes: they
/// are there to the end, even if the object is deleted.
pub(super) trait ByteStream {
    fn next(&mut self) -> Result<Option<Bytes>, ObjectFault>;
}

/// An open part of an object.
pub struct PartReader {
    stream: Box<dyn ByteStream>,
    /// Bytes that have come, and were not asked for yet.
    ready: Bytes,
    /// Offset in the object of the next byte, and of the part's end.
    at: u64,
    end: u64,
    fault: Option<ObjectFault>,
}

impl PartReader {
    /// From `offset` so many bytes, or all that follow; what lies behind the end of the object is not there.
    pub(super) fn open(object: &dyn ObjectSource, offset: u64, length: Option<u64>) -> Result<PartReader, ObjectFault> {
        let size = object.size()?;
        let at = offset.min(size);
        let end = length.map_or(size, |length| at.saturating_add(length).min(size));
        Ok(PartReader { stream: object.open(at..end)?, ready: Bytes::new(), at, end, fault: None })
    }

    /// The next bytes; fewer than asked for only at the end.
    pub(super) fn read(&mut self, length: u32) -> Result<Vec<u8>, ObjectFault> {
        let wanted = u64::from(length).min(self.end - self.at) as usize;
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let piece = self.take(wanted - bytes.len())?;
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Passes over bytes of `object`, and gives how many they were.
    pub(super) fn skip(&mut self, object: &dyn ObjectSource, length: u64) -> Result<u64, ObjectFault> {
        let length = length.min(self.end - self.at);
        if length > self.ready.len() as u64 + limits::HOOK_SKIP_READ_BYTES {
            self.told()?;
            let at = self.at + length;
            // The old stream goes when the new one is there: between the two the bytes could be given away.
            self.stream = object.open(at..self.end)?;
            (self.ready, self.at) = (Bytes::new(), at);
            return Ok(length);
        }
        let mut left = length as usize;
        while left > 0 {
            left -= self.take(left)?.len();
        }
        Ok(length)
    }

    /// From 1 to `most` bytes of those that are left.
    fn take(&mut self, most: usize) -> Result<Bytes, ObjectFault> {
        self.told()?;
        while self.ready.is_empty() {
            match self.stream.next() {
                Ok(Some(piece)) => self.ready = piece,
                Ok(None) => {
                    let short = format!("the object ends at byte {}, {} bytes early", self.at, self.end - self.at);
                    return Err(self.keep(ObjectFault::Failed(short)));
                }
                Err(fault) => return Err(self.keep(fault)),
            }
        }
        let piece = self.ready.split_to(most.min(self.ready.len()));
        self.at += piece.remaining() as u64;
        Ok(piece)
    }

    fn told(&self) -> Result<(), ObjectFault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn keep(&mut self, fault: ObjectFault) -> ObjectFault {
        self.fault = Some(fault.clone());
        fault
    }
}
