//! Buckets and their configuration.

use super::Store;
use crate::hash::{Md5, base64_encode};

const EVERYBODY: &str = "uri=http://acs.amazonaws.com/groups/global/AllUsers";

#[test]
fn buckets_are_created_listed_and_deleted() {
    let store = Store::new();
    let ask = |method: &str, target: &str| store.ask(method, target, &[], b"");
    assert_eq!(ask("GET", "/").elements("Name"), [""; 0]);
    assert_eq!(ask("PUT", "/alpha").header("location"), "/alpha");
    assert_eq!(ask("PUT", "/alpha").outcome(), "200", "in us-east-1 a bucket is created again");
    for bucket in ["beta", "gamma", "other"] {
        assert_eq!(ask("PUT", &format!("/{bucket}")).outcome(), "200");
    }
    assert_eq!(ask("PUT", "/No").outcome(), "400 InvalidBucketName");
    assert_eq!(ask("GET", "/").elements("Name"), ["alpha", "beta", "gamma", "other"]);
    let first = ask("GET", "/?max-buckets=2");
    assert_eq!(first.elements("Name"), ["alpha", "beta"]);
    assert_eq!(first.elements("BucketRegion"), ["us-east-1"; 2]);
    let token = first.element("ContinuationToken");
    let rest = ask("GET", &format!("/?max-buckets=2&continuation-token={token}"));
    assert_eq!(rest.elements("Name"), ["gamma", "other"]);
    assert_eq!(rest.element("ContinuationToken"), "");
    assert_eq!(ask("GET", "/?prefix=be").elements("Name"), ["beta"]);
    assert_eq!(ask("GET", "/?max-buckets=0").outcome(), "400 InvalidArgument");
    assert_eq!(ask("GET", "/?continuation-token=!").outcome(), "400 InvalidArgument");
    assert_eq!(ask("HEAD", "/alpha").header("x-amz-bucket-region"), "us-east-1");
    assert_eq!(ask("HEAD", "/absent").status, 404);
    assert_eq!(ask("GET", "/alpha?location").element("LocationConstraint"), "");
    store.put("alpha", "k", b"x");
    assert_eq!(ask("DELETE", "/alpha").outcome(), "409 BucketNotEmpty");
    assert_eq!(ask("DELETE", "/beta").outcome(), "204");
    assert_eq!(ask("DELETE", "/beta").outcome(), "404 NoSuchBucket");
}

#[test]
fn a_region_is_kept_and_no_other_is_accepted() {
    let store = Store::in_region("eu-west-1");
    let body = |region: &str| {
        format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        )
    };
    let create = |body: &str| store.ask("PUT", "/home", &[], body.as_bytes()).outcome();
    assert_eq!(create(&body("us-west-2")), "400 InvalidLocationConstraint");
    assert_eq!(create("<Junk"), "400 MalformedXML");
    assert_eq!(create(&body("eu-west-1")), "200");
    assert_eq!(create(""), "409 BucketAlreadyOwnedByYou");
    assert_eq!(store.ask("GET", "/home?location", &[], b"").element("LocationConstraint"), "eu-west-1");
}

#[test]
fn what_a_new_bucket_cannot_have_is_refused() {
    let store = Store::new();
    let cases = [
        (("x-amz-acl", "private"), "200"),
        (("x-amz-acl", "public-read"), "400 InvalidBucketAclWithObjectOwnership"),
        (("x-amz-acl", "public-ready"), "400 InvalidArgument"),
        (("x-amz-grant-read", "id=1"), "400 InvalidArgument"),
        (("x-amz-grant-read", EVERYBODY), "400 InvalidBucketAclWithObjectOwnership"),
        (("x-amz-object-ownership", "BucketOwnerEnforced"), "200"),
        (("x-amz-object-ownership", "Nobody"), "400 InvalidArgument"),
        (("x-amz-bucket-object-lock-enabled", "maybe"), "400 InvalidArgument"),
    ];
    for (header, expected) in cases {
        assert_eq!(store.ask("PUT", "/bucket", &[header], b"").outcome(), expected, "{header:?}");
    }
    assert_eq!(store.ask("PUT", "/locked", &[("x-amz-bucket-object-lock-enabled", "true")], b"").outcome(), "200");
    assert_eq!(store.ask("GET", "/locked?versioning", &[], b"").element("Status"), "Enabled");
    assert_eq!(store.ask("GET", "/locked?object-lock", &[], b"").element("ObjectLockEnabled"), "Enabled");
    let suspend = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    assert_eq!(store.ask("PUT", "/locked?versioning", &[], suspend).outcome(), "409 InvalidBucketState");
}

