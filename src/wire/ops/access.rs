//! Ownership controls, public access blocks, and the owner that a client expects.

use http::StatusCode;

use super::config::missing;
use crate::access::owner_id;
use crate::acl::ObjectOwnership;
use crate::limits;
use crate::meta::BucketConfig;
use crate::wire::acl::Controls;
use crate::wire::copy_source::CopySource;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::{
    ownership_controls_document, parse_ownership_controls, parse_public_access_block, public_access_block_document,
};

/// `x-amz-expected-bucket-owner`, and the same for a copy's source: a client that errs about the owner gets nothing.
pub fn check_expected_owner(call: &Call) -> Result<(), S3Error> {
    if let Some(expected) = call.headers.get("x-amz-expected-bucket-owner") {
        expect_owner(call, "x-amz-expected-bucket-owner", expected, &call.bucket)?;
    }
    if let Some(expected) = call.headers.get("x-amz-source-expected-bucket-owner") {
        let source = CopySource::of(call)?;
        expect_owner(call, "x-amz-source-expected-bucket-owner", expected, &source.bucket)?;
    }
    Ok(())
}

fn expect_owner(call: &Call, header: &str, expected: &http::HeaderValue, bucket: &str) -> Result<(), S3Error> {
    // Of what there is not, the operation tells.
    let Some(facts) = call.facts.of(&call.engine, bucket)? else { return Ok(()) };
    let account = call.settings.access.account_of(owner_id(&facts.owner));
    match account.is_some_and(|account| expected == account.id.as_str()) {
        true => Ok(()),
        false => {
            Err(S3Error::with(S3Code::AccessDenied, format!("Access Denied: {header} is not the owner's account")))
        }
    }
}

pub fn get_ownership_controls(call: &Call) -> Result<Response, S3Error> {
    let facts = call.bucket_facts()?;
    match facts.lists.controls {
        Controls::Deleted => Err(missing(call, S3Code::OwnershipControlsNotFoundError)),
        Controls::Default | Controls::Set => Ok(response::xml(ownership_controls_document(facts.lists.ownership))),
    }
}

/// A bucket whose list gives something to others must take it back before its lists cease to count.
pub async fn put_ownership_controls(call: &mut Call) -> Result<Response, S3Error> {
    let facts = call.bucket_facts()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let ownership = parse_ownership_controls(&body)?;
    if ownership == ObjectOwnership::BucketOwnerEnforced && facts.lists.acl.is_shared() {
        return Err(S3Error::new(S3Code::InvalidBucketAclWithObjectOwnership));
    }
    let document = Some(ownership.as_str().to_owned());
    call.engine.set_bucket_config(&facts.bucket, BucketConfig::OwnershipControls, document).await?;
    Ok(response::empty(StatusCode::OK))
}

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
    let document = Some(public_access_block_document(parse_public_access_block(&body)?));
    call.engine.set_bucket_config(&bucket, BucketConfig::PublicAccessBlock, document).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn delete_public_access_block(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::PublicAccessBlock, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
