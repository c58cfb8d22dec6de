//! MD5 of large uploads, by a thread that hashes for all cores in SIMD lanes.
//!
//! A single stream leaves most of a processor idle: each step waits for the one before. Streams that have bytes at the
//! same time share it: on AVX-512 two are hashed in the time of one, and sixteen in little more. Each upload has a mailbox
//! that it fills while it receives; the thread empties it, and hashes what it took of all uploads side by side. Where
//! one has nothing left that others had a moment ago, the thread waits a moment for it: an upload alone costs as much.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use futures_channel::oneshot;

use super::Md5;
use super::md5_kernel::STREAMS_MAX;
use super::md5_pass::{Portion, pass};

/// An upload waits while its mailbox holds as much; as much may be in the thread's hands.
const MAILBOX_BYTES_MAX: usize = 512 << 10;
/// Nobody is waited for longer than this: about as long as each of eight clients of a fast network takes for its next
/// bytes. An upload that is alone never waits.
const GATHER_WAIT: Duration = Duration::from_millis(3);
/// The time between two looks at who is still to be waited for.
const GATHER_LOOK: Duration = Duration::from_micros(250);

/// Mailboxes that the thread does not look into yet; `None` when the thread could not be started. Each upload is here
/// at most once.
static QUEUE: LazyLock<Option<Sender<Arc<Mailbox>>>> = LazyLock::new(start);
/// Uploads that the thread hashes for, but for those that wait for drives.
static UPLOADS: AtomicUsize = AtomicUsize::new(0);

/// What an upload and the thread share.
#[derive(Debug, Default)]
struct Mailbox(Mutex<Mail>);

#[derive(Debug, Default)]
struct Mail {
    /// After all bytes that the thread has hashed; the thread's own while it holds the mailbox.
    state: Md5,
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The thread holds the mailbox, or will find it in its queue.
    held: bool,
    /// Told when there is room, or the thread lets go.
    waiting: Option<oneshot::Sender<()>>,
}

impl Mailbox {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Mail {
    fn tell(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            // The upload may have been given up.
            _ = waiting.send(());
        }
    }
}

/// An upload whose bytes the thread hashes, as long as it lives.
#[derive(Debug)]
pub(super) struct Upload(Arc<Mailbox>);

impl Upload {
    pub fn begin() -> Upload {
        UPLOADS.fetch_add(1, Ordering::Relaxed);
        Upload(Arc::default())
    }

    /// Takes bytes; waits while the mailbox is full.
    pub async fn post(&self, pieces: &mut Vec<Bytes>) {
        while let Some(room) = self.unless(|mail| mail.bytes < MAILBOX_BYTES_MAX) {
            // A thread that is gone tells by that.
            _ = room.await;
        }
        let mut mail = self.0.mail();
        mail.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        mail.pieces.append(pieces);
        if !std::mem::replace(&mut mail.held, true) {
            drop(mail);
            let refused = QUEUE.as_ref().is_none_or(|queue| queue.send(self.0.clone()).is_err());
            if refused {
                let mut lane = Lane::of(self.0.clone());
                while lane.refill() {
                    lane.portion.advance(usize::MAX);
                }
            }
        }
    }

    /// The state after all bytes.
    pub async fn finish(self) -> Md5 {
        while let Some(end) = self.unless(|mail| !mail.held) {
            _ = end.await;
        }
        self.0.mail().state
    }

    /// Something to wait for, unless that is so already.
    fn unless(&self, so: impl Fn(&Mail) -> bool) -> Option<oneshot::Receiver<()>> {
        let mut mail = self.0.mail();
        (!so(&mail)).then(|| {
            let (waiting, told) = oneshot::channel();
            mail.waiting = Some(waiting);
            told
        })
    }

    /// As long as the answer lives, nobody waits for this upload.
    pub fn step_aside(&self) -> Aside {
        UPLOADS.fetch_sub(1, Ordering::Relaxed);
        Aside(())
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

impl Drop for Aside {
    fn drop(&mut self) {
        UPLOADS.fetch_add(1, Ordering::Relaxed);
    }
}

/// A mailbox in the thread's hands, with what it took out of it.
struct Lane {
    mailbox: Arc<Mailbox>,
    portion: Portion,
}

impl Lane {
    fn of(mailbox: Arc<Mailbox>) -> Lane {
        let state = mailbox.mail().state;
        Lane { mailbox, portion: Portion::new(state, Vec::new()) }
    }

    /// Takes what is in the mailbox once all is hashed that it had before. `false` when it is empty: the thread has let go.
    fn refill(&mut self) -> bool {
        if !self.portion.is_done() {
            return true;
        }
        let mut mail = self.mailbox.mail();
        if mail.pieces.is_empty() {
            (mail.state, mail.held) = (self.portion.state, false);
        } else {
            self.portion = Portion::new(self.portion.state, std::mem::take(&mut mail.pieces));
            mail.bytes = 0;
        }
        mail.tell();
        mail.held
    }
}

fn start() -> Option<Sender<Arc<Mailbox>>> {
    let (queue, mailboxes) = crossbeam_channel::unbounded();
    match std::thread::Builder::new().name("md5".to_owned()).spawn(move || run(&mailboxes)) {
        Ok(_) => Some(queue),
        Err(error) => {
            tracing::warn!(%error, "no thread for MD5; each core hashes its own uploads");
            None
        }
    }
}

fn run(queue: &Receiver<Arc<Mailbox>>) {
    let mut lanes: Vec<Lane> = Vec::with_capacity(STREAMS_MAX);
    // As many as there were together a moment ago.
    let mut expected = 1;
    loop {
        lanes.retain_mut(Lane::refill);
        lanes.extend(queue.try_iter().take(STREAMS_MAX - lanes.len()).map(Lane::of));
        if lanes.is_empty() {
            match queue.recv() {
                Ok(first) => lanes.push(Lane::of(first)),
                Err(_) => return,
            }
        }
        gather(queue, &mut lanes, expected);
        expected = lanes.len();
        lanes.retain_mut(Lane::refill);
        pass(lanes.iter_mut().map(|lane| &mut lane.portion));
    }
}

/// Waits a moment for others, where others are to be expected.
fn gather(queue: &Receiver<Arc<Mailbox>>, lanes: &mut Vec<Lane>, expected: usize) {
    for _ in 0..=GATHER_WAIT.as_micros() / GATHER_LOOK.as_micros() {
        lanes.extend(queue.try_iter().take(STREAMS_MAX - lanes.len()).map(Lane::of));
        if lanes.len() >= expected.min(UPLOADS.load(Ordering::Relaxed)).min(STREAMS_MAX) {
            return;
        }
        lanes.extend(queue.recv_timeout(GATHER_LOOK).ok().map(Lane::of));
    }
}
