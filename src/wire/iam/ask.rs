//! One call of IAM or STS: who asks, what for, with which parameters; and pages of listings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use ring::digest;

use super::{Caller, Fault};
use crate::access::policy::{Context, Request, Values};
use crate::access::record::User;
use crate::access::{Directory, Kind, Principal, Registry};
use crate::hash::{base64_decode, base64_encode, hex_encode};
use crate::limits;
use crate::wire::auth::circumstances::Asker;
use crate::wire::auth::{Head, Identity, Payload};
use crate::wire::body::{RawBody, RequestBody, announced_length};
use crate::wire::query::Query;
use crate::wire::request::Parts;
#[cfg(test)]
use crate::wire::settings::Settings;
use crate::xml::Document;

/// A call, authenticated.
pub struct Ask {
    pub action: String,
    parameters: Vec<(String, String)>,
    pub caller: Arc<Principal>,
    pub access: Arc<Registry>,
    /// As of the beginning of the call.
    pub directory: Arc<Directory>,
    pub now_ms: i64,
    headers: HeaderMap,
    peer: SocketAddr,
    secure: bool,
    region: String,
}

impl Ask {
    pub async fn read(caller: Caller<'_>, parts: Parts, query: Query, raw: RawBody) -> Result<Ask, Fault> {
        let Caller { authenticator, settings, now_ms } = caller;
        let length = announced_length(&parts.head.headers, &Payload::Unsigned)?;
        let body = RequestBody::new(raw, Payload::Unsigned, length, None);
        let body = body.collect(limits::QUERY_BODY_BYTES_MAX, length).await?.0;
        let hashed = hex_encode(digest::digest(&digest::SHA256, &body).as_ref());
        let head = Head {
            method: parts.head.method.as_str(),
            path: parts.head.uri.path(),
            raw_query: parts.head.uri.query().unwrap_or_default(),
            query: &query,
            headers: &parts.head.headers,
        };
        let caller = match authenticator.authenticate_query(head, &hashed, settings, now_ms)? {
            Identity::Signed(principal) => principal,
            Identity::Anonymous => {
                let message = "Request is missing Authentication Token";
                return Err(Fault::new(http::StatusCode::FORBIDDEN, "MissingAuthenticationToken", message));
            }
        };
        let parameters: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let action = parameters.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.clone());
        let action =
            action.filter(|action| action.bytes().all(|byte| byte.is_ascii_alphanumeric()) && action.len() <= 64);
        let missing = || Fault::new(http::StatusCode::BAD_REQUEST, "MissingAction", "The form names no action");
        Ok(Ask {
            action: action.ok_or_else(missing)?,
            parameters,
            caller,
            directory: settings.access.directory(),
            access: settings.access.clone(),
            now_ms,
            headers: parts.head.headers,
            peer: parts.peer,
            secure: parts.secure,
            region: settings.region.clone(),
        })
    }

    #[cfg(test)]
    pub fn for_test(settings: &Settings, caller: Arc<Principal>, parameters: &[(&str, &str)]) -> Ask {
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ask {
            action: parameters[0].1.clone(),
            parameters,
            caller,
            directory: settings.access.directory(),
            access: settings.access.clone(),
            now_ms: crate::seam::real::world().clock.unix_ms(),
            headers: HeaderMap::new(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            secure: false,
            region: settings.region.clone(),
        }
    }

    /// Id of the caller's account: nothing else is touched.
    pub fn account(&self) -> &str {
        &self.caller.account.id
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn need(&self, name: &str) -> Result<&str, Fault> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Fault::invalid(format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"))
        })
    }

    pub fn number(&self, name: &str) -> Result<Option<u32>, Fault> {
        let parse =
            |text: &str| text.parse().map_err(|_| Fault::invalid(format!("{name} is `{text}`, it must be a number")));
        self.get(name).map(parse).transpose()
    }

    /// `NAME.member.1`, `NAME.member.2`, …
    pub fn members(&self, name: &str) -> Vec<String> {
        let member = |number: usize| self.get(&format!("{name}.member.{number}")).map(str::to_owned);
        (1..=limits::IDENTITY_TAGS_MAX + 1).map_while(member).collect()
    }

    /// `Tags.member.1.Key` and `….Value`.
    pub fn tags(&self) -> Result<BTreeMap<String, String>, Fault> {
        let mut tags = BTreeMap::new();
        for number in 1..=limits::IDENTITY_TAGS_MAX + 1 {
            let Some(key) = self.get(&format!("Tags.member.{number}.Key")) else { break };
            let value = self.get(&format!("Tags.member.{number}.Value")).unwrap_or_default();
            if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(Fault::invalid("A tag's key has 1 to 128 characters, its value up to 256"));
            }
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(Fault::new(
                    http::StatusCode::BAD_REQUEST,
                    "InvalidInput",
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                ));
            }
        }
        match tags.len() > limits::IDENTITY_TAGS_MAX {
            true => Err(Fault::invalid(format!("There are more than {} tags", limits::IDENTITY_TAGS_MAX))),
            false => Ok(tags),
        }
    }

    pub fn asker(&self) -> Asker<'_> {
        Asker {
            caller: Some(&self.caller),
            peer: self.peer,
            secure: self.secure,
            headers: &self.headers,
            region: &self.region,
            now_ms: self.now_ms,
        }
    }

    /// Whether the caller's own policies allow the call on an ARN of its account.
    pub fn allow(&self, arn: &str) -> Result<(), Fault> {
        // As on AWS; and a key that is bound to a policy must not make itself one that is not.
        let bound = matches!(self.caller.kind, Kind::Session { .. } | Kind::ServiceAccount { .. });
        let action = format!("iam:{}", self.action);
        if !bound && self.caller.may(Request { action: &action, resource: arn, context: self }) {
            return Ok(());
        }
        let text = format!("User: {} is not authorized to perform: {action} on resource: {arn}", self.caller.arn());
        Err(Fault::denied(text))
    }

    /// Permissions boundary and tags of the user or role that the call names.
    fn target(&self) -> Option<(Option<&str>, &BTreeMap<String, String>)> {
        let user = || self.directory.user(self.account(), self.get("UserName")?);
        let role = || self.directory.role(self.account(), self.get("RoleName")?);
        let of_user = user().map(|user| (user.boundary.as_deref(), &user.tags));
        of_user.or_else(|| role().map(|role| (role.boundary.as_deref(), &role.tags)))
    }

    /// ARN of what the account has under a kind and a path with its name.
    pub fn arn(&self, kind: &str, path: &str, name: &str) -> String {
        arn(self.account(), kind, path, name)
    }

    /// The user that `UserName` names, or the caller; `None` is root.
    pub fn user(&self) -> Result<Option<Arc<User>>, Fault> {
        let name = match self.get("UserName").filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => match self.caller.user() {
                Some(user) => user.name.clone(),
                None if self.caller.role_arn().is_none() => return Ok(None),
                None => return Err(Fault::invalid("Must specify userName when calling with non-User credentials")),
            },
        };
        match self.directory.find_user(self.account(), &name) {
            Ok(user) => Ok(Some(user.clone())),
            Err(error) => {
                // Only who may ask learns that there is no such user.
                self.allow(&self.arn("user", "/", &name))?;
                Err(error.into())
            }
        }
    }

    /// ARN of a user, or of root.
    pub fn arn_of(&self, user: Option<&User>) -> String {
        user.map_or_else(|| self.caller.account.root_arn(), |user| self.arn("user", &user.path, &user.name))
    }

    /// The page of a listing, and the marker of the next; `items` are sorted by `name`.
    pub fn page<T>(&self, items: Vec<T>, name: impl Fn(&T) -> String) -> Result<(Vec<T>, Option<String>), Fault> {
        let limit = self.number("MaxItems")?.unwrap_or(100) as usize;
        if !(1..=limits::QUERY_ITEMS_MAX).contains(&limit) {
            return Err(Fault::invalid(format!("MaxItems must be between 1 and {}", limits::QUERY_ITEMS_MAX)));
        }
        let marker = match self.get("Marker").filter(|marker| !marker.is_empty()) {
            None => String::new(),
            Some(text) => {
                let decoded = base64_decode(text).and_then(|bytes| String::from_utf8(bytes).ok());
                decoded.ok_or_else(|| Fault::invalid("Invalid Marker."))?
            }
        };
        let mut rest: Vec<T> = items.into_iter().filter(|item| marker.is_empty() || name(item) > marker).collect();
        let truncated = rest.len() > limit;
        rest.truncate(limit);
        let next = rest.last().filter(|_| truncated).map(|last| base64_encode(name(last).as_bytes()));
        Ok((rest, next))
    }
}

