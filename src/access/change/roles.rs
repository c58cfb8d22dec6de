//! Roles.

use std::collections::BTreeMap;

use super::{AccessError, Change, already_exists, check_name, check_path, over_quota, retag};
use crate::access::directory::name_of;
use crate::access::record::{Grants, Role, Trust};
use crate::limits;

/// A role to make.
#[derive(Debug, Clone)]
pub struct NewRole<'a> {
    pub name: &'a str,
    pub path: &'a str,
    pub description: &'a str,
    pub trust: &'a str,
    pub session_s_max: Option<u32>,
    pub tags: BTreeMap<String, String>,
}

fn check_session(seconds: u32) -> Result<u32, AccessError> {
    match limits::SESSION_SECONDS.contains(&seconds) && seconds >= 3600 {
        true => Ok(seconds),
        false => Err(AccessError::Invalid(format!(
            "MaxSessionDuration is {seconds}, it must be between 3600 and {}",
            limits::SESSION_SECONDS.end()
        ))),
    }
}

impl Change<'_> {
    pub fn create_role(&mut self, account: &str, new: NewRole<'_>) -> Result<Role, AccessError> {
        check_name("roleName", new.name, 64)?;
        check_path(new.path)?;
        let trust = Trust::new(new.trust)?;
        if self.directory.role(account, new.name).is_some() {
            return Err(already_exists("Role", new.name));
        }
        if self.directory.roles(account).count() >= limits::ACCOUNT_ROLES_MAX {
            return Err(over_quota("RolesPerAccount", limits::ACCOUNT_ROLES_MAX));
        }
        let role = Role {
            account: account.to_owned(),
            id: self.new_id("AROA", 21),
            name: new.name.to_owned(),
            path: new.path.to_owned(),
            created_ms: self.now_ms(),
            description: new.description.to_owned(),
            session_s_max: check_session(new.session_s_max.unwrap_or(3600))?,
            trust,
            grants: Grants::default(),
            tags: new.tags,
            boundary: None,
        };
        self.put_role(role.clone());
        Ok(role)
    }

    pub fn update_role(
        &mut self,
        account: &str,
        name: &str,
        description: Option<&str>,
        session_s_max: Option<u32>,
    ) -> Result<(), AccessError> {
        let mut role = Role::clone(self.directory.find_role(account, name)?);
        if let Some(description) = description {
            role.description = description.to_owned();
        }
        if let Some(seconds) = session_s_max {
            role.session_s_max = check_session(seconds)?;
        }
        self.put_role(role);
        Ok(())
    }

    pub fn update_trust(&mut self, account: &str, name: &str, trust: &str) -> Result<(), AccessError> {
        let role = Role::clone(self.directory.find_role(account, name)?);
        self.put_role(Role { trust: Trust::new(trust)?, ..role });
        Ok(())
    }

    /// Sets and removes tags of a role.
    pub fn tag_role(
        &mut self,
        account: &str,
        name: &str,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), AccessError> {
        let mut role = Role::clone(self.directory.find_role(account, name)?);
        retag(&mut role.tags, set, remove)?;
        self.put_role(role);
        Ok(())
    }

    pub fn delete_role(&mut self, account: &str, name: &str) -> Result<(), AccessError> {
        let role = self.directory.find_role(account, name)?;
        if !role.grants.inline.is_empty() {
            return Err(AccessError::DeleteConflict("Cannot delete entity, must delete policies first.".to_owned()));
        }
        if !role.grants.attached.is_empty() {
            return Err(AccessError::DeleteConflict(
                "Cannot delete entity, must detach all policies first.".to_owned(),
            ));
        }
        self.remove("role", &name_of(account, name));
        Ok(())
    }
}
