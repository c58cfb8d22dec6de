//! Presigned URLs of Signature Version 2: what boto3 and awscli still make unless told otherwise.
//!
//! HMAC-SHA1 over method, Content-MD5, Content-Type, expiry, `x-amz-` headers and the resource. Only in the query, and
//! only with an expiry: requests that carry the signature in a header need Version 4.

use ring::hmac;

use super::{Authenticated, Head, Identity, Payload, find_key};
use crate::hash;
use crate::wire::address::Address;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::query::Query;
use crate::wire::route::is_selector;
use crate::wire::settings::Settings;

/// Query parameters that are part of the resource.
const RESOURCE_PARAMETERS: [&str; 36] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "encryption",
];

/// Whether the query carries such a signature.
pub(super) fn is_presigned(query: &Query) -> bool {
    query.has("AWSAccessKeyId") && query.has("Signature")
}

/// Verifies it.
pub(super) fn verify(head: Head<'_>, settings: &Settings, now_ms: i64) -> Result<Authenticated, S3Error> {
    let denied = |text: &'static str| S3Error::with(S3Code::AccessDenied, text);
    let field = |name: &str| head.query.get_filled(name);
    let (Some(access_key), Some(signature), Some(expires)) =
        (field("AWSAccessKeyId"), field("Signature"), field("Expires"))
    else {
        return Err(denied(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        ));
    };
    let expires_s: i64 = expires.parse().map_err(|_| denied("Invalid date (should be seconds since epoch)"))?;
    let credential = find_key(settings, access_key, super::token(head), now_ms)?;
    if now_ms / 1000 > expires_s {
        return Err(denied("Request has expired"));
    }
    refuse_unsigned_selectors(head)?;
    let string = string_to_sign(head, expires, settings.domain.as_deref());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, credential.secret.as_str().as_bytes());
    let given = hash::base64_decode(signature).unwrap_or_default();
    if hmac::verify(&key, string.as_bytes(), &given).is_err() {
        return Err(S3Error::new(S3Code::SignatureDoesNotMatch)
            .field("AWSAccessKeyId", access_key)
            .field("StringToSign", string)
            .field("SignatureProvided", signature));
    }
    Ok(Authenticated { identity: Identity::Signed(credential.principal), payload: Payload::Unsigned })
}

/// A parameter that makes the request another operation, and that this signature does not cover, could be added by
/// anybody who was given the URL: `?retention` to one that uploads an object.
fn refuse_unsigned_selectors(head: Head<'_>) -> Result<(), S3Error> {
    // The version of a listing's answer is nobody's secret, and S3 leaves it out of the signature.
    let harmless = |name: &str| name == "list-type" || RESOURCE_PARAMETERS.contains(&name);
    match head.query.names().find(|name| is_selector(name) && !harmless(name)) {
        None => Ok(()),
        Some(name) => {
            let text = format!("Signature Version 2 does not cover the parameter {name}; sign with Version 4");
            Err(S3Error::with(S3Code::AccessDenied, text))
        }
    }
}

fn string_to_sign(head: Head<'_>, expires: &str, domain: Option<&str>) -> String {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut amazon: Vec<(&str, String)> = head
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .map(|name| {
            let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::trim));
            (name, values.collect::<Vec<_>>().join(","))
        })
        .collect();
    amazon.sort();
    let amazon: String = amazon.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (md5, kind, method) = (header("content-md5"), header("content-type"), head.method);
    format!("{method}\n{md5}\n{kind}\n{expires}\n{amazon}{}", resource(head, domain))
}

fn resource(head: Head<'_>, domain: Option<&str>) -> String {
    let host = head.headers.get("host").and_then(|value| value.to_str().ok());
    // In virtual-host style the bucket stands in front of the path.
    let in_host = match Address::parse("/", host, domain) {
        Ok(address) if !address.bucket.is_empty() => format!("/{}", address.bucket),
        _ => String::new(),
    };
    let mut parameters: Vec<String> = RESOURCE_PARAMETERS
        .iter()
        .filter_map(|name| {
            let value = head.query.get(name)?;
            Some(if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") })
        })
        .collect();
    parameters.sort();
    let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    format!("{in_host}{}{query}", head.path)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn attempt(path: &str, now_s: i64) -> Result<Authenticated, S3Error> {
        attempt_with(path, "", now_s)
    }

    fn attempt_with(path: &str, more: &str, now_s: i64) -> Result<Authenticated, S3Error> {
        let raw_query = &format!(
            "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620{more}"
        );
        let query = Query::parse(raw_query).expect("a plain query");
        let mut headers = HeaderMap::new();
        headers.insert("host", "johnsmith.s3.amazonaws.com".parse().expect("a header value"));
        let settings = Settings { domain: Some("s3.amazonaws.com".to_owned()), ..crate::wire::auth::tests::settings() };
        verify(Head { method: "GET", path, raw_query, query: &query, headers: &headers }, &settings, now_s * 1000)
    }

    /// The query string example of AWS's page on Signature Version 2.
    #[test]
    fn the_published_example_verifies_until_it_expires() {
        assert!(attempt("/photos/puppy.jpg", 1_175_139_000).is_ok());
        let late = attempt("/photos/puppy.jpg", 1_175_139_621).expect_err("it has expired");
        assert_eq!(late.code, S3Code::AccessDenied);
        let other = attempt("/photos/kitten.jpg", 1_175_139_000).expect_err("another key was signed");
        assert_eq!(other.code, S3Code::SignatureDoesNotMatch);
    }

    #[test]
    fn no_other_operation_can_be_made_of_a_url() {
        let with = |more: &str| attempt_with("/photos/puppy.jpg", more, 1_175_139_000).map_err(|error| error.code);
        for more in ["&x-id=GetObject", "&list-type=2", "&prefix=a"] {
            assert!(with(more).is_ok(), "{more}");
        }
        for more in ["&acl", "&tagging", "&versionId=null", "&uploadId=1", "&torrent"] {
            assert_eq!(with(more).unwrap_err(), S3Code::SignatureDoesNotMatch, "{more}");
        }
        for more in ["&retention", "&legal-hold", "&attributes", "&lambdaArn=x", "&ownershipControls"] {
            assert_eq!(with(more).unwrap_err(), S3Code::AccessDenied, "{more}");
        }
    }
}
