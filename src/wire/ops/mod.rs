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
//! - Headers: `object_headers::attributes(call)?` (content headers, user metadata, storage class, tags; refuses
//!   what we cannot honour), `object_headers::parse_tagging`, `conditions::write_condition(&call.headers)?`,
//!   `CopySource::open(call)?` (authorised, conditions checked), `response::put_done(&done, headers)`,
//!   `date::http(ms)`, `date::iso(ms)`, `call.require_length()?` (411).
//! - Encryption: `encryption::requested(call, &bucket)?` for what is written, `encryption::bring_key(call, &mut object)?`
//!   before anything is read, `encryption::insert…` for the answer.
//! - Browser forms: `call.authenticate_form(credential, policy, signature)?`, then `call.authorize(…)`.
//!
//! Request id, resource, `Server` and CORS headers are the service's work. Nothing here sets a timer: the connection does.

mod access;
mod acl;
mod attributes;
mod bucket;
mod complete;
mod config;
mod copy;
pub(super) mod cors;
mod delete_objects;
mod encryption;
mod lambda;
mod lifecycle;
mod list;
mod listen;
mod multipart;
mod object;
pub(super) mod object_lock;
mod owners;
mod policy;
mod post;
mod tagging;
#[cfg(test)]
mod tests;

use super::error::S3Error;
use super::operation::Operation;
use super::request::Call;
use super::response::Response;

/// Runs the operation that the router chose.
pub async fn run(call: &mut Call) -> Result<Response, S3Error> {
    access::check_expected_owner(call)?;
    dispatch(call).await.map_err(|error| call.hide_absence(error))
}

async fn dispatch(call: &mut Call) -> Result<Response, S3Error> {
    match call.operation {
        Operation::ListBuckets => bucket::list(call),
        Operation::CreateBucket => bucket::create(call).await,
        Operation::HeadBucket => bucket::head(call),
        Operation::DeleteBucket => bucket::delete(call).await,
        Operation::GetBucketLocation => bucket::location(call),
        Operation::GetBucketVersioning => config::get_versioning(call),
        Operation::PutBucketVersioning => config::put_versioning(call).await,
        Operation::GetBucketTagging => config::get_tagging(call),
        Operation::PutBucketTagging => config::put_tagging(call).await,
        Operation::DeleteBucketTagging => config::delete_tagging(call).await,
        Operation::GetBucketNotificationConfiguration => config::get_notification(call),
        Operation::PutBucketNotificationConfiguration => config::put_notification(call).await,
        Operation::GetBucketEncryption => encryption::get(call),
        Operation::PutBucketEncryption => encryption::put(call).await,
        Operation::DeleteBucketEncryption => encryption::delete(call).await,
        Operation::GetBucketCors => cors::get(call),
        Operation::PutBucketCors => cors::put(call).await,
        Operation::DeleteBucketCors => cors::delete(call).await,
        Operation::PreflightRequest => cors::preflight(call),
        Operation::ListObjects => list::objects(call),
        Operation::ListObjectsV2 => list::objects_v2(call),
        Operation::ListObjectVersions => list::versions(call),
        Operation::ListenBucketNotification => listen::run(call),
        Operation::CreateMultipartUpload => multipart::create(call).await,
        Operation::UploadPart => multipart::upload_part(call).await,
        Operation::UploadPartCopy => multipart::upload_part_copy(call).await,
        Operation::ListParts => multipart::list_parts(call),
        Operation::ListMultipartUploads => multipart::list_uploads(call),
        Operation::CompleteMultipartUpload => complete::run(call).await,
        Operation::AbortMultipartUpload => multipart::abort(call).await,
        Operation::PostObject => post::run(call).await,
        Operation::DeleteObjects => delete_objects::run(call).await,
        Operation::GetBucketAcl | Operation::GetObjectAcl => acl::get(call),
        Operation::PutBucketAcl | Operation::PutObjectAcl => acl::put(call).await,
        Operation::GetBucketOwnershipControls => access::get_ownership_controls(call),
        Operation::PutBucketOwnershipControls => access::put_ownership_controls(call).await,
        Operation::DeleteBucketOwnershipControls => access::delete_ownership_controls(call).await,
        Operation::GetPublicAccessBlock => access::get_public_access_block(call),
        Operation::PutPublicAccessBlock => access::put_public_access_block(call).await,
        Operation::DeletePublicAccessBlock => access::delete_public_access_block(call).await,
        Operation::PutObjectLockConfiguration => object_lock::put_configuration(call).await,
        Operation::GetObjectLockConfiguration => object_lock::get_configuration(call),
        Operation::PutObjectRetention => object_lock::put_retention(call).await,
        Operation::GetObjectRetention => object_lock::get_retention(call),
        Operation::PutObjectLegalHold => object_lock::put_legal_hold(call).await,
        Operation::GetObjectLegalHold => object_lock::get_legal_hold(call),
        Operation::PutBucketLifecycleConfiguration => lifecycle::put(call).await,
        Operation::GetBucketLifecycleConfiguration => lifecycle::get(call),
        Operation::DeleteBucketLifecycle => lifecycle::delete(call).await,
        Operation::PutBucketPolicy => policy::put(call).await,
        Operation::GetBucketPolicy => policy::get(call),
        Operation::DeleteBucketPolicy => policy::delete(call).await,
        Operation::GetBucketPolicyStatus => policy::status(call),
        Operation::GetBucketAbac
        | Operation::GetBucketWebsite
        | Operation::GetBucketReplication
        | Operation::GetBucketLogging
        | Operation::GetBucketAccelerateConfiguration
        | Operation::GetBucketRequestPayment
        | Operation::GetBucketAnalyticsConfiguration
        | Operation::GetBucketIntelligentTieringConfiguration
        | Operation::GetBucketInventoryConfiguration
        | Operation::GetBucketMetricsConfiguration
        | Operation::ListBucketAnalyticsConfigurations
        | Operation::ListBucketIntelligentTieringConfigurations
        | Operation::ListBucketInventoryConfigurations
        | Operation::ListBucketMetricsConfigurations
        | Operation::DeleteBucketReplication
        | Operation::DeleteBucketWebsite => config::not_configured(call),
        Operation::PutBucketRequestPayment | Operation::PutBucketLogging => config::put_default(call).await,
        Operation::PutObject => object::put(call).await,
        Operation::GetObject => object::get(call).await,
        Operation::HeadObject => object::head(call),
        Operation::GetObjectLambda => lambda::get(call).await,
        Operation::DeleteObject => object::delete(call).await,
        Operation::CopyObject => copy::run(call).await,
        Operation::GetObjectAttributes => attributes::get(call),
        Operation::GetObjectTagging => tagging::get(call),
        Operation::PutObjectTagging => tagging::put(call).await,
        Operation::DeleteObjectTagging => tagging::delete(call).await,
        operation => Err(S3Error::not_implemented(operation.as_str())),
    }
}
