//! The directory in force, for all cores, and the thread that changes it.
//!
//! Readers take a snapshot. Changes go one after the other through the thread `access`: checked against the newest
//! directory, committed in the metadata, then put in force, and only then acknowledged. A caller that goes away meanwhile
//! stops nothing half-way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use futures_channel::oneshot;

use super::change::{AccessError, Change};
use super::directory::{Directory, user_name};
use super::load::{Loaded, load, with_store_account};
use super::principal::{Kind, Policies};
use super::record::Document;
use super::token::{Bearer, Bound, Claims, TokenKey};
use super::usage::{self, Use, Uses};
use super::{Account, Principal, Secret};
use crate::crypt::Vault;
use crate::limits;
use crate::meta::{Meta, MetaError};
use crate::seam::World;

/// What an access key stands for.
#[derive(Debug, Clone)]
pub struct Credential {
    pub secret: Secret,
    pub principal: Arc<Principal>,
}

/// Why an access key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("the access key does not exist, is not active, or has expired")]
    Unknown,
    #[error("the security token is not valid for this access key")]
    InvalidToken,
    #[error("the security token has expired")]
    ExpiredToken,
}

/// Temporary credentials as their maker gets them.
#[derive(Debug, Clone)]
pub struct Issued {
    pub access_key: String,
    pub secret: Secret,
    pub token: String,
    pub expires_ms: i64,
}

type Work = Box<dyn FnOnce(&Shared, &Meta, &Vault) + Send>;

/// Accounts, identities and keys; shared by all cores, asked on every request.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    /// Absent where nothing is kept: changes are refused.
    changes: Option<Sender<Option<Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    directory: RwLock<Arc<Directory>>,
    /// The operator's pair, which is kept outside of the metadata.
    root: (String, Credential),
    tokens: TokenKey,
    uses: Uses,
    /// Opened tokens, with the number of the directory that they were looked up in.
    sessions: Mutex<HashMap<String, (u64, String, Credential)>>,
    world: World,
}

impl Registry {
    /// The store's account with the operator's key pair, and nobody else, for good.
    pub fn of_root(access_key: impl Into<String>, secret: Secret, world: World) -> Registry {
        let directory = with_store_account(Directory::default());
        let shared = Shared::new(directory, access_key.into(), secret, (&[0; 32], Uses::default()), world);
        Registry { shared: Arc::new(shared), changes: None, thread: Mutex::new(None) }
    }

    /// What the metadata holds, with the operator's key pair; from now on changes are taken. Secrets that lie there in
    /// the clear, as they did before there was a vault, are sealed before anything else.
    pub fn open(
        meta: Meta,
        vault: Vault,
        access_key: impl Into<String>,
        secret: Secret,
        world: World,
    ) -> Result<Registry, MetaError> {
        let Loaded { directory, token_key, uses, clear } = load(&meta.reader()?, &vault, &world)?;
        if !clear.is_empty() {
            pollster::block_on(meta.set_properties(clear))?;
        }
        let shared = Arc::new(Shared::new(directory, access_key.into(), secret, (&token_key, uses), world));
        let (changes, work) = crossbeam_channel::bounded(limits::ACCESS_CHANGES_WAITING_MAX);
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("access".to_owned())
            .spawn(move || run(&of_thread, &meta, &vault, &work))
            .map_err(|error| MetaError::Unavailable(format!("no thread for identities: {error}")))?;
        Ok(Registry { shared, changes: Some(changes), thread: Mutex::new(Some(thread)) })
    }

    /// Finishes what is queued and ends the thread.
    pub fn stop(&self) {
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let (Some(thread), Some(changes)) = (thread, &self.changes) {
            _ = changes.send(None);
            if thread.join().is_err() {
                tracing::error!("the thread of identities panicked");
            }
        }
    }

    /// All identities as they are now.
    pub fn directory(&self) -> Arc<Directory> {
        self.shared.directory()
    }

    /// Access key of the operator's pair.
    pub fn root_access_key(&self) -> &str {
        &self.shared.root.0
    }

    /// The account that owns what a canonical id names.
    pub fn account_of(&self, canonical_id: &str) -> Option<Arc<Account>> {
        self.directory().account_of(canonical_id).cloned()
    }

