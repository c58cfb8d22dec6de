//! XML as S3 uses it: small request documents in, large listings out.
//!
//! A leaf. It knows no S3 element by name: the wire layer and the notification leaf say which ones they want. Reading
//! takes a document that is at hand whole and gives a bounded tree; document type declarations and entities beyond
//! XML's own five are refused, so that nothing expands and nothing is fetched. Writing fills one `String`, escaped.
//! Namespaces are not checked: S3 clients send several, or none.

mod read;
mod write;

pub use read::{Element, XmlError, parse};
pub use write::{Document, S3_NAMESPACE};
