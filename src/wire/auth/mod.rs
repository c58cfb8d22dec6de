//! Who asks, and whether they may.
//!
//! `Authenticator::authenticate` verifies a request's signature (Signature Version 4, in the header or the query) and
//! says how its body is to be checked. What the signer may do is decided in `gate`. Absent: Signature Version 2 in headers.

mod canonical;
pub(super) mod circumstances;
mod claim;
mod gate;
pub(super) mod signing;
#[cfg(test)]
mod tests;
mod version2;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;

pub(super) use self::canonical::Signed;
use self::claim::Claim;
use self::signing::SigningKeys;
pub use self::signing::{ChunkSigner, Scope, derive_key, string_to_sign};
use super::error::{S3Code, S3Error};
use super::query::Query;
use super::settings::Settings;
use crate::access::{Credential, KeyFault, Principal, Use};
use crate::limits;

/// Who signed a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// No signature at all.
    Anonymous,
    Signed(Arc<Principal>),
}

impl Identity {
    /// Who signed; `None` for nobody.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Identity::Anonymous => None,
            Identity::Signed(principal) => Some(principal),
        }
    }

    /// Canonical id of the caller's account.
    pub fn canonical_id(&self) -> Option<&str> {
        self.principal().map(Principal::canonical_id)
    }

    /// As event records name it.
    pub fn name_in_events(&self) -> String {
        self.principal().map_or("anonymous".to_owned(), Principal::name_in_events)
    }
}

/// A request's head, as far as authentication looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Raw, as in the request line.
    pub path: &'a str,
    /// Raw, without `?`.
    pub raw_query: &'a str,
    pub query: &'a Query,
    pub headers: &'a HeaderMap,
}

/// How a body is framed and what it is checked against.
#[derive(Debug, Clone)]
pub enum Payload {
    /// As it comes.
    Unsigned,
    /// As it comes; it must have this SHA-256.
    Sha256([u8; 32]),
    /// aws-chunked, each chunk signed; `trailer`: signed trailing headers follow.
    SignedChunks { signer: Box<ChunkSigner>, trailer: bool },
    /// aws-chunked, not signed, trailing headers follow.
    UnsignedChunks,
}

/// A verified request.
#[derive(Debug, Clone)]
pub struct Authenticated {
    pub identity: Identity,
    pub payload: Payload,
}

/// The fields of a browser form that prove who made its policy.
#[derive(Debug, Clone, Copy)]
pub struct FormSignature<'a> {
    /// `ACCESS_KEY/DATE/REGION/s3/aws4_request`.
    pub credential: &'a str,
    /// In base64: what is signed.
    pub policy: &'a str,
    /// Hex.
    pub signature: &'a str,
    pub token: Option<&'a str>,
}

/// Verifies signatures on one core.
#[derive(Debug, Default)]
pub struct Authenticator {
    keys: SigningKeys,
    /// The last use of each key that this core has taken down.
    uses: RefCell<HashMap<String, Use>>,
}

impl Authenticator {
    pub fn authenticate(&self, head: Head<'_>, settings: &Settings, now_ms: i64) -> Result<Authenticated, S3Error> {
        match claim::read(head.headers, head.query)? {
            Some(claim) => self.verify(head, &claim, settings, now_ms),
            None if version2::is_presigned(head.query) => version2::verify(head, settings, now_ms),
            None => {
                let payload = unsigned_payload(head.headers)?;
                Ok(Authenticated { identity: Identity::Anonymous, payload })
            }
        }
    }

    /// Verifies a request to IAM or STS; `digest` is the SHA-256 of its body in hex, which is what such clients sign.
    pub fn authenticate_query(
        &self,
        head: Head<'_>,
        digest: &str,
        settings: &Settings,
        now_ms: i64,
    ) -> Result<Identity, S3Error> {
        let Some(claim) = claim::read(head.headers, head.query)? else { return Ok(Identity::Anonymous) };
        // A client of IAM names the region where AWS has IAM, whatever ours is called.
        if !matches!(claim.scope.service.as_str(), "iam" | "sts" | "s3") {
            let message = format!("Credential should be scoped to service iam or sts, not {}", claim.scope.service);
            return Err(S3Error::with(S3Code::SignatureDoesNotMatch, message));
        }
        let found = find_key(settings, &claim.access_key, token(head), now_ms)?;
        check_time(&claim, now_ms)?;
        check_signed_headers(head.headers, &claim.signed_headers)?;
        let stated = head.headers.get("x-amz-content-sha256").map(|value| value.as_bytes());
        if stated.is_some_and(|stated| stated != digest.as_bytes()) {
            return Err(S3Error::new(S3Code::XAmzContentSHA256Mismatch));
        }
        let signed = signed(head, &claim, digest);
        let key = self.keys.key(&claim.access_key, &found.secret, &claim.scope);
        let string = signing::string_to_sign(&claim.timestamp, &claim.scope.text(), &signed.canonical());
        match signing::verify(&key, string.as_bytes(), &claim.signature) {
            true => {
                self.note(settings, &claim.access_key, &claim.scope.service, now_ms);
                Ok(Identity::Signed(found.principal))
            }
            false => Err(S3Error::new(S3Code::SignatureDoesNotMatch)),
        }
    }

