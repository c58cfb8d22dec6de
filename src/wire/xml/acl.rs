//! Access control lists as clients write and read them: the AccessControlPolicy document, and grants in headers.
//!
//! Grantees are read as they are named. Whether an id, an address or a group exists is for the operations to find out.

use http::HeaderMap;

use super::owner::{self, Owner};
use super::{DocumentError, root};
use crate::acl::Permission;
use crate::limits;
use crate::xml::{Document, Element};

/// A grantee as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedGrantee {
    /// A canonical id.
    Id(String),
    Email(String),
    Uri(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedGrant {
    pub grantee: NamedGrantee,
    pub permission: Permission,
}

/// An AccessControlPolicy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclDocument {
    /// Canonical id of the owner it names.
    pub owner: String,
    pub grants: Vec<NamedGrant>,
}

const GRANT_HEADERS: [(&str, Permission); 5] = [
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
    ("x-amz-grant-full-control", Permission::FullControl),
];

fn malformed(what: impl Into<String>) -> DocumentError {
    DocumentError::MalformedAcl(what.into())
}

fn text<'e>(element: &'e Element<'_>, name: &str) -> Option<&'e str> {
    element.text_of(name).map(str::trim)
}

pub fn parse_acl(document: &[u8]) -> Result<AclDocument, DocumentError> {
    let root = root(document, "AccessControlPolicy").map_err(|error| malformed(error.to_string()))?;
    let owner = root.child("Owner").and_then(|owner| text(owner, "ID"));
    let owner = owner.ok_or_else(|| malformed("there is no <Owner> with an <ID>"))?.to_owned();
    let list = root.child("AccessControlList").ok_or_else(|| malformed("there is no <AccessControlList>"))?;
    let grants = list.children_named("Grant").map(parse_grant).collect::<Result<Vec<_>, _>>()?;
    check_count(&grants)?;
    Ok(AclDocument { owner, grants })
}

fn parse_grant(grant: &Element<'_>) -> Result<NamedGrant, DocumentError> {
    let permission = text(grant, "Permission").unwrap_or_default();
    let permission = Permission::parse(permission)
        .ok_or_else(|| malformed(format!("<Permission> is `{permission}`, which is none that S3 knows")))?;
    let named = grant.child("Grantee").and_then(|grantee| {
        let of = |name: &str| text(grantee, name).map(str::to_owned);
        let id = of("ID").map(NamedGrantee::Id);
        id.or_else(|| of("URI").map(NamedGrantee::Uri)).or_else(|| of("EmailAddress").map(NamedGrantee::Email))
    });
    let grantee = named.ok_or_else(|| malformed("a <Grantee> needs an <ID>, a <URI> or an <EmailAddress>"))?;
    Ok(NamedGrant { grantee, permission })
}

fn check_count(grants: &[NamedGrant]) -> Result<(), DocumentError> {
    match grants.len() <= limits::ACL_GRANTS_MAX {
        true => Ok(()),
        false => Err(malformed(format!("there are {} grants, the most is {}", grants.len(), limits::ACL_GRANTS_MAX))),
    }
}

/// The grants of `x-amz-grant-*`: `id="…", uri="…", emailAddress="…"`. `None` where no such header is.
pub fn header_grants(headers: &HeaderMap) -> Result<Option<Vec<NamedGrant>>, DocumentError> {
    let mut grants = Vec::new();
    let mut found = false;
    for (header, permission) in GRANT_HEADERS {
        for value in headers.get_all(header) {
            found = true;
            let text = value.to_str().unwrap_or("?");
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                let refuse = || {
                    DocumentError::InvalidArgument(format!(
                        "{header} has `{item}`; write id=, uri= or emailAddress= and a value"
                    ))
                };
                let (kind, value) = item.split_once('=').ok_or_else(refuse)?;
                let value = value.trim().trim_matches('"').to_owned();
                let grantee = match kind.trim() {
                    kind if kind.eq_ignore_ascii_case("id") => NamedGrantee::Id(value),
                    kind if kind.eq_ignore_ascii_case("uri") => NamedGrantee::Uri(value),
                    kind if kind.eq_ignore_ascii_case("emailAddress") => NamedGrantee::Email(value),
                    _ => return Err(refuse()),
                };
                grants.push(NamedGrant { grantee, permission });
            }
        }
    }
    check_count(&grants)?;
    Ok(found.then_some(grants))
}

