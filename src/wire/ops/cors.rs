//! Cross-origin requests: the preflight, the headers on actual answers, and the bucket's rules.
//!
//! The service calls `preflight` for `OPTIONS`, which is never signed, and `response_headers` for every request that has
//! an `Origin`, errors included. A damaged or absent configuration allows nothing.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::engine::{Engine, EngineError};
use crate::limits;
use crate::meta::BucketConfig;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::{CorsConfiguration, CorsRule};

pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let document = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let configuration = CorsConfiguration::parse(&document)?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Cors, Some(configuration.to_xml())).await?;
    Ok(response::empty(StatusCode::OK))
}

pub fn get(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let missing = || S3Error::new(S3Code::NoSuchCORSConfiguration).field("BucketName", &call.bucket);
    Ok(response::xml(call.engine.bucket_config(&bucket, BucketConfig::Cors)?.ok_or_else(missing)?))
}

pub async fn delete(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Cors, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// `OPTIONS` on a bucket or object.
pub fn preflight(call: &Call) -> Result<Response, S3Error> {
    let insufficient = |message| S3Error::with(S3Code::BadRequest, message);
    let origin =
        call.header("origin").ok_or_else(|| insufficient("Insufficient information. Origin request header needed."))?;
    let method = call
        .header("access-control-request-method")
        .ok_or_else(|| insufficient("Invalid Access-Control-Request-Method: null"))?;
    let wanted = call.header("access-control-request-headers").unwrap_or_default();
    let names = wanted.split(',').map(str::trim).filter(|name| !name.is_empty());
    let configuration = load(&call.engine, &call.bucket)?
        .ok_or_else(|| refuse("CORSResponse: CORS is not enabled for this bucket."))?;
    let rule = configuration.find(origin, method, names.clone()).ok_or_else(|| {
        refuse(
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request \
             method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        )
    })?;
    let mut response = response::empty(StatusCode::OK);
    let headers = response.headers_mut();
    allow(headers, rule, origin);
    let allowed = names.map(str::to_ascii_lowercase).collect::<Vec<_>>().join(", ");
    if !allowed.is_empty() {
        insert(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &allowed);
    }
    if let Some(seconds) = rule.max_age_s {
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// Headers for the answer to an actual request with an `Origin`; none where no rule fits. Never fails: a request is
/// not refused because its answer cannot be shared with a page.
pub fn response_headers(engine: &Engine, bucket: &str, method: &str, request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = |name: HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return headers };
    if bucket.is_empty() || bucket.starts_with('.') {
        return headers;
    }
    let method = text(header::ACCESS_CONTROL_REQUEST_METHOD).unwrap_or(method);
    match load(engine, bucket) {
        Ok(Some(configuration)) => {
            if let Some(rule) = configuration.find(origin, method, std::iter::empty()) {
                allow(&mut headers, rule, origin);
            }
        }
        Ok(None) => {}
        // The request itself meets the same error, and reports it.
        Err(_) => {}
    }
    headers
}

fn load(engine: &Engine, bucket: &str) -> Result<Option<CorsConfiguration>, S3Error> {
    let bucket = match engine.bucket(bucket) {
        Ok(bucket) => bucket,
        Err(EngineError::Meta(crate::meta::MetaError::NoSuchBucket)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(document) = engine.bucket_config(&bucket, BucketConfig::Cors)? else { return Ok(None) };
    Ok(Some(CorsConfiguration::parse(document.as_bytes())?))
}

fn refuse(message: &'static str) -> S3Error {
    S3Error::with(S3Code::AccessForbidden, message)
}

fn allow(headers: &mut HeaderMap, rule: &CorsRule, origin: &str) {
    let says = rule.origin(origin).expect("the rule was found by this origin");
    insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, says);
    if says != "*" {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    insert(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
    if !rule.exposed.is_empty() {
        insert(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &rule.exposed.join(", "));
    }
    let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    headers.insert(header::VARY, HeaderValue::from_static(vary));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // What cannot stand in a header was refused with the configuration, or came in a header.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
