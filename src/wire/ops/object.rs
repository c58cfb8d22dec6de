//! PutObject, GetObject, HeadObject, DeleteObject.

use std::ops::Range;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{acl, lifecycle, object_lock};
use crate::engine::{DeleteObject, EngineError, ObjectVersion, PutObject};
use crate::hash::{ChecksumType, StoredChecksum};
use crate::limits;
use crate::meta::{Bucket, EventName, MetaError, VersionRef};
use crate::wire::conditions::{OF_READ, Verdict, delete_condition, failed, write_condition};
use crate::wire::date;
use crate::wire::encryption;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers as headers;
use crate::wire::range::{self, Resolved};
use crate::wire::request::Call;
use crate::wire::response::{self, Response, ResponseBody};

const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
const PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");

pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    call.require_length()?;
    let mut attributes = headers::attributes(call)?;
    acl::assign(call, &mut attributes)?;
    let expected = lifecycle::expected(call, &bucket, &attributes)?;
    call.make_room(call.body_length).await?;
    let put = PutObject {
        key: call.key.clone(),
        attributes,
        sealing: encryption::requested(call, &bucket)?,
        bucket,
        size_hint: call.body_length,
        expected: call.upload_digests()?,
        condition: write_condition(&call.headers)?,
        event: EventName::ObjectCreatedPut,
        requester: call.requester(),
    };
    let mut body = call.take_body();
    let done = call.engine.put_object(put, &mut body).await?;
    let mut response = response::empty(StatusCode::OK);
    response::put_done(&done, response.headers_mut());
    encryption::insert_done(call, done.encryption.as_ref(), response.headers_mut());
    lifecycle::insert_of_write(expected.as_ref(), &call.key, &done, response.headers_mut());
    Ok(response)
}

pub async fn get(call: &mut Call) -> Result<Response, S3Error> {
    let Selected { object, part, mut response } = match select(call)? {
        Selection::Answered(response) => return Ok(response),
        Selection::Selected(selected) => *selected,
    };
    let length = part.end - part.start;
    let reader = call.engine.read_object(&object, part);
    *response.body_mut() = ResponseBody::object(reader, length).await?;
    Ok(response)
}

