//! The key ring: a key for each bucket that has sealed objects, and the KMS keys of the store, each in versions.
//!
//! The newest version seals; older ones go on to open. Shredding removes versions from memory and file for good, and
//! only their ids stay, so that a reader is told what happened. Shared by all threads; changes are made one after the
//! other on the ring's own thread, which alone touches the file, and are visible once the file has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError, bounded};
use futures_channel::oneshot;
use serde::Serialize;

use super::SealError;
use super::envelope::{DataKey, EnvelopeKeys, KmsFacts, KmsRequest, SealFacts, SealMode, Sealing};
use super::ring_file::{RingFiles, Root};
use super::secret::{CustomerKey, RootKey, Secret};
use super::vault::Vault;
use crate::hash;
use crate::limits;
use crate::seam::{Storage, World};

/// The alias by which AWS knows the key of an account that is used where none is named.
const DEFAULT_ALIAS: &str = "aws/s3";

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

/// A key as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyDescription {
    /// Of a KMS key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Number of the bucket, of a bucket's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<i64>,
    pub state: KeyState,
    pub aliases: Vec<String>,
    pub created_ms: i64,
    /// Versions that can open; the last one seals.
    pub versions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shredded_ms: Option<i64>,
}

/// What a shredding reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shredded {
    pub versions: usize,
    /// Copies of the ring that still hold the key: drives that are away or failed.
    pub unreached: Vec<String>,
}

type Job = Box<dyn FnOnce(&Inside) + Send>;

struct Inside {
    keys: RwLock<Keys>,
    files: Mutex<RingFiles>,
    world: World,
}

