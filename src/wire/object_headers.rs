//! Headers that describe an object: read from a request into attributes, written to a response from them.
//!
//! What we cannot honour is refused here, for every operation that takes an object. Owner and access control list are given
//! by `ops::acl`, encryption by `encryption`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::date;
use super::error::{S3Code, S3Error};
use super::ops::object_lock;
use super::request::Call;
use super::xml::{OBJECT_TAGS, check_tags};
use crate::engine::{ObjectVersion, PutDone, Tags};
use crate::hash::{StoredChecksum, base64_decode, base64_encode};
use crate::limits;
use crate::meta::Attributes;

const META_PREFIX: &str = "x-amz-meta-";
const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// S3's storage classes. All of them are stored alike here; the name is kept for the client.
const STORAGE_CLASSES: [&str; 11] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
];

/// All that a request says of the object it makes: content headers, user metadata, storage class, tags, locks.
pub fn attributes(call: &Call) -> Result<Attributes, S3Error> {
    let mut attributes = attributes_of(&call.headers)?;
    object_lock::take_headers(call, &mut attributes)?;
    Ok(attributes)
}

fn attributes_of(headers: &HeaderMap) -> Result<Attributes, S3Error> {
    refuse_unsupported(headers)?;
    let text = |name: &HeaderName| header_text(headers, name);
    Ok(Attributes {
        content_type: text(&header::CONTENT_TYPE)?,
        content_encoding: content_encoding(text(&header::CONTENT_ENCODING)?),
        content_language: text(&header::CONTENT_LANGUAGE)?,
        content_disposition: text(&header::CONTENT_DISPOSITION)?,
        cache_control: text(&header::CACHE_CONTROL)?,
        expires: text(&header::EXPIRES)?,
        storage_class: storage_class(headers)?,
        website_redirect_location: text(&HeaderName::from_static("x-amz-website-redirect-location"))?,
        user_metadata: user_metadata(headers)?,
        tags: tags(headers)?,
        checksum: None,
        parts: Vec::new(),
        encryption: None,
        owner: None,
        acl: None,
        retention: None,
        legal_hold: None,
    })
}

/// Refuses what we would have to ignore.
pub fn refuse_unsupported(headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-")) {
        let refused = name == "x-amz-write-offset-bytes";
        if refused {
            let message = format!("A header you provided implies functionality that is not implemented: {name}");
            return Err(S3Error::with(S3Code::NotImplemented, message).field("Header", name));
        }
    }
    Ok(())
}

fn header_text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, S3Error> {
    match headers.get(name) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(S3Error::argument(name.as_str(), "?", format!("{name} is not UTF-8"))),
        },
    }
}

/// `aws-chunked` is how the body came, no property of the object.
fn content_encoding(value: Option<String>) -> Option<String> {
    let value = value?;
    if !value.contains("aws-chunked") {
        return Some(value);
    }
    let kept: Vec<&str> = value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    let kept = kept.join(",");
    (!kept.is_empty()).then_some(kept)
}

/// `x-amz-storage-class`; `None` for STANDARD.
pub fn storage_class(headers: &HeaderMap) -> Result<Option<String>, S3Error> {
    let Some(value) = headers.get("x-amz-storage-class") else { return Ok(None) };
    match value.to_str() {
        Ok("STANDARD") => Ok(None),
        Ok(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        _ => Err(S3Error::new(S3Code::InvalidStorageClass)
            .field("StorageClassRequested", String::from_utf8_lossy(value.as_bytes()))),
    }
}

fn user_metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, S3Error> {
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(META_PREFIX).filter(|name| !name.is_empty()) else { continue };
        let value = metadata_text(value.as_bytes());
        match metadata.get_mut(name) {
            Some(before) => {
                before.push(',');
                before.push_str(&value);
            }
            None => {
                metadata.insert(name.to_owned(), value);
            }
        }
    }
    check_metadata_size(&metadata)?;
    Ok(metadata)
}

