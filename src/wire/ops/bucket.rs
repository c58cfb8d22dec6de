//! Buckets: list, create, head, delete, and where they are.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::acl;
use crate::access::owner_id;
use crate::acl::{Acl, ObjectOwnership};
use crate::engine::EngineError;
use crate::limits;
use crate::meta::{Bucket, BucketConfig, MetaError};
use crate::wire::auth::circumstances::Said;
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml;
use crate::wire::xml::owner::{self, Owner};
use crate::xml::Document;

/// The region in which AWS answers a repeated CreateBucket with 200, and whose location is the empty text.
const CLASSIC_REGION: &str = "us-east-1";

pub fn list(call: &Call) -> Result<Response, S3Error> {
    let prefix = call.query.get_filled("prefix").unwrap_or_default();
    let paged = call.query.has("max-buckets");
    let limit = match call.query.get_filled("max-buckets") {
        None => limits::LIST_BUCKETS_MAX,
        Some(text) => {
            let allowed = |limit: &usize| (1..=limits::LIST_BUCKETS_MAX).contains(limit);
            text.parse().ok().filter(allowed).ok_or_else(|| {
                let message =
                    format!("Argument max-buckets must be an integer between 1 and {}", limits::LIST_BUCKETS_MAX);
                S3Error::argument("max-buckets", text, message)
            })?
        }
    };
    let after = call.query.get_filled("continuation-token").map(super::list::read_token).transpose()?;
    let region = call.query.get_filled("bucket-region");
    let account = call.identity.canonical_id().unwrap_or_default();
    let mut buckets = call.engine.buckets()?;
    buckets.retain(|bucket| {
        owner_id(&bucket.owner) == account
            && bucket.name.starts_with(prefix)
            && after.as_ref().is_none_or(|after| bucket.name > *after)
            && region.is_none_or(|region| bucket.region == region)
    });
    let truncated = buckets.len() > limit;
    buckets.truncate(limit);
    let next = buckets.last().filter(|_| truncated).map(|bucket| super::list::make_token(&bucket.name));
    let mut document = Document::sized("ListAllMyBucketsResult", 512 + 160 * buckets.len());
    owner::write(&mut document, "Owner", Owner { id: account, name: &call.account_name(account) });
    document.inside("Buckets", |document| {
        for bucket in &buckets {
            document.inside("Bucket", |document| write_bucket(document, bucket, paged));
        }
    });
    document.text_if("ContinuationToken", next.as_deref());
    if call.query.has("prefix") {
        document.text("Prefix", prefix);
    }
    Ok(response::xml(document.finish()))
}

fn write_bucket(document: &mut Document, bucket: &Bucket, paged: bool) {
    document.text("Name", &bucket.name);
    document.value("CreationDate", date::iso(bucket.created_ms));
    if paged {
        document.text("BucketRegion", &bucket.region);
    }
}

pub async fn create(call: &mut Call) -> Result<Response, S3Error> {
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let location = xml::parse_location(&body)?;
    call.authorize_saying(Said { location: location.as_deref(), ..Said::default() })?;
    let object_lock = object_lock(&call.headers)?;
    let ownership = match call.header("x-amz-object-ownership") {
        None => call.settings.object_ownership,
        Some(ownership) => xml::parse_object_ownership(ownership)?,
    };
    let owner = call.identity.canonical_id().unwrap_or_default().to_owned();
    let acl = acl::of_new_bucket(call, &owner, ownership)?;
    let region = call.settings.region.clone();
    if let Some(wanted) = location.filter(|wanted| *wanted != region) {
        let message = format!("The specified location-constraint is not valid: this store is `{region}`");
        return Err(S3Error::with(S3Code::InvalidLocationConstraint, message).field("LocationConstraint", wanted));
    }
    let mut documents = Vec::new();
    if ownership != ObjectOwnership::default() || call.headers.contains_key("x-amz-object-ownership") {
        documents.push((BucketConfig::OwnershipControls, ownership.as_str().to_owned()));
    }
    documents.extend(acl.clone().unless_default().map(|acl| (BucketConfig::Acl, acl.to_string())));
    match call.engine.create_bucket(&call.bucket, &owner, &region, object_lock, documents).await {
        Ok(()) => {}
        Err(EngineError::Meta(MetaError::BucketExists)) => created_before(call, &owner, &acl, &region)?,
        Err(error) => return Err(S3Error::from(error).field("BucketName", &call.bucket)),
    }
    let mut response = response::empty(StatusCode::OK);
    let location = HeaderValue::from_str(&format!("/{}", call.bucket));
    response
        .headers_mut()
        .insert(header::LOCATION, location.expect("a bucket's name has only letters, digits, - and ."));
    Ok(response)
}

/// A bucket that is there already is as good as made where AWS says so, if it is the caller's and the request would leave
/// it as it is. (AWS resets its list in silence; who can read a bucket should not change by an accident.)
fn created_before(call: &Call, owner: &str, acl: &Acl, region: &str) -> Result<(), S3Error> {
    let facts = call.bucket_facts()?;
    let code = match (facts.owner == owner, facts.lists.acl == *acl) {
        (true, true) if region == CLASSIC_REGION => return Ok(()),
        (true, true) => S3Code::BucketAlreadyOwnedByYou,
        (true, false) | (false, _) => S3Code::BucketAlreadyExists,
    };
    Err(S3Error::new(code).field("BucketName", &call.bucket))
}

/// Whether the bucket is to keep locks.
fn object_lock(headers: &HeaderMap) -> Result<bool, S3Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match text("x-amz-bucket-object-lock-enabled") {
        None => Ok(false),
        Some(flag) if flag.eq_ignore_ascii_case("true") => Ok(true),
        Some(flag) if flag.eq_ignore_ascii_case("false") => Ok(false),
        Some(flag) => {
            Err(S3Error::argument("x-amz-bucket-object-lock-enabled", flag, "The value must be true or false"))
        }
    }
}

pub fn head(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let mut response = response::empty(StatusCode::OK);
    let headers = response.headers_mut();
    if let Ok(region) = HeaderValue::from_str(&bucket.region) {
        headers.insert("x-amz-bucket-region", region);
    }
    headers.insert("x-amz-access-point-alias", HeaderValue::from_static("false"));
    Ok(response)
}

pub async fn delete(call: &Call) -> Result<Response, S3Error> {
    let deleted = call.engine.delete_bucket(&call.bucket).await;
    deleted.map_err(|error| S3Error::from(error).field("BucketName", &call.bucket))?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub fn location(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let mut document = Document::new("LocationConstraint");
    if bucket.region != CLASSIC_REGION {
        document.root_text(&bucket.region);
    }
    Ok(response::xml(document.finish()))
}