#[test]
fn versioning_and_tags_are_kept() {
    let store = Store::with_bucket("bucket");
    let ask = |method: &str, target: &str, body: &str| store.ask(method, target, &[], body.as_bytes());
    assert_eq!(ask("GET", "/bucket?versioning", "").element("Status"), "");
    for state in ["Enabled", "Suspended"] {
        let document = format!("<VersioningConfiguration><Status>{state}</Status></VersioningConfiguration>");
        assert_eq!(ask("PUT", "/bucket?versioning", &document).outcome(), "200");
        assert_eq!(ask("GET", "/bucket?versioning", "").element("Status"), state);
    }
    assert_eq!(
        ask("PUT", "/bucket?versioning", "<VersioningConfiguration/>").outcome(),
        "400 IllegalVersioningConfigurationException"
    );
    let tags = "<Tagging><TagSet><Tag><Key>site</Key><Value>7</Value></Tag></TagSet></Tagging>";
    assert_eq!(ask("GET", "/bucket?tagging", "").outcome(), "404 NoSuchTagSet");
    assert_eq!(ask("PUT", "/bucket?tagging", tags).outcome(), "200");
    assert_eq!(ask("GET", "/bucket?tagging", "").element("Value"), "7");
    assert_eq!(ask("DELETE", "/bucket?tagging", "").outcome(), "204");
    assert_eq!(ask("GET", "/bucket?tagging", "").outcome(), "404 NoSuchTagSet");
    let wrong = base64_encode(&Md5::of(b"other"));
    let answer = store.ask("PUT", "/bucket?tagging", &[("content-md5", &wrong)], tags.as_bytes());
    assert_eq!(answer.outcome(), "400 BadDigest");
}

#[test]
fn notifications_are_checked_and_kept() {
    let store = Store::with_bucket("bucket");
    let rule = |hook: &str| {
        format!(
            "<NotificationConfiguration><CloudFunctionConfiguration><CloudFunction>arn:aerie:hook:::{hook}</CloudFunction>\
             <Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration></NotificationConfiguration>"
        )
    };
    let put = |document: &str, headers: &[(&str, &str)]| {
        store.ask("PUT", "/bucket?notification", headers, document.as_bytes())
    };
    let get = || store.ask("GET", "/bucket?notification", &[], b"");
    assert_eq!(get().elements("CloudFunction"), [""; 0]);
    assert_eq!(put(&rule("detect"), &[]).outcome(), "200");
    assert_eq!(get().element("CloudFunction"), "arn:aerie:hook:::detect");
    assert_eq!(get().element("Id").len(), 32);
    assert!(store.engine.bucket("bucket").expect("the bucket").watched);
    let refused = put(&rule("absent"), &[]);
    assert_eq!(refused.outcome(), "400 InvalidArgument");
    assert!(refused.element("Message").contains("aerie hook add absent"), "{}", refused.text);
    assert_eq!(get().element("CloudFunction"), "arn:aerie:hook:::detect", "a refused document changes nothing");
    assert_eq!(put(&rule("absent"), &[("x-amz-skip-destination-validation", "true")]).outcome(), "200");
    assert_eq!(put("<NotificationConfiguration/>", &[]).outcome(), "200");
    assert_eq!(get().elements("CloudFunction"), [""; 0]);
    assert!(!store.engine.bucket("bucket").expect("the bucket").watched);
    assert_eq!(put("<NotificationConfiguration>", &[]).outcome(), "400 MalformedXML");
}

