//! What access control lists say about a request: one question, asked by `Call::authorize` after the policies.
//!
//! Where a bucket's owner owns all objects, as in every bucket unless it was made otherwise, no list counts and nothing is
//! read. Elsewhere the list of the bucket, which is remembered, or of the very version that is meant decides.

use super::error::S3Error;
use super::facts::BucketFacts;
use super::operation::Operation;
use super::request::Call;
use super::xml::parse_public_access_block;
use crate::access::owner_id;
use crate::acl::{Acl, Asker, ObjectOwnership, Permission, PublicAccessBlock};
use crate::engine::{Engine, EngineError};
use crate::meta::{Attributes, Bucket, BucketConfig, VersionRef, parse_version_id};

/// What a bucket says about lists.
#[derive(Debug, Clone)]
pub struct Lists {
    pub ownership: ObjectOwnership,
    /// Its controls, where it has some.
    pub controls: Controls,
    /// The bucket's own list. It counts where the ownership has lists.
    pub acl: Acl,
    pub block: PublicAccessBlock,
}

/// Whether a bucket has ownership controls of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// Never set: those that every new bucket has.
    Default,
    Set,
    Deleted,
}

impl Lists {
    pub fn read(engine: &Engine, bucket: &Bucket) -> Result<Lists, EngineError> {
        let document = |kind| engine.bucket_config(bucket, kind);
        let damaged = |what: &str| {
            EngineError::Meta(crate::meta::MetaError::Damaged(format!(
                "the {what} of bucket {} cannot be read",
                bucket.name
            )))
        };
        let (ownership, controls) = match document(BucketConfig::OwnershipControls)?.as_deref() {
            None => (ObjectOwnership::BucketOwnerEnforced, Controls::Default),
            // As S3 was before there were such controls.
            Some("") => (ObjectOwnership::ObjectWriter, Controls::Deleted),
            Some(name) => (ObjectOwnership::parse(name).ok_or_else(|| damaged("ownership controls"))?, Controls::Set),
        };
        let acl = match document(BucketConfig::Acl)? {
            None => Acl::default(),
            Some(text) => text.parse().map_err(|_| damaged("access control list"))?,
        };
        let block = match document(BucketConfig::PublicAccessBlock)? {
            None => PublicAccessBlock::default(),
            Some(text) => parse_public_access_block(text.as_bytes()).map_err(|_| damaged("public access block"))?,
        };
        Ok(Lists { ownership, controls, acl, block })
    }

    /// The bucket's list gives something to the public, and that counts.
    pub fn are_public(&self) -> bool {
        self.ownership.has_lists() && self.acl.is_public() && !self.block.ignore_public_acls
    }
}

/// The lists' word on one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Canonical id of the account that owns what the action touches. Its own principals need no grant; the bucket's
    /// policy counts only where the bucket's owner owns the object, too.
    pub owner: String,
    /// A grant covers the caller's account, or everybody. For a signed caller the policies of its own account must
    /// allow the action as well.
    pub granted: bool,
}

/// Which list an action asks, and for what.
enum Question {
    Bucket(Permission),
    Object(Permission),
    /// An upload under way is its initiator's.
    Upload,
    /// No list has a say.
    Nothing,
}

fn question(call: &Call, action: &str) -> Question {
    match action {
        "ListBucket" | "ListBucketVersions" | "ListBucketMultipartUploads" => Question::Bucket(Permission::Read),
        "PutObject" | "DeleteObject" => Question::Bucket(Permission::Write),
        "GetBucketAcl" => Question::Bucket(Permission::ReadAcp),
        "PutBucketAcl" => Question::Bucket(Permission::WriteAcp),
        "GetObject" | "GetObjectVersion" | "GetObjectAttributes" | "GetObjectVersionAttributes" => {
            Question::Object(Permission::Read)
        }
        "GetObjectAcl" | "GetObjectVersionAcl" => Question::Object(Permission::ReadAcp),
        "PutObjectAcl" | "PutObjectVersionAcl" if call.operation == Operation::PutObjectAcl => {
            Question::Object(Permission::WriteAcp)
        }
        // List and tags of an object that is being written come with it.
        "PutObjectAcl" => Question::Bucket(Permission::Write),
        "PutObjectTagging" if call.operation != Operation::PutObjectTagging => Question::Bucket(Permission::Write),
        "ListMultipartUploadParts" | "AbortMultipartUpload" => Question::Upload,
        _ => Question::Nothing,
    }
}

/// Asks the lists of a bucket, or of the object in it, for the caller (`call.identity`). `action` is S3's permission
/// without `s3:`; `key` is empty for the bucket itself, `version_id` is the request's.
pub fn word(
    call: &Call,
    action: &str,
    facts: &BucketFacts,
    key: &str,
    version_id: Option<&str>,
) -> Result<Word, S3Error> {
    let of_bucket = |granted| Word { owner: facts.owner.clone(), granted };
    let lists = &facts.lists;
    if !lists.ownership.has_lists() {
        return Ok(of_bucket(false));
    }
    let asker = call.identity.canonical_id().map_or(Asker::Anonymous, Asker::Account);
    let ignore_public = lists.block.ignore_public_acls;
    match question(call, action) {
        Question::Nothing => Ok(of_bucket(false)),
        Question::Bucket(permission) => Ok(of_bucket(lists.acl.gives(asker, permission, ignore_public))),
        Question::Upload => {
            let upload_id = call.query.get("uploadId").unwrap_or_default();
            let upload = call.engine.upload(&facts.bucket, key, upload_id).ok();
            let owner = upload.as_ref().map(|upload| owner_of(&upload.attributes, facts));
            Ok(of_bucket(owner.is_some_and(|owner| asker == Asker::Account(owner))))
        }
        Question::Object(permission) => match find(call, facts, key, version_id) {
            Some(attributes) => {
                let granted = match &attributes.acl {
                    Some(acl) => acl.gives(asker, permission, ignore_public),
                    None => false,
                };
                Ok(Word { owner: owner_of(&attributes, facts).to_owned(), granted })
            }
            // Who may list the bucket may know that there is no such object.
            None => Ok(of_bucket(lists.acl.gives(asker, Permission::Read, ignore_public))),
        },
    }
}

/// Canonical id of the account that owns an object, by its attributes.
pub fn owner_of<'a>(attributes: &'a Attributes, facts: &'a BucketFacts) -> &'a str {
    match &attributes.owner {
        Some(owner) if facts.lists.ownership.has_lists() => owner_id(owner),
        _ => &facts.owner,
    }
}

/// The version that is meant, if there is one that can be read.
fn find(call: &Call, facts: &BucketFacts, key: &str, version_id: Option<&str>) -> Option<Attributes> {
    let version = match version_id {
        None => VersionRef::Latest,
        Some(id) => parse_version_id(id)?,
    };
    let object = call.engine.head_object(&facts.bucket, key, version).ok()?;
    Some(object.version.attributes)
}
