//! Which bucket and key a request speaks of: path style, or virtual-host style below the configured domain.
//!
//! Keys are what is left after one percent-decoding, byte for byte: `a//b`, `./x` and `..` are plain keys.

use percent_encoding::percent_decode_str;

use super::error::{S3Code, S3Error};

/// Bucket and key; empty where the request names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    pub bucket: String,
    pub key: String,
}

impl Address {
    /// `path` is the raw request path, `host` the Host header's value.
    pub fn parse(path: &str, host: Option<&str>, domain: Option<&str>) -> Result<Address, S3Error> {
        let path = path.strip_prefix('/').unwrap_or(path);
        if let Some(bucket) = virtual_host_bucket(host, domain) {
            return Ok(Address { bucket, key: decode(path)? });
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        Ok(Address { bucket: decode(bucket)?, key: decode(key)? })
    }
}

/// The bucket in `BUCKET.DOMAIN[:PORT]`.
fn virtual_host_bucket(host: Option<&str>, domain: Option<&str>) -> Option<String> {
    let (host, domain) = (host?, domain?);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let split = host.len().checked_sub(domain.len())?;
    if !host.is_char_boundary(split) || !host[split..].eq_ignore_ascii_case(domain) {
        return None;
    }
    let bucket = host[..split].strip_suffix('.')?;
    (!bucket.is_empty()).then(|| bucket.to_ascii_lowercase())
}

/// Percent-decoding of a path: `+` is a plus.
fn decode(raw: &str) -> Result<String, S3Error> {
    match percent_decode_str(raw).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(S3Error::with(S3Code::InvalidURI, "the path is not UTF-8 after percent-decoding")),
    }
}
