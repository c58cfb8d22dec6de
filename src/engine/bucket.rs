//! Buckets: names, life and configuration documents.

use super::{Engine, EngineError};
use crate::meta::{Bucket, BucketConfig, Versioning};

/// Checks a bucket name by S3's general-purpose rules.
pub fn check_bucket_name(name: &str) -> Result<(), EngineError> {
    let refuse = |reason| Err(EngineError::InvalidBucketName { reason });
    if !(3..=63).contains(&name.len()) {
        return refuse("it must have 3 to 63 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') {
        return refuse("only lower-case letters, digits, dots and hyphens are allowed");
    }
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !edge(name.bytes().next()) || !edge(name.bytes().last()) {
        return refuse("it must begin and end with a letter or digit");
    }
    if name.contains("..") || name.contains(".-") || name.contains("-.") {
        return refuse("a dot must stand between letters or digits");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return refuse("it must not look like an IP address");
    }
    let reserved_start = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|start| name.starts_with(start));
    let reserved_end = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|end| name.ends_with(end));
    if reserved_start || reserved_end {
        return refuse("its beginning or end is reserved by S3");
    }
    Ok(())
}

impl Engine {
    /// `owner` is the canonical id of the account that the bucket belongs to; `documents` are its first configuration.
    pub async fn create_bucket(
        &self,
        name: &str,
        owner: &str,
        region: &str,
        object_lock: bool,
        documents: Vec<(BucketConfig, String)>,
    ) -> Result<(), EngineError> {
        check_bucket_name(name)?;
        let now_ms = self.world.clock.unix_ms();
        let (owner, name, region) = (owner.to_owned(), name.to_owned(), region.to_owned());
        Ok(self.meta.create_bucket_of(owner, name, region, object_lock, now_ms, documents).await?)
    }

    pub fn bucket(&self, name: &str) -> Result<Bucket, EngineError> {
        Ok(self.reader.bucket(name)?)
    }

    /// Buckets that clients may see, by name; the system bucket is not among them.
    pub fn buckets(&self) -> Result<Vec<Bucket>, EngineError> {
        let mut buckets = self.reader.buckets()?;
        buckets.retain(|bucket| !bucket.name.starts_with('.'));
        Ok(buckets)
    }

    pub async fn delete_bucket(&self, name: &str) -> Result<(), EngineError> {
        Ok(self.meta.delete_bucket(name.to_owned()).await?)
    }

    pub async fn set_versioning(&self, bucket: &Bucket, state: Versioning) -> Result<(), EngineError> {
        Ok(self.meta.set_versioning(bucket.id, state).await?)
    }

    pub fn bucket_config(&self, bucket: &Bucket, kind: BucketConfig) -> Result<Option<String>, EngineError> {
        Ok(self.reader.bucket_config(bucket.id, kind)?)
    }

    /// Sets or removes a document that the caller has checked. A notification document makes the bucket watched: from
    /// then on each of its changes is written to the change log.
    pub async fn set_bucket_config(
        &self,
        bucket: &Bucket,
        kind: BucketConfig,
        document: Option<String>,
    ) -> Result<(), EngineError> {
        let watched = (kind == BucketConfig::Notification).then_some(document.is_some());
        Ok(self.meta.set_bucket_config(bucket.id, kind, document, watched).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::check_bucket_name;

    #[test]
    fn bucket_names_follow_s3() {
        for good in ["abc", "a-b", "a.b.c", "0numbers9", &"x".repeat(63)] {
            assert!(check_bucket_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        let bad = [
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            "a..b",
            "a.-b",
            "a-.b",
            "192.168.5.4",
            "xn--abc",
            "abc-s3alias",
            "ab/c",
            ".aerie",
            "-",
        ];
        for name in bad {
            assert!(check_bucket_name(name).is_err(), "{name}");
        }
    }
}
