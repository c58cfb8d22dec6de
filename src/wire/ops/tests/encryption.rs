//! Server-side encryption as clients see it: every way to ask for it, every way to ask wrongly, ranges, parts, copies
//! between differently sealed objects, rules of buckets, and keys that are gone.

use pollster::block_on;

use super::{Answer, Store};
use crate::crypt::{RingKey, SealError, SealMode, Sealing, sealed_bytes};
use crate::engine::{BodyFuture, BodySource, EngineError, ExpectedDigests, PutObject};
use crate::hash::{Md5, base64_encode, hex_encode};
use crate::limits::PART_BYTES_MIN;
use crate::meta::{Attributes, Body, EventName, Requester, VersionRef, WriteCondition};

const KEY: [u8; 32] = [5; 32];
const OTHER: [u8; 32] = [6; 32];
const PREFIX: &str = "x-amz-server-side-encryption";

/// Text that does not repeat, and is found again where it is in the clear.
fn text(length: usize) -> String {
    (0..)
        .map(|line| format!("line {line} of the secret report\n"))
        .flat_map(String::into_bytes)
        .take(length)
        .map(char::from)
        .collect()
}

fn customer(key: &[u8], prefix: &str) -> Vec<(String, String)> {
    let name = |end: &str| format!("{prefix}-customer-{end}");
    vec![
        (name("algorithm"), "AES256".to_owned()),
        (name("key"), base64_encode(key)),
        (name("key-md5"), base64_encode(&Md5::of(key))),
    ]
}

fn method(name: &str) -> Vec<(String, String)> {
    vec![(PREFIX.to_owned(), name.to_owned())]
}

fn kms(key: &str) -> Vec<(String, String)> {
    let mut headers = method("aws:kms");
    headers.push((format!("{PREFIX}-aws-kms-key-id"), key.to_owned()));
    headers
}

fn ask(store: &Store, verb: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    store.ask(verb, target, &headers, body)
}

/// A store with a bucket and two KMS keys.
fn store() -> Store {
    let store = Store::with_bucket("bucket");
    for key in ["k1", "k2"] {
        block_on(store.engine.keys().unwrap().create(Some(key.to_owned()), None)).unwrap();
    }
    store
}

fn stored(store: &Store, key: &str) -> crate::meta::Version {
    let bucket = store.engine.bucket("bucket").unwrap();
    store.engine.head_object(&bucket, key, VersionRef::Latest).unwrap().version
}

/// The body as the drives have it.
fn raw(store: &Store, key: &str) -> Vec<u8> {
    match stored(store, key).body {
        Body::Inline(bytes) => bytes.to_vec(),
        Body::Extents(extents) => {
            let length = extents.iter().map(|extent| extent.length).sum();
            let mut reader = store.engine.pool().reader(&extents, 0..length);
            let mut all = Vec::new();
            while let Some(piece) = block_on(reader.next()) {
                all.extend_from_slice(&piece.unwrap());
            }
            all
        }
    }
}

