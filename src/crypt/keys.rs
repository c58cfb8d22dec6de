//! What is in the ring: keys in versions, whose they are, and what state they are in. Data; who changes and keeps it is
//! the ring's matter.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SealError;
use super::ring_file::Root;
use super::secret::Secret;
use crate::hash;
use crate::limits;
use crate::seam::World;

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RingKey {
    /// Of the bucket with this number. It exists once something in the bucket was sealed.
    Bucket(i64),
    /// A KMS key, by its id.
    Kms(String),
    /// What seals small secrets in the metadata.
    Vault,
}

impl std::fmt::Display for RingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RingKey::Bucket(_) => f.write_str("the key of the bucket"),
            RingKey::Kms(id) => write!(f, "key `{id}`"),
            RingKey::Vault => f.write_str("the key of the secrets in the metadata"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    Enabled,
    /// Neither seals nor opens until it is enabled again. KMS keys only.
    Disabled,
    /// Gone for good. KMS keys only; a bucket's next object gets a new key.
    Shredded,
}

#[derive(Debug, Clone)]
pub(super) struct KeyVersion {
    /// 8 random bytes, hex.
    pub id: String,
    pub created_ms: i64,
    pub secret: Secret,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub created_ms: i64,
    pub state: KeyState,
    pub aliases: Vec<String>,
    /// Oldest first.
    pub versions: Vec<KeyVersion>,
    /// Ids of versions that were shredded, and when the last of them was.
    pub shredded: Vec<String>,
    pub shredded_ms: Option<i64>,
}

/// Everything in the ring.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(pub BTreeMap<RingKey, Key>);

impl Keys {
    pub fn find(&mut self, key: &RingKey) -> Result<&mut Key, SealError> {
        self.0.get_mut(key).ok_or_else(|| unknown(key))
    }

    /// A key that may seal and open.
    pub fn usable(&self, key: &RingKey) -> Result<(), SealError> {
        match (self.0.get(key).ok_or_else(|| unknown(key))?.state, key) {
            (KeyState::Disabled, RingKey::Kms(id)) => Err(SealError::KeyDisabled(id.clone())),
            (KeyState::Shredded, _) => Err(SealError::KeyShredded(key.to_string())),
            _ => Ok(()),
        }
    }

    /// The secret of a version that may open.
    pub fn version(&self, owner: &RingKey, id: &str) -> Result<&Secret, SealError> {
        let missing = || SealError::KeyMissing(owner.to_string());
        let key = self.0.get(owner).ok_or_else(missing)?;
        if key.shredded.iter().any(|shredded| shredded == id) {
            return Err(SealError::KeyShredded(owner.to_string()));
        }
        self.usable(owner)?;
        key.versions.iter().find(|version| version.id == id).map(|version| &version.secret).ok_or_else(missing)
    }

    /// The version that seals.
    pub fn current(&self, owner: &RingKey) -> Option<&KeyVersion> {
        self.0.get(owner)?.versions.last()
    }

    pub fn of_alias(&self, alias: &str) -> Option<String> {
        self.0.iter().find_map(|(owner, key)| match owner {
            RingKey::Kms(id) if key.aliases.iter().any(|known| known == alias) => Some(id.clone()),
            _ => None,
        })
    }

    pub fn take_alias(&mut self, alias: &str) {
        self.0.values_mut().for_each(|key| key.aliases.retain(|known| known != alias));
    }
}

fn unknown(key: &RingKey) -> SealError {
    match key {
        RingKey::Kms(id) => SealError::NoSuchKey(id.clone()),
        RingKey::Bucket(_) => SealError::Invalid("nothing in the bucket was ever sealed".to_owned()),
        RingKey::Vault => SealError::KeyMissing(key.to_string()),
    }
}

impl Key {
    pub fn empty(now_ms: i64) -> Key {
        Key {
            created_ms: now_ms,
            state: KeyState::Enabled,
            aliases: Vec::new(),
            versions: Vec::new(),
            shredded: Vec::new(),
            shredded_ms: None,
        }
    }

    pub fn new(world: &World) -> Key {
        Key { versions: vec![KeyVersion::new(world)], ..Key::empty(world.clock.unix_ms()) }
    }
}

impl KeyVersion {
    pub fn new(world: &World) -> KeyVersion {
        let secret = Secret::random(&*world.entropy);
        KeyVersion { id: random_hex::<8>(world), created_ms: world.clock.unix_ms(), secret }
    }
}

pub(super) fn random_hex<const BYTES: usize>(world: &World) -> String {
    let mut bytes = [0; BYTES];
    world.entropy.fill(&mut bytes);
    hash::hex_encode(&bytes)
}

pub(super) fn check_alias(alias: &str) -> Result<(), SealError> {
    check_name("an alias", alias, "/")
}

pub(super) fn check_name(what: &str, name: &str, further: &str) -> Result<(), SealError> {
    let fits = (1..=limits::KEY_NAME_BYTES_MAX).contains(&name.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || further.contains(c);
    if fits && name.chars().all(plain) && !name.starts_with("alias/") {
        return Ok(());
    }
    let most = limits::KEY_NAME_BYTES_MAX;
    Err(SealError::Invalid(format!(
        "{what} has 1 to {most} letters, digits, `-`, `_`{}",
        if further.is_empty() { "" } else { " and `/`" }
    )))
}

/// Only the root is needed to write keys, so that the file's module has no other business with them.
pub(super) fn context_of(owner: &RingKey, version: &str) -> Vec<u8> {
    let owner = owner_text(owner);
    let mut context = (owner.len() as u32).to_be_bytes().to_vec();
    context.extend_from_slice(owner.as_bytes());
    context.extend_from_slice(version.as_bytes());
    context
}

pub(super) fn owner_text(owner: &RingKey) -> String {
    match owner {
        RingKey::Bucket(bucket) => format!("bucket/{bucket}"),
        RingKey::Kms(id) => format!("kms/{id}"),
        RingKey::Vault => "store/vault".to_owned(),
    }
}

pub(super) fn parse_owner(text: &str) -> Option<RingKey> {
    match text.split_once('/')? {
        ("bucket", number) => number.parse().ok().map(RingKey::Bucket),
        ("kms", id) => Some(RingKey::Kms(id.to_owned())),
        ("store", "vault") => Some(RingKey::Vault),
        _ => None,
    }
}

/// The secret that wraps one version of a key under the ring's root.
pub(super) fn wrapping(root: &Root, context: &[u8]) -> Secret {
    root.secret().derive(&[], &[b"aerie ring 1", context])
}
