//! Access control lists at work: what each kind of caller may do under each list, and who owns what is written.

use std::sync::Arc;

use http_body_util::BodyExt;
use pollster::block_on;

use super::{Answer, Store};
use crate::access::{Account, Principal, STORE_CANONICAL_ID};
use crate::wire::auth::Identity;
use crate::wire::operation::Operation;

/// The store's own account: the only one that these tests' registry knows.
fn store_root() -> Identity {
    Identity::Signed(Arc::new(Principal::root(Arc::new(Account::store()))))
}

fn canonical(id: &str) -> String {
    format!("{id:0>64}")
}

fn root_of(id: &str) -> Identity {
    let account = Account { id: id.to_owned(), canonical_id: canonical(id), ..Account::store() };
    Identity::Signed(Arc::new(Principal::root(Arc::new(account))))
}

fn ask(
    store: &Store,
    who: &Identity,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    let outcome = store.call(method, target, headers, body.as_ref()).and_then(|mut call| {
        call.identity = who.clone();
        if call.operation != Operation::PostObject {
            call.authorize_operation()?;
        }
        block_on(super::super::run(&mut call))
    });
    let response = outcome.unwrap_or_else(|error| error.into_response(target, "ID"));
    let (head, body) = response.into_parts();
    let bytes = block_on(body.collect()).unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: head.status.as_u16(), headers: head.headers, text }
}

const WRITERS: [(&str, &str); 1] = [("x-amz-object-ownership", "ObjectWriter")];

#[test]
fn canned_lists_open_just_what_they_say() {
    let (owner, other, nobody) = (root_of("1"), root_of("2"), Identity::Anonymous);
    // What is allowed, to whom: read the bucket, write to it, read its list; read the object, read and write its list.
    for (bucket_acl, object_acl, as_other, as_nobody) in [
        ("private", "private", "------", "------"),
        ("private", "public-read", "---r--", "---r--"),
        ("private", "authenticated-read", "---r--", "------"),
        ("public-read", "private", "l-----", "l-----"),
        ("public-read-write", "private", "lw----", "lw----"),
        ("authenticated-read", "public-read-write", "l--r--", "---r--"),
        ("log-delivery-write", "bucket-owner-full-control", "------", "------"),
        ("aws-exec-read", "aws-exec-read", "------", "------"),
    ] {
        let store = Store::new();
        let make = [WRITERS[0], ("x-amz-acl", bucket_acl)];
        assert_eq!(ask(&store, &owner, "PUT", "/bucket", &make, b"").outcome(), "200");
        assert_eq!(ask(&store, &owner, "PUT", "/bucket/k", &[("x-amz-acl", object_acl)], b"x").outcome(), "200");
        for (who, expected) in [(&other, as_other), (&nobody, as_nobody), (&owner, "lwprpP")] {
            let mut allowed = String::new();
            for (mark, method, target, header) in [
                ('l', "GET", "/bucket", None),
                ('w', "PUT", "/bucket/new", None),
                ('p', "GET", "/bucket?acl", None),
                ('r', "GET", "/bucket/k", None),
                ('p', "GET", "/bucket/k?acl", None),
                ('P', "PUT", "/bucket/k?acl", Some(("x-amz-acl", object_acl))),
            ] {
                let answer = ask(&store, who, method, target, header.as_slice(), b"");
                assert!(matches!(answer.outcome().as_str(), "200" | "403 AccessDenied"), "{}", answer.text);
                allowed.push(if answer.status == 200 { mark } else { '-' });
            }
            assert_eq!(allowed, expected, "{bucket_acl} {object_acl} {who:?}");
        }
        // Nothing of the bucket's own settings is ever for others.
        for what in ["?policy", "?tagging", "?versioning", "?ownershipControls", "?publicAccessBlock", "?cors"] {
            for who in [&other, &nobody] {
                let answer = ask(&store, who, "GET", &format!("/bucket{what}"), &[], b"");
                assert_eq!(answer.outcome(), "403 AccessDenied", "{what}");
            }
        }
    }
}

