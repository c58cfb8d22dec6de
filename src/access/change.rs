//! Changes to the directory: checked against it, made to a copy of it, and written down for the metadata.

mod keys;
mod members;
mod policies;
mod roles;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::Account;
use super::directory::{Directory, Name, name_of};
use super::policy::PolicyFault;
use super::record::{Grants, Group, Key, Managed, Role, User};
use super::usage;
use crate::crypt::Vault;
use crate::limits;
use crate::seam::World;

pub use keys::NewKey;
pub use policies::NewPolicy;
pub use roles::NewRole;

/// Why a change is refused. `code` is IAM's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error("{0}")]
    NoSuchEntity(String),
    #[error("{0}")]
    EntityAlreadyExists(String),
    #[error("{0}")]
    DeleteConflict(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unmodifiable(String),
    #[error("identities cannot be changed now: {0}")]
    Unavailable(String),
}

impl AccessError {
    pub fn code(&self) -> &'static str {
        match self {
            AccessError::NoSuchEntity(_) => "NoSuchEntity",
            AccessError::EntityAlreadyExists(_) => "EntityAlreadyExists",
            AccessError::DeleteConflict(_) => "DeleteConflict",
            AccessError::LimitExceeded(_) => "LimitExceeded",
            AccessError::Malformed(_) => "MalformedPolicyDocument",
            AccessError::Invalid(_) => "ValidationError",
            AccessError::Unmodifiable(_) => "UnmodifiableEntity",
            AccessError::Unavailable(_) => "ServiceFailure",
        }
    }
}

impl From<PolicyFault> for AccessError {
    fn from(fault: PolicyFault) -> AccessError {
        AccessError::Malformed(fault.0)
    }
}

/// What carries policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    User,
    Group,
    Role,
}

impl Carrier {
    pub fn noun(self) -> &'static str {
        match self {
            Carrier::User => "user",
            Carrier::Group => "group",
            Carrier::Role => "role",
        }
    }
}

/// Properties to write; `None` removes one.
pub(super) type Properties = Vec<(String, Option<String>)>;

/// One change under way.
pub struct Change<'a> {
    directory: Directory,
    /// Properties to write; `None` removes one.
    written: BTreeMap<String, Option<String>>,
    /// Why something could not be written down.
    fault: Option<AccessError>,
    vault: &'a Vault,
    world: &'a World,
}

