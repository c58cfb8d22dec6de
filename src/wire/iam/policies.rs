//! Policies of identities: inline, attached and managed ones.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::ask::{Ask, write_next, write_tags};
use super::roles::role_arn;
use super::users::named_arn;
use super::{Answer, Fault};
use crate::access::builtin::{self, Builtin};
use crate::access::record::{Grants, Managed, PolicyVersion};
use crate::access::{AccessError, Carrier, NewPolicy};
use crate::wire::date;
use crate::xml::Document;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As IAM gives policies: percent-encoded.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Which parameter names the carrier, its name, and its ARN.
fn carrier(ask: &Ask, carrier: Carrier) -> Result<(&'static str, &str, String), Fault> {
    let parameter = match carrier {
        Carrier::User => "UserName",
        Carrier::Group => "GroupName",
        Carrier::Role => "RoleName",
    };
    let name = ask.need(parameter)?;
    let arn = match carrier {
        Carrier::User => named_arn(ask, name),
        Carrier::Group => match ask.directory.group(ask.account(), name) {
            Some(group) => ask.arn("group", &group.path, &group.name),
            None => ask.arn("group", "/", name),
        },
        Carrier::Role => role_arn(ask, name),
    };
    Ok((parameter, name, arn))
}

pub async fn put_inline(ask: &Ask, kind: Carrier) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let (account, name) = (ask.account().to_owned(), name.to_owned());
    let (policy, text) = (ask.need("PolicyName")?.to_owned(), ask.need("PolicyDocument")?.to_owned());
    ask.access.change(move |change| change.put_inline(&account, kind, &name, &policy, &text)).await?;
    Ok(None)
}

pub fn get_inline(ask: &Ask, kind: Carrier) -> Answer {
    let (parameter, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let policy = ask.need("PolicyName")?;
    let grants = ask.directory.grants(ask.account(), kind, name)?;
    let absent =
        || AccessError::NoSuchEntity(format!("The {} policy with name {policy} cannot be found.", kind.noun()));
    let document = grants.inline.get(policy).ok_or_else(absent)?;
    let mut out = Document::fragment();
    out.text(parameter, name);
    out.text("PolicyName", policy);
    out.text("PolicyDocument", &encoded(&document.text));
    Ok(Some(out))
}

pub fn list_inline(ask: &Ask, kind: Carrier) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let names: Vec<String> = ask.directory.grants(ask.account(), kind, name)?.inline.keys().cloned().collect();
    let (names, next) = ask.page(names, Clone::clone)?;
    let mut out = Document::fragment();
    out.inside("PolicyNames", |out| names.iter().for_each(|name| out.text("member", name)));
    write_next(&mut out, next.as_deref());
    Ok(Some(out))
}

pub async fn delete_inline(ask: &Ask, kind: Carrier) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let (account, name, policy) = (ask.account().to_owned(), name.to_owned(), ask.need("PolicyName")?.to_owned());
    ask.access.change(move |change| change.delete_inline(&account, kind, &name, &policy)).await?;
    Ok(None)
}

pub async fn attach(ask: &Ask, kind: Carrier) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let (account, name, policy) = (ask.account().to_owned(), name.to_owned(), ask.need("PolicyArn")?.to_owned());
    ask.access.change(move |change| change.attach(&account, kind, &name, &policy)).await?;
    Ok(None)
}

pub async fn detach(ask: &Ask, kind: Carrier) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let (account, name, policy) = (ask.account().to_owned(), name.to_owned(), ask.need("PolicyArn")?.to_owned());
    ask.access.change(move |change| change.detach(&account, kind, &name, &policy)).await?;
    Ok(None)
}

pub async fn set_boundary(ask: &Ask, kind: Carrier, bounded: bool) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let (account, name) = (ask.account().to_owned(), name.to_owned());
    let boundary = if bounded { Some(ask.need("PermissionsBoundary")?.to_owned()) } else { None };
    ask.access.change(move |change| change.set_boundary(&account, kind, &name, boundary)).await?;
    Ok(None)
}

