//! The documents of access beside lists: who owns new objects, what public access is blocked.

use super::{DocumentError, root, schema};
use crate::acl::{ObjectOwnership, PublicAccessBlock};
use crate::xml::Document;

/// Reads a PutPublicAccessBlock document; absent flags are false.
pub fn parse_public_access_block(document: &[u8]) -> Result<PublicAccessBlock, DocumentError> {
    let root = root(document, "PublicAccessBlockConfiguration")?;
    let mut block = PublicAccessBlock::default();
    for (name, _) in block.flags() {
        let flag = match root.text_of(name).map(str::trim) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => return Err(schema(format!("<{name}> is `{text}`, it must be true or false"))),
        };
        block.set(name, flag);
    }
    Ok(block)
}

/// All four flags, as they are kept and given back.
pub fn public_access_block_document(block: PublicAccessBlock) -> String {
    let mut document = Document::new("PublicAccessBlockConfiguration");
    for (name, flag) in block.flags() {
        document.value(name, flag);
    }
    document.finish()
}

/// Reads a PutBucketOwnershipControls document: one rule.
pub fn parse_ownership_controls(document: &[u8]) -> Result<ObjectOwnership, DocumentError> {
    let root = root(document, "OwnershipControls")?;
    let rules: Vec<_> = root.children_named("Rule").collect();
    match rules.as_slice() {
        [rule] => {
            let value = rule.text_of("ObjectOwnership").unwrap_or_default().trim();
            ObjectOwnership::parse(value).ok_or_else(|| schema(unknown_ownership(value)))
        }
        _ => Err(schema(format!("there are {} rules, there must be one <Rule>", rules.len()))),
    }
}

/// `x-amz-object-ownership`.
pub fn parse_object_ownership(value: &str) -> Result<ObjectOwnership, DocumentError> {
    ObjectOwnership::parse(value).ok_or_else(|| DocumentError::InvalidArgument(unknown_ownership(value)))
}

fn unknown_ownership(value: &str) -> String {
    format!(
        "Invalid x-amz-object-ownership: `{value}`; it must be BucketOwnerEnforced, BucketOwnerPreferred or ObjectWriter"
    )
}

pub fn ownership_controls_document(ownership: ObjectOwnership) -> String {
    let mut document = Document::new("OwnershipControls");
    document.inside("Rule", |document| document.text("ObjectOwnership", ownership.as_str()));
    document.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn public_access_blocks_are_read() {
        let of = |body: &str| {
            let document = format!("<PublicAccessBlockConfiguration>{body}</PublicAccessBlockConfiguration>");
            parse_public_access_block(document.as_bytes()).map_err(|error| error.code())
        };
        let block = of("<BlockPublicAcls>TRUE</BlockPublicAcls><RestrictPublicBuckets>false</RestrictPublicBuckets>");
        assert_eq!(block, Ok(PublicAccessBlock { block_public_acls: true, ..PublicAccessBlock::default() }));
        for name in PublicAccessBlock::default().flags().map(|(name, _)| name) {
            let block = of(&format!("<{name}>true</{name}>")).unwrap();
            assert_eq!(block.flags().map(|(_, flag)| flag).iter().filter(|flag| **flag).count(), 1, "{name}");
            let kept = public_access_block_document(block);
            assert_eq!(parse_public_access_block(kept.as_bytes()), Ok(block));
        }
        assert_eq!(of("<BlockPublicAcls>yes</BlockPublicAcls>"), Err(S3Code::MalformedXML));
        assert_eq!(parse_public_access_block(b"<Other/>").unwrap_err().code(), S3Code::MalformedXML);
    }

    #[test]
    fn ownership_has_one_rule() {
        let of = |rules: &str| {
            let document = format!("<OwnershipControls>{rules}</OwnershipControls>");
            parse_ownership_controls(document.as_bytes()).map_err(|error| error.code())
        };
        let rule = |value: &str| format!("<Rule><ObjectOwnership>{value}</ObjectOwnership></Rule>");
        for value in ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"] {
            let ownership = of(&rule(value)).unwrap();
            assert_eq!(ownership.as_str(), value);
            assert_eq!(parse_ownership_controls(ownership_controls_document(ownership).as_bytes()), Ok(ownership));
            assert_eq!(parse_object_ownership(value), Ok(ownership));
        }
        assert_eq!(of(&rule("Nobody")), Err(S3Code::MalformedXML));
        assert_eq!(of(""), Err(S3Code::MalformedXML));
        assert_eq!(of(&rule("BucketOwnerEnforced").repeat(2)), Err(S3Code::MalformedXML));
        assert_eq!(parse_object_ownership("Nobody").unwrap_err().code(), S3Code::InvalidArgument);
    }
}
