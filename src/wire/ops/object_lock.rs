//! Object lock: the bucket's configuration, retention and legal hold of versions, and the headers that speak of them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::object;
use crate::engine::ObjectVersion;
use crate::limits;
use crate::meta::{Attributes, DeleteCause, MetaError, Retention, RetentionMode, VersionRef, Versioning};
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers as headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml;

const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");
const LEGAL_HOLD: HeaderName = HeaderName::from_static("x-amz-object-lock-legal-hold");

pub async fn put_configuration(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let default = xml::parse_object_lock(&body)?;
    if bucket.versioning != Versioning::Enabled {
        let message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
        return Err(S3Error::with(S3Code::InvalidBucketState, message));
    }
    call.engine.set_object_lock(&bucket, default).await?;
    Ok(response::empty(StatusCode::OK))
}

pub fn get_configuration(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    if !bucket.object_lock {
        return Err(super::config::missing(call, S3Code::ObjectLockConfigurationNotFoundError));
    }
    Ok(response::xml(xml::object_lock_document(bucket.rules.default_retention)))
}

/// The version that the request names, in a bucket with object lock.
fn find(call: &Call) -> Result<ObjectVersion, S3Error> {
    let bucket = call.open_bucket()?;
    let object = object::find(call, &bucket)?;
    if bucket.object_lock { Ok(object) } else { Err(MetaError::NoObjectLock.into()) }
}

pub fn get_retention(call: &Call) -> Result<Response, S3Error> {
    let object = find(call)?;
    let retention = object.version.attributes.retention.ok_or_else(|| none_set(call))?;
    let mut response = response::xml(xml::retention_document(retention));
    headers::insert_version_id(response.headers_mut(), object.version_id.as_deref());
    Ok(response)
}

pub async fn put_retention(call: &mut Call) -> Result<Response, S3Error> {
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let object = find(call)?;
    let retention = xml::parse_retention(&body)?;
    let version = VersionRef::Numbered(object.version.sequence);
    let bypass = bypasses_governance(call, &call.key, call.query.get_filled("versionId"));
    let bucket = call.open_bucket()?;
    call.engine.set_retention(&bucket, &call.key, version, retention, bypass).await?;
    let mut response = response::empty(StatusCode::OK);
    headers::insert_version_id(response.headers_mut(), object.version_id.as_deref());
    Ok(response)
}

pub fn get_legal_hold(call: &Call) -> Result<Response, S3Error> {
    let object = find(call)?;
    let on = object.version.attributes.legal_hold.ok_or_else(|| none_set(call))?;
    let mut response = response::xml(xml::legal_hold_document(on));
    headers::insert_version_id(response.headers_mut(), object.version_id.as_deref());
    Ok(response)
}

pub async fn put_legal_hold(call: &mut Call) -> Result<Response, S3Error> {
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let object = find(call)?;
    let on = xml::parse_legal_hold(&body)?;
    let version = VersionRef::Numbered(object.version.sequence);
    let bucket = call.open_bucket()?;
    call.engine.set_legal_hold(&bucket, &call.key, version, on).await?;
    let mut response = response::empty(StatusCode::OK);
    headers::insert_version_id(response.headers_mut(), object.version_id.as_deref());
    Ok(response)
}

fn none_set(call: &Call) -> S3Error {
    S3Error::new(S3Code::NoSuchObjectLockConfiguration).field("Key", &call.key)
}

/// Whether the request asks to pass over governance retention, and its caller may.
fn bypasses_governance(call: &Call, key: &str, version_id: Option<&str>) -> bool {
    let asks = call.header("x-amz-bypass-governance-retention").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    asks && call.authorize_version("BypassGovernanceRetention", &call.bucket, key, version_id).is_ok()
}

/// What a client's delete of this key may pass over.
pub(super) fn delete_cause(call: &Call, key: &str, version_id: Option<&str>) -> DeleteCause {
    DeleteCause::Request { bypass_governance: bypasses_governance(call, key, version_id) }
}

/// Takes the lock that the headers of an upload ask for.
pub fn take_headers(call: &Call, attributes: &mut Attributes) -> Result<(), S3Error> {
    let retention = retention_of(call)?;
    let legal_hold = match call.header(LEGAL_HOLD.as_str()) {
        None => None,
        Some("ON") => Some(true),
        Some("OFF") => Some(false),
        Some(other) => {
            let message = "Legal Hold must be either of 'ON' or 'OFF'";
            return Err(S3Error::argument(LEGAL_HOLD.as_str(), other, message));
        }
    };
    if retention.is_none() && legal_hold.is_none() {
        return Ok(());
    }
    if !call.open_bucket()?.object_lock {
        return Err(MetaError::NoObjectLock.into());
    }
    if retention.is_some_and(|retention| retention.until_ms <= call.engine.meta().retention_now_ms()) {
        return Err(MetaError::RetainUntilPast.into());
    }
    if retention.is_some() {
        call.authorize("PutObjectRetention", &call.bucket, &call.key)?;
    }
    if legal_hold.is_some() {
        call.authorize("PutObjectLegalHold", &call.bucket, &call.key)?;
    }
    attributes.retention = retention;
    attributes.legal_hold = legal_hold;
    Ok(())
}

fn retention_of(call: &Call) -> Result<Option<Retention>, S3Error> {
    let (mode, until) = match (call.header(MODE.as_str()), call.header(UNTIL.as_str())) {
        (None, None) => return Ok(None),
        (Some(mode), Some(until)) => (mode, until),
        (mode, _) => {
            let missing = if mode.is_some() { UNTIL } else { MODE };
            let message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
            return Err(S3Error::argument(missing.as_str(), "", message));
        }
    };
    let mode = RetentionMode::parse(mode)
        .ok_or_else(|| S3Error::argument(MODE.as_str(), mode, "Unknown wormMode directive."))?;
    let until_ms = date::parse_iso(until).ok_or_else(|| {
        let message = "The retain until date must be provided in ISO 8601 format";
        S3Error::argument(UNTIL.as_str(), until, message)
    })?;
    Ok(Some(Retention { mode, until_ms }))
}

/// Tells a reader what holds the version, as far as the reader may know it.
pub(super) fn insert_headers(call: &Call, attributes: &Attributes, headers: &mut HeaderMap) {
    let may = |action: &str| call.authorize(action, &call.bucket, &call.key).is_ok();
    if let Some(retention) = attributes.retention.filter(|_| may("GetObjectRetention")) {
        headers.insert(MODE, HeaderValue::from_static(retention.mode.as_str()));
        let until = HeaderValue::from_str(&date::iso(retention.until_ms));
        headers.insert(UNTIL, until.expect("a date is a header value"));
    }
    if let Some(on) = attributes.legal_hold.filter(|_| may("GetObjectLegalHold")) {
        headers.insert(LEGAL_HOLD, HeaderValue::from_static(xml::legal_hold_text(on)));
    }
}
