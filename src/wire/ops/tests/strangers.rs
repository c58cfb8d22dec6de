//! Requests of the store's own owner, mutated: whatever is asked of an operation, it answers, and with an answer of S3's.

use http::{HeaderName, HeaderValue};

use super::Store;
use crate::wire::operation::Operation;
use crate::wire::tests::fuzz::{Random, fuzz};

type Seed = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const SEEDS: [Seed; 24] = [
    ("PUT", "/bucket/key", &[("x-amz-meta-a", "1"), ("x-amz-tagging", "a=1"), ("content-type", "a/b")], "body"),
    ("PUT", "/bucket/key", &[("x-amz-checksum-crc32", "AAAAAA=="), ("if-none-match", "*")], "body"),
    ("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/key?versionId=null")], ""),
    ("PUT", "/bucket/copy", &[("x-amz-copy-source", "bucket/k%20"), ("x-amz-metadata-directive", "REPLACE")], ""),
    ("GET", "/bucket/key?versionId=0000000000000001", &[("range", "bytes=0-1,3-")], ""),
    (
        "GET",
        "/bucket/key?partNumber=1&response-expires=x",
        &[("if-modified-since", "Wed, 01 Jan 2020 00:00:00 GMT")],
        "",
    ),
    ("HEAD", "/bucket/key", &[("x-amz-checksum-mode", "ENABLED"), ("if-match", "\"a\", W/\"b\"")], ""),
    ("DELETE", "/bucket/key?versionId=null", &[("x-amz-if-match-size", "4")], ""),
    ("GET", "/bucket/key?attributes", &[("x-amz-object-attributes", "ETag,ObjectParts"), ("x-amz-max-parts", "1")], ""),
    ("PUT", "/bucket/key?tagging", &[], "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"),
    (
        "POST",
        "/bucket/key?uploads",
        &[("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "COMPOSITE")],
        "",
    ),
    (
        "PUT",
        "/bucket/key?partNumber=1&uploadId=x",
        &[("x-amz-copy-source", "bucket/key"), ("x-amz-copy-source-range", "bytes=0-1")],
        "",
    ),
    (
        "POST",
        "/bucket/key?uploadId=x",
        &[("x-amz-mp-object-size", "1")],
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    ),
    ("GET", "/bucket/key?uploadId=x&max-parts=1&part-number-marker=0", &[], ""),
    ("GET", "/bucket?list-type=2&prefix=a&delimiter=/&max-keys=2&continuation-token=MQ==&fetch-owner=true", &[], ""),
    ("GET", "/bucket?prefix=%00&marker=k&encoding-type=url&delimiter=e", &[], ""),
    ("GET", "/bucket?versions&key-marker=k&version-id-marker=null", &[], ""),
    ("GET", "/bucket?uploads&upload-id-marker=x&key-marker=a", &[], ""),
    ("POST", "/bucket?delete", &[("content-md5", "AAAA")], "<Delete><Object><Key>key</Key></Object></Delete>"),
    ("PUT", "/bucket?versioning", &[], "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
    (
        "PUT",
        "/bucket?cors",
        &[],
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
    ),
    (
        "PUT",
        "/bucket?notification",
        &[],
        "<NotificationConfiguration><TopicConfiguration><Topic>arn:aerie:mqtt:::t</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration></NotificationConfiguration>",
    ),
    (
        "POST",
        "/bucket",
        &[("content-type", "multipart/form-data; boundary=b")],
        "--b\r\ncontent-disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n",
    ),
    ("OPTIONS", "/bucket/key", &[("origin", "http://a"), ("access-control-request-method", "GET")], ""),
];
const WORDS: [&str; 30] = [
    "&",
    "=",
    "?",
    "/",
    "%00",
    "%2F",
    "%0A",
    "%ff",
    "versionId=",
    "uploads",
    "tagging",
    "acl",
    "max-keys=-1",
    "99999999999999999999",
    "-",
    "0",
    ",",
    "\"",
    "*",
    ";",
    "bytes=",
    "<Key>",
    "</Object>",
    "&amp;",
    "\r\n",
    "--b",
    "null",
    "AAAA",
    "=?UTF-8?B?YQ==?=",
    "\u{e9}",
];

fn mutated(random: &mut Random, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    random.mutate(&mut bytes, &WORDS);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request made of one or two seeds.
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn request(random: &mut Random) -> Request {
    let (method, target, headers, body) = SEEDS[random.below(SEEDS.len())];
    let of_other = SEEDS[random.below(SEEDS.len())];
    let headers = if random.one_in(6) { of_other.2 } else { headers };
    let mut request = Request {
        method: if random.one_in(8) { of_other.0 } else { method }.to_owned(),
        target: target.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: if random.one_in(8) { of_other.3 } else { body }.to_owned(),
    };
    for _ in 0..random.below(3) {
        match random.below(3) {
            0 => {
                let path = mutated(random, &request.target);
                request.target = if path.starts_with('/') { path } else { format!("/{path}") };
            }
            1 if !request.headers.is_empty() => {
                let at = random.below(request.headers.len());
                request.headers[at].1 = mutated(random, &request.headers[at].1);
            }
            _ => request.body = mutated(random, &request.body),
        }
    }
    // What HTTP itself would not carry is another test's matter.
    request.headers.retain(|(name, value)| HeaderName::try_from(name).is_ok() && HeaderValue::from_str(value).is_ok());
    request
}

#[test]
fn every_request_is_answered_as_s3_would() {
    let store = Store::with_bucket("bucket");
    store.put("bucket", "key", b"body");
    let (mut rounds, mut good) = (0, 0);
    fuzz("operations", |random, input| {
        let request = request(random);
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let Request { method, target, body, .. } = &request;
        *input = format!("{method} {target}\n{headers:?}\n{body}").into_bytes();
        // A listener's answer has no end, and needs the core's timer.
        if Operation::of(method, target, false) == Some(Operation::ListenBucketNotification) {
            return;
        }
        rounds += 1;
        if rounds % 32 == 0 {
            store.ask("PUT", "/bucket", &[], b"");
            store.ask("PUT", "/bucket/key", &[], b"body");
        }
        let answer = store.ask(method, target, &headers, body.as_bytes());
        assert!(matches!(answer.status, 200 | 204 | 206 | 304 | 400..=499 | 501), "{} {}", answer.status, answer.text);
        if answer.header("content-type") == "application/xml"
            && !answer.text.is_empty()
            && !target.contains("response-")
            // A name with NUL cannot be written in XML; S3 writes it all the same, unless it is asked to encode.
            && !answer.text.contains("&#x0;")
        {
            let root = crate::xml::parse(answer.text.as_bytes());
            assert!(root.is_ok(), "{root:?} {}", answer.text);
        }
        good += usize::from(answer.status < 300);
    });
    println!("operations: {good} of {rounds} did something");
}
