//! The one owner of everything here, as S3's documents name it.

use crate::xml::Document;

pub use crate::access::{STORE_CANONICAL_ID as OWNER_ID, STORE_NAME as OWNER_NAME};

/// `<Owner>` or `<Initiator>`.
pub fn write(document: &mut Document, name: &'static str) {
    document.inside(name, |document| {
        document.text("ID", OWNER_ID);
        document.text("DisplayName", OWNER_NAME);
    });
}

/// The access control list of every bucket and object: its owner may do everything.
pub fn access_control_policy() -> String {
    let mut document = Document::new("AccessControlPolicy");
    write(&mut document, "Owner");
    document.inside("AccessControlList", |document| {
        document.inside("Grant", |document| {
            let grantee = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"";
            document.inside_with("Grantee", grantee, |document| {
                document.text("ID", OWNER_ID);
                document.text("DisplayName", OWNER_NAME);
            });
            document.text("Permission", "FULL_CONTROL");
        });
    });
    document.finish()
}