impl<'a> Change<'a> {
    pub(super) fn of(directory: &Directory, vault: &'a Vault, world: &'a World) -> Change<'a> {
        Change { directory: directory.clone(), written: BTreeMap::new(), fault: None, vault, world }
    }

    /// The directory as it will be, and what to write.
    pub(super) fn finish(mut self) -> Result<(Directory, Properties), AccessError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.directory.number += 1;
        self.directory.finish();
        Ok((self.directory, self.written.into_iter().collect()))
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    fn now_ms(&self) -> i64 {
        self.world.clock.unix_ms()
    }

    /// `prefix` and as many characters as make twenty-one, or twenty for an access key.
    fn new_id(&self, prefix: &str, length: usize) -> String {
        let mut random = [0u8; 20];
        self.world.entropy.fill(&mut random);
        let letters = random.iter().map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)]));
        prefix.chars().chain(letters).take(length).collect()
    }

    fn write<T: Serialize>(&mut self, property: String, record: &T) {
        let text = serde_json::to_string(record).expect("records are plain fields with text keys");
        self.written.insert(property, Some(text));
    }

    fn put_user(&mut self, user: User) {
        let name = name_of(&user.account, &user.name);
        self.write(property("user", &name), &user);
        self.directory.users.insert(name, Arc::new(user));
    }

    fn put_group(&mut self, group: Group) {
        let name = name_of(&group.account, &group.name);
        self.write(property("group", &name), &group);
        self.directory.groups.insert(name, Arc::new(group));
    }

    fn put_role(&mut self, role: Role) {
        let name = name_of(&role.account, &role.name);
        self.write(property("role", &name), &role);
        self.directory.roles.insert(name, Arc::new(role));
    }

    fn put_policy(&mut self, policy: Managed) {
        let name = name_of(&policy.account, &policy.name);
        self.write(property("policy", &name), &policy);
        self.directory.policies.insert(name, Arc::new(policy));
    }

    fn put_key(&mut self, key: Key) {
        match key.sealed(self.vault) {
            Ok(sealed) => self.write(key_property(&key.access_key), &sealed),
            Err(error) => self.fault = Some(AccessError::Unavailable(error.to_string())),
        }
        self.directory.keys.insert(key.access_key.clone(), Arc::new(key));
    }

    fn forget_key(&mut self, access_key: &str) {
        self.written.insert(key_property(access_key), None);
        self.written.insert(usage::property(access_key), None);
        self.directory.keys.remove(access_key);
    }

    fn remove(&mut self, kind: &str, name: &Name) {
        self.written.insert(property(kind, name), None);
        match kind {
            "user" => drop(self.directory.users.remove(name)),
            "group" => drop(self.directory.groups.remove(name)),
            "role" => drop(self.directory.roles.remove(name)),
            _ => drop(self.directory.policies.remove(name)),
        }
    }

    /// Changes the policies of a user, group or role.
    fn edit<T>(
        &mut self,
        account: &str,
        carrier: Carrier,
        name: &str,
        edit: impl FnOnce(&mut Grants) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        match carrier {
            Carrier::User => {
                let mut user = User::clone(self.directory.find_user(account, name)?);
                let done = edit(&mut user.grants)?;
                self.put_user(user);
                Ok(done)
            }
            Carrier::Group => {
                let mut group = Group::clone(self.directory.find_group(account, name)?);
                let done = edit(&mut group.grants)?;
                self.put_group(group);
                Ok(done)
            }
            Carrier::Role => {
                let mut role = Role::clone(self.directory.find_role(account, name)?);
                let done = edit(&mut role.grants)?;
                self.put_role(role);
                Ok(done)
            }
        }
    }

    /// Makes an account with a key pair for its root.
    pub fn create_account(&mut self, name: &str) -> Result<(Account, Key), AccessError> {
        check_name("account", name, 64)?;
        if self.directory.accounts.values().any(|account| account.name.eq_ignore_ascii_case(name)) {
            return Err(AccessError::EntityAlreadyExists(format!("an account named {name} is there already")));
        }
        if self.directory.accounts.len() >= limits::ACCOUNTS_MAX {
            return Err(AccessError::LimitExceeded(format!("there are {} accounts", limits::ACCOUNTS_MAX)));
        }
        let mut random = [0u8; 40];
        let id = loop {
            self.world.entropy.fill(&mut random);
            let number = u64::from_le_bytes(random[..8].try_into().expect("eight bytes"));
            // Twelve digits that do not begin with 0: the store's own begins so.
            let id = format!("{:012}", 100_000_000_000 + number % 900_000_000_000);
            if !self.directory.accounts.contains_key(&id) {
                break id;
            }
        };
        let canonical_id = crate::hash::hex_encode(&random[8..]);
        let account = Account { id, canonical_id, name: name.to_owned(), created_ms: self.now_ms() };
        self.write(format!("access/account/{}", account.id), &account);
        self.directory.accounts.insert(account.id.clone(), Arc::new(account.clone()));
        let key = self.create_key(&account.id, NewKey { description: "root".to_owned(), ..NewKey::default() })?;
        Ok((account, key))
    }

    /// Removes an account that has no users, groups, roles or policies left; its root's keys go with it.
    pub fn delete_account(&mut self, id: &str) -> Result<(), AccessError> {
        let Some(account) = self.directory.accounts.get(id).filter(|account| !account.is_store()).cloned() else {
            return Err(AccessError::NoSuchEntity(format!("there is no account {id} that can be removed")));
        };
        let directory = &self.directory;
        let empty = directory.users(id).next().is_none()
            && directory.groups(id).next().is_none()
            && directory.roles(id).next().is_none()
            && directory.policies(id).next().is_none();
        if !empty {
            let text =
                format!("account {} still has users, groups, roles or policies; remove them first", account.name);
            return Err(AccessError::DeleteConflict(text));
        }
        let keys: Vec<String> = directory.keys(id, None).map(|key| key.access_key.clone()).collect();
        for access_key in keys {
            self.forget_key(&access_key);
        }
        self.written.insert(format!("access/account/{id}"), None);
        self.directory.accounts.remove(id);
        Ok(())
    }
}

