//! Browser forms, signed as both kinds of tools sign them.

use ring::hmac;

use super::{ACCESS_KEY, Answer, SECRET, Store};
use crate::hash::{base64_encode, hex_encode};

const CREDENTIAL: &str = "AKIAEXAMPLE/20260101/us-east-1/s3/aws4_request";

fn policy(conditions: &str) -> String {
    base64_encode(format!("{{\"expiration\": \"2199-01-01T00:00:00Z\", \"conditions\": [{conditions}]}}").as_bytes())
}

fn signature(policy: &str) -> String {
    let step = |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
    let date = step(format!("AWS4{SECRET}").as_bytes(), "20260101");
    let key = ["us-east-1", "s3", "aws4_request"].iter().fold(date, |key, data| step(key.as_ref(), data));
    hex_encode(step(key.as_ref(), policy).as_ref())
}

fn signature_version_2(policy: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    base64_encode(hmac::sign(&key, policy.as_bytes()).as_ref())
}

fn post(store: &Store, fields: &[(&str, &str)], file: &str) -> Answer {
    let mut body = String::new();
    for (name, value) in fields {
        body += &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += &format!(
        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"photo.jpg\"\r\n\r\n{file}\r\n--B--\r\n"
    );
    store.ask("POST", "/bucket", &[("content-type", "multipart/form-data; boundary=B")], body.as_bytes())
}

/// A form that the policy allows, with more fields at its end.
fn post_signed(store: &Store, conditions: &str, more: &[(&str, &str)], file: &str) -> Answer {
    let policy = policy(&format!(
        "{{\"bucket\": \"bucket\"}}, [\"starts-with\", \"$key\", \"up/\"], {{\"x-amz-algorithm\": \"AWS4-HMAC-SHA256\"}}, \
         {{\"x-amz-credential\": \"{CREDENTIAL}\"}}, {{\"x-amz-date\": \"20260101T000000Z\"}}{conditions}"
    ));
    let signature = signature(&policy);
    let mut fields = vec![
        ("key", "up/${filename}"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", CREDENTIAL),
        ("X-Amz-Date", "20260101T000000Z"),
        ("policy", &policy),
        ("x-amz-signature", &signature),
    ];
    fields.extend_from_slice(more);
    post(store, &fields, file)
}

#[test]
fn a_form_becomes_an_object() {
    let store = Store::with_bucket("bucket");
    let answer = post_signed(
        &store,
        ", [\"eq\", \"$Content-Type\", \"image/jpeg\"]",
        &[("Content-Type", "image/jpeg")],
        "a picture",
    );
    assert_eq!(answer.outcome(), "204", "{}", answer.text);
    let (version, bytes) = store.get("bucket", "up/photo.jpg").expect("stored");
    assert_eq!(bytes, b"a picture");
    assert_eq!(version.attributes.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(answer.header("etag"), format!("\"{}\"", version.etag));
    assert_eq!(answer.header("location"), "http://localhost:9000/bucket/up/photo.jpg");
    // The file's name counts where the policy speaks of the key.
    let condition = ", [\"starts-with\", \"$key\", \"up/photo\"]";
    assert_eq!(post_signed(&store, condition, &[], "x").outcome(), "204");
    let condition = ", [\"starts-with\", \"$key\", \"up/other\"]";
    assert_eq!(post_signed(&store, condition, &[], "x").outcome(), "403 AccessDenied");
}

#[test]
fn success_is_answered_as_the_form_asks() {
    let store = Store::with_bucket("bucket");
    let status = |value: &str| {
        let condition = format!(", {{\"success_action_status\": \"{value}\"}}");
        post_signed(&store, &condition, &[("success_action_status", value)], "x")
    };
    assert_eq!(status("200").outcome(), "200");
    assert_eq!(status("404").outcome(), "204");
    let created = status("201");
    assert_eq!((created.outcome().as_str(), created.element("Key").as_str()), ("201", "up/photo.jpg"));
    let redirect = |target: &str| {
        let condition = ", [\"starts-with\", \"$success_action_redirect\", \"\"]";
        post_signed(&store, condition, &[("success_action_redirect", target)], "x")
    };
    let sent_on = redirect("http://site/done?a=1");
    assert_eq!(sent_on.status, 303);
    let expected = "http://site/done?a=1&bucket=bucket&key=up%2Fphoto.jpg&etag=%229dd4e461268c8034f5c8564e155c67a6%22";
    assert_eq!(sent_on.header("location"), expected);
    assert_eq!(redirect("javascript:alert(1)").outcome(), "204");
}

#[test]
fn what_the_policy_does_not_allow_is_refused() {
    let store = Store::with_bucket("bucket");
    let range = ", [\"content-length-range\", 3, 10]";
    assert_eq!(post_signed(&store, range, &[], "12").outcome(), "400 EntityTooSmall");
    assert_eq!(post_signed(&store, range, &[], "12345678901").outcome(), "400 EntityTooLarge");
    assert_eq!(post_signed(&store, ", [\"content-length-range\", 0]", &[], "1").outcome(), "400 InvalidPolicyDocument");
    assert_eq!(post_signed(&store, "", &[("x-amz-meta-a", "1")], "1").outcome(), "403 AccessDenied");
    assert_eq!(post_signed(&store, ", {\"acl\": \"private\"}", &[], "1").outcome(), "403 AccessDenied");
    let loose = policy("{\"bucket\": \"bucket\"}, [\"starts-with\", \"$key\", \"\"]");
    let version_2 = signature_version_2(&loose);
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("key", "k")], "403 AccessDenied"),
        (&[("policy", &loose)], "400 InvalidArgument"),
        (&[("key", "k"), ("policy", &loose)], "400 InvalidArgument"),
        (&[("key", "k"), ("policy", &loose), ("AWSAccessKeyId", ACCESS_KEY)], "400 InvalidArgument"),
        (
            &[("key", "k"), ("policy", &loose), ("AWSAccessKeyId", ACCESS_KEY), ("signature", "AAAA")],
            "403 SignatureDoesNotMatch",
        ),
        (
            &[("key", "k"), ("policy", &loose), ("AWSAccessKeyId", "nobody"), ("signature", &version_2)],
            "403 InvalidAccessKeyId",
        ),
        (
            &[
                ("key", "k"),
                ("policy", &loose),
                ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
                ("x-amz-credential", CREDENTIAL),
                ("x-amz-signature", "00"),
            ],
            "403 SignatureDoesNotMatch",
        ),
        (
            &[("key", "k"), ("policy", &loose), ("x-amz-algorithm", "MD5"), ("x-amz-signature", "00")],
            "400 InvalidArgument",
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(post(&store, fields, "x").outcome(), expected, "{fields:?}");
    }
    assert_eq!(store.ask("GET", "/bucket", &[], b"").elements("Key"), [""; 0], "nothing was stored");
    let good = [("key", "k"), ("policy", loose.as_str()), ("AWSAccessKeyId", ACCESS_KEY), ("signature", &version_2)];
    assert_eq!(post(&store, &good, "x").outcome(), "204", "older tools' signatures are taken for forms");
}