#[test]
fn who_may_list_learns_that_a_key_is_absent() {
    let store = Store::new();
    let owner = root_of("1");
    for (acl, expected) in [("public-read", "404 NoSuchKey"), ("private", "403 AccessDenied")] {
        let bucket = format!("/{acl}");
        ask(&store, &owner, "PUT", &bucket, &[WRITERS[0], ("x-amz-acl", acl)], b"");
        assert_eq!(ask(&store, &Identity::Anonymous, "GET", &format!("{bucket}/k"), &[], b"").outcome(), expected);
    }
    assert_eq!(ask(&store, &Identity::Anonymous, "GET", "/absent/k", &[], b"").outcome(), "404 NoSuchBucket");
}

#[test]
fn grants_name_accounts_and_groups() {
    let store = Store::new();
    let (owner, friend) = (root_of("1"), store_root());
    ask(&store, &owner, "PUT", "/bucket", &WRITERS, b"");
    let to_friend = format!("id=\"{STORE_CANONICAL_ID}\"");
    let header = [("x-amz-grant-read", to_friend.as_str()), ("x-amz-grant-read-acp", &to_friend)];
    assert_eq!(ask(&store, &owner, "PUT", "/bucket/k", &header, b"x").outcome(), "200");
    assert_eq!(ask(&store, &friend, "GET", "/bucket/k", &[], b"").outcome(), "200");
    assert_eq!(ask(&store, &friend, "GET", "/bucket", &[], b"").outcome(), "403 AccessDenied");
    let shown = ask(&store, &friend, "GET", "/bucket/k?acl", &[], b"");
    assert_eq!(shown.elements("Permission"), ["READ", "READ_ACP"]);
    assert_eq!(shown.elements("ID"), [canonical("1").as_str(), STORE_CANONICAL_ID, STORE_CANONICAL_ID]);
    // What is shown can be put, by who may; nobody becomes the owner by it.
    assert_eq!(ask(&store, &friend, "PUT", "/bucket/k?acl", &[], &shown.text).outcome(), "403 AccessDenied");
    let thief = shown.text.replacen(&canonical("1"), STORE_CANONICAL_ID, 1);
    assert_eq!(ask(&store, &owner, "PUT", "/bucket/k?acl", &[], &thief).outcome(), "403 AccessDenied");
    let writable = shown.text.replacen("READ_ACP", "WRITE_ACP", 1);
    assert_eq!(ask(&store, &owner, "PUT", "/bucket/k?acl", &[], &writable).outcome(), "200");
    assert_eq!(ask(&store, &friend, "GET", "/bucket/k?acl", &[], b"").outcome(), "403 AccessDenied");
    assert_eq!(ask(&store, &friend, "PUT", "/bucket/k?acl", &[], &shown.text).outcome(), "200");
    // An owner who takes everything back can still give it again.
    let none = format!(
        "<AccessControlPolicy><Owner><ID>{}</ID></Owner><AccessControlList/></AccessControlPolicy>",
        canonical("1")
    );
    assert_eq!(ask(&store, &owner, "PUT", "/bucket?acl", &[], &none).outcome(), "200");
    assert_eq!(ask(&store, &owner, "GET", "/bucket?acl", &[], b"").elements("Permission"), [""; 0]);
    assert_eq!(ask(&store, &owner, "PUT", "/bucket?acl", &[("x-amz-acl", "private")], b"").outcome(), "200");
    let bad = |header: (&str, &str)| ask(&store, &owner, "PUT", "/bucket?acl", &[header], b"").outcome();
    assert_eq!(bad(("x-amz-grant-read", "id=\"nobody\"")), "400 InvalidArgument");
    assert_eq!(bad(("x-amz-grant-read", "uri=\"http://example.com\"")), "400 InvalidArgument");
    assert_eq!(bad(("x-amz-grant-read", "emailAddress=\"a@example.com\"")), "400 UnresolvableGrantByEmailAddress");
    let both = [("x-amz-acl", "private"), ("x-amz-grant-read", to_friend.as_str())];
    assert_eq!(ask(&store, &owner, "PUT", "/bucket?acl", &both, b"").outcome(), "400 InvalidRequest");
    let twice = ask(&store, &owner, "PUT", "/bucket?acl", &[("x-amz-acl", "private")], &none);
    assert_eq!(twice.outcome(), "400 UnexpectedContent");
}

