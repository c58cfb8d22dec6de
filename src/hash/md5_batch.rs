//! MD5 of an upload, hashed together with the uploads that run at the same time.
//!
//! Small uploads are hashed by their core: each lets the other tasks that are ready put their bytes in the queue, too;
//! whoever is polled next hashes for all. Large ones collect their bytes and post them to the thread of `md5_lanes` while
//! they receive.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use super::Md5;
use super::md5_kernel::STREAMS_MAX;
use super::md5_lanes::Upload;
use super::md5_pass::{Portion, hash_all};

/// Bytes that are collected before they are posted.
const POSTED_BYTES: usize = 128 << 10;
/// As many pieces are posted however small they are: each keeps memory of its own.
const POSTED_PIECES: usize = 256;
/// An upload of fewer bytes than this is hashed by its core: the way to the other thread would cost more.
const LARGE_BYTES_MIN: usize = 64 << 10;
/// One of fewer bytes than this is hashed at once: the wait for others would cost more than it gives.
const BATCHED_BYTES_MIN: usize = 2048;

thread_local! {
    static QUEUE: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
    static STREAMS: Cell<usize> = const { Cell::new(0) };
}

struct Job {
    portion: Portion,
    done: Rc<Cell<Option<Md5>>>,
}

/// MD5 of one upload. Not `Send`: it belongs to its thread's queue.
#[derive(Debug)]
pub struct BatchedMd5 {
    collected: Vec<Bytes>,
    collected_bytes: usize,
    /// Begun when there is something to post.
    upload: Option<Upload>,
    _on_this_thread: std::marker::PhantomData<Rc<()>>,
}

impl BatchedMd5 {
    #[expect(clippy::new_without_default, reason = "it is counted, so it is begun, not defaulted")]
    pub fn new() -> BatchedMd5 {
        STREAMS.set(STREAMS.get() + 1);
        BatchedMd5 {
            collected: Vec::new(),
            collected_bytes: 0,
            upload: None,
            _on_this_thread: std::marker::PhantomData,
        }
    }

    /// Adds bytes, which are kept until they are hashed; waits while there are many of them.
    pub async fn update(&mut self, bytes: &Bytes) {
        self.collected.push(bytes.clone());
        self.collected_bytes += bytes.len();
        if self.collected_bytes >= POSTED_BYTES || self.collected.len() >= POSTED_PIECES {
            self.post().await;
        }
    }

    /// Waits for something that is not the client. If that takes time, no other upload waits for this one meanwhile.
    pub async fn aside<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        let mut aside = None;
        poll_fn(|context| {
            let polled = wait.as_mut().poll(context);
            if polled.is_pending() && aside.is_none() {
                aside = self.upload.as_ref().map(Upload::step_aside);
            }
            polled
        })
        .await
    }

    pub async fn finish(mut self) -> [u8; 16] {
        if self.upload.is_some() || self.collected_bytes >= LARGE_BYTES_MIN {
            self.post().await;
        }
        match self.upload.take() {
            Some(upload) => upload.finish().await.finish(),
            None => self.hash_with_neighbours().await.finish(),
        }
    }

    async fn post(&mut self) {
        self.upload.get_or_insert_with(Upload::begin).post(&mut self.collected).await;
        self.collected_bytes = 0;
    }

    /// Hashes what was collected. Yields once to the thread's other tasks when there are other streams.
    async fn hash_with_neighbours(&mut self) -> Md5 {
        let alone = STREAMS.get() < 2 || self.collected_bytes < BATCHED_BYTES_MIN;
        let done = Rc::new(Cell::new(None));
        let portion = Portion::new(Md5::new(), std::mem::take(&mut self.collected));
        let waiting = QUEUE.with_borrow_mut(|queue| {
            queue.push(Job { portion, done: done.clone() });
            queue.len()
        });
        if !alone && waiting < STREAMS_MAX {
            yield_once().await;
        }
        if done.get().is_none() {
            hash_queue();
        }
        done.get().expect("the queue that held the job was hashed")
    }
}

impl Drop for BatchedMd5 {
    fn drop(&mut self) {
        STREAMS.set(STREAMS.get() - 1);
    }
}

/// Goes to the back of the executor's queue, once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Hashes all that waits on this thread.
fn hash_queue() {
    let (mut portions, done): (Vec<Portion>, Vec<_>) =
        QUEUE.take().into_iter().map(|job| (job.portion, job.done)).unzip();
    hash_all(&mut portions);
    for (portion, done) in portions.into_iter().zip(done) {
        done.set(Some(portion.state));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use md5::Digest;

    use super::*;

    fn bytes(length: usize, seed: u64) -> Bytes {
        (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17) as u8 ^ seed as u8).collect()
    }

    /// Many uploads of odd sizes, their chunks interleaved by the executor as it likes.
    #[test]
    fn every_stream_gets_its_own_digest_whatever_runs_beside_it() {
        for streams in [1usize, 2, 3, 5, 7, 8, 9, 16, 17, 40] {
            let upload = |stream: usize| async move {
                let body = bytes(40_000 + stream * 977, stream as u64);
                let mut md5 = BatchedMd5::new();
                for chunk in 0.. {
                    let from = chunk * (2500 + stream * 61);
                    if from >= body.len() {
                        break;
                    }
                    md5.update(&body.slice(from..body.len().min(from + 2500 + stream * 61))).await;
                }
                let expected: [u8; 16] = md5::Md5::digest(&body).into();
                assert_eq!(md5.finish().await, expected, "stream {stream} of {streams}");
            };
            pollster::block_on(futures_util::future::join_all((0..streams).map(upload)));
        }
        assert_eq!(STREAMS.get(), 0);
    }

    #[test]
    fn large_uploads_of_several_threads_share_the_lanes() {
        let upload = |length: usize, piece: usize, seed: u64| async move {
            let body = bytes(length, seed);
            let mut md5 = BatchedMd5::new();
            for from in (0..length).step_by(piece) {
                md5.update(&body.slice(from..length.min(from + piece))).await;
            }
            let expected: [u8; 16] = md5::Md5::digest(&body).into();
            assert_eq!(md5.finish().await, expected, "{length} bytes in pieces of {piece}");
        };
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    let shapes =
                        [(700_001, 65_536), (1 << 20, 8_191), (3_000_000, 400_000), (262_144, 262_144), (70_000, 63)];
                    let uploads = shapes.iter().enumerate();
                    let uploads = uploads.map(|(at, (length, piece))| upload(*length, *piece, thread * 10 + at as u64));
                    pollster::block_on(futures_util::future::join_all(uploads));
                    assert_eq!(STREAMS.get(), 0);
                });
            }
        });
    }

    #[test]
    fn an_upload_that_goes_away_harms_no_other() {
        let body = bytes(10_000, 1);
        let (mut going, mut left) = (BatchedMd5::new(), BatchedMd5::new());
        pollster::block_on(going.update(&body));
        pollster::block_on(left.update(&body));
        {
            let mut gone = std::pin::pin!(going.finish());
            let mut context = std::task::Context::from_waker(futures_util::task::noop_waker_ref());
            assert!(gone.as_mut().poll(&mut context).is_pending());
        }
        let expected: [u8; 16] = md5::Md5::digest(&body).into();
        assert_eq!(pollster::block_on(left.finish()), expected);
    }
}