    /// Looks up who signs with `access_key`; `token` came with temporary credentials.
    pub fn credential(&self, access_key: &str, token: Option<&str>, now_ms: i64) -> Result<Credential, KeyFault> {
        match token {
            Some(token) => self.shared.session(access_key, token, now_ms),
            None if access_key == self.shared.root.0 => Ok(self.shared.root.1.clone()),
            None => {
                let directory = self.directory();
                let key = directory
                    .key(access_key)
                    .filter(|key| key.active && key.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms));
                let (Some(key), Some(principal)) = (key, directory.principal(access_key)) else {
                    return Err(KeyFault::Unknown);
                };
                Ok(Credential { secret: key.secret.clone(), principal: principal.clone() })
            }
        }
    }

    /// Takes down that a key was used, with the next commit; where too much waits, not at all.
    pub fn note_use(&self, access_key: &str, latest: &Use) {
        if self.directory().key(access_key).is_none() || !self.shared.uses.note(access_key, latest) {
            return;
        }
        let Some(changes) = &self.changes else { return };
        let (access_key, latest) = (access_key.to_owned(), latest.clone());
        let work: Work = Box::new(move |shared, meta, _| shared.keep_use(meta, &access_key, &latest));
        if changes.try_send(Some(work)).is_err() {
            tracing::debug!("the use of an access key is not taken down: too many changes are waiting");
        }
    }

    pub fn last_use(&self, access_key: &str) -> Option<Use> {
        self.shared.uses.last(access_key)
    }

    /// Makes temporary credentials.
    pub fn issue(&self, account: &str, bearer: Bearer, bounds: Vec<Bound>, seconds: u32) -> Issued {
        let world = &self.shared.world;
        let mut random = [0u8; 48];
        world.entropy.fill(&mut random);
        let access_key = format!("ASIA{}", &crate::hash::hex_encode(&random[..8]).to_uppercase());
        let secret = crate::hash::base64_encode(&random[8..38]);
        let issued_ms = world.clock.unix_ms();
        let expires_ms = issued_ms + i64::from(seconds) * 1000;
        let account = account.to_owned();
        let claims = Claims {
            access_key: access_key.clone(),
            secret: secret.clone(),
            account,
            bearer,
            issued_ms,
            expires_ms,
            bounds,
        };
        let token = self.shared.tokens.seal(&claims, world);
        Issued { access_key, secret: Secret::new(secret), token, expires_ms }
    }

    /// Changes identities. What `change` gives is told after the change is durable and in force.
    pub async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, AccessError> + Send + 'static,
    ) -> Result<T, AccessError> {
        let Some(changes) = &self.changes else {
            return Err(AccessError::Unavailable("nothing is kept here".to_owned()));
        };
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |shared, meta, vault| {
            // The asker may have gone; what was done stands all the same.
            _ = reply.send(shared.apply(meta, vault, change));
        });
        let stopped = || AccessError::Unavailable("the store is stopping".to_owned());
        match changes.try_send(Some(work)) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())),
            Err(TrySendError::Full(_)) => Err(AccessError::Unavailable("too many changes are waiting".to_owned())),
            Err(TrySendError::Disconnected(_)) => Err(stopped()),
        }
    }
}

fn run(shared: &Shared, meta: &Meta, vault: &Vault, work: &Receiver<Option<Work>>) {
    while let Ok(Some(work)) = work.recv() {
        work(shared, meta, vault);
    }
}

impl Shared {
    fn new(
        directory: Directory,
        access_key: String,
        secret: Secret,
        (token_key, uses): (&[u8; 32], Uses),
        world: World,
    ) -> Shared {
        let principal = Arc::new(Principal::root(Arc::new(Account::store())));
        Shared {
            directory: RwLock::new(Arc::new(directory)),
            root: (access_key, Credential { secret, principal }),
            tokens: TokenKey::new(token_key),
            uses,
            sessions: Mutex::default(),
            world,
        }
    }

    fn directory(&self) -> Arc<Directory> {
        self.directory.read().expect("no holder of this lock panics").clone()
    }

