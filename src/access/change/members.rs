//! Users and groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{AccessError, Change, already_exists, check_name, check_path, over_quota, retag};
use crate::access::directory::name_of;
use crate::access::record::{Grants, Group, User};
use crate::limits;

impl Change<'_> {
    pub fn create_user(
        &mut self,
        account: &str,
        name: &str,
        path: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<User, AccessError> {
        check_name("userName", name, 64)?;
        check_path(path)?;
        if self.directory.user(account, name).is_some() {
            return Err(already_exists("User", name));
        }
        if self.directory.users(account).count() >= limits::ACCOUNT_USERS_MAX {
            return Err(over_quota("UsersPerAccount", limits::ACCOUNT_USERS_MAX));
        }
        let user = User {
            account: account.to_owned(),
            id: self.new_id("AIDA", 21),
            name: name.to_owned(),
            path: path.to_owned(),
            created_ms: self.now_ms(),
            grants: Grants::default(),
            groups: BTreeSet::new(),
            tags,
            boundary: None,
        };
        self.put_user(user.clone());
        Ok(user)
    }

    /// Renames or moves a user; keys, groups and policies stay with it.
    pub fn update_user(
        &mut self,
        account: &str,
        name: &str,
        new_name: Option<&str>,
        new_path: Option<&str>,
    ) -> Result<(), AccessError> {
        let mut user = User::clone(self.directory.find_user(account, name)?);
        if let Some(path) = new_path {
            check_path(path)?;
            user.path = path.to_owned();
        }
        if let Some(new_name) = new_name {
            check_name("newUserName", new_name, 64)?;
            let taken = self.directory.user(account, new_name).is_some_and(|other| other.id != user.id);
            if taken {
                return Err(already_exists("User", new_name));
            }
            self.remove("user", &name_of(account, name));
            user.name = new_name.to_owned();
        }
        self.put_user(user);
        Ok(())
    }

    /// Sets and removes tags of a user.
    pub fn tag_user(
        &mut self,
        account: &str,
        name: &str,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), AccessError> {
        let mut user = User::clone(self.directory.find_user(account, name)?);
        retag(&mut user.tags, set, remove)?;
        self.put_user(user);
        Ok(())
    }

    pub fn delete_user(&mut self, account: &str, name: &str) -> Result<(), AccessError> {
        let user = self.directory.find_user(account, name)?.clone();
        let conflict = |what: &str| AccessError::DeleteConflict(format!("Cannot delete entity, must {what} first."));
        if self.directory.keys(account, Some(&user.id)).next().is_some() {
            return Err(conflict("delete access keys"));
        }
        if !user.grants.inline.is_empty() {
            return Err(conflict("delete policies"));
        }
        if !user.grants.attached.is_empty() {
            return Err(conflict("detach all policies"));
        }
        if !user.groups.is_empty() {
            return Err(conflict("remove users from group"));
        }
        self.remove("user", &name_of(account, name));
        Ok(())
    }

    pub fn create_group(&mut self, account: &str, name: &str, path: &str) -> Result<Group, AccessError> {
        check_name("groupName", name, 128)?;
        check_path(path)?;
        if self.directory.group(account, name).is_some() {
            return Err(already_exists("Group", name));
        }
        if self.directory.groups(account).count() >= limits::ACCOUNT_GROUPS_MAX {
            return Err(over_quota("GroupsPerAccount", limits::ACCOUNT_GROUPS_MAX));
        }
        let group = Group {
            account: account.to_owned(),
            id: self.new_id("AGPA", 21),
            name: name.to_owned(),
            path: path.to_owned(),
            created_ms: self.now_ms(),
            grants: Grants::default(),
        };
        self.put_group(group.clone());
        Ok(group)
    }

    pub fn update_group(
        &mut self,
        account: &str,
        name: &str,
        new_name: Option<&str>,
        new_path: Option<&str>,
    ) -> Result<(), AccessError> {
        let mut group = Group::clone(self.directory.find_group(account, name)?);
        if let Some(path) = new_path {
            check_path(path)?;
            group.path = path.to_owned();
        }
        if let Some(new_name) = new_name {
            check_name("newGroupName", new_name, 128)?;
            if self.directory.group(account, new_name).is_some_and(|other| other.id != group.id) {
                return Err(already_exists("Group", new_name));
            }
            self.remove("group", &name_of(account, name));
            group.name = new_name.to_owned();
        }
        self.put_group(group);
        Ok(())
    }

    pub fn delete_group(&mut self, account: &str, name: &str) -> Result<(), AccessError> {
        let group = self.directory.find_group(account, name)?.clone();
        let conflict = |what: &str| AccessError::DeleteConflict(format!("Cannot delete entity, must {what} first."));
        if self.directory.users(account).any(|user| user.groups.contains(&group.id)) {
            return Err(conflict("remove users from group"));
        }
        if !group.grants.is_empty() {
            return Err(conflict("delete or detach all policies"));
        }
        self.remove("group", &name_of(account, name));
        Ok(())
    }

    pub fn set_member(&mut self, account: &str, group: &str, user: &str, member: bool) -> Result<(), AccessError> {
        let group = self.directory.find_group(account, group)?.id.clone();
        let mut user = User::clone(self.directory.find_user(account, user)?);
        match member {
            true if user.groups.len() >= limits::GROUPS_OF_USER_MAX && !user.groups.contains(&group) => {
                return Err(over_quota("GroupsPerUser", limits::GROUPS_OF_USER_MAX));
            }
            true => user.groups.insert(group),
            false => user.groups.remove(&group),
        };
        self.put_user(user);
        Ok(())
    }
}
