//! The admin API below `/_aerie/v1/`, as the command line uses it: JSON out, plain bodies in.

use std::rc::Rc;

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::errands::Undone;
use super::{Parts, metrics, place};
use crate::access::{AccessError, Account, owner_id};
use crate::engine::Engine;
use crate::hook::StoreError;
use crate::limits;
use crate::upkeep::UpkeepRequest;
use crate::wire::{Admin, AdminAnswer, AdminBody, AdminFuture, AdminRequest};

/// The admin API on one core.
pub struct AdminApi {
    pub(super) parts: Parts,
    pub(super) engine: Rc<Engine>,
}

/// A refusal: status and what to do.
pub(super) struct Refusal(pub StatusCode, pub String);

pub(super) type Answer = Result<AdminAnswer, Refusal>;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let status = match &error {
            StoreError::Absent { .. } => StatusCode::NOT_FOUND,
            StoreError::Name(_) | StoreError::Refused(_) => StatusCode::BAD_REQUEST,
            StoreError::Damaged { .. } | StoreError::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal(status, error.to_string())
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Refusal {
        let status = match &error {
            AccessError::NoSuchEntity(_) => StatusCode::NOT_FOUND,
            AccessError::EntityAlreadyExists(_) | AccessError::DeleteConflict(_) => StatusCode::CONFLICT,
            AccessError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal(status, error.to_string())
    }
}

pub(super) fn bad(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

pub(super) fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

pub(super) fn show(value: &impl Serialize) -> Answer {
    let text = serde_json::to_string_pretty(value).map_err(failed)?;
    Ok(AdminAnswer::json(StatusCode::OK, text + "\n"))
}

pub(super) fn said(text: String) -> Answer {
    Ok(AdminAnswer::text(StatusCode::OK, text + "\n"))
}

impl Admin for AdminApi {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        self.parts.pool.takes_writes().map_err(|error| error.to_string())
    }

    fn handle(&self, request: AdminRequest) -> AdminFuture<'_> {
        Box::pin(async move {
            match self.route(request).await {
                Ok(answer) => answer,
                Err(Refusal(status, text)) => AdminAnswer::text(status, text + "\n"),
            }
        })
    }
}

impl AdminApi {
    pub fn new(parts: Parts, engine: Rc<Engine>) -> AdminApi {
        AdminApi { parts, engine }
    }

    async fn route(&self, request: AdminRequest) -> Answer {
        let path = request.path.clone();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (&request.method, parts.as_slice()) {
            (&Method::GET, ["metrics"]) => Ok(AdminAnswer {
                status: StatusCode::OK,
                content_type: "text/plain; version=0.0.4",
                body: AdminBody::Bytes(metrics::render(&self.parts, &self.usages()?).into()),
            }),
            (&Method::GET, ["v1", "status"]) => self.status(),
            (&Method::GET, ["v1", "heal"]) => show(&self.parts.upkeep.status()),
            (&Method::POST, ["v1", "heal"]) => self.heal(&request),
            (&Method::POST, ["v1", "scrub"]) => self.upkeep(UpkeepRequest::Scrub),
            (&Method::POST, ["v1", "verify"]) => self.verify().await,
            (_, ["v1", "buckets", rest @ ..]) => self.buckets(&request, rest).await,
            (&Method::GET, ["v1", "audit", rest @ ..]) => self.audit(&request, rest),
            (_, ["v1", "clock", rest @ ..]) => self.clock(&request, rest).await,
            (_, ["v1", "accounts", rest @ ..]) => self.accounts(&request, rest).await,
            (_, ["v1", "hooks", rest @ ..]) => self.hooks(request.clone(), rest).await,
            (&Method::PUT, ["v1", "bundles"]) => self.add_bundle(request.clone()).await,
            (_, ["v1", "models", rest @ ..]) => self.models(request.clone(), rest).await,
            (_, ["v1", "keys", rest @ ..]) => self.keys(&request, rest).await,
            (_, ["v1", "outbox", rest @ ..]) => self.outbox(&request, rest),
            (_, ["v1", "replays", rest @ ..]) => self.replays(&request, rest),
            (method, _) => Err(Refusal(StatusCode::NOT_FOUND, format!("no such call: {method} /_aerie/{path}"))),
        }
    }

