//! MD5 of several streams in one pass over SIMD lanes, by a thread that hashes for all cores.
//!
//! A single stream cannot use SIMD: each step waits for the one before. Streams that have bytes at the same time can: on
//! AVX-512, 16 lanes give eleven times the throughput of one stream, and even two streams in them are faster than one
//! after the other. An upload hands its bytes over in portions; the thread hashes one portion of each upload side by
//! side, and before it starts it waits a moment for as many as came together the last time. The cores receive
//! meanwhile.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;
use md5_many::{Md5Many, Md5State};

/// Streams in one pass: the widest kernel is full.
pub(super) const LANES: usize = 16;
/// Bytes of each stream in one pass; between two of them newcomers join.
const PASS_BYTES: usize = 64 << 10;
/// A portion waits no longer than this for others to be hashed with: about as long as each of eight clients of a fast
/// network takes for its next one. An upload that is alone never waits.
const GATHER_WAIT: Duration = Duration::from_millis(3);

/// Looks at the processor once.
static ENGINE: LazyLock<Md5Many> = LazyLock::new(Md5Many::new);
/// Fewest streams for which one pass over the lanes beats one stream after the other.
static STREAMS_MIN: LazyLock<usize> = LazyLock::new(measure_streams_min);
/// The thread's queue; `None` when the thread could not be started. It holds one portion of each upload at most.
static QUEUE: LazyLock<Option<Sender<Portion>>> = LazyLock::new(start);
/// Uploads that hand portions over.
static UPLOADS: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a stream to be hashed next, in pieces, and the state they are hashed into.
#[derive(Debug)]
pub(super) struct Portion {
    pub state: Md5State,
    /// In reverse: the last one is next.
    pieces: Vec<Bytes>,
    reply: Option<oneshot::Sender<Md5State>>,
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

impl Portion {
    pub fn new(state: Md5State, mut pieces: Vec<Bytes>) -> Portion {
        pieces.reverse();
        Portion { state, pieces, reply: None }
    }

    /// Hands it to the thread; the answer is the state after it.
    pub fn hand_over(mut self) -> oneshot::Receiver<Md5State> {
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
            let buffered = (self.state.bytes_hashed() % BLOCK_BYTES as u64) as usize;
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

/// Bytes of an MD5 block.
const BLOCK_BYTES: usize = 64;

/// Hashes on of each portion, at most `LANES` of them, up to `PASS_BYTES`.
pub(super) fn pass(portions: &mut [Portion]) {
    assert!(portions.len() <= LANES, "a pass has a lane for each stream");
    let mut ready: Vec<(&mut Portion, usize)> = portions
        .iter_mut()
        .map(|portion| {
            let whole = portion.align();
            (portion, whole)
        })
        .filter(|(_, whole)| *whole > 0)
        .collect();
    if ready.len() < *STREAMS_MIN {
        ready.into_iter().for_each(|(portion, whole)| portion.advance(whole.min(PASS_BYTES)));
        return;
    }
    let bytes = ready.iter().map(|(_, whole)| *whole).min().unwrap_or(0).min(PASS_BYTES);
    for group in ready.chunks_mut(ENGINE.lanes()) {
        let mut states: Vec<Md5State> = group.iter().map(|(portion, _)| portion.state).collect();
        let mut inputs: Vec<&[u8]> =
            group.iter().filter_map(|(portion, _)| portion.pieces.last()).map(|piece| &piece[..bytes]).collect();
        // Idle lanes hash the first input again: a batch with gaps would take a slow path.
        states.resize(ENGINE.lanes(), Md5State::new());
        inputs.resize(ENGINE.lanes(), inputs[0]);
        ENGINE.update_many(&mut states, &inputs);
        for ((portion, _), state) in group.iter_mut().zip(states) {
            portion.state = state;
            portion.consume(bytes);
        }
    }
}

/// Hashes all of the portions, on the calling thread.
pub(super) fn hash_all(portions: &mut [Portion]) {
    for batch in portions.chunks_mut(LANES) {
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
    let mut portions: Vec<Portion> = Vec::with_capacity(LANES);
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
            portions.extend(queue.try_iter().take(LANES - portions.len()));
            expected = expected.max(portions.len());
        }
    }
}

/// Waits a moment for others, where others are to be expected.
fn gather(queue: &Receiver<Portion>, portions: &mut Vec<Portion>, expected: usize) {
    let deadline = crossbeam_channel::after(GATHER_WAIT);
    loop {
        portions.extend(queue.try_iter().take(LANES - portions.len()));
        if portions.len() >= expected.min(UPLOADS.load(Ordering::Relaxed)).min(LANES) {
            return;
        }
        crossbeam_channel::select! {
            recv(queue) -> portion => portions.extend(portion),
            recv(deadline) -> _ => return,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures the processor, once, for speed alone")]
fn measure_streams_min() -> usize {
    let bytes = vec![0x5a; 32 << 10];
    let best_of_three = |work: &mut dyn FnMut()| {
        let mut times = [0u128; 3];
        for time in &mut times {
            let started = std::time::Instant::now();
            work();
            *time = started.elapsed().as_nanos().max(1);
        }
        times.into_iter().min().unwrap_or(1)
    };
    let mut alone = Md5State::new();
    let one = best_of_three(&mut || alone.update(&bytes));
    let lanes = ENGINE.lanes();
    let (mut states, inputs) = (vec![Md5State::new(); lanes], vec![bytes.as_slice(); lanes]);
    let pass = best_of_three(&mut || ENGINE.update_many(&mut states, &inputs));
    (pass / one + 1).clamp(2, LANES as u128) as usize
}