    /// Verifies the signature of a browser form's policy. `credential`, `policy` (base64) and `signature` are the form's
    /// fields of that name; what the policy allows is for the caller to check.
    pub fn authenticate_form(
        &self,
        settings: &Settings,
        fields: FormSignature<'_>,
        now_ms: i64,
    ) -> Result<Identity, S3Error> {
        let FormSignature { credential, policy, signature, token } = fields;
        let (access_key, scope) = claim::split_credential(credential)
            .map_err(|reason| S3Error::argument("X-Amz-Credential", credential, reason))?;
        check_scope(&scope, settings, S3Code::AuthorizationHeaderMalformed)?;
        let found = find_key(settings, &access_key, token, now_ms)?;
        let key = self.keys.key(&access_key, &found.secret, &scope);
        if !signing::verify(&key, policy.as_bytes(), signature) {
            return Err(S3Error::new(S3Code::SignatureDoesNotMatch)
                .field("AWSAccessKeyId", access_key)
                .field("StringToSign", policy)
                .field("SignatureProvided", signature));
        }
        self.note(settings, &access_key, &scope.service, now_ms);
        Ok(Identity::Signed(found.principal))
    }

    /// Takes down the use of a key, once an hour.
    fn note(&self, settings: &Settings, access_key: &str, service: &str, now_ms: i64) {
        let mut uses = self.uses.borrow_mut();
        if uses.get(access_key).is_some_and(|last| last.covers(service, now_ms)) {
            return;
        }
        let latest = Use::now(service, now_ms);
        if uses.len() >= limits::SIGNING_KEYS_MAX {
            uses.clear();
        }
        settings.access.note_use(access_key, &latest);
        uses.insert(access_key.to_owned(), latest);
    }

    fn verify(
        &self,
        head: Head<'_>,
        claim: &Claim,
        settings: &Settings,
        now_ms: i64,
    ) -> Result<Authenticated, S3Error> {
        let presigned = claim.expires_s.is_some();
        let malformed = match presigned {
            true => S3Code::AuthorizationQueryParametersError,
            false => S3Code::AuthorizationHeaderMalformed,
        };
        check_scope(&claim.scope, settings, malformed)?;
        let found = find_key(settings, &claim.access_key, token(head), now_ms)?;
        check_time(claim, now_ms)?;
        let digest = payload_digest(head, presigned)?;
        check_signed_headers(head.headers, &claim.signed_headers)?;
        let signed = signed(head, claim, digest);
        let canonical = signed.canonical();
        let scope = claim.scope.text();
        let key = self.keys.key(&claim.access_key, &found.secret, &claim.scope);
        let string = signing::string_to_sign(&claim.timestamp, &scope, &canonical);
        if !signing::verify(&key, string.as_bytes(), &claim.signature) {
            return Err(S3Error::new(S3Code::SignatureDoesNotMatch)
                .field("AWSAccessKeyId", &claim.access_key)
                .field("StringToSign", string)
                .field("SignatureProvided", &claim.signature)
                .field("CanonicalRequest", String::from_utf8_lossy(&canonical)));
        }
        self.note(settings, &claim.access_key, &claim.scope.service, now_ms);
        let signer = || {
            let (timestamp, seed) = (claim.timestamp.clone(), claim.signature.clone());
            Box::new(ChunkSigner::new(key.clone(), timestamp, scope.clone(), seed))
        };
        let payload = match digest {
            "UNSIGNED-PAYLOAD" => Payload::Unsigned,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::UnsignedChunks,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Payload::SignedChunks { signer: signer(), trailer: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Payload::SignedChunks { signer: signer(), trailer: true },
            hex => Payload::Sha256(parse_sha256(hex)?),
        };
        Ok(Authenticated { identity: Identity::Signed(found.principal), payload })
    }
}

/// The token that came with temporary credentials.
fn token(head: Head<'_>) -> Option<&str> {
    let in_header = head.headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
    in_header.or_else(|| head.query.get("X-Amz-Security-Token")).filter(|token| !token.is_empty())
}

pub(super) fn find_key(
    settings: &Settings,
    access_key: &str,
    token: Option<&str>,
    now_ms: i64,
) -> Result<Credential, S3Error> {
    settings.access.credential(access_key, token, now_ms).map_err(|fault| match fault {
        KeyFault::Unknown => S3Error::new(S3Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key),
        KeyFault::InvalidToken => S3Error::new(S3Code::InvalidToken),
        KeyFault::ExpiredToken => S3Error::new(S3Code::ExpiredToken),
    })
}

/// What the claim says was signed, of this request.
fn signed<'a>(head: Head<'a>, claim: &'a Claim, payload: &'a str) -> Signed<'a> {
    Signed {
        method: head.method,
        path: head.path,
        query: head.raw_query,
        headers: head.headers,
        signed_headers: &claim.signed_headers,
        payload,
    }
}

