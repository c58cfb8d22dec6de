//! A socket below TLS that is read in large pieces while much comes in.
//!
//! rustls asks for 4 KiB at a time, which would be a system call for each: 256 of them for a MiB. A read that gives all
//! it was asked for says that there is more; then, and until the socket is empty, it is read into a buffer of
//! `TLS_READ_AHEAD_BYTES`. A connection that waits, or whose requests are small, holds no buffer. Writes pass through:
//! rustls hands over many records at once. Lives on its connection's core.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

/// As much as rustls asks for at a time; a handshake begins with less.
const FIRST_BYTES: usize = 4096;

pub struct ReadAhead<IO> {
    inner: IO,
    /// Empty until there is much to read.
    buffer: Vec<u8>,
    /// What of the buffer was read and not yet taken.
    waiting: std::ops::Range<usize>,
    /// The last read gave all that it was asked for.
    more: bool,
}

impl<IO: AsyncRead + Unpin> ReadAhead<IO> {
    pub fn new(inner: IO) -> ReadAhead<IO> {
        ReadAhead { inner, buffer: Vec::new(), waiting: 0..0, more: false }
    }

    /// The first byte of what comes next, which stays to be read.
    pub async fn first(&mut self) -> io::Result<u8> {
        poll_fn(|context| self.poll_fill(context, FIRST_BYTES)).await?;
        let first = self.buffer[self.waiting.clone()].first().copied();
        first.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads from the socket if all was taken. Ready with nothing waiting is the stream's end.
    fn poll_fill(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.buffer.len() < bytes {
            self.buffer = vec![0; bytes];
        }
        let mut into = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(&mut self.inner).poll_read(context, &mut into);
        let read = into.filled().len();
        if read == 0 {
            self.buffer = Vec::new();
        }
        (self.waiting, self.more) = (0..read, read == self.buffer.len() && read > 0);
        polled
    }

    fn take(&mut self, into: &mut ReadBuf<'_>) {
        let taken = into.remaining().min(self.waiting.len());
        into.put_slice(&self.buffer[self.waiting.start..self.waiting.start + taken]);
        self.waiting.start += taken;
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.waiting.is_empty() && (!this.more || into.remaining() >= limits::TLS_READ_AHEAD_BYTES) {
            let before = into.filled().len();
            let polled = Pin::new(&mut this.inner).poll_read(context, into);
            this.more = into.remaining() == 0 && into.filled().len() > before;
            if polled.is_pending() {
                this.buffer = Vec::new();
            }
            return polled;
        }
        ready!(this.poll_fill(context, limits::TLS_READ_AHEAD_BYTES))?;
        this.take(into);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives what was sent in the pieces that came, and says how much each read asked for.
    struct Pieces {
        pieces: VecDeque<Vec<u8>>,
        asked: Vec<usize>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.asked.push(into.remaining());
            let Some(mut piece) = self.pieces.pop_front() else { return Poll::Pending };
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Reads 4 KiB at a time until nothing comes; gives the bytes and what the socket was asked for.
    fn read_all(pieces: &[usize]) -> (Vec<usize>, usize) {
        let sent: Vec<Vec<u8>> =
            pieces.iter().enumerate().map(|(n, &bytes)| (0..bytes).map(|at| (at / 7 + n) as u8).collect()).collect();
        let mut stream = ReadAhead::new(Pieces { pieces: sent.clone().into(), asked: Vec::new() });
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(first) = std::pin::pin!(stream.first()).poll(&mut context) else { panic!("bytes are there") };
        assert_eq!(first.unwrap(), sent[0][0]);
        let mut all = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let mut into = ReadBuf::new(&mut buffer);
            if Pin::new(&mut stream).poll_read(&mut context, &mut into).is_pending() {
                break;
            }
            assert!(!into.filled().is_empty(), "no end was sent");
            all.extend_from_slice(into.filled());
        }
        assert_eq!(all, sent.concat());
        (stream.inner.asked, stream.buffer.capacity())
    }

    #[test]
    fn much_is_read_at_once_and_little_needs_no_buffer() {
        let ahead = limits::TLS_READ_AHEAD_BYTES;
        let cases: [(&[usize], &[usize]); 3] = [
            (&[700], &[4096, 4096]),
            (&[700, 300], &[4096, 4096, 4096]),
            (&[4096 + ahead + 10], &[4096, ahead, ahead, 4096]),
        ];
        for (pieces, asked) in cases {
            let (did_ask, holds) = read_all(pieces);
            assert_eq!(did_ask, asked, "{pieces:?}");
            assert_eq!(holds, 0, "{pieces:?}: a connection that waits holds no buffer");
        }
    }
}
