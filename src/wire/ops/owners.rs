//! Owners in listings: ids with the names of their accounts.

use std::cell::RefCell;

use crate::access::owner_id;
use crate::meta::Attributes;
use crate::wire::acl::owner_of;
use crate::wire::facts::BucketFacts;
use crate::wire::request::Call;
use crate::wire::xml::owner::{self, Owner};
use crate::xml::Document;

/// Writes owners of what is in a bucket. Nearly all are the bucket's, and the next one is mostly the last one's again.
pub struct OwnerNames<'a> {
    call: &'a Call,
    facts: &'a BucketFacts,
    /// The last id and its name.
    last: RefCell<(String, String)>,
}

impl<'a> OwnerNames<'a> {
    pub fn of(call: &'a Call, facts: &'a BucketFacts) -> OwnerNames<'a> {
        let last = (facts.owner.clone(), call.account_name(&facts.owner));
        OwnerNames { call, facts, last: RefCell::new(last) }
    }

    /// An account by its canonical id; `None` is the bucket's owner.
    pub fn write(&self, document: &mut Document, element: &'static str, id: Option<&str>) {
        let id = id.map_or(self.facts.owner.as_str(), owner_id);
        let mut last = self.last.borrow_mut();
        if last.0 != id {
            *last = (id.to_owned(), self.call.account_name(id));
        }
        owner::write(document, element, Owner { id, name: &last.1 });
    }

    /// The owner of an object with these attributes.
    pub fn write_of(&self, document: &mut Document, element: &'static str, attributes: &Attributes) {
        self.write(document, element, Some(owner_of(attributes, self.facts)));
    }
}
