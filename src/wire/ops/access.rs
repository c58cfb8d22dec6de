//! Who owns what, and who may see it: access control lists, ownership controls, public access blocks, and the owner
//! that a client expects.
//!
//! One owner has everything and nobody else anything. On AWS that is a bucket with BucketOwnerEnforced, so that lists
//! which say the same are accepted and all others refused as AWS does there. A public access block is kept as it is set:
//! what it blocks does not exist.

use http::StatusCode;

use super::config::missing;
use crate::limits;
use crate::meta::BucketConfig;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::route::Operation;
use crate::wire::xml::{check_ownership_controls, is_owners_list, owner, public_access_block};
use crate::xml::Document;

/// `x-amz-expected-bucket-owner`, and the same for a copy's source: a client that errs about the owner gets nothing.
pub fn check_expected_owner(call: &Call) -> Result<(), S3Error> {
    for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        if call.headers.get(name).is_some_and(|expected| expected != owner::OWNER_ID) {
            let message = format!("Access Denied: {name} is not the owner's id, {}", owner::OWNER_ID);
            return Err(S3Error::with(S3Code::AccessDenied, message));
        }
    }
    Ok(())
}

pub fn get_acl(call: &Call) -> Result<Response, S3Error> {
    require_target(call)?;
    Ok(response::xml(owner::access_control_policy()))
}

/// Accepts the list that holds already.
pub async fn put_acl(call: &mut Call) -> Result<Response, S3Error> {
    require_target(call)?;
    object_headers::check_acl(&call.headers)?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    if body.is_empty() {
        return match call.headers.contains_key("x-amz-acl") {
            true => Ok(response::empty(StatusCode::OK)),
            false => Err(S3Error::new(S3Code::MissingSecurityHeader).field("MissingHeaderName", "x-amz-acl")),
        };
    }
    match is_owners_list(&body)? {
        true => Ok(response::empty(StatusCode::OK)),
        false => Err(S3Error::new(S3Code::AccessControlListNotSupported)),
    }
}

/// The bucket or object whose list is meant exists.
fn require_target(call: &Call) -> Result<(), S3Error> {
    let bucket = call.open_bucket()?;
    if matches!(call.operation, Operation::GetObjectAcl | Operation::PutObjectAcl) {
        super::object::find(call, &bucket)?;
    }
    Ok(())
}

pub fn get_ownership_controls(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    match call.engine.bucket_config(&bucket, BucketConfig::OwnershipControls)? {
        Some(_) => Err(missing(call, S3Code::OwnershipControlsNotFoundError)),
        None => Ok(response::xml(ownership_controls())),
    }
}

fn ownership_controls() -> String {
    let mut document = Document::new("OwnershipControls");
    document.inside("Rule", |document| document.text("ObjectOwnership", "BucketOwnerEnforced"));
    document.finish()
}

pub async fn put_ownership_controls(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    check_ownership_controls(&body)?;
    // Every new bucket has them: none kept means just these.
    call.engine.set_bucket_config(&bucket, BucketConfig::OwnershipControls, None).await?;
    Ok(response::empty(StatusCode::OK))
}

/// Objects stay the owner's; only the controls are answered as not found, which is what tools wait for.
pub async fn delete_ownership_controls(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let deleted = Some(String::new());
    call.engine.set_bucket_config(&bucket, BucketConfig::OwnershipControls, deleted).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub fn get_public_access_block(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let document = call.engine.bucket_config(&bucket, BucketConfig::PublicAccessBlock)?;
    document.map(response::xml).ok_or_else(|| missing(call, S3Code::NoSuchPublicAccessBlockConfiguration))
}

pub async fn put_public_access_block(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let document = Some(public_access_block(&body)?);
    call.engine.set_bucket_config(&bucket, BucketConfig::PublicAccessBlock, document).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn delete_public_access_block(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::PublicAccessBlock, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