#[test]
fn cross_origin_rules_answer_preflights() {
    let store = Store::with_bucket("bucket");
    let rules =
        b"<CORSConfiguration><CORSRule><AllowedOrigin>http://*.site</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
        <AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
        <MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>";
    let preflight = |headers: &[(&str, &str)]| store.ask("OPTIONS", "/bucket/key", headers, b"");
    let (origin, method) = (("origin", "http://a.site"), ("access-control-request-method", "PUT"));
    assert_eq!(store.ask("GET", "/bucket?cors", &[], b"").outcome(), "404 NoSuchCORSConfiguration");
    assert_eq!(preflight(&[origin, method]).outcome(), "403 AccessForbidden");
    assert_eq!(store.ask("PUT", "/bucket?cors", &[], rules).outcome(), "200");
    assert_eq!(store.ask("GET", "/bucket?cors", &[], b"").element("AllowedOrigin"), "http://*.site");
    let allowed = preflight(&[origin, method, ("access-control-request-headers", "X-Amz-Date, x-amz-acl")]);
    assert_eq!(allowed.outcome(), "200");
    for (name, value) in [
        ("access-control-allow-origin", "http://a.site"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-amz-date, x-amz-acl"),
        ("access-control-expose-headers", "ETag"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
    ] {
        assert_eq!(allowed.header(name), value, "{name}");
    }
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[method], "400 BadRequest"),
        (&[origin], "400 BadRequest"),
        (&[("origin", "http://b.other"), method], "403 AccessForbidden"),
        (&[origin, ("access-control-request-method", "DELETE")], "403 AccessForbidden"),
        (&[origin, method, ("access-control-request-headers", "range")], "403 AccessForbidden"),
    ];
    for (headers, expected) in cases {
        assert_eq!(preflight(headers).outcome(), expected, "{headers:?}");
    }
    let request = http::HeaderMap::from_iter([(http::header::ORIGIN, http::HeaderValue::from_static("http://a.site"))]);
    let shared =
        |bucket: &str, method: &str| super::super::cors::response_headers(&store.engine, bucket, method, &request);
    assert_eq!(shared("bucket", "GET").get("access-control-allow-origin").expect("allowed"), "http://a.site");
    assert!(shared("bucket", "DELETE").is_empty());
    assert!(shared("absent", "GET").is_empty());
    assert_eq!(store.ask("DELETE", "/bucket?cors", &[], b"").outcome(), "204");
    assert!(shared("bucket", "GET").is_empty());
}

#[test]
fn what_was_never_configured_is_answered_as_aws_does() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "key", b"x");
    let cases = [
        ("GET", "/bucket?acl", "200"),
        ("GET", "/bucket/key?acl", "200"),
        ("GET", "/bucket/absent?acl", "404 NoSuchKey"),
        ("GET", "/bucket?policy", "404 NoSuchBucketPolicy"),
        ("GET", "/bucket?policyStatus", "200"),
        ("GET", "/bucket?publicAccessBlock", "404 NoSuchPublicAccessBlockConfiguration"),
        ("GET", "/bucket?encryption", "404 ServerSideEncryptionConfigurationNotFoundError"),
        ("GET", "/bucket?lifecycle", "404 NoSuchLifecycleConfiguration"),
        ("GET", "/bucket?object-lock", "404 ObjectLockConfigurationNotFoundError"),
        ("GET", "/bucket/key?retention", "400 InvalidRequest"),
        ("GET", "/bucket/key?legal-hold", "400 InvalidRequest"),
        ("GET", "/bucket?ownershipControls", "200"),
        ("GET", "/bucket?website", "404 NoSuchWebsiteConfiguration"),
        ("GET", "/bucket?replication", "404 ReplicationConfigurationNotFoundError"),
        ("GET", "/bucket?logging", "200"),
        ("GET", "/bucket?abac", "200"),
        ("GET", "/bucket?requestPayment", "200"),
        ("GET", "/bucket?accelerate", "200"),
        ("GET", "/bucket?analytics", "200"),
        ("GET", "/bucket?metrics&id=1", "404 NoSuchConfiguration"),
        ("GET", "/absent?policy", "404 NoSuchBucket"),
        ("PUT", "/bucket?policy", "400 MalformedPolicy"),
        ("DELETE", "/bucket?policy", "204"),
        ("PUT", "/bucket/key?retention", "400 InvalidRequest"),
        ("PUT", "/bucket/key?legal-hold", "400 InvalidRequest"),
        ("PUT", "/bucket/absent?retention", "404 NoSuchKey"),
    ];
    for (method, target, expected) in cases {
        assert_eq!(store.ask(method, target, &[], b"").outcome(), expected, "{method} {target}");
    }
    let refused = store.ask("PUT", "/bucket?website", &[], b"{}");
    assert!(refused.element("Message").contains("PutBucketWebsite"), "{}", refused.text);
}

