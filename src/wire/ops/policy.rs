//! Bucket policies: put, get, delete, and whether one is public. A policy is kept as it was sent and compiled once for
//! each core (`facts`); the root of the account that owns the bucket can always put it right again (`auth::gate`).

use http::{HeaderValue, StatusCode, header};

use super::config::missing;
use crate::access::Directory;
use crate::access::policy::{self, Use};
use crate::limits;
use crate::meta::BucketConfig;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response, ResponseBody};
use crate::xml::Document;

pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let malformed = |text: String| S3Error::with(S3Code::MalformedPolicy, text);
    let text = String::from_utf8(body.to_vec()).map_err(|_| malformed("The policy is not UTF-8".to_owned()))?;
    let policy = policy::parse(&text, Use::Bucket(&call.bucket)).map_err(|fault| malformed(fault.0))?;
    let directory = call.settings.access.directory();
    if !policy.names().all(|name| is_known(&directory, name)) {
        return Err(malformed("Invalid principal in policy".to_owned()));
    }
    if policy.is_public() && call.bucket_facts()?.blocks_public_policy() {
        let message = "User is not authorized to perform: s3:PutBucketPolicy because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.";
        return Err(S3Error::with(S3Code::AccessDenied, message));
    }
    call.engine.set_bucket_config(&bucket, BucketConfig::Policy, Some(text)).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// Whether whom a policy names is there: accounts, users and roles of this store. Sessions come and go.
fn is_known(directory: &Directory, name: &policy::Name) -> bool {
    match name {
        policy::Name::Account(id) => directory.account(id).is_some(),
        policy::Name::Canonical(id) => directory.account_of(id).is_some(),
        policy::Name::Arn(arn) => {
            let parts: Vec<&str> = arn.splitn(6, ':').collect();
            let [_, _, _, _, account, resource] = parts.as_slice() else { return false };
            let mut pieces = resource.split('/');
            let (kind, last) = (pieces.next(), resource.rsplit('/').next().unwrap_or_default());
            match kind {
                Some("user") => directory
                    .user(account, last)
                    .is_some_and(|user| arn.ends_with(&format!(":user{}{}", user.path, user.name))),
                Some("role") => directory
                    .role(account, last)
                    .is_some_and(|role| arn.ends_with(&format!(":role{}{}", role.path, role.name))),
                _ => pieces.next().is_some_and(|role| directory.role(account, role).is_some()),
            }
        }
        policy::Name::Anyone | policy::Name::Foreign(_) => true,
    }
}

pub fn get(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let document = call.engine.bucket_config(&bucket, BucketConfig::Policy)?;
    let document = document.ok_or_else(|| missing(call, S3Code::NoSuchBucketPolicy))?;
    let mut response = response::empty(StatusCode::OK);
    *response.body_mut() = ResponseBody::from(document);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

pub async fn delete(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Policy, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub fn status(call: &Call) -> Result<Response, S3Error> {
    call.open_bucket()?;
    let facts = call.bucket_facts()?;
    let by_list = facts.lists.are_public();
    let mut document = Document::new("PolicyStatus");
    // Where public access is restricted, a public policy opens nothing.
    let by_policy = facts.policy.as_ref().is_some_and(|policy| policy.public) && !facts.restricts_public_policy();
    document.value("IsPublic", by_policy || by_list);
    Ok(response::xml(document.finish()))
}
