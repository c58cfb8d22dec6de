//! The facts of a request that conditions of policies ask for: looked up only when a policy asks.
//!
//! What costs a look into the metadata (an object's tags) is remembered; where that fails, the decision must not stand, so
//! that the failure is kept for the gate.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;

use http::HeaderMap;

use crate::access::Principal;
use crate::access::policy::{Context, Values};
use crate::crypt::{SealFacts, SealMode};
use crate::engine::{EngineError, Tags};
use crate::meta::{MetaError, Upload, VersionRef, parse_version_id};
use crate::wire::date;
use crate::wire::error::S3Error;
use crate::wire::facts::BucketFacts;
use crate::wire::object_headers;
use crate::wire::operation::Operation;
use crate::wire::request::Call;

/// A request as a policy sees it.
pub struct Circumstances<'a> {
    call: &'a Call,
    /// Of the bucket that is asked for.
    bucket: Option<&'a BucketFacts>,
    key: &'a str,
    version_id: Option<&'a str>,
    said: Said<'a>,
    existing_tags: OnceCell<Option<Tags>>,
    header_tags: OnceCell<Option<Tags>>,
    upload: OnceCell<Option<Upload>>,
    failure: RefCell<Option<S3Error>>,
}

/// What a question is about beyond the request's head.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// Tags that the request sets by its body, where there are such.
    pub tags: Option<&'a Tags>,
    /// Where the body wants a new bucket to be.
    pub location: Option<&'a str>,
    /// The key whose absence the caller would learn: who may list it may know.
    pub sought: Option<&'a str>,
}

/// Who asks and from where, whatever is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub caller: Option<&'a Principal>,
    pub peer: SocketAddr,
    pub secure: bool,
    pub headers: &'a HeaderMap,
    pub region: &'a str,
    pub now_ms: i64,
}

impl Asker<'_> {
    /// The value of a key of `aws:`.
    fn value(&self, name: &str) -> Option<String> {
        let caller = self.caller;
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match name {
            "sourceip" => Some(self.peer.ip().to_canonical().to_string()),
            "securetransport" => Some(self.secure.to_string()),
            "currenttime" => Some(date::iso(self.now_ms)),
            "epochtime" => Some((self.now_ms / 1000).to_string()),
            "useragent" => header("user-agent"),
            "referer" => header("referer"),
            "requestedregion" => Some(self.region.to_owned()),
            "principaltype" => Some(caller.map_or("Anonymous", Principal::type_name).to_owned()),
            "principalarn" => caller.map(|caller| caller.role_arn().unwrap_or_else(|| caller.arn())),
            "principalaccount" => caller.map(|caller| caller.account.id.clone()),
            "userid" => Some(caller.map_or("anonymous".to_owned(), Principal::user_id)),
            "username" => caller?.user().map(|user| user.name.clone()),
            "tokenissuetime" => caller?.issued_ms.map(date::iso),
            // Nobody has a second factor here; keys that live long have none to ask for.
            "multifactorauthpresent" => caller?.is_temporary().then(|| "false".to_owned()),
            name => match name.split_once('/') {
                Some(("principaltag", tag)) => caller?.tag(tag).map(str::to_owned),
                _ => None,
            },
        }
    }
}

impl Context for Asker<'_> {
    fn values(&self, key: &str) -> Values<'_> {
        let name = key.strip_prefix("aws:")?;
        self.value(name).map(|value| vec![Cow::Owned(value)])
    }
}

fn one<'a>(value: impl Into<Cow<'a, str>>) -> Values<'a> {
    Some(vec![value.into()])
}

