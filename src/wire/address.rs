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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_keys_are_found_in_both_styles() {
        let domain = Some("s3.example.com");
        for (path, host, domain, bucket, key) in [
            ("/", None, None, "", ""),
            ("/b", None, None, "b", ""),
            ("/b/", None, None, "b", ""),
            ("/b/k/", None, None, "b", "k/"),
            ("/b//k", None, None, "b", "/k"),
            ("/b/./a/../b", None, None, "b", "./a/../b"),
            ("/b/a%2Fb+c%20d", None, None, "b", "a/b+c d"),
            ("/b/%E4%BD%A0", None, None, "b", "你"),
            ("/b/%00%01", None, None, "b", "\0\u{1}"),
            ("/k", Some("b.s3.example.com"), domain, "b", "k"),
            ("/k/l", Some("a.b.S3.Example.com:9000"), domain, "a.b", "k/l"),
            ("/", Some("b.s3.example.com"), domain, "b", ""),
            ("/b/k", Some("s3.example.com"), domain, "b", "k"),
            ("/b/k", Some(".s3.example.com"), domain, "b", "k"),
            ("/b/k", Some("xs3.example.com"), domain, "b", "k"),
            ("/b/k", Some("b.s3.example.com"), None, "b", "k"),
            ("/b/k", Some("127.0.0.1:9000"), domain, "b", "k"),
        ] {
            let address = Address::parse(path, host, domain).unwrap();
            assert_eq!((address.bucket.as_str(), address.key.as_str()), (bucket, key), "{path} at {host:?}");
        }
        assert_eq!(Address::parse("/b/%FF", None, None).unwrap_err().code, S3Code::InvalidURI);
    }
}
