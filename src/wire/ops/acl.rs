//! Access control lists: read, written, and given to new buckets and objects.

use std::rc::Rc;

use http::StatusCode;

use super::object;
use crate::acl::{Acl, Canned, Grant, Grantee, ObjectOwnership, Permission, PublicAccessBlock, Target};
use crate::limits;
use crate::meta::{Attributes, BucketConfig, VersionRef};
use crate::wire::acl::{Controls, Lists, owner_of};
use crate::wire::error::{S3Code, S3Error};
use crate::wire::facts::BucketFacts;
use crate::wire::object_headers as headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::owner::Owner;
use crate::wire::xml::{NamedGrant, NamedGrantee, ShownGrantee, acl_document, header_grants, parse_acl};

/// A list as a request asks for it.
enum Requested {
    Canned(Canned),
    Grants(Vec<NamedGrant>),
}

impl Requested {
    /// The list, for a resource of this owner; `bucket_owner` where that is another account.
    fn resolve(self, call: &Call, target: Target, owner: &str, bucket_owner: Option<&str>) -> Result<Acl, S3Error> {
        match self {
            Requested::Canned(canned) => Ok(canned.acl(target, bucket_owner)),
            Requested::Grants(grants) => resolve(call, grants, owner),
        }
    }
}

/// What `x-amz-acl` or `x-amz-grant-*` ask for. An empty canned list is none: s3fs sends it.
fn requested(call: &Call, target: Target) -> Result<Option<Requested>, S3Error> {
    let canned = call.headers.get("x-amz-acl").map(|value| value.to_str().unwrap_or("?")).filter(|acl| !acl.is_empty());
    match (canned, header_grants(&call.headers)?) {
        (Some(_), Some(_)) => {
            Err(S3Error::with(S3Code::InvalidRequest, "Specifying both Canned ACLs and Header Grants is not allowed"))
        }
        (None, None) => Ok(None),
        (None, Some(grants)) => Ok(Some(Requested::Grants(grants))),
        (Some(name), None) => match Canned::parse(name, target) {
            Some(canned) => Ok(Some(Requested::Canned(canned))),
            None => Err(S3Error::argument("x-amz-acl", name, "it is no canned access control list")),
        },
    }
}

/// Grants with their grantees found.
fn resolve(call: &Call, grants: Vec<NamedGrant>, owner: &str) -> Result<Acl, S3Error> {
    let grantee = |named: NamedGrantee| match named {
        NamedGrantee::Id(id) if id == owner => Ok(Grantee::Owner),
        NamedGrantee::Id(id) => match call.settings.access.account_of(&id) {
            Some(_) => Ok(Grantee::Account(id)),
            None => Err(S3Error::argument("CanonicalUser/ID", &id, "Invalid id")),
        },
        NamedGrantee::Uri(uri) => {
            Grantee::group(&uri).ok_or_else(|| S3Error::argument("Group/URI", &uri, "Invalid group uri"))
        }
        // Accounts have no addresses here.
        NamedGrantee::Email(address) => {
            Err(S3Error::new(S3Code::UnresolvableGrantByEmailAddress).field("EmailAddress", address))
        }
    };
    let resolved = grants
        .into_iter()
        .map(|named| Ok(Grant { grantee: grantee(named.grantee)?, permission: named.permission }))
        .collect::<Result<Vec<_>, S3Error>>()?;
    Ok(Acl::new(resolved))
}

fn refuse_public(acl: &Acl, block: PublicAccessBlock) -> Result<(), S3Error> {
    match block.block_public_acls && acl.is_public() {
        true => Err(S3Error::with(
            S3Code::AccessDenied,
            "public access control lists are blocked by the BlockPublicAcls setting of the bucket",
        )),
        false => Ok(()),
    }
}

/// A list where lists do not count: only one that says what holds is taken. Where the bucket's owner asked for it,
/// `private` is refused too, as S3 does; a bucket that was left as it is made takes it from tools that send it always.
fn refuse_where_enforced(requested: &Requested, acl: &Acl, lists: &Lists) -> Result<(), S3Error> {
    let fits = match requested {
        Requested::Canned(Canned::BucketOwnerFullControl) => true,
        Requested::Canned(Canned::Private) => lists.controls == Controls::Default,
        Requested::Canned(_) => false,
        Requested::Grants(_) => *acl == Acl::default(),
    };
    if fits { Ok(()) } else { Err(S3Error::new(S3Code::AccessControlListNotSupported)) }
}

/// Makes the object that a request writes its owner's, with the list that the request asks for.
pub fn assign(call: &Call, attributes: &mut Attributes) -> Result<(), S3Error> {
    let facts = call.bucket_facts()?;
    let lists = &facts.lists;
    let requested = requested(call, Target::Object)?;
    (attributes.owner, attributes.acl) = (None, None);
    // What nobody signed is the bucket owner's.
    let writer = call.identity.canonical_id().unwrap_or(&facts.owner);
    if !lists.ownership.has_lists() {
        let Some(requested) = requested else { return Ok(()) };
        let acl = match &requested {
            Requested::Canned(canned) => canned.acl(Target::Object, None),
            Requested::Grants(grants) => resolve(call, grants.clone(), &facts.owner)?,
        };
        return refuse_where_enforced(&requested, &acl, lists);
    }
    if requested.is_some() && writer == facts.owner {
        call.authorize("PutObjectAcl", &call.bucket, &call.key)?;
    }
    let given = matches!(requested, Some(Requested::Canned(Canned::BucketOwnerFullControl)));
    if lists.ownership == ObjectOwnership::BucketOwnerPreferred && given {
        return Ok(());
    }
    let foreign = writer != facts.owner;
    attributes.owner = foreign.then(|| writer.to_owned());
    if let Some(requested) = requested {
        let bucket_owner = foreign.then_some(facts.owner.as_str());
        let acl = requested.resolve(call, Target::Object, writer, bucket_owner)?;
        refuse_public(&acl, lists.block)?;
        attributes.acl = acl.unless_default();
    }
    Ok(())
}

