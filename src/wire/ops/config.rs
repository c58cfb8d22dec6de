//! Configuration of buckets: versioning, tags, notifications, and what AWS answers where nothing is configured.

use http::StatusCode;

use crate::limits;
use crate::meta::{BucketConfig, Versioning};
use crate::notification::{Configuration, NotificationError, Target};
use crate::wire::error::{S3Code, S3Error};
use crate::wire::operation::Operation;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::{BUCKET_TAGS, logs_nothing, parse_tagging, parse_versioning, pays_owner};
use crate::xml::Document;

pub fn get_versioning(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let mut document = Document::new("VersioningConfiguration");
    match bucket.versioning {
        Versioning::Unversioned => {}
        Versioning::Enabled => document.text("Status", "Enabled"),
        Versioning::Suspended => document.text("Status", "Suspended"),
    }
    Ok(response::xml(document.finish()))
}

pub async fn put_versioning(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let state = parse_versioning(&body)?;
    if bucket.object_lock && state != Versioning::Enabled {
        let message =
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
        return Err(S3Error::with(S3Code::InvalidBucketState, message));
    }
    call.engine.set_versioning(&bucket, state).await?;
    Ok(response::empty(StatusCode::OK))
}

pub fn get_tagging(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let document = call.engine.bucket_config(&bucket, BucketConfig::Tagging)?;
    document.map(response::xml).ok_or_else(|| missing(call, S3Code::NoSuchTagSet))
}

pub async fn put_tagging(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let tags = parse_tagging(&body, BUCKET_TAGS)?;
    let document = Some(crate::wire::xml::tagging_document(&tags)).filter(|_| !tags.is_empty());
    call.engine.set_bucket_config(&bucket, BucketConfig::Tagging, document).await?;
    Ok(response::empty(StatusCode::OK))
}

pub async fn delete_tagging(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.engine.set_bucket_config(&bucket, BucketConfig::Tagging, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

pub fn get_notification(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let document = call.engine.bucket_config(&bucket, BucketConfig::Notification)?;
    Ok(response::xml(document.unwrap_or_else(|| Configuration::default().to_xml())))
}

pub async fn put_notification(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let configuration = Configuration::parse(&body)?;
    let skip = call.header("x-amz-skip-destination-validation").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    if let Some(hook) = configuration.hooks().find(|hook| !skip && !call.settings.hook_exists.ask(hook)) {
        let message = format!(
            "Unable to validate the following destination configurations: no hook named `{hook}` that takes events is installed (a transform is for GETs); run `aerie hook add {hook} FILE.wasm`"
        );
        return Err(S3Error::argument("CloudFunction", hook, message));
    }
    let document = Some(configuration.to_xml()).filter(|_| !configuration.rules.is_empty());
    call.engine.set_bucket_config(&bucket, BucketConfig::Notification, document).await?;
    // The test event is how S3 validates a topic.
    if !skip && configuration.rules.iter().any(|rule| matches!(rule.target, Target::Topic(_))) {
        call.engine.meta().announce_notifications(bucket.id, call.requester()).await?;
    }
    Ok(response::empty(StatusCode::OK))
}

impl From<NotificationError> for S3Error {
    fn from(error: NotificationError) -> S3Error {
        let code = match error.code() {
            "MalformedXML" => S3Code::MalformedXML,
            "NotImplemented" => S3Code::NotImplemented,
            _ => S3Code::InvalidArgument,
        };
        S3Error::with(code, error.to_string())
    }
}

/// What tools ask by habit and nobody can set here: the answer of a bucket where it was never configured. Deleting what
/// is not there succeeds.
pub fn not_configured(call: &Call) -> Result<Response, S3Error> {
    call.open_bucket()?;
    let document = match call.operation {
        Operation::GetBucketWebsite => return Err(missing(call, S3Code::NoSuchWebsiteConfiguration)),
        Operation::GetBucketReplication => return Err(missing(call, S3Code::ReplicationConfigurationNotFoundError)),
        Operation::GetBucketAbac => {
            let mut document = Document::new("AbacStatus");
            document.text("Status", "Disabled");
            document
        }
        Operation::GetBucketLogging => Document::new("BucketLoggingStatus"),
        Operation::GetBucketAccelerateConfiguration => Document::new("AccelerateConfiguration"),
        Operation::GetBucketRequestPayment => {
            let mut document = Document::new("RequestPaymentConfiguration");
            document.text("Payer", "BucketOwner");
            document
        }
        Operation::GetBucketAnalyticsConfiguration
        | Operation::GetBucketIntelligentTieringConfiguration
        | Operation::GetBucketInventoryConfiguration
        | Operation::GetBucketMetricsConfiguration => return Err(missing(call, S3Code::NoSuchConfiguration)),
        Operation::ListBucketAnalyticsConfigurations => no_configurations("ListBucketAnalyticsConfigurationResult"),
        Operation::ListBucketIntelligentTieringConfigurations => {
            no_configurations("ListBucketIntelligentTieringConfigurationsOutput")
        }
        Operation::ListBucketInventoryConfigurations => no_configurations("ListInventoryConfigurationsResult"),
        Operation::ListBucketMetricsConfigurations => no_configurations("ListMetricsConfigurationsResult"),
        Operation::DeleteBucketReplication | Operation::DeleteBucketWebsite => {
            return Ok(response::empty(StatusCode::NO_CONTENT));
        }
        other => return Err(S3Error::not_implemented(other.as_str())),
    };
    Ok(response::xml(document.finish()))
}

/// What is as it would be set: who writes down AWS's default is told that it holds, and anything else is refused by name.
pub async fn put_default(call: &mut Call) -> Result<Response, S3Error> {
    call.open_bucket()?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let (wanted, holds) = match call.operation {
        Operation::PutBucketRequestPayment => ("a Payer of BucketOwner", pays_owner(&body)?),
        Operation::PutBucketLogging => ("no LoggingEnabled", logs_nothing(&body)?),
        other => return Err(S3Error::not_implemented(other.as_str())),
    };
    if holds {
        return Ok(response::empty(StatusCode::OK));
    }
    let message = format!("{} is not implemented but for {wanted}", call.operation.as_str());
    Err(S3Error::with(S3Code::NotImplemented, message))
}

fn no_configurations(root: &'static str) -> Document {
    let mut document = Document::new(root);
    document.value("IsTruncated", false);
    document
}

pub(super) fn missing(call: &Call, code: S3Code) -> S3Error {
    S3Error::new(code).field("BucketName", &call.bucket)
}
