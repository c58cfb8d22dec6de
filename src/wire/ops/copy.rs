//! CopyObject.

use http::{HeaderName, HeaderValue};

use super::{acl, lifecycle};
use crate::engine::{self, ObjectVersion, Tags};
use crate::hash::{ChecksumAlgorithm, ChecksumType, StoredChecksum};
use crate::meta::Attributes;
use crate::wire::conditions::write_condition;
use crate::wire::copy_source::{CopySource, check_size};
use crate::wire::date;
use crate::wire::encryption;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers as headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::checksum_element;
use crate::xml::Document;

pub async fn run(call: &mut Call) -> Result<Response, S3Error> {
    headers::refuse_unsupported(&call.headers)?;
    let source = CopySource::of(call)?;
    let bucket = call.open_bucket()?;
    let mut object = source.find(call)?;
    encryption::bring_source_key(call, &mut object)?;
    check_size(object.version.size)?;
    let source_version_id = object.version_id.clone();
    let mut attributes = attributes(call, &source, &object)?;
    acl::assign(call, &mut attributes)?;
    let expected = lifecycle::expected(call, &bucket, &attributes)?;
    call.make_room(Some(object.version.size)).await?;
    let copy = engine::CopyObject {
        attributes,
        sealing: encryption::requested(call, &bucket)?,
        checksum: checksum_algorithm(call, object.version.attributes.checksum.as_ref())?,
        source: object,
        bucket,
        key: call.key.clone(),
        condition: write_condition(&call.headers)?,
        requester: call.requester(),
    };
    let done = call.engine.copy_object(copy).await?;
    let mut document = Document::new("CopyObjectResult");
    document.etag("ETag", &done.etag);
    document.value("LastModified", date::iso(done.modified_ms));
    if let Some(checksum) = &done.checksum {
        document.text(checksum_element(checksum.algorithm), &checksum.value);
        document.text("ChecksumType", checksum.kind.as_str());
    }
    let mut response = response::xml(document.finish());
    let all = response.headers_mut();
    headers::insert_new_version_id(all, done.version_id.as_deref());
    encryption::insert_done(call, done.encryption.as_ref(), all);
    lifecycle::insert_of_write(expected.as_ref(), &call.key, &done, all);
    if let Some(id) = source_version_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        all.insert(HeaderName::from_static("x-amz-copy-source-version-id"), id);
    }
    Ok(response)
}

/// The header is `REPLACE`; it may be absent or `COPY`.
fn replaces(call: &Call, header: &str) -> Result<bool, S3Error> {
    match call.header(header) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(S3Error::argument(header, other, format!("Unknown {header}; use COPY or REPLACE"))),
    }
}

/// The copy's attributes: content headers and metadata by one directive, tags by another; storage class and redirect
/// are never taken from the source.
fn attributes(call: &Call, source: &CopySource, object: &ObjectVersion) -> Result<Attributes, S3Error> {
    let replace_metadata = replaces(call, "x-amz-metadata-directive")?;
    let replace_tags = replaces(call, "x-amz-tagging-directive")?;
    let of_request = headers::attributes(call)?;
    let of_source = &object.version.attributes;
    let to_itself = source.bucket == call.bucket && source.key == call.key && source.version_id.is_none();
    let changes = replace_metadata
        || call.header("x-amz-storage-class").is_some()
        || of_request.website_redirect_location.is_some()
        || encryption::is_requested(call);
    if to_itself && !changes {
        return Err(S3Error::with(
            S3Code::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let tags = if replace_tags { of_request.tags.clone() } else { source_tags(call, source, &of_source.tags)? };
    if replace_metadata {
        return Ok(Attributes { tags, ..of_request });
    }
    Ok(Attributes {
        tags,
        storage_class: of_request.storage_class,
        website_redirect_location: of_request.website_redirect_location,
        parts: Vec::new(),
        retention: of_request.retention,
        legal_hold: of_request.legal_hold,
        ..of_source.clone()
    })
}

/// The source's tags, where the caller may read them there and set them here.
fn source_tags(call: &Call, source: &CopySource, tags: &Tags) -> Result<Tags, S3Error> {
    if !tags.is_empty() {
        let version_id = source.version_id.as_deref();
        let action = if version_id.is_some() { "GetObjectVersionTagging" } else { "GetObjectTagging" };
        call.authorize_version(action, &source.bucket, &source.key, version_id)?;
        call.authorize("PutObjectTagging", &call.bucket, &call.key)?;
    }
    Ok(tags.clone())
}

/// What the copy is summed by: what the client names, else what the source has, else S3's default. `None` where the
/// source's checksum is the copy's too.
fn checksum_algorithm(call: &Call, of_source: Option<&StoredChecksum>) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(name) = call.header("x-amz-checksum-algorithm") else {
        return Ok(match of_source {
            Some(checksum) if checksum.kind == ChecksumType::FullObject => None,
            Some(checksum) => Some(checksum.algorithm),
            None => Some(ChecksumAlgorithm::DEFAULT),
        });
    };
    let algorithm = ChecksumAlgorithm::parse(name);
    algorithm.map(Some).ok_or_else(|| {
        S3Error::with(S3Code::InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
    })
}
