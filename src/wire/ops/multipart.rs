//! Multipart uploads: create, parts, copied parts, lists, abort. Completing one is a file of its own.

use std::ops::Range;

use http::{HeaderValue, StatusCode};

use super::acl;
use super::list::{Naming, number_marker, page_limit};
use super::owners::OwnerNames;
use crate::crypt::{CustomerKey, SealMode};
use crate::engine::{CreateUpload, EngineError, ExpectedDigests, UploadPart};
use crate::hash::{ChecksumAlgorithm, ChecksumType, StoredChecksum};
use crate::limits;
use crate::meta::{ListPage, ListedUpload, Part, Upload, UploadsQuery};
use crate::wire::copy_source::CopySource;
use crate::wire::date;
use crate::wire::encryption;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::facts::BucketFacts;
use crate::wire::object_headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::checksum_element;
use crate::xml::Document;

pub async fn create(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let mut attributes = object_headers::attributes(call)?;
    acl::assign(call, &mut attributes)?;
    let checksum = announced_checksum(call)?;
    let sealing = encryption::requested(call, &bucket)?;
    let create = CreateUpload {
        bucket: bucket.clone(),
        key: call.key.clone(),
        attributes,
        sealing,
        checksum,
        requester: call.requester(),
    };
    let upload = call.engine.create_upload(create).await?;
    let mut document = Document::new("InitiateMultipartUploadResult");
    document.text("Bucket", &call.bucket);
    document.text("Key", &call.key);
    document.text("UploadId", &upload.upload_id);
    let mut response = response::xml(document.finish());
    encryption::insert_done(call, upload.attributes.encryption.as_ref(), response.headers_mut());
    super::lifecycle::insert_abort(call, &bucket, upload.initiated_ms, response.headers_mut())?;
    if let Some((algorithm, kind)) = checksum {
        let headers = response.headers_mut();
        headers.insert("x-amz-checksum-algorithm", HeaderValue::from_static(algorithm.as_str()));
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind.as_str()));
    }
    Ok(response)
}

/// `x-amz-checksum-algorithm` and `x-amz-checksum-type`.
fn announced_checksum(call: &Call) -> Result<Option<(ChecksumAlgorithm, ChecksumType)>, S3Error> {
    let refuse = |message: String| Err(S3Error::with(S3Code::InvalidRequest, message));
    let kind = announced_type(call)?;
    let Some(name) = call.header("x-amz-checksum-algorithm") else {
        return match kind {
            None => Ok(None),
            Some(_) => refuse(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.".to_owned(),
            ),
        };
    };
    let Some(algorithm) = ChecksumAlgorithm::parse(name) else {
        return refuse("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]".to_owned());
    };
    let kind = kind.unwrap_or_else(|| algorithm.default_type());
    if !algorithm.allows(kind) {
        return refuse(format!("The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."));
    }
    Ok(Some((algorithm, kind)))
}

pub(super) fn announced_type(call: &Call) -> Result<Option<ChecksumType>, S3Error> {
    let Some(text) = call.header("x-amz-checksum-type") else { return Ok(None) };
    let kind = ChecksumType::parse(text);
    let refuse = || S3Error::with(S3Code::InvalidRequest, "Value for x-amz-checksum-type header is invalid.");
    kind.map(Some).ok_or_else(refuse)
}

pub(super) fn open_upload(call: &Call) -> Result<Upload, S3Error> {
    let bucket = call.open_bucket()?;
    let upload_id = call.query.get("uploadId").unwrap_or_default();
    let upload = call.engine.upload(&bucket, &call.key, upload_id);
    upload.map_err(|error| S3Error::from(error).field("UploadId", upload_id))
}

