//! What somebody tries who has some rights and wants more: by parameters that policies ask for, by what an upload or a copy
//! brings along, by keys that end, and by IAM's own calls.

use std::sync::Arc;

use super::rights::{new_account, put_policy, run, user_of};
use super::{ACCESS_KEY, Store};
use crate::access::Principal;
use crate::wire::auth::Identity;
use crate::wire::iam;

const STORE: &str = "000000000001";

fn policy(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}

fn allow(actions: &str) -> String {
    policy(&format!(r#"{{"Effect":"Allow","Action":[{actions}],"Resource":"*"}}"#))
}

/// One call of IAM or STS: the answer's XML, or the error's code.
fn call(store: &Store, caller: &Identity, parameters: &[(&str, &str)]) -> Result<String, String> {
    let caller: Arc<Principal> = match caller {
        Identity::Signed(principal) => principal.clone(),
        Identity::Anonymous => panic!("nobody anonymous gets here"),
    };
    pollster::block_on(iam::answer_for_test(&store.settings, caller, parameters))
}

fn outcome(answer: &Result<String, String>) -> &str {
    answer.as_ref().map_or_else(String::as_str, |_| "ok")
}

fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text)
}

fn root(store: &Store) -> Identity {
    Identity::Signed(store.settings.access.credential(ACCESS_KEY, None, 0).unwrap().principal)
}

/// Who holds the credentials that an answer shows.
fn bearer(store: &Store, answer: &str, at_ms: i64) -> Result<Identity, crate::access::KeyFault> {
    let (key, token) = (element(answer, "AccessKeyId"), element(answer, "SessionToken"));
    let token = Some(token).filter(|token| !token.is_empty());
    store.settings.access.credential(key, token, at_ms).map(|found| Identity::Signed(found.principal))
}

fn now_ms() -> i64 {
    crate::seam::real::world().clock.unix_ms()
}

/// `?prefix=` on a GET does nothing, and so it must not fulfil a policy's condition either.
#[test]
fn parameters_count_only_where_they_do_something() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "home/bob/k", b"1");
    let ann = user_of(
        &store,
        STORE,
        "ann",
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"s3:prefix":"home/ann/*"}}}"#,
    );
    let few = user_of(
        &store,
        STORE,
        "few",
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NumericLessThan":{"s3:max-keys":"10"}}}"#,
    );
    for (who, method, target, outcome) in [
        (&ann, "GET", "/pictures?prefix=home/ann/", "200"),
        (&ann, "GET", "/pictures?prefix=home/bob/", "AccessDenied"),
        (&ann, "GET", "/pictures/home/bob/k?prefix=home/ann/", "AccessDenied"),
        (&ann, "PUT", "/pictures/home/bob/k?prefix=home/ann/", "AccessDenied"),
        (&ann, "DELETE", "/pictures/home/bob/k?prefix=home/ann/", "AccessDenied"),
        (&ann, "GET", "/pictures?policy&prefix=home/ann/", "AccessDenied"),
        (&ann, "DELETE", "/pictures?prefix=home/ann/", "AccessDenied"),
        (&few, "GET", "/pictures?max-keys=5", "200"),
        (&few, "GET", "/pictures/home/bob/k?max-keys=5", "AccessDenied"),
    ] {
        assert_eq!(run(&store, who, method, target, &[], ""), outcome, "{method} {target}");
    }
}

#[test]
fn who_may_list_a_prefix_learns_what_is_absent_below_it_and_no_more() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "public/there", b"1");
    put_policy(
        &store,
        "pictures",
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::pictures",
            "Condition":{"StringLike":{"s3:prefix":"public/*"}}}"#,
    );
    for (target, outcome) in [
        ("/pictures/public/absent", "NoSuchKey"),
        ("/pictures/public/there", "AccessDenied"),
        ("/pictures/private/absent", "AccessDenied"),
        ("/pictures/private/absent?prefix=public/", "AccessDenied"),
    ] {
        for method in ["GET", "HEAD"] {
            assert_eq!(run(&store, &Identity::Anonymous, method, target, &[], ""), outcome, "{method} {target}");
        }
    }
    assert_eq!(run(&store, &Identity::Anonymous, "PUT", "/pictures/public/absent", &[], "x"), "AccessDenied");
}

