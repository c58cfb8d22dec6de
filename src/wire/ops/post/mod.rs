//! PostObject: an upload from a browser's form. The form carries its own signature, and a policy that says what it
//! allows; the request itself is not signed, so that this operation authenticates and authorises by itself.
//!
//! Absent: forms without a policy (nobody may write anonymously).

mod form;
mod policy;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ring::hmac;

use self::form::{Form, FormReader};
use self::policy::Policy;
use super::acl;
use super::multipart::object_url;
use crate::engine::{BodyError, BodyFuture, BodySource, EngineError, PutDone, PutObject};
use crate::hash;
use crate::meta::{EventName, WriteCondition};
use crate::wire::auth::{FormSignature, Identity, find_key};
use crate::wire::encryption;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::{OBJECT_TAGS, parse_tagging};
use crate::xml::Document;

/// Fields that become request headers of the same name.
const HEADER_FIELDS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

pub async fn run(call: &mut Call) -> Result<Response, S3Error> {
    let content_type = call.header("content-type").unwrap_or_default().to_owned();
    let mut body = call.take_body();
    let mut reader = FormReader::new(&content_type, &mut body)?;
    let mut form = reader.fields().await?;
    form.expand_filename();
    let key = form.get("key").filter(|key| !key.is_empty()).ok_or_else(missing_key)?.to_owned();
    let range = authenticate(call, &form)?;
    call.key.clone_from(&key);
    take_headers(call, &form)?;
    call.authorize_operation()?;
    let tags = match form.get("tagging") {
        None => None,
        Some(document) => Some(parse_tagging(document.as_bytes(), OBJECT_TAGS)?),
    };
    if tags.is_some() {
        call.authorize("PutObjectTagging", &call.bucket, &key)?;
    }
    let bucket = call.open_bucket()?;
    let mut attributes = object_headers::attributes(call)?;
    attributes.tags = tags.unwrap_or(attributes.tags);
    acl::assign(call, &mut attributes)?;
    let put = PutObject {
        sealing: encryption::requested(call, &bucket)?,
        bucket,
        key: key.clone(),
        attributes,
        size_hint: None,
        expected: call.upload_digests()?,
        condition: WriteCondition::default(),
        event: EventName::ObjectCreatedPost,
        requester: call.requester(),
    };
    let mut file = RangedFile { form: reader, size: 0, range };
    call.make_room(call.body_length).await?;
    let put = call.engine.put_object(put, &mut file).await;
    let (size, (least, most)) = (file.size, range);
    match put {
        Ok(done) => answer(call, &form, &key, &done),
        Err(EngineError::Body(BodyError::Length { .. })) if size > most => Err(S3Error::new(S3Code::EntityTooLarge)
            .field("ProposedSize", size.to_string())
            .field("MaxSizeAllowed", most.to_string())),
        Err(EngineError::Body(BodyError::Length { .. })) if size < least => Err(S3Error::new(S3Code::EntityTooSmall)
            .field("ProposedSize", size.to_string())
            .field("MinSizeAllowed", least.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn missing_key() -> S3Error {
    let message =
        "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.";
    S3Error::argument("key", "", message)
}

/// Verifies the form's signature and policy; gives the bytes that its file may have.
fn authenticate(call: &mut Call, form: &Form) -> Result<(u64, u64), S3Error> {
    let Some(policy) = form.get("policy") else {
        call.identity = Identity::Anonymous;
        return Ok((0, u64::MAX));
    };
    let field = |name: &'static str| {
        let message = format!(
            "Bucket POST must contain a field named '{name}'. If it is specified, please check the order of the fields."
        );
        form.get(name).ok_or_else(|| S3Error::argument(name, "", message))
    };
    if form.get("awsaccesskeyid").is_some() || form.get("signature").is_some() {
        verify_version_2(call, form, field("awsaccesskeyid")?, policy, field("signature")?)?;
    } else {
        let algorithm = field("x-amz-algorithm")?;
        if algorithm != "AWS4-HMAC-SHA256" {
            return Err(S3Error::argument("x-amz-algorithm", algorithm, "The algorithm must be AWS4-HMAC-SHA256"));
        }
        let (credential, signature) = (field("x-amz-credential")?, field("x-amz-signature")?);
        call.authenticate_form(FormSignature { credential, policy, signature, token: token(form) })?;
    }
    let policy = Policy::parse(policy)?;
    policy.check(form, &call.bucket, call.engine.world().clock.unix_ms())?;
    Ok(policy.length_range())
}

/// Older tools sign forms (and nothing else here) with HMAC-SHA1, which S3 still takes.
fn verify_version_2(
    call: &mut Call,
    form: &Form,
    access_key: &str,
    policy: &str,
    signature: &str,
) -> Result<(), S3Error> {
    let now_ms = call.engine.world().clock.unix_ms();
    let found = find_key(&call.settings, access_key, token(form), now_ms)?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, found.secret.as_str().as_bytes());
    let bytes = hash::base64_decode(signature).unwrap_or_default();
    hmac::verify(&key, policy.as_bytes(), &bytes).map_err(|_| S3Error::new(S3Code::SignatureDoesNotMatch))?;
    call.identity = Identity::Signed(found.principal);
    Ok(())
}

fn token(form: &Form) -> Option<&str> {
    form.get("x-amz-security-token").filter(|token| !token.is_empty())
}

/// Replaces the request's headers by those that the form's fields stand for, so that the object is described as by a PUT.
fn take_headers(call: &mut Call, form: &Form) -> Result<(), S3Error> {
    let mut headers = HeaderMap::new();
    for kept in [header::HOST, header::REFERER, header::USER_AGENT] {
        headers.extend(call.headers.remove(&kept).map(|value| (kept, value)));
    }
    for (name, value) in &form.fields {
        let name = match name.as_str() {
            "acl" => "x-amz-acl",
            signature if is_signature_field(signature) => continue,
            name if HEADER_FIELDS.contains(&name) || name.starts_with("x-amz-") => name,
            _ => continue,
        };
        let refuse = || S3Error::argument(name, value, "The field cannot be the value of a header");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
        headers.insert(header, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refuse())?);
    }
    call.headers = headers;
    Ok(())
}

fn is_signature_field(name: &str) -> bool {
    matches!(name, "x-amz-algorithm" | "x-amz-credential" | "x-amz-date" | "x-amz-signature" | "x-amz-security-token")
}

/// The file, as long as the policy wants it.
struct RangedFile<'b> {
    form: FormReader<'b>,
    size: u64,
    range: (u64, u64),
}

