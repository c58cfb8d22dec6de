//! Managed policies that are always there: AWS's own for S3 and IAM, under AWS's ARNs, and the names by which users of
//! other stores know the same.

use std::sync::{Arc, LazyLock};

use super::record::Document;

/// A policy that nobody made and nobody can change.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    pub description: &'static str,
    pub document: Document,
}

impl Builtin {
    pub fn arn(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Made from the name: stable, and of the form that AWS has.
    pub fn id(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.name.as_bytes());
        format!("ANPA{}", &crate::hash::hex_encode(digest.as_ref())[..17].to_uppercase())
    }
}

pub const PREFIX: &str = "arn:aws:iam::aws:policy/";

/// Name, description, and the one statement's elements.
const TABLE: [(&str, &str, &str); 10] = [
    ("AmazonS3FullAccess", "Everything in S3", r#""Action":["s3:*","s3-object-lambda:*"],"Resource":"*""#),
    (
        "AmazonS3ReadOnlyAccess",
        "Reading and listing in S3",
        r#""Action":["s3:Get*","s3:List*","s3:Describe*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*""#,
    ),
    ("AdministratorAccess", "Everything", r#""Action":"*","Resource":"*""#),
    ("IAMFullAccess", "Everything in IAM", r#""Action":"iam:*","Resource":"*""#),
    ("IAMReadOnlyAccess", "Reading in IAM", r#""Action":["iam:Get*","iam:List*"],"Resource":"*""#),
    ("readonly", "Reading objects", r#""Action":["s3:GetBucketLocation","s3:GetObject"],"Resource":"arn:aws:s3:::*""#),
    ("writeonly", "Writing objects", r#""Action":["s3:PutObject"],"Resource":"arn:aws:s3:::*""#),
    ("readwrite", "Everything in S3", r#""Action":["s3:*"],"Resource":"arn:aws:s3:::*""#),
    ("diagnostics", "Looking at the appliance's state", r#""Action":["aerie:Get*"],"Resource":"*""#),
    (
        "consoleAdmin",
        "Everything: objects, identities, the appliance",
        r#""Action":["s3:*","iam:*","sts:*","aerie:*"],"Resource":"*""#,
    ),
];

static BUILTIN: LazyLock<Vec<Arc<Builtin>>> = LazyLock::new(|| {
    let make = |(name, description, elements): &(&'static str, &'static str, &'static str)| {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{elements}}}]}}"#);
        let document = Document::new(text).expect("the table holds valid policies");
        Arc::new(Builtin { name, description, document })
    };
    TABLE.iter().map(make).collect()
});

pub fn all() -> &'static [Arc<Builtin>] {
    &BUILTIN
}

pub fn find(arn: &str) -> Option<&'static Builtin> {
    let name = arn.strip_prefix(PREFIX)?;
    BUILTIN.iter().find(|builtin| builtin.name == name).map(|builtin| &**builtin)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_one_compiles_and_is_found() {
        for builtin in super::all() {
            assert_eq!(super::find(&builtin.arn()).map(|found| found.name), Some(builtin.name));
            assert_eq!(builtin.id().len(), 21);
        }
        assert!(super::find("arn:aws:iam::aws:policy/Other").is_none());
    }
}