/// S3's limit on user metadata.
pub fn check_metadata_size(metadata: &BTreeMap<String, String>) -> Result<(), S3Error> {
    let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size <= limits::USER_METADATA_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::new(S3Code::MetadataTooLarge)
        .field("Size", size.to_string())
        .field("MaxSizeAllowed", limits::USER_METADATA_BYTES_MAX.to_string()))
}

/// Metadata as text: UTF-8, else Latin-1, which is what older HTTP clients send; RFC 2047's encoded words are decoded.
fn metadata_text(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    };
    decode_word(&text).unwrap_or(text)
}

/// One RFC 2047 encoded word (`=?UTF-8?B?…?=` or `=?UTF-8?Q?…?=`) that is the whole text.
fn decode_word(text: &str) -> Option<String> {
    let word = text.strip_prefix("=?")?.strip_suffix("?=")?;
    let (charset, rest) = word.split_once('?')?;
    let (encoding, data) = rest.split_once('?')?;
    if !charset.eq_ignore_ascii_case("utf-8") || data.contains('?') {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => base64_decode(data)?,
        "Q" | "q" => {
            percent_encoding::percent_decode_str(&data.replace('%', "%25").replace('_', " ").replace('=', "%"))
                .collect()
        }
        _ => return None,
    };
    String::from_utf8(bytes).ok()
}

/// A header value for metadata: itself where it is ASCII, else an RFC 2047 encoded word, as S3 gives it.
fn metadata_value(text: &str) -> Option<HeaderValue> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?UTF-8?B?{}?=", base64_encode(text.as_bytes()))).ok()
}

/// `x-amz-tagging`.
fn tags(headers: &HeaderMap) -> Result<Tags, S3Error> {
    match headers.get("x-amz-tagging") {
        None => Ok(Tags::new()),
        Some(value) => parse_tagging(value.as_bytes()),
    }
}

/// Tags as a form: `a=1&b=2`, percent-encoded.
pub fn parse_tagging(text: &[u8]) -> Result<Tags, S3Error> {
    let mut tags = Tags::new();
    for (name, value) in form_urlencoded::parse(text) {
        if tags.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(S3Error::with(S3Code::InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    check_tags(&tags, OBJECT_TAGS)?;
    Ok(tags)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // What came in a header goes into one. Other texts (a hook's) that cannot are left out.
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.insert(name, value);
    }
}

pub fn insert_etag(headers: &mut HeaderMap, etag: &str) {
    insert(headers, header::ETAG, &format!("\"{etag}\""));
}

pub fn insert_version_id(headers: &mut HeaderMap, version_id: Option<&str>) {
    if let Some(id) = version_id {
        insert(headers, VERSION_ID, id);
    }
}

/// The id of a version just made. S3 tells none of a null version then, only when it is read.
pub fn insert_new_version_id(headers: &mut HeaderMap, version_id: Option<&str>) {
    insert_version_id(headers, version_id.filter(|id| *id != "null"));
}

/// The checksum's own header, and its type.
pub fn insert_checksum(headers: &mut HeaderMap, checksum: &StoredChecksum) {
    insert(headers, HeaderName::from_static(checksum.algorithm.header_name()), &checksum.value);
    headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum.kind.as_str()));
}

/// What an upload is answered with.
pub fn insert_put_done(done: &PutDone, headers: &mut HeaderMap) {
    insert_etag(headers, &done.etag);
    insert_new_version_id(headers, done.version_id.as_deref());
    if let Some(checksum) = &done.checksum {
        insert_checksum(headers, checksum);
    }
}

