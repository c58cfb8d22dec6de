//! Sizes and names at their limits and one beyond, keys that need care, and operations that have no other test.

use super::{Answer, Store};
use crate::hash::{Md5, base64_encode};
use crate::limits;

const CLOSE: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
const FAR: &str = "Wed, 01 Jan 2099 00:00:00 GMT";

fn put(store: &Store, target: &str, headers: &[(&str, &str)]) -> String {
    store.ask("PUT", target, headers, b"x").outcome()
}

#[test]
fn what_fits_is_taken_and_one_more_is_refused() {
    let store = Store::with_bucket("bucket");
    let key = "k".repeat(limits::KEY_BYTES_MAX);
    assert_eq!(put(&store, &format!("/bucket/{key}"), &[]), "200");
    assert_eq!(put(&store, &format!("/bucket/{key}k"), &[]), "400 KeyTooLongError");
    // Two bytes each: the limit is in bytes.
    let wide = "%C3%A9".repeat(limits::KEY_BYTES_MAX / 2);
    assert_eq!(put(&store, &format!("/bucket/{wide}"), &[]), "200");
    assert_eq!(put(&store, &format!("/bucket/{wide}k"), &[]), "400 KeyTooLongError");
    let value = "v".repeat(limits::USER_METADATA_BYTES_MAX - "name".len());
    assert_eq!(put(&store, "/bucket/m", &[("x-amz-meta-name", &value)]), "200");
    let more = format!("{value}v");
    assert_eq!(put(&store, "/bucket/m", &[("x-amz-meta-name", &more)]), "400 MetadataTooLarge");
    let tags = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
    assert_eq!(put(&store, "/bucket/t", &[("x-amz-tagging", &tags(limits::OBJECT_TAGS_MAX))]), "200");
    assert_eq!(put(&store, "/bucket/t", &[("x-amz-tagging", &tags(limits::OBJECT_TAGS_MAX + 1))]), "400 InvalidTag");
    let id = store.ask("POST", "/bucket/parts?uploads", &[], b"").element("UploadId");
    for (number, expected) in [
        (1, "200"),
        (limits::PART_NUMBER_MAX, "200"),
        (limits::PART_NUMBER_MAX + 1, "400 InvalidArgument"),
        (0, "400 InvalidArgument"),
    ] {
        assert_eq!(put(&store, &format!("/bucket/parts?partNumber={number}&uploadId={id}"), &[]), expected, "{number}");
    }
    assert_eq!(store.ask("DELETE", &format!("/bucket/parts?uploadId={id}"), &[], b"").outcome(), "204");
    let gone = store.ask("DELETE", &format!("/bucket/parts?uploadId={id}"), &[], b"").outcome();
    assert_eq!(gone, "404 NoSuchUpload");
    assert_eq!(put(&store, &format!("/bucket/parts?partNumber=1&uploadId={id}"), &[]), "404 NoSuchUpload");
}

fn delete(store: &Store, count: usize, quiet: bool) -> Answer {
    let objects: String = (0..count).map(|number| format!("<Object><Key>{number}</Key></Object>")).collect();
    let document = format!("<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>");
    let md5 = base64_encode(&Md5::of(document.as_bytes()));
    store.ask("POST", "/bucket?delete", &[("content-md5", &md5)], document.as_bytes())
}

#[test]
fn a_thousand_keys_are_deleted_quietly_and_one_more_is_refused() {
    let store = Store::with_bucket("bucket");
    ["0", "500", "999"].iter().for_each(|key| store.put("bucket", key, b"x"));
    let one_more = delete(&store, limits::DELETE_KEYS_MAX + 1, true);
    assert_eq!(one_more.outcome(), "400 MalformedXML");
    assert!(store.get("bucket", "0").is_some(), "a request that is refused deletes nothing");
    let done = delete(&store, limits::DELETE_KEYS_MAX, true);
    assert_eq!(done.outcome(), "200");
    assert!(!done.text.contains("<Deleted>") && !done.text.contains("<Error>"), "{}", done.text);
    assert_eq!(store.ask("GET", "/bucket?list-type=2", &[], b"").element("KeyCount"), "0");
}

