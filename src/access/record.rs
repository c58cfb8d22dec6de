//! What is kept of users, groups, roles, managed policies and keys: one property of the metadata each, as JSON.
//!
//! Property names: `access/account/ID`, `access/user/ACCOUNT/NAME` (the name in lower case: names are unique whatever
//! their case), likewise `group`, `role` and `policy`; `access/key/ACCESSKEY`. Unknown fields are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Secret;
use super::change::key_property;
use super::policy::{self, Policy, PolicyFault, Use};
use crate::crypt::{SealError, Vault};

/// A policy of an identity as it was given, with what it compiles to.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub text: String,
    pub policy: Arc<Policy>,
}

impl Document {
    pub fn new(text: impl Into<String>) -> Result<Document, PolicyFault> {
        let text = text.into();
        Ok(Document { policy: Arc::new(policy::parse(&text, Use::Identity)?), text })
    }
}

/// A role's trust policy, likewise.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    pub text: String,
    pub policy: Arc<Policy>,
}

impl Trust {
    pub fn new(text: impl Into<String>) -> Result<Trust, PolicyFault> {
        let text = text.into();
        Ok(Trust { policy: Arc::new(policy::parse(&text, Use::Trust)?), text })
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        Document::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Trust {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trust {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Trust, D::Error> {
        Trust::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Policies of a user, group or role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// By name.
    pub inline: BTreeMap<String, Document>,
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
}

impl Grants {
    pub fn is_empty(&self) -> bool {
        self.inline.is_empty() && self.attached.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub account: String,
    /// `AIDA…`.
    pub id: String,
    pub name: String,
    pub path: String,
    pub created_ms: i64,
    #[serde(default)]
    pub grants: Grants,
    /// Ids of groups.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// ARN of the managed policy that bounds what the others grant (permissions boundary).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub account: String,
    /// `AGPA…`.
    pub id: String,
    pub name: String,
    pub path: String,
    pub created_ms: i64,
    #[serde(default)]
    pub grants: Grants,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    pub account: String,
    /// `AROA…`.
    pub id: String,
    pub name: String,
    pub path: String,
    pub created_ms: i64,
    #[serde(default)]
    pub description: String,
    /// Longest life of a session, in seconds.
    pub session_s_max: u32,
    /// Who may assume it.
    pub trust: Trust,
    #[serde(default)]
    pub grants: Grants,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// As of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyVersion {
    pub document: Document,
    pub created_ms: i64,
}

/// A managed policy of an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Managed {
    pub account: String,
    /// `ANPA…`.
    pub id: String,
    pub name: String,
    pub path: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    #[serde(default)]
    pub description: String,
    /// By number: version `v3` is 3.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The one in force.
    pub default: u32,
    /// The highest number ever given.
    pub newest: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Managed {
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:policy{}{}", self.account, self.path, self.name)
    }

    pub fn document(&self) -> Option<&Document> {
        self.versions.get(&self.default).map(|version| &version.document)
    }
}

/// An access key of a user or of an account's root. Signatures are made from the secret, so that it is kept sealed
/// (`sealed`, `opened`), and not as a hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub account: String,
    pub access_key: String,
    #[serde(with = "secret_text")]
    pub secret: Secret,
    /// Id of the user; `None` is root.
    #[serde(default)]
    pub user: Option<String>,
    pub active: bool,
    pub created_ms: i64,
    #[serde(default)]
    pub expires_ms: Option<i64>,
    /// What the key may do at most: it makes the key a service account.
    #[serde(default)]
    pub policy: Option<Document>,
    #[serde(default)]
    pub description: String,
}

impl Key {
    /// As it is kept.
    pub(super) fn sealed(&self, vault: &Vault) -> Result<Key, SealError> {
        let sealed = vault.seal(&key_property(&self.access_key), self.secret.as_str())?;
        Ok(Key { secret: Secret::new(sealed), ..self.clone() })
    }

    /// From what is kept, and whether it was sealed: it was not before there was a vault.
    pub(super) fn opened(self, vault: &Vault) -> Result<(Key, bool), SealError> {
        if !Vault::is_sealed(self.secret.as_str()) {
            return Ok((self, false));
        }
        let secret = vault.open(&key_property(&self.access_key), self.secret.as_str())?;
        Ok((Key { secret: Secret::new(secret.as_str()), ..self }, true))
    }
}

mod secret_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::access::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_str().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}
