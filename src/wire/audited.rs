//! What the audit log takes down of a request: which ones, and what of them. Lives as long as its request, on its core.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use http::{HeaderMap, Method, StatusCode};

use super::auth::Identity;
use super::iam;
use super::operation::Operation;
use super::settings::Settings;
use crate::audit::AuditEntry;
use crate::engine::Engine;

/// What the audit log has to know of a request, filled in as it becomes known.
pub struct Audited {
    wanted: Cell<bool>,
    identity: RefCell<String>,
    action: RefCell<String>,
    operation: Cell<Option<Operation>>,
}

impl Audited {
    /// Administration that changes something is always taken down (IAM's calls are posted to the root), all else where it
    /// is wanted. Health never is.
    pub fn of(head: &http::request::Parts, settings: &Settings) -> Audited {
        let path = head.uri.path();
        let admin = path.starts_with("/_aerie/");
        let changes = !matches!(head.method, Method::GET | Method::HEAD);
        let health = path.starts_with("/health/") || path.starts_with("/minio/health/");
        let action = if admin { format!("{} {path}", head.method) } else { String::new() };
        let wanted = !health && (settings.audit_requests || changes && (admin || path == "/"));
        Audited {
            wanted: Cell::new(wanted),
            identity: RefCell::default(),
            action: RefCell::new(action),
            operation: Cell::default(),
        }
    }

    /// Who asks is known.
    pub fn identified(&self, identity: &Identity) {
        if self.wanted.get() {
            self.identity.replace(identity.name_in_events());
        }
    }

    /// A call of IAM or STS. What only asks is not administration.
    pub fn of_query(&self, caller: String, action: String, all: bool) {
        self.wanted.set(self.wanted.get() && (all || iam::changes(&action)));
        self.identity.replace(caller);
        self.action.replace(action);
    }

    /// S3 has administration as well: what changes a bucket's rules, and what passes over retention.
    pub fn routed(&self, operation: Operation, headers: &HeaderMap, identity: &Identity) {
        self.operation.set(Some(operation));
        let name = operation.as_str();
        let rules = ["CreateBucket", "DeleteBucket", "PutBucket", "PutObjectLockConfiguration"];
        let administers = rules.iter().any(|start| name.starts_with(start)) || name.ends_with("PublicAccessBlock");
        let changes = !name.starts_with("Get");
        let bypasses = headers.contains_key("x-amz-bypass-governance-retention");
        if administers && changes || bypasses {
            self.wanted.set(true);
        }
        self.identified(identity);
        if self.wanted.get() {
            self.action.replace(name.to_owned());
        }
    }

    /// What was asked for, once that is known and an operation of S3.
    pub fn operation(&self) -> Option<Operation> {
        self.operation.get()
    }

    /// Writes it to the log, where it is wanted; durable when this returns.
    pub async fn take_down(self, engine: &Engine, outcome: Outcome<'_>) {
        if !self.wanted.get() {
            return;
        }
        let Outcome { resource, request_id, peer, status, code } = outcome;
        let entry = AuditEntry {
            time_ms: engine.world().clock.unix_ms(),
            identity: self.identity.into_inner(),
            action: self.action.into_inner(),
            resource: resource.to_owned(),
            outcome: format!("{} {code}", status.as_u16()).trim_end().to_owned(),
            source: peer.ip().to_canonical().to_string(),
            request_id: request_id.to_owned(),
        };
        if let Err(error) = engine.meta().audit(entry).await {
            tracing::error!(%error, %request_id, "a request could not be taken down in the audit log");
        }
    }
}

/// How a request ended.
pub struct Outcome<'a> {
    pub resource: &'a str,
    pub request_id: &'a str,
    pub peer: SocketAddr,
    pub status: StatusCode,
    /// S3's code of an error; empty where there was none.
    pub code: &'a str,
}
