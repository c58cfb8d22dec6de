//! S3's request documents, read into plain values, with the errors that S3 gives for them.
//!
//! Pure: bytes in, values out. Elements that are not known are passed over; what is missing or out of range is refused.
//! What the values mean is the matter of `ops`. The notification document is read by the notification leaf.

mod access;
mod acl;
mod complete;
mod cors;
mod delete;
mod object_lock;
pub mod owner;
mod settings;
mod tagging;

pub use access::{
    ownership_controls_document, parse_object_ownership, parse_ownership_controls, parse_public_access_block,
    public_access_block_document,
};
pub use acl::{AclDocument, NamedGrant, NamedGrantee, ShownGrantee, acl_document, header_grants, parse_acl};
pub use complete::{DocumentPart, checksum_element, parse_complete};
pub use cors::{CorsConfiguration, CorsRule};
pub use delete::{DeleteEntry, DeleteRequest};
pub use object_lock::{
    legal_hold_document, legal_hold_text, object_lock_document, parse_legal_hold, parse_object_lock, parse_retention,
    retention_document,
};
pub use settings::{logs_nothing, parse_location, parse_versioning, pays_owner};
pub use tagging::{BUCKET_TAGS, OBJECT_TAGS, TagLimit, check_tags, parse_tagging, tagging_document};

use crate::wire::error::{S3Code, S3Error};
use crate::xml::XmlError;

/// Why a request document is refused. `code` gives the S3 error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the XML you provided was not well-formed or did not validate against our published schema: {0}")]
    Schema(String),
    #[error("the XML you provided was not well-formed or did not validate against our published schema: {0}")]
    MalformedAcl(String),
    #[error("{0}")]
    IllegalVersioning(String),
    #[error("{0}")]
    RetentionPeriod(String),
    #[error("{0}")]
    InvalidTag(String),
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    NotImplemented(String),
}

impl DocumentError {
    /// The S3 error that it is.
    pub fn code(&self) -> S3Code {
        match self {
            DocumentError::Xml(_) | DocumentError::Schema(_) => S3Code::MalformedXML,
            DocumentError::MalformedAcl(_) => S3Code::MalformedACLError,
            DocumentError::IllegalVersioning(_) => S3Code::IllegalVersioningConfigurationException,
            DocumentError::RetentionPeriod(_) => S3Code::InvalidRetentionPeriod,
            DocumentError::InvalidTag(_) => S3Code::InvalidTag,
            DocumentError::InvalidRequest(_) => S3Code::InvalidRequest,
            DocumentError::InvalidArgument(_) => S3Code::InvalidArgument,
            DocumentError::NotImplemented(_) => S3Code::NotImplemented,
        }
    }
}

impl From<DocumentError> for S3Error {
    fn from(error: DocumentError) -> S3Error {
        S3Error::with(error.code(), error.to_string())
    }
}

fn schema(what: impl Into<String>) -> DocumentError {
    DocumentError::Schema(what.into())
}

/// Reads a document whose root must have this name.
fn root<'a>(document: &'a [u8], name: &str) -> Result<crate::xml::Element<'a>, DocumentError> {
    let root = crate::xml::parse(document)?;
    if root.name() != name {
        return Err(schema(format!("the root element is <{}>, it must be <{name}>", root.name())));
    }
    Ok(root)
}
