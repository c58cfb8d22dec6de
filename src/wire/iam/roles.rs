//! Roles.

use super::Answer;
use super::ask::{Ask, write_boundary, write_next, write_tags};
use super::policies::encoded;
use crate::access::record::Role;
use crate::access::{Carrier, NewRole};
use crate::wire::date;
use crate::xml::Document;

fn write(document: &mut Document, ask: &Ask, role: &Role) {
    document.text("Path", &role.path);
    document.text("RoleName", &role.name);
    document.text("RoleId", &role.id);
    document.text("Arn", &ask.arn("role", &role.path, &role.name));
    document.value("CreateDate", date::iso(role.created_ms));
    document.text("AssumeRolePolicyDocument", &encoded(&role.trust.text));
    document.text_if("Description", Some(role.description.as_str()).filter(|text| !text.is_empty()));
    document.value("MaxSessionDuration", role.session_s_max);
    if !role.tags.is_empty() {
        write_tags(document, &role.tags);
    }
    write_boundary(document, role.boundary.as_deref());
}

pub fn role_arn(ask: &Ask, name: &str) -> String {
    let role = ask.directory.role(ask.account(), name);
    role.map_or_else(|| ask.arn("role", "/", name), |role| ask.arn("role", &role.path, &role.name))
}

pub async fn create(ask: &Ask) -> Answer {
    let (name, path) = (ask.need("RoleName")?.to_owned(), ask.get("Path").unwrap_or("/").to_owned());
    ask.allow(&ask.arn("role", &path, &name))?;
    let trust = ask.need("AssumeRolePolicyDocument")?.to_owned();
    let description = ask.get("Description").unwrap_or_default().to_owned();
    let boundary = ask.get("PermissionsBoundary").map(str::to_owned);
    let (session_s_max, tags, account) = (ask.number("MaxSessionDuration")?, ask.tags()?, ask.account().to_owned());
    let create = ask.access.change(move |change| {
        let (name, path, description) = (&name, &path, &description);
        change.create_role(&account, NewRole { name, path, description, trust: &trust, session_s_max, tags })?;
        change.set_boundary(&account, Carrier::Role, name, boundary)?;
        Ok(Role::clone(change.directory().find_role(&account, name)?))
    });
    let role = create.await?;
    let mut document = Document::fragment();
    document.inside("Role", |document| write(document, ask, &role));
    Ok(Some(document))
}

pub fn get(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?;
    ask.allow(&role_arn(ask, name))?;
    let role = ask.directory.find_role(ask.account(), name)?;
    let mut document = Document::fragment();
    document.inside("Role", |document| write(document, ask, role));
    Ok(Some(document))
}

pub fn list(ask: &Ask) -> Answer {
    let prefix = ask.get("PathPrefix").unwrap_or("/");
    ask.allow(&ask.arn("role", "/", "*"))?;
    let roles = ask.directory.roles(ask.account()).filter(|role| role.path.starts_with(prefix)).cloned().collect();
    let (roles, next) = ask.page(roles, |role: &std::sync::Arc<Role>| role.name.to_lowercase())?;
    let mut document = Document::fragment();
    document.inside("Roles", |document| {
        roles.iter().for_each(|role| document.inside("member", |document| write(document, ask, role)));
    });
    write_next(&mut document, next.as_deref());
    Ok(Some(document))
}

pub async fn update(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?.to_owned();
    ask.allow(&role_arn(ask, &name))?;
    let (account, description) = (ask.account().to_owned(), ask.get("Description").map(str::to_owned));
    let seconds = ask.number("MaxSessionDuration")?;
    ask.access.change(move |change| change.update_role(&account, &name, description.as_deref(), seconds)).await?;
    Ok(Some(Document::fragment()))
}

/// The older call, which answers with the role.
pub async fn update_description(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?.to_owned();
    ask.allow(&role_arn(ask, &name))?;
    let (account, description) = (ask.account().to_owned(), ask.get("Description").unwrap_or_default().to_owned());
    let update = ask.access.change(move |change| {
        change.update_role(&account, &name, Some(&description), None)?;
        Ok(Role::clone(change.directory().find_role(&account, &name)?))
    });
    let role = update.await?;
    let mut document = Document::fragment();
    document.inside("Role", |document| write(document, ask, &role));
    Ok(Some(document))
}

pub async fn update_trust(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?.to_owned();
    ask.allow(&role_arn(ask, &name))?;
    let (account, trust) = (ask.account().to_owned(), ask.need("PolicyDocument")?.to_owned());
    ask.access.change(move |change| change.update_trust(&account, &name, &trust)).await?;
    Ok(None)
}

pub async fn delete(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?.to_owned();
    ask.allow(&role_arn(ask, &name))?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.delete_role(&account, &name)).await?;
    Ok(None)
}

pub async fn tag(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?.to_owned();
    ask.allow(&role_arn(ask, &name))?;
    let (account, tags) = (ask.account().to_owned(), ask.tags()?);
    ask.access.change(move |change| change.tag_role(&account, &name, tags, &[])).await?;
    Ok(None)
}

pub async fn untag(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?.to_owned();
    ask.allow(&role_arn(ask, &name))?;
    let (account, keys) = (ask.account().to_owned(), ask.members("TagKeys"));
    ask.access.change(move |change| change.tag_role(&account, &name, Default::default(), &keys)).await?;
    Ok(None)
}

pub fn list_tags(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?;
    ask.allow(&role_arn(ask, name))?;
    let role = ask.directory.find_role(ask.account(), name)?;
    let mut document = Document::fragment();
    write_tags(&mut document, &role.tags);
    document.value("IsTruncated", false);
    Ok(Some(document))
}

/// There are no instances here, and so no profiles of them.
pub fn no_profiles(ask: &Ask) -> Answer {
    let name = ask.need("RoleName")?;
    ask.allow(&role_arn(ask, name))?;
    ask.directory.find_role(ask.account(), name)?;
    let mut document = Document::fragment();
    document.inside("InstanceProfiles", |_| {});
    document.value("IsTruncated", false);
    Ok(Some(document))
}