pub fn list_attached(ask: &Ask, kind: Carrier) -> Answer {
    let (_, name, arn) = carrier(ask, kind)?;
    ask.allow(&arn)?;
    let arns: Vec<String> = ask.directory.grants(ask.account(), kind, name)?.attached.iter().cloned().collect();
    let (arns, next) = ask.page(arns, Clone::clone)?;
    let mut out = Document::fragment();
    out.inside("AttachedPolicies", |out| {
        for arn in &arns {
            out.inside("member", |out| {
                out.text("PolicyName", arn.rsplit('/').next().unwrap_or_default());
                out.text("PolicyArn", arn);
            });
        }
    });
    write_next(&mut out, next.as_deref());
    Ok(Some(out))
}

fn write(out: &mut Document, ask: &Ask, policy: &Managed) {
    let arn = policy.arn();
    out.text("PolicyName", &policy.name);
    out.text("PolicyId", &policy.id);
    out.text("Arn", &arn);
    out.text("Path", &policy.path);
    out.value("DefaultVersionId", format_args!("v{}", policy.default));
    out.value("AttachmentCount", ask.directory.attachments(ask.account(), &arn));
    out.value("PermissionsBoundaryUsageCount", ask.directory.boundaries(ask.account(), &arn));
    out.value("IsAttachable", true);
    out.text_if("Description", Some(policy.description.as_str()).filter(|text| !text.is_empty()));
    out.value("CreateDate", date::iso(policy.created_ms));
    out.value("UpdateDate", date::iso(policy.updated_ms));
    if !policy.tags.is_empty() {
        write_tags(out, &policy.tags);
    }
}

fn write_builtin(out: &mut Document, ask: &Ask, builtin: &Builtin) {
    let arn = builtin.arn();
    out.text("PolicyName", builtin.name);
    out.text("PolicyId", &builtin.id());
    out.text("Arn", &arn);
    out.text("Path", "/");
    out.text("DefaultVersionId", "v1");
    out.value("AttachmentCount", ask.directory.attachments(ask.account(), &arn));
    out.value("PermissionsBoundaryUsageCount", ask.directory.boundaries(ask.account(), &arn));
    out.value("IsAttachable", true);
    out.text("Description", builtin.description);
    out.value("CreateDate", date::iso(0));
    out.value("UpdateDate", date::iso(0));
}

pub async fn create(ask: &Ask) -> Answer {
    let (name, path) = (ask.need("PolicyName")?.to_owned(), ask.get("Path").unwrap_or("/").to_owned());
    ask.allow(&ask.arn("policy", &path, &name))?;
    let (account, text) = (ask.account().to_owned(), ask.need("PolicyDocument")?.to_owned());
    let description = ask.get("Description").unwrap_or_default().to_owned();
    let tags = ask.tags()?;
    let create = ask.access.change(move |change| {
        let (name, path, description) = (&name, &path, &description);
        change.create_policy(&account, NewPolicy { name, path, description, document: &text, tags })
    });
    let policy = create.await?;
    let mut out = Document::fragment();
    out.inside("Policy", |out| write(out, ask, &policy));
    Ok(Some(out))
}

