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
use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::PrivateKeyDer};
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

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