/// A grantee as it is shown.
#[derive(Debug, Clone, Copy)]
pub enum ShownGrantee<'a> {
    Account(Owner<'a>),
    Group(&'static str),
}

const SCHEMA: &str = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=";

/// What GetBucketAcl and GetObjectAcl answer.
pub fn acl_document<'a>(owner: Owner<'_>, grants: impl Iterator<Item = (ShownGrantee<'a>, Permission)>) -> String {
    let mut document = Document::new("AccessControlPolicy");
    owner::write(&mut document, "Owner", owner);
    document.inside("AccessControlList", |document| {
        for (grantee, permission) in grants {
            document.inside("Grant", |document| {
                write_grantee(document, grantee);
                document.text("Permission", permission.as_str());
            });
        }
    });
    document.finish()
}

fn write_grantee(document: &mut Document, grantee: ShownGrantee<'_>) {
    match grantee {
        ShownGrantee::Account(account) => {
            document.inside_with("Grantee", &format!("{SCHEMA}\"CanonicalUser\""), |document| {
                owner::write_fields(document, account);
            });
        }
        ShownGrantee::Group(uri) => {
            document.inside_with("Grantee", &format!("{SCHEMA}\"Group\""), |document| document.text("URI", uri));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    const OWNER: &str = "<Owner><ID>o1</ID></Owner>";

    fn grant(grantee: &str, permission: &str) -> String {
        format!("<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
    }

    fn read(body: &str) -> Result<AclDocument, S3Code> {
        let document = format!("<AccessControlPolicy>{body}</AccessControlPolicy>");
        parse_acl(document.as_bytes()).map_err(|error| error.code())
    }

    #[test]
    fn documents_are_read() {
        let list = [
            grant("<ID> a </ID><DisplayName>x</DisplayName>", "READ"),
            grant("<URI>u</URI>", "WRITE_ACP"),
            grant("<EmailAddress>a@b</EmailAddress>", "FULL_CONTROL"),
        ];
        let named = |grantee, permission| NamedGrant { grantee, permission };
        let read_back = read(&format!("{OWNER}<AccessControlList>{}</AccessControlList>", list.concat())).unwrap();
        assert_eq!(read_back.owner, "o1");
        let expected = [
            named(NamedGrantee::Id("a".to_owned()), Permission::Read),
            named(NamedGrantee::Uri("u".to_owned()), Permission::WriteAcp),
            named(NamedGrantee::Email("a@b".to_owned()), Permission::FullControl),
        ];
        assert_eq!(read_back.grants, expected);
        assert_eq!(read(&format!("{OWNER}<AccessControlList/>")).unwrap().grants, []);
        let many = grant("<ID>a</ID>", "READ").repeat(limits::ACL_GRANTS_MAX + 1);
        for bad in [
            String::new(),
            OWNER.to_owned(),
            "<AccessControlList/>".to_owned(),
            format!("{OWNER}<AccessControlList>{}</AccessControlList>", grant("<ID>a</ID>", "EAT")),
            format!("{OWNER}<AccessControlList>{}</AccessControlList>", grant("", "READ")),
            format!("{OWNER}<AccessControlList>{many}</AccessControlList>"),
        ] {
            assert_eq!(read(&bad), Err(S3Code::MalformedACLError), "{bad}");
        }
        assert_eq!(parse_acl(b"junk").unwrap_err().code(), S3Code::MalformedACLError);
    }

    #[test]
    fn grants_in_headers_are_read() {
        let of = |pairs: &[(&'static str, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            header_grants(&headers).map_err(|error| error.code())
        };
        let named = |grantee, permission| NamedGrant { grantee, permission };
        assert_eq!(of(&[("x-amz-acl", "private")]), Ok(None));
        let read = of(&[("x-amz-grant-read", "id=\"a\", uri=u"), ("x-amz-grant-write-acp", "emailAddress=\"a@b\"")]);
        let expected = vec![
            named(NamedGrantee::Id("a".to_owned()), Permission::Read),
            named(NamedGrantee::Uri("u".to_owned()), Permission::Read),
            named(NamedGrantee::Email("a@b".to_owned()), Permission::WriteAcp),
        ];
        assert_eq!(read, Ok(Some(expected)));
        for bad in ["a", "name=a"] {
            assert_eq!(of(&[("x-amz-grant-read", bad)]), Err(S3Code::InvalidArgument), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let owner = Owner { id: "o1", name: "ann" };
        let all = crate::acl::Grantee::AllUsers.uri().unwrap();
        let grants =
            [(ShownGrantee::Group(all), Permission::Read), (ShownGrantee::Account(owner), Permission::FullControl)];
        let shown = acl_document(owner, grants.into_iter());
        let read = parse_acl(shown.as_bytes()).unwrap();
        assert_eq!(read.owner, "o1");
        assert_eq!(read.grants[0].grantee, NamedGrantee::Uri(all.to_owned()));
        assert_eq!(read.grants[1].grantee, NamedGrantee::Id("o1".to_owned()));
    }
}
