//! Whom the publisher trusts and what it shows: TLS of the connections to come, read again when a file has changed.
//!
//! A renewed certificate is taken up by the next connection, without a restart. Files that have become unusable change
//! nothing, and are logged once a version. Lives on the MQTT thread, which looks at the files' times before each
//! connection: they are made seldom.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rumqttc::{TlsConfiguration, Transport};

use super::{MqttError, PublisherSettings};
use crate::tls::{self, ClientFiles, TlsError};

pub struct Trust {
    /// None: connections in clear.
    files: Option<ClientFiles>,
    current: RefCell<Current>,
}

struct Current {
    transport: Transport,
    written: Vec<Option<SystemTime>>,
}

impl Trust {
    /// Reads the files; an error says which one is at fault.
    pub fn new(settings: &PublisherSettings, secure: bool) -> Result<Trust, MqttError> {
        if !secure {
            let current = Current { transport: Transport::tcp(), written: Vec::new() };
            return Ok(Trust { files: None, current: RefCell::new(current) });
        }
        let pair = settings.client_certificate_file.clone().zip(settings.client_key_file.clone());
        let files = ClientFiles { ca: settings.ca_file.clone(), pair };
        let written = written(&files);
        let refuse = |error: TlsError| {
            let reason = error.to_string();
            let named = |file: &PathBuf| reason.starts_with(&*file.to_string_lossy());
            let key = match &settings.client_key_file {
                Some(file) if named(file) => "client_key_file",
                _ if settings.client_certificate_file.as_ref().is_some_and(named) => "client_certificate_file",
                _ => "ca_file",
            };
            MqttError::Setting { key, reason }
        };
        let transport = load(&files).map_err(refuse)?;
        Ok(Trust { files: Some(files), current: RefCell::new(Current { transport, written }) })
    }

    /// For the next connection.
    pub fn transport(&self) -> Transport {
        let mut current = self.current.borrow_mut();
        if let Some(files) = &self.files {
            let written = written(files);
            if written != current.written {
                current.written = written;
                match load(files) {
                    Ok(transport) => {
                        tracing::info!("the certificates towards the MQTT broker were read again");
                        current.transport = transport;
                    }
                    Err(error) => {
                        tracing::error!(%error, "changed certificates cannot be used; those before go on, replace the file");
                    }
                }
            }
        }
        current.transport.clone()
    }
}

fn load(files: &ClientFiles) -> Result<Transport, TlsError> {
    let config = tls::client_config(files)?;
    Ok(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))))
}

fn written(files: &ClientFiles) -> Vec<Option<SystemTime>> {
    let pair = files.pair.iter().flat_map(|(chain, key)| [chain, key]);
    let time = |file: &PathBuf| file.metadata().and_then(|metadata| metadata.modified()).ok();
    files.ca.iter().chain(pair).map(time).collect()
}
