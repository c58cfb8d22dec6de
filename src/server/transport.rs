//! From an accepted socket to a stream that speaks HTTP, on an address that has TLS.
//!
//! The first byte tells: a TLS record of a handshake begins with 22, a request with a letter. Lives on the connection's
//! core; whoever says nothing is let go after `TLS_HANDSHAKE_TIMEOUT`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use monoio::net::tcp::stream_poll::TcpStreamPoll;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits;
use crate::tls::Acceptor;

/// A stream that HTTP can begin on.
pub enum Opened {
    Secure(Box<TlsStream<Rewound<TcpStreamPoll>>>),
    Plain(Rewound<TcpStreamPoll>),
}

/// First byte of a TLS handshake record.
const HANDSHAKE: u8 = 22;

pub async fn open(stream: TcpStreamPoll, tls: &Acceptor) -> io::Result<Opened> {
    let opening = async {
        let mut stream = Rewound { first: None, inner: stream };
        if stream.look().await? != HANDSHAKE {
            return Ok(Opened::Plain(stream));
        }
        let mut stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
        stream.get_mut().1.set_buffer_limit(Some(limits::TLS_WRITE_BUFFER_BYTES));
        Ok(Opened::Secure(Box::new(stream)))
    };
    monoio::time::timeout(limits::TLS_HANDSHAKE_TIMEOUT, opening).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not begin, or did not finish its TLS handshake"))
    })
}

/// A stream whose first byte was read and is read once more.
pub struct Rewound<IO> {
    first: Option<u8>,
    inner: IO,
}

impl<IO: AsyncRead + Unpin> Rewound<IO> {
    async fn look(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        poll_fn(|context| Pin::new(&mut self.inner).poll_read(context, &mut buffer)).await?;
        match *buffer.filled() {
            [first] => {
                self.first = Some(first);
                Ok(first)
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
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
