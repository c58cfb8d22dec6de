//! MD5 of several streams in one pass over SIMD lanes, by a thread that hashes for all cores.
//!
//! A single stream leaves most of a processor idle: each step waits for the one before. Streams that have bytes at the
//! same time share it: on AVX-512 two are hashed in the time of one, and sixteen in little more. An upload hands its bytes
//! over in portions; the thread hashes one portion of each upload side by side, and before it starts it waits a moment for
//! as many as came together the last time. The cores receive meanwhile.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;

use super::md5::{Md5, update_blocks};
use super::md5_kernel::{BLOCK_BYTES, STREAMS_MAX};

/// Bytes of each stream in one pass; between two of them newcomers join.
const PASS_BYTES: usize = 64 << 10;
/// A portion waits no longer than this for others to be hashed with: about as long as each of eight clients of a fast
/// network takes for its next one. An upload that is alone never waits.
const GATHER_WAIT: Duration = Duration::from_millis(3);

/// The thread's queue; `None` when the thread could not be started. It holds one portion of each upload at most.
static QUEUE: LazyLock<Option<Sender<Portion>>> = LazyLock::new(start);
/// The time between two looks at who is still to be waited for.
const GATHER_LOOK: Duration = Duration::from_micros(250);
/// Uploads that hand portions over, but for those that wait for drives.
static UPLOADS: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a stream to be hashed next, in pieces, and the state they are hashed into.
#[derive(Debug)]
pub(super) struct Portion {
    pub state: Md5,
    /// In reverse: the last one is next.
    pieces: Vec<Bytes>,
    reply: Option<oneshot::Sender<Md5>>,
}

/// An upload that hands portions over, as long as it lives.
#[derive(Debug)]
pub(super) struct Upload(());

impl Upload {
    pub fn begin() -> Upload {
        UPLOADS.fetch_add(1, Ordering::Relaxed);
        Upload(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        UPLOADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An upload that nobody need wait for, as long as this lives.
#[derive(Debug)]
pub(super) struct Aside(());

impl Upload {
    pub fn step_aside(&self) -> Aside {
        UPLOADS.fetch_sub(1, Ordering::Relaxed);
        Aside(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        UPLOADS.fetch_add(1, Ordering::Relaxed);
    }
}

impl Portion {
    pub fn new(state: Md5, mut pieces: Vec<Bytes>) -> Portion {
        pieces.reverse();
        Portion { state, pieces, reply: None }
    }

    /// Hands it to the thread; the answer is the state after it.
    pub fn hand_over(mut self) -> oneshot::Receiver<Md5> {
        let (reply, answer) = oneshot::channel();
        self.reply = Some(reply);
        let refused = match &*QUEUE {
            Some(queue) => queue.send(self).err().map(|refused| refused.into_inner()),
            None => Some(self),
        };
        if let Some(mut portion) = refused {
            portion.advance(usize::MAX);
            portion.answer();
        }
        answer
    }

    fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    fn answer(self) {
        if let Some(reply) = self.reply {
            // The upload may have been given up.
            _ = reply.send(self.state);
        }
    }

    /// Hashes up to so many bytes, alone.
    fn advance(&mut self, mut bytes: usize) {
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
pub(super) fn pass(portions: &mut [Portion]) {
    assert!(portions.len() <= STREAMS_MAX, "a pass has a lane for each stream");
    let mut ready: Vec<(&mut Portion, usize)> = portions
        .iter_mut()
        .map(|portion| {
            let whole = portion.align();
            (portion, whole)
        })
        .filter(|(_, whole)| *whole > 0)
        .collect();
    let Some(bytes) = ready.iter().map(|(_, whole)| (*whole).min(PASS_BYTES)).min() else { return };
    let pieces: Vec<Bytes> = ready.iter().filter_map(|(portion, _)| portion.pieces.last().cloned()).collect();
    let inputs: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..bytes]).collect();
    let mut states: Vec<&mut Md5> = ready.iter_mut().map(|(portion, _)| &mut portion.state).collect();
    update_blocks(&mut states, &inputs);
    ready.into_iter().for_each(|(portion, _)| portion.consume(bytes));
}

/// Hashes all of the portions, on the calling thread.
pub(super) fn hash_all(portions: &mut [Portion]) {
    for batch in portions.chunks_mut(STREAMS_MAX) {
        while batch.iter().any(|portion| !portion.is_done()) {
            pass(batch);
        }
    }
}

fn start() -> Option<Sender<Portion>> {
    let (queue, portions) = crossbeam_channel::unbounded();
    match std::thread::Builder::new().name("md5".to_owned()).spawn(move || run(&portions)) {
        Ok(_) => Some(queue),
        Err(error) => {
            tracing::warn!(%error, "no thread for MD5; each core hashes its own uploads");
            None
        }
    }
}

fn run(queue: &Receiver<Portion>) {
    let mut portions: Vec<Portion> = Vec::with_capacity(STREAMS_MAX);
    // As many as came together the last time.
    let mut expected = 1;
    loop {
        match queue.recv() {
            Ok(first) => portions.push(first),
            Err(_) => return,
        }
        gather(queue, &mut portions, expected);
        expected = portions.len();
        while !portions.is_empty() {
            pass(&mut portions);
            portions.extract_if(.., |portion| portion.is_done()).for_each(Portion::answer);
            portions.extend(queue.try_iter().take(STREAMS_MAX - portions.len()));
            expected = expected.max(portions.len());
        }
    }
}

/// Waits a moment for others, where others are to be expected.
fn gather(queue: &Receiver<Portion>, portions: &mut Vec<Portion>, expected: usize) {
    for _ in 0..=GATHER_WAIT.as_micros() / GATHER_LOOK.as_micros() {
        portions.extend(queue.try_iter().take(STREAMS_MAX - portions.len()));
        if portions.len() >= expected.min(UPLOADS.load(Ordering::Relaxed)).min(STREAMS_MAX) {
            return;
        }
        portions.extend(queue.recv_timeout(GATHER_LOOK));
    }
}