/// What a read says of a version besides its length. Without checksums.
pub fn insert_object(headers: &mut HeaderMap, object: &ObjectVersion) {
    let version = &object.version;
    let attributes = &version.attributes;
    insert_etag(headers, &version.etag);
    insert(headers, header::LAST_MODIFIED, &date::http(version.modified_ms));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert_version_id(headers, object.version_id.as_deref());
    let content_type = attributes.content_type.as_deref().unwrap_or("binary/octet-stream");
    insert(headers, header::CONTENT_TYPE, content_type);
    let redirect = HeaderName::from_static("x-amz-website-redirect-location");
    let class = HeaderName::from_static("x-amz-storage-class");
    for (name, value) in [
        (header::CONTENT_ENCODING, &attributes.content_encoding),
        (header::CONTENT_LANGUAGE, &attributes.content_language),
        (header::CONTENT_DISPOSITION, &attributes.content_disposition),
        (header::CACHE_CONTROL, &attributes.cache_control),
        (header::EXPIRES, &attributes.expires),
        (redirect, &attributes.website_redirect_location),
        (class, &attributes.storage_class),
    ] {
        if let Some(value) = value {
            insert(headers, name, value);
        }
    }
    for (name, value) in &attributes.user_metadata {
        let name = HeaderName::from_bytes(format!("{META_PREFIX}{name}").as_bytes());
        if let (Ok(name), Some(value)) = (name, metadata_value(value)) {
            headers.insert(name, value);
        }
    }
    if !attributes.tags.is_empty() {
        headers.insert(HeaderName::from_static("x-amz-tagging-count"), HeaderValue::from(attributes.tags.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn metadata_is_kept_as_text_in_any_encoding() {
        for (sent, kept, given) in [
            ("plain".as_bytes(), "plain", "plain"),
            ("grüße".as_bytes(), "grüße", "=?UTF-8?B?Z3LDvMOfZQ==?="),
            (b"Hello World\xe9", "Hello Worldé", "=?UTF-8?B?SGVsbG8gV29ybGTDqQ==?="),
            (b"=?UTF-8?B?Z3LDvMOfZQ==?=", "grüße", "=?UTF-8?B?Z3LDvMOfZQ==?="),
            (b"=?utf-8?Q?gr=C3=BC=C3=9Fe_50%?=", "grüße 50%", "=?UTF-8?B?Z3LDvMOfZSA1MCU=?="),
            (b"=?broken", "=?broken", "=?broken"),
            (b"=?UTF-8?B?!!?=", "=?UTF-8?B?!!?=", "=?UTF-8?B?!!?="),
        ] {
            let attributes = attributes_of(&headers(&[("x-amz-meta-a", sent)])).unwrap();
            assert_eq!(attributes.user_metadata["a"], kept);
            assert_eq!(metadata_value(kept).unwrap(), given);
        }
        let twice = attributes_of(&headers(&[("x-amz-meta-a", b"1"), ("x-amz-meta-a", b"2")])).unwrap();
        assert_eq!(twice.user_metadata["a"], "1,2");
    }

    #[test]
    fn metadata_is_limited_by_names_and_values_together() {
        let fits = vec![b'x'; limits::USER_METADATA_BYTES_MAX - 1];
        assert!(attributes_of(&headers(&[("x-amz-meta-a", &fits)])).is_ok());
        let error = attributes_of(&headers(&[("x-amz-meta-ab", &fits)])).unwrap_err();
        assert_eq!(error.code, S3Code::MetadataTooLarge);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (name, value, code) in [
            ("x-amz-storage-class", "STANDARD_IA", None),
            ("x-amz-storage-class", "FLOPPY", Some(S3Code::InvalidStorageClass)),
            ("x-amz-tagging", "a=1&b=2", None),
            ("x-amz-tagging", "a=1&a=2", Some(S3Code::InvalidTag)),
        ] {
            let got = attributes_of(&headers(&[(name, value.as_bytes())]));
            assert_eq!(got.err().map(|error| error.code), code, "{name}: {value}");
        }
    }

    #[test]
    fn aws_chunked_is_no_property_of_the_object() {
        for (sent, kept) in [
            ("gzip", Some("gzip")),
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, aws-chunked", Some("gzip")),
        ] {
            let attributes = attributes_of(&headers(&[("content-encoding", sent.as_bytes())])).unwrap();
            assert_eq!(attributes.content_encoding.as_deref(), kept, "{sent}");
        }
    }
}
