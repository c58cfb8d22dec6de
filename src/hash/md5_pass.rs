//! One pass of MD5 over the bytes of several streams, side by side.

use bytes::{Buf, Bytes};

use super::md5::{Md5, update_blocks};
use super::md5_kernel::{BLOCK_BYTES, STREAMS_MAX};

/// Bytes of each stream in one pass; between two of them newcomers join.
const PASS_BYTES: usize = 64 << 10;

/// Bytes of a stream to be hashed next, in pieces, and the state they are hashed into.
#[derive(Debug)]
pub struct Portion {
    pub state: Md5,
    /// In reverse: the last one is next.
    pieces: Vec<Bytes>,
}

impl Portion {
    pub fn new(state: Md5, mut pieces: Vec<Bytes>) -> Portion {
        pieces.reverse();
        Portion { state, pieces }
    }

    pub fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Hashes up to so many bytes, alone.
    pub fn advance(&mut self, mut bytes: usize) {
        while bytes > 0
            && let Some(piece) = self.pieces.last_mut()
        {
            let taken = piece.len().min(bytes);
            self.state.update(&piece[..taken]);
            self.consume(taken);
            bytes -= taken;
        }
    }

    /// Hashes what is no whole block before the next whole block of one piece, and gives the bytes of whole blocks there.
    fn align(&mut self) -> usize {
        while let Some(piece) = self.pieces.last() {
            let buffered = self.state.tail_bytes();
            if buffered == 0 && piece.len() >= BLOCK_BYTES {
                return piece.len() / BLOCK_BYTES * BLOCK_BYTES;
            }
            self.advance((BLOCK_BYTES - buffered).min(piece.len().max(1)));
        }
        0
    }

    fn consume(&mut self, bytes: usize) {
        let Some(piece) = self.pieces.last_mut() else { return };
        piece.advance(bytes);
        if piece.is_empty() {
            self.pieces.pop();
        }
    }
}

/// Hashes on of each portion, at most `STREAMS_MAX` of them, up to `PASS_BYTES`.
pub fn pass<'a>(portions: impl Iterator<Item = &'a mut Portion>) {
    let mut ready: Vec<(&mut Portion, usize)> = portions
        .map(|portion| {
            let whole = portion.align();
            (portion, whole)
        })
        .filter(|(_, whole)| *whole > 0)
        .collect();
    assert!(ready.len() <= STREAMS_MAX, "a pass has a lane for each stream");
    let Some(bytes) = ready.iter().map(|(_, whole)| (*whole).min(PASS_BYTES)).min() else { return };
    let pieces: Vec<Bytes> = ready.iter().filter_map(|(portion, _)| portion.pieces.last().cloned()).collect();
    let inputs: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..bytes]).collect();
    let mut states: Vec<&mut Md5> = ready.iter_mut().map(|(portion, _)| &mut portion.state).collect();
    update_blocks(&mut states, &inputs);
    ready.into_iter().for_each(|(portion, _)| portion.consume(bytes));
}

/// Hashes all of the portions, on the calling thread.
pub fn hash_all(portions: &mut [Portion]) {
    for batch in portions.chunks_mut(STREAMS_MAX) {
        while batch.iter().any(|portion| !portion.is_done()) {
            pass(batch.iter_mut());
        }
    }
}
