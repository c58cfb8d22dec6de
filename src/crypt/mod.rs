//! Encryption at rest: sealed blocks, the envelope of an object's data key, and the ring of keys. Layout: FORMAT.md.
//!
//! Promises: what was sealed opens to exactly the bytes that went in or not at all, whatever was changed, moved or cut;
//! a key that was shredded opens nothing any more; no key is ever printed (`Debug` of each says so without it).
//! Invariant: an AES-GCM key here seals each nonce once, because each stream and each envelope has a key of its own.
//! Absent: HTTP, SQL, the pool, and any decision about which objects are sealed. The ring writes its file on a thread of
//! its own; everything else runs on the caller's.

mod blocks;
mod envelope;
mod keys;
mod ring;
mod ring_file;
mod rule;
mod secret;
#[cfg(test)]
mod tests;
mod vault;

pub use blocks::{Opener, Sealer, Stream, sealed_bytes};
pub use envelope::{DataKey, KmsFacts, KmsRequest, SealFacts, SealMode, Sealing, new_salt, parse_context};
pub use keys::{KeyState, RingKey};
pub use ring::{KeyDescription, KeyRing, Shredded};
pub use ring_file::RING_FILES;
pub use rule::{DefaultSealing, EncryptionRule, RuleError};
pub use secret::{CustomerKey, RootKey};
pub use vault::Vault;

/// Why bytes were not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("this part of the store was opened without a key ring")]
    NoRing,
    #[error("the object is sealed with its client's own key (SSE-C), which the store does not keep; send the key")]
    CustomerKeyNeeded,
    #[error("the client's key is not the one that the object was sealed with")]
    CustomerKeyWrong,
    #[error("the object is not sealed with a client's own key; leave the key out")]
    CustomerKeyUnwanted,
    #[error("key `{0}` does not exist; `aerie key list` shows those that do, `aerie key create {0}` makes it")]
    NoSuchKey(String),
    #[error("there is no default key; name one, or make it: aerie key create --alias aws/s3")]
    NoDefaultKey,
    #[error("key `{0}` exists already; choose another name")]
    KeyExists(String),
    #[error("key `{0}` is disabled; `aerie key enable {0}` makes it usable again")]
    KeyDisabled(String),
    #[error("{0} was shredded; what was sealed with it can never be read again")]
    KeyShredded(String),
    /// The ring is another one than the object was sealed under.
    #[error("{0} is not in the key ring; put back the drives that held the ring of this store")]
    KeyMissing(String),
    #[error("sealed bytes are damaged: {0}")]
    Damaged(&'static str),
    #[error("{0}")]
    Invalid(String),
    #[error("the key ring cannot be used: {0}")]
    Ring(String),
}