#[test]
fn the_writer_owns_the_object_unless_ownership_says_otherwise() {
    let (owner, writer) = (root_of("1"), root_of("2"));
    let (of_owner, of_writer) = (canonical("1"), canonical("2"));
    let given: &[(&str, &str)] = &[("x-amz-acl", "bucket-owner-full-control")];
    for (ownership, headers, expected, list) in [
        ("ObjectWriter", &[][..], &of_writer, "FULL_CONTROL"),
        ("ObjectWriter", given, &of_writer, "FULL_CONTROL FULL_CONTROL"),
        ("BucketOwnerPreferred", &[], &of_writer, "FULL_CONTROL"),
        ("BucketOwnerPreferred", given, &of_owner, "FULL_CONTROL"),
    ] {
        let store = Store::new();
        let make = [("x-amz-object-ownership", ownership), ("x-amz-acl", "public-read-write")];
        assert_eq!(ask(&store, &owner, "PUT", "/bucket", &make, b"").outcome(), "200");
        assert_eq!(ask(&store, &writer, "PUT", "/bucket/k", headers, b"x").outcome(), "200");
        let upload = ask(&store, &writer, "POST", "/bucket/u?uploads", headers, b"").element("UploadId");
        let shown = ask(&store, if *expected == of_owner { &owner } else { &writer }, "GET", "/bucket/k?acl", &[], b"");
        assert_eq!((&shown.element("ID"), shown.elements("Permission").join(" ").as_str()), (expected, list));
        let listed = ask(&store, &owner, "GET", "/bucket", &[], b"");
        assert_eq!(listed.elements("ID"), [expected.as_str()], "{ownership} {headers:?}");
        let uploads = ask(&store, &owner, "GET", "/bucket?uploads", &[], b"");
        assert_eq!(uploads.elements("ID"), [of_writer.as_str(), expected.as_str()], "initiator and owner");
        // The bucket's owner may not read what is another's, and may always delete it.
        let reads = ask(&store, &owner, "GET", "/bucket/k", &[], b"").status == 200;
        assert_eq!(reads, *expected == of_owner || !headers.is_empty(), "{ownership} {headers:?}");
        if *expected == of_writer {
            let parts = format!("/bucket/u?uploadId={upload}");
            assert_eq!(ask(&store, &writer, "GET", &parts, &[], b"").outcome(), "200");
            assert_eq!(ask(&store, &root_of("3"), "GET", &parts, &[], b"").outcome(), "403 AccessDenied");
        }
        assert_eq!(ask(&store, &owner, "DELETE", "/bucket/k", &[], b"").outcome(), "204");
        assert_eq!(ask(&store, &Identity::Anonymous, "PUT", "/bucket/anonymous", &[], b"x").outcome(), "200");
        assert_eq!(ask(&store, &owner, "GET", "/bucket/anonymous", &[], b"").outcome(), "200");
    }
}

#[test]
fn enforced_ownership_silences_all_lists() {
    let store = Store::new();
    let (owner, writer) = (root_of("1"), root_of("2"));
    let rule = |value: &str| {
        format!("<OwnershipControls><Rule><ObjectOwnership>{value}</ObjectOwnership></Rule></OwnershipControls>")
    };
    let set = |value: &str| ask(&store, &owner, "PUT", "/bucket?ownershipControls", &[], rule(value)).outcome();
    ask(&store, &owner, "PUT", "/bucket", &[WRITERS[0], ("x-amz-acl", "public-read-write")], b"");
    ask(&store, &writer, "PUT", "/bucket/k", &[("x-amz-acl", "public-read")], b"x");
    assert_eq!(set("BucketOwnerEnforced"), "400 InvalidBucketAclWithObjectOwnership");
    assert_eq!(ask(&store, &owner, "PUT", "/bucket?acl", &[("x-amz-acl", "private")], b"").outcome(), "200");
    assert_eq!(set("BucketOwnerEnforced"), "200");
    for who in [&writer, &Identity::Anonymous] {
        assert_eq!(ask(&store, who, "GET", "/bucket/k", &[], b"").outcome(), "403 AccessDenied");
    }
    let shown = ask(&store, &owner, "GET", "/bucket/k?acl", &[], b"");
    assert_eq!((shown.element("ID"), shown.elements("Permission").len()), (canonical("1"), 1));
    for (acl, outcome) in [
        ("private", "400 AccessControlListNotSupported"),
        ("public-read", "400 AccessControlListNotSupported"),
        ("bucket-owner-full-control", "200"),
        ("", "200"),
    ] {
        let put = ask(&store, &owner, "PUT", "/bucket/other", &[("x-amz-acl", acl)], b"x");
        assert_eq!(put.outcome(), outcome, "{acl}");
    }
    // What was, is again when lists count again.
    assert_eq!(set("ObjectWriter"), "200");
    assert_eq!(ask(&store, &Identity::Anonymous, "GET", "/bucket/k", &[], b"").outcome(), "200");
    assert_eq!(ask(&store, &writer, "GET", "/bucket/k?acl", &[], b"").element("ID"), canonical("2"));
}

