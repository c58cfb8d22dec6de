//! Whether a caller may do what it asks: the one place that decides, for every bucket and key that a request touches.
//!
//! As on AWS: what belongs to the caller's own account needs the word of its identity policies or of the resource's
//! policy; what belongs to another account needs both that account's word (policy or access control list) and its own.
//! An explicit deny wins over everything. (`access::decide` holds the rule; here its words are gathered.)

use super::circumstances::{Circumstances, Said};
use crate::access::policy::{Request, Verdict};
use crate::access::{Owners, Principal, decide};
use crate::engine::EngineError;
use crate::meta::{MetaError, VersionRef};
use crate::wire::acl;
use crate::wire::auth::Identity;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::facts::BucketFacts;
use crate::wire::operation::Operation;
use crate::wire::request::Call;

/// What a root that its own bucket's policy locks out may still do: put it right.
const OF_OWNING_ROOT: [&str; 3] = ["GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"];

impl Call {
    /// Asks for all that the request's operation needs on its own bucket and key.
    pub fn authorize_operation(&self) -> Result<(), S3Error> {
        self.authorize_saying(Said::default())
    }

    /// The same, where the body says more of what is asked for.
    pub fn authorize_saying(&self, said: Said<'_>) -> Result<(), S3Error> {
        let version_id = self.query.get_filled("versionId");
        let ask = |action: &str| self.ask(action, &self.bucket, &self.key, version_id, said);
        ask(self.main_action()).map_err(|refused| self.absent_or(refused))?;
        self.further_actions().into_iter().try_for_each(ask)
    }

    /// The operation's action, or that on the version that the query names.
    fn main_action(&self) -> &'static str {
        let action = self.operation.action();
        match self.query.get_filled("versionId") {
            Some(_) => of_version(action),
            None => action,
        }
    }

    /// What else a request needs, by its headers.
    fn further_actions(&self) -> Vec<&'static str> {
        let mut actions = Vec::new();
        let has = |name: &str| self.headers.contains_key(name);
        match self.operation {
            Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload | Operation::PostObject => {
                if has("x-amz-tagging") {
                    actions.push("PutObjectTagging");
                }
                if has("x-amz-object-lock-mode") || has("x-amz-object-lock-retain-until-date") {
                    actions.push("PutObjectRetention");
                }
                if has("x-amz-object-lock-legal-hold") {
                    actions.push("PutObjectLegalHold");
                }
            }
            Operation::GetObjectAttributes => actions.push(match self.query.get_filled("versionId") {
                Some(_) => "GetObjectVersion",
                None => "GetObject",
            }),
            Operation::CreateBucket => {
                if has("x-amz-acl") || self.headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-")) {
                    actions.push("PutBucketAcl");
                }
                if has("x-amz-object-ownership") {
                    actions.push("PutBucketOwnershipControls");
                }
                if has("x-amz-bucket-object-lock-enabled") {
                    actions.extend(["PutBucketObjectLockConfiguration", "PutBucketVersioning"]);
                }
            }
            _ => {}
        }
        actions
    }

    /// Asks whether the caller may do `action` (S3's permission, without `s3:`) on a bucket or on the key in it; both are
    /// empty for the service itself. Names that begin with a dot are the store's own and closed to all clients.
    pub fn authorize(&self, action: &str, bucket: &str, key: &str) -> Result<(), S3Error> {
        self.authorize_version(action, bucket, key, self.query.get_filled("versionId"))
    }

    /// The same for a version that the query does not name: a copy's source, an entry of DeleteObjects.
    pub fn authorize_version(
        &self,
        action: &str,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<(), S3Error> {
        self.ask(action, bucket, key, version_id, Said::default())
    }

    /// Whether the caller may list the key, and so may know that it is not there.
    pub fn authorize_seeking(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        self.ask("ListBucket", bucket, "", None, Said { sought: Some(key), ..Said::default() })
    }

    fn ask(
        &self,
        action: &str,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        said: Said<'_>,
    ) -> Result<(), S3Error> {
        if bucket.starts_with('.') {
            return Err(S3Error::with(S3Code::AccessDenied, "the bucket belongs to the store itself"));
        }
        // Who makes a bucket asks nobody but its own account, whether there is one of the name or not.
        let facts = match (self.operation, bucket) {
            (_, "") | (Operation::CreateBucket, _) => None,
            (_, name) => Some(self.facts.of(&self.engine, name)?.ok_or_else(|| self.no_such_bucket(name))?),
        };
        let facts = facts.as_deref();
        let circumstances = Circumstances::new(self, facts, key, version_id, said);
        let mut question = Question { call: self, action, bucket, key, version_id, circumstances: &circumstances };
        let allowed = question.decide(facts)?;
        if let Some(failure) = circumstances.failure() {
            return Err(failure);
        }
        if allowed { Ok(()) } else { Err(self.denied(action, bucket, key)) }
    }

    /// Who may not list a bucket does not learn which keys are not in it.
    pub(in crate::wire) fn hide_absence(&self, error: S3Error) -> S3Error {
        let absent = matches!(error.code, S3Code::NoSuchKey | S3Code::NoSuchVersion);
        if absent && self.reads() && self.authorize_seeking(&self.bucket, &self.key).is_err() {
            return self.denied(self.main_action(), &self.bucket, &self.key);
        }
        error
    }

    /// The other way round: who may list the bucket learns that there is nothing that could be denied.
    fn absent_or(&self, refused: S3Error) -> S3Error {
        let may_know = refused.code == S3Code::AccessDenied
            && self.reads()
            && self.authorize_seeking(&self.bucket, &self.key).is_ok();
        let absent = || {
            let facts = self.facts.of(&self.engine, &self.bucket).ok()??;
            match self.engine.head_object(&facts.bucket, &self.key, VersionRef::Latest) {
                Err(EngineError::Meta(MetaError::NoSuchKey)) => Some(S3Error::new(S3Code::NoSuchKey)),
                _ => None,
            }
        };
        match may_know.then(absent).flatten() {
            Some(absent) => absent.field("Key", &self.key),
            None => refused,
        }
    }

    /// The operation reads an object.
    fn reads(&self) -> bool {
        matches!(
            self.operation,
            Operation::GetObject
                | Operation::HeadObject
                | Operation::GetObjectAttributes
                | Operation::GetObjectLambda
                | Operation::GetObjectTagging
                | Operation::GetObjectAcl
        )
    }

    fn no_such_bucket(&self, name: &str) -> S3Error {
        S3Error::new(S3Code::NoSuchBucket).field("BucketName", name)
    }

    fn denied(&self, action: &str, bucket: &str, key: &str) -> S3Error {
        let message = match &self.identity {
            Identity::Anonymous => format!("Anonymous users cannot perform s3:{action}; sign the request"),
            Identity::Signed(principal) => format!(
                "User: {} is not authorized to perform: s3:{action} on resource: \"{}\"",
                principal.arn(),
                arn(bucket, key)
            ),
        };
        S3Error::with(S3Code::AccessDenied, message)
    }
}

