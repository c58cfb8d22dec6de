//! Listings: objects (both versions of the call) and versions of objects.
//!
//! A page is one metadata query and one pass that writes the XML. Continuation tokens are opaque to clients: the last
//! name of a page, encoded.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::owners::OwnerNames;
use crate::limits;
use crate::meta::{
    ChecksumType, ListPage, ListQuery, Listed, ListedVersion, Version, VersionKind, VersionRef, VersionsQuery,
    parse_version_id, version_id_text,
};
use crate::wire::date;
use crate::wire::error::S3Error;
use crate::wire::query::Query;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::xml::Document;

/// Bytes of XML for one entry, roughly; a page is written without growing its buffer often.
const ENTRY_BYTES: usize = 320;

/// What S3 leaves as it is under `encoding-type=url`.
const NAME_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// How names are written: as they are, or URL-encoded where the client asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Plain,
    Url,
}

impl Naming {
    pub fn of(query: &Query) -> Result<Naming, S3Error> {
        match query.get("encoding-type") {
            None | Some("") => Ok(Naming::Plain),
            Some("url") => Ok(Naming::Url),
            Some(other) => {
                Err(S3Error::argument("encoding-type", other, "Invalid Encoding Method specified in Request"))
            }
        }
    }

    pub fn write(self, document: &mut Document, element: &'static str, name: &str) {
        match self {
            Naming::Plain => document.text(element, name),
            Naming::Url => document.value(element, utf8_percent_encode(name, NAME_ESCAPES)),
        }
    }

    pub fn write_type(self, document: &mut Document) {
        if self == Naming::Url {
            document.text("EncodingType", "url");
        }
    }

    pub fn write_prefixes<'p>(self, document: &mut Document, prefixes: impl Iterator<Item = &'p str>) {
        for prefix in prefixes {
            document.inside("CommonPrefixes", |document| self.write(document, "Prefix", prefix));
        }
    }
}

/// A page size: at most `limits::LIST_KEYS_MAX`, whatever is asked for.
pub(super) fn page_limit(query: &Query, name: &'static str) -> Result<usize, S3Error> {
    let Some(text) = query.get_filled(name) else { return Ok(limits::LIST_KEYS_MAX) };
    match text.parse::<i64>() {
        Ok(asked) if (0..=i64::from(i32::MAX)).contains(&asked) => {
            Ok(usize::try_from(asked).unwrap_or(limits::LIST_KEYS_MAX).min(limits::LIST_KEYS_MAX))
        }
        Ok(_) => {
            Err(S3Error::argument(name, text, format!("Argument {name} must be an integer between 0 and {}", i32::MAX)))
        }
        Err(_) => Err(S3Error::argument(name, text, format!("Provided {name} not an integer or within integer range"))),
    }
}