fn part_number(call: &Call) -> Result<u32, S3Error> {
    let text = call.query.get("partNumber").unwrap_or_default();
    let number = text.parse().ok().filter(|number| (1..=limits::PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| {
        let limit = limits::PART_NUMBER_MAX;
        S3Error::argument(
            "partNumber",
            text,
            format!("Part number must be an integer between 1 and {limit}, inclusive"),
        )
    })
}

pub async fn upload_part(call: &mut Call) -> Result<Response, S3Error> {
    object_headers::refuse_unsupported(&call.headers)?;
    call.require_length()?;
    let number = part_number(call)?;
    let upload = open_upload(call)?;
    let expected = part_digests(call.expected_digests()?, &upload)?;
    call.make_room(call.body_length).await?;
    let customer_key = part_key(call, &upload)?;
    let part = UploadPart { upload, number, size_hint: call.body_length, expected, customer_key };
    let mut body = call.take_body();
    let done = call.engine.upload_part(part, &mut body).await?;
    let mut response = response::empty(StatusCode::OK);
    object_headers::insert_put_done(&done, response.headers_mut());
    encryption::insert(call, done.encryption.as_ref(), response.headers_mut());
    Ok(response)
}

/// The client's own key, which each part of an upload that was begun with one needs, and no other.
pub(super) fn part_key(call: &Call, upload: &Upload) -> Result<Option<CustomerKey>, S3Error> {
    let key = encryption::customer_key(call)?;
    let needed = upload.attributes.encryption.as_ref().is_some_and(|facts| facts.mode == SealMode::Customer);
    let message = match (needed, &key) {
        (true, None) => {
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
        }
        (false, Some(_)) => {
            "The multipart upload initiate did not request encryption. Please resend the request without sending encryption parameters."
        }
        _ => return Ok(key),
    };
    Err(S3Error::with(S3Code::InvalidRequest, message))
}

/// A part gets the checksum that its upload announced, also where the client does not send one for it; S3's default
/// where neither says anything.
fn part_digests(mut expected: ExpectedDigests, upload: &Upload) -> Result<ExpectedDigests, S3Error> {
    match (upload.checksum, &expected.checksum) {
        (Some((announced, _)), Some((algorithm, _))) if announced != *algorithm => Err(S3Error::with(
            S3Code::InvalidRequest,
            format!(
                "Checksum Type mismatch occurred, expected checksum Type: {announced}, actual checksum Type: {algorithm}"
            ),
        )),
        (Some((announced, _)), None) => {
            expected.checksum = Some((announced, None));
            Ok(expected)
        }
        (None, None) => {
            expected.checksum = Some((ChecksumAlgorithm::DEFAULT, None));
            Ok(expected)
        }
        _ => Ok(expected),
    }
}

/// An upload that announced nothing gets S3's default, of the full object, if its parts have it.
pub(super) fn with_default_checksum(mut upload: Upload) -> Upload {
    upload.checksum.get_or_insert((ChecksumAlgorithm::DEFAULT, ChecksumType::FullObject));
    upload
}

pub async fn upload_part_copy(call: &Call) -> Result<Response, S3Error> {
    object_headers::refuse_unsupported(&call.headers)?;
    let number = part_number(call)?;
    let upload = with_default_checksum(open_upload(call)?);
    let mut source = CopySource::open(call)?;
    encryption::bring_source_key(call, &mut source)?;
    let range = copy_range(call.header("x-amz-copy-source-range"), source.version.size)?;
    call.make_room(Some(range.end - range.start)).await?;
    let customer_key = part_key(call, &upload)?;
    let part = UploadPart { upload, number, size_hint: None, expected: ExpectedDigests::default(), customer_key };
    let done = call.engine.upload_part_copy(part, &source, range).await?;
    let mut document = Document::new("CopyPartResult");
    document.value("LastModified", date::iso(done.modified_ms));
    document.etag("ETag", &done.etag);
    write_checksum(&mut document, done.checksum.as_ref());
    let mut response = response::xml(document.finish());
    encryption::insert(call, done.encryption.as_ref(), response.headers_mut());
    let version = source.version_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
    if let Some(version) = version {
        response.headers_mut().insert("x-amz-copy-source-version-id", version);
    }
    Ok(response)
}

/// `bytes=FIRST-LAST`, both given, as S3 wants it here; without a header the whole source.
fn copy_range(header: Option<&str>, size: u64) -> Result<Range<u64>, S3Error> {
    let Some(text) = header else {
        let limit = limits::PUT_BYTES_MAX;
        if size > limit {
            return Err(EngineError::TooLarge { size, limit }.into());
        }
        return Ok(0..size);
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let ends = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let ends = ends.and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let Some((first, last)) = ends.filter(|(first, last)| first <= last) else {
        let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy";
        return Err(S3Error::argument("x-amz-copy-source-range", text, message));
    };
    if last >= size {
        let message = format!("Range specified is not valid for source object of size: {size}");
        return Err(S3Error::with(S3Code::InvalidRange, message));
    }
    Ok(first..last + 1)
}

pub(super) fn write_checksum(document: &mut Document, checksum: Option<&StoredChecksum>) {
    if let Some(checksum) = checksum {
        document.text(checksum_element(checksum.algorithm), &checksum.value);
    }
}

fn write_checksum_kind(document: &mut Document, upload: &Upload) {
    if let Some((algorithm, kind)) = upload.checksum {
        document.text("ChecksumAlgorithm", algorithm.as_str());
        document.text("ChecksumType", kind.as_str());
    }
}

fn storage_class(upload: &Upload) -> &str {
    upload.attributes.storage_class.as_deref().unwrap_or("STANDARD")
}

pub fn list_parts(call: &Call) -> Result<Response, S3Error> {
    let limit = page_limit(&call.query, "max-parts")?;
    let marker = number_marker(&call.query, "part-number-marker")?;
    let naming = Naming::of(&call.query)?;
    let upload = open_upload(call)?;
    let page = match limit {
        0 => ListPage { entries: Vec::new(), truncated: false },
        _ => call.engine.list_parts(&upload, marker, limit)?,
    };
    let mut document = Document::sized("ListPartsResult", 1024 + 256 * page.entries.len());
    document.text("Bucket", &call.bucket);
    naming.write(&mut document, "Key", &call.key);
    document.text("UploadId", &upload.upload_id);
    let facts = call.bucket_facts()?;
    UploadOwners::of(call, &facts).write(&mut document, &upload);
    document.text("StorageClass", storage_class(&upload));
    document.value("PartNumberMarker", marker);
    document.value("NextPartNumberMarker", page.entries.last().map_or(marker, |part| part.number));
    document.value("MaxParts", limit);
    naming.write_type(&mut document);
    document.value("IsTruncated", page.truncated);
    write_checksum_kind(&mut document, &upload);
    for part in &page.entries {
        document.inside("Part", |document| write_part(document, part));
    }
    let mut response = response::xml(document.finish());
    super::lifecycle::insert_abort(call, &facts.bucket, upload.initiated_ms, response.headers_mut())?;
    Ok(response)
}

fn write_part(document: &mut Document, part: &Part) {
    document.value("PartNumber", part.number);
    document.value("LastModified", date::iso(part.modified_ms));
    document.etag("ETag", &part.etag);
    document.value("Size", part.size);
    write_checksum(document, part.checksum.as_ref());
}

pub fn list_uploads(call: &Call) -> Result<Response, S3Error> {
    let naming = Naming::of(&call.query)?;
    let limit = page_limit(&call.query, "max-uploads")?;
    let bucket = call.open_bucket()?;
    let key_marker = call.query.get_filled("key-marker").map(str::to_owned);
    // S3 looks at it only together with a key marker.
    let upload_id_marker = call.query.get_filled("upload-id-marker").filter(|_| key_marker.is_some());
    let query = UploadsQuery {
        bucket: bucket.id,
        prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: call.query.get_filled("delimiter").map(str::to_owned),
        key_marker,
        upload_id_marker: upload_id_marker.map(str::to_owned),
        limit,
    };
    let page = match limit {
        0 => ListPage { entries: Vec::new(), truncated: false },
        _ => call.engine.list_uploads(&query)?,
    };
    let mut document = Document::sized("ListMultipartUploadsResult", 1024 + 512 * page.entries.len());
    document.text("Bucket", &call.bucket);
    naming.write(&mut document, "KeyMarker", query.key_marker.as_deref().unwrap_or_default());
    document.text("UploadIdMarker", query.upload_id_marker.as_deref().unwrap_or_default());
    match page.entries.last() {
        Some(ListedUpload::Upload(upload)) if page.truncated => {
            naming.write(&mut document, "NextKeyMarker", &upload.key);
            document.text("NextUploadIdMarker", &upload.upload_id);
        }
        Some(ListedUpload::CommonPrefix(prefix)) if page.truncated => {
            naming.write(&mut document, "NextKeyMarker", prefix);
        }
        _ => {}
    }
    naming.write(&mut document, "Prefix", &query.prefix);
    if let Some(delimiter) = &query.delimiter {
        naming.write(&mut document, "Delimiter", delimiter);
    }
    naming.write_type(&mut document);
    document.value("MaxUploads", limit);
    document.value("IsTruncated", page.truncated);
    let facts = call.bucket_facts()?;
    let owners = UploadOwners::of(call, &facts);
    for entry in &page.entries {
        if let ListedUpload::Upload(upload) = entry {
            document.inside("Upload", |document| write_upload(document, naming, &owners, upload));
        }
    }
    let prefixes = page.entries.iter().filter_map(|entry| match entry {
        ListedUpload::CommonPrefix(prefix) => Some(prefix.as_str()),
        ListedUpload::Upload(_) => None,
    });
    naming.write_prefixes(&mut document, prefixes);
    Ok(response::xml(document.finish()))
}

/// Who began uploads, and whose objects they become.
struct UploadOwners<'a>(OwnerNames<'a>);

impl<'a> UploadOwners<'a> {
    fn of(call: &'a Call, facts: &'a BucketFacts) -> UploadOwners<'a> {
        UploadOwners(OwnerNames::of(call, facts))
    }

    fn write(&self, document: &mut Document, upload: &Upload) {
        let initiator = match upload.requester.account.as_str() {
            "" => None,
            account => Some(account),
        };
        self.0.write(document, "Initiator", initiator);
        self.0.write_of(document, "Owner", &upload.attributes);
    }
}

