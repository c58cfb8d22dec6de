//! S3's operations, one file per family.
//!
//! How to write one: `pub async fn name(call: &mut Call) -> Result<Response, S3Error>`, and an arm in `run` below.
//! - The request was authenticated, and `authorize`d for its own bucket and key; what else an operation touches (a copy's
//!   source, each key of DeleteObjects) it asks `call.authorize(action, bucket, key)` for.
//! - In: `call.open_bucket()?`, `call.version()?`, `call.query.get("prefix")`, `call.header("x-amz-acl")`,
//!   `call.requester()`; the body once, as a stream (`call.take_body()`, an engine `BodySource`, with
//!   `call.expected_digests()?` and `call.body_length`) or whole (`call.collect_body(limits::XML_BODY_BYTES_MAX).await?`).
//! - Out: `response::xml(text)`, `response::empty(status)`, `response::stream(…)`, then `response.headers_mut()`.
//! - `?` turns EngineError, MetaError, PoolError and BodyError into their S3 errors; others are
//!   `S3Error::new(S3Code::X)`, `S3Error::with(S3Code::X, "message")`, `.field("Name", value)`, or
//!   `S3Error::argument(name, value, message)`.
//! - Shared readers of headers (being filled in): `object_headers::attributes(call)? -> Attributes` (content headers, user metadata,
//!   storage class, tagging header; refuses encryption, locks and ACLs that we cannot honour), `object_headers::parse_tagging`,
//!   `conditions::write_condition(&call.headers)? -> WriteCondition`, `copy_source::CopySource::open(call)? -> ObjectVersion`
//!   (authorised, conditions checked), `response::put_done(&PutDone, &mut HeaderMap)` (ETag, version id, checksum headers),
//!   `date::http(ms)`, `date::iso(ms)`.
//! Request id, resource, `Server` and CORS headers are the service's work. Nothing here sets a timer: the connection does.

use super::error::S3Error;
use super::request::Call;
use super::response::Response;

/// Runs the operation that the router chose.
pub async fn run(call: &mut Call) -> Result<Response, S3Error> {
    match call.operation {
        operation => Err(S3Error::not_implemented(operation.as_str())),
    }
}
