//! A bucket's lifecycle rules, and the header that tells a client when they end an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::config::missing;
use crate::engine::{ObjectVersion, PutDone};
use crate::lifecycle::{Configuration, Day, LifecycleError, Place, Subject};
use crate::limits;
use crate::meta::{Attributes, Bucket, BucketConfig};
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};

const MINIMUM_SIZE: HeaderName = HeaderName::from_static("x-amz-transition-default-minimum-object-size");
const MINIMUM_SIZE_DEFAULT: &str = "all_storage_classes_128K";
const EXPIRATION: HeaderName = HeaderName::from_static("x-amz-expiration");
const ABORT_DATE: HeaderName = HeaderName::from_static("x-amz-abort-date");
const ABORT_RULE: HeaderName = HeaderName::from_static("x-amz-abort-rule-id");

impl From<LifecycleError> for S3Error {
    fn from(error: LifecycleError) -> S3Error {
        let code = match error.code() {
            "MalformedXML" => S3Code::MalformedXML,
            "InvalidRequest" => S3Code::InvalidRequest,
            "InvalidStorageClass" => S3Code::InvalidStorageClass,
            "InternalError" => S3Code::InternalError,
            _ => S3Code::InvalidArgument,
        };
        S3Error::with(code, error.to_string())
    }
}

pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let minimum_size = match call.header(MINIMUM_SIZE.as_str()) {
        None | Some(MINIMUM_SIZE_DEFAULT) => None,
        Some("varies_by_storage_class") => Some("varies_by_storage_class".to_owned()),
        Some(other) => {
            let message = format!("Use {MINIMUM_SIZE_DEFAULT} or varies_by_storage_class");
            return Err(S3Error::argument(MINIMUM_SIZE.as_str(), other, message));
        }
    };
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let configuration = Configuration { minimum_size, ..Configuration::parse(&body)? };
    let stored = configuration.to_stored();
    call.engine.set_bucket_config(&bucket, BucketConfig::Lifecycle, Some(stored)).await?;
    let mut response = response::empty(StatusCode::OK);
    insert_minimum_size(&configuration, response.headers_mut());
    Ok(response)
}

pub fn get(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let configuration = call.engine.lifecycle(&bucket)?;
    let configuration = configuration.ok_or_else(|| missing(call, S3Code::NoSuchLifecycleConfiguration))?;
    let mut response = response::xml(configuration.to_xml());
    insert_minimum_size(&configuration, response.headers_mut());
    Ok(response)
}

pub async fn delete(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Lifecycle, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

fn insert_minimum_size(configuration: &Configuration, headers: &mut HeaderMap) {
    let size = configuration.minimum_size.as_deref().unwrap_or(MINIMUM_SIZE_DEFAULT);
    headers.extend(HeaderValue::from_str(size).ok().map(|size| (MINIMUM_SIZE, size)));
}

/// The rules that a write will come under, with what has to be known of it afterwards; nothing where there are none.
pub(super) struct Expected {
    rules: Arc<Configuration>,
    tags: BTreeMap<String, String>,
}

pub(super) fn expected(call: &Call, bucket: &Bucket, attributes: &Attributes) -> Result<Option<Expected>, S3Error> {
    let rules = call.engine.lifecycle(bucket)?;
    Ok(rules.map(|rules| Expected { rules, tags: attributes.tags.clone() }))
}

/// Tells when the object that was just written ends.
pub(super) fn insert_of_write(expected: Option<&Expected>, key: &str, done: &PutDone, headers: &mut HeaderMap) {
    if let Some(Expected { rules, tags }) = expected {
        let place = Place::Newest;
        let subject = Subject { key, size: done.size, tags, modified_ms: done.modified_ms, marker: false, place };
        insert_expiration(rules, &subject, headers);
    }
}

/// Tells when the object that is read ends.
pub(super) fn insert_of_read(
    call: &Call,
    bucket: &Bucket,
    object: &ObjectVersion,
    headers: &mut HeaderMap,
) -> Result<(), S3Error> {
    // An older version ends by other rules, of which this header does not speak.
    if call.query.has("versionId") {
        return Ok(());
    }
    if let Some(rules) = call.engine.lifecycle(bucket)? {
        let version = &object.version;
        let subject = Subject {
            key: &version.key,
            size: version.size,
            tags: &version.attributes.tags,
            modified_ms: version.modified_ms,
            marker: false,
            place: Place::Newest,
        };
        insert_expiration(&rules, &subject, headers);
    }
    Ok(())
}

/// Always in real days: a shorter day of tests is the worker's alone.
fn insert_expiration(rules: &Configuration, subject: &Subject<'_>, headers: &mut HeaderMap) {
    if let Some((due_ms, rule)) = rules.due(subject, Day::Real) {
        let text = format!("expiry-date=\"{}\", rule-id=\"{}\"", date::http(due_ms), encoded(&rule.id));
        headers.extend(HeaderValue::from_str(&text).ok().map(|text| (EXPIRATION, text)));
    }
}

fn encoded(id: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    utf8_percent_encode(id, PLAIN).to_string()
}

/// Tells when an upload that was begun then is aborted.
pub(super) fn insert_abort(
    call: &Call,
    bucket: &Bucket,
    initiated_ms: i64,
    headers: &mut HeaderMap,
) -> Result<(), S3Error> {
    let Some(rules) = call.engine.lifecycle(bucket)? else { return Ok(()) };
    if let Some((due_ms, rule)) = rules.abort_due(&call.key, initiated_ms, Day::Real) {
        let date = HeaderValue::from_str(&date::http(due_ms)).expect("a date is a header value");
        headers.insert(ABORT_DATE, date);
        headers.extend(HeaderValue::from_str(&encoded(&rule.id)).ok().map(|id| (ABORT_RULE, id)));
    }
    Ok(())
}
