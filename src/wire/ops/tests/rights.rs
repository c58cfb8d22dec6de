//! Who may do what: accounts apart from each other, and nobody without a name.

use std::sync::Arc;

use super::Store;
use crate::access::{Account, Bearer, Bound, Carrier, KeyFault, NewKey, Principal, Registry, Secret};
use crate::crypt::Vault;
use crate::wire::auth::Identity;
use crate::wire::error::S3Code;

pub(super) fn root_of(id: &str) -> Identity {
    let account = Account { id: id.to_owned(), canonical_id: format!("{id:0>64}"), ..Account::store() };
    Identity::Signed(Arc::new(Principal::root(Arc::new(account))))
}

#[test]
fn what_an_account_owns_is_closed_to_others() {
    let store = Store::with_bucket("pictures");
    let ask = |identity: &Identity, bucket: &str| {
        let mut call = store.call("GET", &format!("/{bucket}/k"), &[], b"").unwrap();
        call.identity = identity.clone();
        call.authorize("GetObject", &call.bucket, &call.key).map_err(|error| error.code)
    };
    let own = Identity::Signed(Arc::new(Principal::root(Arc::new(Account::store()))));
    assert_eq!(ask(&own, "pictures"), Ok(()));
    assert_eq!(ask(&own, ".aerie"), Err(S3Code::AccessDenied));
    assert_eq!(ask(&root_of("111122223333"), "pictures"), Err(S3Code::AccessDenied));
    assert_eq!(ask(&Identity::Anonymous, "pictures"), Err(S3Code::AccessDenied));
}

#[test]
fn a_bucket_is_its_makers_at_once() {
    let store = Store::new();
    let (one, other) = (root_of("111122223333"), root_of("444455556666"));
    let run = |identity: &Identity, method: &str, target: &str| {
        let mut call = store.call(method, target, &[], b"").unwrap();
        call.identity = identity.clone();
        call.authorize(call.operation.action(), &call.bucket, &call.key)
            .and_then(|()| pollster::block_on(super::super::run(&mut call)))
            .map(|response| response.status().as_u16())
            .map_err(|error| error.code)
    };
    assert_eq!(run(&one, "PUT", "/pictures"), Ok(200));
    assert_eq!(run(&one, "PUT", "/pictures"), Ok(200), "us-east-1 answers so to the owner");
    assert_eq!(run(&other, "PUT", "/pictures"), Err(S3Code::BucketAlreadyExists));
    assert_eq!(run(&other, "GET", "/pictures"), Err(S3Code::AccessDenied));
    assert_eq!(run(&one, "GET", "/pictures"), Ok(200));
    assert_eq!(run(&one, "DELETE", "/pictures"), Ok(204));
    assert_eq!(run(&other, "PUT", "/pictures"), Ok(200));
    assert_eq!(run(&other, "GET", "/pictures"), Ok(200), "what was remembered of the bucket is forgotten");
}

/// What a caller gets for a request: the status, or the error's code.
pub(super) fn run(
    store: &Store,
    identity: &Identity,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut call = store.call(method, target, headers, body.as_bytes()).unwrap();
    call.identity = identity.clone();
    let allowed = if call.operation.asks_for_itself() { Ok(()) } else { call.authorize_operation() };
    match allowed.and_then(|()| pollster::block_on(super::super::run(&mut call))) {
        Ok(response) => response.status().as_u16().to_string(),
        Err(error) => error.code.as_str().to_owned(),
    }
}

/// A user of an account with one inline policy, as its key makes it.
pub(super) fn user_of(store: &Store, account: &str, name: &str, statements: &str) -> Identity {
    let access = &store.settings.access;
    let (account, name) = (account.to_owned(), name.to_owned());
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let change = access.change(move |change| {
        change.create_user(&account, &name, "/", Default::default())?;
        change.put_inline(&account, Carrier::User, &name, "own", &text)?;
        change.create_key(&account, NewKey { user: Some(name), ..NewKey::default() })
    });
    let key = pollster::block_on(change).unwrap();
    Identity::Signed(access.credential(&key.access_key, None, 0).unwrap().principal)
}

pub(super) fn new_account(store: &Store, name: &str) -> (Account, Identity) {
    let access = &store.settings.access;
    let name = name.to_owned();
    let (account, key) = pollster::block_on(access.change(move |change| change.create_account(&name))).unwrap();
    let principal = access.credential(&key.access_key, None, 0).unwrap().principal;
    (account, Identity::Signed(principal))
}