fn write_upload(document: &mut Document, naming: Naming, owners: &UploadOwners<'_>, upload: &Upload) {
    naming.write(document, "Key", &upload.key);
    document.text("UploadId", &upload.upload_id);
    owners.write(document, upload);
    document.text("StorageClass", storage_class(upload));
    document.value("Initiated", date::iso(upload.initiated_ms));
    write_checksum_kind(document, upload);
}

/// Where an object of the request's bucket is found, as the client reached us.
pub(super) fn object_url(call: &Call, key: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    let scheme = if call.secure { "https" } else { "http" };
    let host = call.header("host").unwrap_or_default();
    let (bucket, key) = (&call.bucket, utf8_percent_encode(key, KEY));
    match host.strip_prefix(bucket.as_str()).is_some_and(|rest| rest.starts_with('.')) {
        true => format!("{scheme}://{host}/{key}"),
        false => format!("{scheme}://{host}/{bucket}/{key}"),
    }
}

pub async fn abort(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let upload_id = call.query.get("uploadId").unwrap_or_default();
    let aborted = call.engine.abort_upload(&bucket, &call.key, upload_id).await;
    aborted.map_err(|error| S3Error::from(error).field("UploadId", upload_id))?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_ranges_are_strict() {
        let of = |text: &str| copy_range(Some(text), 10).map_err(|error| error.code);
        assert_eq!(copy_range(None, 10), Ok(0..10));
        assert_eq!(of("bytes=0-9"), Ok(0..10));
        assert_eq!(of("bytes=3-3"), Ok(3..4));
        assert_eq!(of("bytes=0-10"), Err(S3Code::InvalidRange));
        let bad = [
            "",
            "0-1",
            "bytes=",
            "bytes=-1",
            "bytes=1-",
            "bytes=5-4",
            "bytes=0-2,4-5",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0",
        ];
        for text in bad {
            assert_eq!(of(text), Err(S3Code::InvalidArgument), "{text}");
        }
    }
}