pub fn head(call: &Call) -> Result<Response, S3Error> {
    let Selected { part, mut response, .. } = match select(call)? {
        Selection::Answered(response) => return Ok(response),
        Selection::Selected(selected) => *selected,
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    Ok(response)
}

/// What a read gives.
enum Selection {
    /// Conditions or a delete marker have decided.
    Answered(Response),
    Selected(Box<Selected>),
}

struct Selected {
    object: ObjectVersion,
    /// Bytes of the object.
    part: Range<u64>,
    /// Status and headers; no body yet.
    response: Response,
}

fn select(call: &Call) -> Result<Selection, S3Error> {
    let bucket = call.open_bucket()?;
    let mut object = find(call, &bucket)?;
    headers::refuse_unsupported(&call.headers)?;
    encryption::bring_key(call, &mut object)?;
    match OF_READ.check(&call.headers, &object.version)? {
        Verdict::Holds => {}
        Verdict::Failed(header) => return Err(failed(header)),
        Verdict::NotModified(_) => return Ok(Selection::Answered(not_modified(&object))),
    }
    let (part, is_part) = bytes_wanted(call, &object)?;
    let mut response = response::empty(if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let all = response.headers_mut();
    headers::insert_object(all, &object);
    encryption::insert(call, object.version.attributes.encryption.as_ref(), all);
    object_lock::insert_headers(call, &object.version.attributes, all);
    lifecycle::insert_of_read(call, &bucket, &object, all)?;
    let size = object.version.size;
    if is_part && part.start < part.end {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        all.insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are a header value"));
    }
    if call.query.has("partNumber") && !object.version.attributes.parts.is_empty() {
        all.insert(PARTS_COUNT, HeaderValue::from(object.version.attributes.parts.len()));
    }
    if let Some(checksum) = checksum_wanted(call, &object, &part) {
        headers::insert_checksum(all, &checksum);
    }
    override_headers(call, &mut response)?;
    Ok(Selection::Selected(Box::new(Selected { object, part, response })))
}

/// The version that the request names; what a delete marker is answered with is in the error.
pub(super) fn find(call: &Call, bucket: &Bucket) -> Result<ObjectVersion, S3Error> {
    let version = call.version()?;
    call.engine.head_object(bucket, &call.key, version).map_err(|error| not_found(call, error))
}

fn not_found(call: &Call, error: EngineError) -> S3Error {
    match error {
        EngineError::DeleteMarker { version_id, modified_ms, latest } => {
            let mut error = if latest {
                S3Error::new(S3Code::NoSuchKey).field("Key", &call.key)
            } else {
                let modified = HeaderValue::from_str(&date::http(modified_ms)).expect("a date is a header value");
                S3Error::new(S3Code::MethodNotAllowed)
                    .field("Method", call.method.as_str())
                    .field("ResourceType", "DeleteMarker")
                    .header(header::ALLOW, HeaderValue::from_static("DELETE"))
                    .header(header::LAST_MODIFIED, modified)
            };
            if let Some(id) = version_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
                error = error.header(VERSION_ID, id);
            }
            error.header(DELETE_MARKER, HeaderValue::from_static("true"))
        }
        EngineError::Meta(MetaError::NoSuchKey) => S3Error::new(S3Code::NoSuchKey).field("Key", &call.key),
        EngineError::Meta(MetaError::NoSuchVersion) => S3Error::new(S3Code::NoSuchVersion)
            .field("Key", &call.key)
            .field("VersionId", call.query.get("versionId").unwrap_or_default()),
        error => error.into(),
    }
}

/// 304 has what caches need and no body.
fn not_modified(object: &ObjectVersion) -> Response {
    let mut response = response::empty(StatusCode::NOT_MODIFIED);
    headers::insert_object(response.headers_mut(), object);
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// The bytes asked for by range or part number, and whether that makes it a partial answer.
fn bytes_wanted(call: &Call, object: &ObjectVersion) -> Result<(Range<u64>, bool), S3Error> {
    let size = object.version.size;
    let range = call.header("range");
    match (call.query.get("partNumber"), range) {
        (Some(_), Some(_)) => Err(S3Error::with(
            S3Code::InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter",
        )),
        (Some(text), None) => part_wanted(text, object),
        (None, None) => Ok((0..size, false)),
        (None, Some(text)) => match range::resolve(text, size) {
            Resolved::Whole => Ok((0..size, false)),
            Resolved::Part(part) => Ok((part, true)),
            Resolved::Unsatisfiable => {
                let all = HeaderValue::from_str(&format!("bytes */{size}")).expect("digits are a header value");
                Err(S3Error::new(S3Code::InvalidRange)
                    .field("RangeRequested", text)
                    .field("ActualObjectSize", size.to_string())
                    .header(header::CONTENT_RANGE, all))
            }
        },
    }
}

fn part_number(text: &str) -> Result<u32, S3Error> {
    let number = text.parse().ok().filter(|number| (1..=limits::PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| {
        S3Error::argument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
    })
}

/// An object that was not uploaded in parts is its own first part.
fn part_wanted(text: &str, object: &ObjectVersion) -> Result<(Range<u64>, bool), S3Error> {
    let number = part_number(text)?;
    let parts = &object.version.attributes.parts;
    if parts.is_empty() && number == 1 {
        return Ok((0..object.version.size, true));
    }
    let mut start = 0;
    for part in parts {
        if part.number == number {
            return Ok((start..start + part.size, true));
        }
        start += part.size;
    }
    let count = parts.len().max(1);
    Err(S3Error::new(S3Code::InvalidPartNumber)
        .field("PartNumberRequested", text)
        .field("ActualPartCount", count.to_string()))
}

/// The checksum to tell when the client asks for it: the object's for the whole object, the part's for a part.
fn checksum_wanted(call: &Call, object: &ObjectVersion, part: &Range<u64>) -> Option<StoredChecksum> {
    if !call.header("x-amz-checksum-mode")?.eq_ignore_ascii_case("enabled") {
        return None;
    }
    let attributes = &object.version.attributes;
    if let Some(text) = call.query.get("partNumber")
        && !attributes.parts.is_empty()
    {
        let number = text.parse::<u32>().ok()?;
        let of_part = attributes.parts.iter().find(|part| part.number == number)?.checksum.clone()?;
        let kind = attributes.checksum.as_ref().map_or(ChecksumType::Composite, |checksum| checksum.kind);
        return Some(StoredChecksum { kind, ..of_part });
    }
    let whole = *part == (0..object.version.size);
    attributes.checksum.clone().filter(|_| whole)
}

/// `response-content-type` and its kind.
fn override_headers(call: &Call, response: &mut Response) -> Result<(), S3Error> {
    for (parameter, name) in [
        ("response-cache-control", header::CACHE_CONTROL),
        ("response-content-disposition", header::CONTENT_DISPOSITION),
        ("response-content-encoding", header::CONTENT_ENCODING),
        ("response-content-language", header::CONTENT_LANGUAGE),
        ("response-content-type", header::CONTENT_TYPE),
        ("response-expires", header::EXPIRES),
    ] {
        let Some(text) = call.query.get(parameter) else { continue };
        if call.identity.principal().is_none() {
            let message = "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(S3Error::with(S3Code::InvalidRequest, message));
        }
        let value = HeaderValue::from_bytes(text.as_bytes());
        let value = value.map_err(|_| S3Error::argument(parameter, text, "it cannot stand in a header"))?;
        response.headers_mut().insert(name, value);
    }
    Ok(())
}

pub async fn delete(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let version = call.version()?;
    let condition = delete_condition(&call.headers)?;
    let conditional = condition != Default::default();
    let cause = object_lock::delete_cause(call, &call.key, call.query.get_filled("versionId"));
    let delete = DeleteObject { key: call.key.clone(), version, condition, requester: call.requester(), cause };
    let deleted = match call.engine.delete_object(&bucket, delete).await {
        Ok(deleted) => Some(deleted),
        // A version that is gone already is as deleted as the client wants it.
        Err(EngineError::Meta(MetaError::NoSuchVersion)) if version != VersionRef::Latest && !conditional => None,
        Err(error) => return Err(not_found(call, error)),
    };
    let mut response = response::empty(StatusCode::NO_CONTENT);
    let all = response.headers_mut();
    match &deleted {
        Some(deleted) => {
            headers::insert_version_id(all, deleted.version_id.as_deref());
            if deleted.delete_marker {
                all.insert(DELETE_MARKER, HeaderValue::from_static("true"));
            }
        }
        None => headers::insert_version_id(all, call.query.get("versionId")),
    }
    Ok(response)
}
