//! What an attacker who sees, replays or changes requests can try; each try is refused and stores nothing.
//!
//! Slow clients, and length headers that contradict each other, are in `protocol`; expired signatures in `auth::tests`.

use super::*;
use crate::limits;
use crate::wire::{ClientLimits, Clients};

/// The text of a signed head, for tests that change it.
fn signed(server: &Server, method: &str, uri: &str, headers: &[(&str, &str)], payload: &str) -> String {
    String::from_utf8(server.head(method, uri, headers, payload).0).unwrap()
}

fn raw(server: &Server, text: &str) -> Reply {
    Reply::parse(&server.raw(text.as_bytes()))
}

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn an_altered_request_is_no_request() {
    let server = Server::start();
    server.send("PUT", "/altered", &[], b"").ok(200);
    let headers = [("content-length", "5"), ("x-amz-meta-color", "red"), ("content-type", "text/plain")];
    let good = signed(&server, "PUT", "/altered/k", &headers, HELLO);
    for (from, to, code) in [
        ("PUT /altered/k ", "PUT /altered/other ", S3Code::SignatureDoesNotMatch),
        ("PUT /altered/k ", "PUT /altered/k?acl ", S3Code::SignatureDoesNotMatch),
        ("PUT /altered/k ", "PUT /altered/k?versionId=null ", S3Code::SignatureDoesNotMatch),
        ("PUT /altered/k ", "PUT /altered/%6b%00 ", S3Code::SignatureDoesNotMatch),
        ("PUT /altered/k ", "DELETE /altered/k ", S3Code::SignatureDoesNotMatch),
        ("x-amz-meta-color: red", "x-amz-meta-color: blue", S3Code::SignatureDoesNotMatch),
        ("content-type: text/plain", "content-type: text/html", S3Code::SignatureDoesNotMatch),
        ("content-type: text/plain\r\n", "", S3Code::SignatureDoesNotMatch),
        ("content-length: 5\r\n", "content-length: 4\r\n", S3Code::SignatureDoesNotMatch),
        ("host: ", "host: altered.s3.test\r\nx-was: ", S3Code::SignatureDoesNotMatch),
        (HELLO, "UNSIGNED-PAYLOAD", S3Code::SignatureDoesNotMatch),
        ("ROOTKEY/", "ROOTKEX/", S3Code::InvalidAccessKeyId),
        // Headers that were not signed, though S3 acts on them.
        ("\r\n\r\n", "\r\nx-amz-acl: public-read\r\n\r\n", S3Code::AccessDenied),
        ("\r\n\r\n", "\r\nx-amz-copy-source: altered/secret\r\n\r\n", S3Code::AccessDenied),
        ("\r\n\r\n", "\r\nx-amz-tagging: a=1\r\n\r\n", S3Code::AccessDenied),
        (";host;", ";", S3Code::AccessDenied),
        // A second value of a signed header.
        ("x-amz-meta-color: red", "x-amz-meta-color: red\r\nx-amz-meta-color: blue", S3Code::SignatureDoesNotMatch),
        ("x-amz-date: ", "x-amz-date: 20200101T000000Z\r\nx-amz-date: ", S3Code::AuthorizationHeaderMalformed),
    ] {
        assert!(good.contains(from), "{from}");
        let altered = good.replacen(from, to, 1);
        // Some clients see the answer, some a closed connection; nothing may be stored either way.
        raw(&server, &format!("{altered}hello")).refused(code);
    }
    raw(&server, &format!("{good}hellx")).refused(S3Code::XAmzContentSHA256Mismatch);
    server.get("/altered/k").refused(S3Code::NoSuchKey);
    raw(&server, &format!("{good}hello")).ok(200);
    // The same request again is the same request: S3 has no nonces, and neither has it an effect that adds up.
    raw(&server, &format!("{good}hello")).ok(200);
    assert_eq!(server.get("/altered/k").ok(200).body, b"hello");
}

#[test]
fn every_bit_of_a_signature_counts() {
    let server = Server::start();
    let good = signed(&server, "GET", "/", &[], "UNSIGNED-PAYLOAD");
    let at = good.find("Signature=").unwrap() + "Signature=".len();
    for digit in [0, 1, 31, 62, 63] {
        let mut changed = good.clone().into_bytes();
        changed[at + digit] = if changed[at + digit] == b'0' { b'1' } else { b'0' };
        Reply::parse(&server.raw(&changed)).refused(S3Code::SignatureDoesNotMatch);
    }
    for (from, to) in [("Signature=", "Signature=0"), ("Signature=", "Signature=,X=")] {
        raw(&server, &good.replacen(from, to, 1)).refused(S3Code::SignatureDoesNotMatch);
    }
    raw(&server, &good).ok(200);
}

