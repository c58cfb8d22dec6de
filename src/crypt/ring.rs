//! The key ring: a key for each bucket that has sealed objects, and the KMS keys of the store, each in versions.
//!
//! The newest version seals; older ones go on to open. Shredding removes versions from memory and file for good, and
//! only their ids stay, so that a reader is told what happened. Shared by all threads; changes are made one after the
//! other on the ring's own thread, which alone touches the file, and are visible once the file has them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError, bounded};
use futures_channel::oneshot;
use serde::Serialize;

use super::SealError;
use super::envelope::{DataKey, EnvelopeKeys, KmsFacts, KmsRequest, SealFacts, SealMode, Sealing};
use super::keys::{Key, KeyState, KeyVersion, Keys, RingKey, check_alias, check_name, random_hex};
use super::ring_file::RingFiles;
use super::secret::{CustomerKey, RootKey, Secret};
use super::vault::Vault;
use crate::limits;
use crate::seam::{Storage, World};

/// The alias by which AWS knows the key of an account that is used where none is named.
const DEFAULT_ALIAS: &str = "aws/s3";

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
    /// Changes so far: who holds a data key sees by it when to ask whether it still may.
    changes: AtomicU64,
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
        let inside =
            Arc::new(Inside { keys: RwLock::new(keys), changes: AtomicU64::new(0), files: Mutex::new(files), world });
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

    /// Whether the ring's keys would still open what was sealed so in the bucket: a key may be disabled or shredded while
    /// somebody holds a data key that it opened.
    pub fn check_open(&self, bucket: i64, facts: &SealFacts) -> Result<(), SealError> {
        let keys = self.read();
        keys.version(&RingKey::Bucket(bucket), facts.bucket_key())?;
        match &facts.kms {
            Some(kms) => keys.version(&RingKey::Kms(kms.key.clone()), &kms.version).map(drop),
            None => Ok(()),
        }
    }

    /// How often the ring has changed since it was opened.
    pub fn changes(&self) -> u64 {
        self.inside.changes.load(Ordering::Acquire)
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
        self.read().current(key).map(|newest| (newest.id.clone(), newest.secret.clone()))
    }

    pub(super) fn version(&self, owner: &RingKey, id: &str) -> Result<Secret, SealError> {
        self.read().version(owner, id).cloned()
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
        self.changes.fetch_add(1, Ordering::Release);
        Ok((given, unreached))
    }
}
