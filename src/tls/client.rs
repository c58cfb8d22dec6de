//! The client's side: whom it trusts, and what it shows.

use std::path::PathBuf;

use rustls::ClientConfig;

use super::{TlsError, certificates, private_key, provider, roots};

/// PEM files of a client.
#[derive(Debug, Clone, Default)]
pub struct ClientFiles {
    /// Certificates that may sign the server's. None: no server is trusted.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain and its key, for mutual TLS.
    pub pair: Option<(PathBuf, PathBuf)>,
}

pub fn client_config(files: &ClientFiles) -> Result<ClientConfig, TlsError> {
    let trusted = files.ca.as_deref().map(roots).transpose()?.unwrap_or_else(rustls::RootCertStore::empty);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(trusted);
    let Some((chain, key)) = &files.pair else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(certificates(chain)?, private_key(key)?)
        .map_err(|error| TlsError::file(key, format!("does not fit the certificate: {error}")))
}
