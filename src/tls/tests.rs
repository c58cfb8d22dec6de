//! Handshakes in memory: who is let in, and what a changed file does.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

use super::*;
use crate::limits;
use crate::seam::sim::world;

/// Shakes hands until neither side has more to say.
fn shake(acceptor: &Acceptor, files: &ClientFiles) -> Result<Vec<u8>, String> {
    let config = client_config(files).map_err(|error| error.to_string())?;
    let (client, _) = shake_with(acceptor, Arc::new(config))?;
    Ok(client.peer_certificates().unwrap()[0].as_ref().to_vec())
}

fn shake_with(acceptor: &Acceptor, config: Arc<ClientConfig>) -> Result<(ClientConnection, ServerConnection), String> {
    let mut client = ClientConnection::new(config, "board.local".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(acceptor.config()).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

#[expect(clippy::disallowed_methods, reason = "tests write the files that are read")]
fn write_pair(folder: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let pair = self_signed(&["board.local".to_owned()], 2026).unwrap();
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, pair.certificate).unwrap();
    std::fs::write(&key, pair.key).unwrap();
    (certificate, key)
}

fn settings(pair: &(std::path::PathBuf, std::path::PathBuf)) -> TlsSettings {
    TlsSettings {
        certificate_file: pair.0.clone(),
        key_file: pair.1.clone(),
        client_ca_file: None,
        version_min: TlsVersion::V12,
        plain_http: PlainHttp::Redirect,
    }
}

#[test]
fn a_pair_of_ours_is_trusted_by_who_has_it_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (server, other) = (write_pair(folder.path(), "server"), write_pair(folder.path(), "other"));
    let acceptor = Acceptor::new(settings(&server), world(1).0).unwrap();
    let trusting = |file: &Path| ClientFiles { ca: Some(file.to_owned()), pair: None };
    shake(&acceptor, &trusting(&server.0)).unwrap();
    shake(&acceptor, &trusting(&other.0)).unwrap_err();
    shake(&acceptor, &ClientFiles::default()).unwrap_err();
}

