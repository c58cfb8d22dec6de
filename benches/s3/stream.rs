//! What requests travel on: a socket, plain or below TLS.
//!
//! The client decrypts on the processors that it shares with the server, so that it reads as many records at a time as
//! the socket has.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use aerie::tls::{ClientFiles, ReadAhead, client_config};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;

/// How a target is spoken to.
#[derive(Clone)]
pub enum Security {
    Plain,
    /// TLS; sessions are resumed where the configuration keeps them.
    Tls(Arc<ClientConfig>),
}

impl Security {
    /// TLS that trusts the certificate in the file. Without `resumes`, each connection shakes hands in full.
    pub fn trusting(certificate: &Path, resumes: bool) -> Result<Security, String> {
        let files = ClientFiles { ca: Some(certificate.to_owned()), pair: None };
        let mut config = client_config(&files).map_err(|error| error.to_string())?;
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Security::Tls(Arc::new(config)))
    }
}

pub enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<ReadAhead<TcpStream>>>),
}

impl Stream {
    pub async fn open(address: SocketAddr, security: &Security) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Security::Tls(config) = security else { return Ok(Stream::Plain(stream)) };
        let connector = TlsConnector::from(config.clone());
        let name = ServerName::IpAddress(address.ip().into());
        let mut stream = connector.connect(name, ReadAhead::new(stream)).await?;
        stream.get_mut().1.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
        Ok(Stream::Secure(Box::new(stream)))
    }

    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        poll_fn(|context| match self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, &mut into),
            Stream::Secure(stream) => Pin::new(&mut **stream).poll_read(context, &mut into),
        })
        .await?;
        Ok(into.filled().len())
    }

    /// Writes all of it.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|context| match self {
                Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
                Stream::Secure(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            })
            .await?;
            bytes = &bytes[written..];
        }
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Secure(stream) => poll_fn(|context| Pin::new(&mut **stream).poll_flush(context)).await,
        }
    }
}

/// Bytes of records that wait for the socket.
const WRITE_BUFFER_BYTES: usize = 256 << 10;
