//! The one owner of everything here, as S3's documents name it.

use crate::xml::Document;

/// Canonical user id: 64 hexadecimal digits, as clients expect. It is no secret and means nothing beyond this.
pub const OWNER_ID: &str = "ae71e00000000000000000000000000000000000000000000000000000000001";
pub const OWNER_NAME: &str = "aerie";

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