/// The list of a bucket that is being made.
pub fn of_new_bucket(call: &Call, owner: &str, ownership: ObjectOwnership) -> Result<Acl, S3Error> {
    let Some(requested) = requested(call, Target::Bucket)? else { return Ok(Acl::default()) };
    let acl = requested.resolve(call, Target::Bucket, owner, None)?;
    match ownership.has_lists() || acl == Acl::default() {
        true => Ok(acl),
        false => Err(S3Error::new(S3Code::InvalidBucketAclWithObjectOwnership)),
    }
}

/// What a list belongs to, as it is now.
struct Held {
    facts: Rc<BucketFacts>,
    /// Canonical id of its owner.
    owner: String,
    acl: Acl,
    /// `None` for the bucket.
    object: Option<(VersionRef, Option<String>)>,
}

impl Held {
    fn of(call: &Call) -> Result<Held, S3Error> {
        let facts = call.bucket_facts()?;
        let counts = facts.lists.ownership.has_lists();
        if call.key.is_empty() {
            let acl = if counts { facts.lists.acl.clone() } else { Acl::default() };
            return Ok(Held { owner: facts.owner.clone(), acl, object: None, facts });
        }
        let found = object::find(call, &facts.bucket)?;
        let owner = owner_of(&found.version.attributes, &facts).to_owned();
        let acl = found.version.attributes.acl.filter(|_| counts).unwrap_or_default();
        let version = VersionRef::Numbered(found.version.sequence);
        Ok(Held { facts, owner, acl, object: Some((version, found.version_id)) })
    }

    fn target(&self) -> Target {
        if self.object.is_some() { Target::Object } else { Target::Bucket }
    }
}

pub fn get(call: &Call) -> Result<Response, S3Error> {
    let held = Held::of(call)?;
    let names: Vec<(String, Permission)> = held
        .acl
        .grants()
        .iter()
        .map(|grant| match &grant.grantee {
            Grantee::Account(id) => (id.clone(), grant.permission),
            _ => (held.owner.clone(), grant.permission),
        })
        .collect();
    let shown: Vec<String> = names.iter().map(|(id, _)| call.account_name(id)).collect();
    let grants = held.acl.grants().iter().enumerate().map(|(at, grant)| {
        let grantee = match grant.grantee.uri() {
            Some(uri) => ShownGrantee::Group(uri),
            None => ShownGrantee::Account(Owner { id: &names[at].0, name: &shown[at] }),
        };
        (grantee, grant.permission)
    });
    let owner_name = call.account_name(&held.owner);
    let mut response = response::xml(acl_document(Owner { id: &held.owner, name: &owner_name }, grants));
    if let Some((_, version_id)) = &held.object {
        headers::insert_version_id(response.headers_mut(), version_id.as_deref());
    }
    Ok(response)
}

pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let held = Held::of(call)?;
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let target = held.target();
    let requested = match (requested(call, target)?, body.is_empty()) {
        (Some(requested), true) => requested,
        (Some(_), false) => return Err(S3Error::new(S3Code::UnexpectedContent)),
        // An empty canned list, as s3fs sends it, asks for the default one.
        (None, true) if call.headers.contains_key("x-amz-acl") => Requested::Canned(Canned::Private),
        (None, true) => {
            return Err(S3Error::new(S3Code::MissingSecurityHeader).field("MissingHeaderName", "x-amz-acl"));
        }
        (None, false) => {
            let document = parse_acl(&body)?;
            if document.owner != held.owner {
                return Err(S3Error::with(S3Code::AccessDenied, "an access control list cannot change the owner"));
            }
            Requested::Grants(document.grants)
        }
    };
    let lists = &held.facts.lists;
    if !lists.ownership.has_lists() {
        let acl = match &requested {
            Requested::Canned(canned) => canned.acl(target, None),
            Requested::Grants(grants) => resolve(call, grants.clone(), &held.owner)?,
        };
        refuse_where_enforced(&requested, &acl, lists)?;
        return Ok(response::empty(StatusCode::OK));
    }
    let bucket_owner = (held.owner != held.facts.owner).then_some(held.facts.owner.as_str());
    let acl = requested.resolve(call, target, &held.owner, bucket_owner)?;
    refuse_public(&acl, lists.block)?;
    store(call, &held, acl.unless_default()).await
}

async fn store(call: &Call, held: &Held, acl: Option<Acl>) -> Result<Response, S3Error> {
    let mut response = response::empty(StatusCode::OK);
    let bucket = &held.facts.bucket;
    match &held.object {
        None => {
            let document = acl.map(|acl| acl.to_string());
            call.engine.set_bucket_config(bucket, BucketConfig::Acl, document).await?;
        }
        Some((version, version_id)) => {
            call.engine.set_acl(bucket, &call.key, *version, acl, call.requester()).await?;
            headers::insert_version_id(response.headers_mut(), version_id.as_deref());
        }
    }
    Ok(response)
}