fn check_scope(scope: &signing::Scope, settings: &Settings, code: S3Code) -> Result<(), S3Error> {
    if scope.region != settings.region {
        let message = format!(
            "The authorization header is malformed; the region '{}' is wrong; expecting '{}'",
            scope.region, settings.region
        );
        return Err(S3Error::with(code, message).field("Region", &settings.region));
    }
    if scope.service != "s3" {
        let message = format!(
            "The authorization header is malformed; incorrect service \"{}\". This endpoint belongs to \"s3\".",
            scope.service
        );
        return Err(S3Error::with(code, message));
    }
    Ok(())
}

fn check_time(claim: &Claim, now_ms: i64) -> Result<(), S3Error> {
    let skew_ms = limits::SIGNATURE_SKEW.as_millis() as i64;
    let early = claim.signed_ms.saturating_sub(now_ms) > skew_ms;
    match claim.expires_s {
        None if early || now_ms.saturating_sub(claim.signed_ms) > skew_ms => {
            Err(S3Error::new(S3Code::RequestTimeTooSkewed)
                .field("RequestTime", &claim.timestamp)
                .field("ServerTime", super::date::iso(now_ms))
                .field("MaxAllowedSkewMilliseconds", skew_ms.to_string()))
        }
        None => Ok(()),
        Some(_) if early => Err(S3Error::with(S3Code::AccessDenied, "Request is not valid yet")
            .field("ServerTime", super::date::iso(now_ms))),
        Some(seconds) => {
            let expires_ms = claim.signed_ms.saturating_add(seconds as i64 * 1000);
            if now_ms < expires_ms {
                return Ok(());
            }
            Err(S3Error::with(S3Code::AccessDenied, "Request has expired")
                .field("X-Amz-Expires", seconds.to_string())
                .field("Expires", super::date::iso(expires_ms))
                .field("ServerTime", super::date::iso(now_ms)))
        }
    }
}

/// `host` and every `x-amz-*` header must be covered, else they could be changed under way. (The payload's digest is
/// part of the canonical request anyway.)
fn check_signed_headers(headers: &HeaderMap, signed: &str) -> Result<(), S3Error> {
    let covers = |name: &str| signed.split(';').any(|listed| listed == name);
    let must = |name: &&str| name.starts_with("x-amz-") && *name != "x-amz-content-sha256";
    let missing: Vec<&str> = std::iter::once("host")
        .chain(headers.keys().map(http::HeaderName::as_str).filter(must))
        .filter(|name| !covers(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(S3Error::with(S3Code::AccessDenied, "There were headers present in the request which were not signed")
        .field("HeadersNotSigned", missing.join(", ")))
}

/// The last line of the canonical request.
fn payload_digest<'a>(head: Head<'a>, presigned: bool) -> Result<&'a str, S3Error> {
    let in_header = match head.headers.get("x-amz-content-sha256") {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| bad_digest("?"))?),
    };
    let in_query = head.query.get("X-Amz-Content-Sha256").filter(|_| presigned);
    match in_query.or(in_header) {
        Some(digest) => check_digest(digest).map(|()| digest),
        None if presigned => Ok("UNSIGNED-PAYLOAD"),
        None => Err(S3Error::with(
            S3Code::MissingSecurityHeader,
            "Missing required header for this request: x-amz-content-sha256",
        )
        .field("MissingHeaderName", "x-amz-content-sha256")),
    }
}

fn check_digest(digest: &str) -> Result<(), S3Error> {
    match digest {
        "UNSIGNED-PAYLOAD"
        | "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
        | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(()),
        _ if digest.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") => Err(S3Error::not_implemented(digest)),
        _ => parse_sha256(digest).map(|_| ()),
    }
}

fn parse_sha256(text: &str) -> Result<[u8; 32], S3Error> {
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| bad_digest(text))?;
    Ok(bytes)
}

fn bad_digest(text: &str) -> S3Error {
    S3Error::argument(
        "x-amz-content-sha256",
        text,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    )
}

/// How the body of a request without a signature is framed.
fn unsigned_payload(headers: &HeaderMap) -> Result<Payload, S3Error> {
    let Some(value) = headers.get("x-amz-content-sha256") else { return Ok(Payload::Unsigned) };
    let digest = value.to_str().map_err(|_| bad_digest("?"))?;
    check_digest(digest)?;
    match digest {
        "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::UnsignedChunks),
        _ if digest.starts_with("STREAMING-") => {
            Err(S3Error::with(S3Code::AccessDenied, "Signed chunks need a signed request"))
        }
        hex => Ok(Payload::Sha256(parse_sha256(hex)?)),
    }
}
