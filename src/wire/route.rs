//! From method, address and query to one of S3's operations, by a table.
//!
//! The table holds every operation of S3's REST API, also those that we do not offer: they are answered 501 by name
//! instead of being mistaken for another. Parameters that are no subresource (`x-id`, signature fields) do not matter.

use http::{HeaderMap, Method};

use super::address::Address;
use super::error::{S3Code, S3Error};
use super::operation::Operation;
use super::query::Query;

/// What a request addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Service,
    Bucket,
    Object,
}

/// What must be in the request besides method and level.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// The query names all of these.
    Query(&'static [&'static str]),
    /// The query names all of these and the request is a copy.
    Copying(&'static [&'static str]),
    Nothing,
}

type Rule = (&'static str, Level, Sign, Operation);

use Level::{Bucket, Object, Service};
use Sign::{Copying, Nothing, Query as Q};

/// The first rule that fits decides.
const RULES: &[Rule] = &[
    ("GET", Service, Q(&["events"]), Operation::ListenBucketNotification),
    ("GET", Service, Nothing, Operation::ListBuckets),
    ("HEAD", Service, Nothing, Operation::ListBuckets),
    ("GET", Bucket, Q(&["abac"]), Operation::GetBucketAbac),
    ("GET", Bucket, Q(&["accelerate"]), Operation::GetBucketAccelerateConfiguration),
    ("GET", Bucket, Q(&["acl"]), Operation::GetBucketAcl),
    ("GET", Bucket, Q(&["analytics", "id"]), Operation::GetBucketAnalyticsConfiguration),
    ("GET", Bucket, Q(&["analytics"]), Operation::ListBucketAnalyticsConfigurations),
    ("GET", Bucket, Q(&["cors"]), Operation::GetBucketCors),
    ("GET", Bucket, Q(&["encryption"]), Operation::GetBucketEncryption),
    ("GET", Bucket, Q(&["intelligent-tiering", "id"]), Operation::GetBucketIntelligentTieringConfiguration),
    ("GET", Bucket, Q(&["intelligent-tiering"]), Operation::ListBucketIntelligentTieringConfigurations),
    ("GET", Bucket, Q(&["inventory", "id"]), Operation::GetBucketInventoryConfiguration),
    ("GET", Bucket, Q(&["inventory"]), Operation::ListBucketInventoryConfigurations),
    ("GET", Bucket, Q(&["lifecycle"]), Operation::GetBucketLifecycleConfiguration),
    ("GET", Bucket, Q(&["location"]), Operation::GetBucketLocation),
    ("GET", Bucket, Q(&["logging"]), Operation::GetBucketLogging),
    ("GET", Bucket, Q(&["metadataTable"]), Operation::GetBucketMetadataConfiguration),
    ("GET", Bucket, Q(&["metadataConfiguration"]), Operation::GetBucketMetadataConfiguration),
    ("GET", Bucket, Q(&["metrics", "id"]), Operation::GetBucketMetricsConfiguration),
    ("GET", Bucket, Q(&["metrics"]), Operation::ListBucketMetricsConfigurations),
    ("GET", Bucket, Q(&["notification"]), Operation::GetBucketNotificationConfiguration),
    ("GET", Bucket, Q(&["object-lock"]), Operation::GetObjectLockConfiguration),
    ("GET", Bucket, Q(&["ownershipControls"]), Operation::GetBucketOwnershipControls),
    ("GET", Bucket, Q(&["policyStatus"]), Operation::GetBucketPolicyStatus),
    ("GET", Bucket, Q(&["policy"]), Operation::GetBucketPolicy),
    ("GET", Bucket, Q(&["publicAccessBlock"]), Operation::GetPublicAccessBlock),
    ("GET", Bucket, Q(&["replication"]), Operation::GetBucketReplication),
    ("GET", Bucket, Q(&["requestPayment"]), Operation::GetBucketRequestPayment),
    ("GET", Bucket, Q(&["session"]), Operation::CreateSession),
    ("GET", Bucket, Q(&["tagging"]), Operation::GetBucketTagging),
    ("GET", Bucket, Q(&["uploads"]), Operation::ListMultipartUploads),
    ("GET", Bucket, Q(&["versioning"]), Operation::GetBucketVersioning),
    ("GET", Bucket, Q(&["versions"]), Operation::ListObjectVersions),
    ("GET", Bucket, Q(&["website"]), Operation::GetBucketWebsite),
    ("GET", Bucket, Q(&["events"]), Operation::ListenBucketNotification),
    ("GET", Bucket, Q(&["list-type"]), Operation::ListObjectsV2),
    ("GET", Bucket, Nothing, Operation::ListObjects),
    ("HEAD", Bucket, Nothing, Operation::HeadBucket),
    ("PUT", Bucket, Q(&["abac"]), Operation::PutBucketAbac),
    ("PUT", Bucket, Q(&["accelerate"]), Operation::PutBucketAccelerateConfiguration),
    ("PUT", Bucket, Q(&["acl"]), Operation::PutBucketAcl),
    ("PUT", Bucket, Q(&["analytics"]), Operation::PutBucketAnalyticsConfiguration),
    ("PUT", Bucket, Q(&["cors"]), Operation::PutBucketCors),
    ("PUT", Bucket, Q(&["encryption"]), Operation::PutBucketEncryption),
    ("PUT", Bucket, Q(&["intelligent-tiering"]), Operation::PutBucketIntelligentTieringConfiguration),
    ("PUT", Bucket, Q(&["inventory"]), Operation::PutBucketInventoryConfiguration),
    ("PUT", Bucket, Q(&["lifecycle"]), Operation::PutBucketLifecycleConfiguration),
    ("PUT", Bucket, Q(&["logging"]), Operation::PutBucketLogging),
    ("PUT", Bucket, Q(&["metadataAnnotationTable"]), Operation::UpdateBucketMetadataAnnotationTableConfiguration),
    ("PUT", Bucket, Q(&["metadataInventoryTable"]), Operation::UpdateBucketMetadataInventoryTableConfiguration),
    ("PUT", Bucket, Q(&["metadataJournalTable"]), Operation::UpdateBucketMetadataJournalTableConfiguration),
    ("PUT", Bucket, Q(&["metrics"]), Operation::PutBucketMetricsConfiguration),
    ("PUT", Bucket, Q(&["notification"]), Operation::PutBucketNotificationConfiguration),
    ("PUT", Bucket, Q(&["object-lock"]), Operation::PutObjectLockConfiguration),
    ("PUT", Bucket, Q(&["ownershipControls"]), Operation::PutBucketOwnershipControls),
    ("PUT", Bucket, Q(&["policy"]), Operation::PutBucketPolicy),
    ("PUT", Bucket, Q(&["publicAccessBlock"]), Operation::PutPublicAccessBlock),
    ("PUT", Bucket, Q(&["replication"]), Operation::PutBucketReplication),
    ("PUT", Bucket, Q(&["requestPayment"]), Operation::PutBucketRequestPayment),
    ("PUT", Bucket, Q(&["tagging"]), Operation::PutBucketTagging),
    ("PUT", Bucket, Q(&["versioning"]), Operation::PutBucketVersioning),
    ("PUT", Bucket, Q(&["website"]), Operation::PutBucketWebsite),
    ("PUT", Bucket, Nothing, Operation::CreateBucket),
    ("POST", Bucket, Q(&["delete"]), Operation::DeleteObjects),
    ("POST", Bucket, Q(&["metadataTable"]), Operation::CreateBucketMetadataConfiguration),
    ("POST", Bucket, Q(&["metadataConfiguration"]), Operation::CreateBucketMetadataConfiguration),
    ("POST", Bucket, Nothing, Operation::PostObject),
    ("DELETE", Bucket, Q(&["analytics"]), Operation::DeleteBucketAnalyticsConfiguration),
    ("DELETE", Bucket, Q(&["cors"]), Operation::DeleteBucketCors),
    ("DELETE", Bucket, Q(&["encryption"]), Operation::DeleteBucketEncryption),
    ("DELETE", Bucket, Q(&["intelligent-tiering"]), Operation::DeleteBucketIntelligentTieringConfiguration),
    ("DELETE", Bucket, Q(&["inventory"]), Operation::DeleteBucketInventoryConfiguration),
    ("DELETE", Bucket, Q(&["lifecycle"]), Operation::DeleteBucketLifecycle),
    ("DELETE", Bucket, Q(&["metadataTable"]), Operation::DeleteBucketMetadataConfiguration),
    ("DELETE", Bucket, Q(&["metadataConfiguration"]), Operation::DeleteBucketMetadataConfiguration),
    ("DELETE", Bucket, Q(&["metrics"]), Operation::DeleteBucketMetricsConfiguration),
    ("DELETE", Bucket, Q(&["ownershipControls"]), Operation::DeleteBucketOwnershipControls),
    ("DELETE", Bucket, Q(&["policy"]), Operation::DeleteBucketPolicy),
    ("DELETE", Bucket, Q(&["publicAccessBlock"]), Operation::DeletePublicAccessBlock),
    ("DELETE", Bucket, Q(&["replication"]), Operation::DeleteBucketReplication),
    ("DELETE", Bucket, Q(&["tagging"]), Operation::DeleteBucketTagging),
    ("DELETE", Bucket, Q(&["website"]), Operation::DeleteBucketWebsite),
    ("DELETE", Bucket, Nothing, Operation::DeleteBucket),
    ("GET", Object, Q(&["acl"]), Operation::GetObjectAcl),
    ("GET", Object, Q(&["annotation", "annotationName"]), Operation::GetObjectAnnotation),
    ("GET", Object, Q(&["annotation"]), Operation::ListObjectAnnotations),
    ("GET", Object, Q(&["attributes"]), Operation::GetObjectAttributes),
    ("GET", Object, Q(&["lambdaArn"]), Operation::GetObjectLambda),
    ("GET", Object, Q(&["legal-hold"]), Operation::GetObjectLegalHold),
    ("GET", Object, Q(&["retention"]), Operation::GetObjectRetention),
    ("GET", Object, Q(&["tagging"]), Operation::GetObjectTagging),
    ("GET", Object, Q(&["torrent"]), Operation::GetObjectTorrent),
    ("GET", Object, Q(&["uploadId"]), Operation::ListParts),
    ("GET", Object, Nothing, Operation::GetObject),
    ("HEAD", Object, Q(&["lambdaArn"]), Operation::GetObjectLambda),
    ("HEAD", Object, Nothing, Operation::HeadObject),
    ("PUT", Object, Copying(&["partNumber", "uploadId"]), Operation::UploadPartCopy),
    ("PUT", Object, Q(&["partNumber", "uploadId"]), Operation::UploadPart),
    ("PUT", Object, Q(&["acl"]), Operation::PutObjectAcl),
    ("PUT", Object, Q(&["annotation"]), Operation::PutObjectAnnotation),
    ("PUT", Object, Q(&["encryption"]), Operation::UpdateObjectEncryption),
    ("PUT", Object, Q(&["legal-hold"]), Operation::PutObjectLegalHold),
    ("PUT", Object, Q(&["renameObject"]), Operation::RenameObject),
    ("PUT", Object, Q(&["retention"]), Operation::PutObjectRetention),
    ("PUT", Object, Q(&["tagging"]), Operation::PutObjectTagging),
    ("PUT", Object, Copying(&[]), Operation::CopyObject),
    ("PUT", Object, Nothing, Operation::PutObject),
    ("POST", Object, Q(&["restore"]), Operation::RestoreObject),
    ("POST", Object, Q(&["select"]), Operation::SelectObjectContent),
    ("POST", Object, Q(&["uploads"]), Operation::CreateMultipartUpload),
    ("POST", Object, Q(&["uploadId"]), Operation::CompleteMultipartUpload),
    ("DELETE", Object, Q(&["annotation"]), Operation::DeleteObjectAnnotation),
    ("DELETE", Object, Q(&["tagging"]), Operation::DeleteObjectTagging),
    ("DELETE", Object, Q(&["uploadId"]), Operation::AbortMultipartUpload),
    ("DELETE", Object, Nothing, Operation::DeleteObject),
];

/// Names of the table that are no subresources.
const PARAMETERS: [&str; 5] = ["events", "lambdaArn", "list-type", "partNumber", "uploadId"];

/// The subresource that the query names. A request that would change it must never be mistaken for one that changes the
/// bucket or object itself: `DELETE /b?versioning` deletes no bucket.
fn subresource(level: Level, query: &Query) -> Option<&'static str> {
    let of_level = RULES.iter().filter(|(_, rule_level, _, _)| *rule_level == level);
    let mut names = of_level.filter_map(|(_, _, sign, _)| match sign {
        Sign::Query(wanted) => wanted.first().copied(),
        Sign::Copying(_) | Sign::Nothing => None,
    });
    names.find(|name| !PARAMETERS.contains(name) && query.has(name))
}

