//! What the wire layer is told at start. Data only; the running parts are built from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::clients::Clients;
use super::traffic::Traffic;
use super::transfers::Transfers;
use super::transforms::Transforms;
use crate::access::Registry;
use crate::acl::ObjectOwnership;
use crate::limits;
use crate::tls::PlainHttp;

/// Settings of the S3 endpoint, shared by all cores.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Region that signatures must name.
    pub region: String,
    /// Domain below which `BUCKET.DOMAIN` is virtual-host style; path style always works.
    pub domain: Option<String>,
    /// Accounts, users and their keys.
    pub access: Arc<Registry>,
    /// Value of the `Server` header.
    pub server: String,
    /// The appliance's name: `x-amz-id-2` of answers and of event records.
    pub host_id: String,
    pub timeouts: Timeouts,
    /// What requests get that come without TLS.
    pub plain_http: PlainHttp,
    /// Whether a hook is installed: asked when a notification configuration names one.
    pub hook_exists: HookExists,
    /// Object lambdas.
    pub transforms: Transforms,
    /// Object ownership of new buckets that name none.
    pub object_ownership: ObjectOwnership,
    /// What each client may take; one for all cores.
    pub clients: Arc<Clients>,
    /// Every request goes to the audit log, not only administration.
    pub audit_requests: bool,
    /// Bounds how many objects move at once; one for all cores.
    pub transfers: Arc<Transfers>,
    /// Counts requests for metrics; one for all cores.
    pub traffic: Arc<Traffic>,
    /// Clients' own encryption keys (SSE-C) are also taken over plain HTTP, where whoever listens learns them.
    pub customer_keys_in_clear: bool,
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
