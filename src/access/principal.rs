//! Accounts, and who acts for them. Pure data.
//!
//! The account is the unit of ownership, as on AWS: buckets and objects belong to an account, access control lists name
//! accounts by canonical id, and all users of an account share what it owns. A principal is one caller: the account's
//! root, a user, a key with a policy of its own, or the bearer of temporary credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::Policy;

/// Number of the store's first account, which the operator's root key pair belongs to.
pub const STORE_ACCOUNT: &str = "000000000001";
/// Its canonical id: 64 hexadecimal digits, as clients expect. It is no secret and means nothing beyond this.
pub const STORE_CANONICAL_ID: &str = "ae71e00000000000000000000000000000000000000000000000000000000001";
/// Its name.
pub const STORE_NAME: &str = "aerie";

/// Who owns things.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Twelve digits, as ARNs name it.
    pub id: String,
    /// 64 hexadecimal digits, as ACLs and owners name it.
    pub canonical_id: String,
    pub name: String,
    pub created_ms: i64,
}

impl Account {
    /// The store's own.
    pub fn store() -> Account {
        Account {
            id: STORE_ACCOUNT.to_owned(),
            canonical_id: STORE_CANONICAL_ID.to_owned(),
            name: STORE_NAME.to_owned(),
            created_ms: 0,
        }
    }

    pub fn is_store(&self) -> bool {
        self.id == STORE_ACCOUNT
    }

    pub fn root_arn(&self) -> String {
        format!("arn:aws:iam::{}:root", self.id)
    }
}

/// The canonical id that an owner's column holds: an empty one is the store's own.
pub fn owner_id(owner: &str) -> &str {
    if owner.is_empty() { STORE_CANONICAL_ID } else { owner }
}

/// A user as a principal shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName {
    /// `AIDA…`: never used twice, also where a name is.
    pub id: String,
    pub name: String,
    /// Begins and ends with `/`.
    pub path: String,
}

/// How a principal acts for its account. Where a user is named, `None` stands for the account's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Root,
    User(UserName),
    /// A key that is bound by a policy of its own, whatever its user may do.
    ServiceAccount {
        of: Option<UserName>,
        name: String,
    },
    /// Temporary credentials that a user or root made for itself (GetSessionToken).
    Session {
        of: Option<UserName>,
    },
    /// Temporary credentials of a role (AssumeRole). `id` is `AROA…`, `path` as of a user.
    AssumedRole {
        id: String,
        role: String,
        path: String,
        session: String,
    },
}

/// Policies of which one must allow.
pub(super) type Policies = Arc<[Arc<Policy>]>;

/// One caller. Made by the directory, never by a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    pub account: Arc<Account>,
    pub kind: Kind,
    /// What identity policies grant; `None` for what nothing bounds: root.
    pub(super) granted: Option<Policies>,
    /// Each of these must allow, too: the policies of a session or of a service account.
    pub(super) bounds: Vec<Policies>,
    /// The permissions boundary of the user or role: what identity policies grant beyond it does not count.
    pub(super) boundary: Option<Policies>,
    /// Tags of the user or role, for `aws:PrincipalTag`.
    pub(super) tags: Arc<BTreeMap<String, String>>,
    /// When the credentials were issued (temporary ones) and end (these, and keys with an end), in milliseconds.
    pub issued_ms: Option<i64>,
    pub expires_ms: Option<i64>,
}

impl Principal {
    /// Root of an account.
    pub fn root(account: Arc<Account>) -> Principal {
        Principal {
            account,
            kind: Kind::Root,
            granted: None,
            bounds: Vec::new(),
            boundary: None,
            tags: Arc::default(),
            issued_ms: None,
            expires_ms: None,
        }
    }

    pub fn canonical_id(&self) -> &str {
        &self.account.canonical_id
    }

    /// The account's root itself, unbounded.
    pub fn is_root(&self) -> bool {
        self.kind == Kind::Root
    }

    /// Root of the store's own account.
    pub fn is_store_root(&self) -> bool {
        self.is_root() && self.account.is_store()
    }

    pub fn user(&self) -> Option<&UserName> {
        match &self.kind {
            Kind::User(user) => Some(user),
            Kind::ServiceAccount { of, .. } | Kind::Session { of } => of.as_ref(),
            Kind::Root | Kind::AssumedRole { .. } => None,
        }
    }

    /// Temporary credentials.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, Kind::Session { .. } | Kind::AssumedRole { .. })
    }

    /// Value of a tag; the case of keys does not matter, as on AWS.
    pub fn tag(&self, key: &str) -> Option<&str> {
        let found = self.tags.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.as_str())
    }

    /// As resource policies name it.
    pub fn arn(&self) -> String {
        let account = &self.account.id;
        match (&self.kind, self.user()) {
            (Kind::AssumedRole { role, session, .. }, _) => {
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
            (_, Some(user)) => format!("arn:aws:iam::{account}:user{}{}", user.path, user.name),
            (_, None) => self.account.root_arn(),
        }
    }

    /// ARN of the role that was assumed.
    pub fn role_arn(&self) -> Option<String> {
        match &self.kind {
            Kind::AssumedRole { role, path, .. } => Some(format!("arn:aws:iam::{}:role{path}{role}", self.account.id)),
            _ => None,
        }
    }

    /// `aws:userid`.
    pub fn user_id(&self) -> String {
        match (&self.kind, self.user()) {
            (Kind::AssumedRole { id, session, .. }, _) => format!("{id}:{session}"),
            (_, Some(user)) => user.id.clone(),
            (_, None) => self.account.id.clone(),
        }
    }

    /// `aws:PrincipalType`.
    pub fn type_name(&self) -> &'static str {
        match (&self.kind, self.user()) {
            (Kind::AssumedRole { .. }, _) => "AssumedRole",
            (_, Some(_)) => "User",
            (_, None) => "Account",
        }
    }

    /// As event records and logs name it: `root` for the store's, else its ARN.
    pub fn name_in_events(&self) -> String {
        match self.account.is_store() && self.user().is_none() && self.role_arn().is_none() {
            true => "root".to_owned(),
            false => self.arn(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_named_as_on_aws() {
        let account = Arc::new(Account { id: "123456789012".to_owned(), ..Account::store() });
        let user = UserName { id: "AIDA1".to_owned(), name: "ann".to_owned(), path: "/crew/".to_owned() };
        let role = Kind::AssumedRole {
            id: "AROA1".to_owned(),
            role: "reader".to_owned(),
            path: "/".to_owned(),
            session: "s1".to_owned(),
        };
        let of = |kind| Principal { kind, ..Principal::root(account.clone()) };
        for (kind, arn, id, type_name) in [
            (Kind::Root, "arn:aws:iam::123456789012:root", "123456789012", "Account"),
            (Kind::User(user.clone()), "arn:aws:iam::123456789012:user/crew/ann", "AIDA1", "User"),
            (Kind::Session { of: Some(user) }, "arn:aws:iam::123456789012:user/crew/ann", "AIDA1", "User"),
            (role, "arn:aws:sts::123456789012:assumed-role/reader/s1", "AROA1:s1", "AssumedRole"),
        ] {
            let principal = of(kind);
            assert_eq!((principal.arn().as_str(), principal.user_id().as_str()), (arn, id));
            assert_eq!(principal.type_name(), type_name);
        }
        assert_eq!(Principal::root(Arc::new(Account::store())).name_in_events(), "root");
        assert_eq!(owner_id(""), STORE_CANONICAL_ID);
    }
}
