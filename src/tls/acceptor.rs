//! The server's side: a configuration that follows its files.
//!
//! Renewed certificates are taken up by the next handshake after `TLS_RELOAD_INTERVAL`, without a restart; connections
//! that are open keep what they have. Files that have become unusable change nothing, and are logged once a version.
//! Any thread; a handshake that finds the interval over looks at the files' times itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};

use super::{TlsError, certificates, private_key, provider, roots};
use crate::limits;
use crate::seam::World;

/// TLS on an address that listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file: the server's certificate, and those between it and a root that clients trust.
    pub certificate_file: PathBuf,
    /// PEM file: the private key of the first certificate.
    pub key_file: PathBuf,
    /// PEM file with the certificates that may sign a client's; given, every client must show one.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Least version that is spoken: `1.2` or `1.3`.
    #[serde(default)]
    pub version_min: TlsVersion,
    /// What a request without TLS on the same address gets.
    #[serde(default)]
    pub plain_http: PlainHttp,
}

/// What an address with TLS does with a request that comes without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainHttp {
    /// Answers it like any other.
    Serve,
    /// Tells the client to ask again by https (308).
    #[default]
    Redirect,
    /// Refuses it.
    Refuse,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    V12,
    #[serde(rename = "1.3")]
    V13,
}

impl TlsSettings {
    fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.certificate_file), Some(&self.key_file), self.client_ca_file.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let versions: &[_] = match self.version_min {
            TlsVersion::V12 => rustls::ALL_VERSIONS,
            TlsVersion::V13 => &[&rustls::version::TLS13],
        };
        let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| setup(&error))?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider())
                    .build()
                    .map_err(|error| TlsError::file(file, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(certificates(&self.certificate_file)?, private_key(&self.key_file)?)
            .map_err(|error| TlsError::file(&self.key_file, format!("does not fit the certificate: {error}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Hands out the configuration that holds now.
pub struct Acceptor {
    settings: TlsSettings,
    world: World,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// When the files were written, as seen when they were last looked at.
    written: Vec<Option<SystemTime>>,
    looked_ns: u64,
}

impl Acceptor {
    /// Reads the files; an error says which one is at fault.
    pub fn new(settings: TlsSettings, world: World) -> Result<Acceptor, TlsError> {
        let written = written(&settings);
        let config = settings.load()?;
        let current = Mutex::new(Current { config, written, looked_ns: world.clock.monotonic_ns() });
        Ok(Acceptor { settings, world, current })
    }

    /// For the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        let now_ns = self.world.clock.monotonic_ns();
        // The configuration is replaced whole, so that one is there whatever happened to a holder of the lock.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ns.saturating_sub(current.looked_ns) >= limits::TLS_RELOAD_INTERVAL.as_nanos() as u64 {
            current.looked_ns = now_ns;
            self.reload(&mut current);
        }
        current.config.clone()
    }

    fn reload(&self, current: &mut Current) {
        let written = written(&self.settings);
        if written == current.written {
            return;
        }
        current.written = written;
        let file = self.settings.certificate_file.display();
        match self.settings.load() {
            Ok(config) => {
                tracing::info!(%file, "the certificate was read again");
                current.config = config;
            }
            Err(error) => {
                tracing::error!(%error, "a changed certificate cannot be used; the one before goes on, replace the file")
            }
        }
    }
}

fn written(settings: &TlsSettings) -> Vec<Option<SystemTime>> {
    settings.files().map(|file| file.metadata().and_then(|metadata| metadata.modified()).ok()).collect()
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}
