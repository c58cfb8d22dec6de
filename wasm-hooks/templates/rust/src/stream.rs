//! The event's object from front to back, however large it is: only one piece lies in the hook's memory. A `Stream` is an
//! `std::io::Read` as well, for decoders.

use std::io;

use crate::Failure;
use crate::aerie::hook::object::{self, Reader};
use crate::aerie::hook::types::Error;

const PIECE_BYTES: u32 = 256 << 10;

pub struct Stream(Reader);

pub fn open() -> Result<Stream, Error> {
    object::open(0, None).map(Stream)
}

impl Stream {
    pub fn pieces(self) -> impl Iterator<Item = Result<Vec<u8>, Error>> {
        std::iter::from_fn(move || {
            let piece = self.0.read(PIECE_BYTES);
            (!matches!(&piece, Ok(bytes) if bytes.is_empty())).then_some(piece)
        })
    }
}

impl io::Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read(PIECE_BYTES.min(into.len() as u32)).map_err(io::Error::other)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// Only what the host could not do is worth another attempt.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { retry: matches!(error, Error::Failed(_)), message: error.to_string() }
    }
}