pub(super) fn put_policy(store: &Store, bucket: &str, statements: &str) {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let answer = store.ask("PUT", &format!("/{bucket}?policy"), &[], text.as_bytes());
    assert_eq!(answer.outcome(), "204", "{}", answer.text);
}

const TAGS: &str = "<Tagging><TagSet><Tag><Key>team</Key><Value>red</Value></Tag></TagSet></Tagging>";

#[test]
fn users_do_what_their_policies_say() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "home/ann/k", b"1");
    store.put("pictures", "home/bob/k", b"1");
    let everything = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::pictures/home/${aws:username}/*"}"#;
    let ann = user_of(&store, "000000000001", "ann", everything);
    let reader = r#"{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::pictures","arn:aws:s3:::pictures/*"]},
        {"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/home/ann/*"}"#;
    let reader = user_of(&store, "000000000001", "reader", reader);
    let listing = r#"{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::pictures","Condition":{"StringLike":{"s3:prefix":"home/${aws:username}/*"}}}"#;
    let lister = user_of(&store, "000000000001", "lister", listing);
    let nothing =
        user_of(&store, "000000000001", "none", r#"{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}"#);
    let denied = "AccessDenied";
    for (who, method, target, outcome) in [
        (&ann, "GET", "/pictures/home/ann/k", "200"),
        (&ann, "GET", "/pictures/home/bob/k", denied),
        (&ann, "PUT", "/pictures/home/ann/new", "200"),
        (&ann, "PUT", "/pictures/home/bob/new", denied),
        (&ann, "GET", "/pictures", denied),
        (&ann, "GET", "/pictures/home/ann/absent", denied),
        (&ann, "GET", "/", denied),
        (&ann, "PUT", "/other", denied),
        (&ann, "DELETE", "/pictures", denied),
        (&ann, "GET", "/absent/k", "NoSuchBucket"),
        (&reader, "GET", "/pictures/home/bob/k", "200"),
        (&reader, "GET", "/pictures/home/bob/absent", "NoSuchKey"),
        (&reader, "GET", "/pictures/home/ann/k", denied),
        (&reader, "GET", "/pictures/home/bob/k?versionId=null", denied),
        (&reader, "HEAD", "/pictures", "200"),
        (&reader, "GET", "/pictures/home/bob/k?tagging", denied),
        (&reader, "GET", "/pictures?policy", denied),
        (&lister, "GET", "/pictures?prefix=home/lister/", "200"),
        (&lister, "GET", "/pictures?prefix=home/", denied),
        (&lister, "GET", "/pictures", denied),
        (&nothing, "GET", "/pictures/home/bob/k", denied),
    ] {
        assert_eq!(run(&store, who, method, target, &[], ""), outcome, "{method} {target}");
    }
    let copy = [("x-amz-copy-source", "pictures/home/bob/k")];
    assert_eq!(run(&store, &ann, "PUT", "/pictures/home/ann/copy", &copy, ""), denied, "the source is asked for, too");
    let tagging = [("x-amz-tagging", "a=b")];
    let put = r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}"#;
    let writer = user_of(&store, "000000000001", "writer", put);
    assert_eq!(run(&store, &writer, "PUT", "/pictures/t", &[], ""), "200");
    assert_eq!(run(&store, &writer, "PUT", "/pictures/t", &tagging, ""), denied, "tags need a permission of their own");
}

#[test]
fn a_user_named_with_wildcards_gets_no_more() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "home/bob/k", b"1");
    let home =
        r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/home/${aws:username}/*"}"#;
    let access = &store.settings.access;
    for name in ["*", "?ob", "b*", "${aws:userid}", "../bob", "a/b", ""] {
        let name = name.to_owned();
        let made = access.change(move |change| change.create_user("000000000001", &name, "/", Default::default()));
        assert_eq!(pollster::block_on(made).unwrap_err().code(), "ValidationError");
    }
    let at = user_of(&store, "000000000001", "bob@x", home);
    assert_eq!(run(&store, &at, "GET", "/pictures/home/bob/k", &[], ""), "AccessDenied");
}

#[test]
fn bucket_policies_speak_for_the_bucket() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "public/k", b"1");
    store.put("pictures", "red", b"1");
    store.put("pictures", "k", b"1");
    let (account, other) = new_account(&store, "other");
    let allowed = user_of(&store, &account.id, "ann", r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#);
    let bare = user_of(&store, &account.id, "bob", r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#);
    let store_root = Identity::Signed(Arc::new(Principal::root(Arc::new(Account::store()))));
    assert_eq!(store.ask("PUT", "/pictures/red?tagging", &[], TAGS.as_bytes()).status, 200);
    put_policy(
        &store,
        "pictures",
        &format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/public/*"}},
            {{"Effect":"Allow","Principal":{{"AWS":"{id}"}},"Action":["s3:PutObject","s3:ListBucket"],"Resource":["arn:aws:s3:::pictures","arn:aws:s3:::pictures/*"]}},
            {{"Effect":"Allow","Principal":{{"AWS":"{id}"}},"Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/*","Condition":{{"StringEquals":{{"s3:ExistingObjectTag/team":"red"}}}}}},
            {{"Effect":"Deny","Principal":"*","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::pictures/*"}}"#,
            id = account.id
        ),
    );
    let denied = "AccessDenied";
    for (who, method, target, outcome) in [
        (&Identity::Anonymous, "GET", "/pictures/public/k", "200"),
        (&Identity::Anonymous, "GET", "/pictures/public/absent", denied),
        (&Identity::Anonymous, "GET", "/pictures/k", denied),
        (&Identity::Anonymous, "PUT", "/pictures/public/k", denied),
        (&other, "GET", "/pictures/public/k", "200"),
        (&other, "PUT", "/pictures/x", "200"),
        (&other, "GET", "/pictures", "200"),
        (&other, "GET", "/pictures/red", "200"),
        (&other, "GET", "/pictures/k", denied),
        (&other, "GET", "/pictures?policy", denied),
        (&other, "DELETE", "/pictures?policy", denied),
        (&allowed, "PUT", "/pictures/x", "200"),
        (&allowed, "DELETE", "/pictures/x", denied),
        (&bare, "PUT", "/pictures/x", denied),
        (&bare, "GET", "/pictures/public/k", denied),
        (&store_root, "GET", "/pictures/k", "200"),
        (&store_root, "DELETE", "/pictures/k", denied),
    ] {
        assert_eq!(run(&store, who, method, target, &[], ""), outcome, "{} {method} {target}", who.name_in_events());
    }
    // The root of the bucket's account can put right what locks it out; another account's root cannot.
    put_policy(
        &store,
        "pictures",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::pictures","arn:aws:s3:::pictures/*"]}"#,
    );
    assert_eq!(run(&store, &store_root, "GET", "/pictures/k", &[], ""), denied);
    assert_eq!(run(&store, &other, "DELETE", "/pictures?policy", &[], ""), denied);
    assert_eq!(run(&store, &store_root, "GET", "/pictures?policy", &[], ""), "200");
    assert_eq!(run(&store, &store_root, "DELETE", "/pictures?policy", &[], ""), "204");
    assert_eq!(run(&store, &store_root, "GET", "/pictures/k", &[], ""), "200");
    assert_eq!(run(&store, &store_root, "GET", "/pictures?policy", &[], ""), "NoSuchBucketPolicy");
}

#[test]
fn strangers_are_no_principals_and_public_policies_can_be_blocked() {
    let store = Store::with_bucket("pictures");
    let put = |principal: &str| {
        let text = format!(
            r#"{{"Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::pictures/*"}}]}}"#
        );
        store.ask("PUT", "/pictures?policy", &[], text.as_bytes()).outcome()
    };
    let (account, other) = new_account(&store, "other");
    assert_eq!(put(r#"{"AWS":"123456789012"}"#), "400 MalformedPolicy");
    assert_eq!(put(r#"{"AWS":"arn:aws:iam::000000000001:user/nobody"}"#), "400 MalformedPolicy");
    assert_eq!(put(&format!(r#"{{"AWS":"{}"}}"#, account.id)), "204");
    assert_eq!(store.ask("GET", "/pictures?policyStatus", &[], b"").element("IsPublic"), "false");
    assert_eq!(put(r#""*""#), "204");
    assert_eq!(store.ask("GET", "/pictures?policyStatus", &[], b"").element("IsPublic"), "true");
    store.put("pictures", "k", b"1");
    assert_eq!(run(&store, &other, "GET", "/pictures/k", &[], ""), "200");
    let block = |flag: &str| {
        let text = format!("<PublicAccessBlockConfiguration><{flag}>true</{flag}></PublicAccessBlockConfiguration>");
        assert_eq!(store.ask("PUT", "/pictures?publicAccessBlock", &[], text.as_bytes()).status, 200);
    };
    block("RestrictPublicBuckets");
    assert_eq!(run(&store, &other, "GET", "/pictures/k", &[], ""), "AccessDenied");
    assert_eq!(run(&store, &Identity::Anonymous, "GET", "/pictures/k", &[], ""), "AccessDenied");
    block("BlockPublicPolicy");
    assert_eq!(put(r#""*""#), "403 AccessDenied");
}

#[test]
fn sessions_and_bounded_keys_never_widen() {
    let store = Store::with_bucket("pictures");
    store.put("pictures", "k", b"1");
    let access = store.settings.access.clone();
    let reader = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#;
    user_of(&store, "000000000001", "ann", reader);
    let id = access.directory().user("000000000001", "ann").unwrap().id.clone();
    let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let put_only =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}"#;
    let session = |bearer: Bearer, bounds: &[&str]| {
        let bounds = bounds.iter().map(|text| Bound { texts: vec![(*text).to_owned()], managed: Vec::new() }).collect();
        let issued = access.issue("000000000001", bearer, bounds, 900);
        let now_ms = issued.expires_ms - 1;
        let found = access.credential(&issued.access_key, Some(&issued.token), now_ms).unwrap();
        let late = access.credential(&issued.access_key, Some(&issued.token), issued.expires_ms);
        assert_eq!(late.unwrap_err(), KeyFault::ExpiredToken);
        let other = access.credential("ASIAOTHER", Some(&issued.token), now_ms);
        assert_eq!(other.unwrap_err(), KeyFault::InvalidToken);
        assert_eq!(access.credential(&issued.access_key, None, now_ms).unwrap_err(), KeyFault::Unknown);
        Identity::Signed(found.principal)
    };
    let user = || Bearer::User(id.clone());
    for (who, get, put) in [
        (session(user(), &[]), "200", "AccessDenied"),
        (session(user(), &[all]), "200", "AccessDenied"),
        (session(user(), &[put_only]), "AccessDenied", "AccessDenied"),
        (session(Bearer::Root, &[]), "200", "200"),
        (session(Bearer::Root, &[put_only]), "AccessDenied", "200"),
        (session(Bearer::Root, &[all, put_only]), "AccessDenied", "200"),
    ] {
        assert_eq!(run(&store, &who, "GET", "/pictures/k", &[], ""), get);
        assert_eq!(run(&store, &who, "PUT", "/pictures/k", &[], "x"), put);
    }
    let key = |policy: &str| {
        let policy = Some(policy.to_owned());
        let made = access.change(move |change| {
            change.create_key("000000000001", NewKey { user: Some("ann".to_owned()), policy, ..NewKey::default() })
        });
        let key = pollster::block_on(made).unwrap();
        Identity::Signed(access.credential(&key.access_key, None, 0).unwrap().principal)
    };
    assert_eq!(run(&store, &key(all), "PUT", "/pictures/k", &[], "x"), "AccessDenied");
    assert_eq!(run(&store, &key(put_only), "GET", "/pictures/k", &[], ""), "AccessDenied");
    assert_eq!(run(&store, &key(all), "GET", "/pictures/k", &[], ""), "200");
    // What a session may do ends with its user.
    let issued = access.issue("000000000001", user(), Vec::new(), 900);
    let remove = access.change(|change| {
        let id = change.directory().find_user("000000000001", "ann")?.id.clone();
        let keys = change.directory().keys("000000000001", Some(&id));
        for key in keys.map(|key| key.access_key.clone()).collect::<Vec<_>>() {
            change.delete_key("000000000001", Some("ann"), &key)?;
        }
        change.delete_inline("000000000001", Carrier::User, "ann", "own")?;
        change.delete_user("000000000001", "ann")
    });
    pollster::block_on(remove).unwrap();
    let found = access.credential(&issued.access_key, Some(&issued.token), 0);
    assert_eq!(found.unwrap_err(), KeyFault::InvalidToken);
}

#[test]
fn keys_can_be_switched_off_and_end_by_themselves() {
    let store = Store::new();
    let access = &store.settings.access;
    let now_ms = crate::seam::real::world().clock.unix_ms();
    let new = NewKey { expires_ms: Some(now_ms + 60_000), ..NewKey::default() };
    let key = pollster::block_on(access.change(move |change| change.create_key("000000000001", new))).unwrap();
    let found = |at_ms| access.credential(&key.access_key, None, at_ms).map(|found| found.secret == key.secret);
    assert_eq!(found(now_ms), Ok(true));
    assert_eq!(found(now_ms + 60_000), Err(KeyFault::Unknown));
    let access_key = key.access_key.clone();
    let off = access.change(move |change| change.set_key_active("000000000001", None, &access_key, false));
    pollster::block_on(off).unwrap();
    assert_eq!(found(now_ms), Err(KeyFault::Unknown));
    // All of it is there after a restart.
    let again = store.reopen_access();
    assert_eq!(again.directory().key(&key.access_key).map(|key| key.active), Some(false));
    assert_eq!(again.credential("root", None, 0).map(|found| found.principal.is_store_root()), Ok(true));
    again.stop();
}

/// What a store kept before there was a vault is sealed when it is opened, and then nobody finds it on the drives.
#[test]
fn secrets_are_kept_sealed_also_those_of_an_older_store() {
    let store = Store::new();
    let access = &store.settings.access;
    let new = NewKey::default();
    let key = pollster::block_on(access.change(move |change| change.create_key("000000000001", new))).unwrap();
    let on_drives = |text: &str| {
        let bytes = store.bytes_on_drives();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let kept = |name: &str| store.engine.meta().reader().unwrap().property(name).unwrap().unwrap();
    let name = format!("access/key/{}", key.access_key);
    assert!(kept(&name).contains(r#""secret":"sealed:"#));
    assert!(kept("access/token-key").starts_with("sealed:"));
    assert!(on_drives(&key.access_key) && !on_drives(key.secret.as_str()), "the search finds what is there");
    let issued = access.issue("000000000001", crate::access::Bearer::Root, Vec::new(), 3600);

    // As an older program left it.
    let text = kept(&name);
    let old = |part| if Vault::is_sealed(part) { "the-secret-of-an-older-store" } else { part };
    let old: Vec<&str> = text.split('"').map(old).collect();
    let old = old.join("\"");
    let token_key = "5a".repeat(32);
    let set = |name: &str, value: &str| {
        let set = store.engine.meta().set_property(name.to_owned(), Some(value.to_owned()));
        pollster::block_on(set).unwrap();
    };
    set(&name, &old);
    set("access/token-key", &token_key);
    assert!(on_drives("the-secret-of-an-older-store"));
    let again = store.reopen_access();
    let secret = |access: &Registry| access.credential(&key.access_key, None, 0).map(|found| found.secret);
    assert_eq!(secret(&again), Ok(Secret::new("the-secret-of-an-older-store")));
    assert!(kept(&name).contains(r#""secret":"sealed:"#), "{}", kept(&name));
    assert!(kept("access/token-key").starts_with("sealed:"));
    let found = again.credential(&issued.access_key, Some(&issued.token), 0);
    assert_eq!(found.unwrap_err(), KeyFault::InvalidToken, "the older store had another key of tokens");
    again.stop();
    // The pages themselves have it no more. (The log may, until it is written over.)
    let reader = store.engine.meta().reader().unwrap();
    assert!(!reader.properties("access/").unwrap().iter().any(|(_, text)| text.contains("of-an-older-store")));

    // Moved to another name, or changed, it opens nothing; the rest of the store is none the worse.
    let sealed = kept(&name);
    for broken in [sealed.replace("sealed:", "sealed:0"), sealed.replace("\",\"user", "0\",\"user")] {
        assert_ne!(broken, sealed);
        set(&name, &broken);
        let again = store.reopen_access();
        assert_eq!(secret(&again), Err(KeyFault::Unknown));
        again.stop();
    }
    set(&name, &sealed);
    let again = store.reopen_access();
    assert_eq!(secret(&again), Ok(Secret::new("the-secret-of-an-older-store")));
    again.stop();
}