/// A comparison that ends at the first difference tells an attacker how far a guess is right. ring's is not one.
#[test]
fn signatures_are_compared_in_constant_time() {
    let sources = [
        include_str!("../auth/signing.rs"),
        include_str!("../auth/version2.rs"),
        include_str!("../auth/mod.rs"),
        include_str!("../ops/post/mod.rs"),
    ];
    let verified = sources.iter().filter(|source| source.contains("hmac::verify(") || source.contains("::verify(&"));
    assert_eq!(verified.count(), sources.len());
    for line in sources.iter().flat_map(|source| source.lines()) {
        let compares = line.contains("==") || line.contains("!=");
        assert!(!(compares && line.contains("signature")), "{line}");
    }
}

#[test]
fn two_hosts_or_two_signatures_are_refused() {
    let server = Server::start();
    let good = signed(&server, "GET", "/", &[], "UNSIGNED-PAYLOAD");
    let host = server.address.to_string();
    let twice = good.replacen(&format!("host: {host}"), &format!("host: {host}\r\nhost: victim.s3.test"), 1);
    raw(&server, &twice).ok(400);
    let authorization = good.lines().find(|line| line.starts_with("Authorization")).unwrap().to_owned();
    let twice = good.replacen(&authorization, &format!("{authorization}\r\n{authorization}"), 1);
    raw(&server, &twice).ok(400);
    let both = good.replacen("GET / ", "GET /?X-Amz-Signature=abc&X-Amz-Algorithm=AWS4-HMAC-SHA256 ", 1);
    raw(&server, &both).refused(S3Code::InvalidArgument);
}

#[test]
fn requests_cannot_be_smuggled() {
    let server = Server::start();
    let last = "GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for head in [
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 4\r\ncontent-length: 30",
        "content-length: 4, 30",
        "content-length: 0x4",
        "content-length: -1",
        "content-length: 99999999999999999999",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding : chunked",
        "transfer-encoding:\u{b}chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\r\n\tcontent-length: 4",
        "x: a\0b",
        "content length: 4",
    ] {
        let attempt = format!("POST /b HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n1\r\nx\r\n0\r\n\r\n{last}");
        let answers = String::from_utf8_lossy(&server.raw(attempt.as_bytes())).into_owned();
        assert!(answers.starts_with("HTTP/1.1 400"), "{head:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answers}");
    }
    for body in ["ffffffffffffffffff\r\nx\r\n", "-1\r\nx\r\n", "1;\nx\r\n0\r\n\r\n", "1\r\nxx\r\n", "1\nx\n0\n\n"] {
        let attempt = format!("PUT /b/k HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{last}");
        let answers = String::from_utf8_lossy(&server.raw(attempt.as_bytes())).into_owned();
        assert!(answers.matches("HTTP/1.1 200").count() == 0, "{body:?}: {answers}");
    }
}

#[test]
fn keys_are_names_and_no_paths() {
    let server = Server::start();
    server.send("PUT", "/paths", &[], b"").ok(200);
    let keys = [
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/aerie.credentials",
        "a/../../b",
        "./k",
        "a//b",
        "%00",
        "k%00.txt",
        "..%5c..%5cwindows",
        "%2e",
        "..",
    ];
    for (at, key) in keys.iter().enumerate() {
        let body = format!("body {at}");
        server.send("PUT", &format!("/paths/{key}"), &[], body.as_bytes()).ok(200);
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(server.get(&format!("/paths/{key}")).ok(200).text(), format!("body {at}"), "{key}");
    }
    // The store's own bucket, and what is no bucket's name, in every spelling.
    for path in ["/.aerie/k", "/%2eaerie/k", "/%2Eaerie%2fk", "/.aerie", "/..", "/%2e%2e/paths", "/.%2e/x"] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = server.send(method, path, &[], b"");
            assert!(matches!(answer.status, 400 | 403 | 404 | 405), "{method} {path}: {}", answer.status);
        }
    }
    let copied = [("x-amz-copy-source", "%2eaerie/hooks/x")];
    server.send("PUT", "/paths/stolen", &copied, b"").refused(S3Code::AccessDenied);
    server.get("/paths/%ff").refused(S3Code::InvalidURI);
}

