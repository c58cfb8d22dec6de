//! Policies of identities: inline ones, managed ones and their versions, and what they are attached to.

use std::collections::BTreeMap;

use super::{AccessError, Carrier, Change, check_name, check_path, over_quota, retag};
use crate::access::builtin;
use crate::access::directory::{Directory, name_of};
use crate::access::record::{Document, Grants, Managed, PolicyVersion, Role, User};
use crate::limits;

/// A managed policy to make.
#[derive(Debug, Clone)]
pub struct NewPolicy<'a> {
    pub name: &'a str,
    pub path: &'a str,
    pub description: &'a str,
    pub document: &'a str,
    pub tags: BTreeMap<String, String>,
}

fn absent<T>(arn: &str) -> Result<T, AccessError> {
    Err(AccessError::NoSuchEntity(format!("Policy {arn} does not exist or is not attachable.")))
}

impl Change<'_> {
    pub fn put_inline(
        &mut self,
        account: &str,
        carrier: Carrier,
        name: &str,
        policy: &str,
        text: &str,
    ) -> Result<(), AccessError> {
        check_name("policyName", policy, 128)?;
        let document = Document::new(text)?;
        self.edit(account, carrier, name, |grants| {
            grants.inline.insert(policy.to_owned(), document);
            match grants.inline.len() > limits::INLINE_POLICIES_MAX {
                true => Err(AccessError::LimitExceeded(format!(
                    "Maximum number of inline policies exceeded for {} {name}: {}",
                    carrier.noun(),
                    limits::INLINE_POLICIES_MAX
                ))),
                false => Ok(()),
            }
        })
    }

    pub fn delete_inline(
        &mut self,
        account: &str,
        carrier: Carrier,
        name: &str,
        policy: &str,
    ) -> Result<(), AccessError> {
        self.edit(account, carrier, name, |grants| match grants.inline.remove(policy) {
            Some(_) => Ok(()),
            None => Err(AccessError::NoSuchEntity(format!(
                "The {} policy with name {policy} cannot be found.",
                carrier.noun()
            ))),
        })
    }

    pub fn attach(&mut self, account: &str, carrier: Carrier, name: &str, arn: &str) -> Result<(), AccessError> {
        if builtin::find(arn).is_none() && self.directory.policy(account, arn).is_none() {
            return absent(arn);
        }
        self.edit(account, carrier, name, |grants| {
            grants.attached.insert(arn.to_owned());
            match grants.attached.len() > limits::ATTACHED_POLICIES_MAX {
                true => Err(over_quota(&format!("PoliciesPer{}", carrier.noun()), limits::ATTACHED_POLICIES_MAX)),
                false => Ok(()),
            }
        })
    }

    pub fn detach(&mut self, account: &str, carrier: Carrier, name: &str, arn: &str) -> Result<(), AccessError> {
        self.edit(account, carrier, name, |grants| match grants.attached.remove(arn) {
            true => Ok(()),
            false => Err(AccessError::NoSuchEntity(format!("Policy {arn} was not found."))),
        })
    }

    /// Bounds a user or role by a managed policy, or no longer.
    pub fn set_boundary(
        &mut self,
        account: &str,
        carrier: Carrier,
        name: &str,
        boundary: Option<String>,
    ) -> Result<(), AccessError> {
        if let Some(arn) = boundary.as_ref().filter(|arn| !self.directory.has_policy(account, arn)) {
            return absent(arn);
        }
        match carrier {
            Carrier::User => {
                let user = User::clone(self.directory.find_user(account, name)?);
                self.put_user(User { boundary, ..user });
            }
            Carrier::Role => {
                let role = Role::clone(self.directory.find_role(account, name)?);
                self.put_role(Role { boundary, ..role });
            }
            Carrier::Group => return Err(AccessError::Invalid("a group has no permissions boundary".to_owned())),
        }
        Ok(())
    }

    pub fn create_policy(&mut self, account: &str, new: NewPolicy<'_>) -> Result<Managed, AccessError> {
        check_name("policyName", new.name, 128)?;
        check_path(new.path)?;
        let document = Document::new(new.document)?;
        if self.directory.policies.contains_key(&name_of(account, new.name)) {
            let text = format!("A policy called {} already exists. Duplicate names are not allowed.", new.name);
            return Err(AccessError::EntityAlreadyExists(text));
        }
        if self.directory.policies(account).count() >= limits::ACCOUNT_POLICIES_MAX {
            return Err(over_quota("PoliciesPerAccount", limits::ACCOUNT_POLICIES_MAX));
        }
        let created_ms = self.now_ms();
        let policy = Managed {
            account: account.to_owned(),
            id: self.new_id("ANPA", 21),
            name: new.name.to_owned(),
            path: new.path.to_owned(),
            created_ms,
            updated_ms: created_ms,
            description: new.description.to_owned(),
            versions: BTreeMap::from([(1, PolicyVersion { document, created_ms })]),
            default: 1,
            newest: 1,
            tags: new.tags,
        };
        self.put_policy(policy.clone());
        Ok(policy)
    }

    fn own_policy(&self, account: &str, arn: &str) -> Result<Managed, AccessError> {
        if builtin::find(arn).is_some() {
            return Err(AccessError::Unmodifiable(format!("Policy {arn} is the store's own and cannot be changed.")));
        }
        self.directory.policy(account, arn).map(|policy| Managed::clone(policy)).map_or_else(|| absent(arn), Ok)
    }

    /// Adds a version; gives its number.
    pub fn create_policy_version(
        &mut self,
        account: &str,
        arn: &str,
        text: &str,
        as_default: bool,
    ) -> Result<Managed, AccessError> {
        let mut policy = self.own_policy(account, arn)?;
        let document = Document::new(text)?;
        if policy.versions.len() >= limits::POLICY_VERSIONS_MAX {
            let text = format!(
                "A managed policy can have up to {} versions. Before you create a new version, you must delete an existing version.",
                limits::POLICY_VERSIONS_MAX
            );
            return Err(AccessError::LimitExceeded(text));
        }
        let created_ms = self.now_ms();
        policy.newest += 1;
        policy.updated_ms = created_ms;
        policy.versions.insert(policy.newest, PolicyVersion { document, created_ms });
        if as_default {
            policy.default = policy.newest;
        }
        self.put_policy(policy.clone());
        Ok(policy)
    }

    pub fn set_default_version(&mut self, account: &str, arn: &str, version: u32) -> Result<(), AccessError> {
        let policy = self.own_policy(account, arn)?;
        if !policy.versions.contains_key(&version) {
            return Err(AccessError::NoSuchEntity(format!("Policy {arn} version v{version} does not exist.")));
        }
        self.put_policy(Managed { default: version, updated_ms: self.now_ms(), ..policy });
        Ok(())
    }

    pub fn delete_policy_version(&mut self, account: &str, arn: &str, version: u32) -> Result<(), AccessError> {
        let mut policy = self.own_policy(account, arn)?;
        if policy.default == version {
            return Err(AccessError::DeleteConflict("Cannot delete the default version of a policy.".to_owned()));
        }
        if policy.versions.remove(&version).is_none() {
            return Err(AccessError::NoSuchEntity(format!("Policy {arn} version v{version} does not exist.")));
        }
        self.put_policy(policy);
        Ok(())
    }

    /// Sets and removes tags of a managed policy.
    pub fn tag_policy(
        &mut self,
        account: &str,
        arn: &str,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), AccessError> {
        let mut policy = self.own_policy(account, arn)?;
        retag(&mut policy.tags, set, remove)?;
        self.put_policy(policy);
        Ok(())
    }

    pub fn delete_policy(&mut self, account: &str, arn: &str) -> Result<(), AccessError> {
        let policy = self.own_policy(account, arn)?;
        if self.directory.attachments(account, arn) > 0 {
            return Err(AccessError::DeleteConflict("Cannot delete a policy attached to entities.".to_owned()));
        }
        if self.directory.boundaries(account, arn) > 0 {
            let text = "Cannot delete a policy that is a permissions boundary of users or roles.";
            return Err(AccessError::DeleteConflict(text.to_owned()));
        }
        if policy.versions.len() > 1 {
            let text = "This policy has more than one version. Before you delete a policy, you must delete the policy's versions.";
            return Err(AccessError::DeleteConflict(text.to_owned()));
        }
        self.remove("policy", &name_of(account, &policy.name));
        Ok(())
    }
}

impl Directory {
    /// Users, groups and roles that a managed policy is attached to.
    pub fn attachments(&self, account: &str, arn: &str) -> usize {
        let has = |grants: &Grants| grants.attached.contains(arn);
        self.users(account).filter(|user| has(&user.grants)).count()
            + self.groups(account).filter(|group| has(&group.grants)).count()
            + self.roles(account).filter(|role| has(&role.grants)).count()
    }

    /// Users and roles that a managed policy bounds.
    pub fn boundaries(&self, account: &str, arn: &str) -> usize {
        self.users(account).filter(|user| user.boundary.as_deref() == Some(arn)).count()
            + self.roles(account).filter(|role| role.boundary.as_deref() == Some(arn)).count()
    }
}