/// The ring of one store.
pub struct KeyRing {
    inside: Arc<Inside>,
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl KeyRing {
    /// Opens the newest copy, brings the others up to it, or makes a new ring where there is none. `absent` copies are on
    /// drives that are not here. With a `root` from outside, the keys in the file are of no use without it.
    pub fn open(
        storages: Vec<Arc<dyn Storage>>,
        absent: usize,
        root: Option<&RootKey>,
        world: World,
    ) -> Result<KeyRing, SealError> {
        let (files, keys) = RingFiles::open(storages, absent, root, &*world.entropy)?;
        let inside = Arc::new(Inside { keys: RwLock::new(keys), files: Mutex::new(files), world });
        let (jobs, received) = bounded::<Job>(limits::RING_CHANGES_WAITING_MAX);
        let of_thread = inside.clone();
        let thread = std::thread::Builder::new()
            .name("key-ring".to_owned())
            .spawn(move || received.into_iter().for_each(|job| job(&of_thread)))
            .map_err(|error| SealError::Ring(format!("no thread: {error}")))?;
        Ok(KeyRing { inside, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Makes the data key of a new object at (bucket, key) and what is to be kept with it.
    pub async fn seal(&self, place: (i64, &str), sealing: &Sealing) -> Result<(SealFacts, DataKey), SealError> {
        let (bucket_version, bucket_secret) = self.current_or_new(RingKey::Bucket(place.0)).await?;
        let entropy = &*self.inside.world.entropy;
        let make = |mode, kms, second: Option<&Secret>| {
            let keys = EnvelopeKeys { bucket: &bucket_secret, second };
            SealFacts::new(mode, place, bucket_version.clone(), kms, &keys, entropy)
        };
        match sealing {
            Sealing::S3 => Ok(make(SealMode::S3, None, None)),
            Sealing::Customer(CustomerKey(key)) => Ok(make(SealMode::Customer, None, Some(key))),
            Sealing::Kms(request) => {
                let (facts, secret) = self.kms_key(request)?;
                Ok(make(SealMode::Kms, Some(facts), Some(&secret)))
            }
        }
    }

    /// The data key of an object that was sealed at (bucket, key).
    pub fn open_object(
        &self,
        place: (i64, &str),
        facts: &SealFacts,
        customer: Option<&CustomerKey>,
    ) -> Result<DataKey, SealError> {
        let bucket = self.version(&RingKey::Bucket(place.0), facts.bucket_key())?;
        let second = match (facts.mode, customer, &facts.kms) {
            (SealMode::Customer, Some(CustomerKey(key)), _) => Some(key.clone()),
            (SealMode::Customer, None, _) => return Err(SealError::CustomerKeyNeeded),
            (_, Some(_), _) => return Err(SealError::CustomerKeyUnwanted),
            (SealMode::S3, None, _) => None,
            (SealMode::Kms, None, Some(kms)) => Some(self.version(&RingKey::Kms(kms.key.clone()), &kms.version)?),
            (SealMode::Kms, None, None) => return Err(SealError::Damaged("the object does not say which key it has")),
        };
        let opened = facts.open(place, &EnvelopeKeys { bucket: &bucket, second: second.as_ref() });
        opened.ok_or(match facts.mode {
            SealMode::Customer => SealError::CustomerKeyWrong,
            _ => SealError::Damaged("the object's key does not open: it was changed, or belongs to another object"),
        })
    }

    /// Seals small secrets; its key is made where it is not there yet.
    pub async fn vault(self: &Arc<Self>) -> Result<Vault, SealError> {
        self.current_or_new(RingKey::Vault).await?;
        Ok(Vault::new(self.clone(), self.inside.world.clone()))
    }

    /// The KMS key that a request names must be usable.
    pub fn check_kms(&self, request: &KmsRequest) -> Result<(), SealError> {
        self.kms_key(request).map(drop)
    }

    /// Makes a KMS key; without an id, one of 128 random bits.
    pub async fn create(&self, id: Option<String>, alias: Option<String>) -> Result<String, SealError> {
        if let Some(id) = &id {
            check_name("a key's id", id, "")?;
        }
        if let Some(alias) = &alias {
            check_alias(alias)?;
        }
        let world = self.inside.world.clone();
        let (id, _) = self
            .change(move |keys| {
                let id = id.unwrap_or_else(|| random_hex::<16>(&world));
                if keys.0.contains_key(&RingKey::Kms(id.clone())) {
                    return Err(SealError::KeyExists(id));
                }
                if let Some(alias) = &alias {
                    keys.take_alias(alias);
                }
                let key = Key { aliases: alias.into_iter().collect(), ..Key::new(&world) };
                keys.0.insert(RingKey::Kms(id.clone()), key);
                Ok(id)
            })
            .await?;
        Ok(id)
    }

    /// Gives the alias to the KMS key, whoever had it before.
    pub async fn set_alias(&self, id: &str, alias: String) -> Result<(), SealError> {
        check_alias(&alias)?;
        let key = RingKey::Kms(id.to_owned());
        self.change(move |keys| {
            keys.usable(&key)?;
            keys.take_alias(&alias);
            keys.find(&key)?.aliases.push(alias);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Adds a version, which seals from now on.
    pub async fn rotate(&self, key: RingKey) -> Result<(), SealError> {
        let world = self.inside.world.clone();
        self.change(move |keys| {
            keys.usable(&key)?;
            keys.find(&key)?.versions.push(KeyVersion::new(&world));
            Ok(())
        })
        .await
        .map(drop)
    }

    pub async fn set_enabled(&self, id: &str, enabled: bool) -> Result<(), SealError> {
        let key = RingKey::Kms(id.to_owned());
        self.change(move |keys| {
            let found = keys.find(&key)?;
            if found.state == KeyState::Shredded {
                return Err(SealError::KeyShredded(key.to_string()));
            }
            found.state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Destroys every version of the key: what was sealed with it can never be read again.
    pub async fn shred(&self, key: RingKey) -> Result<Shredded, SealError> {
        let now_ms = self.inside.world.clock.unix_ms();
        let change = move |keys: &mut Keys| {
            let found = keys.find(&key)?;
            let versions = found.versions.len();
            found.shredded.extend(found.versions.drain(..).map(|version| version.id));
            found.shredded_ms = Some(now_ms);
            if let RingKey::Kms(_) = key {
                found.state = KeyState::Shredded;
            }
            Ok(versions)
        };
        let (versions, unreached) = self.change(change).await?;
        Ok(Shredded { versions, unreached })
    }

    /// The bucket is gone, and with it its key.
    pub async fn forget_bucket(&self, bucket: i64) -> Result<(), SealError> {
        let key = RingKey::Bucket(bucket);
        if !self.read().0.contains_key(&key) {
            return Ok(());
        }
        self.change(move |keys| Ok(keys.0.remove(&key).is_some())).await.map(drop)
    }

    pub fn list(&self) -> Vec<KeyDescription> {
        let describe = |(owner, key): (&RingKey, &Key)| {
            let (id, bucket) = match owner {
                RingKey::Bucket(bucket) => (None, Some(*bucket)),
                RingKey::Kms(id) => (Some(id.clone()), None),
                // Nobody has a choice about it.
                RingKey::Vault => return None,
            };
            Some(KeyDescription {
                key: id,
                bucket,
                state: key.state,
                aliases: key.aliases.clone(),
                created_ms: key.created_ms,
                versions: key.versions.iter().map(|version| version.id.clone()).collect(),
                shredded_ms: key.shredded_ms,
            })
        };
        self.read().0.iter().filter_map(describe).collect()
    }

    /// The id of the KMS key that a name (id, alias or ARN) stands for.
    pub fn resolve(&self, name: &str) -> Result<String, SealError> {
        let unknown = || SealError::NoSuchKey(name.to_owned());
        // arn:PARTITION:kms:REGION:ACCOUNT:key/ID or …:alias/NAME
        let local = if name.starts_with("arn:") {
            name.splitn(6, ':').nth(5).filter(|_| name.split(':').nth(2) == Some("kms")).ok_or_else(unknown)?
        } else {
            name
        };
        let keys = self.read();
        if let Some(alias) = local.strip_prefix("alias/") {
            return keys.of_alias(alias).ok_or_else(unknown);
        }
        let id = local.strip_prefix("key/").unwrap_or(local);
        keys.0.contains_key(&RingKey::Kms(id.to_owned())).then(|| id.to_owned()).ok_or_else(unknown)
    }

    fn kms_key(&self, request: &KmsRequest) -> Result<(KmsFacts, Secret), SealError> {
        let id = match &request.key {
            Some(name) => self.resolve(name)?,
            None => self.read().of_alias(DEFAULT_ALIAS).ok_or(SealError::NoDefaultKey)?,
        };
        let owner = RingKey::Kms(id.clone());
        self.read().usable(&owner)?;
        let (version, secret) = self.current(&owner).ok_or_else(|| SealError::KeyMissing(owner.to_string()))?;
        let named = request.key.clone().filter(|name| name.starts_with("arn:") && !name.contains(":alias/"));
        let facts = KmsFacts {
            named: named.unwrap_or_else(|| id.clone()),
            key: id,
            version,
            context: request.context.clone(),
            bucket_key_enabled: request.bucket_key_enabled,
        };
        Ok((facts, secret))
    }

    /// The version that seals, of a key that is made when it is first needed.
    async fn current_or_new(&self, owner: RingKey) -> Result<(String, Secret), SealError> {
        if let Some(found) = self.current(&owner) {
            return Ok(found);
        }
        let world = self.inside.world.clone();
        let change = move |keys: &mut Keys| {
            let key = keys.0.entry(owner).or_insert_with(|| Key::empty(world.clock.unix_ms()));
            // Another upload may have been faster.
            if key.versions.is_empty() {
                key.versions.push(KeyVersion::new(&world));
            }
            let newest = key.versions.last().expect("it has one now");
            Ok((newest.id.clone(), newest.secret.clone()))
        };
        Ok(self.change(change).await?.0)
    }

    /// The version that seals.
    pub(super) fn current(&self, key: &RingKey) -> Option<(String, Secret)> {
        let keys = self.read();
        let newest = keys.0.get(key)?.versions.last()?;
        Some((newest.id.clone(), newest.secret.clone()))
    }

    pub(super) fn version(&self, owner: &RingKey, id: &str) -> Result<Secret, SealError> {
        let keys = self.read();
        let missing = || SealError::KeyMissing(owner.to_string());
        let key = keys.0.get(owner).ok_or_else(missing)?;
        if key.shredded.iter().any(|shredded| shredded == id) {
            return Err(SealError::KeyShredded(owner.to_string()));
        }
        keys.usable(owner)?;
        key.versions.iter().find(|version| version.id == id).map(|version| version.secret.clone()).ok_or_else(missing)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.inside.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the ring's thread change the keys and write them; gives the copies that could not be written.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<T, SealError> + Send + 'static,
    ) -> Result<(T, Vec<String>), SealError> {
        let (done, outcome) = oneshot::channel();
        let job: Job = Box::new(move |inside| {
            // Whoever asked may have gone meanwhile.
            _ = done.send(inside.apply(change));
        });
        let sent = match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(jobs) => jobs.try_send(job),
            None => return Err(SealError::Ring("it is closed".to_owned())),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(SealError::Ring("too many changes wait; try again".to_owned())),
            Err(TrySendError::Disconnected(_)) => return Err(SealError::Ring("its thread has ended".to_owned())),
        }
        outcome.await.map_err(|_| SealError::Ring("its thread has ended".to_owned()))?
    }

    /// Finishes the changes that wait.
    pub fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the key ring's thread panicked");
        }
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.read().0.len()).finish_non_exhaustive()
    }
}

impl Inside {
    fn apply<T>(&self, change: impl FnOnce(&mut Keys) -> Result<T, SealError>) -> Result<(T, Vec<String>), SealError> {
        let mut changed = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let given = change(&mut changed)?;
        let unreached = self.files.lock().unwrap_or_else(PoisonError::into_inner).write(&changed)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = changed;
        Ok((given, unreached))
    }
}

impl Keys {
    fn find(&mut self, key: &RingKey) -> Result<&mut Key, SealError> {
        self.0.get_mut(key).ok_or_else(|| unknown(key))
    }

    /// A key that may seal and open.
    fn usable(&self, key: &RingKey) -> Result<(), SealError> {
        match (self.0.get(key).ok_or_else(|| unknown(key))?.state, key) {
            (KeyState::Disabled, RingKey::Kms(id)) => Err(SealError::KeyDisabled(id.clone())),
            (KeyState::Shredded, _) => Err(SealError::KeyShredded(key.to_string())),
            _ => Ok(()),
        }
    }

    fn of_alias(&self, alias: &str) -> Option<String> {
        self.0.iter().find_map(|(owner, key)| match owner {
            RingKey::Kms(id) if key.aliases.iter().any(|known| known == alias) => Some(id.clone()),
            _ => None,
        })
    }

    fn take_alias(&mut self, alias: &str) {
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
    fn empty(now_ms: i64) -> Key {
        Key {
            created_ms: now_ms,
            state: KeyState::Enabled,
            aliases: Vec::new(),
            versions: Vec::new(),
            shredded: Vec::new(),
            shredded_ms: None,
        }
    }

    fn new(world: &World) -> Key {
        Key { versions: vec![KeyVersion::new(world)], ..Key::empty(world.clock.unix_ms()) }
    }
}

impl KeyVersion {
    fn new(world: &World) -> KeyVersion {
        let secret = Secret::random(&*world.entropy);
        KeyVersion { id: random_hex::<8>(world), created_ms: world.clock.unix_ms(), secret }
    }
}

fn random_hex<const BYTES: usize>(world: &World) -> String {
    let mut bytes = [0; BYTES];
    world.entropy.fill(&mut bytes);
    hash::hex_encode(&bytes)
}

fn check_alias(alias: &str) -> Result<(), SealError> {
    check_name("an alias", alias, "/")
}

fn check_name(what: &str, name: &str, further: &str) -> Result<(), SealError> {
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
