//! The rows of the metadata as the rest of the program sees them. No SQL here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::acl::Acl;
use crate::crypt::SealFacts;
pub use crate::hash::{ChecksumAlgorithm, ChecksumType, StoredChecksum};
pub use crate::notification::EventName;
use crate::notification::EventRecord;
use crate::pool::Extent;

/// Row number of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketId(pub i64);

/// Versioning state of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Never enabled: one null version a key.
    Unversioned,
    Enabled,
    /// Enabled before: new versions are null versions, old ones stay.
    Suspended,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub id: BucketId,
    pub name: String,
    pub region: String,
    pub created_ms: i64,
    pub versioning: Versioning,
    pub object_lock: bool,
    /// Some reader of the change log wants this bucket's changes (set with its notification configuration).
    pub watched: bool,
    /// Canonical id of the account that owns it; empty: the store's own (`access::owner_id` reads it).
    pub owner: String,
    pub rules: BucketRules,
}

/// What every write to a bucket is held against. Stored as JSON in the bucket's row; unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BucketRules {
    /// Retention of new versions that bring none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_retention: Option<DefaultRetention>,
    /// It has a lifecycle document.
    #[serde(skip_serializing_if = "is_false")]
    pub lifecycle: bool,
    /// Most bytes of all versions and parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Most versions; delete markers are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_objects: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Rolling>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A rolling bucket drops its oldest unlocked versions when the pool is short of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rolling {
    /// Also when its versions have more bytes than this together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What a bucket holds, all versions and the parts of uploads under way together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub bytes: u64,
    /// Versions; delete markers are not counted.
    pub objects: u64,
}

/// How firmly a version is held until its date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RetentionMode {
    /// Who may bypass governance may delete the version, or shorten its retention.
    Governance,
    /// Nobody may.
    Compliance,
}

impl RetentionMode {
    pub fn as_str(self) -> &'static str {
        match self {
            RetentionMode::Governance => "GOVERNANCE",
            RetentionMode::Compliance => "COMPLIANCE",
        }
    }

    pub fn parse(text: &str) -> Option<RetentionMode> {
        [RetentionMode::Governance, RetentionMode::Compliance].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// A version may not be deleted before a time, which is judged by the retention clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub mode: RetentionMode,
    pub until_ms: i64,
}

/// Retention that a bucket gives to its new versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultRetention {
    pub mode: RetentionMode,
    pub period: RetentionPeriod,
}

/// As S3 counts: a year has 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionPeriod {
    Days(u32),
    Years(u32),
}

/// A configuration document of a bucket, kept as the client sent it once it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketConfig {
    Notification,
    Tagging,
    Cors,
    Policy,
    Lifecycle,
    Encryption,
    ObjectLock,
    PublicAccessBlock,
    OwnershipControls,
    Acl,
}

/// Number of a version: the commit order of the whole store. Higher is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sequence(pub u64);

/// Which version of a key is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRef {
    /// The newest one, whatever it is.
    Latest,
    /// The one whose id is `null`.
    Null,
    /// The one with this id.
    Exact(Sequence),
    /// The one with this number, also if its id is `null`: for our own use, never from a client.
    Numbered(Sequence),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    Object,
    DeleteMarker,
}

/// Where a version's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// In the metadata itself; at most `INLINE_BYTES_MAX` plain bytes (an empty object, too).
    Inline(bytes::Bytes),
    Extents(Vec<Extent>),
}

/// A part of a completed multipart upload, kept so that `partNumber` reads and GetObjectAttributes can answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedPart {
    pub number: u32,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<StoredChecksum>,
    /// Of a sealed part (crypt/FORMAT.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// Everything about a version that is neither its place nor its size. Stored as JSON; unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect_location: Option<String>,
    /// Names in lower case, without `x-amz-meta-`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user_metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<StoredChecksum>,
    /// Empty for an object that was not uploaded in parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<CompletedPart>,
    /// The body is sealed (crypt/FORMAT.md). `size`, `etag` and checksums are those of the plain bytes all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<SealFacts>,
    /// Canonical id of the account that owns the object; `None`: the bucket's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its access control list; `None`: its owner alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// Only in buckets with object lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// `None` where it was never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
}

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub bucket: BucketId,
    pub key: String,
    pub sequence: Sequence,
    /// Its id is `null`.
    pub is_null: bool,
    pub kind: VersionKind,
    /// Bytes of user data.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified_ms: i64,
    pub attributes: Attributes,
    pub body: Body,
}

/// A condition on an entity tag, as `If-Match` and `If-None-Match` carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagCondition {
    Any,
    OneOf(Vec<String>),
}

/// Conditions on the newest version, checked inside the transaction that writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteCondition {
    pub if_match: Option<EtagCondition>,
    pub if_none_match: Option<EtagCondition>,
    /// DeleteObject's further conditions.
    pub if_match_size: Option<u64>,
    pub if_match_modified_ms: Option<i64>,
}

/// Who asked, for the event record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub principal: String,
    /// Canonical id of its account; empty for nobody, and for the store itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    pub source_ip: String,
    pub request_id: String,
}

