//! Listings and DeleteObjects.

use super::{Answer, Store};
use crate::hash::{Md5, base64_encode};

/// Keys, then common prefixes, of one page.
fn names(answer: &Answer) -> (Vec<String>, Vec<String>) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let root = crate::xml::parse(answer.text.as_bytes()).expect("well-formed");
    let of = |outer: &str, inner: &str| {
        root.children_named(outer).map(|entry| entry.text_of(inner).expect("named").to_owned()).collect::<Vec<_>>()
    };
    let keys = [of("Contents", "Key"), of("Version", "Key"), of("DeleteMarker", "Key")].concat();
    (keys, of("CommonPrefixes", "Prefix"))
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn filled() -> Store {
    let store = Store::with_bucket("bucket");
    for key in ["a", "b/1", "b/2", "b/c/3", "d", "e f+g", "x/\u{1}"] {
        store.put("bucket", key, b"body");
    }
    store
}

#[test]
fn objects_are_listed_in_both_versions() {
    let store = filled();
    let cases: [(&str, &[&str], &[&str], bool); 9] = [
        ("", &["a", "b/1", "b/2", "b/c/3", "d", "e f+g", "x/\u{1}"], &[], false),
        ("prefix=b/", &["b/1", "b/2", "b/c/3"], &[], false),
        ("delimiter=/", &["a", "d", "e f+g"], &["b/", "x/"], false),
        ("delimiter=/&prefix=b/", &["b/1", "b/2"], &["b/c/"], false),
        ("delimiter=/c/", &["a", "b/1", "b/2", "d", "e f+g", "x/\u{1}"], &["b/c/"], false),
        ("max-keys=2", &["a", "b/1"], &[], true),
        ("max-keys=2&delimiter=/", &["a"], &["b/"], true),
        ("max-keys=0", &[], &[], false),
        ("encoding-type=url&prefix=e", &["e%20f%2Bg"], &[], false),
    ];
    for (query, keys, prefixes, truncated) in cases {
        for version in ["", "list-type=2&"] {
            let answer = store.ask("GET", &format!("/bucket?{version}{query}"), &[], b"");
            assert_eq!(names(&answer), (strings(keys), strings(prefixes)), "{version}{query}");
            assert_eq!(answer.element("IsTruncated"), truncated.to_string(), "{version}{query}");
        }
    }
    let bad = ["max-keys=x", "max-keys=-1", "encoding-type=utf", "list-type=3", "list-type=2&continuation-token=!"];
    for query in bad {
        let answer = store.ask("GET", &format!("/bucket?{query}"), &[], b"");
        assert_eq!(answer.outcome(), "400 InvalidArgument", "{query}");
    }
    assert_eq!(store.ask("GET", "/absent?list-type=2", &[], b"").outcome(), "404 NoSuchBucket");
}

#[test]
fn a_listing_has_this_text() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "k&", b"");
    let answer = store.ask("GET", "/bucket?list-type=2&start-after=a&fetch-owner=true", &[], b"");
    let modified = answer.element("LastModified");
    let owner = crate::access::STORE_CANONICAL_ID;
    assert_eq!(
        answer.text,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix></Prefix>\
             <StartAfter>a</StartAfter><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>\
             <Contents><Key>k&amp;</Key><LastModified>{modified}</LastModified>\
             <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass>\
             <Owner><ID>{owner}</ID><DisplayName>aerie</DisplayName></Owner></Contents></ListBucketResult>"
        )
    );
    let first = store.ask("GET", "/bucket?max-keys=5", &[], b"");
    assert!(first.text.contains("<Prefix></Prefix><Marker></Marker><MaxKeys>5</MaxKeys>"), "{}", first.text);
    assert!(first.text.contains("<Owner>"), "the first version names owners always");
}

#[test]
fn pages_follow_each_other() {
    let store = filled();
    for limit in 1..5 {
        for delimiter in ["", "&delimiter=/"] {
            let all = names(&store.ask("GET", &format!("/bucket?list-type=2{delimiter}"), &[], b""));
            let (mut keys, mut prefixes, mut token) = (Vec::new(), Vec::new(), String::new());
            loop {
                let target = format!("/bucket?list-type=2&max-keys={limit}{delimiter}{token}");
                let answer = store.ask("GET", &target, &[], b"");
                let (page_keys, page_prefixes) = names(&answer);
                assert_eq!(answer.element("KeyCount"), (page_keys.len() + page_prefixes.len()).to_string());
                keys.extend(page_keys);
                prefixes.extend(page_prefixes);
                if answer.element("IsTruncated") == "false" {
                    assert_eq!(answer.element("NextContinuationToken"), "");
                    break;
                }
                token = format!("&continuation-token={}", answer.element("NextContinuationToken"));
            }
            assert_eq!((keys, prefixes), all, "{limit} {delimiter}");
        }
    }
    let first = store.ask("GET", "/bucket?delimiter=/&max-keys=2", &[], b"");
    assert_eq!(first.element("NextMarker"), "b/");
    let rest = store.ask("GET", "/bucket?delimiter=/&marker=b/", &[], b"");
    assert_eq!(names(&rest), (strings(&["d", "e f+g"]), strings(&["x/"])));
}

