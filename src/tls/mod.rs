//! TLS 1.2 and 1.3 by rustls with ring: certificates from PEM files, for the S3 address and for clients.
//!
//! The provider is named wherever a configuration is made, so that nothing depends on a process-wide default. Absent:
//! sockets (whoever has one wraps it), and trust in anything that no file names.

mod acceptor;
mod ahead;
mod client;
mod pair;
#[cfg(test)]
mod tests;
mod validity;

pub use acceptor::{Acceptor, CertificateStatus, PlainHttp, TlsSettings, TlsVersion};
pub use ahead::ReadAhead;
pub use client::{ClientFiles, client_config};
pub use pair::{Pair, self_signed};
pub use validity::Validity;

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, RootCertStore, pki_types::CertificateDer, pki_types::PrivateKeyDer};
use rustls_pki_types::pem::PemObject;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    #[error("{0}")]
    Setup(String),
}

impl TlsError {
    fn file(path: &Path, reason: impl std::fmt::Display) -> TlsError {
        TlsError::File { file: path.display().to_string(), reason: reason.to_string() }
    }
}

/// All certificates of a PEM file, in order; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| TlsError::file(path, error))?;
    if found.is_empty() {
        return Err(TlsError::file(path, "has no certificate; a PEM file with BEGIN CERTIFICATE is needed"));
    }
    Ok(found)
}

/// The first private key of a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::file(path, error))
}

/// Certificates that may sign the other side's.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(certificates(path)?);
    if good == 0 {
        return Err(TlsError::file(path, "has no certificate that can sign others"));
    }
    Ok(roots)
}

/// What both sides are made of. The ciphers are in the order of their speed here.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| cost(suite.suite()));
    Arc::new(provider)
}

/// AES where the processor has instructions for it, with 128 bits first, which take 10 rounds instead of 14; ChaCha20
/// where it has none (the Cortex-A72 of a Raspberry Pi 4, for example).
fn cost(suite: CipherSuite) -> u8 {
    let (aes_128, aes_256, chacha) = if has_aes() { (0, 1, 2) } else { (1, 2, 0) };
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => aes_128,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => chacha,
        _ => aes_256,
    }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
