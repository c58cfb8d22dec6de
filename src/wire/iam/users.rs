//! Users, and what the account is as a whole.

use std::sync::Arc;

use super::ask::{Ask, write_boundary, write_next, write_tags};
use super::{Answer, Fault};
use crate::access::record::User;
use crate::access::{AccessError, Carrier};
use crate::limits;
use crate::wire::date;
use crate::xml::Document;

pub fn write(document: &mut Document, ask: &Ask, user: &User) {
    document.text("Path", &user.path);
    document.text("UserName", &user.name);
    document.text("UserId", &user.id);
    document.text("Arn", &ask.arn_of(Some(user)));
    document.value("CreateDate", date::iso(user.created_ms));
    if !user.tags.is_empty() {
        write_tags(document, &user.tags);
    }
    write_boundary(document, user.boundary.as_deref());
}

pub async fn create(ask: &Ask) -> Answer {
    let (name, path) = (ask.need("UserName")?.to_owned(), ask.get("Path").unwrap_or("/").to_owned());
    ask.allow(&ask.arn("user", &path, &name))?;
    let (account, tags) = (ask.account().to_owned(), ask.tags()?);
    let boundary = ask.get("PermissionsBoundary").map(str::to_owned);
    let create = ask.access.change(move |change| {
        change.create_user(&account, &name, &path, tags)?;
        change.set_boundary(&account, Carrier::User, &name, boundary)?;
        Ok(User::clone(change.directory().find_user(&account, &name)?))
    });
    let user = create.await?;
    let mut document = Document::fragment();
    document.inside("User", |document| write(document, ask, &user));
    Ok(Some(document))
}

pub fn get(ask: &Ask) -> Answer {
    let user = ask.user()?;
    ask.allow(&ask.arn_of(user.as_deref()))?;
    let mut document = Document::fragment();
    document.inside("User", |document| match &user {
        Some(user) => write(document, ask, user),
        None => {
            document.text("UserId", ask.account());
            document.text("Arn", &ask.arn_of(None));
            document.value("CreateDate", date::iso(ask.caller.account.created_ms));
        }
    });
    Ok(Some(document))
}

pub fn list(ask: &Ask) -> Answer {
    let prefix = ask.get("PathPrefix").unwrap_or("/");
    ask.allow(&ask.arn("user", "/", "*"))?;
    let users: Vec<Arc<User>> =
        ask.directory.users(ask.account()).filter(|user| user.path.starts_with(prefix)).cloned().collect();
    let (users, next) = ask.page(users, |user| user.name.to_lowercase())?;
    let mut document = Document::fragment();
    write_next(&mut document, next.as_deref());
    document.inside("Users", |document| {
        users.iter().for_each(|user| document.inside("member", |document| write(document, ask, user)));
    });
    Ok(Some(document))
}

/// The named user's own ARN where there is one, for the caller's policies.
pub fn named_arn(ask: &Ask, name: &str) -> String {
    match ask.directory.user(ask.account(), name) {
        Some(user) => ask.arn_of(Some(user)),
        None => ask.arn("user", "/", name),
    }
}

pub async fn update(ask: &Ask) -> Answer {
    let name = ask.need("UserName")?.to_owned();
    ask.allow(&named_arn(ask, &name))?;
    let (new_name, new_path) = (ask.get("NewUserName").map(str::to_owned), ask.get("NewPath").map(str::to_owned));
    if new_name.is_some() || new_path.is_some() {
        // AWS wants the permission on both ends.
        ask.allow(&ask.arn("user", new_path.as_deref().unwrap_or("/"), new_name.as_deref().unwrap_or(&name)))?;
    }
    let account = ask.account().to_owned();
    let update =
        ask.access.change(move |change| change.update_user(&account, &name, new_name.as_deref(), new_path.as_deref()));
    update.await?;
    Ok(None)
}

pub async fn delete(ask: &Ask) -> Answer {
    let name = ask.need("UserName")?.to_owned();
    ask.allow(&named_arn(ask, &name))?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.delete_user(&account, &name)).await?;
    Ok(None)
}

