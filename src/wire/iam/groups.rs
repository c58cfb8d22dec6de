//! Groups and who is in them.

use std::sync::Arc;

use super::Answer;
use super::ask::{Ask, write_next};
use super::users::{self, named_arn, need_user};
use crate::access::record::Group;
use crate::wire::date;
use crate::xml::Document;

fn write(document: &mut Document, ask: &Ask, group: &Group) {
    document.text("Path", &group.path);
    document.text("GroupName", &group.name);
    document.text("GroupId", &group.id);
    document.text("Arn", &ask.arn("group", &group.path, &group.name));
    document.value("CreateDate", date::iso(group.created_ms));
}

fn group_arn(ask: &Ask, name: &str) -> String {
    let group = ask.directory.group(ask.account(), name);
    group.map_or_else(|| ask.arn("group", "/", name), |group| ask.arn("group", &group.path, &group.name))
}

pub async fn create(ask: &Ask) -> Answer {
    let (name, path) = (ask.need("GroupName")?.to_owned(), ask.get("Path").unwrap_or("/").to_owned());
    ask.allow(&ask.arn("group", &path, &name))?;
    let account = ask.account().to_owned();
    let group = ask.access.change(move |change| change.create_group(&account, &name, &path)).await?;
    let mut document = Document::fragment();
    document.inside("Group", |document| write(document, ask, &group));
    Ok(Some(document))
}

/// The group with its users.
pub fn get(ask: &Ask) -> Answer {
    let name = ask.need("GroupName")?;
    ask.allow(&group_arn(ask, name))?;
    let group = ask.directory.find_group(ask.account(), name)?;
    let members = ask.directory.users(ask.account()).filter(|user| user.groups.contains(&group.id)).cloned().collect();
    let (members, next) = ask.page(members, |user: &Arc<_>| user.name.to_lowercase())?;
    let mut document = Document::fragment();
    document.inside("Group", |document| write(document, ask, group));
    document.inside("Users", |document| {
        members.iter().for_each(|user| document.inside("member", |document| users::write(document, ask, user)));
    });
    write_next(&mut document, next.as_deref());
    Ok(Some(document))
}

fn write_list(ask: &Ask, groups: Vec<Arc<Group>>) -> Answer {
    let (groups, next) = ask.page(groups, |group| group.name.to_lowercase())?;
    let mut document = Document::fragment();
    document.inside("Groups", |document| {
        groups.iter().for_each(|group| document.inside("member", |document| write(document, ask, group)));
    });
    write_next(&mut document, next.as_deref());
    Ok(Some(document))
}

pub fn list(ask: &Ask) -> Answer {
    let prefix = ask.get("PathPrefix").unwrap_or("/");
    ask.allow(&ask.arn("group", "/", "*"))?;
    let groups = ask.directory.groups(ask.account()).filter(|group| group.path.starts_with(prefix));
    write_list(ask, groups.cloned().collect())
}

pub fn of_user(ask: &Ask) -> Answer {
    ask.allow(&named_arn(ask, ask.need("UserName")?))?;
    let user = need_user(ask)?;
    let groups = ask.directory.groups(ask.account()).filter(|group| user.groups.contains(&group.id));
    write_list(ask, groups.cloned().collect())
}

pub async fn update(ask: &Ask) -> Answer {
    let name = ask.need("GroupName")?.to_owned();
    ask.allow(&group_arn(ask, &name))?;
    let (new_name, new_path) = (ask.get("NewGroupName").map(str::to_owned), ask.get("NewPath").map(str::to_owned));
    if new_name.is_some() || new_path.is_some() {
        ask.allow(&ask.arn("group", new_path.as_deref().unwrap_or("/"), new_name.as_deref().unwrap_or(&name)))?;
    }
    let account = ask.account().to_owned();
    let update =
        ask.access.change(move |change| change.update_group(&account, &name, new_name.as_deref(), new_path.as_deref()));
    update.await?;
    Ok(None)
}

pub async fn delete(ask: &Ask) -> Answer {
    let name = ask.need("GroupName")?.to_owned();
    ask.allow(&group_arn(ask, &name))?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.delete_group(&account, &name)).await?;
    Ok(None)
}

pub async fn set_member(ask: &Ask, member: bool) -> Answer {
    let (group, user) = (ask.need("GroupName")?.to_owned(), ask.need("UserName")?.to_owned());
    ask.allow(&group_arn(ask, &group))?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.set_member(&account, &group, &user, member)).await?;
    Ok(None)
}
