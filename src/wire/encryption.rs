//! Headers of server-side encryption: what a request asks for, which key a client brings, and what answers tell.
//!
//! A client's key is read, compared with its MD5 and handed on; it is never logged, stored or put into an answer.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::{S3Code, S3Error};
use super::request::Call;
use crate::crypt::{CustomerKey, KmsRequest, SealError, SealFacts, SealMode, Sealing, parse_context};
use crate::engine::ObjectVersion;
use crate::hash::base64_decode;
use crate::meta::{Bucket, Upload};

const METHOD: &str = "x-amz-server-side-encryption";
const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
const NO_KMS: &str =
    "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms";

/// The three headers of a client's own key.
struct CustomerHeaders {
    algorithm: &'static str,
    key: &'static str,
    md5: &'static str,
}

const OF_OBJECT: CustomerHeaders = CustomerHeaders {
    algorithm: "x-amz-server-side-encryption-customer-algorithm",
    key: "x-amz-server-side-encryption-customer-key",
    md5: "x-amz-server-side-encryption-customer-key-md5",
};

const OF_SOURCE: CustomerHeaders = CustomerHeaders {
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

/// Whether a request says anything of how the object that it makes is sealed.
pub fn is_requested(call: &Call) -> bool {
    call.headers.keys().any(|name| name.as_str().starts_with(METHOD))
}

/// How the object that the request makes is to be sealed; `None`: as the bucket's rule says.
pub fn requested(call: &Call, bucket: &Bucket) -> Result<Option<Sealing>, S3Error> {
    if !is_requested(call) {
        return Ok(None);
    }
    let customer = customer_key_of(call, &OF_OBJECT, true)?;
    let kms_key = call.header(KMS_KEY).filter(|key| !key.is_empty());
    let no_kms = || S3Error::argument(METHOD, call.header(METHOD).unwrap_or_default(), NO_KMS);
    match (call.header(METHOD), customer) {
        (Some(method), Some(_)) => {
            let message = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified";
            Err(S3Error::argument(METHOD, method, message))
        }
        (None | Some("AES256"), _) if kms_key.is_some() || call.header(CONTEXT).is_some() => Err(no_kms()),
        (None, Some(key)) => {
            let blocked = call.engine.rule_in_force(bucket)?.is_some_and(|rule| rule.customer_keys_blocked);
            let message = "Access Denied: the bucket's encryption rule blocks SSE-C; leave the customer key out";
            if blocked { Err(S3Error::with(S3Code::AccessDenied, message)) } else { Ok(Some(Sealing::Customer(key))) }
        }
        // Only a bucket key is asked for: it goes with a rule of the bucket that names KMS.
        (None, None) => {
            let enabled = bucket_key_enabled(call)?;
            let sealing = call.engine.rule_in_force(bucket)?.map(|rule| rule.sealing());
            Ok(match (sealing, enabled) {
                (Some(Sealing::Kms(request)), Some(bucket_key_enabled)) => {
                    Some(Sealing::Kms(KmsRequest { bucket_key_enabled, ..request }))
                }
                (sealing, _) => sealing,
            })
        }
        (Some("AES256"), None) => Ok(Some(Sealing::S3)),
        (Some("aws:kms"), None) => {
            let of_rule = || call.engine.rule_in_force(bucket).map(|rule| rule.is_some_and(|r| r.bucket_key_enabled));
            let request = KmsRequest {
                key: kms_key.map(str::to_owned),
                context: context(call)?,
                bucket_key_enabled: bucket_key_enabled(call)?.map_or_else(of_rule, Ok)?,
            };
            call.engine.keys()?.check_kms(&request).map_err(crate::engine::EngineError::from)?;
            Ok(Some(Sealing::Kms(request)))
        }
        (Some("aws:kms:dsse"), None) => {
            Err(S3Error::not_implemented("Encryption in two layers (aws:kms:dsse); use aws:kms, it"))
        }
        (Some(method), None) => {
            Err(S3Error::argument(METHOD, method, "The encryption method specified is not supported"))
        }
    }
}

fn context(call: &Call) -> Result<Option<String>, S3Error> {
    let Some(text) = call.header(CONTEXT) else { return Ok(None) };
    parse_context(text).map_err(|error| S3Error::argument(CONTEXT, text, error.to_string()))?;
    Ok(Some(text.to_owned()))
}

fn bucket_key_enabled(call: &Call) -> Result<Option<bool>, S3Error> {
    match call.header(BUCKET_KEY) {
        None => Ok(None),
        Some(flag) if flag.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(flag) if flag.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(flag) => Err(S3Error::argument(BUCKET_KEY, flag, "The value must be true or false")),
    }
}

/// The client's key for a part; what else the headers say was settled when the upload began.
pub fn customer_key(call: &Call) -> Result<Option<CustomerKey>, S3Error> {
    customer_key_of(call, &OF_OBJECT, true)
}

/// A completion brings the client's key again: S3 demands it, since each object has a checksum.
pub fn check_completion(call: &Call, upload: &Upload) -> Result<(), S3Error> {
    let is_customers = upload.attributes.encryption.as_ref().is_some_and(|facts| facts.mode == SealMode::Customer);
    match customer_key(call)? {
        Some(key) => Ok(call.engine.check_upload_key(upload, &key)?),
        None if is_customers => Err(SealError::CustomerKeyNeeded.into()),
        None => Ok(()),
    }
}

/// Gives a version that is to be read the key that its client brings, and refuses what does not fit it.
pub fn bring_key(call: &Call, object: &mut ObjectVersion) -> Result<(), S3Error> {
    for name in [METHOD, KMS_KEY, CONTEXT, BUCKET_KEY] {
        if let Some(value) = call.header(name) {
            return Err(S3Error::argument(name, value, format!("{name} header is not supported for this operation.")));
        }
    }
    object.customer_key = customer_key_of(call, &OF_OBJECT, false)?;
    Ok(call.engine.check_customer_key(object)?)
}

/// The same for the source of a copy.
pub fn bring_source_key(call: &Call, object: &mut ObjectVersion) -> Result<(), S3Error> {
    object.customer_key = customer_key_of(call, &OF_SOURCE, false)?;
    Ok(call.engine.check_customer_key(object)?)
}

/// The key itself goes into no message.
fn customer_key_of(call: &Call, names: &CustomerHeaders, needs_md5: bool) -> Result<Option<CustomerKey>, S3Error> {
    let (algorithm, key, md5) = (call.header(names.algorithm), call.header(names.key), call.header(names.md5));
    if algorithm.is_none() && key.is_none() && md5.is_none() {
        return Ok(None);
    }
    if !call.secure && !call.settings.customer_keys_in_clear {
        let message = "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.";
        return Err(S3Error::with(S3Code::InvalidRequest, message));
    }
    let refuse =
        |name: &str, message: &'static str| S3Error::with(S3Code::InvalidArgument, message).field("ArgumentName", name);
    match algorithm {
        Some("AES256") => {}
        None => {
            let message = "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.";
            return Err(refuse(names.algorithm, message));
        }
        Some(other) => {
            let message = "The Encryption request you specified is not valid. Supported value: AES256.";
            return Err(S3Error::with(S3Code::InvalidEncryptionAlgorithmError, message)
                .field("ArgumentName", names.algorithm)
                .field("ArgumentValue", other));
        }
    }
    let Some(key) = key else {
        let message = "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.";
        return Err(refuse(names.key, message));
    };
    let key = base64_decode(key).and_then(|bytes| CustomerKey::new(&bytes));
    let key = key.ok_or_else(|| refuse(names.key, "The secret key was invalid for the specified algorithm."))?;
    match md5 {
        None if needs_md5 => {
            let message = "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.";
            Err(refuse(names.md5, message))
        }
        Some(md5) if md5 != key.md5() => {
            let message = "The calculated MD5 hash of the key did not match the hash that was provided.";
            Err(refuse(names.md5, message))
        }
        _ => Ok(Some(key)),
    }
}

/// What an answer tells of an object's sealing; the client's key is named by its MD5.
pub fn insert(call: &Call, facts: Option<&SealFacts>, headers: &mut HeaderMap) {
    let Some(facts) = facts else { return };
    let mut insert = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    match (facts.mode, &facts.kms) {
        (SealMode::Customer, _) => {
            insert(OF_OBJECT.algorithm, "AES256");
            // Checked before, or the object's owner would not have been answered.
            if let Ok(Some(key)) = customer_key_of(call, &OF_OBJECT, false) {
                insert(OF_OBJECT.md5, &key.md5());
            }
        }
        (mode, kms) => {
            insert(METHOD, mode.as_str());
            if let Some(kms) = kms {
                insert(KMS_KEY, &kms.named);
                if kms.bucket_key_enabled {
                    insert(BUCKET_KEY, "true");
                }
            }
        }
    }
}

/// The same for a write, which is also told the context that it gave.
pub fn insert_done(call: &Call, facts: Option<&SealFacts>, headers: &mut HeaderMap) {
    insert(call, facts, headers);
    let context = facts.and_then(|facts| facts.kms.as_ref()?.context.as_deref());
    if let Some(Ok(context)) = context.map(HeaderValue::from_str) {
        headers.insert(HeaderName::from_static(CONTEXT), context);
    }
}