/// Every key comes back from a listing as it was, whichever way the client asks, and every page continues after it.
#[test]
fn keys_that_need_care_are_listed_as_they_are() {
    let store = Store::with_bucket("bucket");
    let mut keys: Vec<String> = [
        "\u{1}\u{1f}",
        "\n",
        "\r\n",
        "\t ",
        "..",
        "./a",
        "a//b",
        "/",
        "a b+c%20",
        "<&>\"'",
        "\u{7f}",
        "\u{e9}\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    for key in &keys {
        store.put("bucket", key, b"x");
        let escaped = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(store.ask("HEAD", &format!("/bucket/{escaped}"), &[], b"").outcome(), "200", "{key:?}");
    }
    keys.sort();
    let decoded = |name: String| percent_encoding::percent_decode_str(&name).decode_utf8().expect("text").into_owned();
    for (query, encoded) in [("", false), ("&encoding-type=url", true)] {
        for (kind, next, marker) in [
            ("list-type=2", "NextContinuationToken", "continuation-token"),
            ("versions", "NextKeyMarker", "key-marker"),
        ] {
            let (mut paged, mut after) = (Vec::new(), String::new());
            loop {
                let page = store.ask("GET", &format!("/bucket?{kind}&max-keys=1{query}{after}"), &[], b"");
                let names = page.elements("Key").into_iter();
                paged.extend(names.map(|name| if encoded { decoded(name) } else { name }));
                if page.element("IsTruncated") != "true" {
                    break;
                }
                let next = page.element(next);
                let next = if encoded && kind == "versions" { decoded(next) } else { next };
                let next = percent_encoding::utf8_percent_encode(&next, percent_encoding::NON_ALPHANUMERIC).to_string();
                after = format!("&{marker}={next}");
            }
            assert_eq!(paged, keys, "{kind}{query}");
        }
    }
}

#[test]
fn a_copy_looks_at_its_source_first() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "source", b"x");
    let etag = store.ask("HEAD", "/bucket/source", &[], b"").header("etag").to_owned();
    let id = store.ask("POST", "/bucket/parts?uploads", &[], b"").element("UploadId");
    let part = format!("/bucket/parts?partNumber=1&uploadId={id}");
    let name = |condition: &str| format!("x-amz-copy-source-if-{condition}");
    for (conditions, expected) in [
        (vec![(name("match"), etag.as_str())], "200"),
        (vec![(name("match"), "\"no\"")], "412 PreconditionFailed"),
        (vec![(name("none-match"), "\"no\"")], "200"),
        (vec![(name("none-match"), etag.as_str())], "412 PreconditionFailed"),
        (vec![(name("modified-since"), CLOSE)], "200"),
        (vec![(name("modified-since"), FAR)], "412 PreconditionFailed"),
        (vec![(name("unmodified-since"), FAR)], "200"),
        (vec![(name("unmodified-since"), CLOSE)], "412 PreconditionFailed"),
        // The pairs that S3 documents: the tag decides.
        (vec![(name("match"), etag.as_str()), (name("unmodified-since"), CLOSE)], "200"),
        (vec![(name("none-match"), etag.as_str()), (name("modified-since"), CLOSE)], "412 PreconditionFailed"),
    ] {
        let mut headers = vec![("x-amz-copy-source", "bucket/source")];
        headers.extend(conditions.iter().map(|(name, value)| (name.as_str(), *value)));
        assert_eq!(store.ask("PUT", "/bucket/copy", &headers, b"").outcome(), expected, "{conditions:?}");
        assert_eq!(store.ask("PUT", &part, &headers, b"").outcome(), expected, "a part, {conditions:?}");
    }
}

