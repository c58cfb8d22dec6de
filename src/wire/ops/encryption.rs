//! A bucket's encryption rule: get, put, delete.

use http::StatusCode;

use super::config::missing;
use crate::crypt::{EncryptionRule, RuleError};
use crate::limits;
use crate::meta::BucketConfig;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};

/// The bucket's rule, else the store's, which holds in its stead.
pub fn get(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let rule = call.engine.rule_in_force(&bucket)?;
    let rule = rule.ok_or_else(|| missing(call, S3Code::ServerSideEncryptionConfigurationNotFoundError))?;
    Ok(response::xml(rule.to_xml()))
}

/// As on AWS, a KMS key that the rule names is looked for when an object is written.
pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let rule = EncryptionRule::parse(&body).map_err(|error| match &error {
        RuleError::Malformed(_) => S3Error::with(S3Code::MalformedXML, error.to_string()),
        RuleError::Invalid(_) => S3Error::with(S3Code::InvalidArgument, error.to_string()),
    })?;
    call.engine.keys()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Encryption, Some(rule.to_xml())).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn delete(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Encryption, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