const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) fn key_property(access_key: &str) -> String {
    format!("access/key/{access_key}")
}

fn property(kind: &str, (account, name): &Name) -> String {
    format!("access/{kind}/{account}/{name}")
}

/// One more than the quota of this name allows.
fn over_quota(name: &str, max: usize) -> AccessError {
    AccessError::LimitExceeded(format!("Cannot exceed quota for {name}: {max}"))
}

fn already_exists(noun: &str, name: &str) -> AccessError {
    AccessError::EntityAlreadyExists(format!("{noun} with name {name} already exists."))
}

/// Sets and removes tags.
fn retag(
    tags: &mut BTreeMap<String, String>,
    set: BTreeMap<String, String>,
    remove: &[String],
) -> Result<(), AccessError> {
    tags.extend(set);
    tags.retain(|key, _| !remove.contains(key));
    if tags.len() > limits::IDENTITY_TAGS_MAX {
        let text = format!("The number of tags has reached the maximum limit: {}", limits::IDENTITY_TAGS_MAX);
        return Err(AccessError::LimitExceeded(text));
    }
    Ok(())
}

/// IAM's names: letters, digits and `+=,.@-_`.
pub(super) fn check_name(what: &str, name: &str, chars_max: usize) -> Result<(), AccessError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@-_".contains(&byte);
    if !name.is_empty() && name.len() <= chars_max && name.bytes().all(plain) {
        return Ok(());
    }
    Err(AccessError::Invalid(format!(
        "The specified value for {what} name is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_- and have 1 to {chars_max} characters"
    )))
}

/// IAM's paths: `/`, or `/a/b/`.
fn check_path(path: &str) -> Result<(), AccessError> {
    let plain = path.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && !matches!(byte, b':' | b'*' | b'?' | b'$'));
    if path.starts_with('/') && path.ends_with('/') && path.len() <= 512 && plain && !path.contains("//") {
        return Ok(());
    }
    let text = "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or /";
    Err(AccessError::Invalid(text.to_owned()))
}

fn not_found<T>(what: &str, name: &str) -> Result<T, AccessError> {
    Err(AccessError::NoSuchEntity(format!("The {what} with name {name} cannot be found.")))
}

impl Directory {
    pub fn find_user(&self, account: &str, name: &str) -> Result<&Arc<User>, AccessError> {
        self.user(account, name).map_or_else(|| not_found("user", name), Ok)
    }

    pub fn find_group(&self, account: &str, name: &str) -> Result<&Arc<Group>, AccessError> {
        self.group(account, name).map_or_else(|| not_found("group", name), Ok)
    }

    pub fn find_role(&self, account: &str, name: &str) -> Result<&Arc<Role>, AccessError> {
        self.role(account, name).map_or_else(|| not_found("role", name), Ok)
    }

    /// The policies of a user, group or role.
    pub fn grants(&self, account: &str, carrier: Carrier, name: &str) -> Result<&Grants, AccessError> {
        Ok(match carrier {
            Carrier::User => &self.find_user(account, name)?.grants,
            Carrier::Group => &self.find_group(account, name)?.grants,
            Carrier::Role => &self.find_role(account, name)?.grants,
        })
    }
}
