//! Owners, as S3's documents name them.

use crate::xml::Document;

/// An account as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Canonical id.
    pub id: &'a str,
    pub name: &'a str,
}

/// `<Owner>` or `<Initiator>`.
pub fn write(document: &mut Document, name: &'static str, owner: Owner<'_>) {
    document.inside(name, |document| write_fields(document, owner));
}

pub fn write_fields(document: &mut Document, owner: Owner<'_>) {
    document.text("ID", owner.id);
    document.text("DisplayName", owner.name);
}
