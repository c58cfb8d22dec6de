//! What one connection waits for, and how long: every read and write of its socket passes here.
//!
//! hyper bounds nothing but the head, so that the clocks are in the socket: a client gets `Timeouts::head` for a request
//! head, `keep_alive` between requests, and `body_stall` whenever a body moves in neither direction. While an operation
//! works, nobody waits for the client. A timer is armed only when a wait begins, and seldom moved.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::clients::Meter;
use super::framing::HeadScan;
use super::settings::Timeouts;
use crate::limits;
use crate::seam::Clock;

/// What the client's next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was read since the last response (or since the start).
    Idle,
    /// A request head has begun.
    Head,
    /// An operation works; it does not want bytes now.
    Busy,
    /// An operation waits for its body.
    Body,
}

/// State of a connection, shared by its socket, its request and its response. One request at a time.
#[derive(Debug)]
pub struct Exchange {
    phase: Cell<Phase>,
    /// A request was answered before.
    served: Cell<bool>,
    /// Moves with each phase and each byte of a body, so that waits begin anew.
    progress: Cell<u64>,
    /// This request's body was asked for.
    body_wanted: Cell<bool>,
    /// This request's head says twice how long its body is.
    contradicts: Cell<bool>,
    /// The last answer was given to a client that may still be sending.
    lingers: Cell<bool>,
    /// Counts the bytes of heads, bodies and answers for the client's limits.
    pub meter: Meter,
}

impl Exchange {
    pub fn new(meter: Meter) -> Rc<Exchange> {
        Rc::new(Exchange {
            phase: Cell::new(Phase::Idle),
            served: Cell::new(false),
            progress: Cell::new(0),
            body_wanted: Cell::new(false),
            contradicts: Cell::new(false),
            lingers: Cell::new(false),
            meter,
        })
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.progress.set(self.progress.get() + 1);
    }

    /// A request's head is complete. The guard lives until its response was handed to hyper, or dropped.
    pub fn begin(self: &Rc<Self>) -> ExchangeGuard {
        self.enter(Phase::Busy);
        self.body_wanted.set(false);
        ExchangeGuard { exchange: self.clone() }
    }

    /// The head of the request under way must not be believed; see `framing`.
    pub fn head_contradicts(&self) -> bool {
        self.contradicts.get()
    }

    /// The request under way has read of its body.
    pub fn body_was_wanted(&self) -> bool {
        self.body_wanted.get()
    }

    /// What the client still sends is thrown away before the connection is closed.
    pub fn linger(&self) {
        self.lingers.set(true);
    }

    /// The operation waits for the client as long as the guard lives.
    pub fn wait_for_body(&self) -> BodyWait<'_> {
        self.enter(Phase::Body);
        self.body_wanted.set(true);
        BodyWait { exchange: self }
    }
}

/// A request under way.
#[derive(Debug)]
pub struct ExchangeGuard {
    exchange: Rc<Exchange>,
}

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        self.exchange.served.set(true);
        self.exchange.contradicts.set(false);
        self.exchange.meter.tell();
        self.exchange.enter(Phase::Idle);
    }
}

pub struct BodyWait<'a> {
    exchange: &'a Exchange,
}

impl Drop for BodyWait<'_> {
    fn drop(&mut self) {
        self.exchange.enter(Phase::Busy);
    }
}

/// One direction's clock.
#[derive(Default)]
struct Wait {
    /// When the wait began; `None` when nothing is waited for.
    since_ns: Option<u64>,
    /// Fires no later than the wait ends.
    timer: Option<Timer>,
}

struct Timer {
    sleep: Pin<Box<monoio::time::Sleep>>,
    fires_ns: u64,
}

impl Wait {
    fn over(&mut self) {
        self.since_ns = None;
    }

    /// Whether the wait has lasted longer than `limit`; arranges to be polled again when it will have.
    fn is_too_long(&mut self, clock: &dyn Clock, limit: Duration, context: &mut Context<'_>) -> bool {
        let now = clock.monotonic_ns();
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let end = self.since_ns.get_or_insert(now).saturating_add(limit_ns);
        if now >= end {
            return true;
        }
        // An earlier timer is kept: when it fires the wait is looked at again.
        if self.timer.as_ref().is_none_or(|timer| timer.fires_ns > end) {
            self.arm(now, end);
        }
        while let Some(timer) = &mut self.timer
            && timer.sleep.as_mut().poll(context).is_ready()
        {
            self.arm(now, end);
        }
        false
    }