/// The token that continues after `name`.
pub(super) fn make_token(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The name that a token continues after.
pub(super) fn read_token(token: &str) -> Result<String, S3Error> {
    let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .ok_or_else(|| S3Error::argument("continuation-token", token, "The continuation token provided is incorrect"))
}

pub fn objects(call: &Call) -> Result<Response, S3Error> {
    let naming = Naming::of(&call.query)?;
    let limit = page_limit(&call.query, "max-keys")?;
    let marker = call.query.get("marker").unwrap_or_default();
    let (query, page) = page(call, marker, limit)?;
    let mut document = begin(call, &page);
    // In this version the prefix comes back as it was sent: botocore decodes all other names, and not this one.
    document.text("Prefix", &query.prefix);
    naming.write(&mut document, "Marker", marker);
    let next = page.entries.last().filter(|_| page.truncated && query.delimiter.is_some());
    if let Some(last) = next {
        naming.write(&mut document, "NextMarker", listed_name(last));
    }
    let facts = call.bucket_facts()?;
    write_page(&mut document, naming, &query, &page, limit, Some(&OwnerNames::of(call, &facts)));
    Ok(response::xml(document.finish()))
}

pub fn objects_v2(call: &Call) -> Result<Response, S3Error> {
    if call.query.get("list-type") != Some("2") {
        let given = call.query.get("list-type").unwrap_or_default();
        return Err(S3Error::argument("list-type", given, "Invalid List Type specified in Request"));
    }
    let naming = Naming::of(&call.query)?;
    let limit = page_limit(&call.query, "max-keys")?;
    let start_after = call.query.get("start-after");
    let token = call.query.get("continuation-token");
    let after = match token.filter(|token| !token.is_empty()) {
        Some(token) => read_token(token)?,
        None => start_after.unwrap_or_default().to_owned(),
    };
    let (query, page) = page(call, &after, limit)?;
    let mut document = begin(call, &page);
    naming.write(&mut document, "Prefix", &query.prefix);
    if let Some(start_after) = start_after {
        naming.write(&mut document, "StartAfter", start_after);
    }
    document.text_if("ContinuationToken", token);
    if let Some(last) = page.entries.last().filter(|_| page.truncated) {
        document.text("NextContinuationToken", &make_token(listed_name(last)));
    }
    document.value("KeyCount", page.entries.len());
    let with_owner = call.query.get("fetch-owner").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let facts = call.bucket_facts()?;
    let owners = with_owner.then(|| OwnerNames::of(call, &facts));
    write_page(&mut document, naming, &query, &page, limit, owners.as_ref());
    Ok(response::xml(document.finish()))
}

fn page(call: &Call, after: &str, limit: usize) -> Result<(ListQuery, ListPage<Listed>), S3Error> {
    let bucket = call.open_bucket()?;
    let query = ListQuery {
        bucket: bucket.id,
        prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: call.query.get_filled("delimiter").map(str::to_owned),
        after: Some(after.to_owned()).filter(|after| !after.is_empty()),
        limit,
    };
    if limit == 0 {
        return Ok((query, ListPage { entries: Vec::new(), truncated: false }));
    }
    let page = call.engine.list(&query)?;
    Ok((query, page))
}

fn begin(call: &Call, page: &ListPage<Listed>) -> Document {
    let mut document = Document::sized("ListBucketResult", 1024 + ENTRY_BYTES * page.entries.len());
    document.text("Name", &call.bucket);
    document
}

fn listed_name(listed: &Listed) -> &str {
    match listed {
        Listed::Object(version) => &version.key,
        Listed::CommonPrefix(prefix) => prefix,
    }
}

fn write_page(
    document: &mut Document,
    naming: Naming,
    query: &ListQuery,
    page: &ListPage<Listed>,
    limit: usize,
    owners: Option<&OwnerNames<'_>>,
) {
    document.value("MaxKeys", limit);
    if let Some(delimiter) = &query.delimiter {
        naming.write(document, "Delimiter", delimiter);
    }
    naming.write_type(document);
    document.value("IsTruncated", page.truncated);
    for entry in &page.entries {
        if let Listed::Object(version) = entry {
            document.inside("Contents", |document| {
                naming.write(document, "Key", &version.key);
                write_version(document, version);
                if let Some(owners) = owners {
                    owners.write_of(document, "Owner", &version.attributes);
                }
            });
        }
    }
    let prefixes = page.entries.iter().filter_map(|entry| match entry {
        Listed::CommonPrefix(prefix) => Some(prefix.as_str()),
        Listed::Object(_) => None,
    });
    naming.write_prefixes(document, prefixes);
}

/// What listings of objects and of versions say alike.
fn write_version(document: &mut Document, version: &Version) {
    document.value("LastModified", date::iso(version.modified_ms));
    document.etag("ETag", &version.etag);
    if let Some(checksum) = &version.attributes.checksum {
        document.text("ChecksumAlgorithm", checksum.algorithm.as_str());
        let kind: ChecksumType = checksum.kind;
        document.text("ChecksumType", kind.as_str());
    }
    document.value("Size", version.size);
    document.text("StorageClass", version.attributes.storage_class.as_deref().unwrap_or("STANDARD"));
}

pub fn versions(call: &Call) -> Result<Response, S3Error> {
    let naming = Naming::of(&call.query)?;
    let limit = page_limit(&call.query, "max-keys")?;
    let bucket = call.open_bucket()?;
    let key_marker = call.query.get_filled("key-marker").map(str::to_owned);
    let version_marker = call.query.get_filled("version-id-marker");
    if version_marker.is_some() && key_marker.is_none() {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(S3Error::argument("version-id-marker", version_marker.unwrap_or_default(), message));
    }
    let query = VersionsQuery {
        bucket: bucket.id,
        prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: call.query.get_filled("delimiter").map(str::to_owned),
        key_marker,
        version_marker: version_marker.map(read_version_marker).transpose()?,
        limit,
    };
    let page = match limit {
        0 => ListPage { entries: Vec::new(), truncated: false },
        _ => call.engine.list_versions(&query)?,
    };
    let mut document = Document::sized("ListVersionsResult", 1024 + ENTRY_BYTES * page.entries.len());
    document.text("Name", &call.bucket);
    naming.write(&mut document, "Prefix", &query.prefix);
    naming.write(&mut document, "KeyMarker", query.key_marker.as_deref().unwrap_or_default());
    document.text("VersionIdMarker", version_marker.unwrap_or_default());
    match page.entries.last().filter(|_| page.truncated) {
        Some(ListedVersion::Version { version, .. }) => {
            naming.write(&mut document, "NextKeyMarker", &version.key);
            document.text("NextVersionIdMarker", &listed_version_id(version));
        }
        Some(ListedVersion::CommonPrefix(prefix)) => naming.write(&mut document, "NextKeyMarker", prefix),
        None => {}
    }
    document.value("MaxKeys", limit);
    if let Some(delimiter) = &query.delimiter {
        naming.write(&mut document, "Delimiter", delimiter);
    }
    naming.write_type(&mut document);
    document.value("IsTruncated", page.truncated);
    let facts = call.bucket_facts()?;
    let owners = OwnerNames::of(call, &facts);
    for entry in &page.entries {
        if let ListedVersion::Version { version, is_latest } = entry {
            write_listed_version(&mut document, naming, &owners, version, *is_latest);
        }
    }
    let prefixes = page.entries.iter().filter_map(|entry| match entry {
        ListedVersion::CommonPrefix(prefix) => Some(prefix.as_str()),
        ListedVersion::Version { .. } => None,
    });
    naming.write_prefixes(&mut document, prefixes);
    Ok(response::xml(document.finish()))
}

fn read_version_marker(text: &str) -> Result<VersionRef, S3Error> {
    parse_version_id(text).ok_or_else(|| S3Error::argument("version-id-marker", text, "Invalid version id specified"))
}

fn write_listed_version(
    document: &mut Document,
    naming: Naming,
    owners: &OwnerNames<'_>,
    version: &Version,
    is_latest: bool,
) {
    let element = match version.kind {
        VersionKind::Object => "Version",
        VersionKind::DeleteMarker => "DeleteMarker",
    };
    document.inside(element, |document| {
        naming.write(document, "Key", &version.key);
        document.text("VersionId", &listed_version_id(version));
        document.value("IsLatest", is_latest);
        match version.kind {
            VersionKind::Object => write_version(document, version),
            VersionKind::DeleteMarker => document.value("LastModified", date::iso(version.modified_ms)),
        }
        owners.write_of(document, "Owner", &version.attributes);
    });
}

/// Listings name the id of every version, `null` in a bucket that was never versioned.
fn listed_version_id(version: &Version) -> String {
    if version.is_null { "null".to_owned() } else { version_id_text(version.sequence) }
}

/// A number among a listing's parameters; absent and empty are 0.
pub(super) fn number_marker(query: &Query, name: &'static str) -> Result<u32, S3Error> {
    let Some(text) = query.get_filled(name) else { return Ok(0) };
    text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
        S3Error::argument(name, text, format!("Argument {name} must be an integer between 0 and {}", i32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn page_sizes_are_read() {
        let of = |raw: &str| {
            let query = Query::parse(raw).expect("valid");
            page_limit(&query, "max-keys").map_err(|error| error.code)
        };
        assert_eq!(of(""), Ok(1000));
        assert_eq!(of("max-keys="), Ok(1000));
        assert_eq!(of("max-keys=0"), Ok(0));
        assert_eq!(of("max-keys=7"), Ok(7));
        assert_eq!(of("max-keys=2147483647"), Ok(1000));
        for bad in ["-1", "2147483648", "blah", "1.5", "99999999999999999999"] {
            assert_eq!(of(&format!("max-keys={bad}")), Err(S3Code::InvalidArgument), "{bad}");
        }
    }

    #[test]
    fn tokens_are_read_back() {
        for name in ["", "a", "a/b c+d", "\u{1}\u{fc}/"] {
            assert_eq!(read_token(&make_token(name)).expect("ours"), name);
        }
        for bad in ["!", "a", "_w"] {
            assert_eq!(read_token(bad).expect_err("not ours").code, S3Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn names_are_encoded_when_asked() {
        let written = |naming: Naming| {
            let mut document = Document::plain("R");
            naming.write(&mut document, "Key", "foo+1/a b<\u{1}\u{e9}*-_.~");
            document.finish()
        };
        assert!(written(Naming::Plain).contains("<Key>foo+1/a b&lt;&#x1;\u{e9}*-_.~</Key>"));
        assert!(written(Naming::Url).contains("<Key>foo%2B1/a%20b%3C%01%C3%A9*-_.%7E</Key>"));
    }
}
