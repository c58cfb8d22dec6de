//! What requests travel on: a socket, plain or below TLS.
//!
//! The client decrypts on the processors that it shares with the server, so that it takes as little as rustls can do with:
//! records are decrypted where they were read, as many at a time as the socket has.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use aerie::tls::{ClientFiles, client_config};
use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

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
    Secure(Box<Secure>),
}

impl Stream {
    pub async fn open(address: SocketAddr, security: &Security) -> io::Result<Stream> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        match security {
            Security::Plain => Ok(Stream::Plain(socket)),
            Security::Tls(config) => Ok(Stream::Secure(Box::new(Secure::open(socket, address, config.clone()).await?))),
        }
    }

    /// Reads what there is, at least one byte; none at the end.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => read(socket, into).await,
            Stream::Secure(secure) => secure.read(into).await,
        }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => write(socket, bytes).await,
            Stream::Secure(secure) => secure.write(bytes).await,
        }
    }
}

async fn read(socket: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut into = ReadBuf::new(into);
    poll_fn(|context| Pin::new(&mut *socket).poll_read(context, &mut into)).await?;
    Ok(into.filled().len())
}

async fn write(socket: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|context| Pin::new(&mut *socket).poll_write(context, bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// TLS by rustls' interface without buffers: the buffers are ours.
pub struct Secure {
    socket: TcpStream,
    session: UnbufferedClientConnection,
    /// Records as they came; those that wait are `incoming[waiting]`.
    incoming: Vec<u8>,
    waiting: Range<usize>,
    /// Records to be sent: `outgoing[..ready]`.
    outgoing: Vec<u8>,
    ready: usize,
}

/// Bytes that are read, and plain bytes that are sealed, at once.
const PIECE_BYTES: usize = 256 << 10;
/// The largest record there is.
const RECORD_BYTES_MAX: usize = 17 << 10;

/// What the session wants next.
enum Step {
    /// So many plain bytes came, perhaps none, and all that was read is used up.
    Idle(usize),
    Receive,
    Send,
    Closed,
}

impl Secure {
    async fn open(socket: TcpStream, address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Secure> {
        let session = UnbufferedClientConnection::new(config, ServerName::IpAddress(address.ip().into()));
        let session = session.map_err(io::Error::other)?;
        let incoming = vec![0; PIECE_BYTES + RECORD_BYTES_MAX];
        let mut secure = Secure { socket, session, incoming, waiting: 0..0, outgoing: Vec::new(), ready: 0 };
        loop {
            match secure.advance(&mut [])? {
                Step::Idle(_) => return Ok(secure),
                Step::Receive => secure.receive().await?,
                Step::Send => secure.send().await?,
                Step::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.advance(into)? {
                Step::Idle(0) | Step::Receive => self.receive().await?,
                Step::Idle(bytes) => return Ok(bytes),
                Step::Send => self.send().await?,
                Step::Closed => return Ok(0),
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.seal(piece)?;
            self.send().await?;
        }
        Ok(())
    }

    fn seal(&mut self, piece: &[u8]) -> io::Result<()> {
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
        let ConnectionState::WriteTraffic(mut traffic) = state.map_err(io::Error::other)? else {
            return Err(io::Error::other("the session takes no data now"));
        };
        loop {
            match traffic.encrypt(piece, &mut self.outgoing[self.ready..]) {
                Ok(sealed) => self.ready += sealed,
                Err(EncryptError::InsufficientSize(wanted)) => {
                    self.outgoing.resize(self.ready + wanted.required_size, 0);
                    continue;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
            return Ok(());
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        write(&mut self.socket, &self.outgoing[..self.ready]).await?;
        self.ready = 0;
        Ok(())
    }

    /// Reads behind what waits.
    async fn receive(&mut self) -> io::Result<()> {
        let kept = self.waiting.len();
        self.incoming.copy_within(self.waiting.clone(), 0);
        let read = read(&mut self.socket, &mut self.incoming[kept..]).await?;
        self.waiting = 0..kept + read;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Uses up what waits; plain bytes go to `into`, whole records at a time.
    fn advance(&mut self, into: &mut [u8]) -> io::Result<Step> {
        let mut plain = 0;
        loop {
            let waiting = &mut self.incoming[self.waiting.clone()];
            let UnbufferedStatus { mut discard, state, .. } = self.session.process_tls_records(waiting);
            let step = match state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while traffic.peek_len().is_some_and(|length| plain + length.get() <= into.len())
                        && let Some(record) = traffic.next_record()
                    {
                        let record = record.map_err(io::Error::other)?;
                        into[plain..plain + record.payload.len()].copy_from_slice(record.payload);
                        plain += record.payload.len();
                        discard += record.discard;
                    }
                    match traffic.peek_len() {
                        None => None,
                        Some(_) if plain > 0 => Some(Step::Idle(plain)),
                        Some(_) => return Err(io::Error::other("a record does not fit the buffer")),
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    match data.encode(&mut self.outgoing[self.ready..]) {
                        Ok(encoded) => self.ready += encoded,
                        Err(EncodeError::InsufficientSize(wanted)) => {
                            self.outgoing.resize(self.ready + wanted.required_size, 0);
                            self.ready += data.encode(&mut self.outgoing[self.ready..]).map_err(io::Error::other)?;
                        }
                        Err(error) => return Err(io::Error::other(error)),
                    }
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    Some(Step::Send)
                }
                ConnectionState::BlockedHandshake => Some(Step::Receive),
                ConnectionState::WriteTraffic(_) => Some(Step::Idle(plain)),
                ConnectionState::PeerClosed | ConnectionState::Closed if plain == 0 => Some(Step::Closed),
                ConnectionState::PeerClosed | ConnectionState::Closed => Some(Step::Idle(plain)),
                other => return Err(io::Error::other(format!("unexpected: {other:?}"))),
            };
            self.waiting.start += discard;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }
}
