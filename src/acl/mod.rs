//! Access control lists: who may do what with a bucket or an object, beside what policies say.
//!
//! A leaf: plain values, their compact text for the metadata, the canned lists, and the decision. Accounts are known by
//! their canonical id alone. A list does not name its resource's owner: `Grantee::Owner` is whoever that is. Absent: XML
//! and headers (the wire layer's), and whether a bucket's lists count at all (its ownership).

mod canned;
mod ownership;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use canned::{Canned, Target};
pub use ownership::{ObjectOwnership, PublicAccessBlock};

/// What a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    Read,
    Write,
    ReadAcp,
    WriteAcp,
    FullControl,
}

impl Permission {
    pub const ALL: [Permission; 5] =
        [Permission::Read, Permission::Write, Permission::ReadAcp, Permission::WriteAcp, Permission::FullControl];

    /// As S3 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Read => "READ",
            Permission::Write => "WRITE",
            Permission::ReadAcp => "READ_ACP",
            Permission::WriteAcp => "WRITE_ACP",
            Permission::FullControl => "FULL_CONTROL",
        }
    }

    pub fn parse(text: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|permission| permission.as_str() == text)
    }

    /// Whether who has this one has `wanted`.
    fn covers(self, wanted: Permission) -> bool {
        self == wanted || self == Permission::FullControl
    }
}

/// To whom a grant is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// The owner of the resource that the list belongs to.
    Owner,
    /// An account, by its canonical id.
    Account(String),
    /// Anybody, also without a signature.
    AllUsers,
    /// Anybody with an access key of some account.
    AuthenticatedUsers,
    /// Whoever writes access logs.
    LogDelivery,
}

impl Grantee {
    /// S3's name of a group.
    pub fn uri(&self) -> Option<&'static str> {
        match self {
            Grantee::AllUsers => Some("http://acs.amazonaws.com/groups/global/AllUsers"),
            Grantee::AuthenticatedUsers => Some("http://acs.amazonaws.com/groups/global/AuthenticatedUsers"),
            Grantee::LogDelivery => Some("http://acs.amazonaws.com/groups/s3/LogDelivery"),
            Grantee::Owner | Grantee::Account(_) => None,
        }
    }

    pub fn group(uri: &str) -> Option<Grantee> {
        let groups = [Grantee::AllUsers, Grantee::AuthenticatedUsers, Grantee::LogDelivery];
        groups.into_iter().find(|group| group.uri() == Some(uri))
    }

    /// Anybody at all, or anybody with a key: what S3 calls public.
    fn is_public(&self) -> bool {
        matches!(self, Grantee::AllUsers | Grantee::AuthenticatedUsers)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    pub grantee: Grantee,
    pub permission: Permission,
}

/// Who asks, as a list sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker<'a> {
    Anonymous,
    /// An account, by its canonical id.
    Account(&'a str),
}

/// An access control list. Groups stand before accounts, as clients are used to; no grant stands twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Acl {
    grants: Vec<Grant>,
}

impl Default for Acl {
    /// The list of whatever has none: its owner may do everything, nobody else anything.
    fn default() -> Acl {
        Acl::new([Grant { grantee: Grantee::Owner, permission: Permission::FullControl }])
    }
}

impl Acl {
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Acl {
        let (mut groups, mut accounts): (Vec<Grant>, Vec<Grant>) = (Vec::new(), Vec::new());
        for grant in grants {
            let into = if grant.grantee.uri().is_some() { &mut groups } else { &mut accounts };
            if !into.contains(&grant) {
                into.push(grant);
            }
        }
        groups.append(&mut accounts);
        Acl { grants: groups }
    }

    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Gives something to anybody, or to anybody with a key.
    pub fn is_public(&self) -> bool {
        self.grants.iter().any(|grant| grant.grantee.is_public())
    }

    /// Gives something to somebody who is not the owner.
    pub fn is_shared(&self) -> bool {
        self.grants.iter().any(|grant| grant.grantee != Grantee::Owner)
    }

    /// Itself, or nothing where it says what holds without a list.
    pub fn unless_default(self) -> Option<Acl> {
        (self != Acl::default()).then_some(self)
    }

