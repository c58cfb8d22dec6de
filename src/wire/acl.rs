//! What access control lists say about a request: one question, asked by `Call::authorize` after the policies.

use super::error::S3Error;
use super::facts::BucketFacts;
use super::request::Call;

/// The lists' word on one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Canonical id of the account that owns what the action touches. Its own principals need no grant; the bucket's
    /// policy counts only where the bucket's owner owns the object, too.
    pub owner: String,
    /// A grant covers the caller's account, or everybody. For a signed caller the policies of its own account must
    /// allow the action as well.
    pub granted: bool,
}

/// Asks the lists of a bucket, or of the object in it, for the caller (`call.identity`). `action` is S3's permission
/// without `s3:`; `key` is empty for the bucket itself, `version_id` is the request's.
pub fn word(
    _call: &Call,
    _action: &str,
    facts: &BucketFacts,
    _key: &str,
    _version_id: Option<&str>,
) -> Result<Word, S3Error> {
    Ok(Word { owner: facts.owner.clone(), granted: false })
}
