//! Stream: the event's object from front to back, however large it is, as `std::io::Read` and as pieces.
//!
//! Promises: no more than one piece lies in the guest's memory; a fault of the host is an error of the reader, never its end.

use std::io;

use crate::{Error, Failure, object};

/// Bytes of a piece: large enough that the cost of a call does not matter, small beside any hook's memory.
const PIECE_BYTES: u32 = 256 << 10;

/// A part of the object that is open.
pub struct Stream(object::Reader);

impl Stream {
    /// All of the object.
    pub fn open() -> Result<Stream, Error> {
        Stream::part(0, None)
    }

    /// From `offset` so many bytes, or all that follow.
    pub fn part(offset: u64, length: Option<u64>) -> Result<Stream, Error> {
        object::open(offset, length).map(Stream)
    }

    /// The next `length` bytes; fewer only at the end.
    pub fn exactly(&self, length: u32) -> Result<Vec<u8>, Error> {
        self.0.read(length)
    }

    /// Passes over bytes; gives how many they were, fewer only at the end.
    pub fn skip(&self, length: u64) -> Result<u64, Error> {
        self.0.skip(length)
    }

    /// What is left, in pieces of 256 KiB.
    pub fn pieces(self) -> impl Iterator<Item = Result<Vec<u8>, Error>> {
        let mut ended = false;
        std::iter::from_fn(move || {
            let piece = if ended { return None } else { self.exactly(PIECE_BYTES) };
            ended = piece.as_ref().map_or(true, |bytes| bytes.len() < PIECE_BYTES as usize);
            Some(piece).filter(|piece| !matches!(piece, Ok(bytes) if bytes.is_empty()))
        })
    }
}

impl io::Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(PIECE_BYTES as usize);
        let bytes = self.exactly(most as u32).map_err(io::Error::other)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// What came through `std::io`: the host's errors as they were; content that a decoder does not take is a lasting failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(error) => Failure::lasting(error.to_string()),
        }
    }
}
