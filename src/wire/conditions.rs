//! Conditions in headers: on what is read, on what is copied, on what is written or deleted.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::date;
use super::error::{S3Code, S3Error};
use crate::meta::{EtagCondition, Version, WriteCondition};

/// Names of the four headers that make a read conditional.
#[derive(Debug, Clone, Copy)]
pub struct ReadConditions {
    pub if_match: &'static str,
    pub if_none_match: &'static str,
    pub if_modified_since: &'static str,
    pub if_unmodified_since: &'static str,
}

pub const OF_READ: ReadConditions = ReadConditions {
    if_match: "if-match",
    if_none_match: "if-none-match",
    if_modified_since: "if-modified-since",
    if_unmodified_since: "if-unmodified-since",
};

pub const OF_COPY_SOURCE: ReadConditions = ReadConditions {
    if_match: "x-amz-copy-source-if-match",
    if_none_match: "x-amz-copy-source-if-none-match",
    if_modified_since: "x-amz-copy-source-if-modified-since",
    if_unmodified_since: "x-amz-copy-source-if-unmodified-since",
};

/// What the conditions say of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// The client has this version already; the header's name.
    NotModified(&'static str),
    /// The header's name.
    Failed(&'static str),
}

impl ReadConditions {
    /// Entity tags come before dates: a date says nothing where its tag decided (RFC 9110 and S3). Dates that cannot be
    /// read are passed over.
    pub fn check(&self, headers: &HeaderMap, version: &Version) -> Result<Verdict, S3Error> {
        let modified_s = version.modified_ms.div_euclid(1000);
        let seconds = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            Some(date::parse_http(text)?.div_euclid(1000))
        };
        match etag_condition(headers, self.if_match)? {
            Some(wanted) if !matches(&wanted, &version.etag) => return Ok(Verdict::Failed(self.if_match)),
            Some(_) => {}
            None if seconds(self.if_unmodified_since).is_some_and(|since| modified_s > since) => {
                return Ok(Verdict::Failed(self.if_unmodified_since));
            }
            None => {}
        }
        match etag_condition(headers, self.if_none_match)? {
            Some(unwanted) if matches(&unwanted, &version.etag) => Ok(Verdict::NotModified(self.if_none_match)),
            Some(_) => Ok(Verdict::Holds),
            None if seconds(self.if_modified_since).is_some_and(|since| modified_s <= since) => {
                Ok(Verdict::NotModified(self.if_modified_since))
            }
            None => Ok(Verdict::Holds),
        }
    }
}

/// 412, naming the header.
pub fn failed(header: &str) -> S3Error {
    S3Error::new(S3Code::PreconditionFailed).field("Condition", header)
}

fn matches(condition: &EtagCondition, etag: &str) -> bool {
    match condition {
        EtagCondition::Any => true,
        EtagCondition::OneOf(etags) => etags.iter().any(|listed| listed == etag),
    }
}

/// `*`, or entity tags, with or without quotes and `W/`.
fn etag_condition(headers: &HeaderMap, name: &str) -> Result<Option<EtagCondition>, S3Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| S3Error::argument(name, "?", "an entity tag is not ASCII"))?.trim();
    if text == "*" {
        return Ok(Some(EtagCondition::Any));
    }
    let etag = |piece: &str| {
        let piece = piece.trim();
        piece.strip_prefix("W/").unwrap_or(piece).trim_matches('"').to_owned()
    };
    Ok(Some(EtagCondition::OneOf(text.split(',').map(etag).collect())))
}

/// `If-Match` and `If-None-Match` of a write.
pub fn write_condition(headers: &HeaderMap) -> Result<WriteCondition, S3Error> {
    Ok(WriteCondition {
        if_match: etag_condition(headers, "if-match")?,
        if_none_match: etag_condition(headers, "if-none-match")?,
        ..WriteCondition::default()
    })
}