    fn arm(&mut self, now: u64, end: u64) {
        // One millisecond more: the timer wheel may fire a little early.
        let after = Duration::from_nanos(end - now) + Duration::from_millis(1);
        self.timer = Some(Timer { sleep: Box::pin(monoio::time::sleep(after)), fires_ns: end });
    }
}

/// Bytes that are read at once while a head is expected: more than all but the largest have.
const HEAD_READ_BYTES: usize = 8 << 10;

/// A socket whose waits are bounded and whose request heads are looked at.
pub struct BoundedIo<IO> {
    io: IO,
    scan: HeadScan,
    /// Heads are read here first, so that they can be looked at; bodies go straight to hyper.
    head: Box<[u8]>,
    exchange: Rc<Exchange>,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    read: Wait,
    read_progress: u64,
    write: Wait,
    /// No more is written.
    ended: bool,
    linger: Wait,
}

impl<IO> BoundedIo<IO> {
    pub fn new(io: IO, exchange: Rc<Exchange>, clock: Arc<dyn Clock>, timeouts: Timeouts) -> BoundedIo<IO> {
        let (read, write, linger) = (Wait::default(), Wait::default(), Wait::default());
        let (scan, head) = (HeadScan::default(), vec![0; HEAD_READ_BYTES].into_boxed_slice());
        BoundedIo { io, scan, head, exchange, clock, timeouts, read, read_progress: 0, write, ended: false, linger }
    }

    /// Bounds the wait for the client's next byte.
    fn check_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = self.exchange.progress.get();
        if progress != self.read_progress {
            self.read_progress = progress;
            self.read.over();
        }
        let limit = match self.exchange.phase.get() {
            Phase::Busy => return Poll::Pending,
            Phase::Idle if self.exchange.served.get() => self.timeouts.keep_alive,
            Phase::Idle | Phase::Head => self.timeouts.head,
            Phase::Body => self.timeouts.body_stall,
        };
        match self.read.is_too_long(&*self.clock, limit, context) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Pending,
        }
    }

    fn count_written(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.exchange.meter.count(*bytes);
        }
    }

    fn check_write<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write.over();
            return polled;
        }
        match self.write.is_too_long(&*self.clock, self.timeouts.body_stall, context) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Pending,
        }
    }
}

impl<IO: Read + Unpin> BoundedIo<IO> {
    fn poll_read_head(&mut self, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(self.head.len());
        let mut head = ReadBuf::new(&mut self.head[..room]);
        let polled = Pin::new(&mut self.io).poll_read(context, head.unfilled());
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.scan.feed(head.filled());
            self.exchange.contradicts.set(self.scan.contradicts());
            self.exchange.meter.count(head.filled().len());
            buffer.put_slice(head.filled());
        }
        polled
    }

    /// Throws away what the client still sends, until it ends or for as long as the limits say.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut thrown_away = ReadBuf::new(&mut self.head);
            match Pin::new(&mut self.io).poll_read(context, thrown_away.unfilled()) {
                Poll::Ready(Ok(())) if !thrown_away.filled().is_empty() => {
                    self.exchange.meter.count(thrown_away.filled().len());
                    self.read.over();
                    if self.linger.is_too_long(&*self.clock, limits::LINGER, context) {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    let paused = self.read.is_too_long(&*self.clock, limits::LINGER_PAUSE, context);
                    return match paused || self.linger.is_too_long(&*self.clock, limits::LINGER, context) {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl<IO: Read + Unpin> Read for BoundedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let phase = this.exchange.phase.get();
        let polled = match phase {
            Phase::Idle | Phase::Head => {
                if phase == Phase::Idle {
                    this.scan = HeadScan::default();
                }
                this.poll_read_head(context, buffer)
            }
            Phase::Busy | Phase::Body => Pin::new(&mut this.io).poll_read(context, buffer),
        };
        if polled.is_pending() {
            return this.check_read(context);
        }
        match phase {
            // A slow head is not excused by its bytes; a body is.
            Phase::Idle => this.exchange.enter(Phase::Head),
            Phase::Body => this.read.over(),
            Phase::Head | Phase::Busy => {}
        }
        polled
    }
}

impl<IO: Read + Write + Unpin> Write for BoundedIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        self.count_written(&polled);
        self.check_write(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.count_written(&polled);
        self.check_write(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(context);
        self.check_write(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ended {
            let polled = Pin::new(&mut this.io).poll_shutdown(context);
            let Poll::Ready(()) = this.check_write(polled, context)? else { return Poll::Pending };
            this.ended = true;
            this.read.over();
        }
        match this.exchange.lingers.get() {
            true => this.poll_linger(context).map(Ok),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl<IO> fmt::Debug for BoundedIo<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedIo").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
