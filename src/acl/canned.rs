//! The canned lists: names that stand for grants.

use super::{Acl, Grant, Grantee, Permission};

/// What a list belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Bucket,
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canned {
    Private,
    PublicRead,
    PublicReadWrite,
    AuthenticatedRead,
    /// For EC2, whom nobody is here: the owner alone.
    AwsExecRead,
    BucketOwnerRead,
    BucketOwnerFullControl,
    LogDeliveryWrite,
}

impl Canned {
    const ALL: [Canned; 8] = [
        Canned::Private,
        Canned::PublicRead,
        Canned::PublicReadWrite,
        Canned::AuthenticatedRead,
        Canned::AwsExecRead,
        Canned::BucketOwnerRead,
        Canned::BucketOwnerFullControl,
        Canned::LogDeliveryWrite,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Canned::Private => "private",
            Canned::PublicRead => "public-read",
            Canned::PublicReadWrite => "public-read-write",
            Canned::AuthenticatedRead => "authenticated-read",
            Canned::AwsExecRead => "aws-exec-read",
            Canned::BucketOwnerRead => "bucket-owner-read",
            Canned::BucketOwnerFullControl => "bucket-owner-full-control",
            Canned::LogDeliveryWrite => "log-delivery-write",
        }
    }

    /// Those that S3 takes for the target.
    pub fn parse(text: &str, target: Target) -> Option<Canned> {
        let canned = Canned::ALL.into_iter().find(|canned| canned.as_str() == text)?;
        (target == Target::Bucket || canned != Canned::LogDeliveryWrite).then_some(canned)
    }

    /// The list that it stands for. `bucket_owner` is the canonical id of the bucket's owner where an object belongs to
    /// somebody else.
    pub fn acl(self, target: Target, bucket_owner: Option<&str>) -> Acl {
        let grant = |grantee, permission| Grant { grantee, permission };
        let to_bucket_owner = |permission| match (target, bucket_owner) {
            (Target::Object, Some(id)) => vec![grant(Grantee::Account(id.to_owned()), permission)],
            // S3 passes over it for buckets; for the bucket owner's own object it says nothing new.
            (Target::Object, None) | (Target::Bucket, _) => Vec::new(),
        };
        let further = match self {
            Canned::Private | Canned::AwsExecRead => Vec::new(),
            Canned::PublicRead => vec![grant(Grantee::AllUsers, Permission::Read)],
            Canned::PublicReadWrite => {
                vec![grant(Grantee::AllUsers, Permission::Read), grant(Grantee::AllUsers, Permission::Write)]
            }
            Canned::AuthenticatedRead => vec![grant(Grantee::AuthenticatedUsers, Permission::Read)],
            Canned::BucketOwnerRead => to_bucket_owner(Permission::Read),
            Canned::BucketOwnerFullControl => to_bucket_owner(Permission::FullControl),
            Canned::LogDeliveryWrite => {
                vec![grant(Grantee::LogDelivery, Permission::Write), grant(Grantee::LogDelivery, Permission::ReadAcp)]
            }
        };
        let owner = grant(Grantee::Owner, Permission::FullControl);
        Acl::new(std::iter::once(owner).chain(further))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_lists_stand_for_their_grants() {
        use Target::{Bucket, Object};
        for (name, target, bucket_owner, list) in [
            ("private", Bucket, None, "FULL_CONTROL=@owner"),
            ("public-read", Object, None, "READ=@all,FULL_CONTROL=@owner"),
            ("public-read-write", Bucket, None, "READ=@all,WRITE=@all,FULL_CONTROL=@owner"),
            ("authenticated-read", Object, Some("b0"), "READ=@authenticated,FULL_CONTROL=@owner"),
            ("aws-exec-read", Object, None, "FULL_CONTROL=@owner"),
            ("bucket-owner-read", Object, Some("b0"), "FULL_CONTROL=@owner,READ=b0"),
            ("bucket-owner-read", Object, None, "FULL_CONTROL=@owner"),
            ("bucket-owner-full-control", Object, Some("b0"), "FULL_CONTROL=@owner,FULL_CONTROL=b0"),
            ("bucket-owner-full-control", Bucket, None, "FULL_CONTROL=@owner"),
            ("log-delivery-write", Bucket, None, "WRITE=@log,READ_ACP=@log,FULL_CONTROL=@owner"),
        ] {
            let canned = Canned::parse(name, target).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(canned.acl(target, bucket_owner).to_string(), list, "{name}");
        }
        assert_eq!(Canned::parse("log-delivery-write", Object), None);
        assert_eq!(Canned::parse("public-ready", Bucket), None);
    }
}