    fn apply<T>(
        &self,
        meta: &Meta,
        vault: &Vault,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let mut draft = Change::of(&self.directory(), vault, &self.world);
        let done = change(&mut draft)?;
        let (directory, written) = draft.finish()?;
        if !written.is_empty() {
            let kept = pollster::block_on(meta.set_properties(written));
            kept.map_err(|error| AccessError::Unavailable(error.to_string()))?;
            *self.directory.write().expect("no holder of this lock panics") = Arc::new(directory);
        }
        Ok(done)
    }

    fn keep_use(&self, meta: &Meta, access_key: &str, latest: &Use) {
        // It may have been removed meanwhile, and what is kept of it with it.
        if self.directory().key(access_key).is_none() {
            return self.uses.forget(access_key);
        }
        let text = serde_json::to_string(latest).expect("a use is plain fields");
        if let Err(error) = pollster::block_on(meta.set_property(usage::property(access_key), Some(text))) {
            tracing::warn!(%error, "the use of an access key could not be kept");
        }
    }

    fn session(&self, access_key: &str, token: &str, now_ms: i64) -> Result<Credential, KeyFault> {
        let directory = self.directory();
        let mut sessions = self.sessions.lock().expect("no holder of this lock panics");
        let known = sessions.get(token).filter(|(number, _, _)| *number == directory.number);
        let (named, credential) = match known {
            Some((_, named, credential)) => (named.clone(), credential.clone()),
            None => {
                let claims = self.tokens.open(token).ok_or(KeyFault::InvalidToken)?;
                let principal = principal_of(&directory, &claims).ok_or(KeyFault::InvalidToken)?;
                let credential = Credential { secret: Secret::new(claims.secret), principal: Arc::new(principal) };
                if sessions.len() >= limits::SESSIONS_KNOWN_MAX {
                    sessions.clear();
                }
                let entry = (directory.number, claims.access_key.clone(), credential.clone());
                sessions.insert(token.to_owned(), entry);
                (claims.access_key, credential)
            }
        };
        if named != access_key {
            return Err(KeyFault::InvalidToken);
        }
        match credential.principal.expires_ms {
            Some(expires_ms) if now_ms < expires_ms => Ok(credential),
            _ => Err(KeyFault::ExpiredToken),
        }
    }
}

/// Whom a token's bearer acts for now; `None` where user, role or a policy is gone.
fn principal_of(directory: &Directory, claims: &Claims) -> Option<Principal> {
    let account = directory.account(&claims.account)?.clone();
    let root = Principal::root(account.clone());
    let bearer = match &claims.bearer {
        Bearer::Root => Principal { kind: Kind::Session { of: None }, ..root },
        Bearer::User(id) => {
            let user = directory.user_by_id(&account.id, id)?;
            Principal {
                kind: Kind::Session { of: Some(user_name(user)) },
                granted: Some(directory.policies_of_user(user)),
                boundary: directory.boundary(&account.id, user.boundary.as_ref()),
                tags: Arc::new(user.tags.clone()),
                ..root
            }
        }
        Bearer::Role { name, id, session } => {
            let role = directory.role(&account.id, name).filter(|role| role.id == *id)?;
            let kind = Kind::AssumedRole {
                id: id.clone(),
                role: role.name.clone(),
                path: role.path.clone(),
                session: session.clone(),
            };
            Principal {
                kind,
                granted: Some(directory.policies_of_role(role)),
                boundary: directory.boundary(&account.id, role.boundary.as_ref()),
                tags: Arc::new(role.tags.clone()),
                ..root
            }
        }
    };
    let bounds: Option<Vec<Policies>> =
        claims.bounds.iter().map(|bound| compile(directory, &account.id, bound)).collect();
    let (issued_ms, expires_ms) = (Some(claims.issued_ms), Some(claims.expires_ms));
    Some(Principal { bounds: bounds?, issued_ms, expires_ms, ..bearer })
}

fn compile(directory: &Directory, account: &str, bound: &Bound) -> Option<Policies> {
    let managed = directory.managed(account, &bound.managed)?;
    let texts: Result<Vec<_>, _> = bound.texts.iter().map(|text| Document::new(text).map(|it| it.policy)).collect();
    Some(texts.ok()?.into_iter().chain(managed.iter().cloned()).collect())
}