impl BodySource for RangedFile<'_> {
    fn next(&mut self) -> BodyFuture<'_> {
        Box::pin(async move {
            let next = self.form.next().await?;
            let (least, most) = self.range;
            self.size += next.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let refuse = |expected| Err(BodyError::Length { expected, got: self.size });
            match next {
                Some(_) if self.size > most => refuse(most),
                None if self.size < least => refuse(least),
                next => Ok(next),
            }
        })
    }
}

fn answer(call: &Call, form: &Form, key: &str, done: &PutDone) -> Result<Response, S3Error> {
    let location = object_url(call, key);
    let mut response = match redirect(call, form, key, done) {
        Some(target) => {
            let mut response = response::empty(StatusCode::SEE_OTHER);
            response.headers_mut().insert(header::LOCATION, target);
            response
        }
        None => match form.get("success_action_status") {
            Some("200") => response::empty(StatusCode::OK),
            Some("201") => {
                let mut document = Document::plain("PostResponse");
                document.text("Location", &location);
                document.text("Bucket", &call.bucket);
                document.text("Key", key);
                document.etag("ETag", &done.etag);
                response::xml_with_status(StatusCode::CREATED, document.finish())
            }
            _ => response::empty(StatusCode::NO_CONTENT),
        },
    };
    let headers = response.headers_mut();
    if let (false, Ok(location)) = (headers.contains_key(header::LOCATION), HeaderValue::from_str(&location)) {
        headers.insert(header::LOCATION, location);
    }
    object_headers::insert_put_done(done, headers);
    encryption::insert_done(call, done.encryption.as_ref(), headers);
    Ok(response)
}

/// Where the browser is sent on, if the form names an address that it can go to.
fn redirect(call: &Call, form: &Form, key: &str, done: &PutDone) -> Option<HeaderValue> {
    let target = form.get("success_action_redirect").or_else(|| form.get("redirect"))?;
    let uri: http::Uri = target.parse().ok()?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return None;
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("bucket", &call.bucket)
        .append_pair("key", key)
        .append_pair("etag", &format!("\"{}\"", done.etag))
        .finish();
    let joint = if target.contains('?') { '&' } else { '?' };
    HeaderValue::from_str(&format!("{target}{joint}{query}")).ok()
}