#[test]
fn mutual_tls_lets_in_who_shows_a_known_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let [server, drone, stranger] = ["server", "drone", "stranger"].map(|name| write_pair(folder.path(), name));
    let settings =
        TlsSettings { client_ca_file: Some(drone.0.clone()), version_min: TlsVersion::V13, ..settings(&server) };
    let acceptor = Acceptor::new(settings, world(1).0).unwrap();
    let showing = |pair| ClientFiles { ca: Some(server.0.clone()), pair };
    shake(&acceptor, &showing(Some(drone))).unwrap();
    assert!(shake(&acceptor, &showing(Some(stranger))).unwrap_err().starts_with("server"));
    assert!(shake(&acceptor, &showing(None)).unwrap_err().starts_with("server"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests write the files that are read")]
fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = write_pair(folder.path(), "server");
    let (world, clock) = world(1);
    let acceptor = Acceptor::new(settings(&server), world).unwrap();
    let trusting = || ClientFiles { ca: Some(server.0.clone()), pair: None };
    let first = shake(&acceptor, &trusting()).unwrap();

    // Times of files may be coarse: the new one's is set apart from the old one's.
    let later = |file: &Path, seconds| {
        let file = std::fs::File::options().append(true).open(file).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    write_pair(folder.path(), "server");
    later(&server.0, 1_000_000);
    shake(&acceptor, &trusting()).unwrap_err();
    clock.advance_ms(limits::TLS_RELOAD_INTERVAL.as_millis() as u64);
    let second = shake(&acceptor, &trusting()).unwrap();
    assert_ne!(first, second);

    let whole = std::fs::read(&server.0).unwrap();
    assert_eq!(acceptor.status().fault, None);
    std::fs::write(&server.0, "no certificate").unwrap();
    later(&server.0, 2_000_000);
    clock.advance_ms(limits::TLS_RELOAD_INTERVAL.as_millis() as u64);
    let fault = acceptor.status().fault.unwrap();
    assert!(fault.contains("server.pem: has no certificate"), "{fault}");
    std::fs::write(&server.0, &whole).unwrap();
    assert_eq!(shake(&acceptor, &trusting()).unwrap(), second, "the one before goes on");

    // A key that does not belong to the certificate: half of a renewal.
    write_pair(folder.path(), "server");
    std::fs::write(&server.0, &whole).unwrap();
    later(&server.0, 3_000_000);
    clock.advance_ms(limits::TLS_RELOAD_INTERVAL.as_millis() as u64);
    assert_eq!(shake(&acceptor, &trusting()).unwrap(), second);
    assert!(acceptor.status().fault.unwrap().contains("server.key: does not fit"));
    write_pair(folder.path(), "server");
    later(&server.0, 4_000_000);
    clock.advance_ms(limits::TLS_RELOAD_INTERVAL.as_millis() as u64);
    assert_ne!(shake(&acceptor, &trusting()).unwrap(), second);
    assert_eq!(acceptor.status().fault, None);
}

#[test]
fn sessions_are_resumed_by_any_core_but_not_where_clients_show_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let [server, drone] = ["server", "drone"].map(|name| write_pair(folder.path(), name));
    let mutual = TlsSettings { client_ca_file: Some(drone.0.clone()), ..settings(&server) };
    for (settings, second) in [(settings(&server), HandshakeKind::Resumed), (mutual, HandshakeKind::Full)] {
        let acceptor = Acceptor::new(settings, world(1).0).unwrap();
        let files = ClientFiles { ca: Some(server.0.clone()), pair: Some(drone.clone()) };
        let config = Arc::new(client_config(&files).unwrap());
        for kind in [HandshakeKind::Full, second] {
            // On a core of its own, as its connections are.
            let (_, connection) = std::thread::scope(|scope| {
                scope.spawn(|| shake_with(&acceptor, config.clone())).join().unwrap().unwrap()
            });
            assert_eq!(connection.handshake_kind(), Some(kind));
        }
    }
}

#[test]
fn the_server_takes_the_cipher_that_it_is_quickest_at() {
    let folder = tempfile::tempdir().unwrap();
    let server = write_pair(folder.path(), "server");
    let acceptor = Acceptor::new(settings(&server), world(1).0).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // The client names them the other way round.
        let mut reversed = rustls::crypto::ring::default_provider();
        reversed.cipher_suites.sort_by_key(|suite| std::cmp::Reverse(cost(suite.suite())));
        let config = ClientConfig::builder_with_provider(Arc::new(reversed)).with_protocol_versions(&[version]);
        let config = config.unwrap().with_root_certificates(roots(&server.0).unwrap()).with_no_client_auth();
        let (client, _) = shake_with(&acceptor, Arc::new(config)).unwrap();
        let taken = client.negotiated_cipher_suite().unwrap();
        let first = provider().cipher_suites.iter().map(|suite| cost(suite.suite())).min().unwrap();
        assert_eq!((taken.version().version, cost(taken.suite())), (version.version, first), "{:?}", taken.suite());
    }
}

#[test]
fn status_says_until_when_the_certificate_holds() {
    let folder = tempfile::tempdir().unwrap();
    let server = write_pair(folder.path(), "server");
    let (world, clock) = world(1);
    let acceptor = Acceptor::new(settings(&server), world).unwrap();
    let status = acceptor.status();
    // 2026-01-01 and 2036-12-31; then dates that GeneralizedTime writes.
    assert_eq!(status.validity, Some(Validity { from_s: 1_767_225_600, until_s: 2_114_294_400 }));
    assert_eq!(status.expires.as_deref(), Some("2036-12-31T00:00:00Z"));
    assert!(!status.expired, "{status:?}");
    clock.jump_to(2_114_294_401_000);
    assert!(acceptor.status().expired);

    let late = self_signed(&["board.local".to_owned()], 2045).unwrap();
    let late = CertificateDer::from_pem_slice(late.certificate.as_bytes()).unwrap();
    assert_eq!(Validity::of(&late), Some(Validity { from_s: 2_366_841_600, until_s: 2_713_824_000 }));
    for length in 0..late.len().min(200) {
        let cut = CertificateDer::from(late[..length].to_vec());
        assert_eq!(Validity::of(&cut), None, "{length} bytes");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests write the files that are read")]
fn unusable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (server, other) = (write_pair(folder.path(), "server"), write_pair(folder.path(), "other"));
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    let cases = [
        (TlsSettings { certificate_file: empty.clone(), ..settings(&server) }, "empty.pem: has no certificate"),
        (TlsSettings { key_file: empty.clone(), ..settings(&server) }, "empty.pem"),
        (TlsSettings { key_file: missing, ..settings(&server) }, "missing.pem"),
        (TlsSettings { key_file: other.1, ..settings(&server) }, "other.key: does not fit"),
        (TlsSettings { client_ca_file: Some(empty), ..settings(&server) }, "empty.pem"),
    ];
    for (settings, says) in cases {
        let error = Acceptor::new(settings, world(1).0).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
