//! The envelope: each object has a random data key, kept with the object, sealed by a key that is derived from the
//! bucket's key and, by mode, a KMS key or the client's own.
//!
//! Every envelope passes by the bucket's key, so that shredding that one closes all sealed objects of the bucket.

use ring::aead;
use serde::{Deserialize, Serialize};

use super::SealError;
use super::secret::{CustomerKey, Secret};
use crate::hash;
use crate::limits;
use crate::seam::Entropy;

/// An object's data key. Never printed.
#[derive(Debug, Clone)]
pub struct DataKey(Secret);

impl DataKey {
    /// The key of one stream of the object.
    pub(super) fn stream(&self, number: u32, salt: &str) -> aead::LessSafeKey {
        self.0.derive(salt.as_bytes(), &[b"aerie stream 1", &number.to_be_bytes()]).cipher()
    }
}

/// A part's salt: 16 random bytes in hexadecimal digits. A part that is uploaded again has another.
pub fn new_salt(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    hash::hex_encode(&bytes)
}

/// Whose key seals an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SealMode {
    /// SSE-S3.
    #[serde(rename = "AES256")]
    S3,
    /// SSE-KMS.
    #[serde(rename = "aws:kms")]
    Kms,
    /// SSE-C: the client's own.
    #[serde(rename = "SSE-C")]
    Customer,
}

impl SealMode {
    pub fn as_str(self) -> &'static str {
        match self {
            SealMode::S3 => "AES256",
            SealMode::Kms => "aws:kms",
            SealMode::Customer => "SSE-C",
        }
    }
}

/// What a KMS key was asked for by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KmsRequest {
    /// Id, alias or ARN; `None`: the default key, alias `aws/s3`.
    pub key: Option<String>,
    /// Base64 of a JSON object of texts (see `parse_context`).
    pub context: Option<String>,
    /// Kept and told, as S3 does; every envelope passes by the bucket's key here.
    pub bucket_key_enabled: bool,
}

/// How a write is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    S3,
    Kms(KmsRequest),
    Customer(CustomerKey),
}

/// What an object keeps of its sealing, without its data key in the clear. Stored as JSON with the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealFacts {
    pub mode: SealMode,
    /// 16 random bytes, hex; the envelope is bound to it.
    id: String,
    /// Version of the bucket's key.
    bucket_key: String,
    /// The data key, sealed: 48 bytes, hex.
    data_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<KmsFacts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsFacts {
    /// The key's id.
    pub key: String,
    /// Version of the key.
    pub(super) version: String,
    /// The key as clients are told of it: an ARN where the request named one, else the id.
    pub named: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(default)]
    pub bucket_key_enabled: bool,
}

/// What an envelope is made with besides the data key.
pub(super) struct EnvelopeKeys<'a> {
    pub bucket: &'a Secret,
    /// A KMS key's or the client's.
    pub second: Option<&'a Secret>,
}

impl SealFacts {
    /// Makes a data key and its envelope. `bucket_key` and `kms` name the versions in `keys`.
    pub(super) fn new(
        mode: SealMode,
        place: (i64, &str),
        bucket_key: String,
        kms: Option<KmsFacts>,
        keys: &EnvelopeKeys<'_>,
        entropy: &dyn Entropy,
    ) -> (SealFacts, DataKey) {
        let data_key = Secret::random(entropy);
        let mut facts = SealFacts { mode, id: new_salt(entropy), bucket_key, data_key: String::new(), kms };
        let wrapped = facts.key_of_envelope(keys).wrap(&data_key, &facts.context(place));
        facts.data_key = hash::hex_encode(&wrapped);
        (facts, DataKey(data_key))
    }

    /// `None`: the keys are others, or the facts were changed or moved.
    pub(super) fn open(&self, place: (i64, &str), keys: &EnvelopeKeys<'_>) -> Option<DataKey> {
        let wrapped = hex::decode(&self.data_key).ok()?;
        self.key_of_envelope(keys).unwrap(&wrapped, &self.context(place)).map(DataKey)
    }

    pub(super) fn bucket_key(&self) -> &str {
        &self.bucket_key
    }

    /// One key for each object: the id is random.
    fn key_of_envelope(&self, keys: &EnvelopeKeys<'_>) -> Secret {
        let second = keys.second.map_or(&[][..], |second| second.bytes());
        keys.bucket.derive(second, &[b"aerie envelope 1", self.mode.as_str().as_bytes(), self.id.as_bytes()])
    }

    /// What the envelope is bound to: bucket, key, mode, key versions and the client's context, each with its length.
    fn context(&self, (bucket, key): (i64, &str)) -> Vec<u8> {
        let (kms, version, context) = match &self.kms {
            Some(kms) => (kms.key.as_str(), kms.version.as_str(), kms.context.as_deref().unwrap_or_default()),
            None => ("", "", ""),
        };
        let mut bound = bucket.to_be_bytes().to_vec();
        for text in [key, self.mode.as_str(), &self.id, &self.bucket_key, kms, version, context] {
            bound.extend_from_slice(&(text.len() as u32).to_be_bytes());
            bound.extend_from_slice(text.as_bytes());
        }
        bound
    }
}

/// Checks an encryption context: base64 of a JSON object whose values are texts.
pub fn parse_context(text: &str) -> Result<(), SealError> {
    let refuse = |what: &str| SealError::Invalid(format!("the encryption context {what}"));
    if text.len() > limits::ENCRYPTION_CONTEXT_BYTES_MAX {
        return Err(refuse(&format!("has more than {} bytes", limits::ENCRYPTION_CONTEXT_BYTES_MAX)));
    }
    let bytes = hash::base64_decode(text).ok_or_else(|| refuse("is not base64"))?;
    let pairs = serde_json::from_slice::<std::collections::BTreeMap<String, String>>(&bytes);
    pairs.map(drop).map_err(|_| refuse("is not a JSON object whose values are texts"))
}