    /// Whether the list gives `wanted` to somebody who does not own the resource. `ignore_public`: grants to the public
    /// do not count.
    pub fn gives(&self, asker: Asker<'_>, wanted: Permission, ignore_public: bool) -> bool {
        self.grants.iter().any(|grant| {
            let meant = match (&grant.grantee, asker) {
                (Grantee::AllUsers, _) | (Grantee::AuthenticatedUsers, Asker::Account(_)) => !ignore_public,
                (Grantee::Account(id), Asker::Account(asker)) => id == asker,
                // The owner's account is decided before any list; nobody here delivers logs.
                (Grantee::Owner | Grantee::LogDelivery, _) => false,
                (Grantee::Account(_) | Grantee::AuthenticatedUsers, Asker::Anonymous) => false,
            };
            meant && grant.permission.covers(wanted)
        })
    }
}

/// `READ=@all,FULL_CONTROL=@owner`: permissions and grantees, groups and the owner behind an `@`.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, grant) in self.grants.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let grantee = match &grant.grantee {
                Grantee::Owner => "@owner",
                Grantee::Account(id) => id,
                Grantee::AllUsers => "@all",
                Grantee::AuthenticatedUsers => "@authenticated",
                Grantee::LogDelivery => "@log",
            };
            write!(f, "{comma}{}={grantee}", grant.permission.as_str())?;
        }
        Ok(())
    }
}

/// A stored list that this program did not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no access control list as the metadata holds them")]
pub struct UnreadableAcl(String);

impl FromStr for Acl {
    type Err = UnreadableAcl;

    fn from_str(text: &str) -> Result<Acl, UnreadableAcl> {
        let read = |item: &str| {
            let (permission, grantee) = item.split_once('=')?;
            let grantee = match grantee {
                "@owner" => Grantee::Owner,
                "@all" => Grantee::AllUsers,
                "@authenticated" => Grantee::AuthenticatedUsers,
                "@log" => Grantee::LogDelivery,
                id if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                    Grantee::Account(id.to_owned())
                }
                _ => return None,
            };
            Some(Grant { grantee, permission: Permission::parse(permission)? })
        };
        let grants: Option<Vec<Grant>> = text.split(',').filter(|item| !item.is_empty()).map(read).collect();
        grants.map(Acl::new).ok_or_else(|| UnreadableAcl(text.to_owned()))
    }
}

impl TryFrom<String> for Acl {
    type Error = UnreadableAcl;

    fn try_from(text: String) -> Result<Acl, UnreadableAcl> {
        text.parse()
    }
}

impl From<Acl> for String {
    fn from(acl: Acl) -> String {
        acl.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(grantee: Grantee, permission: Permission) -> Grant {
        Grant { grantee, permission }
    }

    #[test]
    fn lists_are_kept_as_text() {
        let all = grant(Grantee::AllUsers, Permission::Read);
        let other = grant(Grantee::Account("ab12".to_owned()), Permission::WriteAcp);
        let owner = grant(Grantee::Owner, Permission::FullControl);
        let acl = Acl::new([owner.clone(), other, all.clone(), all]);
        assert_eq!(acl.to_string(), "READ=@all,FULL_CONTROL=@owner,WRITE_ACP=ab12");
        assert_eq!(acl.to_string().parse(), Ok(acl));
        assert_eq!("".parse::<Acl>(), Ok(Acl::new([])));
        assert_eq!(Acl::default(), Acl::new([owner]));
        for bad in ["READ", "READ=", "READ=@some", "read=@all", "READ=a b", "=@all"] {
            assert!(bad.parse::<Acl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_grant_reaches_whom_it_names() {
        use Asker::{Account, Anonymous};
        use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
        for (list, asker, wanted, given, given_without_public) in [
            ("READ=@all", Anonymous, Read, true, false),
            ("READ=@all", Account("a"), Read, true, false),
            ("READ=@all", Account("a"), Write, false, false),
            ("READ=@authenticated", Anonymous, Read, false, false),
            ("READ=@authenticated", Account("a"), Read, true, false),
            ("FULL_CONTROL=a", Account("a"), WriteAcp, true, true),
            ("FULL_CONTROL=a", Account("b"), Read, false, false),
            ("FULL_CONTROL=a", Anonymous, Read, false, false),
            ("READ_ACP=a", Account("a"), ReadAcp, true, true),
            ("READ_ACP=a", Account("a"), Read, false, false),
            ("FULL_CONTROL=@owner", Account("a"), Read, false, false),
            ("WRITE=@log", Account("a"), Write, false, false),
            ("READ=a,WRITE=a", Account("a"), FullControl, false, false),
        ] {
            let acl: Acl = list.parse().unwrap();
            assert_eq!(acl.gives(asker, wanted, false), given, "{list}: {asker:?} {wanted:?}");
            assert_eq!(acl.gives(asker, wanted, true), given_without_public, "{list}: {asker:?} {wanted:?}");
        }
    }
}