/// An internal fact of the change log: written in the transaction of the version it speaks of. Stored as JSON within an
/// invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The version's own number; orders all changes, and is the sequencer of the event record.
    pub sequence: Sequence,
    pub event: EventName,
    pub time_ms: i64,
    pub bucket: BucketId,
    pub bucket_name: String,
    pub key: String,
    /// As S3 shows it; `None` in an unversioned bucket.
    pub version_id: Option<String>,
    /// The version to read, for created objects and tags.
    pub version: Option<Sequence>,
    pub size: u64,
    pub etag: String,
    pub requester: Requester,
}

impl Change {
    /// As S3 tells it. `rule` is the id of the configuration's entry that matched, `host` the appliance's name.
    pub fn event_record(&self, rule: &str, region: &str, host: &str) -> EventRecord {
        let there = self.version.is_some();
        EventRecord {
            event: self.event,
            region: region.to_owned(),
            time_ms: self.time_ms,
            principal: self.requester.principal.clone(),
            source_ip: self.requester.source_ip.clone(),
            request_id: self.requester.request_id.clone(),
            host_id: host.to_owned(),
            configuration_id: rule.to_owned(),
            bucket: self.bucket_name.clone(),
            owner: host.to_owned(),
            key: self.key.clone(),
            size: there.then_some(self.size),
            etag: there.then(|| self.etag.clone()),
            version_id: self.version_id.clone(),
            sequencer: self.sequence.0,
        }
    }
}

/// A new version to commit.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub bucket: BucketId,
    pub key: String,
    pub size: u64,
    pub etag: String,
    pub modified_ms: i64,
    pub attributes: Attributes,
    pub body: Body,
    pub condition: WriteCondition,
    pub event: EventName,
    pub requester: Requester,
    /// Bit per slot whose drive missed a block: queued for heal in the same transaction.
    pub missed: u64,
}

/// How a committed version is known from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub sequence: Sequence,
    /// As S3 shows it; `None` in a bucket that was never versioned.
    pub version_id: Option<String>,
}

/// What a delete is to do.
#[derive(Debug, Clone)]
pub struct DeleteVersion {
    pub bucket: BucketId,
    pub key: String,
    /// `Latest`: a plain delete, which makes a marker in a versioned bucket.
    pub version: VersionRef,
    pub time_ms: i64,
    pub condition: WriteCondition,
    pub requester: Requester,
    pub cause: DeleteCause,
}

/// Who wants a delete. Whoever it is, a locked version stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteCause {
    /// A client, or a part of the program that acts for one.
    Request {
        /// The client asks to, and may, pass over governance retention.
        bypass_governance: bool,
    },
    /// A lifecycle rule, which judged the version in this place: elsewhere it is left alone (`ConditionFailed`).
    Lifecycle(KeyPlace),
}

impl DeleteCause {
    /// A client's delete without further rights.
    pub const PLAIN: DeleteCause = DeleteCause::Request { bypass_governance: false };
}

/// Where a version stands among those of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// It is the newest.
    Newest(Sequence),
    /// There is a newer one.
    Noncurrent(Sequence),
    /// There is no other.
    Only(Sequence),
}

/// What a delete did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was removed, or the marker that was made.
    pub version_id: Option<String>,
    /// A marker was made or removed.
    pub delete_marker: bool,
}

/// A multipart upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub upload_id: String,
    pub bucket: BucketId,
    pub key: String,
    pub initiated_ms: i64,
    pub attributes: Attributes,
    /// Checksum the client announced, with its type.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub requester: Requester,
}

/// A part of an upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub size: u64,
    /// Hex MD5, without quotes.
    pub etag: String,
    pub modified_ms: i64,
    pub checksum: Option<StoredChecksum>,
    /// Of a sealed part (crypt/FORMAT.md).
    pub salt: Option<String>,
    pub body: Body,
}

/// One line of a listing of current objects. The versions of listings come without their bodies (an empty inline one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Object(Box<Version>),
    CommonPrefix(String),
}

/// A listing of current objects (ListObjects, both versions).
#[derive(Debug, Clone)]
pub struct ListQuery {
    pub bucket: BucketId,
    pub prefix: String,
    /// Any length; `None` or empty lists without grouping.
    pub delimiter: Option<String>,
    /// Keys and common prefixes up to and including this one are left out.
    pub after: Option<String>,
    pub limit: usize,
}

#[derive(Debug, Clone)]
pub struct ListPage<T> {
    pub entries: Vec<T>,
    /// More follows; the last entry's key or prefix is the next `after`.
    pub truncated: bool,
}

/// A listing of all versions (ListObjectVersions).
#[derive(Debug, Clone)]
pub struct VersionsQuery {
    pub bucket: BucketId,
    pub prefix: String,
    pub delimiter: Option<String>,
    pub key_marker: Option<String>,
    /// Within `key_marker`: versions up to and including this one are left out.
    pub version_marker: Option<VersionRef>,
    pub limit: usize,
}

/// One line of a listing of all versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedVersion {
    Version { version: Box<Version>, is_latest: bool },
    CommonPrefix(String),
}

/// A listing of uploads under way (ListMultipartUploads).
#[derive(Debug, Clone)]
pub struct UploadsQuery {
    pub bucket: BucketId,
    pub prefix: String,
    pub delimiter: Option<String>,
    pub key_marker: Option<String>,
    pub upload_id_marker: Option<String>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a page has a thousand of them at most, and nearly all are uploads")]
pub enum ListedUpload {
    Upload(Upload),
    CommonPrefix(String),
}
