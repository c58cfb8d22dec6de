//! The documents of access: who owns new objects, what public access is blocked, access control lists.

use super::{DocumentError, owner, root, schema};
use crate::xml::Document;

const PUBLIC_ACCESS: [&str; 4] = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];

/// Checks a PutPublicAccessBlock document and writes it as it is given back: all four flags, absent ones false.
pub fn public_access_block(document: &[u8]) -> Result<String, DocumentError> {
    let root = root(document, "PublicAccessBlockConfiguration")?;
    let mut kept = Document::new("PublicAccessBlockConfiguration");
    for name in PUBLIC_ACCESS {
        let flag = match root.text_of(name).map(str::trim) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => return Err(schema(format!("<{name}> is `{text}`, it must be true or false"))),
        };
        kept.value(name, flag);
    }
    Ok(kept.finish())
}

/// Checks a PutBucketOwnershipControls document; only the owner's own rule can be kept.
pub fn check_ownership_controls(document: &[u8]) -> Result<(), DocumentError> {
    let root = root(document, "OwnershipControls")?;
    let rules: Vec<_> = root.children_named("Rule").collect();
    match rules.as_slice() {
        [rule] => check_object_ownership(rule.text_of("ObjectOwnership").unwrap_or_default().trim()),
        _ => Err(schema(format!("there are {} rules, there must be one <Rule>", rules.len()))),
    }
}

/// `BucketOwnerEnforced` is how everything here is owned.
pub fn check_object_ownership(value: &str) -> Result<(), DocumentError> {
    match value {
        "BucketOwnerEnforced" => Ok(()),
        "BucketOwnerPreferred" | "ObjectWriter" => Err(DocumentError::NotImplemented(format!(
            "An object ownership of {value} is not implemented; use BucketOwnerEnforced"
        ))),
        other => Err(schema(format!("the object ownership is `{other}`, it must be BucketOwnerEnforced"))),
    }
}

/// Whether an access control list gives the owner everything and nobody else anything, which is what holds here.
pub fn is_owners_list(document: &[u8]) -> Result<bool, DocumentError> {
    let root = root(document, "AccessControlPolicy")?;
    let is_owner = |id: Option<&str>| id.is_none_or(|id| id.trim() == owner::OWNER_ID);
    let list = root.child("AccessControlList").ok_or_else(|| schema("there is no <AccessControlList>"))?;
    let grants: Vec<_> = list.children_named("Grant").collect();
    let full = grants.iter().all(|grant| {
        let id = grant.child("Grantee").and_then(|grantee| grantee.text_of("ID"));
        id.is_some() && is_owner(id) && grant.text_of("Permission").map(str::trim) == Some("FULL_CONTROL")
    });
    let owner = root.child("Owner").and_then(|owner| owner.text_of("ID"));
    Ok(full && !grants.is_empty() && is_owner(owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn public_access_blocks_are_read() {
        let of = |body: &str| {
            let document = format!("<PublicAccessBlockConfiguration>{body}</PublicAccessBlockConfiguration>");
            public_access_block(document.as_bytes()).map_err(|error| error.code())
        };
        let kept = of("<BlockPublicAcls>TRUE</BlockPublicAcls><RestrictPublicBuckets>false</RestrictPublicBuckets>");
        let kept = kept.unwrap();
        let root = crate::xml::parse(kept.as_bytes()).unwrap();
        let flags = PUBLIC_ACCESS.map(|name| root.text_of(name).unwrap());
        assert_eq!(flags, ["true", "false", "false", "false"]);
        assert_eq!(of("<BlockPublicAcls>yes</BlockPublicAcls>"), Err(S3Code::MalformedXML));
        assert_eq!(public_access_block(b"<Other/>").unwrap_err().code(), S3Code::MalformedXML);
    }

    #[test]
    fn ownership_is_the_bucket_owners() {
        let of = |rules: &str| {
            let document = format!("<OwnershipControls>{rules}</OwnershipControls>");
            check_ownership_controls(document.as_bytes()).map_err(|error| error.code())
        };
        let rule = |value: &str| format!("<Rule><ObjectOwnership>{value}</ObjectOwnership></Rule>");
        assert_eq!(of(&rule("BucketOwnerEnforced")), Ok(()));
        assert_eq!(of(&rule("ObjectWriter")), Err(S3Code::NotImplemented));
        assert_eq!(of(&rule("Nobody")), Err(S3Code::MalformedXML));
        assert_eq!(of(""), Err(S3Code::MalformedXML));
        assert_eq!(of(&rule("BucketOwnerEnforced").repeat(2)), Err(S3Code::MalformedXML));
    }

    #[test]
    fn only_the_list_that_holds_is_the_owners() {
        assert_eq!(is_owners_list(owner::access_control_policy().as_bytes()), Ok(true));
        let other = owner::access_control_policy().replace("FULL_CONTROL", "READ");
        assert_eq!(is_owners_list(other.as_bytes()), Ok(false));
        let other = owner::access_control_policy().replacen(owner::OWNER_ID, "somebody", 1);
        assert_eq!(is_owners_list(other.as_bytes()), Ok(false));
        let public = "<AccessControlPolicy><AccessControlList><Grant><Grantee><URI>u</URI></Grantee>\
            <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>";
        assert_eq!(is_owners_list(public.as_bytes()), Ok(false));
        let empty = b"<AccessControlPolicy><AccessControlList/></AccessControlPolicy>";
        assert_eq!(is_owners_list(empty), Ok(false));
        let code = is_owners_list(b"<AccessControlPolicy/>").unwrap_err().code();
        assert_eq!(code, S3Code::MalformedXML);
    }
}
