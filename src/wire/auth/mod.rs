//! Who asks, and whether they may.
//!
//! `authorize` is the one place that decides; every operation passes it, for every bucket and key that it touches.

use super::error::{S3Code, S3Error};

/// Who signed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The owner of the store.
    Root,
    /// No signature at all.
    Anonymous,
}

impl Identity {
    /// As event records name it.
    pub fn principal(self) -> &'static str {
        match self {
            Identity::Root => "root",
            Identity::Anonymous => "anonymous",
        }
    }
}

/// Whether `identity` may do `action` (S3's permission, without `s3:`) on the bucket or the key in it; both are empty
/// for the service itself. Names that begin with a dot are the store's own and closed to all clients.
pub fn authorize(identity: Identity, action: &str, bucket: &str, _key: &str) -> Result<(), S3Error> {
    match identity {
        _ if bucket.starts_with('.') => {
            Err(S3Error::with(S3Code::AccessDenied, "the bucket belongs to the store itself"))
        }
        Identity::Root => Ok(()),
        Identity::Anonymous => Err(S3Error::with(
            S3Code::AccessDenied,
            format!("Anonymous users cannot perform s3:{action}; sign the request"),
        )),
    }
}