pub async fn tag(ask: &Ask) -> Answer {
    let name = ask.need("UserName")?.to_owned();
    ask.allow(&named_arn(ask, &name))?;
    let (account, tags) = (ask.account().to_owned(), ask.tags()?);
    ask.access.change(move |change| change.tag_user(&account, &name, tags, &[])).await?;
    Ok(None)
}

pub async fn untag(ask: &Ask) -> Answer {
    let name = ask.need("UserName")?.to_owned();
    ask.allow(&named_arn(ask, &name))?;
    let (account, keys) = (ask.account().to_owned(), ask.members("TagKeys"));
    ask.access.change(move |change| change.tag_user(&account, &name, Default::default(), &keys)).await?;
    Ok(None)
}

pub fn list_tags(ask: &Ask) -> Answer {
    let name = ask.need("UserName")?;
    ask.allow(&named_arn(ask, name))?;
    let user = ask.directory.find_user(ask.account(), name)?;
    let mut document = Document::fragment();
    document.value("IsTruncated", false);
    write_tags(&mut document, &user.tags);
    Ok(Some(document))
}

pub fn summary(ask: &Ask) -> Answer {
    ask.allow("*")?;
    let (directory, account) = (&ask.directory, ask.account());
    let entries = [
        ("Users", directory.users(account).count()),
        ("UsersQuota", limits::ACCOUNT_USERS_MAX),
        ("Groups", directory.groups(account).count()),
        ("GroupsQuota", limits::ACCOUNT_GROUPS_MAX),
        ("Roles", directory.roles(account).count()),
        ("RolesQuota", limits::ACCOUNT_ROLES_MAX),
        ("Policies", directory.policies(account).count()),
        ("PoliciesQuota", limits::ACCOUNT_POLICIES_MAX),
        ("GroupsPerUserQuota", limits::GROUPS_OF_USER_MAX),
        ("AccessKeysPerUserQuota", limits::ACCESS_KEYS_MAX),
        ("AttachedPoliciesPerUserQuota", limits::ATTACHED_POLICIES_MAX),
        ("PolicySizeQuota", limits::MANAGED_POLICY_CHARS_MAX),
        ("PolicyVersionsPerPolicyQuota", limits::POLICY_VERSIONS_MAX),
        ("AccountAccessKeysPresent", usize::from(directory.keys(account, None).next().is_some())),
    ];
    let mut document = Document::fragment();
    document.inside("SummaryMap", |document| {
        for (key, value) in entries {
            document.inside("entry", |document| {
                document.text("key", key);
                document.value("value", value);
            });
        }
    });
    Ok(Some(document))
}

pub fn aliases(ask: &Ask) -> Answer {
    ask.allow("*")?;
    let mut document = Document::fragment();
    document.value("IsTruncated", false);
    document.inside("AccountAliases", |document| document.text("member", &ask.caller.account.name));
    Ok(Some(document))
}

/// Web identities are not taken, and so nobody vouches for them.
pub fn no_providers(ask: &Ask) -> Answer {
    ask.allow("*")?;
    let mut document = Document::fragment();
    document.inside("OpenIDConnectProviderList", |_| {});
    Ok(Some(document))
}

/// What a user has on AWS beside access keys, and nobody has here; a client that removes a user asks for all of it.
pub fn none(ask: &Ask, list: &'static str) -> Answer {
    if let Some(name) = ask.get("UserName") {
        ask.allow(&named_arn(ask, name))?;
        need_user(ask)?;
    } else {
        ask.allow("*")?;
    }
    let mut document = Document::fragment();
    document.inside(list, |_| {});
    document.value("IsTruncated", false);
    Ok(Some(document))
}

/// There is no console to log in to, and so no password.
pub fn no_login(ask: &Ask) -> Answer {
    ask.allow(&named_arn(ask, ask.need("UserName")?))?;
    let user = need_user(ask)?;
    Err(AccessError::NoSuchEntity(format!("Login Profile for User {} cannot be found.", user.name)).into())
}

/// `UserName` where a user must be meant.
pub fn need_user(ask: &Ask) -> Result<Arc<User>, Fault> {
    let name = ask.need("UserName")?;
    Ok(ask.directory.find_user(ask.account(), name)?.clone())
}
