//! A bucket's encryption rule: the document of PutBucketEncryption, and what it means for a new object.

use super::envelope::{KmsRequest, Sealing};
use crate::xml::{self, Document, Element};

/// How new objects are sealed that do not ask for anything themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultSealing {
    S3,
    Kms {
        /// Id, alias or ARN; `None`: the default key.
        key: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionRule {
    pub sealing: DefaultSealing,
    pub bucket_key_enabled: bool,
    /// Uploads with a client's own key are refused.
    pub customer_keys_blocked: bool,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    Invalid(String),
}

impl From<xml::XmlError> for RuleError {
    fn from(error: xml::XmlError) -> RuleError {
        RuleError::Malformed(error.to_string())
    }
}

impl EncryptionRule {
    pub fn of(sealing: DefaultSealing) -> EncryptionRule {
        EncryptionRule { sealing, bucket_key_enabled: false, customer_keys_blocked: false }
    }

    /// How an object is sealed by the rule.
    pub fn sealing(&self) -> Sealing {
        match &self.sealing {
            DefaultSealing::S3 => Sealing::S3,
            DefaultSealing::Kms { key } => Sealing::Kms(KmsRequest {
                key: key.clone(),
                context: None,
                bucket_key_enabled: self.bucket_key_enabled,
            }),
        }
    }

    pub fn parse(document: &[u8]) -> Result<EncryptionRule, RuleError> {
        let malformed = |text: &str| RuleError::Malformed(text.to_owned());
        let root = xml::parse(document)?;
        if root.name() != "ServerSideEncryptionConfiguration" {
            return Err(malformed("the root element must be <ServerSideEncryptionConfiguration>"));
        }
        let rules: Vec<&Element<'_>> = root.children_named("Rule").collect();
        let [rule] = rules[..] else { return Err(malformed("there must be one <Rule>")) };
        let bucket_key_enabled = match rule.text_of("BucketKeyEnabled").map(str::trim) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err(malformed("<BucketKeyEnabled> must be true or false")),
        };
        let sealing = match rule.child("ApplyServerSideEncryptionByDefault") {
            // AWS takes a rule that only says something of bucket keys or blocked types.
            None => DefaultSealing::S3,
            Some(default) => default_sealing(default)?,
        };
        let customer_keys_blocked = match rule.child("BlockedEncryptionTypes") {
            None => false,
            Some(blocked) => blocks_customer_keys(blocked)?,
        };
        Ok(EncryptionRule { sealing, bucket_key_enabled, customer_keys_blocked })
    }

    pub fn to_xml(&self) -> String {
        let mut document = Document::new("ServerSideEncryptionConfiguration");
        document.inside("Rule", |rule| {
            rule.inside("ApplyServerSideEncryptionByDefault", |default| match &self.sealing {
                DefaultSealing::S3 => default.text("SSEAlgorithm", "AES256"),
                DefaultSealing::Kms { key } => {
                    default.text("SSEAlgorithm", "aws:kms");
                    default.text_if("KMSMasterKeyID", key.as_deref());
                }
            });
            rule.value("BucketKeyEnabled", self.bucket_key_enabled);
            if self.customer_keys_blocked {
                rule.inside("BlockedEncryptionTypes", |blocked| blocked.text("EncryptionType", "SSE-C"));
            }
        });
        document.finish()
    }
}

fn default_sealing(default: &Element<'_>) -> Result<DefaultSealing, RuleError> {
    let key = default.text_of("KMSMasterKeyID").map(str::trim).filter(|key| !key.is_empty());
    match (default.text_of("SSEAlgorithm").map(str::trim), key) {
        (Some("AES256"), None) => Ok(DefaultSealing::S3),
        (Some("AES256"), Some(_)) => Err(RuleError::Invalid(
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse".to_owned(),
        )),
        (Some("aws:kms"), key) => Ok(DefaultSealing::Kms { key: key.map(str::to_owned) }),
        (Some("aws:kms:dsse"), _) => {
            Err(RuleError::Invalid("aws:kms:dsse (two layers of encryption) is not offered; use aws:kms".to_owned()))
        }
        _ => Err(RuleError::Malformed("<SSEAlgorithm> must be AES256 or aws:kms".to_owned())),
    }
}

fn blocks_customer_keys(blocked: &Element<'_>) -> Result<bool, RuleError> {
    let mut blocks = false;
    for kind in blocked.children_named("EncryptionType") {
        match kind.text().trim() {
            "SSE-C" => blocks = true,
            "NONE" => {}
            _ => return Err(RuleError::Malformed("<EncryptionType> must be SSE-C or NONE".to_owned())),
        }
    }
    Ok(blocks)
}
