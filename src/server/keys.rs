//! The key ring of the store: where its root key comes from, and the calls on keys of the admin API.
//!
//! The root key is taken from AERIE_ENCRYPTION_ROOT_KEY, the file that `encryption.root_key_file` names, or systemd's
//! credential `aerie-root-key`, in this order. Without any it lies in the ring's own file.

use std::path::PathBuf;
use std::rc::Rc;

use http::{Method, StatusCode};
use serde_json::json;

use super::admin::{AdminApi, Answer, Refusal, bad, said, show};
use crate::config::{EncryptionSettings, StoreDefault};
use crate::crypt::{DefaultSealing, EncryptionRule, KeyRing, RingKey, RootKey, SealError};
use crate::engine::{Engine, EngineError};
use crate::limits;
use crate::meta::{Bucket, BucketId, ListedVersion, VersionKind, VersionRef, VersionsQuery};
use crate::pool::Pool;
use crate::seam::World;
use crate::wire::AdminRequest;

/// Name of systemd's credential.
const CREDENTIAL: &str = "aerie-root-key";

/// Opens or makes the ring on the first m+1 drives.
pub fn open(
    environment: impl Fn(&str) -> Option<String>,
    settings: &EncryptionSettings,
    pool: &Pool,
    world: &World,
) -> Result<KeyRing, String> {
    let root = root_key(environment, settings)?;
    let storages: Vec<_> = pool.copies().into_iter().map(|(_, storage, _)| storage).collect();
    let absent = usize::from(pool.geometry().parity) + 1 - storages.len();
    KeyRing::open(storages, absent, root.as_ref(), world.clone()).map_err(|error| error.to_string())
}