#[test]
fn a_policy_may_want_a_version_of_tls() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "k", b"1");
    put_policy(
        &store,
        "pictures",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::pictures/*",
            "Condition":{"NumericLessThan":{"s3:TlsVersion":"1.3"}}},
           {"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/*",
            "Condition":{"NumericGreaterThanEquals":{"s3:TlsVersion":"1.2"}}}"#,
    );
    for (version, allowed) in [(None, false), (Some("1.2"), false), (Some("1.3"), true)] {
        let mut call = store.call("GET", "/pictures/k", &[], b"").unwrap();
        call.identity = Identity::Anonymous;
        call.secure = version.is_some();
        call.tls_version = version;
        assert_eq!(call.authorize_operation().is_ok(), allowed, "{version:?}");
    }
}

/// Policies that want everything sealed ask for a header that parts do not have: theirs is what the upload said.
#[test]
fn a_part_is_sealed_as_its_upload_said() {
    let store = Store::with_bucket("pictures");
    put_policy(
        &store,
        "pictures",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::pictures/*",
            "Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}}"#,
    );
    let sealed = [("x-amz-server-side-encryption", "AES256")];
    assert_eq!(store.ask("POST", "/pictures/k?uploads", &[], b"").outcome(), "403 AccessDenied");
    let id = store.ask("POST", "/pictures/k?uploads", &sealed, b"").element("UploadId");
    let part = |id: &str| store.ask("PUT", &format!("/pictures/k?partNumber=1&uploadId={id}"), &[], b"x");
    let done = part(&id);
    assert_eq!(done.outcome(), "200", "{}", done.text);
    assert_eq!(part("other").outcome(), "403 AccessDenied");
    let etag = done.header("etag");
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let completed = store.ask("POST", &format!("/pictures/k?uploadId={id}"), &[], document.as_bytes());
    assert_eq!(completed.outcome(), "200", "{}", completed.text);
}

#[test]
fn where_and_how_a_bucket_is_made_is_asked_for() {
    let store = Store::in_region("site-7");
    let condition = r#""Condition":{"StringEquals":{"s3:LocationConstraint":"site-7"}}"#;
    let here = format!(r#"{{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"*",{condition}}}"#);
    let here = user_of(&store, STORE, "here", &here);
    let body = |region: &str| {
        format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        )
    };
    assert_eq!(run(&store, &here, "PUT", "/first", &[], ""), "AccessDenied");
    assert_eq!(run(&store, &here, "PUT", "/first", &[], &body("eu-west-1")), "AccessDenied");
    assert_eq!(run(&store, &here, "PUT", "/first", &[], &body("site-7")), "200");
    assert_eq!(run(&store, &Identity::Anonymous, "PUT", "/second", &[], &body("site-7")), "AccessDenied");
    let owner = [("x-amz-object-ownership", "ObjectWriter")];
    assert_eq!(run(&store, &here, "PUT", "/second", &owner, &body("site-7")), "AccessDenied");
}

/// A copy brings the source's tags: who may not read them there, or set them here, could do both by copying.
#[test]
fn a_copy_takes_tags_along_only_where_they_may_be_read_and_set() {
    let store = Store::with_bucket("pictures");
    assert_eq!(store.ask("PUT", "/pictures/k", &[("x-amz-tagging", "team=red")], b"1").status, 200);
    store.put("pictures", "plain", b"1");
    let user = |name: &str, more: &str| {
        let statement =
            format!(r#"{{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"{more}],"Resource":"*"}}"#);
        user_of(&store, STORE, name, &statement)
    };
    let copier = user("copier", "");
    let reader = user("reader", r#","s3:GetObjectTagging""#);
    let both = user("both", r#","s3:GetObjectTagging","s3:PutObjectTagging""#);
    let (tagged, plain) = (("x-amz-copy-source", "pictures/k"), ("x-amz-copy-source", "pictures/plain"));
    let none = ("x-amz-tagging-directive", "REPLACE");
    for (who, headers, outcome) in [
        (&copier, vec![tagged], "AccessDenied"),
        (&reader, vec![tagged], "AccessDenied"),
        (&both, vec![tagged], "200"),
        (&copier, vec![tagged, none], "200"),
        (&copier, vec![plain], "200"),
    ] {
        assert_eq!(run(&store, who, "PUT", "/pictures/copy", &headers, ""), outcome, "{headers:?}");
    }
}

/// What a key with an end makes must not outlive it.
#[test]
fn sessions_end_with_the_key_that_asked_for_them() {
    let store = Store::new();
    let made = call(&store, &root(&store), &[("Action", "CreateAccessKey"), ("DurationSeconds", "120")]).unwrap();
    let short = bearer(&store, &made, 0).unwrap();
    let session = call(&store, &short, &[("Action", "GetSessionToken"), ("DurationSeconds", "3600")]).unwrap();
    assert!(bearer(&store, &session, now_ms() + 100_000).is_ok());
    assert!(bearer(&store, &session, now_ms() + 121_000).is_err());
}

const TRUST_STORE: &str = r#"{"Effect":"Allow","Principal":{"AWS":"000000000001"},"Action":"sts:AssumeRole"}"#;

fn create_role(store: &Store, maker: &Identity, name: &str, trust: &str, grants: &str) -> String {
    let trust = policy(trust);
    let made = [("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", trust.as_str())];
    let arn = element(&call(store, maker, &made).unwrap(), "Arn").to_owned();
    let put = [("Action", "PutRolePolicy"), ("RoleName", name), ("PolicyName", "own"), ("PolicyDocument", grants)];
    assert_eq!(outcome(&call(store, maker, &put)), "ok");
    arn
}

fn assume(store: &Store, caller: &Identity, arn: &str, more: &[(&str, &str)]) -> Result<String, String> {
    let mut all = vec![("Action", "AssumeRole"), ("RoleArn", arn), ("RoleSessionName", "test")];
    all.extend(more);
    call(store, caller, &all)
}

#[test]
fn a_role_of_another_account_needs_the_word_of_both() {
    let store = Store::new();
    let (_, other) = new_account(&store, "other");
    let role = create_role(&store, &other, "guest", TRUST_STORE, &allow(r#""s3:ListAllMyBuckets""#));
    let may = r#"{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}"#;
    let nothing = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#;
    let (ann, bob) = (user_of(&store, STORE, "ann", may), user_of(&store, STORE, "bob", nothing));
    assert_eq!(outcome(&assume(&store, &bob, &role, &[])), "AccessDenied");
    let guest = bearer(&store, &assume(&store, &ann, &role, &[]).unwrap(), now_ms()).unwrap();
    assert_eq!(run(&store, &guest, "GET", "/", &[], ""), "200");
    assert_eq!(run(&store, &guest, "PUT", "/made", &[], ""), "AccessDenied");
    // A role that trusts somebody by name, and one that wants to be told a word.
    let named =
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000001:user/bob"},"Action":"sts:AssumeRole"}"#;
    let named = create_role(&store, &other, "named", named, &allow(r#""s3:*""#));
    assert_eq!(outcome(&assume(&store, &bob, &named, &[])), "AccessDenied", "his own account says nothing");
    assert_eq!(outcome(&assume(&store, &ann, &named, &[])), "AccessDenied");
    let word = r#"{"Effect":"Allow","Principal":{"AWS":"000000000001"},"Action":"sts:AssumeRole",
        "Condition":{"StringEquals":{"sts:ExternalId":"the word"}}}"#;
    let word = create_role(&store, &other, "word", word, &allow(r#""s3:*""#));
    assert_eq!(outcome(&assume(&store, &ann, &word, &[])), "AccessDenied");
    assert_eq!(outcome(&assume(&store, &ann, &word, &[("ExternalId", "another")])), "AccessDenied");
    assert_eq!(outcome(&assume(&store, &ann, &word, &[("ExternalId", "the word")])), "ok");
}

/// A session's policy narrows the role; the role's deletion, or a new one of the same name, ends the session.
#[test]
fn a_session_is_never_more_than_its_role_and_ends_with_it() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "k", b"1");
    let root = root(&store);
    let reader = allow(r#""s3:GetObject""#);
    let role = create_role(&store, &root, "reader", TRUST_STORE, &reader);
    let session = |more: &[(&str, &str)]| {
        let answer = assume(&store, &root, &role, more).unwrap();
        (bearer(&store, &answer, now_ms()).unwrap(), answer)
    };
    let get = |who: &Identity| run(&store, who, "GET", "/pictures/k", &[], "");
    let put = |who: &Identity| run(&store, who, "PUT", "/pictures/k", &[], "x");
    let (plain, answer) = session(&[]);
    let wider = allow(r#""*""#);
    let other = allow(r#""s3:PutObject""#);
    let managed = ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/AdministratorAccess");
    for (who, reads) in [
        (&plain, "200"),
        (&session(&[("Policy", &wider)]).0, "200"),
        (&session(&[managed]).0, "200"),
        (&session(&[("Policy", &other)]).0, "AccessDenied"),
    ] {
        assert_eq!((get(who).as_str(), put(who).as_str()), (reads, "AccessDenied"));
    }
    assert_eq!(outcome(&call(&store, &plain, &[("Action", "CreateAccessKey"), ("UserName", "ann")])), "AccessDenied");
    assert_eq!(outcome(&call(&store, &plain, &[("Action", "GetSessionToken")])), "AccessDenied");
    for call_of in [
        vec![("Action", "DeleteRolePolicy"), ("RoleName", "reader"), ("PolicyName", "own")],
        vec![("Action", "DeleteRole"), ("RoleName", "reader")],
    ] {
        assert_eq!(outcome(&call(&store, &root, &call_of)), "ok");
    }
    assert!(bearer(&store, &answer, now_ms()).is_err());
    create_role(&store, &root, "reader", TRUST_STORE, &wider);
    assert!(bearer(&store, &answer, now_ms()).is_err(), "another role has its name now");
}

/// A boundary takes from what policies grant, whoever granted it, and gives nothing by itself.
#[test]
fn a_boundary_bounds_users_and_roles() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "k", b"1");
    let root = root(&store);
    let reads = allow(r#""s3:GetObject""#);
    let made = [("Action", "CreatePolicy"), ("PolicyName", "reads"), ("PolicyDocument", reads.as_str())];
    let boundary = element(&call(&store, &root, &made).unwrap(), "Arn").to_owned();
    let everything = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let of_ann = || {
        let directory = store.settings.access.directory();
        let id = directory.user(STORE, "ann").unwrap().id.clone();
        let key = directory.keys(STORE, Some(&id)).next().unwrap().access_key.clone();
        Identity::Signed(store.settings.access.credential(&key, None, 0).unwrap().principal)
    };
    user_of(&store, STORE, "ann", everything);
    let set = |action: &str, more: &[(&str, &str)]| {
        let mut all = vec![("Action", action)];
        all.extend(more);
        outcome(&call(&store, &root, &all)).to_owned()
    };
    let bound = ("PermissionsBoundary", boundary.as_str());
    assert_eq!(
        set("PutUserPermissionsBoundary", &[("UserName", "ann"), ("PermissionsBoundary", "arn:x")]),
        "NoSuchEntity"
    );
    assert_eq!(set("PutUserPermissionsBoundary", &[("UserName", "ann"), bound]), "ok");
    let request = |who: &Identity, method: &str| run(&store, who, method, "/pictures/k", &[], "x");
    assert_eq!((request(&of_ann(), "GET").as_str(), request(&of_ann(), "PUT").as_str()), ("200", "AccessDenied"));
    assert_eq!(outcome(&call(&store, &of_ann(), &[("Action", "ListUsers")])), "AccessDenied");
    let session = call(&store, &of_ann(), &[("Action", "GetSessionToken")]).unwrap();
    assert_eq!(request(&bearer(&store, &session, now_ms()).unwrap(), "PUT"), "AccessDenied", "sessions inherit it");
    // What a bucket's policy gives to the user by name is not bounded, as on AWS; to a role it is.
    let role = create_role(&store, &root, "worker", TRUST_STORE, &allow(r#""*""#));
    assert_eq!(set("PutRolePermissionsBoundary", &[("RoleName", "worker"), bound]), "ok");
    let worker = bearer(&store, &assume(&store, &root, &role, &[]).unwrap(), now_ms()).unwrap();
    assert_eq!((request(&worker, "GET").as_str(), request(&worker, "PUT").as_str()), ("200", "AccessDenied"));
    put_policy(
        &store,
        "pictures",
        r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::000000000001:user/ann","arn:aws:iam::000000000001:role/worker"]},
            "Action":"s3:PutObject","Resource":"arn:aws:s3:::pictures/*"}"#,
    );
    assert_eq!((request(&of_ann(), "PUT").as_str(), request(&worker, "PUT").as_str()), ("200", "AccessDenied"));
    // It cannot be taken away while it bounds somebody, and is gone when it is taken off.
    assert_eq!(set("DeletePolicy", &[("PolicyArn", &boundary)]), "DeleteConflict");
    assert_eq!(set("DeleteUserPermissionsBoundary", &[("UserName", "ann")]), "ok");
    assert_eq!(set("DeleteRolePermissionsBoundary", &[("RoleName", "worker")]), "ok");
    assert_eq!(outcome(&call(&store, &of_ann(), &[("Action", "ListUsers")])), "ok");
    assert_eq!(set("DeletePolicy", &[("PolicyArn", &boundary)]), "ok");
}

/// Somebody who may make users, but only such as are bounded, makes nobody who is more than that.
#[test]
fn who_makes_bounded_users_only_makes_no_other() {
    let store = Store::new();
    let root = root(&store);
    let reads = allow(r#""s3:GetObject""#);
    let made = [("Action", "CreatePolicy"), ("PolicyName", "reads"), ("PolicyDocument", reads.as_str())];
    let boundary = element(&call(&store, &root, &made).unwrap(), "Arn").to_owned();
    let bounded = format!(
        r#"{{"Effect":"Allow","Action":["iam:CreateUser","iam:PutUserPolicy","iam:AttachUserPolicy","iam:PutUserPermissionsBoundary"],
            "Resource":"*","Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{boundary}"}}}}}},
           {{"Effect":"Allow","Action":"iam:AttachGroupPolicy","Resource":"*",
            "Condition":{{"ArnEquals":{{"iam:PolicyARN":"{boundary}"}}}}}},
           {{"Effect":"Allow","Action":"iam:CreateGroup","Resource":"*"}}"#
    );
    let maker = user_of(&store, STORE, "maker", &bounded);
    user_of(&store, STORE, "free", r#"{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}"#);
    let everything = allow(r#""*""#);
    let (own, admin) = (("PolicyName", "own"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess"));
    let (bound, document) = (("PermissionsBoundary", boundary.as_str()), ("PolicyDocument", everything.as_str()));
    for (action, parameters, expected) in [
        ("CreateUser", vec![("UserName", "a")], "AccessDenied"),
        ("CreateUser", vec![("UserName", "a"), ("PermissionsBoundary", admin.1)], "AccessDenied"),
        ("CreateUser", vec![("UserName", "a"), bound], "ok"),
        ("PutUserPolicy", vec![("UserName", "a"), own, document], "ok"),
        ("PutUserPolicy", vec![("UserName", "free"), own, document], "AccessDenied"),
        ("PutUserPolicy", vec![("UserName", "maker"), own, document], "AccessDenied"),
        // The parameter of another call does not count where the call does not set it.
        ("PutUserPolicy", vec![("UserName", "maker"), own, document, bound], "AccessDenied"),
        ("AttachUserPolicy", vec![("UserName", "maker"), admin, bound], "AccessDenied"),
        ("PutUserPermissionsBoundary", vec![("UserName", "a"), ("PermissionsBoundary", admin.1)], "AccessDenied"),
        ("DeleteUserPermissionsBoundary", vec![("UserName", "a")], "AccessDenied"),
        ("CreateGroup", vec![("GroupName", "g")], "ok"),
        ("AttachGroupPolicy", vec![("GroupName", "g"), admin], "AccessDenied"),
        ("AttachGroupPolicy", vec![("GroupName", "g"), ("PolicyArn", &boundary)], "ok"),
    ] {
        let mut all = vec![("Action", action)];
        all.extend(&parameters);
        assert_eq!(outcome(&call(&store, &maker, &all)), expected, "{all:?}");
    }
}

#[test]
fn tags_of_a_user_are_facts_and_no_patterns() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "team/red/k", b"1");
    let home = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/team/${aws:PrincipalTag/team}/*"}"#;
    let root = root(&store);
    for (name, tag, expected) in [("a", "red", "200"), ("b", "blue", "AccessDenied"), ("c", "*", "AccessDenied")] {
        user_of(&store, STORE, name, home);
        let tagged =
            [("Action", "TagUser"), ("UserName", name), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", tag)];
        assert_eq!(outcome(&call(&store, &root, &tagged)), "ok");
        let made = call(&store, &root, &[("Action", "CreateAccessKey"), ("UserName", name)]).unwrap();
        let who = bearer(&store, &made, 0).unwrap();
        assert_eq!(run(&store, &who, "GET", "/pictures/team/red/k", &[], ""), expected, "{tag}");
    }
}

#[test]
fn the_last_use_of_a_key_is_known_to_the_hour_and_kept() {
    let store = Store::new();
    let access = &store.settings.access;
    let root = root(&store);
    let made = call(&store, &root, &[("Action", "CreateAccessKey")]).unwrap();
    let key = element(&made, "AccessKeyId");
    let last = || call(&store, &root, &[("Action", "GetAccessKeyLastUsed"), ("AccessKeyId", key)]).unwrap();
    assert_eq!((element(&last(), "ServiceName"), element(&last(), "LastUsedDate")), ("N/A", ""));
    let at_ms = 1_800_000_123_456;
    access.note_use(key, &crate::access::Use::now("s3", at_ms));
    access.note_use("AKIAABSENT", &crate::access::Use::now("s3", at_ms));
    assert_eq!((element(&last(), "ServiceName"), element(&last(), "Region")), ("s3", "us-east-1"));
    assert_eq!(element(&last(), "LastUsedDate"), "2027-01-15T08:00:00.000Z");
    assert!(access.last_use("AKIAABSENT").is_none());
    // A change is made after what was queued before it.
    assert_eq!(outcome(&call(&store, &root, &[("Action", "CreateUser"), ("UserName", "ann")])), "ok");
    let again = store.reopen_access();
    assert_eq!(again.last_use(key).map(|last| last.service), Some("s3".to_owned()));
    again.stop();
    let gone = [("Action", "DeleteAccessKey"), ("AccessKeyId", key)];
    assert_eq!(outcome(&call(&store, &root, &gone)), "ok");
    assert_eq!(store.engine.meta().reader().unwrap().properties("access/use/").unwrap().len(), 0);
}