#[test]
fn only_the_lists_that_hold_are_accepted() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "key", b"x");
    let own = store.ask("GET", "/bucket?acl", &[], b"").text;
    assert!(own.contains("<Permission>FULL_CONTROL</Permission>"), "{own}");
    let public = own.replace("FULL_CONTROL", "READ");
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 8] = [
        (&[("x-amz-acl", "private")], "", "200"),
        (&[("x-amz-acl", "bucket-owner-full-control")], "", "200"),
        (&[("x-amz-acl", "public-read")], "", "400 AccessControlListNotSupported"),
        (&[("x-amz-acl", "public-ready")], "", "400 InvalidArgument"),
        (&[("x-amz-grant-read", EVERYBODY)], "", "400 AccessControlListNotSupported"),
        (&[], "", "400 MissingSecurityHeader"),
        (&[], &own, "200"),
        (&[], &public, "400 AccessControlListNotSupported"),
    ];
    for target in ["/bucket?acl", "/bucket/key?acl"] {
        for (headers, body, expected) in cases {
            let answer = store.ask("PUT", target, headers, body.as_bytes());
            assert_eq!(answer.outcome(), expected, "{target} {headers:?} {body}");
        }
        assert_eq!(store.ask("GET", target, &[], b"").text, own);
    }
    assert_eq!(store.ask("PUT", "/bucket/absent?acl", &[("x-amz-acl", "private")], b"").outcome(), "404 NoSuchKey");
}

#[test]
fn ownership_controls_and_public_access_blocks_are_kept() {
    let store = Store::with_bucket("bucket");
    let ask =
        |method: &str, what: &str, body: &str| store.ask(method, &format!("/bucket?{what}"), &[], body.as_bytes());
    let rule = |value: &str| {
        format!("<OwnershipControls><Rule><ObjectOwnership>{value}</ObjectOwnership></Rule></OwnershipControls>")
    };
    let controls = "ownershipControls";
    assert_eq!(ask("DELETE", controls, "").outcome(), "204");
    assert_eq!(ask("GET", controls, "").outcome(), "404 OwnershipControlsNotFoundError");
    assert_eq!(ask("PUT", controls, &rule("ObjectWriter")).outcome(), "200");
    assert_eq!(ask("GET", controls, "").element("ObjectOwnership"), "ObjectWriter");
    assert_eq!(ask("PUT", controls, &rule("BucketOwnerEnforced")).outcome(), "200");
    assert_eq!(ask("GET", controls, "").element("ObjectOwnership"), "BucketOwnerEnforced");
    let block = "publicAccessBlock";
    let document = "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls>\
                    </PublicAccessBlockConfiguration>";
    assert_eq!(ask("PUT", block, "<Junk/>").outcome(), "400 MalformedXML");
    assert_eq!(ask("GET", block, "").outcome(), "404 NoSuchPublicAccessBlockConfiguration");
    assert_eq!(ask("PUT", block, document).outcome(), "200");
    let kept = ask("GET", block, "");
    assert_eq!((kept.element("IgnorePublicAcls"), kept.element("BlockPublicAcls")), ("true".into(), "false".into()));
    assert_eq!(ask("DELETE", block, "").outcome(), "204");
    assert_eq!(ask("GET", block, "").outcome(), "404 NoSuchPublicAccessBlockConfiguration");
}

#[test]
fn a_client_that_expects_another_owner_gets_nothing() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "key", b"x");
    let copy = ("x-amz-copy-source", "bucket/key");
    for (expected, outcome) in
        [(crate::access::STORE_ACCOUNT, "200"), ("111122223333", "403 AccessDenied"), ("", "403 AccessDenied")]
    {
        let header = ("x-amz-expected-bucket-owner", expected);
        assert_eq!(store.ask("GET", "/bucket/key", &[header], b"").outcome(), outcome, "{expected}");
        assert_eq!(store.ask("GET", "/bucket", &[header], b"").outcome(), outcome, "{expected}");
        let source = ("x-amz-source-expected-bucket-owner", expected);
        assert_eq!(store.ask("PUT", "/bucket/copy", &[copy, source], b"").outcome(), outcome, "{expected}");
    }
}