#[test]
fn the_parts_of_an_object_are_told_in_pages() {
    let store = Store::with_bucket("bucket");
    let id =
        store.ask("POST", "/bucket/key?uploads", &[("x-amz-checksum-algorithm", "SHA256")], b"").element("UploadId");
    let sizes = [limits::PART_BYTES_MIN as usize, limits::PART_BYTES_MIN as usize + 1, 7];
    let mut parts = String::new();
    for (number, size) in [2, 5, 9].into_iter().zip(sizes) {
        let sum = [("x-amz-sdk-checksum-algorithm", "SHA256")];
        let part =
            store.ask("PUT", &format!("/bucket/key?partNumber={number}&uploadId={id}"), &sum, &vec![number; size]);
        let (etag, sha) = (part.header("etag"), part.header("x-amz-checksum-sha256"));
        parts.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{sha}</ChecksumSHA256></Part>"
        ));
    }
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let done = store.ask("POST", &format!("/bucket/key?uploadId={id}"), &[], document.as_bytes());
    assert_eq!(done.outcome(), "200", "{}", done.text);
    let page = |max: &str, marker: &str| {
        let headers = [
            ("x-amz-object-attributes", "ObjectParts,ObjectSize"),
            ("x-amz-max-parts", max),
            ("x-amz-part-number-marker", marker),
        ];
        store.ask("GET", "/bucket/key?attributes", &headers, b"")
    };
    let (mut numbers, mut marker) = (Vec::new(), "0".to_owned());
    loop {
        let answer = page("1", &marker);
        assert_eq!((answer.element("PartsCount"), answer.element("MaxParts")), ("3".to_owned(), "1".to_owned()));
        assert_eq!(answer.element("PartNumberMarker"), marker);
        numbers.extend(answer.elements("PartNumber"));
        if answer.element("IsTruncated") == "false" {
            break;
        }
        marker = answer.element("NextPartNumberMarker");
    }
    assert_eq!(numbers, ["2", "5", "9"]);
    assert_eq!(page("1000", "0").elements("Size"), sizes.map(|size| size.to_string()));
    assert_eq!(page("x", "0").outcome(), "400 InvalidArgument");
}

/// Operations whose other tests spell their requests in parts; the table of operations finds them here.
#[test]
fn plain_requests_are_answered() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "source", b"x");
    let ask = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        store.ask(method, target, headers, body.as_bytes()).outcome()
    };
    let owner =
        "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    assert_eq!(ask("PUT", "/bucket?ownershipControls", &[], owner), "200");
    assert_eq!(ask("DELETE", "/bucket?ownershipControls", &[], ""), "204");
    let block =
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
    assert_eq!(ask("PUT", "/bucket?publicAccessBlock", &[], block), "200");
    assert_eq!(ask("DELETE", "/bucket?publicAccessBlock", &[], ""), "204");
    assert_eq!(ask("PUT", "/bucket?acl", &[("x-amz-acl", "private")], ""), "200");
    let id = store.ask("POST", "/bucket/key?uploads", &[], b"").element("UploadId");
    let copied = store.ask(
        "PUT",
        &format!("/bucket/key?partNumber=1&uploadId={id}"),
        &[("x-amz-copy-source", "bucket/source")],
        b"",
    );
    assert_eq!(copied.outcome(), "200");
    assert_eq!(ask("DELETE", &format!("/bucket/key?uploadId={id}"), &[], ""), "204");
}

#[test]
fn who_writes_down_a_default_is_told_that_it_holds() {
    let store = Store::with_bucket("bucket");
    for (target, root, default, other) in [
        (
            "/bucket?requestPayment",
            "RequestPaymentConfiguration",
            "<Payer>BucketOwner</Payer>",
            "<Payer>Requester</Payer>",
        ),
        (
            "/bucket?logging",
            "BucketLoggingStatus",
            "",
            "<LoggingEnabled><TargetBucket>bucket</TargetBucket><TargetPrefix/></LoggingEnabled>",
        ),
    ] {
        let put = |inner: &str| store.ask("PUT", target, &[], format!("<{root}>{inner}</{root}>").as_bytes()).outcome();
        assert_eq!(put(default), "200", "{target}");
        assert_eq!(put(other), "501 NotImplemented", "{target}");
        assert_eq!(store.ask("PUT", target, &[], b"<Other/>").outcome(), "400 MalformedXML", "{target}");
    }
    assert_eq!(
        store.ask("PUT", "/bucket?requestPayment", &[], b"<RequestPaymentConfiguration/>").outcome(),
        "400 MalformedXML"
    );
}

