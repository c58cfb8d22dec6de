//! What the wire layer is told at start. Data only; the running parts are built from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::auth::Identity;
use super::transfers::Transfers;
use super::transforms::Transforms;
use crate::limits;

/// Settings of the S3 endpoint, shared by all cores.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Region that signatures must name.
    pub region: String,
    /// Domain below which `BUCKET.DOMAIN` is virtual-host style; path style always works.
    pub domain: Option<String>,
    pub keys: Arc<dyn Keys>,
    /// Value of the `Server` header.
    pub server: String,
    pub timeouts: Timeouts,
    /// Whether a hook is installed: asked when a notification configuration names one.
    pub hook_exists: HookExists,
    /// Object lambdas.
    pub transforms: Transforms,
    /// Every request goes to the audit log, not only administration.
    pub audit_requests: bool,
    /// Bounds how many objects move at once; one for all cores.
    pub transfers: Arc<Transfers>,
}

/// Answers whether a hook of this name is installed. Called on every core, must not block.
#[derive(Clone)]
pub struct HookExists(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl HookExists {
    pub fn new(exists: impl Fn(&str) -> bool + Send + Sync + 'static) -> HookExists {
        HookExists(Arc::new(exists))
    }

    pub(super) fn ask(&self, hook: &str) -> bool {
        (self.0)(hook)
    }
}

impl fmt::Debug for HookExists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookExists(…)")
    }
}

/// How long a client may keep us waiting. The defaults are in `limits`.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// Between a response and the next request.
    pub keep_alive: Duration,
    /// Without a byte moving, in a request body or a response.
    pub body_stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: limits::REQUEST_HEAD_TIMEOUT,
            keep_alive: limits::KEEP_ALIVE_TIMEOUT,
            body_stall: limits::BODY_STALL_TIMEOUT,
        }
    }
}

/// Where access keys are looked up. Called on every core, must not block.
pub trait Keys: Send + Sync + fmt::Debug {
    fn secret(&self, access_key: &str) -> Option<Secret>;
    /// Who signs with the access key; asked after the signature was good.
    fn identity(&self, access_key: &str) -> Identity;
}

/// A secret access key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The root pair alone.
#[derive(Debug, Clone)]
pub struct RootKeys {
    pub access_key: String,
    pub secret: Secret,
}

impl Keys for RootKeys {
    fn secret(&self, access_key: &str) -> Option<Secret> {
        (access_key == self.access_key).then(|| self.secret.clone())
    }

    fn identity(&self, access_key: &str) -> Identity {
        debug_assert_eq!(access_key, self.access_key);
        Identity::Root
    }
}
