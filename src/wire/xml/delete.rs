//! The keys that DeleteObjects names.

use super::{DocumentError, root, schema};
use crate::limits;
use crate::xml::Element;

/// The whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Only errors are answered.
    pub quiet: bool,
    pub entries: Vec<DeleteEntry>,
}

/// One key, with what the client says of it; all as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteEntry {
    pub key: String,
    pub version_id: Option<String>,
    /// Conditions of the delete.
    pub etag: Option<String>,
    pub size: Option<String>,
    pub last_modified: Option<String>,
}

impl DeleteRequest {
    pub fn parse(document: &[u8]) -> Result<DeleteRequest, DocumentError> {
        let root = root(document, "Delete")?;
        let quiet = match root.text_of("Quiet").map(str::trim) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(schema(format!("<Quiet> is `{other}`, it must be true or false"))),
        };
        let entries = root.children_named("Object").map(entry).collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() {
            return Err(schema("name at least one <Object>"));
        }
        if entries.len() > limits::DELETE_KEYS_MAX {
            return Err(schema(format!("there are more than {} objects", limits::DELETE_KEYS_MAX)));
        }
        Ok(DeleteRequest { quiet, entries })
    }
}

fn entry(element: &Element<'_>) -> Result<DeleteEntry, DocumentError> {
    let text = |name| element.text_of(name).map(|text| text.trim().to_owned());
    let key = element.text_of("Key").ok_or_else(|| schema("an <Object> has no <Key>"))?;
    Ok(DeleteEntry {
        key: key.to_owned(),
        version_id: text("VersionId").filter(|id| !id.is_empty()),
        etag: text("ETag"),
        size: text("Size"),
        last_modified: text("LastModifiedTime"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn requests_are_read() {
        let request = DeleteRequest::parse(
            b"<Delete><Quiet>true</Quiet><Object><Key> a&#x1;b </Key></Object>\
              <Object><Key>k</Key><VersionId>null</VersionId><ETag>\"e\"</ETag><Size>3</Size></Object></Delete>",
        )
        .expect("valid");
        assert!(request.quiet);
        assert_eq!(request.entries[0].key, " a\u{1}b ");
        assert_eq!(request.entries[0].version_id, None);
        assert_eq!(request.entries[1].version_id.as_deref(), Some("null"));
        assert_eq!(request.entries[1].etag.as_deref(), Some("\"e\""));
        assert_eq!(request.entries[1].size.as_deref(), Some("3"));
    }

    #[test]
    fn bad_requests_are_refused() {
        let many = "<Object><Key>k</Key></Object>".repeat(limits::DELETE_KEYS_MAX + 1);
        for entries in ["", "<Object/>", "<Quiet>maybe</Quiet><Object><Key>k</Key></Object>", &many] {
            let document = format!("<Delete>{entries}</Delete>");
            let error = DeleteRequest::parse(document.as_bytes()).expect_err("refused");
            assert_eq!(error.code(), S3Code::MalformedXML);
        }
    }
}
