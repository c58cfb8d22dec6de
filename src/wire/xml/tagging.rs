//! Tag sets, of objects and of buckets.

use std::collections::BTreeMap;

use super::{DocumentError, root, schema};
use crate::limits;
use crate::xml::Document;

/// How many tags one thing may have, and what it is called.
#[derive(Debug, Clone, Copy)]
pub struct TagLimit {
    pub what: &'static str,
    pub tags: usize,
}

pub const OBJECT_TAGS: TagLimit = TagLimit { what: "object", tags: limits::OBJECT_TAGS_MAX };
pub const BUCKET_TAGS: TagLimit = TagLimit { what: "bucket", tags: limits::BUCKET_TAGS_MAX };

/// Reads a `<Tagging>` document.
pub fn parse_tagging(document: &[u8], limit: TagLimit) -> Result<BTreeMap<String, String>, DocumentError> {
    let root = root(document, "Tagging")?;
    let set = root.child("TagSet").ok_or_else(|| schema("the document has no <TagSet>"))?;
    let mut tags = BTreeMap::new();
    for tag in set.children_named("Tag") {
        let key = tag.text_of("Key").ok_or_else(|| schema("a <Tag> has no <Key>"))?;
        let value = tag.text_of("Value").ok_or_else(|| schema("a <Tag> has no <Value>"))?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(DocumentError::InvalidTag(format!("cannot provide multiple tags with the same key: `{key}`")));
        }
    }
    check_tags(&tags, limit)?;
    Ok(tags)
}

/// S3's rules on a tag set, however it was sent (document or `x-amz-tagging` header).
pub fn check_tags(tags: &BTreeMap<String, String>, limit: TagLimit) -> Result<(), DocumentError> {
    let refuse = |reason: String| Err(DocumentError::InvalidTag(reason));
    if tags.len() > limit.tags {
        return refuse(format!("{} tags cannot be greater than {}", limit.what, limit.tags));
    }
    for (key, value) in tags {
        let (key_chars, value_chars) = (key.chars().count(), value.chars().count());
        if key_chars == 0 || key_chars > limits::TAG_KEY_CHARS_MAX {
            return refuse(format!("a tag key must have 1 to {} characters", limits::TAG_KEY_CHARS_MAX));
        }
        if value_chars > limits::TAG_VALUE_CHARS_MAX {
            return refuse(format!(
                "the value of tag `{key}` has more than {} characters",
                limits::TAG_VALUE_CHARS_MAX
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return refuse("tags that begin with `aws:` cannot be set by a request".to_owned());
        }
        let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() && !c.is_control() || "_.:/=+-@".contains(c);
        if !key.chars().all(allowed) || !value.chars().all(allowed) {
            return refuse(format!(
                "tag `{}` has a character that tags may not have; use letters, digits, spaces and _.:/=+-@",
                key.escape_debug()
            ));
        }
    }
    Ok(())
}

/// The answer of GetObjectTagging and GetBucketTagging.
pub fn tagging_document(tags: &BTreeMap<String, String>) -> String {
    let mut document = Document::new("Tagging");
    document.inside("TagSet", |document| {
        for (key, value) in tags {
            document.inside("Tag", |document| {
                document.text("Key", key);
                document.text("Value", value);
            });
        }
    });
    document.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    fn tag(key: &str, value: &str) -> String {
        format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
    }

    fn parse(tags: &str) -> Result<BTreeMap<String, String>, S3Code> {
        let document = format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        parse_tagging(document.as_bytes(), OBJECT_TAGS).map_err(|error| error.code())
    }

    #[test]
    fn tags_are_read_and_written_back() {
        let tags = parse(&(tag("b", "") + &tag("a", "x y") + &tag("\u{fc}:/=+-@_.", "1"))).expect("valid");
        assert_eq!(tags.len(), 3);
        let again = parse_tagging(tagging_document(&tags).as_bytes(), OBJECT_TAGS).expect("valid");
        assert_eq!(again, tags);
        assert_eq!(parse(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn bad_tags_are_refused() {
        let eleven: String = (0..11).map(|i| tag(&i.to_string(), "")).collect();
        let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
        let cases = [
            (eleven, S3Code::InvalidTag),
            (tag(&long_key, ""), S3Code::InvalidTag),
            (tag("k", &long_value), S3Code::InvalidTag),
            (tag("", "v"), S3Code::InvalidTag),
            (tag("k", "v") + &tag("k", "w"), S3Code::InvalidTag),
            (tag("aws:x", "v"), S3Code::InvalidTag),
            (tag("k&lt;", "v"), S3Code::InvalidTag),
            (tag("k", "a&#10;b"), S3Code::InvalidTag),
            ("<Tag><Key>k</Key></Tag>".to_owned(), S3Code::MalformedXML),
            ("<Tag><Value>k</Value></Tag>".to_owned(), S3Code::MalformedXML),
        ];
        for (tags, code) in cases {
            assert_eq!(parse(&tags), Err(code), "{tags}");
        }
        let fits = "k".repeat(128);
        assert!(parse(&tag(&fits, &"\u{fc}".repeat(256))).is_ok());
        assert!(parse_tagging(b"<Tagging/>", OBJECT_TAGS).is_err());
    }
}