#[test]
fn documents_do_not_expand_nor_exhaust() {
    let server = Server::start();
    server.send("PUT", "/bombs", &[], b"").ok(200);
    let laughs = "<!DOCTYPE a [<!ENTITY l \"ha\"><!ENTITY m \"&l;&l;&l;&l;\">]><Tagging><TagSet>&m;</TagSet></Tagging>";
    let file = "<!DOCTYPE a [<!ENTITY f SYSTEM \"file:///etc/passwd\">]><Tagging><TagSet>&f;</TagSet></Tagging>";
    let deep = format!("<Tagging>{}", "<a>".repeat(400_000));
    let wide = format!("<Tagging>{}</Tagging>", "<a/>".repeat(limits::XML_ELEMENTS_MAX + 1));
    let names = format!("<{}/>", "a".repeat(1_000_000));
    let attributes = format!("<Tagging {}/>", "a=\"b\" ".repeat(100_000));
    let comments = format!("<Tagging>{}", "<!---->".repeat(200_000));
    for bomb in [laughs, file, &deep, &wide, &names, &attributes, &comments] {
        for uri in ["/bombs?tagging", "/bombs?acl", "/bombs?cors", "/bombs?versioning", "/bombs/k?tagging"] {
            let answer = server.send("PUT", uri, &[], bomb.as_bytes());
            assert!(matches!(answer.status, 400 | 404), "{uri} {:.60}: {} {}", bomb, answer.status, answer.text());
        }
    }
    let long = vec![b' '; limits::XML_BODY_BYTES_MAX + 1];
    server.send("PUT", "/bombs?tagging", &[], &long).refused(S3Code::MaxMessageLengthExceeded);
    server.send("GET", "/bombs?tagging", &[], b"").refused(S3Code::NoSuchTagSet);
}

#[test]
fn uploads_of_a_billion_parts_are_refused() {
    let server = Server::start();
    server.send("PUT", "/parts", &[], b"").ok(200);
    let created = server.send("POST", "/parts/k?uploads", &[], b"").ok(200).text();
    let id = created.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap();
    for number in ["0", "10001", "1000000000", "4294967297", "-1", "1e3", "", "+1"] {
        let answer = server.send("PUT", &format!("/parts/k?partNumber={number}&uploadId={id}"), &[], b"x");
        assert!(answer.status == 400, "{number}: {} {}", answer.status, answer.text());
    }
    let part =
        |number: u64| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{}\"</ETag></Part>", "a".repeat(32));
    let list = |parts: String| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let many: String = (1..=u64::from(limits::PART_NUMBER_MAX) + 1).map(part).collect();
    for parts in [many, part(1_000_000_000), part(u64::MAX), part(1).repeat(2)] {
        let answer = server.send("POST", &format!("/parts/k?uploadId={id}"), &[], list(parts).as_bytes());
        assert!(answer.status == 400, "{} {}", answer.status, answer.text());
    }
    server.send("DELETE", &format!("/parts/k?uploadId={id}"), &[], b"").ok(204);
}

#[test]
fn a_preflight_proves_nobody_and_shows_nothing() {
    let server = Server::start();
    server.send("PUT", "/flight", &[], b"").ok(200);
    server.send("PUT", "/flight/k", &[], b"secret").ok(200);
    for uri in ["/flight/k", "/flight/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=abc", "/_aerie/hooks", "/"] {
        for more in ["", "origin: https://evil.example\r\naccess-control-request-method: GET\r\n"] {
            let head = format!("OPTIONS {uri} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n");
            let answer = raw(&server, &head);
            assert!(matches!(answer.status, 400 | 403 | 405), "{uri}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("secret") && answer.header("access-control-allow-origin") == "-");
        }
    }
}

#[test]
fn who_asks_too_much_is_told_to_slow_down() {
    let limits = ClientLimits { requests_per_second: 3, bytes_per_second: 1 << 20, ..ClientLimits::default() };
    let clients = Clients::new(limits, real::world().clock);
    let server = Server::launch(Settings { clients, ..settings(Timeouts::default()) });
    let answers: Vec<Reply> = (0..20).map(|_| server.get("/")).collect();
    let refused = answers.iter().find(|answer| answer.status == 503).expect("twenty at once are too many");
    assert_eq!((refused.header("retry-after"), refused.text().contains("SlowDown")), ("1", true));
    assert!(answers.iter().filter(|answer| answer.status == 200).count() >= 3);
    // Probes go on, and so does who waits as long as it was told.
    raw(&server, "GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").ok(200);
    let again = (0..500).any(|_| {
        std::thread::park_timeout(Duration::from_millis(20));
        server.get("/").status == 200
    });
    assert!(again, "never let in again");
}

#[test]
fn repeated_parameters_mean_one_thing_everywhere() {
    let server = Server::start();
    server.send("PUT", "/twice", &[], b"").ok(200);
    server.send("PUT", "/twice/k", &[], b"one").ok(200);
    // The first one counts, wherever it is read; the signature covers both.
    server.get("/twice/k?versionId=null&versionId=nonsense").ok(200);
    server.get("/twice/k?versionId=nonsense&versionId=null").refused(S3Code::InvalidArgument);
    let good = signed(&server, "GET", "/twice/k?versionId=null", &[], "UNSIGNED-PAYLOAD");
    for uri in ["/twice/k?versionId=null&versionId=null", "/twice/k?versionId=null&acl", "/twice/k?versionid=null"] {
        let altered = good.replacen("/twice/k?versionId=null", uri, 1);
        raw(&server, &altered).refused(S3Code::SignatureDoesNotMatch);
    }
}
