//! What is not S3: health, for anybody, and administration, for root and whom its policies allow.

use http::{Method, StatusCode};

use super::Service;
use crate::access::policy::Request;
use crate::limits;
use crate::wire::admin::{AdminAnswer, AdminRequest};
use crate::wire::auth::Identity;
use crate::wire::auth::circumstances::Asker;
use crate::wire::body::RequestBody;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::query::Query;
use crate::wire::request::Parts;
use crate::wire::response::{self, Response};

impl Service {
    /// Health is answered to anybody, by our own paths and by those that MinIO's probes use.
    pub(super) fn health(&self, path: &str) -> Option<AdminAnswer> {
        let state = match path {
            "/health/live" | "/minio/health/live" => self.admin.live(),
            "/health/ready" | "/minio/health/ready" => self.admin.ready(),
            _ => return None,
        };
        Some(match state {
            Ok(()) => AdminAnswer::text(StatusCode::OK, "ok\n"),
            Err(reason) => AdminAnswer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        })
    }

    pub(super) async fn administer(
        &self,
        parts: Parts,
        path: String,
        query: Query,
        identity: Identity,
        body: RequestBody,
        length: Option<u64>,
    ) -> Result<Response, S3Error> {
        let open =
            path == "metrics" && parts.head.method == Method::GET && parts.peer.ip().to_canonical().is_loopback();
        let path = percent_encoding::percent_decode_str(&path)
            .decode_utf8()
            .map_err(|_| S3Error::with(S3Code::InvalidURI, "the path is not UTF-8 after percent-decoding"))?
            .into_owned();
        if !open && !self.may_administer(&parts, &path, &identity) {
            let message = "administration needs a request signed by root, or by whom a policy allows aerie: actions";
            return Err(S3Error::with(S3Code::AccessDenied, message));
        }
        let body = body.collect(limits::ADMIN_BODY_BYTES_MAX, length).await?.0;
        let request = AdminRequest { method: parts.head.method, path, query: query.into_pairs(), body };
        Ok(response::admin(self.admin.handle(request).await))
    }

    /// The store's root, and whom its policies allow: `aerie:GetHooks`, `aerie:PutHooks`, `aerie:PostHeal`, … (method and
    /// first part of the path below `v1`) on `arn:aerie:admin:::PATH`. Other accounts have no say in the appliance.
    fn may_administer(&self, parts: &Parts, path: &str, identity: &Identity) -> bool {
        let Some(caller) = identity.principal().filter(|caller| caller.account.is_store()) else { return false };
        let title = |word: &str| match word.split_at_checked(1) {
            Some((first, rest)) => format!("{}{}", first.to_uppercase(), rest.to_lowercase()),
            None => String::new(),
        };
        let noun = path.trim_start_matches("v1/").split('/').next().unwrap_or_default();
        let action = format!("aerie:{}{}", title(parts.head.method.as_str()), title(noun));
        let asker = Asker {
            caller: Some(caller),
            peer: parts.peer,
            secure: parts.secure,
            headers: &parts.head.headers,
            region: &self.settings.region,
            now_ms: self.engine.world().clock.unix_ms(),
        };
        caller.may(Request { action: &action, resource: &format!("arn:aerie:admin:::{path}"), context: &asker })
    }
}
