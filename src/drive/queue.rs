//! The bounded queue to a drive's thread, which sleeps while it is empty.
//!
//! A channel's own `recv` gives the processor away a few times before it sleeps, in the hope of a message. Where threads of
//! the kernel's idle class compute, they take what is given away and keep it for milliseconds, and the message finds a
//! thread that is not asleep and so is not woken. A thread that sleeps gets the processor from them at once.
//! Whoever sends wakes; nothing here waits for an answer.

use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

/// The sending end; when it goes, the thread learns that nothing more comes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: Option<Sender<T>>,
    thread: Thread,
}

impl<T> Queue<T> {
    /// `thread` is the one that calls `next`.
    pub fn new(sender: Sender<T>, thread: Thread) -> Queue<T> {
        Queue { sender: Some(sender), thread }
    }

    /// Waits while the queue is full, for `limit` at most; whether the request is in it.
    pub fn send_timeout(&self, request: T, limit: Duration) -> bool {
        let sent = self.sender().send_timeout(request, limit).is_ok();
        self.thread.unpark();
        sent
    }

    /// Waits while the queue is full.
    pub fn send(&self, request: T) {
        // The drive holds a receiver beside this end, so that the queue is never closed.
        _ = self.sender().send(request);
        self.thread.unpark();
    }

    /// Drops the request when the queue is full.
    pub fn try_send(&self, request: T) {
        _ = self.sender().try_send(request);
        self.thread.unpark();
    }

    fn sender(&self) -> &Sender<T> {
        self.sender.as_ref().expect("it is taken by drop alone")
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.sender = None;
        self.thread.unpark();
    }
}

/// The next request, waited for by the queue's thread; `None` when no more can come.
pub(super) fn next<T>(requests: &Receiver<T>) -> Option<T> {
    loop {
        match requests.try_recv() {
            Ok(request) => return Some(request),
            // Who sent since then has left a token, with which this returns at once.
            Err(TryRecvError::Empty) => std::thread::park(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_thread_gets_every_request_and_learns_of_the_end() {
        let (sender, requests) = crossbeam_channel::bounded(2);
        let (reply, answers) = crossbeam_channel::bounded(2);
        let run = move || {
            while let Some(request) = next(&requests) {
                _ = reply.send(request);
            }
        };
        let thread = std::thread::spawn(run);
        let queue = Queue::new(sender, thread.thread().clone());
        for number in 0..1000 {
            match number % 3 {
                0 => queue.send(number),
                1 => queue.try_send(number),
                _ => assert!(queue.send_timeout(number, Duration::from_secs(10))),
            }
            assert_eq!(answers.recv_timeout(Duration::from_secs(10)), Ok(number));
        }
        drop(queue);
        thread.join().expect("the thread does not panic");
    }
}