#[test]
fn what_nobody_can_set_here_is_answered_or_refused_by_name() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "key", b"x");
    for (method, target, expected) in [
        ("GET", "/bucket?analytics&id=1", "404 NoSuchConfiguration"),
        ("GET", "/bucket?intelligent-tiering&id=1", "404 NoSuchConfiguration"),
        ("GET", "/bucket?inventory&id=1", "404 NoSuchConfiguration"),
        ("GET", "/bucket?intelligent-tiering", "200"),
        ("GET", "/bucket?inventory", "200"),
        ("GET", "/bucket?metrics", "200"),
        ("DELETE", "/bucket?encryption", "204"),
        ("DELETE", "/bucket?lifecycle", "204"),
        ("DELETE", "/bucket?replication", "204"),
        ("DELETE", "/bucket?website", "204"),
    ] {
        assert_eq!(store.ask(method, target, &[], b"").outcome(), expected, "{method} {target}");
    }
    for (method, target, name) in [
        ("POST", "/bucket?metadataConfiguration", "CreateBucketMetadataConfiguration"),
        ("GET", "/bucket?session", "CreateSession"),
        ("DELETE", "/bucket?analytics&id=1", "DeleteBucketAnalyticsConfiguration"),
        ("DELETE", "/bucket?intelligent-tiering&id=1", "DeleteBucketIntelligentTieringConfiguration"),
        ("DELETE", "/bucket?inventory&id=1", "DeleteBucketInventoryConfiguration"),
        ("DELETE", "/bucket?metadataConfiguration", "DeleteBucketMetadataConfiguration"),
        ("DELETE", "/bucket?metrics&id=1", "DeleteBucketMetricsConfiguration"),
        ("DELETE", "/bucket/key?annotation&annotationName=a", "DeleteObjectAnnotation"),
        ("GET", "/bucket?metadataConfiguration", "GetBucketMetadataConfiguration"),
        ("GET", "/bucket/key?annotation&annotationName=a", "GetObjectAnnotation"),
        ("GET", "/bucket/key?annotation", "ListObjectAnnotations"),
        ("PUT", "/bucket?abac", "PutBucketAbac"),
        ("PUT", "/bucket?accelerate", "PutBucketAccelerateConfiguration"),
        ("PUT", "/bucket?analytics&id=1", "PutBucketAnalyticsConfiguration"),
        ("PUT", "/bucket?intelligent-tiering&id=1", "PutBucketIntelligentTieringConfiguration"),
        ("PUT", "/bucket?inventory&id=1", "PutBucketInventoryConfiguration"),
        ("PUT", "/bucket?metrics&id=1", "PutBucketMetricsConfiguration"),
        ("PUT", "/bucket?replication", "PutBucketReplication"),
        ("PUT", "/bucket?website", "PutBucketWebsite"),
        ("PUT", "/bucket/key?annotation&annotationName=a", "PutObjectAnnotation"),
        ("PUT", "/bucket/key?renameObject", "RenameObject"),
        ("POST", "/bucket/key?select&select-type=2", "SelectObjectContent"),
        ("PUT", "/bucket?metadataAnnotationTable", "UpdateBucketMetadataAnnotationTableConfiguration"),
        ("PUT", "/bucket?metadataInventoryTable", "UpdateBucketMetadataInventoryTableConfiguration"),
        ("PUT", "/bucket?metadataJournalTable", "UpdateBucketMetadataJournalTableConfiguration"),
        ("PUT", "/bucket/key?encryption", "UpdateObjectEncryption"),
        ("POST", "/bucket/WriteGetObjectResponse", "WriteGetObjectResponse"),
    ] {
        let answer = store.ask(method, target, &[], b"x");
        assert_eq!(answer.outcome(), "501 NotImplemented", "{method} {target}");
        assert_eq!(answer.element("Operation"), name, "{method} {target}");
        assert_eq!(store.get("bucket", "key").expect("it stays").1, b"x", "{method} {target}");
    }
}