#[test]
fn public_access_is_blocked_or_ignored() {
    let store = Store::new();
    let owner = root_of("1");
    let block = |flag: &str| {
        let document =
            format!("<PublicAccessBlockConfiguration><{flag}>true</{flag}></PublicAccessBlockConfiguration>");
        assert_eq!(ask(&store, &owner, "PUT", "/bucket?publicAccessBlock", &[], document).outcome(), "200");
    };
    ask(&store, &owner, "PUT", "/bucket", &[WRITERS[0], ("x-amz-acl", "public-read")], b"");
    ask(&store, &owner, "PUT", "/bucket/k", &[("x-amz-acl", "public-read")], b"x");
    block("IgnorePublicAcls");
    for target in ["/bucket", "/bucket/k"] {
        assert_eq!(ask(&store, &Identity::Anonymous, "GET", target, &[], b"").outcome(), "403 AccessDenied");
    }
    assert_eq!(ask(&store, &owner, "GET", "/bucket/k?acl", &[], b"").elements("Permission").len(), 2, "it is kept");
    block("BlockPublicAcls");
    for target in ["/bucket?acl", "/bucket/k?acl", "/bucket/new", "/bucket/up?uploads"] {
        let method = if target.ends_with("uploads") { "POST" } else { "PUT" };
        for (acl, outcome) in
            [("public-read", "403 AccessDenied"), ("authenticated-read", "403 AccessDenied"), ("private", "200")]
        {
            let answer = ask(&store, &owner, method, target, &[("x-amz-acl", acl)], b"");
            assert_eq!(answer.outcome(), outcome, "{target} {acl}");
        }
    }
    ask(&store, &owner, "PUT", "/bucket?publicAccessBlock", &[], "<PublicAccessBlockConfiguration/>");
    assert_eq!(ask(&store, &Identity::Anonymous, "GET", "/bucket/k", &[], b"").outcome(), "403 AccessDenied");
}

#[test]
fn each_version_has_a_list_of_its_own() {
    let store = Store::new();
    let owner = root_of("1");
    ask(&store, &owner, "PUT", "/bucket", &WRITERS, b"");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    ask(&store, &owner, "PUT", "/bucket?versioning", &[], enabled);
    let put = |acl: &str| {
        let answer = ask(&store, &owner, "PUT", "/bucket/k", &[("x-amz-acl", acl)], b"x");
        answer.header("x-amz-version-id").to_owned()
    };
    let (first, second) = (put("public-read"), put("private"));
    let read = |version: &str| {
        ask(&store, &Identity::Anonymous, "GET", &format!("/bucket/k?versionId={version}"), &[], b"").status
    };
    assert_eq!((read(&first), read(&second)), (200, 403));
    assert_eq!(ask(&store, &Identity::Anonymous, "GET", "/bucket/k", &[], b"").status, 403);
    let of_first = format!("/bucket/k?acl&versionId={first}");
    let answer = ask(&store, &owner, "PUT", &of_first, &[("x-amz-acl", "private")], b"");
    assert_eq!((answer.status, answer.header("x-amz-version-id")), (200, first.as_str()));
    assert_eq!((read(&first), read(&second)), (403, 403));
    assert_eq!(ask(&store, &owner, "PUT", "/bucket/k?acl", &[("x-amz-acl", "public-read")], b"").status, 200);
    assert_eq!((read(&first), read(&second)), (403, 200));
}

#[test]
fn a_repeated_creation_changes_no_list() {
    let store = Store::new();
    let owner = root_of("1");
    let public = [WRITERS[0], ("x-amz-acl", "public-read")];
    for (headers, outcome) in
        [(&public[..], "200"), (&public, "200"), (&WRITERS, "409 BucketAlreadyExists"), (&public, "200")]
    {
        assert_eq!(ask(&store, &owner, "PUT", "/bucket", headers, b"").outcome(), outcome);
    }
    assert_eq!(ask(&store, &Identity::Anonymous, "GET", "/bucket", &[], b"").status, 200);
}
