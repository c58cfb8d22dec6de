//! Secrets of 32 bytes: random, derived, never printed, wiped when dropped.

use ring::{aead, hkdf};
use zeroize::Zeroizing;

use super::SealError;
use crate::hash::{self, Md5};
use crate::seam::Entropy;

/// Bytes of every key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of an authentication tag.
pub(super) const TAG_BYTES: usize = 16;

/// A key. `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Zeroizing<[u8; KEY_BYTES]>);

impl Secret {
    pub fn new(bytes: [u8; KEY_BYTES]) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    pub fn random(entropy: &dyn Entropy) -> Secret {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(&mut *bytes);
        Secret(bytes)
    }

    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// HKDF-SHA256: extract with `salt`, expand with the pieces of `info`, one after the other.
    pub fn derive(&self, salt: &[u8], info: &[&[u8]]) -> Secret {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.bytes());
        let expanded = extracted.expand(info, Length(KEY_BYTES)).expect("32 bytes are within HKDF's limit");
        expanded.fill(&mut *bytes).expect("the length is the one that was asked for");
        Secret(bytes)
    }

    /// For AES-256-GCM.
    pub fn cipher(&self) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, self.bytes()).expect("the key has 32 bytes");
        aead::LessSafeKey::new(key)
    }

    /// Seals another secret. `self` must seal nothing else: the nonce is zero.
    pub fn wrap(&self, secret: &Secret, context: &[u8]) -> Vec<u8> {
        let mut sealed = secret.bytes().to_vec();
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let wrapped = self.cipher().seal_in_place_append_tag(nonce, aead::Aad::from(context), &mut sealed);
        wrapped.expect("32 bytes are within AES-GCM's limit");
        sealed
    }

    /// `None`: another key, another context, or changed bytes.
    pub fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Option<Secret> {
        let mut bytes = Zeroizing::new(wrapped.to_vec());
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let opened = self.cipher().open_in_place(nonce, aead::Aad::from(context), &mut bytes).ok()?;
        <[u8; KEY_BYTES]>::try_from(&*opened).ok().map(Secret::new)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An output length, as ring wants it.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// A client's own key (SSE-C).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerKey(pub(super) Secret);

impl CustomerKey {
    /// `None` unless it has 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<CustomerKey> {
        <[u8; KEY_BYTES]>::try_from(bytes).ok().map(|bytes| CustomerKey(Secret::new(bytes)))
    }

    /// The key's MD5 in base64, as S3 names a key.
    pub fn md5(&self) -> String {
        hash::base64_encode(&Md5::of(self.0.bytes()))
    }
}

/// The root key of the ring, from outside the drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKey(pub(super) Secret);

impl RootKey {
    /// Reads 64 hexadecimal digits or padded base64 of 32 bytes.
    pub fn parse(text: &str) -> Result<RootKey, SealError> {
        let text = text.trim();
        let bytes = if text.len() == 2 * KEY_BYTES { hex::decode(text).ok() } else { hash::base64_decode(text) };
        let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let refuse = || SealError::Invalid("a root key is 32 bytes in hexadecimal digits or base64".to_owned());
        bytes.map(|bytes| RootKey(Secret::new(bytes))).ok_or_else(refuse)
    }
}