    /// Accounts beside the store's own. A secret is shown once, when the account is made.
    async fn accounts(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        let access = &self.parts.access;
        match (&request.method, path) {
            (&Method::GET, []) => {
                let directory = access.directory();
                let account = |account: &std::sync::Arc<Account>| json!({"id": account.id, "name": account.name, "canonical_id": account.canonical_id});
                show(&directory.accounts().map(account).collect::<Vec<_>>())
            }
            (&Method::POST, [name]) => {
                let name = (*name).to_owned();
                let (account, key) = access.change(move |change| change.create_account(&name)).await?;
                show(&json!({
                    "id": account.id,
                    "name": account.name,
                    "canonical_id": account.canonical_id,
                    "access_key": key.access_key,
                    "secret_key": key.secret.as_str(),
                }))
            }
            (&Method::DELETE, [name]) => {
                let directory = access.directory();
                let found = directory.accounts().find(|account| account.id == *name || account.name == *name);
                let account = found.ok_or_else(|| {
                    Refusal(StatusCode::NOT_FOUND, format!("there is no account {name}; see `aerie account list`"))
                })?;
                let buckets = self.engine.buckets().map_err(failed)?;
                if let Some(bucket) = buckets.iter().find(|bucket| owner_id(&bucket.owner) == account.canonical_id) {
                    let text = format!("account {name} still owns bucket {}; remove its buckets first", bucket.name);
                    return Err(Refusal(StatusCode::CONFLICT, text));
                }
                let id = account.id.clone();
                access.change(move |change| change.delete_account(&id)).await?;
                said(format!("account {name} is removed"))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on accounts".to_owned())),
        }
    }

    fn status(&self) -> Answer {
        let geometry = self.parts.pool.geometry();
        let drive = |drive: crate::pool::DriveStatus| {
            json!({"slot": drive.slot, "place": drive.place, "fault": drive.fault,
                   "total_bytes": drive.total_bytes, "available_bytes": drive.available_bytes})
        };
        let drives: Vec<_> = self.parts.pool.status().into_iter().map(drive).collect();
        show(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pool": {"id": self.parts.pool.id(), "data": geometry.data, "parity": geometry.parity, "drives": drives},
            "heal": self.parts.upkeep.status(),
            "outbox": self.outbox_json()?,
            "buckets": self.buckets_json()?,
            "retention_clock": self.engine.meta().retention_clock(),
            "connections": self.parts.connections.open(),
            "tls": self.parts.tls.as_ref().map(|tls| tls.status()),
        }))
    }

    fn heal(&self, request: &AdminRequest) -> Answer {
        let named = request.query.iter().filter(|(name, _)| name == "replace").map(|(_, place)| place.clone());
        let named = place::named(&self.parts.places, &named.collect::<Vec<String>>()).map_err(bad)?;
        self.begun(self.parts.upkeep.replace(named))
    }

    fn upkeep(&self, request: UpkeepRequest) -> Answer {
        self.begun(self.parts.upkeep.request(request))
    }

    fn begun(&self, taken: bool) -> Answer {
        if taken {
            said("started; `aerie heal status` shows how far it is".to_owned())
        } else {
            Err(failed("too much is asked of upkeep already; try again later"))
        }
    }

    /// Asks for a census and waits, within a bound, for one that began after now.
    async fn verify(&self) -> Answer {
        let before = self.parts.upkeep.status().census.map(|census| census.counted_ms);
        if !self.parts.upkeep.request(UpkeepRequest::Census) {
            return Err(failed("too much is asked of upkeep already; try again later"));
        }
        let mut waited = std::time::Duration::ZERO;
        loop {
            let status = self.parts.upkeep.status();
            let counted = status.census.map(|census| census.counted_ms);
            if status.walk.is_none() && counted.is_some() && counted != before {
                return show(&status);
            }
            if waited >= limits::VERIFY_WAIT_MAX {
                return Err(failed("the count goes on; `aerie heal status` shows how far it is"));
            }
            monoio::time::sleep(limits::VERIFY_POLL).await;
            waited += limits::VERIFY_POLL;
        }
    }

    /// Has another thread do what would hold up the core: compiling a Python hook takes seconds.
    pub(super) async fn errand<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&Rc<Engine>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.parts.errands.run(errand).await.map_err(|undone| match undone {
            Undone::Busy => failed("too much is being transformed and compiled already; try again later"),
            Undone::Failed => failed("it was not done; the log says why"),
        })
    }

    pub(super) fn outbox_json(&self) -> Result<serde_json::Value, Refusal> {
        let metrics = self.parts.outbox.metrics().map_err(failed)?;
        let stored = metrics.stored;
        Ok(json!({
            "changes": stored.changes,
            "pending": stored.pending,
            "dead": stored.dead,
            "publications": stored.publications,
            "publication_bytes": stored.publication_bytes,
            "dropped": stored.dropped,
            "expired": stored.expired,
            "held": stored.held,
            "held_bytes": stored.held_bytes,
            "oldest_ms": metrics.oldest_ms,
            "published": metrics.publisher.as_ref().map(|publisher| publisher.published),
            "connected": metrics.publisher.as_ref().map(|publisher| publisher.connected),
            "not_connected_because": metrics.publisher.as_ref().filter(|publisher| !publisher.connected).map(|publisher| &publisher.last_error),
            "subscribers": metrics.publisher.as_ref().map(|publisher| json!({
                "sessions": publisher.ledger.sessions,
                "kept": publisher.ledger.kept,
                "kept_bytes": publisher.ledger.kept_bytes,
                "dropped": publisher.ledger.dropped,
            })),
        }))
    }
}
