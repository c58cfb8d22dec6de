//! From an accepted socket to a stream that speaks HTTP, on an address that has TLS.
//!
//! The first byte tells: a TLS record of a handshake begins with 22, a request with a letter. Lives on the connection's
//! core; whoever says nothing is let go after `TLS_HANDSHAKE_TIMEOUT`.

use std::io;

use monoio::net::tcp::stream_poll::TcpStreamPoll;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits;
use crate::tls::{Acceptor, ReadAhead};

/// A stream that HTTP can begin on.
pub enum Opened {
    Secure(Box<TlsStream<ReadAhead<TcpStreamPoll>>>),
    Plain(ReadAhead<TcpStreamPoll>),
}

/// First byte of a TLS handshake record.
const HANDSHAKE: u8 = 22;

/// The version of TLS as policies name it (`s3:TlsVersion`).
pub fn version<S>(stream: &tokio_rustls::server::TlsStream<S>) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        // There is nothing older here.
        _ => "1.2",
    }
}

pub async fn open(stream: TcpStreamPoll, tls: &Acceptor) -> io::Result<Opened> {
    let opening = async {
        let mut stream = ReadAhead::new(stream);
        if stream.first().await? != HANDSHAKE {
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
