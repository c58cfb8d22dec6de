//! TLS and mutual TLS between publisher and broker, with certificates made here.

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::equipment::{MemoryQueue, Subscriber, broker, publisher, until};
use crate::mqtt::{Broker, BrokerSettings, BrokerTls, MqttError, PublisherSettings};

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
        let (certificate_file, key_file) = self.sign("localhost");
        broker(BrokerSettings {
            tls: Some(BrokerTls {
                address: "127.0.0.1:0".parse().unwrap(),
                certificate_file,
                key_file,
                client_ca_file: mutual.then(|| self.authority_file()),
            }),
            ..BrokerSettings::default()
        })
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
    let error = crate::mqtt::Publisher::start(settings, "d", queue, crate::seam::real::world()).unwrap_err();
    assert!(matches!(error, MqttError::Setting { key: "ca_file", reason } if reason.contains("/nowhere/ca.pem")));
}
