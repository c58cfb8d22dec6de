//! Buckets and their documents as one reader has seen them, until any bucket changes: nearly every request asks for its
//! bucket, and hardly any finds it changed.
//!
//! The writer counts changes (`Meta::bucket_changes`) after the commit and before anybody hears of it. A reader looks at
//! the count before it looks at the tables, so that what it keeps is never older than its count says.

use std::cell::RefCell;
use std::collections::HashMap;

use super::MetaError;
use super::model::{Bucket, BucketConfig, BucketId};
use crate::limits;

#[derive(Debug, Default)]
struct Known {
    changes: u64,
    buckets: HashMap<String, Bucket>,
    documents: HashMap<(BucketId, BucketConfig), Option<String>>,
}

impl Known {
    /// What still holds after so many changes.
    fn at(&mut self, changes: u64) -> &mut Known {
        if self.changes != changes {
            *self = Known { changes, ..Known::default() };
        }
        self
    }
}

/// What one reader remembers.
#[derive(Debug, Default)]
pub(super) struct KnownBuckets {
    known: RefCell<Known>,
}

impl KnownBuckets {
    /// The bucket of the name, by `look` where it is not known. What is absent is looked for each time.
    pub fn bucket(
        &self,
        changes: u64,
        name: &str,
        look: impl FnOnce() -> Result<Bucket, MetaError>,
    ) -> Result<Bucket, MetaError> {
        if let Some(bucket) = self.known.borrow_mut().at(changes).buckets.get(name) {
            return Ok(bucket.clone());
        }
        let bucket = look()?;
        let mut known = self.known.borrow_mut();
        let buckets = &mut known.at(changes).buckets;
        if buckets.len() >= limits::BUCKETS_KNOWN_MAX {
            buckets.clear();
        }
        buckets.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        let known = self.known.borrow();
        (known.buckets.len(), known.documents.len())
    }

    /// The document, or that there is none.
    pub fn document(
        &self,
        changes: u64,
        bucket: BucketId,
        kind: BucketConfig,
        look: impl FnOnce() -> Result<Option<String>, MetaError>,
    ) -> Result<Option<String>, MetaError> {
        if let Some(document) = self.known.borrow_mut().at(changes).documents.get(&(bucket, kind)) {
            return Ok(document.clone());
        }
        let document = look()?;
        if document.as_ref().is_none_or(|text| text.len() <= limits::BUCKET_DOCUMENT_KNOWN_BYTES_MAX) {
            let mut known = self.known.borrow_mut();
            let documents = &mut known.at(changes).documents;
            if documents.len() >= limits::BUCKETS_KNOWN_MAX {
                documents.clear();
            }
            documents.insert((bucket, kind), document.clone());
        }
        Ok(document)
    }
}
