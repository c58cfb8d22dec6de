//! Access keys. Beyond AWS a key may end by itself (`DurationSeconds`) and may be bound to a policy (`Policy`): a service
//! account. A secret is shown once, to its maker.

use super::ask::{Ask, write_next};
use super::users::named_arn;
use super::{Answer, Fault};
use crate::access::NewKey;
use crate::access::record::Key;
use crate::wire::date;
use crate::xml::Document;

fn status(key: &Key) -> &'static str {
    if key.active { "Active" } else { "Inactive" }
}

fn write_facts(document: &mut Document, key: &Key) {
    document.text("AccessKeyId", &key.access_key);
    document.text("Status", status(key));
    document.value("CreateDate", date::iso(key.created_ms));
    if let Some(expires_ms) = key.expires_ms {
        document.value("ExpirationDate", date::iso(expires_ms));
    }
    document.text_if("Policy", key.policy.as_ref().map(|policy| policy.text.as_str()));
    document.text_if("Description", Some(key.description.as_str()).filter(|text| !text.is_empty()));
}

pub async fn create(ask: &Ask) -> Answer {
    let user = ask.user()?;
    ask.allow(&ask.arn_of(user.as_deref()))?;
    let expires_ms = ask.number("DurationSeconds")?.map(|seconds| ask.now_ms + i64::from(seconds) * 1000);
    let name = user.as_ref().map(|user| user.name.clone());
    let new = NewKey {
        user: name.clone(),
        expires_ms,
        policy: ask.get("Policy").map(str::to_owned),
        description: ask.get("Description").unwrap_or_default().chars().take(256).collect(),
    };
    let account = ask.account().to_owned();
    let key = ask.access.change(move |change| change.create_key(&account, new)).await?;
    let mut document = Document::fragment();
    document.inside("AccessKey", |document| {
        document.text("UserName", name.as_deref().unwrap_or(&ask.caller.account.name));
        write_facts(document, &key);
        document.text("SecretAccessKey", key.secret.as_str());
    });
    Ok(Some(document))
}

pub fn list(ask: &Ask) -> Answer {
    let user = ask.user()?;
    ask.allow(&ask.arn_of(user.as_deref()))?;
    let id = user.as_ref().map(|user| user.id.as_str());
    let keys = ask.directory.keys(ask.account(), id).cloned().collect();
    let (keys, next) = ask.page(keys, |key| key.access_key.clone())?;
    let mut document = Document::fragment();
    document.text_if("UserName", user.as_ref().map(|user| user.name.as_str()));
    write_next(&mut document, next.as_deref());
    document.inside("AccessKeyMetadata", |document| {
        for key in &keys {
            document.inside("member", |document| {
                document.text("UserName", user.as_ref().map_or(&ask.caller.account.name, |user| &user.name));
                write_facts(document, key);
            });
        }
    });
    Ok(Some(document))
}

pub async fn update(ask: &Ask) -> Answer {
    let user = ask.user()?;
    ask.allow(&ask.arn_of(user.as_deref()))?;
    let access_key = ask.need("AccessKeyId")?.to_owned();
    let active = match ask.need("Status")? {
        "Active" => true,
        "Inactive" => false,
        other => return Err(Fault::invalid(format!("Status is `{other}`, it must be Active or Inactive"))),
    };
    let (account, name) = (ask.account().to_owned(), user.map(|user| user.name.clone()));
    let set = ask.access.change(move |change| change.set_key_active(&account, name.as_deref(), &access_key, active));
    set.await?;
    Ok(None)
}

pub async fn delete(ask: &Ask) -> Answer {
    let user = ask.user()?;
    ask.allow(&ask.arn_of(user.as_deref()))?;
    let access_key = ask.need("AccessKeyId")?.to_owned();
    let (account, name) = (ask.account().to_owned(), user.map(|user| user.name.clone()));
    ask.access.change(move |change| change.delete_key(&account, name.as_deref(), &access_key)).await?;
    Ok(None)
}

/// Whose key it is, and when it was used, to the hour.
pub fn last_used(ask: &Ask) -> Answer {
    let access_key = ask.need("AccessKeyId")?;
    let key = ask.directory.key(access_key).filter(|key| key.account == ask.account());
    let user = key.and_then(|key| ask.directory.user_by_id(&key.account, key.user.as_deref()?));
    ask.allow(&user.map_or_else(|| ask.arn_of(None), |user| named_arn(ask, &user.name)))?;
    if key.is_none() {
        let text = format!("The Access Key with id {access_key} cannot be found.");
        return Err(Fault::new(http::StatusCode::NOT_FOUND, "NoSuchEntity", text));
    }
    let mut document = Document::fragment();
    document.text("UserName", user.map_or(&ask.caller.account.name, |user| &user.name));
    document.inside("AccessKeyLastUsed", |document| match ask.access.last_use(access_key) {
        Some(last) => {
            document.value("LastUsedDate", date::iso(last.used_ms));
            document.text("ServiceName", &last.service);
            document.text("Region", ask.region());
        }
        None => {
            document.text("ServiceName", "N/A");
            document.text("Region", "N/A");
        }
    });
    Ok(Some(document))
}
