//! The server's side: a configuration that follows its files.
//!
//! Renewed certificates are taken up by the next handshake after `TLS_RELOAD_INTERVAL`, without a restart; connections
//! that are open keep what they have. Files that have become unusable change nothing, and are logged once a version.
//! Any thread; a handshake that finds the interval over looks at the files' times itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use serde::{Deserialize, Serialize};

use super::{TlsError, Validity, certificates, private_key, provider, roots};
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

    fn load(&self) -> Result<Loaded, TlsError> {
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
        let chain = certificates(&self.certificate_file)?;
        let validity = chain.first().and_then(Validity::of);
        let mut config = builder
            .with_single_cert(chain, private_key(&self.key_file)?)
            .map_err(|error| TlsError::file(&self.key_file, format!("does not fit the certificate: {error}")))?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        match self.client_ca_file {
            // Sealed tickets, which every core opens and which need no memory for each client. Their keys go with the
            // configuration: a session does not outlive the certificate that it began with.
            None => config.ticketer = Ticketer::new().map_err(|error| setup(&error))?,
            // A resumed session does not show its certificate again, which may have expired since.
            Some(_) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(Loaded { config: Arc::new(config), validity })
    }
}

/// What the files gave.
struct Loaded {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

/// The certificate that is shown now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    pub file: PathBuf,
    pub validity: Option<Validity>,
    pub expires: Option<String>,
    /// By the wall clock. It is shown all the same; clients refuse it.
    pub expired: bool,
    /// Why the files as they are now are not used.
    pub fault: Option<String>,
}

/// Hands out the configuration that holds now.
pub struct Acceptor {
    settings: TlsSettings,
    world: World,
    current: Mutex<Current>,
}

struct Current {
    loaded: Loaded,
    /// Why the newest files could not be used.
    fault: Option<String>,
    /// When the files were written, as seen when they were last looked at.
    written: Vec<Option<SystemTime>>,
    looked_ns: u64,
}

impl Acceptor {
    /// Reads the files; an error says which one is at fault.
    pub fn new(settings: TlsSettings, world: World) -> Result<Acceptor, TlsError> {
        let written = written(&settings);
        let loaded = settings.load()?;
        let current = Current { loaded, fault: None, written, looked_ns: world.clock.monotonic_ns() };
        let acceptor = Acceptor { settings, world, current: Mutex::new(current) };
        acceptor.tell_expired(&acceptor.current().loaded);
        Ok(acceptor)
    }

    /// For the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current().loaded.config.clone()
    }

    pub fn status(&self) -> CertificateStatus {
        let current = self.current();
        CertificateStatus {
            file: self.settings.certificate_file.clone(),
            validity: current.loaded.validity,
            expires: current.loaded.validity.map(|validity| validity.until()),
            expired: self.is_expired(&current.loaded),
            fault: current.fault.clone(),
        }
    }

    /// What the files give, looked at again once the interval is over.
    fn current(&self) -> MutexGuard<'_, Current> {
        let now_ns = self.world.clock.monotonic_ns();
        // What is there is replaced whole, so that one is there whatever happened to a holder of the lock.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ns.saturating_sub(current.looked_ns) >= limits::TLS_RELOAD_INTERVAL.as_nanos() as u64 {
            current.looked_ns = now_ns;
            self.reload(&mut current);
        }
        current
    }

    fn reload(&self, current: &mut Current) {
        let written = written(&self.settings);
        if written == current.written {
            return;
        }
        current.written = written;
        let file = self.settings.certificate_file.display();
        match self.settings.load() {
            Ok(loaded) => {
                tracing::info!(%file, "the certificate was read again");
                self.tell_expired(&loaded);
                (current.loaded, current.fault) = (loaded, None);
            }
            Err(error) => {
                tracing::error!(%error, "a changed certificate cannot be used; the one before goes on, replace the file");
                current.fault = Some(error.to_string());
            }
        }
    }

    fn is_expired(&self, loaded: &Loaded) -> bool {
        loaded.validity.is_some_and(|validity| validity.until_s < self.world.clock.unix_ms() / 1000)
    }

    fn tell_expired(&self, loaded: &Loaded) {
        if self.is_expired(loaded) {
            let file = self.settings.certificate_file.display();
            tracing::warn!(%file, "the certificate has expired by the wall clock: clients will refuse it, renew it");
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