/// The conditions of DeleteObject.
pub fn delete_condition(headers: &HeaderMap) -> Result<WriteCondition, S3Error> {
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::to_str);
    let size = HeaderName::from_static("x-amz-if-match-size");
    let time = HeaderName::from_static("x-amz-if-match-last-modified-time");
    let bad = |name: &HeaderName| {
        let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
        S3Error::argument(name.as_str(), &value, format!("{name} is not valid"))
    };
    let if_match_size = match text(&size) {
        None => None,
        Some(value) => Some(value.ok().and_then(|value| value.parse().ok()).ok_or_else(|| bad(&size))?),
    };
    let if_match_modified_ms = match text(&time) {
        None => None,
        Some(value) => Some(value.ok().and_then(date::parse_http).ok_or_else(|| bad(&time))?),
    };
    let if_match = etag_condition(headers, "if-match")?;
    Ok(WriteCondition { if_match, if_none_match: None, if_match_size, if_match_modified_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Attributes, Body, BucketId, Sequence, VersionKind};

    fn version() -> Version {
        Version {
            bucket: BucketId(1),
            key: "k".to_owned(),
            sequence: Sequence(1),
            is_null: true,
            kind: VersionKind::Object,
            size: 0,
            etag: "abc".to_owned(),
            modified_ms: 1_255_369_830_900,
            attributes: Attributes::default(),
            body: Body::Inline(bytes::Bytes::new()),
        }
    }

    #[test]
    fn tags_come_before_dates() {
        use Verdict::{Failed, Holds, NotModified};
        let (same, before, after) =
            ("Mon, 12 Oct 2009 17:50:30 GMT", "Mon, 12 Oct 2009 17:50:29 GMT", "Mon, 12 Oct 2009 17:50:31 GMT");
        let cases: &[(&[(&'static str, &str)], Verdict)] = &[
            (&[], Holds),
            (&[("if-match", "\"abc\"")], Holds),
            (&[("if-match", "abc")], Holds),
            (&[("if-match", "\"x\", \"abc\"")], Holds),
            (&[("if-match", "*")], Holds),
            (&[("if-match", "\"x\"")], Failed("if-match")),
            (&[("if-none-match", "\"abc\"")], NotModified("if-none-match")),
            (&[("if-none-match", "W/\"abc\"")], NotModified("if-none-match")),
            (&[("if-none-match", "*")], NotModified("if-none-match")),
            (&[("if-none-match", "\"x\"")], Holds),
            (&[("if-modified-since", same)], NotModified("if-modified-since")),
            (&[("if-modified-since", after)], NotModified("if-modified-since")),
            (&[("if-modified-since", before)], Holds),
            (&[("if-modified-since", "junk")], Holds),
            (&[("if-unmodified-since", same)], Holds),
            (&[("if-unmodified-since", before)], Failed("if-unmodified-since")),
            (&[("if-match", "\"abc\""), ("if-unmodified-since", before)], Holds),
            (&[("if-none-match", "\"x\""), ("if-modified-since", after)], Holds),
            (&[("if-none-match", "\"abc\""), ("if-modified-since", before)], NotModified("if-none-match")),
        ];
        for (pairs, verdict) in cases {
            let pair = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            };
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            assert_eq!(OF_READ.check(&headers, &version()).unwrap(), *verdict, "{pairs:?}");
        }
    }

    #[test]
    fn delete_conditions_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-if-match-size", HeaderValue::from_static("7"));
        headers.insert("if-match", HeaderValue::from_static("\"e\""));
        let condition = delete_condition(&headers).unwrap();
        assert_eq!(condition.if_match_size, Some(7));
        assert_eq!(condition.if_match, Some(EtagCondition::OneOf(vec!["e".to_owned()])));
        headers.insert("x-amz-if-match-size", HeaderValue::from_static("seven"));
        assert_eq!(delete_condition(&headers).unwrap_err().code, S3Code::InvalidArgument);
    }
}