/// A policy by the request's ARN.
enum Found {
    Own(Arc<Managed>),
    Builtin(&'static Builtin),
}

fn find(ask: &Ask) -> Result<Found, Fault> {
    let arn = ask.need("PolicyArn")?;
    ask.allow(arn)?;
    if let Some(builtin) = builtin::find(arn) {
        return Ok(Found::Builtin(builtin));
    }
    let found = ask.directory.policy(ask.account(), arn).cloned();
    let absent = || AccessError::NoSuchEntity(format!("Policy {arn} was not found."));
    Ok(Found::Own(found.ok_or_else(absent)?))
}

pub fn get(ask: &Ask) -> Answer {
    let found = find(ask)?;
    let mut out = Document::fragment();
    out.inside("Policy", |out| match &found {
        Found::Own(policy) => write(out, ask, policy),
        Found::Builtin(builtin) => write_builtin(out, ask, builtin),
    });
    Ok(Some(out))
}

pub fn list(ask: &Ask) -> Answer {
    ask.allow(&ask.arn("policy", "/", "*"))?;
    let scope = ask.get("Scope").unwrap_or("All");
    let prefix = ask.get("PathPrefix").unwrap_or("/");
    let only_attached = ask.get("OnlyAttached") == Some("true");
    let mut found: Vec<(String, Found)> = Vec::new();
    if scope != "AWS" {
        let own = ask.directory.policies(ask.account()).filter(|policy| policy.path.starts_with(prefix));
        found.extend(own.map(|policy| (policy.arn(), Found::Own(policy.clone()))));
    }
    if scope != "Local" && prefix == "/" {
        found.extend(builtin::all().iter().map(|builtin| (builtin.arn(), Found::Builtin(builtin))));
    }
    if only_attached {
        found.retain(|(arn, _)| ask.directory.attachments(ask.account(), arn) > 0);
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let (found, next) = ask.page(found, |(arn, _)| arn.clone())?;
    let mut out = Document::fragment();
    out.inside("Policies", |out| {
        for (_, policy) in &found {
            out.inside("member", |out| match policy {
                Found::Own(policy) => write(out, ask, policy),
                Found::Builtin(builtin) => write_builtin(out, ask, builtin),
            });
        }
    });
    write_next(&mut out, next.as_deref());
    Ok(Some(out))
}

pub async fn delete(ask: &Ask) -> Answer {
    let arn = ask.need("PolicyArn")?.to_owned();
    ask.allow(&arn)?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.delete_policy(&account, &arn)).await?;
    Ok(None)
}

pub async fn tag(ask: &Ask) -> Answer {
    let arn = ask.need("PolicyArn")?.to_owned();
    ask.allow(&arn)?;
    let (account, tags) = (ask.account().to_owned(), ask.tags()?);
    ask.access.change(move |change| change.tag_policy(&account, &arn, tags, &[])).await?;
    Ok(None)
}

pub async fn untag(ask: &Ask) -> Answer {
    let arn = ask.need("PolicyArn")?.to_owned();
    ask.allow(&arn)?;
    let (account, keys) = (ask.account().to_owned(), ask.members("TagKeys"));
    ask.access.change(move |change| change.tag_policy(&account, &arn, Default::default(), &keys)).await?;
    Ok(None)
}

pub fn list_tags(ask: &Ask) -> Answer {
    let tags = match find(ask)? {
        Found::Own(policy) => policy.tags.clone(),
        Found::Builtin(_) => Default::default(),
    };
    let mut out = Document::fragment();
    out.value("IsTruncated", false);
    write_tags(&mut out, &tags);
    Ok(Some(out))
}

fn write_version(out: &mut Document, number: u32, default: bool, version: &PolicyVersion, with_text: bool) {
    if with_text {
        out.text("Document", &encoded(&version.document.text));
    }
    out.value("VersionId", format_args!("v{number}"));
    out.value("IsDefaultVersion", default);
    out.value("CreateDate", date::iso(version.created_ms));
}

pub async fn create_version(ask: &Ask) -> Answer {
    let arn = ask.need("PolicyArn")?.to_owned();
    ask.allow(&arn)?;
    let (account, text) = (ask.account().to_owned(), ask.need("PolicyDocument")?.to_owned());
    let as_default = ask.get("SetAsDefault") == Some("true");
    let create = ask.access.change(move |change| change.create_policy_version(&account, &arn, &text, as_default));
    let policy = create.await?;
    let mut out = Document::fragment();
    if let Some(version) = policy.versions.get(&policy.newest) {
        out.inside("PolicyVersion", |out| {
            write_version(out, policy.newest, policy.default == policy.newest, version, false);
        });
    }
    Ok(Some(out))
}

fn version_number(ask: &Ask) -> Result<u32, Fault> {
    let text = ask.need("VersionId")?;
    let number = text.strip_prefix('v').and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| Fault::invalid(format!("VersionId is `{text}`, it must be like v1")))
}

