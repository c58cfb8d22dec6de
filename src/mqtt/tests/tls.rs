//! TLS and mutual TLS between publisher and broker, with certificates made here.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::equipment::{MemoryQueue, Subscriber, broker, publisher, until};
use crate::limits;
use crate::mqtt::front::{Front, RealAddresses};
use crate::mqtt::{Broker, BrokerSettings, BrokerTls, MqttError, PublisherSettings};
use crate::seam::sim;
use crate::tls::TlsVersion;

/// A folder with an authority, and certificates that it signed.
pub(super) struct Certificates {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub(super) fn new() -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed whose name is its signer's.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificates = Certificates { folder: tempfile::tempdir().unwrap(), authority };
        certificates.write("ca.pem", &certificates.authority.pem());
        certificates
    }

    /// Signs for a name; gives the files of certificate and key.
    pub(super) fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let files = (self.write(&format!("{name}.pem"), &certificate.pem()), format!("{name}.key"));
        (files.0, self.write(&files.1, &key.serialize_pem()))
    }

    #[expect(clippy::disallowed_methods, reason = "certificate files are the operator's, outside every drive")]
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn authority_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn broker(&self, mutual: bool) -> Broker {
        broker(BrokerSettings { tls: Some(self.broker_tls(mutual)), ..BrokerSettings::default() })
    }

    fn broker_tls(&self, mutual: bool) -> BrokerTls {
        let (certificate_file, key_file) = self.sign("localhost");
        BrokerTls {
            address: "127.0.0.1:0".parse().unwrap(),
            certificate_file,
            key_file,
            client_ca_file: mutual.then(|| self.authority_file()),
            version_min: TlsVersion::V12,
        }
    }

    /// A client that trusts the authority.
    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> rustls::ClientConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(crate::tls::roots(&self.authority_file()).unwrap())
            .with_no_client_auth();
        rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
    }

    pub(super) fn settings(&self, address: SocketAddr) -> PublisherSettings {
        PublisherSettings {
            url: format!("mqtts://localhost:{}", address.port()),
            ca_file: Some(self.authority_file()),
            ..PublisherSettings::default()
        }
    }
}

#[test]
fn messages_pass_over_tls_in_both_versions() {
    let certificates = Certificates::new();
    let broker = certificates.broker(false);
    let subscriber = Subscriber::connect(broker.address(), "t/#");
    for version in [5, 4] {
        let queue = MemoryQueue::default();
        queue.fill(50, 2, 1);
        let settings = certificates.settings(broker.tls_address().unwrap());
        let publisher = publisher(&queue, PublisherSettings { version, ..settings });
        assert_eq!(subscriber.take(50).len(), 50);
        until("the queue is empty", || queue.len() == 0);
        publisher.stop();
    }
}

#[test]
fn mutual_tls_lets_in_those_with_a_certificate_only() {
    let certificates = Certificates::new();
    let broker = certificates.broker(true);
    let queue = MemoryQueue::default();
    queue.fill(5, 1, 1);
    let bare = certificates.settings(broker.tls_address().unwrap());
    let stranger = publisher(&queue, bare.clone());
    until("it is turned away", || stranger.stats().last_error.is_some());
    stranger.stop();
    assert_eq!(queue.len(), 5);
    let (certificate, key) = certificates.sign("drone-1");
    let known = PublisherSettings { client_certificate_file: Some(certificate), client_key_file: Some(key), ..bare };
    let publisher = publisher(&queue, known);
    until("the queue is empty", || queue.len() == 0);
    publisher.stop();
}

#[test]
fn a_broker_that_another_authority_signed_is_not_trusted() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let broker = certificates.broker(false);
    let queue = MemoryQueue::default();
    queue.fill(1, 1, 1);
    let publisher = publisher(&queue, others.settings(broker.tls_address().unwrap()));
    until("it is not trusted", || publisher.stats().last_error.is_some_and(|error| error.contains("certificate")));
    assert_eq!(queue.len(), 1);
}

#[test]
fn files_that_cannot_be_read_are_named_at_the_start() {
    let settings = PublisherSettings {
        url: "mqtts://localhost".to_owned(),
        ca_file: Some("/nowhere/ca.pem".into()),
        ..PublisherSettings::default()
    };
    let queue = Box::new(MemoryQueue::default());
    let error = crate::mqtt::Publisher::start(settings, "d", queue, None, crate::seam::real::world()).unwrap_err();
    assert!(matches!(error, MqttError::Setting { key: "ca_file", reason } if reason.contains("/nowhere/ca.pem")));
}

/// Copies the other authority's file of the same name over ours, as a renewal does.
fn renew(ours: &std::path::Path, others: &std::path::Path) {
    std::fs::copy(others, ours).unwrap();
}

