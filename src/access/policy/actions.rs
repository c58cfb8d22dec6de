//! The names that S3 defines for policies: its actions, by what they act on, and its condition keys.

use super::pattern::{Pattern, Reading};
use super::{Context, Values};

/// Actions on a bucket, without `s3:`.
const OF_BUCKETS: &[&str] = &[
    "CreateBucket",
    "CreateBucketMetadataTableConfiguration",
    "DeleteBucket",
    "DeleteBucketMetadataTableConfiguration",
    "DeleteBucketPolicy",
    "DeleteBucketWebsite",
    "GetAccelerateConfiguration",
    "GetAnalyticsConfiguration",
    "GetBucketAcl",
    "GetBucketCORS",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketMetadataTableConfiguration",
    "GetBucketNotification",
    "GetBucketObjectLockConfiguration",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetEncryptionConfiguration",
    "GetIntelligentTieringConfiguration",
    "GetInventoryConfiguration",
    "GetLifecycleConfiguration",
    "GetMetricsConfiguration",
    "GetReplicationConfiguration",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListenBucketNotification",
    "PutAccelerateConfiguration",
    "PutAnalyticsConfiguration",
    "PutBucketAcl",
    "PutBucketCORS",
    "PutBucketLogging",
    "PutBucketNotification",
    "PutBucketObjectLockConfiguration",
    "PutBucketOwnershipControls",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
    "PutBucketRequestPayment",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutEncryptionConfiguration",
    "PutIntelligentTieringConfiguration",
    "PutInventoryConfiguration",
    "PutLifecycleConfiguration",
    "PutMetricsConfiguration",
    "PutReplicationConfiguration",
];
/// Actions on an object.
const OF_OBJECTS: &[&str] = &[
    "AbortMultipartUpload",
    "BypassGovernanceRetention",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetObjectTorrent",
    "GetObjectVersion",
    "GetObjectVersionAcl",
    "GetObjectVersionAttributes",
    "GetObjectVersionForReplication",
    "GetObjectVersionTagging",
    "GetObjectVersionTorrent",
    "InitiateReplication",
    "ListMultipartUploadParts",
    "ObjectOwnerOverrideToBucketOwner",
    "PutObject",
    "PutObjectAcl",
    "PutObjectLegalHold",
    "PutObjectRetention",
    "PutObjectTagging",
    "PutObjectVersionAcl",
    "PutObjectVersionTagging",
    "ReplicateDelete",
    "ReplicateObject",
    "ReplicateTags",
    "RestoreObject",
    "UpdateObjectEncryption",
    "WriteGetObjectResponse",
];
/// Actions on the account: no bucket's policy grants them, some name them all the same.
const OF_SERVICE: &[&str] = &["GetAccountPublicAccessBlock", "ListAllMyBuckets", "PutAccountPublicAccessBlock"];

/// Condition keys, without `s3:`.
pub const KEYS: &[&str] = &[
    "AccessGrantsInstanceArn",
    "AccessPointNetworkOrigin",
    "authType",
    "BucketTag",
    "DataAccessPointAccount",
    "DataAccessPointArn",
    "delimiter",
    "if-match",
    "if-none-match",
    "InventoryAccessibleOptionalFields",
    "locationconstraint",
    "max-keys",
    "object-lock-legal-hold",
    "object-lock-mode",
    "object-lock-remaining-retention-days",
    "object-lock-retain-until-date",
    "ObjectCreationOperation",
    "prefix",
    "RequestObjectTagKeys",
    "ResourceAccount",
    "signatureAge",
    "signatureversion",
    "TlsVersion",
    "versionid",
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];
/// Condition keys that a tag's name follows.
pub const TAG_KEYS: &[&str] = &["BucketTag", "ExistingObjectTag", "RequestObjectTag"];

/// No facts at all.
struct Nothing;

impl Context for Nothing {
    fn values(&self, _: &str) -> Values<'_> {
        None
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    let (service, name) = text.split_once(':')?;
    let reading = Reading { wildcards: true, variables: false, ignore_case: true };
    service.eq_ignore_ascii_case("s3").then(|| Pattern::new(name, reading))
}

/// Whether the text is `s3:` and an action, or a pattern that some action matches.
pub fn is_of_s3(text: &str) -> bool {
    let Some(pattern) = pattern(text) else { return false };
    [OF_BUCKETS, OF_OBJECTS, OF_SERVICE].into_iter().flatten().any(|action| pattern.matches(action, &Nothing))
}

/// Whether a text with wildcards matches.
pub fn glob(pattern: &str, text: &str) -> bool {
    let reading = Reading { wildcards: true, variables: false, ignore_case: false };
    Pattern::new(pattern, reading).matches(text, &Nothing)
}
