//! The vault: small texts that must come back as they were (secrets of access keys, the key of session tokens), sealed
//! under a key of the ring, so that what lies in the metadata is of no use without the ring and its root key.
//!
//! Each text has a key of its own, derived with a random salt, and is bound to the name that it is kept under.

use std::sync::Arc;

use ring::aead;
use zeroize::Zeroizing;

use super::SealError;
use super::envelope::new_salt;
use super::keys::RingKey;
use super::ring::KeyRing;
use super::secret::Secret;
use crate::hash::hex_encode;
use crate::seam::World;

/// What a sealed text begins with. Nothing that is kept in the clear contains a colon.
const MARK: &str = "sealed:";

/// Seals and opens; made by `KeyRing::vault`.
#[derive(Clone)]
pub struct Vault {
    ring: Arc<KeyRing>,
    world: World,
}

impl Vault {
    pub(super) fn new(ring: Arc<KeyRing>, world: World) -> Vault {
        Vault { ring, world }
    }

    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(MARK)
    }

    /// `sealed:VERSION:SALT:BYTES`, for what is kept under `name`.
    pub fn seal(&self, name: &str, text: &str) -> Result<String, SealError> {
        let owner = RingKey::Vault;
        let (version, key) = self.ring.current(&owner).ok_or_else(|| SealError::KeyMissing(owner.to_string()))?;
        let salt = new_salt(&*self.world.entropy);
        let mut sealed = text.as_bytes().to_vec();
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let bound = aead::Aad::from(name.as_bytes());
        let done = key_of(&key, &salt).cipher().seal_in_place_append_tag(nonce, bound, &mut sealed);
        done.expect("a secret is far shorter than AES-GCM's limit");
        Ok(format!("{MARK}{version}:{salt}:{}", hex_encode(&sealed)))
    }

    /// The text that was sealed for this name.
    pub fn open(&self, name: &str, sealed: &str) -> Result<Zeroizing<String>, SealError> {
        let damaged = || SealError::Damaged("a secret in the metadata does not open: it was changed or moved");
        let mut parts = sealed.strip_prefix(MARK).unwrap_or_default().splitn(3, ':');
        let (Some(version), Some(salt), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(damaged());
        };
        let key = self.ring.version(&RingKey::Vault, version)?;
        let mut bytes = Zeroizing::new(hex::decode(bytes).map_err(|_| damaged())?);
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let bound = aead::Aad::from(name.as_bytes());
        let opened = key_of(&key, salt).cipher().open_in_place(nonce, bound, &mut bytes).map_err(|_| damaged())?;
        let text = std::str::from_utf8(opened).map_err(|_| damaged())?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

fn key_of(key: &Secret, salt: &str) -> Secret {
    key.derive(salt.as_bytes(), &[b"aerie vault 1"])
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}
