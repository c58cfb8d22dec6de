//! A ticket for work that several drives do: one wake when the last of them is done.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// What the drives made of the work; a bit per slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    pub failed: u64,
    pub full: u64,
}

#[derive(Debug, Default)]
struct State {
    remaining: AtomicU32,
    failed: AtomicU64,
    full: AtomicU64,
    waker: AtomicWaker,
}

/// One drive's share of the work. Dropped without a word it counts as failed.
#[derive(Debug)]
pub struct Ticket {
    state: Arc<State>,
    slot: usize,
    settled: bool,
}

/// Waits for all shares; any executor may poll it.
#[derive(Debug)]
pub struct TicketWait {
    state: Arc<State>,
}

impl Ticket {
    /// Tickets for the given slots, and what waits for all of them.
    pub fn issue(slots: impl Iterator<Item = usize> + Clone) -> (Vec<Ticket>, TicketWait) {
        let state = Arc::new(State::default());
        let tickets: Vec<Ticket> = slots.map(|slot| Ticket { state: state.clone(), slot, settled: false }).collect();
        state.remaining.store(tickets.len() as u32, Ordering::Release);
        (tickets, TicketWait { state })
    }

    pub fn done(mut self) {
        self.settle();
    }

    pub fn failed(self) {
        drop(self);
    }

    pub fn full(mut self) {
        self.state.full.fetch_or(1 << self.slot, Ordering::Relaxed);
        self.settle();
    }

    fn settle(&mut self) {
        self.settled = true;
        if self.state.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.waker.wake();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.state.failed.fetch_or(1 << self.slot, Ordering::Relaxed);
            self.settle();
        }
    }
}

impl Future for TicketWait {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let state = &self.state;
        if state.remaining.load(Ordering::Acquire) != 0 {
            state.waker.register(context.waker());
            // The last share may have come between the look and the registration.
            if state.remaining.load(Ordering::Acquire) != 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Outcome { failed: state.failed.load(Ordering::Relaxed), full: state.full.load(Ordering::Relaxed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends_with_the_last_share_and_tells_who_failed() {
        let (mut tickets, wait) = Ticket::issue(3..6);
        let waiting = std::thread::spawn(move || pollster::block_on(wait));
        tickets.pop().expect("three were issued").full();
        drop(tickets.pop());
        tickets.pop().expect("three were issued").done();
        let outcome = waiting.join().expect("waiting does not panic");
        assert_eq!(outcome, Outcome { failed: 1 << 4, full: 1 << 5 });
    }

    #[test]
    fn no_shares_are_done_at_once() {
        let (tickets, wait) = Ticket::issue(0..0);
        assert!(tickets.is_empty());
        assert_eq!(pollster::block_on(wait), Outcome::default());
    }
}
