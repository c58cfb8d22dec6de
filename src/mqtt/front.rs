//! TLS before the built-in broker: it ends here, and the connection goes on to the broker over loopback.
//!
//! The broker's crate reads its certificate once and speaks every version; here each handshake takes the configuration
//! that holds now, so that a renewed certificate needs no restart. The gate asks `RealAddresses` who is behind a
//! connection of the front, so that a client is judged by its own address. Lives on the broker's thread; ends with it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{BrokerTls, MqttError};
use crate::limits;
use crate::seam::World;
use crate::tls::{Acceptor, PlainHttp, TlsSettings};

/// Clients of the front, by the address that the broker sees in their place.
#[derive(Debug, Clone, Default)]
pub struct RealAddresses(Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>);

impl RealAddresses {
    /// Who is behind an address that the broker sees.
    pub fn of(&self, seen: SocketAddr) -> SocketAddr {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&seen).copied().unwrap_or(seen)
    }

    fn add(&self, seen: SocketAddr, real: SocketAddr) -> Entry {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seen, real);
        Entry { addresses: self.clone(), seen }
    }
}

/// A client is known as long as this lives.
struct Entry {
    addresses: RealAddresses,
    seen: SocketAddr,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.seen);
    }
}

/// The listener with TLS.
pub struct Front {
    listener: TcpListener,
    acceptor: Acceptor,
    addresses: RealAddresses,
    connections_max: usize,
}

impl Front {
    /// Reads the files and takes the address.
    pub async fn bind(
        tls: &BrokerTls,
        connections_max: usize,
        addresses: RealAddresses,
        world: &World,
    ) -> Result<Front, MqttError> {
        let settings = TlsSettings {
            certificate_file: tls.certificate_file.clone(),
            key_file: tls.key_file.clone(),
            client_ca_file: tls.client_ca_file.clone(),
            version_min: tls.version_min,
            plain_http: PlainHttp::Refuse,
        };
        let acceptor = Acceptor::new(settings, world.clone())
            .map_err(|error| MqttError::Setting { key: "broker.tls", reason: error.to_string() })?;
        let listener = TcpListener::bind(tls.address).await.map_err(|error| MqttError::Listen {
            address: tls.address.to_string(),
            key: "broker.tls.address",
            reason: error.to_string(),
        })?;
        Ok(Front { listener, acceptor, addresses, connections_max })
    }

    /// With the real port where 0 was asked.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Hands connections on to the broker, until it is dropped.
    pub async fn run(self, broker: SocketAddr) {
        let places = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let (client, real) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, as a rule: it passes when others close theirs.
                    tracing::warn!(%error, "the MQTT broker cannot accept a TLS connection");
                    sleep(limits::BROKER_ACCEPT_RETRY).await;
                    continue;
                }
            };
            // Those beyond the limit are hung up on, as the broker does with clients in clear.
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (tls, addresses) = (self.acceptor(), self.addresses.clone());
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = pass(client, real, broker, tls, &addresses).await {
                    tracing::debug!(%real, %error, "a TLS connection to the MQTT broker ends");
                }
            });
        }
    }

    /// For the next handshake.
    fn acceptor(&self) -> TlsAcceptor {
        let mut config = (*self.acceptor.config()).clone();
        // It is for HTTP; clients of MQTT name `mqtt` or nothing, and one protocol needs no choice.
        config.alpn_protocols.clear();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn pass(
    client: TcpStream,
    real: SocketAddr,
    broker: SocketAddr,
    tls: TlsAcceptor,
    addresses: &RealAddresses,
) -> io::Result<()> {
    // Messages are small and urgent.
    client.set_nodelay(true)?;
    let mut client = timeout(limits::TLS_HANDSHAKE_TIMEOUT, tls.accept(client)).await??;
    let mut inside = TcpStream::connect(broker).await?;
    inside.set_nodelay(true)?;
    let _entry = addresses.add(inside.local_addr()?, real);
    copy_bidirectional(&mut client, &mut inside).await?;
    Ok(())
}
