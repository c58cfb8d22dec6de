//! Whom a resource's policy speaks of.

use super::Verdict;
use super::json::Json;
use crate::access::Principal;

/// One name in a `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq)]
pub enum Name {
    Anyone,
    /// Twelve digits, or the ARN of the account's root: everybody in the account, as far as its own policies allow.
    Account(String),
    Canonical(String),
    /// A user, a role, or a role's session.
    Arn(String),
    /// A service or an identity provider: nobody here.
    Foreign(String),
}

/// `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    pub names: Vec<Name>,
    pub not: bool,
}

impl Names {
    /// Reads the element; `None` where it is malformed.
    pub fn parse(json: &Json, not: bool) -> Option<Names> {
        let names = match json {
            Json::Text(text) if text == "*" => vec![Name::Anyone],
            Json::Object(kinds) if !kinds.is_empty() => {
                let mut names = Vec::new();
                for (kind, values) in kinds {
                    for value in values.items() {
                        let Json::Text(text) = value else { return None };
                        names.push(Name::parse(kind, text)?);
                    }
                }
                names
            }
            _ => return None,
        };
        (!names.is_empty()).then_some(Names { names, not })
    }

    pub fn has_anyone(&self) -> bool {
        self.names.contains(&Name::Anyone)
    }

    /// How the element concerns a caller: not at all, as one of its account, by itself, or by its session.
    pub fn concern(&self, caller: Option<&Principal>) -> Verdict {
        if self.not {
            return if self.excepts(caller) { Verdict::Nothing } else { Verdict::Allow };
        }
        let concern = |name: &Name| match (name, caller) {
            (Name::Anyone, _) => Verdict::Allow,
            (Name::Account(id), Some(caller)) if *id == caller.account.id => Verdict::AllowAccount,
            (Name::Canonical(id), Some(caller)) if id == caller.canonical_id() => Verdict::AllowAccount,
            (Name::Arn(arn), Some(caller)) if *arn == caller.arn() => {
                if caller.role_arn().is_some() {
                    Verdict::AllowSession
                } else {
                    Verdict::Allow
                }
            }
            (Name::Arn(arn), Some(caller)) if caller.role_arn().as_ref() == Some(arn) => Verdict::Allow,
            _ => Verdict::Nothing,
        };
        self.names.iter().map(concern).max().unwrap_or(Verdict::Nothing)
    }

    /// As on AWS, a caller is excepted only where all that it is has been named: its account, its role and itself.
    fn excepts(&self, caller: Option<&Principal>) -> bool {
        if self.has_anyone() {
            return true;
        }
        let Some(caller) = caller else { return false };
        let account = self.names.iter().any(|name| match name {
            Name::Account(id) => *id == caller.account.id,
            Name::Canonical(id) => id == caller.canonical_id(),
            _ => false,
        });
        let named = |arn: &str| self.names.iter().any(|name| matches!(name, Name::Arn(named) if named == arn));
        let itself = match caller.role_arn() {
            Some(role) => named(&role) && named(&caller.arn()),
            None => caller.user().is_none() || named(&caller.arn()),
        };
        account && itself
    }
}

impl Name {
    fn parse(kind: &str, text: &str) -> Option<Name> {
        match kind {
            "AWS" if text == "*" => Some(Name::Anyone),
            "AWS" if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) => {
                Some(Name::Account(text.to_owned()))
            }
            "AWS" => Name::of_arn(text),
            "CanonicalUser" if text == "*" => None,
            "CanonicalUser" => Some(Name::Canonical(text.to_owned())),
            "Service" | "Federated" => Some(Name::Foreign(text.to_owned())),
            _ => None,
        }
    }

    fn of_arn(text: &str) -> Option<Name> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", "aws", service @ ("iam" | "sts"), "", account, resource] = parts.as_slice() else { return None };
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) || resource.contains(['*', '?']) {
            return None;
        }
        match (*service, resource.split('/').next()) {
            ("iam", Some("root")) if *resource == "root" => Some(Name::Account((*account).to_owned())),
            ("iam", Some("user" | "role")) | ("sts", Some("assumed-role" | "federated-user")) => {
                Some(Name::Arn(text.to_owned()))
            }
            _ => None,
        }
    }
}