fn not_allowed(method: &Method, resource: &str) -> S3Error {
    let method = method.as_str().chars().take(32).collect::<String>();
    S3Error::new(S3Code::MethodNotAllowed).field("Method", method).field("ResourceType", resource.to_uppercase())
}

impl Operation {
    /// The operation that a request in path style asks for; `None` where there is none.
    pub fn of(method: &str, target: &str, copying: bool) -> Option<Operation> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        if copying {
            headers.insert("x-amz-copy-source", http::HeaderValue::from_static("b/k"));
        }
        let address = Address::parse(path, None, None).ok()?;
        route(&method.parse().ok()?, &address, &Query::parse(query).ok()?, &headers).ok()
    }
}

/// Whether a query parameter takes part in the choice of an operation.
pub fn is_selector(parameter: &str) -> bool {
    RULES.iter().any(|(_, _, sign, _)| match sign {
        Sign::Query(names) | Sign::Copying(names) => names.contains(&parameter),
        Sign::Nothing => false,
    })
}

/// Which operation is asked for.
pub fn route(method: &Method, address: &Address, query: &Query, headers: &HeaderMap) -> Result<Operation, S3Error> {
    let level = match (address.bucket.is_empty(), address.key.is_empty()) {
        (true, true) => Level::Service,
        (true, false) => return Err(S3Error::with(S3Code::InvalidBucketName, "the path names no bucket")),
        (false, true) => Level::Bucket,
        (false, false) => Level::Object,
    };
    if level == Object && address.key == "WriteGetObjectResponse" && method == Method::POST {
        return Ok(Operation::WriteGetObjectResponse);
    }
    if method == Method::OPTIONS && level != Service {
        return Ok(Operation::PreflightRequest);
    }
    let is_copy = headers.contains_key("x-amz-copy-source");
    let names = |wanted: &[&str]| wanted.iter().all(|name| query.has(name));
    let fits = |(rule_method, rule_level, sign, _): &&Rule| {
        *rule_method == method.as_str()
            && *rule_level == level
            && match sign {
                Sign::Query(wanted) => names(wanted),
                Sign::Copying(wanted) => is_copy && names(wanted),
                Sign::Nothing => true,
            }
    };
    let Some((_, _, sign, operation)) = RULES.iter().find(fits) else {
        return Err(not_allowed(method, &format!("{level:?}")));
    };
    let plain = matches!(sign, Sign::Nothing | Sign::Copying([]));
    if plain && matches!(*method, Method::PUT | Method::POST | Method::DELETE) {
        if let Some(name) = subresource(level, query) {
            return Err(not_allowed(method, name));
        }
        if *method == Method::PUT && level == Level::Object && (query.has("partNumber") || query.has("uploadId")) {
            return Err(S3Error::with(S3Code::InvalidArgument, "a part is named by partNumber and uploadId together"));
        }
    }
    Ok(*operation)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ask(method: &str, path: &str, copy: bool) -> Result<Operation, S3Code> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = HeaderMap::new();
        if copy {
            headers.insert("x-amz-copy-source", "b/k".parse().unwrap());
        }
        let address = Address::parse(path, None, None).unwrap();
        let query = Query::parse(query).unwrap();
        route(&method.parse().unwrap(), &address, &query, &headers).map_err(|error| error.code)
    }

    #[test]
    fn requests_find_their_operation() {
        use Operation::*;
        for (method, path, copy, operation) in [
            ("GET", "/", false, ListBuckets),
            ("GET", "/?x-id=ListBuckets", false, ListBuckets),
            ("GET", "/b", false, ListObjects),
            ("GET", "/b/", false, ListObjects),
            ("GET", "/b?list-type=2&prefix=a", false, ListObjectsV2),
            ("GET", "/b?versions", false, ListObjectVersions),
            ("GET", "/b?uploads", false, ListMultipartUploads),
            ("GET", "/b?location=", false, GetBucketLocation),
            ("GET", "/b?policyStatus", false, GetBucketPolicyStatus),
            ("GET", "/b?analytics&id=1", false, GetBucketAnalyticsConfiguration),
            ("GET", "/b?analytics", false, ListBucketAnalyticsConfigurations),
            ("GET", "/b?events=s3:ObjectCreated:*", false, ListenBucketNotification),
            ("HEAD", "/b", false, HeadBucket),
            ("PUT", "/b", false, CreateBucket),
            ("DELETE", "/b", false, DeleteBucket),
            ("POST", "/b?delete", false, DeleteObjects),
            ("POST", "/b", false, PostObject),
            ("OPTIONS", "/b/k", false, PreflightRequest),
            ("GET", "/b/k", false, GetObject),
            ("GET", "/b/k?versionId=1&partNumber=1", false, GetObject),
            ("GET", "/b/k?attributes", false, GetObjectAttributes),
            ("GET", "/b/k?uploadId=1", false, ListParts),
            ("GET", "/b/k?lambdaArn=a", false, GetObjectLambda),
            ("HEAD", "/b/a//b/../c", false, HeadObject),
            ("PUT", "/b/k", false, PutObject),
            ("PUT", "/b/k?x-id=PutObject", false, PutObject),
            ("PUT", "/b/k", true, CopyObject),
            ("PUT", "/b/k?tagging", true, PutObjectTagging),
            ("PUT", "/b/k?partNumber=1&uploadId=2", false, UploadPart),
            ("PUT", "/b/k?partNumber=1&uploadId=2", true, UploadPartCopy),
            ("POST", "/b/k?uploads", false, CreateMultipartUpload),
            ("POST", "/b/k?uploadId=1", false, CompleteMultipartUpload),
            ("POST", "/b/k?select&select-type=2", false, SelectObjectContent),
            ("POST", "/b/k?restore", false, RestoreObject),
            ("DELETE", "/b/k?uploadId=1", false, AbortMultipartUpload),
            ("DELETE", "/b/k?versionId=null", false, DeleteObject),
            ("GET", "/b/k?annotation", false, ListObjectAnnotations),
            ("GET", "/b/k?annotation&annotationName=a", false, GetObjectAnnotation),
            ("PUT", "/b/k?annotation&annotationName=a", false, PutObjectAnnotation),
            ("PUT", "/b/k?encryption", false, UpdateObjectEncryption),
        ] {
            assert_eq!(ask(method, path, copy), Ok(operation), "{method} {path}");
        }
        for (method, path) in [("PATCH", "/b/k"), ("POST", "/"), ("POST", "/b/k"), ("PUT", "/"), ("BREW", "/b")] {
            assert_eq!(ask(method, path, false), Err(S3Code::MethodNotAllowed), "{method} {path}");
        }
        assert_eq!(ask("GET", "//k", false), Err(S3Code::InvalidBucketName));
        for (method, path, copy) in [
            ("DELETE", "/b?versioning", false),
            ("DELETE", "/b?acl", false),
            ("DELETE", "/b?notification=", false),
            ("PUT", "/b?uploads", false),
            ("PUT", "/b?versions", false),
            ("POST", "/b?lifecycle", false),
            ("DELETE", "/b/k?acl", false),
            ("DELETE", "/b/k?retention", false),
            ("PUT", "/b/k?uploads", false),
            ("PUT", "/b/k?attributes", true),
            ("PUT", "/b/k?torrent", false),
        ] {
            assert_eq!(ask(method, path, copy), Err(S3Code::MethodNotAllowed), "{method} {path}");
        }
        for path in ["/b/k?uploadId=1", "/b/k?partNumber=1"] {
            assert_eq!(ask("PUT", path, false), Err(S3Code::InvalidArgument), "{path}");
        }
    }

    #[test]
    fn every_operation_has_a_rule_that_it_wins() {
        let mut reached: HashSet<Operation> = HashSet::new();
        for (method, level, sign, operation) in RULES {
            let path = match level {
                Level::Service => "/",
                Level::Bucket => "/b",
                Level::Object => "/b/k",
            };
            let (wanted, copy) = match sign {
                Sign::Query(wanted) => (*wanted, false),
                Sign::Copying(wanted) => (*wanted, true),
                Sign::Nothing => (&[][..], false),
            };
            let path = format!("{path}?{}", wanted.join("&"));
            assert_eq!(ask(method, &path, copy), Ok(*operation), "{method} {path}");
            reached.insert(*operation);
        }
        let by_code = [Operation::PreflightRequest, Operation::WriteGetObjectResponse];
        for operation in Operation::ALL {
            assert!(reached.contains(operation) || by_code.contains(operation), "{operation:?} has no rule");
        }
    }
}
