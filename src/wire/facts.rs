//! What a core remembers about buckets, so that authorisation reads no metadata: owner and access documents.
//!
//! It holds for as long as no bucket was changed: `Meta::bucket_changes` is looked at on every request, so that a change
//! on any core counts from its acknowledgement on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::acl::Lists;
use super::error::S3Error;
use crate::access::owner_id;
use crate::access::policy::{self, Policy, Use};
use crate::engine::{Engine, EngineError};
use crate::limits;
use crate::meta::{Bucket, BucketConfig, MetaError};

/// What decides about access to a bucket.
#[derive(Debug)]
pub struct BucketFacts {
    /// Canonical id of the account that owns it.
    pub owner: String,
    /// Its ownership controls, access control list and public access block.
    pub lists: Lists,
    pub policy: Option<BucketPolicy>,
    pub bucket: Bucket,
}

/// A bucket's policy, compiled.
#[derive(Debug)]
pub struct BucketPolicy {
    pub compiled: Policy,
    /// It opens something to everybody.
    pub public: bool,
}

impl BucketFacts {
    /// What a document says is read here, once, with `engine.bucket_config`.
    fn read(engine: &Engine, bucket: Bucket) -> Result<BucketFacts, EngineError> {
        let lists = Lists::read(engine, &bucket)?;
        let policy = match engine.bucket_config(&bucket, BucketConfig::Policy)? {
            None => None,
            Some(text) => {
                let compiled = policy::parse(&text, Use::Bucket(&bucket.name)).map_err(|fault| {
                    MetaError::Damaged(format!("the policy of bucket {} cannot be read: {fault}", bucket.name))
                })?;
                Some(BucketPolicy { public: compiled.is_public(), compiled })
            }
        };
        Ok(BucketFacts { owner: owner_id(&bucket.owner).to_owned(), lists, policy, bucket })
    }

    /// A public policy must not be put.
    pub fn blocks_public_policy(&self) -> bool {
        self.lists.block.block_public_policy
    }

    /// A public policy opens nothing to other accounts.
    pub fn restricts_public_policy(&self) -> bool {
        self.lists.block.restrict_public_buckets
    }
}

/// The facts of one core.
#[derive(Debug, Default)]
pub struct Facts {
    as_of: Cell<u64>,
    known: RefCell<HashMap<String, Rc<BucketFacts>>>,
}

impl Facts {
    /// The facts of a bucket; `None` where there is none of this name.
    pub fn of(&self, engine: &Engine, name: &str) -> Result<Option<Rc<BucketFacts>>, S3Error> {
        let now = engine.meta().bucket_changes();
        let mut known = self.known.borrow_mut();
        if self.as_of.replace(now) != now || known.len() >= limits::BUCKET_FACTS_MAX {
            known.clear();
        }
        if let Some(facts) = known.get(name) {
            return Ok(Some(facts.clone()));
        }
        let bucket = match engine.bucket(name) {
            Ok(bucket) => bucket,
            Err(EngineError::Meta(MetaError::NoSuchBucket)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let facts = Rc::new(BucketFacts::read(engine, bucket)?);
        known.insert(name.to_owned(), facts.clone());
        Ok(Some(facts))
    }
}
