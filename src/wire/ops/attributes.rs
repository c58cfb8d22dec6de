//! GetObjectAttributes.

use http::{HeaderValue, header};

use super::object;
use crate::hash::StoredChecksum;
use crate::limits;
use crate::meta::CompletedPart;
use crate::wire::date;
use crate::wire::encryption;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::object_headers as headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::checksum_element;
use crate::xml::Document;

const NAMES: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

pub fn get(call: &Call) -> Result<Response, S3Error> {
    let wanted = wanted(call)?;
    let wants = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let bucket = call.open_bucket()?;
    let mut found = object::find(call, &bucket)?;
    encryption::bring_key(call, &mut found)?;
    let version = &found.version;
    let attributes = &version.attributes;
    let mut document = Document::new("GetObjectAttributesResponse");
    if wants("ETag") {
        document.text("ETag", &version.etag);
    }
    if let Some(checksum) = attributes.checksum.as_ref().filter(|_| wants("Checksum")) {
        document.inside("Checksum", |inside| {
            write_checksum(inside, checksum);
            inside.text("ChecksumType", checksum.kind.as_str());
        });
    }
    if wants("ObjectParts") && !attributes.parts.is_empty() {
        write_parts(call, &mut document, &attributes.parts)?;
    }
    if wants("StorageClass") {
        document.text("StorageClass", attributes.storage_class.as_deref().unwrap_or("STANDARD"));
    }
    if wants("ObjectSize") {
        document.value("ObjectSize", version.size);
    }
    let mut response = response::xml(document.finish());
    let all = response.headers_mut();
    headers::insert_version_id(all, found.version_id.as_deref());
    let modified = HeaderValue::from_str(&date::http(version.modified_ms)).expect("a date is a header value");
    all.insert(header::LAST_MODIFIED, modified);
    Ok(response)
}

fn wanted(call: &Call) -> Result<Vec<String>, S3Error> {
    let values = call.headers.get_all("x-amz-object-attributes").iter();
    let names: Vec<String> = values
        .flat_map(|value| {
            value.to_str().unwrap_or("?").split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return Err(S3Error::with(
            S3Code::InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        ));
    }
    match names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        None => Ok(names),
        Some(name) => Err(S3Error::argument("x-amz-object-attributes", name, "Invalid attribute name specified.")),
    }
}

fn number(call: &Call, header: &str, default: u32) -> Result<u32, S3Error> {
    match call.header(header) {
        None => Ok(default),
        Some(text) => {
            text.parse().map_err(|_| S3Error::argument(header, text, "it must be a number that is not negative"))
        }
    }
}

/// A page of the parts; S3 lists those that have checksums, and counts all.
fn write_parts(call: &Call, document: &mut Document, parts: &[CompletedPart]) -> Result<(), S3Error> {
    let page_max = limits::LIST_KEYS_MAX as u32;
    let max_parts = number(call, "x-amz-max-parts", page_max)?.min(page_max);
    let marker = number(call, "x-amz-part-number-marker", 0)?;
    let after = || parts.iter().filter(|part| part.number > marker);
    let page: Vec<&CompletedPart> = after().take(max_parts as usize).collect();
    let truncated = page.len() < after().count();
    document.inside("ObjectParts", |inside| {
        inside.value("PartsCount", parts.len());
        inside.value("PartNumberMarker", marker);
        inside.value("NextPartNumberMarker", page.last().map_or(0, |part| part.number));
        inside.value("MaxParts", max_parts);
        inside.value("IsTruncated", truncated);
        for part in &page {
            let Some(checksum) = &part.checksum else { continue };
            inside.inside("Part", |inside| {
                inside.value("PartNumber", part.number);
                inside.value("Size", part.size);
                write_checksum(inside, checksum);
            });
        }
    });
    Ok(())
}

fn write_checksum(document: &mut Document, checksum: &StoredChecksum) {
    document.text(checksum_element(checksum.algorithm), &checksum.value);
}
