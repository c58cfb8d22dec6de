//! A core: one pinned thread with its own monoio runtime; a connection lives and dies on the core that accepted it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_channel::oneshot;
use monoio::io::IntoPollIo;
use monoio::net::{TcpListener, TcpStream};
use monoio_compat::hyper::MonoioIo;

use super::transport::{self, Opened};
use crate::limits;
use crate::tls;
use crate::wire::Service;

/// Open connections of all cores, and how many there may be.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    refused: AtomicU64,
    max: usize,
}

impl Connections {
    pub fn new(max: usize) -> Arc<Connections> {
        Arc::new(Connections { open: AtomicUsize::new(0), refused: AtomicU64::new(0), max })
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Since the start, for whatever bound.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What connections pass on their way in.
pub struct Door {
    pub connections: Arc<Connections>,
    pub tls: Option<Arc<tls::Acceptor>>,
}

/// A listening socket of its own for each core, on one address: the kernel spreads connections over them.
pub fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Serves connections until `stop` is sent or dropped, then lets open requests finish within `SHUTDOWN_GRACE`.
pub async fn serve(listener: std::net::TcpListener, service: Rc<Service>, door: Door, stop: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a core cannot listen");
            return;
        }
    };
    let open = Rc::new(Cell::new(0usize));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = monoio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => start_connection(stream, peer, &service, &door, &open),
            Err(error) => {
                // Out of descriptors, most likely: let connections end before the next try.
                tracing::warn!(%error, "a connection could not be accepted");
                monoio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    service.shutdown();
    let step = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    while open.get() > 0 && waited < limits::SHUTDOWN_GRACE {
        monoio::time::sleep(step).await;
        waited += step;
    }
    if open.get() > 0 {
        tracing::warn!(connections = open.get(), "connections were cut at the end");
    }
}

fn start_connection(stream: TcpStream, peer: SocketAddr, service: &Rc<Service>, door: &Door, open: &Rc<Cell<usize>>) {
    let connections = &door.connections;
    if connections.open.fetch_add(1, Ordering::Relaxed) >= connections.max {
        connections.open.fetch_sub(1, Ordering::Relaxed);
        connections.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%peer, max = connections.max, "connection refused: server.connections_max are open");
        return;
    }
    open.set(open.get() + 1);
    let guard = Guard { connections: connections.clone(), open: open.clone() };
    let Some(connected) = service.connect(peer.ip()) else {
        connections.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%peer, "connection refused: server.clients.connections_max are open from its address");
        return;
    };
    let (service, tls) = (service.clone(), door.tls.clone());
    monoio::spawn(async move {
        let _guard = (guard, connected);
        // Delayed acknowledgements would add 40 ms to small answers.
        let ready = stream.set_nodelay(true).and_then(|()| stream.into_poll_io());
        let opened = match (ready, tls) {
            (Ok(stream), None) => return service.serve(MonoioIo::new(stream), peer, None).await,
            (Ok(stream), Some(tls)) => transport::open(stream, &tls).await,
            (Err(error), _) => Err(error),
        };
        match opened {
            Ok(Opened::Secure(stream)) => {
                let version = transport::version(&stream);
                service.serve(MonoioIo::new(stream), peer, Some(version)).await;
            }
            Ok(Opened::Plain(stream)) => service.serve(MonoioIo::new(stream), peer, None).await,
            Err(error) => tracing::debug!(%peer, %error, "a connection ended before it began"),
        }
    });
}

struct Guard {
    connections: Arc<Connections>,
    open: Rc<Cell<usize>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        self.open.set(self.open.get() - 1);
    }
}
