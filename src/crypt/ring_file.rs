//! The ring's files: `aerie.keys.0` and `aerie.keys.1` on the first m+1 drives. A change goes to the one that is empty, and
//! once it is durable the other is overwritten with zeros, so that a shredded key is in neither. Layout: FORMAT.md.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SealError;
use super::keys::{Key, KeyState, KeyVersion, Keys, RingKey, context_of, owner_text, parse_owner, wrapping};
use super::secret::{KEY_BYTES, RootKey, Secret};
use crate::hash::{block_checksum, hex_encode};
use crate::limits;
use crate::seam::{Entropy, OpenMode, Storage, StorageFile};

/// Names of the files below a drive's root.
pub const RING_FILES: [&str; 2] = ["aerie.keys.0", "aerie.keys.1"];
const MAGIC: &[u8; 4] = b"AEK1";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 64;
const CHECKSUM_AT: usize = 48;

/// Where the key that seals the ring's keys comes from.
#[derive(Debug, Clone)]
pub(super) enum Root {
    /// It lies in the file itself.
    Inside(Secret),
    Outside(Secret),
}

impl Root {
    pub fn secret(&self) -> &Secret {
        match self {
            Root::Inside(secret) | Root::Outside(secret) => secret,
        }
    }
}

/// All reachable copies of the file.
#[derive(Debug)]
pub(super) struct RingFiles {
    storages: Vec<Arc<dyn Storage>>,
    /// Copies on drives that are not here.
    absent: usize,
    root: Root,
    generation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRing {
    root: StoredRoot,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredRoot {
    /// The root key, hex.
    Inside(String),
    /// What tells one root key from another, hex.
    Outside(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    owner: String,
    created_ms: i64,
    state: KeyState,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    versions: Vec<StoredVersion>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shredded: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shredded_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredVersion {
    id: String,
    created_ms: i64,
    /// The secret under the ring's root, hex.
    wrapped: String,
}

/// What one copy holds.
#[derive(Default)]
struct Found {
    generation: u64,
    text: Vec<u8>,
    /// Files that hold anything; more than the newest is a change that a crash cut short.
    used: usize,
}

impl RingFiles {
    /// See `KeyRing::open`.
    pub fn open(
        storages: Vec<Arc<dyn Storage>>,
        absent: usize,
        given: Option<&RootKey>,
        entropy: &dyn Entropy,
    ) -> Result<(RingFiles, Keys), SealError> {
        let mut copies = Vec::with_capacity(storages.len());
        for storage in &storages {
            copies.push(read(&**storage).unwrap_or_else(|error| {
                tracing::warn!(place = place(&**storage), %error, "a copy of the key ring cannot be read");
                Found::default()
            }));
        }
        let newest = copies.iter().max_by_key(|copy| copy.generation).filter(|copy| copy.generation > 0);
        let (root, keys, generation, moved) = match newest {
            None => {
                let inside = || Root::Inside(Secret::random(entropy));
                (given.map_or_else(inside, |root| Root::Outside(root.0.clone())), Keys::default(), 0, true)
            }
            Some(newest) => {
                let stored: StoredRing = serde_json::from_slice(&newest.text)
                    .map_err(|error| SealError::Ring(format!("it is not of this program: {error}")))?;
                let root = find_root(&stored.root, given)?;
                let keys = read_keys(&stored, &root)?;
                match (root, given) {
                    // From now on the drives alone are not enough.
                    (Root::Inside(_), Some(given)) => {
                        tracing::info!("the key ring is sealed by the root key from outside from now on");
                        (Root::Outside(given.0.clone()), keys, newest.generation, true)
                    }
                    (root, _) => (root, keys, newest.generation, false),
                }
            }
        };
        let whole = copies.iter().all(|copy| copy.generation == generation && copy.used == 1);
        let mut files = RingFiles { storages, absent, root, generation };
        if moved || !whole {
            files.write(&keys)?;
        }
        Ok((files, keys))
    }

    /// Writes all copies; gives the places that could not be. At least one must take it.
    pub fn write(&mut self, keys: &Keys) -> Result<Vec<String>, SealError> {
        let text = self.text(keys);
        let most = limits::RING_BYTES_MAX;
        if (HEADER_BYTES + text.len()) as u64 > most {
            return Err(SealError::Ring(format!("it would have more than {most} bytes; delete buckets or keys")));
        }
        let generation = self.generation + 1;
        let slot = slot_of(&text, generation);
        let mut unreached = Vec::new();
        for storage in &self.storages {
            if let Err(error) = write_copy(&**storage, &slot, generation) {
                let place = place(&**storage);
                tracing::warn!(place, %error, "a copy of the key ring cannot be written");
                unreached.push(place);
            }
        }
        if unreached.len() == self.storages.len() {
            return Err(SealError::Ring(format!("no drive takes it: {}", unreached.join(", "))));
        }
        self.generation = generation;
        unreached.extend((0..self.absent).map(|_| "a drive that is away".to_owned()));
        Ok(unreached)
    }

    fn text(&self, keys: &Keys) -> Vec<u8> {
        let root = match &self.root {
            Root::Inside(secret) => StoredRoot::Inside(hex_encode(secret.bytes())),
            Root::Outside(secret) => StoredRoot::Outside(fingerprint(secret)),
        };
        let version = |owner: &RingKey, version: &KeyVersion| {
            let context = context_of(owner, &version.id);
            let wrapped = hex_encode(&wrapping(&self.root, &context).wrap(&version.secret, &context));
            StoredVersion { id: version.id.clone(), created_ms: version.created_ms, wrapped }
        };
        let key = |(owner, key): (&RingKey, &Key)| StoredKey {
            owner: owner_text(owner),
            created_ms: key.created_ms,
            state: key.state,
            aliases: key.aliases.clone(),
            versions: key.versions.iter().map(|of| version(owner, of)).collect(),
            shredded: key.shredded.clone(),
            shredded_ms: key.shredded_ms,
        };
        let stored = StoredRing { root, keys: keys.0.iter().map(key).collect() };
        serde_json::to_vec(&stored).expect("texts and numbers are JSON")
    }
}

fn place(storage: &dyn Storage) -> String {
    format!("{}/aerie.keys", storage.describe())
}

/// Tells root keys apart without telling them.
fn fingerprint(root: &Secret) -> String {
    hex_encode(&root.derive(&[], &[b"aerie ring fingerprint 1"]).bytes()[..8])
}

fn find_root(stored: &StoredRoot, given: Option<&RootKey>) -> Result<Root, SealError> {
    match (stored, given) {
        (StoredRoot::Inside(text), _) => {
            let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
            let damaged = || SealError::Ring("its root key is damaged".to_owned());
            bytes.map(|bytes| Root::Inside(Secret::new(bytes))).ok_or_else(damaged)
        }
        (StoredRoot::Outside(known), Some(given)) if *known == fingerprint(&given.0) => {
            Ok(Root::Outside(given.0.clone()))
        }
        (StoredRoot::Outside(known), Some(given)) => Err(SealError::Ring(format!(
            "it is sealed by root key {known}, the one that was given is {}; give the one that sealed it",
            fingerprint(&given.0)
        ))),
        (StoredRoot::Outside(known), None) => Err(SealError::Ring(format!(
            "it is sealed by root key {known}, which is not on the drives; give it by AERIE_ENCRYPTION_ROOT_KEY or \
             encryption.root_key_file"
        ))),
    }
}

fn read_keys(stored: &StoredRing, root: &Root) -> Result<Keys, SealError> {
    let damaged = |key: &StoredKey| SealError::Ring(format!("{} is damaged", key.owner));
    let mut keys = Keys::default();
    for key in &stored.keys {
        let owner = parse_owner(&key.owner).ok_or_else(|| damaged(key))?;
        let mut versions = Vec::with_capacity(key.versions.len());
        for version in &key.versions {
            let context = context_of(&owner, &version.id);
            let wrapped = hex::decode(&version.wrapped).map_err(|_| damaged(key))?;
            let secret = wrapping(root, &context).unwrap(&wrapped, &context).ok_or_else(|| damaged(key))?;
            versions.push(KeyVersion { id: version.id.clone(), created_ms: version.created_ms, secret });
        }
        let key = Key {
            created_ms: key.created_ms,
            state: key.state,
            aliases: key.aliases.clone(),
            versions,
            shredded: key.shredded.clone(),
            shredded_ms: key.shredded_ms,
        };
        keys.0.insert(owner, key);
    }
    Ok(keys)
}

/// A file's bytes: header and text.
fn slot_of(text: &[u8], generation: u64) -> Vec<u8> {
    let mut slot = vec![0; HEADER_BYTES];
    slot[..4].copy_from_slice(MAGIC);
    slot[4..8].copy_from_slice(&FORMAT.to_le_bytes());
    slot[8..16].copy_from_slice(&generation.to_le_bytes());
    slot[16..20].copy_from_slice(&(text.len() as u32).to_le_bytes());
    let checksum = block_checksum(0, &slot, text);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum);
    slot.extend_from_slice(text);
    slot
}

/// The file that this generation goes to; the other one holds the generation before.
fn name_of(generation: u64) -> &'static str {
    RING_FILES[(generation % 2) as usize]
}

fn read(storage: &dyn Storage) -> std::io::Result<Found> {
    let mut found = Found::default();
    for name in RING_FILES {
        let bytes = match storage.open(name, OpenMode::Read) {
            Ok(file) => bytes_of(&*file)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        found.used += 1;
        if let Some((generation, text)) = read_slot(&bytes)
            && generation > found.generation
        {
            (found.generation, found.text) = (generation, text.to_vec());
        }
    }
    Ok(found)
}

/// All bytes of a file, which none of ours exceeds.
fn bytes_of(file: &dyn StorageFile) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.len()?.min(limits::RING_BYTES_MAX) as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// `None`: torn, or of another program.
fn read_slot(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, text) = bytes.split_at_checked(HEADER_BYTES)?;
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let generation = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
    if header[..4] != *MAGIC || number(4) != FORMAT || number(16) as usize != text.len() {
        return None;
    }
    let mut unsummed = header.to_vec();
    unsummed[CHECKSUM_AT..].fill(0);
    (block_checksum(0, &unsummed, text) == header[CHECKSUM_AT..]).then_some((generation, text))
}

/// The new file is durable before the old one is overwritten, and both before this returns.
fn write_copy(storage: &dyn Storage, slot: &[u8], generation: u64) -> std::io::Result<()> {
    // A crash may have left something here.
    wipe(storage, name_of(generation))?;
    let file = storage.open(name_of(generation), OpenMode::Create)?;
    file.write_at(slot, 0)?;
    file.sync_data()?;
    storage.sync_dir("")?;
    wipe(storage, name_of(generation + 1))
}

/// Overwrites whatever is in the file, torn or whole, with zeros, and only then gives its blocks back.
fn wipe(storage: &dyn Storage, name: &str) -> std::io::Result<()> {
    let file = match storage.open(name, OpenMode::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = file.len()?;
    if length == 0 {
        return Ok(());
    }
    file.write_at(&vec![0; length.min(limits::RING_BYTES_MAX) as usize], 0)?;
    file.sync_data()?;
    file.set_len(0)?;
    file.sync_data()
}
