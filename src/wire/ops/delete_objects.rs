//! DeleteObjects: many keys in one request, each with an outcome of its own.

use futures_util::future::join_all;

use super::object_lock;
use crate::engine::DeleteObject;
use crate::limits;
use crate::meta::{Bucket, Deleted, EtagCondition, MetaError, VersionRef, WriteCondition, parse_version_id};
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::{DeleteEntry, DeleteRequest};
use crate::xml::Document;

pub async fn run(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let expected = call.expected_digests()?;
    if expected.content_md5.is_none() && expected.checksum.is_none() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(S3Error::with(S3Code::InvalidRequest, message));
    }
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let request = DeleteRequest::parse(&body)?;
    let call = &*call;
    let mut outcomes = Vec::with_capacity(request.entries.len());
    for entries in request.entries.chunks(limits::DELETE_KEYS_IN_FLIGHT) {
        outcomes.extend(join_all(entries.iter().map(|entry| delete(call, &bucket, entry))).await);
    }
    let mut document = Document::sized("DeleteResult", 256 + 128 * outcomes.len());
    for (entry, outcome) in request.entries.iter().zip(&outcomes) {
        match outcome {
            Ok(_) if request.quiet => {}
            Ok(deleted) => write_deleted(&mut document, entry, deleted),
            Err(error) => write_error(&mut document, entry, error),
        }
    }
    Ok(response::xml(document.finish()))
}

async fn delete(call: &Call, bucket: &Bucket, entry: &DeleteEntry) -> Result<Deleted, S3Error> {
    let version_id = entry.version_id.as_deref().filter(|id| !id.is_empty());
    let action = if version_id.is_some() { "DeleteObjectVersion" } else { "DeleteObject" };
    call.authorize_version(action, &bucket.name, &entry.key, version_id)?;
    let version = match &entry.version_id {
        None => VersionRef::Latest,
        Some(text) => parse_version_id(text).ok_or_else(|| S3Error::new(S3Code::NoSuchVersion))?,
    };
    let delete = DeleteObject {
        key: entry.key.clone(),
        version,
        condition: condition(entry)?,
        requester: call.requester(),
        cause: object_lock::delete_cause(call, &entry.key, version_id),
    };
    match call.engine.delete_object(bucket, delete).await {
        Ok(deleted) => Ok(deleted),
        // A version that is gone already is as deleted as the client wants it.
        Err(crate::engine::EngineError::Meta(MetaError::NoSuchVersion)) if entry.etag.is_none() => {
            Ok(Deleted { version_id: entry.version_id.clone(), delete_marker: false })
        }
        Err(error) => Err(error.into()),
    }
}

fn condition(entry: &DeleteEntry) -> Result<WriteCondition, S3Error> {
    let malformed = |what: &str| S3Error::with(S3Code::MalformedXML, format!("<{what}> is not valid"));
    let if_match = entry.etag.as_deref().map(|etag| match etag.trim_matches('"') {
        "*" => EtagCondition::Any,
        etag => EtagCondition::OneOf(vec![etag.to_ascii_lowercase()]),
    });
    let if_match_size = entry.size.as_deref().map(|text| text.parse().map_err(|_| malformed("Size"))).transpose()?;
    let time = entry.last_modified.as_deref();
    let if_match_modified_ms =
        time.map(|text| date::parse_http(text).ok_or_else(|| malformed("LastModifiedTime"))).transpose()?;
    Ok(WriteCondition { if_match, if_none_match: None, if_match_size, if_match_modified_ms })
}

fn write_deleted(document: &mut Document, entry: &DeleteEntry, deleted: &Deleted) {
    document.inside("Deleted", |document| {
        document.text("Key", &entry.key);
        document.text_if("VersionId", entry.version_id.as_deref());
        if deleted.delete_marker {
            document.value("DeleteMarker", true);
            document.text_if("DeleteMarkerVersionId", deleted.version_id.as_deref());
        }
    });
}

fn write_error(document: &mut Document, entry: &DeleteEntry, error: &S3Error) {
    document.inside("Error", |document| {
        document.text("Key", &entry.key);
        document.text_if("VersionId", entry.version_id.as_deref());
        document.text("Code", error.code.as_str());
        document.text("Message", &error.message);
    });
}
