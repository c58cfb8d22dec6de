//! Whether a caller may do what it asks: the one place that decides, for every bucket and key that a request touches.
//!
//! As on AWS: what belongs to the caller's own account needs the word of its identity policies or of the resource's
//! policy; what belongs to another account needs both that account's word (policy or access control list) and its own.
//! An explicit deny wins over everything.

use crate::wire::acl;
use crate::wire::auth::Identity;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::request::Call;

impl Call {
    /// Asks whether the caller may do `action` (S3's permission, without `s3:`) on a bucket or on the key in it; both are
    /// empty for the service itself. Names that begin with a dot are the store's own and closed to all clients.
    pub fn authorize(&self, action: &str, bucket: &str, key: &str) -> Result<(), S3Error> {
        self.authorize_version(action, bucket, key, self.query.get("versionId"))
    }

    /// The same for a version that the query does not name: a copy's source, an entry of DeleteObjects.
    pub fn authorize_version(
        &self,
        action: &str,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<(), S3Error> {
        if bucket.starts_with('.') {
            return Err(S3Error::with(S3Code::AccessDenied, "the bucket belongs to the store itself"));
        }
        // Who makes a bucket asks nobody but its own account, whether there is one of the name or not.
        let facts = match (action, bucket) {
            (_, "") | ("CreateBucket", _) => None,
            (_, name) => self.facts.of(&self.engine, name)?,
        };
        // What there is no bucket for is the operation's to answer; nobody anonymous makes one.
        let allowed = match (&facts, &self.identity) {
            (None, Identity::Anonymous) => false,
            (None, Identity::Signed(_)) => true,
            (Some(facts), identity) => {
                let word = acl::word(self, action, facts, key, version_id)?;
                word.granted || identity.canonical_id() == Some(&word.owner)
            }
        };
        if allowed { Ok(()) } else { Err(self.denied(action)) }
    }

    fn denied(&self, action: &str) -> S3Error {
        let message = match &self.identity {
            Identity::Anonymous => format!("Anonymous users cannot perform s3:{action}; sign the request"),
            Identity::Signed(principal) => {
                format!("User: {} is not authorized to perform: s3:{action}", principal.arn())
            }
        };
        S3Error::with(S3Code::AccessDenied, message)
    }
}