/// The permission on a version of what is the permission on the newest one.
pub(in crate::wire) fn of_version(action: &'static str) -> &'static str {
    match action {
        "GetObject" => "GetObjectVersion",
        "GetObjectAcl" => "GetObjectVersionAcl",
        "GetObjectAttributes" => "GetObjectVersionAttributes",
        "GetObjectTagging" => "GetObjectVersionTagging",
        "GetObjectTorrent" => "GetObjectVersionTorrent",
        "PutObjectAcl" => "PutObjectVersionAcl",
        "PutObjectTagging" => "PutObjectVersionTagging",
        "DeleteObject" => "DeleteObjectVersion",
        "DeleteObjectTagging" => "DeleteObjectVersionTagging",
        action => action,
    }
}

fn arn(bucket: &str, key: &str) -> String {
    match (bucket, key) {
        ("", _) => "arn:aws:s3:::*".to_owned(),
        (bucket, "") => format!("arn:aws:s3:::{bucket}"),
        (bucket, key) => format!("arn:aws:s3:::{bucket}/{key}"),
    }
}

struct Question<'a> {
    call: &'a Call,
    action: &'a str,
    bucket: &'a str,
    key: &'a str,
    version_id: Option<&'a str>,
    circumstances: &'a Circumstances<'a>,
}

impl Question<'_> {
    fn decide(&mut self, facts: Option<&BucketFacts>) -> Result<bool, S3Error> {
        let caller = self.call.identity.principal();
        let Some(facts) = facts else {
            // Nobody anonymous makes or lists buckets.
            return Ok(
                caller.is_some_and(|caller| caller.is_unbounded() || self.with_request(|request| caller.may(request)))
            );
        };
        let word = acl::word(self.call, self.action, facts, self.key, self.version_id)?;
        let same_account = caller.is_some_and(|caller| caller.canonical_id() == word.owner);
        let owning_root = caller.is_some_and(|caller| caller.is_unbounded() && caller.canonical_id() == facts.owner);
        let unquestioned = facts.policy.is_none() || (owning_root && OF_OWNING_ROOT.contains(&self.action));
        if same_account && unquestioned && caller.is_some_and(Principal::is_unbounded) {
            return Ok(true);
        }
        Ok(self.with_request(|request| {
            let policy = match unquestioned {
                true => Verdict::Nothing,
                false => policy_word(facts, &word.owner, caller, request),
            };
            let own = caller.map(|caller| caller.own_word(request));
            decide(own, Owners { policy, listed: word.granted, same_account })
        }))
    }

    fn with_request(&self, ask: impl FnOnce(Request<'_>) -> bool) -> bool {
        let (action, resource) = (format!("s3:{}", self.action), arn(self.bucket, self.key));
        ask(Request { action: &action, resource: &resource, context: self.circumstances })
    }
}

/// What the bucket's policy says. It gives nothing of what others own in the bucket, and, where public access is
/// restricted, a public one gives nothing to other accounts; what it denies is denied all the same.
fn policy_word(facts: &BucketFacts, owner: &str, caller: Option<&Principal>, request: Request<'_>) -> Verdict {
    let Some(policy) = &facts.policy else { return Verdict::Nothing };
    let verdict = policy.compiled.resource_grants(request, caller);
    let own_account = caller.is_some_and(|caller| caller.canonical_id() == facts.owner);
    let restricted = facts.restricts_public_policy() && policy.public && !own_account;
    match verdict {
        Verdict::Deny => Verdict::Deny,
        _ if owner != facts.owner || restricted => Verdict::Nothing,
        verdict => verdict,
    }
}
