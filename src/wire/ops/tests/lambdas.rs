//! GetObject and HeadObject through an object lambda.

use std::future::ready;

use super::Store;
use crate::wire::transforms::{TransformFault, TransformFuture, TransformRequest, TransformedObject};

/// Stands for the hooks: `upper` gives the key in capitals, the others fail.
pub fn transform(request: TransformRequest) -> TransformFuture {
    let made = match request.hook.as_str() {
        "upper" => Ok(TransformedObject {
            content_type: Some("text/plain".to_owned()),
            bytes: request.key.to_uppercase().into_bytes().into(),
        }),
        "rude" => Ok(TransformedObject { content_type: Some("a\nb".to_owned()), bytes: "x".into() }),
        "busy" => Err(TransformFault::Busy),
        "refused" => Err(TransformFault::Refused("it is no picture".to_owned())),
        "failed" => Err(TransformFault::Failed("too slow".to_owned())),
        other => Err(TransformFault::NoTransform(format!("no {other}"))),
    };
    Box::pin(ready(made))
}

#[test]
fn a_transform_is_answered_whole_in_ranges_and_as_a_head() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "letters", b"other bytes");
    let target = "/bucket/letters?lambdaArn=arn:minio:s3-object-lambda::upper:webhook";
    let get = |headers: &[(&str, &str)]| store.ask("GET", target, headers, b"");
    let whole = get(&[]);
    assert_eq!((whole.status, whole.text.as_str(), whole.header("content-type")), (200, "LETTERS", "text/plain"));
    assert!(!whole.header("last-modified").is_empty() && whole.header("etag").len() == 34);
    for (range, status, text, content_range) in [
        ("bytes=1-2", 206, "ET", "bytes 1-2/7"),
        ("bytes=-3", 206, "ERS", "bytes 4-6/7"),
        ("bytes=5-99", 206, "RS", "bytes 5-6/7"),
        ("items=1", 200, "LETTERS", ""),
    ] {
        let answer = get(&[("range", range)]);
        assert_eq!(
            (answer.status, answer.text.as_str(), answer.header("content-range")),
            (status, text, content_range)
        );
    }
    assert_eq!(get(&[("range", "bytes=7-")]).outcome(), "416 InvalidRange");
    let head = store.ask("HEAD", target, &[], b"");
    assert_eq!((head.status, head.text.as_str(), head.header("content-length")), (200, "", "7"));
    assert_eq!(head.header("etag"), whole.header("etag"));
}

/// Conditions were passed over: a client that had the result got it again, and one that wanted another got this one.
#[test]
fn entity_tags_in_conditions_are_those_of_the_result() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "letters", b"other bytes");
    let stored = store.ask("HEAD", "/bucket/letters", &[], b"");
    let target = "/bucket/letters?lambdaArn=arn:aerie:hook:::upper";
    let etag = store.ask("GET", target, &[], b"").header("etag").to_owned();
    for method in ["GET", "HEAD"] {
        for (header, value, status) in [
            ("if-none-match", etag.as_str(), 304),
            ("if-none-match", stored.header("etag"), 200),
            ("if-match", etag.as_str(), 200),
            ("if-match", stored.header("etag"), 412),
            // The object is older than that, but its transform may be new.
            ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ] {
            let answer = store.ask(method, target, &[(header, value)], b"");
            assert_eq!(answer.status, status, "{method} {header}: {value}");
            assert!(status == 412 || answer.header("etag") == etag, "{method} {header}: {value}");
        }
    }
}

#[test]
fn a_transform_that_cannot_be_says_why() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "k", b"bytes");
    let ask = |key: &str, arn: &str| store.ask("GET", &format!("/bucket/{key}?lambdaArn={arn}"), &[], b"").outcome();
    for (arn, outcome) in [
        ("arn:aerie:hook:::none", "400 InvalidArgument"),
        ("arn:aerie:mqtt:::topic", "400 InvalidArgument"),
        ("none", "400 InvalidArgument"),
        ("arn:aerie:hook:::busy", "503 SlowDown"),
        ("arn:aerie:hook:::refused", "400 InvalidRequest"),
        ("arn:aerie:hook:::rude", "400 InvalidRequest"),
        ("arn:aerie:hook:::failed", "500 InternalError"),
    ] {
        assert_eq!(ask("k", arn), outcome, "{arn}");
    }
    assert_eq!(ask("absent", "arn:aerie:hook:::upper"), "404 NoSuchKey");
}