pub fn get_version(ask: &Ask) -> Answer {
    let number = version_number(ask)?;
    let found = find(ask)?;
    let absent = || AccessError::NoSuchEntity(format!("Policy version v{number} was not found."));
    let mut out = Document::fragment();
    match &found {
        Found::Own(policy) => {
            let version = policy.versions.get(&number).ok_or_else(absent)?;
            out.inside("PolicyVersion", |out| write_version(out, number, policy.default == number, version, true));
        }
        Found::Builtin(builtin) if number == 1 => {
            let version = PolicyVersion { document: builtin.document.clone(), created_ms: 0 };
            out.inside("PolicyVersion", |out| write_version(out, 1, true, &version, true));
        }
        Found::Builtin(_) => return Err(absent().into()),
    }
    Ok(Some(out))
}

pub fn list_versions(ask: &Ask) -> Answer {
    let (default, versions) = match find(ask)? {
        Found::Own(policy) => (policy.default, policy.versions.clone()),
        Found::Builtin(builtin) => {
            (1, [(1, PolicyVersion { document: builtin.document.clone(), created_ms: 0 })].into())
        }
    };
    let mut out = Document::fragment();
    out.inside("Versions", |out| {
        for (number, version) in versions.iter().rev() {
            out.inside("member", |out| write_version(out, *number, default == *number, version, false));
        }
    });
    out.value("IsTruncated", false);
    Ok(Some(out))
}

pub async fn set_default(ask: &Ask) -> Answer {
    let (arn, number) = (ask.need("PolicyArn")?.to_owned(), version_number(ask)?);
    ask.allow(&arn)?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.set_default_version(&account, &arn, number)).await?;
    Ok(None)
}

pub async fn delete_version(ask: &Ask) -> Answer {
    let (arn, number) = (ask.need("PolicyArn")?.to_owned(), version_number(ask)?);
    ask.allow(&arn)?;
    let account = ask.account().to_owned();
    ask.access.change(move |change| change.delete_policy_version(&account, &arn, number)).await?;
    Ok(None)
}

pub fn list_entities(ask: &Ask) -> Answer {
    find(ask)?;
    let (arn, account) = (ask.need("PolicyArn")?, ask.account());
    let filter = ask.get("EntityFilter").unwrap_or_default();
    let wanted = |kind: &str| filter.is_empty() || filter == kind;
    let usage = ask.get("PolicyUsageFilter").unwrap_or_default();
    let uses = |grants: &Grants, boundary: Option<&String>| {
        (usage != "PermissionsBoundary" && grants.attached.contains(arn))
            || (usage != "PermissionsPolicy" && boundary.is_some_and(|boundary| boundary == arn))
    };
    let directory = &ask.directory;
    let mut out = Document::fragment();
    out.inside("PolicyGroups", |out| {
        let groups = directory.groups(account).filter(|group| wanted("Group") && uses(&group.grants, None));
        groups.for_each(|group| {
            out.inside("member", |out| {
                out.text("GroupName", &group.name);
                out.text("GroupId", &group.id);
            })
        });
    });
    out.inside("PolicyUsers", |out| {
        let users =
            directory.users(account).filter(|user| wanted("User") && uses(&user.grants, user.boundary.as_ref()));
        users.for_each(|user| {
            out.inside("member", |out| {
                out.text("UserName", &user.name);
                out.text("UserId", &user.id);
            })
        });
    });
    out.inside("PolicyRoles", |out| {
        let roles =
            directory.roles(account).filter(|role| wanted("Role") && uses(&role.grants, role.boundary.as_ref()));
        roles.for_each(|role| {
            out.inside("member", |out| {
                out.text("RoleName", &role.name);
                out.text("RoleId", &role.id);
            })
        });
    });
    out.value("IsTruncated", false);
    Ok(Some(out))
}