fn root_key(
    environment: impl Fn(&str) -> Option<String>,
    settings: &EncryptionSettings,
) -> Result<Option<RootKey>, String> {
    let parse = |place: &str, text: &str| RootKey::parse(text).map(Some).map_err(|error| format!("{place}: {error}"));
    if let Some(text) = environment("AERIE_ENCRYPTION_ROOT_KEY") {
        return parse("AERIE_ENCRYPTION_ROOT_KEY", &text);
    }
    let credential = environment("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(CREDENTIAL));
    let file = settings.root_key_file.clone().or_else(|| credential.filter(|file| file.exists()));
    let Some(file) = file else { return Ok(None) };
    let place = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{place}: {error}"))?;
    parse(&place, &text)
}

/// How objects are sealed where neither request nor bucket says.
pub fn store_rule(settings: &EncryptionSettings) -> Option<EncryptionRule> {
    let sealing = match settings.default {
        StoreDefault::None => return None,
        StoreDefault::S3 => DefaultSealing::S3,
        StoreDefault::Kms => DefaultSealing::Kms { key: settings.kms_key.clone() },
    };
    Some(EncryptionRule::of(sealing))
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Refusal {
        let status = match &error {
            SealError::NoSuchKey(_) | SealError::NoDefaultKey => StatusCode::NOT_FOUND,
            SealError::KeyExists(_) | SealError::KeyDisabled(_) | SealError::KeyShredded(_) => StatusCode::CONFLICT,
            SealError::Invalid(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal(status, error.to_string())
    }
}

/// Forgets the keys of buckets that are gone. That waits for a start, because a hook may still be owed an object of one.
pub fn sweep(engine: &Engine) -> Result<(), EngineError> {
    let ring = engine.keys()?;
    for id in ring.list().into_iter().filter_map(|key| key.bucket) {
        if !engine.reader().refers_to_bucket(BucketId(id))? {
            pollster::block_on(ring.forget_bucket(id))?;
        }
    }
    Ok(())
}

/// What a call is about.
enum Subject {
    Bucket(Bucket),
    Kms(String),
}

impl Subject {
    fn ring_key(&self) -> RingKey {
        match self {
            Subject::Bucket(bucket) => RingKey::Bucket(bucket.id.0),
            Subject::Kms(id) => RingKey::Kms(id.clone()),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Bucket(bucket) => write!(f, "the key of bucket {}", bucket.name),
            Subject::Kms(id) => write!(f, "key {id}"),
        }
    }
}

impl AdminApi {
    /// Calls below `v1/keys`.
    pub(super) async fn keys(&self, request: &AdminRequest, path: &[&str]) -> Answer {
        let ring = self.engine.keys()?;
        let text = |name: &str| request.query(name).map(str::to_owned);
        match (&request.method, path) {
            (&Method::GET, []) => self.list_keys(ring),
            (&Method::POST, []) => {
                let id = ring.create(text("key"), text("alias")).await?;
                said(format!("key {id} is made"))
            }
            (&Method::POST, ["rotate"]) => {
                let subject = self.subject(request)?;
                ring.rotate(subject.ring_key()).await?;
                said(format!("{subject} has a new version, which seals from now on; older ones go on to open"))
            }
            (&Method::POST, ["enable" | "disable"]) => {
                let Subject::Kms(id) = self.subject(request)? else { return Err(bad("name a key, not a bucket")) };
                let enabled = path == ["enable"];
                ring.set_enabled(&id, enabled).await?;
                said(format!("key {id} is {}", if enabled { "enabled" } else { "disabled" }))
            }
            (&Method::POST, ["alias"]) => {
                let Subject::Kms(id) = self.subject(request)? else { return Err(bad("name a key, not a bucket")) };
                let alias = text("alias").ok_or_else(|| bad("name the alias"))?;
                ring.set_alias(&id, alias.clone()).await?;
                said(format!("alias/{alias} is key {id}"))
            }
            (&Method::POST, ["shred"]) => self.shred(ring, self.subject(request)?).await,
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such call on keys".to_owned())),
        }
    }

    fn subject(&self, request: &AdminRequest) -> Result<Subject, Refusal> {
        match (request.query("key"), request.query("bucket")) {
            (Some(name), None) => Ok(Subject::Kms(self.engine.keys()?.resolve(name)?)),
            (None, Some(name)) => Ok(Subject::Bucket(self.engine.bucket(name)?)),
            _ => Err(bad("name a key or a bucket")),
        }
    }

    fn list_keys(&self, ring: &KeyRing) -> Answer {
        let buckets = self.engine.buckets()?;
        let name_of = |id: i64| buckets.iter().find(|bucket| bucket.id.0 == id).map(|bucket| bucket.name.as_str());
        let key = |key: crate::crypt::KeyDescription| {
            let bucket = key.bucket.map(|id| name_of(id).unwrap_or("(the store's own)"));
            json!({"key": key.key, "bucket": bucket, "state": key.state, "aliases": key.aliases,
                   "created_ms": key.created_ms, "versions": key.versions, "shredded_ms": key.shredded_ms})
        };
        show(&ring.list().into_iter().map(key).collect::<Vec<_>>())
    }

    async fn shred(&self, ring: &KeyRing, subject: Subject) -> Answer {
        let shredded = ring.shred(subject.ring_key()).await?;
        tracing::warn!(%subject, versions = shredded.versions, "a key was shredded");
        let mut text = format!("{subject} is shredded: what was sealed with it can never be read again");
        for place in &shredded.unreached {
            text.push_str(&format!("\nNOT reached: {place} still holds the key; bring the drive back, or destroy it"));
        }
        if let Subject::Bucket(bucket) = subject {
            let name = bucket.name.clone();
            let plain = self.errand(move |engine| count_plain(engine, &bucket)).await??;
            if plain > 0 {
                text.push_str(&format!(
                    "\n{plain} versions in {name} were never sealed and are readable still: delete them"
                ));
            }
        }
        said(text)
    }
}

/// Versions that no key protects, within a bound.
fn count_plain(engine: &Rc<Engine>, bucket: &Bucket) -> Result<u64, EngineError> {
    let mut query = VersionsQuery {
        bucket: bucket.id,
        prefix: String::new(),
        delimiter: None,
        key_marker: None,
        version_marker: None,
        limit: limits::LIST_KEYS_MAX,
    };
    let mut plain = 0;
    for _ in 0..limits::SHRED_COUNT_PAGES_MAX {
        let page = engine.list_versions(&query)?;
        for entry in &page.entries {
            let ListedVersion::Version { version, .. } = entry else { continue };
            let sealed = version.attributes.encryption.is_some();
            plain += u64::from(!sealed && version.kind == VersionKind::Object && version.size > 0);
        }
        let Some(ListedVersion::Version { version, .. }) = page.entries.last().filter(|_| page.truncated) else {
            break;
        };
        query.key_marker = Some(version.key.clone());
        query.version_marker = Some(VersionRef::Numbered(version.sequence));
    }
    Ok(plain)
}
