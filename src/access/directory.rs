//! All accounts, users, groups, roles, policies and keys at one moment: immutable once it is shared.
//!
//! Principals with their compiled policies are made when a directory is, so that a request looks up its key and has all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::principal::{Kind, Policies, Principal, UserName};
use super::record::{Grants, Group, Key, Managed, Role, User};
use super::{Account, builtin};

/// Account and name in lower case.
pub(super) type Name = (String, String);

pub(super) fn name_of(account: &str, name: &str) -> Name {
    (account.to_owned(), name.to_lowercase())
}

#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Grows with each change.
    pub(super) number: u64,
    pub(super) accounts: BTreeMap<String, Arc<Account>>,
    pub(super) users: BTreeMap<Name, Arc<User>>,
    pub(super) groups: BTreeMap<Name, Arc<Group>>,
    pub(super) roles: BTreeMap<Name, Arc<Role>>,
    pub(super) policies: BTreeMap<Name, Arc<Managed>>,
    pub(super) keys: BTreeMap<String, Arc<Key>>,
    /// By access key; made by `finish`.
    principals: HashMap<String, Arc<Principal>>,
}

impl Directory {
    pub fn account(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    pub fn account_of(&self, canonical_id: &str) -> Option<&Arc<Account>> {
        self.accounts.values().find(|account| account.canonical_id == canonical_id)
    }

    pub fn user(&self, account: &str, name: &str) -> Option<&Arc<User>> {
        self.users.get(&name_of(account, name))
    }

    pub fn users(&self, account: &str) -> impl Iterator<Item = &Arc<User>> {
        of_account(&self.users, account)
    }

    pub fn user_by_id(&self, account: &str, id: &str) -> Option<&Arc<User>> {
        self.users(account).find(|user| user.id == id)
    }

    pub fn group(&self, account: &str, name: &str) -> Option<&Arc<Group>> {
        self.groups.get(&name_of(account, name))
    }

    pub fn groups(&self, account: &str) -> impl Iterator<Item = &Arc<Group>> {
        of_account(&self.groups, account)
    }

    pub fn role(&self, account: &str, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(&name_of(account, name))
    }

    pub fn roles(&self, account: &str) -> impl Iterator<Item = &Arc<Role>> {
        of_account(&self.roles, account)
    }

    pub fn policies(&self, account: &str) -> impl Iterator<Item = &Arc<Managed>> {
        of_account(&self.policies, account)
    }

    /// A managed policy of the account by its ARN.
    pub fn policy(&self, account: &str, arn: &str) -> Option<&Arc<Managed>> {
        let name = arn.rsplit('/').next()?;
        self.policies.get(&name_of(account, name)).filter(|policy| policy.arn() == arn)
    }

    /// Whether an ARN names a managed policy that the account can use.
    pub fn has_policy(&self, account: &str, arn: &str) -> bool {
        builtin::find(arn).is_some() || self.policy(account, arn).is_some()
    }

    /// Keys of a user, or of root.
    pub fn keys(&self, account: &str, user: Option<&str>) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values().filter(move |key| key.account == account && key.user.as_deref() == user)
    }

    pub fn key(&self, access_key: &str) -> Option<&Arc<Key>> {
        self.keys.get(access_key)
    }

    pub(super) fn principal(&self, access_key: &str) -> Option<&Arc<Principal>> {
        self.principals.get(access_key)
    }

    /// Compiled policies of grants.
    fn compiled<'a>(
        &'a self,
        account: &'a str,
        grants: &'a Grants,
    ) -> impl Iterator<Item = Arc<super::policy::Policy>> {
        let inline = grants.inline.values().map(|document| document.policy.clone());
        let attached = grants.attached.iter().filter_map(move |arn| match builtin::find(arn) {
            Some(builtin) => Some(builtin.document.policy.clone()),
            None => Some(self.policy(account, arn)?.document()?.policy.clone()),
        });
        inline.chain(attached)
    }

    /// What a user's own and its groups' policies grant.
    pub(super) fn policies_of_user(&self, user: &User) -> Policies {
        let of_groups = self.groups(&user.account).filter(|group| user.groups.contains(&group.id));
        let grants = std::iter::once(&user.grants).chain(of_groups.map(|group| &group.grants));
        grants.flat_map(|grants| self.compiled(&user.account, grants)).collect()
    }

    pub(super) fn policies_of_role(&self, role: &Role) -> Policies {
        self.compiled(&role.account, &role.grants).collect()
    }

    /// Compiled managed policies that bound a session.
    pub(super) fn managed(&self, account: &str, arns: &[String]) -> Option<Policies> {
        let document = |arn: &String| match builtin::find(arn) {
            Some(builtin) => Some(builtin.document.policy.clone()),
            None => Some(self.policy(account, arn)?.document()?.policy.clone()),
        };
        arns.iter().map(document).collect()
    }

    /// What bounds a user or role. A boundary that is gone (which `delete_policy` refuses) allows nothing.
    pub(super) fn boundary(&self, account: &str, arn: Option<&String>) -> Option<Policies> {
        arn.map(|arn| self.managed(account, std::slice::from_ref(arn)).unwrap_or_default())
    }

    /// Makes the principals of all keys.
    pub(super) fn finish(&mut self) {
        let mut users: HashMap<(&str, &str), Principal> = HashMap::new();
        for user in self.users.values() {
            let Some(account) = self.accounts.get(&user.account) else { continue };
            let principal = Principal {
                kind: Kind::User(user_name(user)),
                granted: Some(self.policies_of_user(user)),
                boundary: self.boundary(&user.account, user.boundary.as_ref()),
                tags: Arc::new(user.tags.clone()),
                ..Principal::root(account.clone())
            };
            users.insert((&user.account, &user.id), principal);
        }
        let mut principals = HashMap::with_capacity(self.keys.len());
        for key in self.keys.values() {
            let Some(account) = self.accounts.get(&key.account) else { continue };
            let mut principal = match &key.user {
                None => Principal::root(account.clone()),
                Some(id) => match users.get(&(key.account.as_str(), id.as_str())) {
                    Some(user) => user.clone(),
                    // A key without its user is nobody's.
                    None => continue,
                },
            };
            if let Some(document) = &key.policy {
                let of = principal.user().cloned();
                principal.kind = Kind::ServiceAccount { of, name: key.access_key.clone() };
                principal.bounds = vec![[document.policy.clone()].into()];
            }
            principal.expires_ms = key.expires_ms;
            principals.insert(key.access_key.clone(), Arc::new(principal));
        }
        drop(users);
        self.principals = principals;
    }
}

pub(super) fn user_name(user: &User) -> UserName {
    UserName { id: user.id.clone(), name: user.name.clone(), path: user.path.clone() }
}

fn of_account<'a, T>(map: &'a BTreeMap<Name, Arc<T>>, account: &str) -> impl Iterator<Item = &'a Arc<T>> {
    let account = account.to_owned();
    let start = (account.clone(), String::new());
    map.range(start..).take_while(move |((of, _), _)| *of == account).map(|(_, value)| value)
}
