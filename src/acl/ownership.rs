//! What decides whether lists count: a bucket's object ownership and its public access block.

use serde::{Deserialize, Serialize};

/// Who owns a new object, and whether lists count at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ObjectOwnership {
    /// The bucket's owner owns every object; lists do not count and cannot be set.
    #[default]
    BucketOwnerEnforced,
    /// Who writes an object owns it, unless it is given to the bucket's owner by `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Who writes an object owns it.
    ObjectWriter,
}

impl ObjectOwnership {
    const ALL: [ObjectOwnership; 3] =
        [ObjectOwnership::BucketOwnerEnforced, ObjectOwnership::BucketOwnerPreferred, ObjectOwnership::ObjectWriter];

    pub fn as_str(self) -> &'static str {
        match self {
            ObjectOwnership::BucketOwnerEnforced => "BucketOwnerEnforced",
            ObjectOwnership::BucketOwnerPreferred => "BucketOwnerPreferred",
            ObjectOwnership::ObjectWriter => "ObjectWriter",
        }
    }

    pub fn parse(text: &str) -> Option<ObjectOwnership> {
        ObjectOwnership::ALL.into_iter().find(|ownership| ownership.as_str() == text)
    }

    /// Lists count.
    pub fn has_lists(self) -> bool {
        self != ObjectOwnership::BucketOwnerEnforced
    }
}

/// What a bucket's public access block forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublicAccessBlock {
    /// Lists that give something to the public cannot be set.
    pub block_public_acls: bool,
    /// What lists give to the public does not count.
    pub ignore_public_acls: bool,
    /// Policies that give something to the public cannot be set.
    pub block_public_policy: bool,
    /// Where a policy gives something to the public, it counts for the owner's account alone.
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    /// Its flags by S3's names, in S3's order.
    pub fn flags(self) -> [(&'static str, bool); 4] {
        [
            ("BlockPublicAcls", self.block_public_acls),
            ("IgnorePublicAcls", self.ignore_public_acls),
            ("BlockPublicPolicy", self.block_public_policy),
            ("RestrictPublicBuckets", self.restrict_public_buckets),
        ]
    }

    /// Sets a flag by S3's name.
    pub fn set(&mut self, name: &str, value: bool) {
        match name {
            "BlockPublicAcls" => self.block_public_acls = value,
            "IgnorePublicAcls" => self.ignore_public_acls = value,
            "BlockPublicPolicy" => self.block_public_policy = value,
            "RestrictPublicBuckets" => self.restrict_public_buckets = value,
            other => panic!("{other} is no flag of a public access block"),
        }
    }
}