impl<'a> Circumstances<'a> {
    pub fn new(
        call: &'a Call,
        bucket: Option<&'a BucketFacts>,
        key: &'a str,
        version_id: Option<&'a str>,
        said: Said<'a>,
    ) -> Circumstances<'a> {
        Circumstances {
            call,
            bucket,
            key,
            version_id,
            said,
            existing_tags: OnceCell::new(),
            header_tags: OnceCell::new(),
            upload: OnceCell::new(),
            failure: RefCell::default(),
        }
    }

    /// What could not be looked up.
    pub fn failure(&self) -> Option<S3Error> {
        self.failure.borrow_mut().take()
    }

    fn now_ms(&self) -> i64 {
        self.call.engine.world().clock.unix_ms()
    }

    fn header(&self, name: &str) -> Values<'_> {
        self.call.header(name).map(|value| vec![Cow::Borrowed(value)])
    }

    fn query(&self, name: &str) -> Values<'_> {
        self.call.query.get(name).map(|value| vec![Cow::Borrowed(value)])
    }

    fn global(&self, name: &str) -> Values<'_> {
        match name {
            "resourceaccount" => self.resource_account(),
            name => {
                let peer = self.call.peer;
                let Call { headers, secure, identity, .. } = self.call;
                let region = &self.call.settings.region;
                let asker = Asker {
                    caller: identity.principal(),
                    peer,
                    secure: *secure,
                    headers,
                    region,
                    now_ms: self.now_ms(),
                };
                asker.value(name).map(|value| vec![Cow::Owned(value)])
            }
        }
    }

    fn resource_account(&self) -> Values<'_> {
        let account = self.call.settings.access.account_of(&self.bucket?.owner)?;
        one(account.id.clone())
    }

    fn of_s3(&self, name: &str) -> Values<'_> {
        if let Some((family, tag)) = name.split_once('/') {
            return match family {
                "existingobjecttag" => one(self.existing_tags()?.get(tag)?.as_str()),
                "requestobjecttag" => one(self.request_tags()?.get(tag)?.as_str()),
                _ => None,
            };
        }
        match name {
            "prefix" if self.said.sought.is_some() => one(self.said.sought?),
            // Elsewhere the parameters do nothing, and so open nothing.
            "prefix" | "delimiter" | "max-keys" if self.lists() => self.query(name),
            "locationconstraint" => one(self.said.location?),
            "versionid" => one(self.version_id?),
            "requestobjecttagkeys" => {
                Some(self.request_tags()?.keys().map(|key| Cow::Borrowed(key.as_str())).collect())
            }
            "signatureversion" => one(self.signature_version()?),
            "signatureage" => one((self.now_ms() - self.signed_ms()?).to_string()),
            "authtype" => one(self.auth_type()?),
            "tlsversion" => one(self.call.tls_version?),
            "x-amz-content-sha256" => self.header(name).or_else(|| self.query("X-Amz-Content-Sha256")),
            "object-lock-mode" | "object-lock-retain-until-date" | "object-lock-legal-hold" => {
                self.header(&format!("x-amz-{name}"))
            }
            "object-lock-remaining-retention-days" => {
                let until = date::parse_iso(self.call.header("x-amz-object-lock-retain-until-date")?)?;
                let left_ms = until.saturating_sub(self.now_ms());
                one((left_ms.max(0) as u64).div_ceil(24 * 3600 * 1000).to_string())
            }
            "if-match" | "if-none-match" => self.header(name),
            "objectcreationoperation" => one(match self.call.operation {
                Operation::CreateMultipartUpload | Operation::UploadPart | Operation::UploadPartCopy => "false",
                _ => "true",
            }),
            "resourceaccount" => self.resource_account(),
            // A part is sealed as its upload said.
            "x-amz-server-side-encryption" if self.of_upload() => one(self.sealing()?.mode.as_str()),
            "x-amz-server-side-encryption-aws-kms-key-id" if self.of_upload() => {
                one(self.sealing()?.kms.as_ref()?.named.as_str())
            }
            name if name.starts_with("x-amz-") => self.header(name),
            _ => None,
        }
    }

    /// The operation is a listing of a bucket.
    fn lists(&self) -> bool {
        matches!(
            self.call.operation,
            Operation::ListObjects
                | Operation::ListObjectsV2
                | Operation::ListObjectVersions
                | Operation::ListMultipartUploads
        )
    }

    /// The operation goes on with an upload.
    fn of_upload(&self) -> bool {
        matches!(
            self.call.operation,
            Operation::UploadPart | Operation::UploadPartCopy | Operation::CompleteMultipartUpload
        )
    }

    /// How the upload that the request names is sealed, where the store does it by a key of its own.
    fn sealing(&self) -> Option<&SealFacts> {
        let read = || {
            let upload_id = self.call.query.get("uploadId")?;
            // One that is not there is refused later, by the operation.
            self.call.engine.upload(&self.bucket?.bucket, self.key, upload_id).ok()
        };
        let facts = self.upload.get_or_init(read).as_ref()?.attributes.encryption.as_ref()?;
        (facts.mode != SealMode::Customer).then_some(facts)
    }

    fn auth_type(&self) -> Option<&'static str> {
        self.call.identity.principal()?;
        Some(match self.call.operation {
            Operation::PostObject => "POST",
            _ if self.call.headers.contains_key("authorization") => "REST-HEADER",
            _ => "REST-QUERY-STRING",
        })
    }

    fn signature_version(&self) -> Option<&'static str> {
        self.call.identity.principal()?;
        let old = self.call.query.has("Signature")
            || self.call.header("authorization").is_some_and(|text| text.starts_with("AWS "));
        Some(if old { "AWS" } else { "AWS4-HMAC-SHA256" })
    }

    fn signed_ms(&self) -> Option<i64> {
        self.call.identity.principal()?;
        let text = self.call.query.get("X-Amz-Date").or_else(|| self.call.header("x-amz-date"))?;
        date::parse_basic(text)
    }

    /// Tags that the request gives the object.
    fn request_tags(&self) -> Option<&Tags> {
        if self.said.tags.is_some() {
            return self.said.tags;
        }
        let read = || {
            let header = self.call.header("x-amz-tagging")?;
            // A header that cannot be read is refused later, by the operation.
            object_headers::parse_tagging(header.as_bytes()).ok()
        };
        self.header_tags.get_or_init(read).as_ref()
    }

    /// Tags of the version that is asked for.
    fn existing_tags(&self) -> Option<&Tags> {
        let read = || {
            let bucket = &self.bucket?.bucket;
            let version = match self.version_id {
                None => VersionRef::Latest,
                Some(id) => parse_version_id(id)?,
            };
            match self.call.engine.head_object(bucket, self.key, version) {
                Ok(object) => Some(object.version.attributes.tags),
                Err(
                    EngineError::DeleteMarker { .. }
                    | EngineError::Meta(MetaError::NoSuchKey | MetaError::NoSuchVersion | MetaError::NoSuchBucket),
                ) => None,
                Err(error) => {
                    *self.failure.borrow_mut() = Some(error.into());
                    None
                }
            }
        };
        self.existing_tags.get_or_init(read).as_ref()
    }
}

impl Context for Circumstances<'_> {
    fn values(&self, key: &str) -> Values<'_> {
        match key.split_once(':')? {
            ("aws", name) => self.global(name),
            ("s3", name) => self.of_s3(name),
            _ => None,
        }
    }
}
