//! CompleteMultipartUpload, which a client may repeat when it lost the answer.

use http::header;

use super::lifecycle;
use super::multipart::{announced_type, object_url, open_upload, with_default_checksum, write_checksum};
use crate::engine::{CompleteUpload, EngineError, NamedPart, ObjectVersion, PutDone};
use crate::hash;
use crate::limits;
use crate::meta::{MetaError, VersionRef};
use crate::wire::conditions;
use crate::wire::encryption;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::parse_complete;
use crate::xml::Document;

pub async fn run(call: &mut Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    // The checksum headers of this request speak of the object, not of the document.
    let expected_checksum = call.expected_digests()?.checksum.and_then(|(algorithm, value)| Some((algorithm, value?)));
    let expected_size = call.header("x-amz-mp-object-size").map(read_size).transpose()?;
    let condition = conditions::write_condition(&call.headers)?;
    let body = call.collect_document(limits::XML_BODY_BYTES_MAX).await?;
    let parts: Vec<NamedPart> = parse_complete(&body)?
        .into_iter()
        .map(|part| NamedPart { number: part.number, etag: part.etag, checksum: part.checksum })
        .collect();
    let upload = match open_upload(call) {
        Err(error) if error.code == S3Code::NoSuchUpload => {
            return completed_before(call, &parts).map_or(Err(error), |done| Ok(completed(call, &done)));
        }
        upload => upload?,
    };
    encryption::check_completion(call, &upload)?;
    let upload = with_default_checksum(upload);
    let kind = announced_type(call)?;
    if kind.is_some_and(|kind| upload.checksum.is_none_or(|(_, announced)| announced != kind)) {
        let message = "The checksum type of the request is not the one that the upload was created with";
        return Err(S3Error::with(S3Code::InvalidRequest, message));
    }
    let expected = lifecycle::expected(call, &bucket, &upload.attributes)?;
    let complete = CompleteUpload {
        bucket,
        upload,
        parts: parts.clone(),
        expected_size,
        expected_checksum,
        condition,
        requester: call.requester(),
    };
    match call.engine.complete_upload(complete).await {
        Ok(done) => {
            let mut response = completed(call, &done);
            lifecycle::insert_of_write(expected.as_ref(), &call.key, &done, response.headers_mut());
            Ok(response)
        }
        // Another completion of the same upload has won the race.
        Err(error @ EngineError::Meta(MetaError::NoSuchUpload)) => {
            completed_before(call, &parts).map_or(Err(error.into()), |done| Ok(completed(call, &done)))
        }
        Err(error) => Err(error.into()),
    }
}

fn read_size(text: &str) -> Result<u64, S3Error> {
    text.parse()
        .map_err(|_| S3Error::argument("x-amz-mp-object-size", text, "The object size must be a number of bytes"))
}

/// The answer to a completion that is repeated, because its first answer was lost: the newest version is made of just
/// these parts.
fn completed_before(call: &Call, parts: &[NamedPart]) -> Option<PutDone> {
    let bucket = call.open_bucket().ok()?;
    let ObjectVersion { version, version_id, .. } =
        call.engine.head_object(&bucket, &call.key, VersionRef::Latest).ok()?;
    let md5s = parts.iter().map(|part| hash::parse_md5_hex(&part.etag)).collect::<Option<Vec<_>>>()?;
    let numbers = version.attributes.parts.iter().map(|part| part.number);
    let same = version.etag == hash::composite_etag(&md5s) && numbers.eq(parts.iter().map(|part| part.number));
    same.then_some(PutDone {
        etag: version.etag,
        version_id,
        modified_ms: version.modified_ms,
        size: version.size,
        checksum: version.attributes.checksum,
        encryption: version.attributes.encryption,
    })
}

fn completed(call: &Call, done: &PutDone) -> Response {
    let mut document = Document::new("CompleteMultipartUploadResult");
    document.text("Location", &object_url(call, &call.key));
    document.text("Bucket", &call.bucket);
    document.text("Key", &call.key);
    document.etag("ETag", &done.etag);
    write_checksum(&mut document, done.checksum.as_ref());
    if let Some(checksum) = &done.checksum {
        document.text("ChecksumType", checksum.kind.as_str());
    }
    let mut response = response::xml(document.finish());
    object_headers::insert_put_done(done, response.headers_mut());
    encryption::insert(call, done.encryption.as_ref(), response.headers_mut());
    response.headers_mut().remove(header::ETAG);
    response
}