#[test]
fn versions_are_listed_and_paged() {
    let store = Store::with_bucket("bucket");
    let enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    store.put("bucket", "old", b"1");
    assert_eq!(store.ask("PUT", "/bucket?versioning", &[], enable).outcome(), "200");
    for key in ["a", "a", "dir/b", "a"] {
        store.put("bucket", key, b"2");
    }
    assert_eq!(delete(&store, "<Object><Key>dir/b</Key></Object>").element("DeleteMarker"), "true");
    let all = store.ask("GET", "/bucket?versions", &[], b"");
    let (ids, latest) = (all.elements("VersionId"), all.elements("IsLatest"));
    assert_eq!(all.elements("Key"), ["a", "a", "a", "dir/b", "dir/b", "old"]);
    assert_eq!(latest, ["true", "false", "false", "true", "false", "true"]);
    assert_eq!(ids[5], "null");
    assert!(all.text.contains("<DeleteMarker><Key>dir/b</Key>"), "{}", all.text);
    for limit in 1..=6 {
        let (mut paged, mut marker) = (Vec::new(), String::new());
        loop {
            let page = store.ask("GET", &format!("/bucket?versions&max-keys={limit}{marker}"), &[], b"");
            paged.extend(page.elements("VersionId"));
            if page.element("IsTruncated") == "false" {
                break;
            }
            let (key, id) = (page.element("NextKeyMarker"), page.element("NextVersionIdMarker"));
            marker = format!("&key-marker={key}&version-id-marker={id}");
        }
        assert_eq!(paged, ids, "{limit}");
    }
    let grouped = store.ask("GET", "/bucket?versions&delimiter=/", &[], b"");
    assert_eq!(names(&grouped), (strings(&["a", "a", "a", "old"]), strings(&["dir/"])));
    for query in ["version-id-marker=null", "key-marker=a&version-id-marker=!", "max-keys=x"] {
        let answer = store.ask("GET", &format!("/bucket?versions&{query}"), &[], b"");
        assert_eq!(answer.outcome(), "400 InvalidArgument", "{query}");
    }
}

fn delete(store: &Store, objects: &str) -> Answer {
    let document = format!("<Delete>{objects}</Delete>");
    let md5 = base64_encode(&Md5::of(document.as_bytes()));
    store.ask("POST", "/bucket?delete", &[("content-md5", &md5)], document.as_bytes())
}

#[test]
fn many_keys_are_deleted_each_with_its_outcome() {
    let store = filled();
    let document = "<Object><Key>a</Key></Object><Object><Key>absent</Key></Object><Object><Key>b/1</Key><ETag>\"no\"</ETag></Object>\
        <Object><Key>d</Key><VersionId>junk</VersionId></Object><Object><Key>x/&#1;</Key></Object>";
    let answer = delete(&store, document);
    assert_eq!(answer.outcome(), "200");
    let root = crate::xml::parse(answer.text.as_bytes()).expect("well-formed");
    let of = |outer: &str, inner: &str| {
        root.children_named(outer).map(|entry| entry.text_of(inner).expect("named").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("Deleted", "Key"), ["a", "absent", "x/\u{1}"]);
    assert_eq!(of("Error", "Code"), ["PreconditionFailed", "NoSuchVersion"]);
    assert_eq!(store.ask("GET", "/bucket", &[], b"").elements("Key"), ["b/1", "b/2", "b/c/3", "d", "e f+g"]);
    let quiet = delete(
        &store,
        "<Quiet>true</Quiet><Object><Key>b/1</Key></Object><Object><Key>d</Key><VersionId>junk</VersionId></Object>",
    );
    assert!(!quiet.text.contains("<Deleted>") && quiet.element("Code") == "NoSuchVersion", "{}", quiet.text);
    let body = b"<Delete><Object><Key>d</Key></Object></Delete>";
    assert_eq!(store.ask("POST", "/bucket?delete", &[], body).outcome(), "400 InvalidRequest");
    assert_eq!(store.ask("POST", "/bucket?delete", &[("content-md5", "AAAA")], body).outcome(), "400 InvalidDigest");
    let wrong = base64_encode(&Md5::of(b""));
    assert_eq!(store.ask("POST", "/bucket?delete", &[("content-md5", &wrong)], body).outcome(), "400 BadDigest");
    assert_eq!(delete(&store, "").outcome(), "400 MalformedXML");
}

#[test]
fn a_thousand_keys_are_listed_and_deleted() {
    let store = Store::with_bucket("bucket");
    let keys: Vec<String> = (0..1000).map(|i| format!("key-{i:04}")).collect();
    keys.iter().for_each(|key| store.put("bucket", key, b"x"));
    assert_eq!(store.ask("GET", "/bucket?list-type=2", &[], b"").elements("Key"), keys);
    let objects: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    assert_eq!(delete(&store, &objects).elements("Key").len(), 1000);
    assert_eq!(store.ask("GET", "/bucket?list-type=2", &[], b"").element("KeyCount"), "0");
    assert_eq!(store.ask("DELETE", "/bucket", &[], b"").outcome(), "204");
}

/// botocore decodes every name of a URL-encoded ListObjects but the prefix.
#[test]
fn the_older_listing_gives_the_prefix_as_it_was_sent() {
    let store = Store::with_bucket("bucket");
    for (query, expected) in [("", "\n"), ("&list-type=2", "%0A")] {
        let answer = store.ask("GET", &format!("/bucket?encoding-type=url&prefix=%0A{query}"), &[], b"");
        assert_eq!(answer.element("Prefix"), expected, "{query}");
    }
}

#[test]
fn a_null_version_is_named_when_it_is_read_and_not_when_it_is_made() {
    let store = Store::with_bucket("bucket");
    let suspend = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    assert_eq!(store.ask("PUT", "/bucket?versioning", &[], suspend).outcome(), "200");
    let name = "x-amz-version-id";
    assert_eq!(store.ask("PUT", "/bucket/key", &[], b"x").header(name), "");
    assert_eq!(store.ask("PUT", "/bucket/copy", &[("x-amz-copy-source", "bucket/key")], b"").header(name), "");
    assert_eq!(store.ask("GET", "/bucket/copy", &[], b"").header(name), "null");
}