#[test]
fn every_mode_seals_tells_so_and_reads_back_whole_and_in_ranges() {
    let store = store();
    let mine = customer(&KEY, PREFIX);
    for (name, asked, reading) in
        [("s3", method("AES256"), Vec::new()), ("kms", kms("k1"), Vec::new()), ("c", mine.clone(), mine)]
    {
        for length in [0, 1, 1000, 1024, 1025, 65_536, 200_001, 3 << 20] {
            let (key, body) = (format!("/bucket/{name}-{length}"), text(length));
            let put = ask(&store, "PUT", &key, &asked, body.as_bytes());
            assert_eq!(put.outcome(), "200", "{key}: {}", put.text);
            let got = ask(&store, "GET", &key, &reading, b"");
            assert!(got.outcome() == "200" && got.text == body, "{key}");
            let headed = ask(&store, "HEAD", &key, &reading, b"");
            assert_eq!(headed.header("content-length"), length.to_string());
            for answer in [&put, &got, &headed] {
                let told = [
                    PREFIX,
                    "x-amz-server-side-encryption-aws-kms-key-id",
                    "x-amz-server-side-encryption-customer-algorithm",
                ];
                let expected = match name {
                    "s3" => ["AES256", "", ""],
                    "kms" => ["aws:kms", "k1", ""],
                    _ => ["", "", "AES256"],
                };
                assert_eq!(told.map(|header| answer.header(header)), expected);
                assert!(answer.headers.values().all(|value| *value != base64_encode(&KEY)), "no answer holds the key");
            }
            let etag = format!("\"{}\"", hex_encode(&Md5::of(body.as_bytes())));
            assert_eq!(put.header("etag") == etag, name == "s3", "only SSE-S3 shows the MD5");
            let raw = raw(&store, &key["/bucket/".len()..]);
            assert_eq!(raw.len() as u64, sealed_bytes(length as u64));
            assert!(length < 30 || !raw.windows(20).any(|window| window == &body.as_bytes()[..20]), "in the clear");
            for (from, to) in
                [(0, 0), (0, 65_535), (65_535, 65_536), (65_536, 65_600), (131_000, 200_000), (1 << 20, (1 << 20) + 9)]
            {
                if to >= length {
                    continue;
                }
                let mut headers = reading.clone();
                headers.push(("range".to_owned(), format!("bytes={from}-{to}")));
                let part = ask(&store, "GET", &key, &headers, b"");
                assert!(
                    part.outcome() == "206" && part.text == body[from..=to],
                    "{key} {from}-{to}: {}",
                    part.outcome()
                );
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_as_aws_does() {
    let store = store();
    let without = |end: &str| {
        let mut headers = customer(&KEY, PREFIX);
        headers.retain(|(name, _)| !name.ends_with(end));
        headers
    };
    let with = |mut headers: Vec<(String, String)>, name: &str, value: &str| {
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    let mine = || customer(&KEY, PREFIX);
    let algorithm = "x-amz-server-side-encryption-customer-algorithm";
    let key = "x-amz-server-side-encryption-customer-key";
    let md5 = "x-amz-server-side-encryption-customer-key-md5";
    let kms_key = "x-amz-server-side-encryption-aws-kms-key-id";
    let context = "x-amz-server-side-encryption-context";
    for (headers, outcome) in [
        (without("algorithm"), "400 InvalidArgument"),
        (without("-key"), "400 InvalidArgument"),
        (without("md5"), "400 InvalidArgument"),
        (with(mine(), algorithm, "AES128"), "400 InvalidEncryptionAlgorithmError"),
        (with(mine(), key, "c2hvcnQ="), "400 InvalidArgument"),
        (with(mine(), key, "no base64"), "400 InvalidArgument"),
        (with(mine(), md5, "AAAAAAAAAAAAAAAAAAAAAA=="), "400 InvalidArgument"),
        (with(mine(), PREFIX, "AES256"), "400 InvalidArgument"),
        (with(mine(), PREFIX, "aws:kms"), "400 InvalidArgument"),
        (with(method("AES256"), kms_key, "k1"), "400 InvalidArgument"),
        (with(Vec::new(), kms_key, "k1"), "400 InvalidArgument"),
        (method("aes:kms"), "400 InvalidArgument"),
        (method("aws:kms:dsse"), "501 NotImplemented"),
        (method("aws:kms"), "400 KMS.NotFoundException"),
        (kms("nobody"), "400 KMS.NotFoundException"),
        (with(kms("k1"), context, "no base64"), "400 InvalidArgument"),
        (with(kms("k1"), context, &base64_encode(b"[1]")), "400 InvalidArgument"),
        (with(kms("k1"), context, &base64_encode(br#"{"project":"x"}"#)), "200"),
        (with(kms("k1"), "x-amz-server-side-encryption-bucket-key-enabled", "maybe"), "400 InvalidArgument"),
        (with(kms("arn:aws:kms:us-east-1:1:key/k1"), "x-amz-server-side-encryption-bucket-key-enabled", "true"), "200"),
    ] {
        let answer = ask(&store, "PUT", "/bucket/a", &headers, b"x");
        assert_eq!(answer.outcome(), outcome, "{headers:?}: {}", answer.text);
        assert!(!answer.text.contains(&base64_encode(&KEY)), "an error tells the key: {}", answer.text);
    }
    assert_eq!(ask(&store, "HEAD", "/bucket/a", &[], b"").header(kms_key), "arn:aws:kms:us-east-1:1:key/k1");
    ask(&store, "PUT", "/bucket/c", &mine(), b"mine");
    ask(&store, "PUT", "/bucket/plain", &[], b"plain");
    for (target, headers, outcome) in [
        ("/bucket/c", Vec::new(), "400 InvalidRequest"),
        ("/bucket/c", customer(&OTHER, PREFIX), "400 InvalidRequest"),
        ("/bucket/c", without("md5"), "200"),
        ("/bucket/plain", mine(), "400 InvalidRequest"),
        ("/bucket/a", mine(), "400 InvalidRequest"),
        ("/bucket/plain", method("AES256"), "400 InvalidArgument"),
        ("/bucket/a", kms("k1"), "400 InvalidArgument"),
        ("/bucket/c?attributes", with(Vec::new(), "x-amz-object-attributes", "ETag"), "400 InvalidRequest"),
        ("/bucket/c?attributes", with(mine(), "x-amz-object-attributes", "ETag"), "200"),
    ] {
        let answer = ask(&store, "GET", target, &headers, b"");
        assert_eq!(answer.outcome(), outcome, "{target} {headers:?}: {}", answer.text);
    }
}

#[test]
fn a_client_key_over_plain_http_needs_the_operators_word() {
    let mut store = store();
    std::sync::Arc::get_mut(&mut store.settings).unwrap().customer_keys_in_clear = false;
    let answer = ask(&store, "PUT", "/bucket/c", &customer(&KEY, PREFIX), b"x");
    assert_eq!(answer.outcome(), "400 InvalidRequest");
    assert!(answer.element("Message").contains("secure connection"), "{}", answer.text);
}

#[test]
fn parts_are_sealed_each_and_the_object_reads_across_them() {
    let store = store();
    let full = PART_BYTES_MIN as usize;
    let bodies = [text(full + 1), text(full), text(70_000)];
    for asked in [method("AES256"), kms("k1"), customer(&KEY, PREFIX)] {
        let is_customer = asked.len() == 3;
        let reading = if is_customer { asked.clone() } else { Vec::new() };
        let created = ask(&store, "POST", "/bucket/key?uploads", &asked, b"");
        assert_eq!(created.outcome(), "200", "{}", created.text);
        let id = created.element("UploadId");
        let target = |number: usize| format!("/bucket/key?partNumber={number}&uploadId={id}");
        if is_customer {
            for wrong in [Vec::new(), customer(&OTHER, PREFIX)] {
                assert_eq!(ask(&store, "PUT", &target(1), &wrong, b"x").outcome(), "400 InvalidRequest");
            }
        } else {
            let unwanted = ask(&store, "PUT", &target(1), &customer(&KEY, PREFIX), b"x");
            assert_eq!(unwanted.outcome(), "400 InvalidRequest");
        }
        let mut named = String::new();
        for (number, body) in (1..).zip(&bodies) {
            // Sent twice: the second replaces the first, under another key.
            ask(&store, "PUT", &target(number), &reading, body.as_bytes());
            let put = ask(&store, "PUT", &target(number), &reading, body.as_bytes());
            assert_eq!(put.outcome(), "200", "{}", put.text);
            named += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", put.header("etag"));
        }
        let document = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
        let done = ask(&store, "POST", &format!("/bucket/key?uploadId={id}"), &reading, document.as_bytes());
        assert_eq!(done.outcome(), "200", "{}", done.text);
        let whole = bodies.concat();
        assert!(ask(&store, "GET", "/bucket/key", &reading, b"").text == whole);
        let sealed: u64 = bodies.iter().map(|body| sealed_bytes(body.len() as u64)).sum();
        assert_eq!(raw(&store, "key").len() as u64, sealed);
        for (from, to) in [(full - 5, full + 5), (2 * full - 70_000, 2 * full + 60_000), (full + 1, full + 1)] {
            let mut headers = reading.clone();
            headers.push(("range".to_owned(), format!("bytes={from}-{to}")));
            assert!(ask(&store, "GET", "/bucket/key", &headers, b"").text == whole[from..=to], "{from}-{to}");
        }
        assert!(ask(&store, "GET", "/bucket/key?partNumber=3", &reading, b"").text == bodies[2]);
    }
}

#[test]
fn a_copy_is_sealed_as_its_own_request_says_and_not_as_its_source() {
    let store = store();
    let body = text(150_000);
    let source_of = |key: &[u8]| customer(key, "x-amz-copy-source-server-side-encryption");
    let modes = [Vec::new(), method("AES256"), kms("k1"), kms("k2"), customer(&KEY, PREFIX), customer(&OTHER, PREFIX)];
    for (at, from) in modes.iter().enumerate() {
        let source = format!("/bucket/source-{at}");
        assert_eq!(ask(&store, "PUT", &source, from, body.as_bytes()).outcome(), "200");
        for to in &modes {
            let mut headers = to.clone();
            headers.push(("x-amz-copy-source".to_owned(), source.clone()));
            let needs_key = from.len() == 3;
            if needs_key {
                assert_eq!(ask(&store, "PUT", "/bucket/copy", &headers, b"").outcome(), "400 InvalidRequest");
                headers.extend(source_of(if at == 4 { &KEY } else { &OTHER }));
            }
            let copied = ask(&store, "PUT", "/bucket/copy", &headers, b"");
            assert_eq!(copied.outcome(), "200", "{}", copied.text);
            let reading = if to.len() == 3 { to.clone() } else { Vec::new() };
            let got = ask(&store, "GET", "/bucket/copy", &reading, b"");
            assert!(got.text == body, "{from:?} to {to:?}: {}", got.outcome());
            let facts = stored(&store, "copy").attributes.encryption;
            assert_eq!(facts.is_some(), !to.is_empty());
            // The same by UploadPartCopy, a range of it.
            let created = ask(&store, "POST", "/bucket/parts?uploads", to, b"");
            let id = created.element("UploadId");
            let mut headers: Vec<_> =
                headers.into_iter().filter(|(name, _)| name != PREFIX && !name.contains("kms")).collect();
            headers.push(("x-amz-copy-source-range".to_owned(), "bytes=65530-140000".to_owned()));
            let part = ask(&store, "PUT", &format!("/bucket/parts?partNumber=1&uploadId={id}"), &headers, b"");
            assert_eq!(part.outcome(), "200", "{}", part.text);
            let etag = part.element("ETag");
            let document = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            );
            ask(&store, "POST", &format!("/bucket/parts?uploadId={id}"), &reading, document.as_bytes());
            assert!(ask(&store, "GET", "/bucket/parts", &reading, b"").text == body[65_530..=140_000]);
        }
    }
    let itself = ("x-amz-copy-source".to_owned(), "/bucket/source-0".to_owned());
    assert_eq!(
        ask(&store, "PUT", "/bucket/source-0", std::slice::from_ref(&itself), b"").outcome(),
        "400 InvalidRequest"
    );
    let sealed = [itself, method("AES256").remove(0)];
    assert_eq!(
        ask(&store, "PUT", "/bucket/source-0", &sealed, b"").outcome(),
        "200",
        "an object may be sealed in place"
    );
}

fn rule(inside: &str) -> String {
    format!("<ServerSideEncryptionConfiguration xmlns=\"u\"><Rule>{inside}</Rule></ServerSideEncryptionConfiguration>")
}

#[test]
fn a_buckets_rule_holds_for_what_says_nothing_itself() {
    let store = store();
    let missing = "404 ServerSideEncryptionConfigurationNotFoundError";
    assert_eq!(ask(&store, "GET", "/bucket?encryption", &[], b"").outcome(), missing);
    let by_default =
        |inside: &str| format!("<ApplyServerSideEncryptionByDefault>{inside}</ApplyServerSideEncryptionByDefault>");
    for (document, outcome) in [
        ("junk".to_owned(), "400 MalformedXML"),
        ("<ServerSideEncryptionConfiguration/>".to_owned(), "400 MalformedXML"),
        (rule(&by_default("<SSEAlgorithm>AES128</SSEAlgorithm>")), "400 MalformedXML"),
        (
            rule(&by_default("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>k1</KMSMasterKeyID>")),
            "400 InvalidArgument",
        ),
        (rule(&by_default("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>")), "400 InvalidArgument"),
        (rule(&by_default("<SSEAlgorithm>AES256</SSEAlgorithm>")), "200"),
    ] {
        assert_eq!(ask(&store, "PUT", "/bucket?encryption", &[], document.as_bytes()).outcome(), outcome, "{document}");
    }
    let put = ask(&store, "PUT", "/bucket/a", &[], b"by the rule");
    assert_eq!(
        (put.header(PREFIX), stored(&store, "a").attributes.encryption.map(|facts| facts.mode)),
        ("AES256", Some(SealMode::S3))
    );
    let document = rule(&format!(
        "{}<BucketKeyEnabled>true</BucketKeyEnabled>",
        by_default("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k1</KMSMasterKeyID>")
    ));
    assert_eq!(ask(&store, "PUT", "/bucket?encryption", &[], document.as_bytes()).outcome(), "200");
    let got = ask(&store, "GET", "/bucket?encryption", &[], b"");
    let told = ["SSEAlgorithm", "KMSMasterKeyID", "BucketKeyEnabled"].map(|name| got.element(name));
    assert_eq!(told, ["aws:kms", "k1", "true"]);
    let put = ask(&store, "PUT", "/bucket/b", &[], b"by the rule");
    let told =
        ["", "-aws-kms-key-id", "-bucket-key-enabled"].map(|end| put.header(&format!("{PREFIX}{end}")).to_owned());
    assert_eq!(told, ["aws:kms", "k1", "true"]);
    let put = ask(&store, "PUT", "/bucket/c", &method("AES256"), b"by its own word");
    assert_eq!(put.header(PREFIX), "AES256");
    let document = rule("<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>");
    assert_eq!(ask(&store, "PUT", "/bucket?encryption", &[], document.as_bytes()).outcome(), "200");
    assert_eq!(ask(&store, "PUT", "/bucket/d", &customer(&KEY, PREFIX), b"x").outcome(), "403 AccessDenied");
    assert_eq!(ask(&store, "DELETE", "/bucket?encryption", &[], b"").outcome(), "204");
    assert_eq!(ask(&store, "GET", "/bucket?encryption", &[], b"").outcome(), missing);
    assert_eq!(ask(&store, "PUT", "/bucket/e", &[], b"x").header(PREFIX), "");
    for key in ["a", "b", "c"] {
        assert_eq!(ask(&store, "GET", &format!("/bucket/{key}"), &[], b"").outcome(), "200", "{key} stays readable");
    }
}

#[test]
fn keys_that_are_disabled_or_shredded_close_what_they_sealed() {
    let store = store();
    let ring = store.engine.keys().unwrap();
    let mine = customer(&KEY, PREFIX);
    for (key, asked) in [("s3", method("AES256")), ("kms", kms("k1")), ("c", mine.clone())] {
        ask(&store, "PUT", &format!("/bucket/{key}"), &asked, text(2000).as_bytes());
    }
    ask(&store, "PUT", "/bucket/plain", &[], b"plain");
    let get =
        |key: &str| ask(&store, "GET", &format!("/bucket/{key}"), if key == "c" { &mine } else { &[] }, b"").outcome();
    block_on(ring.set_enabled("k1", false)).unwrap();
    assert_eq!(get("kms"), "400 KMS.DisabledException");
    assert_eq!(ask(&store, "PUT", "/bucket/new", &kms("k1"), b"x").outcome(), "400 KMS.DisabledException");
    let copy = [("x-amz-copy-source".to_owned(), "/bucket/kms".to_owned())];
    assert_eq!(ask(&store, "PUT", "/bucket/copy", &copy, b"").outcome(), "400 KMS.DisabledException");
    block_on(ring.set_enabled("k1", true)).unwrap();
    block_on(ring.rotate(RingKey::Kms("k1".to_owned()))).unwrap();
    assert_eq!(get("kms"), "200", "a rotated key goes on to open");
    let bucket = store.engine.bucket("bucket").unwrap();
    block_on(store.engine.shred_bucket(&bucket)).unwrap();
    for key in ["s3", "kms", "c"] {
        assert_eq!(get(key), "400 KMS.KMSInvalidStateException", "{key}");
    }
    assert_eq!(get("plain"), "200");
    assert_eq!(ask(&store, "HEAD", "/bucket/s3", &[], b"").status, 200, "what is known of it stays known");
    assert_eq!(ask(&store, "PUT", "/bucket/s3", &method("AES256"), b"anew").outcome(), "200");
    assert_eq!(get("s3"), "200");
    assert_eq!(ask(&store, "DELETE", "/bucket/kms", &[], b"").outcome(), "204");
}

/// A body during which something happens.
struct Interrupted<F> {
    pieces: Vec<bytes::Bytes>,
    /// Called once, between the first piece and the rest.
    happens: Option<F>,
    begun: bool,
}

impl<F: FnOnce()> BodySource for Interrupted<F> {
    fn next(&mut self) -> BodyFuture<'_> {
        if self.begun
            && let Some(happens) = self.happens.take()
        {
            happens();
        }
        self.begun = true;
        Box::pin(std::future::ready(Ok(self.pieces.pop())))
    }
}

#[test]
fn a_key_that_goes_ends_what_is_under_way() {
    let store = store();
    let bucket = store.engine.bucket("bucket").unwrap();
    let ring = store.engine.keys().unwrap();
    let large = text(3 << 20);
    for (key, asked) in [("kms", kms("k1")), ("s3", method("AES256"))] {
        assert_eq!(ask(&store, "PUT", &format!("/bucket/{key}"), &asked, large.as_bytes()).outcome(), "200");
    }
    let begin = |key: &str| {
        let object = store.engine.head_object(&bucket, key, VersionRef::Latest).unwrap();
        let mut reader = store.engine.read_object(&object, 0..object.version.size);
        assert!(block_on(reader.next()).unwrap().is_ok());
        reader
    };
    let refused = |mut reader: crate::engine::ObjectReader| {
        let next = block_on(reader.next()).unwrap().unwrap_err();
        assert!(block_on(reader.next()).is_none(), "nothing comes after an error");
        next
    };
    let (kms_reader, mut other) = (begin("kms"), begin("s3"));
    block_on(ring.set_enabled("k1", false)).unwrap();
    assert!(matches!(refused(kms_reader), EngineError::Seal(SealError::KeyDisabled(_))));
    assert!(block_on(other.next()).unwrap().is_ok(), "another key's reader reads on");
    block_on(ring.set_enabled("k1", true)).unwrap();

    let upload = ask(&store, "POST", "/bucket/parts?uploads", &method("AES256"), b"").element("UploadId");
    let part = ask(&store, "PUT", &format!("/bucket/parts?uploadId={upload}&partNumber=1"), &[], large.as_bytes());
    let put = PutObject {
        bucket: bucket.clone(),
        key: "late".to_owned(),
        attributes: Attributes::default(),
        sealing: Some(Sealing::S3),
        size_hint: None,
        expected: ExpectedDigests::default(),
        condition: WriteCondition::default(),
        event: EventName::ObjectCreatedPut,
        requester: Requester::default(),
    };
    let shred = || _ = block_on(store.engine.shred_bucket(&bucket)).unwrap();
    let pieces = vec![large.clone().into(), large.into()];
    let mut body = Interrupted { pieces, happens: Some(shred), begun: false };
    let error = block_on(store.engine.put_object(put, &mut body)).unwrap_err();
    assert!(matches!(error, EngineError::Seal(SealError::KeyShredded(_))), "a PUT of what nobody can read: {error}");
    assert!(matches!(refused(other), EngineError::Seal(SealError::KeyShredded(_))));
    let etag = part.header("etag");
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let completed = ask(&store, "POST", &format!("/bucket/parts?uploadId={upload}"), &[], complete.as_bytes());
    assert_eq!(completed.outcome(), "400 KMS.KMSInvalidStateException");
    for key in ["late", "parts"] {
        assert_eq!(ask(&store, "HEAD", &format!("/bucket/{key}"), &[], b"").status, 404, "{key}");
    }
}

#[test]
fn bytes_that_are_exchanged_between_versions_are_not_given_out() {
    use crate::meta::NewVersion;
    let store = store();
    for key in ["a", "b"] {
        ask(&store, "PUT", &format!("/bucket/{key}"), &method("AES256"), text(500).as_bytes());
    }
    let (a, b) = (stored(&store, "a"), stored(&store, "b"));
    let forge = |key: &str, attributes: &crate::meta::Attributes, body: Vec<u8>| {
        let version = NewVersion {
            bucket: a.bucket,
            key: key.to_owned(),
            size: 500,
            etag: a.etag.clone(),
            modified_ms: 1,
            attributes: attributes.clone(),
            body: Body::Inline(body.into()),
            condition: WriteCondition::default(),
            event: EventName::ObjectCreatedPut,
            requester: Requester::default(),
            missed: 0,
        };
        block_on(store.engine.meta().put_version(version)).unwrap();
        ask(&store, "GET", &format!("/bucket/{key}"), &[], b"").outcome()
    };
    let body = |version: &crate::meta::Version| match &version.body {
        Body::Inline(bytes) => bytes.to_vec(),
        Body::Extents(_) => panic!("500 bytes are inline"),
    };
    assert_eq!(forge("a", &a.attributes, body(&a)), "200", "an honest copy of the row reads");
    assert_eq!(forge("a", &a.attributes, body(&b)), "500 InternalError", "another version's bytes");
    assert_eq!(forge("a", &b.attributes, body(&b)), "500 InternalError", "another key's bytes and facts");
    let mut changed = body(&a);
    changed[0] ^= 1;
    assert_eq!(forge("a", &a.attributes, changed), "500 InternalError", "a changed byte");
}