#[test]
fn renewed_certificates_are_taken_up_by_broker_and_publisher_without_a_restart() {
    let (first, second) = (Certificates::new(), Certificates::new());
    let (world, clock) = sim::world(1);
    let tls = first.broker_tls(true);
    let settings =
        BrokerSettings { address: "127.0.0.1:0".parse().unwrap(), tls: Some(tls.clone()), ..BrokerSettings::default() };
    let broker = Broker::start(&settings, &world).unwrap();
    let subscriber = Subscriber::connect(broker.address(), "t/#");
    let (certificate, key) = first.sign("drone-1");
    let towards = PublisherSettings {
        client_certificate_file: Some(certificate.clone()),
        client_key_file: Some(key.clone()),
        ..first.settings(broker.tls_address().unwrap())
    };
    let queue = MemoryQueue::default();
    queue.fill(5, 1, 1);
    let before = publisher(&queue, towards.clone());
    assert_eq!(subscriber.take(5).len(), 5);
    until("the queue is empty", || queue.len() == 0);
    before.stop();

    // The broker's pair and its clients' authority are renewed: what the first authority signed is no longer good.
    let (renewed, renewed_key) = second.sign("localhost");
    renew(&tls.certificate_file, &renewed);
    renew(&tls.key_file, &renewed_key);
    renew(&first.authority_file(), &second.authority_file());
    clock.advance_ms(limits::TLS_RELOAD_INTERVAL.as_millis() as u64);
    queue.fill(5, 1, 1);
    let publisher = publisher(&queue, towards);
    until("the old certificate is turned away", || publisher.stats().last_error.is_some());
    assert_eq!(queue.len(), 5);
    // Then the publisher's, while it runs.
    let (own, own_key) = second.sign("drone-1");
    renew(&key, &own_key);
    renew(&certificate, &own);
    assert_eq!(subscriber.take(5).len(), 5);
    until("the queue is empty", || queue.len() == 0);
    publisher.stop();
}

#[test]
fn files_that_have_become_unusable_change_nothing() {
    let certificates = Certificates::new();
    let (world, clock) = sim::world(1);
    let tls = certificates.broker_tls(false);
    let settings =
        BrokerSettings { address: "127.0.0.1:0".parse().unwrap(), tls: Some(tls.clone()), ..BrokerSettings::default() };
    let broker = Broker::start(&settings, &world).unwrap();
    renew(&tls.certificate_file, &tls.key_file);
    clock.advance_ms(limits::TLS_RELOAD_INTERVAL.as_millis() as u64);
    let queue = MemoryQueue::default();
    queue.fill(5, 1, 1);
    let publisher = publisher(&queue, certificates.settings(broker.tls_address().unwrap()));
    until("the queue is empty", || queue.len() == 0);
    publisher.stop();
}

#[test]
fn the_broker_speaks_no_version_below_its_least() {
    let certificates = Certificates::new();
    let tls = BrokerTls { version_min: TlsVersion::V13, ..certificates.broker_tls(false) };
    let broker = broker(BrokerSettings { tls: Some(tls), ..BrokerSettings::default() });
    let shake = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let mut client = certificates.client(versions);
        let mut stream = TcpStream::connect(broker.tls_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    };
    assert_eq!(shake(&[&rustls::version::TLS13]), Ok(()));
    let refused = shake(&[&rustls::version::TLS12]).unwrap_err();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

/// The broker sees the front's address: a client is judged by its own all the same.
#[test]
fn who_is_behind_a_tls_connection_is_known_as_long_as_it_lasts() {
    let certificates = Certificates::new();
    let inside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = RealAddresses::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let front =
        runtime.block_on(Front::bind(&certificates.broker_tls(false), 1, addresses.clone(), &sim::world(1).0)).unwrap();
    let (outside, broker) = (front.address().unwrap(), inside.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            // Ends with the test's process, or with its time.
            _ = tokio::time::timeout(std::time::Duration::from_secs(120), front.run(broker)).await;
        });
    });
    let (client, mut stream) = (certificates.client(rustls::ALL_VERSIONS), TcpStream::connect(outside).unwrap());
    let mut client = client;
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    let (passed, seen) = inside.accept().unwrap();
    until("the client is known", || addresses.of(seen) == stream.local_addr().unwrap());
    // There is one place, and it is taken.
    let mut second = TcpStream::connect(outside).unwrap();
    second.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    assert!(matches!(std::io::Read::read(&mut second, &mut [0; 1]), Ok(0) | Err(_)), "it is hung up on");
    drop(stream);
    drop(passed);
    until("the client is forgotten", || addresses.of(seen) == seen);
    assert!(!thread.is_finished());
}
