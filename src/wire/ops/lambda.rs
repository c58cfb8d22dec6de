//! GetObject and HeadObject through an object lambda (`?lambdaArn=…`), by MinIO's contract: the answer is what the transform
//! made of the object; a range is one of the result. Each request runs the transform anew.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::crypt::SealMode;
use crate::hash::{Md5, hex_encode};
use crate::meta::Version;
use crate::notification::Target;
use crate::wire::conditions::{OF_READ, Verdict, failed};
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers as headers;
use crate::wire::range::{self, Resolved};
use crate::wire::request::Call;
use crate::wire::response::{self, Response, ResponseBody};
use crate::wire::transforms::{TransformFault, TransformRequest, TransformedObject};

pub async fn get(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let hook = hook_of(call.query.get("lambdaArn").unwrap_or_default())?;
    let object = super::object::find(call, &bucket)?;
    if object.version.attributes.encryption.as_ref().is_some_and(|facts| facts.mode == SealMode::Customer) {
        let message = "The object is sealed with its client's own key (SSE-C), which no transform is given.";
        return Err(S3Error::with(S3Code::InvalidRequest, message));
    }
    headers::refuse_unsupported(&call.headers)?;
    let request =
        TransformRequest { hook, bucket: call.bucket.clone(), key: call.key.clone(), version: object.version.sequence };
    let made = call.settings.transforms.run(request).await.map_err(|fault| fault_of(call, fault))?;
    let etag = hex_encode(&Md5::of(&made.bytes));
    let mut response = match verdict(call, &object.version, &etag)? {
        Verdict::Holds => answer(call, made)?,
        Verdict::Failed(header) => return Err(failed(header)),
        Verdict::NotModified(_) => response::empty(StatusCode::NOT_MODIFIED),
    };
    headers::insert_etag(response.headers_mut(), &etag);
    let all = response.headers_mut();
    let modified = HeaderValue::from_str(&date::http(object.version.modified_ms)).expect("a date is a header value");
    all.insert(header::LAST_MODIFIED, modified);
    headers::insert_version_id(all, object.version_id.as_deref());
    Ok(response)
}

/// What entity tags say of the result. Dates are passed over: another transform makes another result of an object that is
/// as old as before.
fn verdict(call: &Call, of: &Version, etag: &str) -> Result<Verdict, S3Error> {
    let mut tags = HeaderMap::new();
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        tags.extend(call.headers.get(&name).map(|value| (name, value.clone())));
    }
    OF_READ.check(&tags, &Version { etag: etag.to_owned(), ..of.clone() })
}

/// Status, headers and body of the result, or of a range of it.
fn answer(call: &Call, made: TransformedObject) -> Result<Response, S3Error> {
    let size = made.bytes.len() as u64;
    let (part, status) = match call.header("range").map(|text| (text, range::resolve(text, size))) {
        None | Some((_, Resolved::Whole)) => (0..size, StatusCode::OK),
        Some((_, Resolved::Part(part))) => (part, StatusCode::PARTIAL_CONTENT),
        Some((text, Resolved::Unsatisfiable)) => {
            let all = HeaderValue::from_str(&format!("bytes */{size}")).expect("digits are a header value");
            return Err(S3Error::new(S3Code::InvalidRange)
                .field("RangeRequested", text)
                .field("ActualObjectSize", size.to_string())
                .header(header::CONTENT_RANGE, all));
        }
    };
    let mut response = response::empty(status);
    let all = response.headers_mut();
    let content_type = made.content_type.as_deref().unwrap_or("binary/octet-stream");
    let content_type = HeaderValue::from_str(content_type)
        .map_err(|_| S3Error::with(S3Code::InvalidRequest, "The transform's content type cannot stand in a header."))?;
    all.insert(header::CONTENT_TYPE, content_type);
    all.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        all.insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are a header value"));
    }
    if call.method == Method::HEAD {
        all.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
        return Ok(response);
    }
    // Both lie within bytes that are in memory.
    *response.body_mut() = ResponseBody::Bytes(made.bytes.slice(part.start as usize..part.end as usize));
    Ok(response)
}

/// The hook that an ARN names: ours and Lambda's as in notifications, and MinIO's `arn:minio:s3-object-lambda::NAME:webhook`.
fn hook_of(arn: &str) -> Result<String, S3Error> {
    let minio = arn.strip_prefix("arn:minio:s3-object-lambda:").and_then(|rest| rest.strip_suffix(":webhook"));
    let ours = match minio.and_then(|rest| rest.split_once(':')) {
        Some((_region, name)) => format!("arn:aerie:hook:::{name}"),
        None => arn.to_owned(),
    };
    match Target::parse(&ours) {
        Ok(Target::Hook(hook)) => Ok(hook),
        Ok(Target::Topic(_)) => Err(S3Error::argument("lambdaArn", arn, "It names a topic; name a hook.")),
        Err(error) => Err(S3Error::argument("lambdaArn", arn, error.to_string())),
    }
}

fn fault_of(call: &Call, fault: TransformFault) -> S3Error {
    match fault {
        TransformFault::NoTransform(text) => {
            S3Error::argument("lambdaArn", call.query.get("lambdaArn").unwrap_or_default(), text)
        }
        TransformFault::Busy => S3Error::new(S3Code::SlowDown),
        TransformFault::Refused(text) => S3Error::with(S3Code::InvalidRequest, text),
        TransformFault::Failed(text) => S3Error::with(S3Code::InternalError, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_arn_names_its_hook() {
        let cases = [
            ("arn:aerie:hook:::redact", Some("redact")),
            ("arn:aws:lambda:us-east-1:1:function:redact", Some("redact")),
            ("arn:minio:s3-object-lambda::redact:webhook", Some("redact")),
            ("arn:minio:s3-object-lambda:eu-1:redact:webhook", Some("redact")),
            ("arn:minio:s3-object-lambda::redact:mqtt", None),
            ("arn:minio:s3-object-lambda:::webhook", None),
            ("arn:aerie:mqtt:::topic", None),
            ("arn:aerie:hook:::", None),
            ("redact", None),
            ("", None),
        ];
        for (arn, expected) in cases {
            assert_eq!(hook_of(arn).ok().as_deref(), expected, "{arn}");
        }
    }
}