/// A parameter counts only in the calls that do something by it: elsewhere it could be added to fulfil a condition.
impl Context for Ask {
    fn values(&self, key: &str) -> Values<'_> {
        let one = |text: &str| Some(vec![Cow::Owned(text.to_owned())]);
        let of = |starts: &[&str]| starts.iter().any(|start| self.action.starts_with(start));
        let (service, name) = key.split_once(':')?;
        match (service, name.split_once('/')) {
            ("iam", None) if name == "policyarn" && of(&["Attach", "Detach"]) => one(self.get("PolicyArn")?),
            // What a request sets, or what holds for the user or role that it changes.
            ("iam", None) if name == "permissionsboundary" => match self.action.as_str() {
                "CreateUser" | "CreateRole" | "PutUserPermissionsBoundary" | "PutRolePermissionsBoundary" => {
                    one(self.get("PermissionsBoundary")?)
                }
                _ => one(self.target()?.0?),
            },
            ("iam" | "aws", Some(("resourcetag", tag))) => one(self.target()?.1.get(tag)?),
            ("sts", None) if name == "externalid" && of(&["AssumeRole"]) => one(self.get("ExternalId")?),
            ("sts", None) if name == "rolesessionname" && of(&["AssumeRole"]) => one(self.get("RoleSessionName")?),
            ("aws", Some(("requesttag", tag))) if of(&["Create", "Tag"]) => one(self.tags().ok()?.get(tag)?),
            ("aws", None) if name == "tagkeys" && of(&["Create", "Tag", "Untag"]) => {
                let mut keys: Vec<String> = self.tags().ok()?.into_keys().collect();
                keys.extend(self.members("TagKeys"));
                Some(keys.into_iter().map(Cow::Owned).collect()).filter(|keys: &Vec<_>| !keys.is_empty())
            }
            ("aws", _) => {
                let asker = self.asker();
                let values = asker.values(key)?.into_iter();
                Some(values.map(|value| Cow::Owned(value.into_owned())).collect())
            }
            _ => None,
        }
    }
}

pub fn arn(account: &str, kind: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:{kind}{path}{name}")
}

/// What every listing ends with.
pub fn write_next(document: &mut Document, next: Option<&str>) {
    document.value("IsTruncated", next.is_some());
    document.text_if("Marker", next);
}

pub fn write_boundary(document: &mut Document, boundary: Option<&str>) {
    let Some(arn) = boundary else { return };
    document.inside("PermissionsBoundary", |document| {
        document.text("PermissionsBoundaryType", "Policy");
        document.text("PermissionsBoundaryArn", arn);
    });
}

pub fn write_tags(document: &mut Document, tags: &BTreeMap<String, String>) {
    document.inside("Tags", |document| {
        for (key, value) in tags {
            document.inside("member", |document| {
                document.text("Key", key);
                document.text("Value", value);
            });
        }
    });
}
