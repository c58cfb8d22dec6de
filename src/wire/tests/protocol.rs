//! HTTP itself: limits, waits, connections, health, panics.

use super::*;
use crate::limits;

fn status(bytes: &[u8]) -> u16 {
    Reply::parse(bytes).status
}

#[test]
fn broken_heads_are_refused() {
    let server = Server::start();
    let many: String = (0..=limits::REQUEST_HEADERS_MAX).map(|i| format!("x-{i}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "x".repeat(limits::REQUEST_HEAD_BYTES_MAX));
    for (head, expected) in [
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{large}\r\n"), 431),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nx".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        ("PUT /b/k HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc".to_owned(), 400),
        ("GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), 400),
    ] {
        assert_eq!(status(&server.raw(head.as_bytes())), expected, "{:.90}", head);
    }
}

#[test]
fn two_requests_share_a_connection_and_the_second_cannot_be_smuggled() {
    let server = Server::start();
    let health = "GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n";
    let last = "GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let both = String::from_utf8(server.raw(format!("{health}{last}").as_bytes())).unwrap();
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2, "{both}");
    let body = "GET /health/live HTTP/1.1\r\n\r\n";
    let with_body =
        format!("GET /health/live HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}{last}", body.len());
    let both = String::from_utf8(server.raw(with_body.as_bytes())).unwrap();
    assert!(both.matches("HTTP/1.1 200").count() <= 2, "{both}");
    let smuggled = "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answers = String::from_utf8(server.raw(format!("{smuggled}{last}").as_bytes())).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
}

#[test]
fn slow_clients_are_let_go() {
    let server = Server::start_with(quick_timeouts());
    let (head, _) = server.head("PUT", "/b/k", &[("content-length", "10")], "UNSIGNED-PAYLOAD");
    let make = server.send("PUT", "/b-slow", &[], b"");
    make.ok(200);
    let (stalled, _) = server.head("PUT", "/b-slow/k", &[("content-length", "10")], "UNSIGNED-PAYLOAD");
    let stalled = [stalled, b"abc".to_vec()].concat();
    for sent in
        [b"".to_vec(), b"GET / HT".to_vec(), b"GET / HTTP/1.1\r\nhost: a\r\n".to_vec(), head[..head.len() - 2].to_vec()]
    {
        // The server closes; whether it says why first is hyper's matter.
        let mut stream = server.connect();
        stream.write_all(&sent).unwrap();
        let _ = read_all(&mut stream);
    }
    let answer = server.raw(&stalled);
    if !answer.is_empty() {
        Reply::parse(&answer).refused(S3Code::RequestTimeout);
    }
    // A head that drips is not excused by its bytes.
    let mut stream = server.connect();
    let dripped = (0..2000).take_while(|_| {
        std::thread::park_timeout(Duration::from_millis(5));
        stream.write_all(b"x").is_ok()
    });
    assert!(dripped.count() < 2000, "the server never closed");
    let idle = server.raw(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(status(&idle), 200);
    server.get("/b-slow/k").refused(S3Code::NoSuchKey);
}

#[test]
fn a_reader_that_stops_is_let_go() {
    let mut server = Server::start_with(quick_timeouts());
    server.send("PUT", "/big", &[], b"").ok(200);
    server.send("PUT", "/big/k", &[], &bytes(24 << 20)).ok(200);
    let (head, _) = server.head("GET", "/big/k", &[], "UNSIGNED-PAYLOAD");
    let mut stream = server.connect();
    stream.write_all(&head).unwrap();
    let mut first = [0u8; 1000];
    stream.read_exact(&mut first).unwrap();
    // Dropping the server waits for its connections: it ends only if this one, unread, is given up.
    server.stop();
    drop(server);
    let rest = read_all(&mut stream);
    assert!(rest.len() < 24 << 20);
}

#[test]
fn continue_is_said_only_when_the_body_is_wanted() {
    let server = Server::start();
    server.send("PUT", "/expect", &[], b"").ok(200);
    let expect = [("content-length", "3"), ("expect", "100-continue")];
    let (head, _) = server.head("PUT", "/expect/k", &expect, "UNSIGNED-PAYLOAD");
    let mut stream = server.connect();
    stream.write_all(&head).unwrap();
    let mut line = [0u8; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    Reply::parse(&read_all(&mut stream)).ok(200);
    assert_eq!(server.get("/expect/k").ok(200).body, b"abc");
    let (head, _) = server.head("PUT", "/missing/k", &expect, "UNSIGNED-PAYLOAD");
    let refused = Reply::parse(&server.raw(&head));
    assert_eq!(refused.header("connection"), "close", "the next request would be read as this one's body");
    refused.refused(S3Code::NoSuchBucket);
}

/// boto3 keeps the status of an answer that came where it expected `100 Continue` for the connection's next request: an
/// empty upload made the next one hang, or succeed although the server had died.
#[test]
fn an_empty_upload_that_was_not_told_to_continue_ends_its_connection() {
    let server = Server::start();
    server.send("PUT", "/expect", &[], b"").ok(200);
    let answer = |expect: Option<(&str, &str)>| {
        let headers: Vec<_> = [("content-length", "0")].into_iter().chain(expect).collect();
        let (head, _) = server.head("PUT", "/expect/k", &headers, "UNSIGNED-PAYLOAD");
        let head = String::from_utf8(head).unwrap().replace("Connection: close\r\n", "");
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        Reply::parse(&answer).ok(200).header("connection").to_owned()
    };
    assert_eq!(answer(Some(("expect", "100-continue"))), "close");
    assert_eq!(answer(None), "-");
}

#[test]
fn the_largest_upload_is_wanted_and_a_larger_one_is_not() {
    let server = Server::start();
    server.send("PUT", "/large", &[], b"").ok(200);
    let ask = |length: u64| {
        let length = length.to_string();
        let headers = [("content-length", length.as_str()), ("expect", "100-continue")];
        let mut stream = server.connect();
        stream.write_all(&server.head("PUT", "/large/k", &headers, "UNSIGNED-PAYLOAD").0).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    };
    assert_eq!(ask(limits::PUT_BYTES_MAX), "HTTP/1.1 100");
    assert_eq!(ask(limits::PUT_BYTES_MAX + 1), "HTTP/1.1 400");
    server.get("/large/k").refused(S3Code::NoSuchKey);
}

#[test]
fn an_error_reaches_a_client_that_is_still_sending() {
    let server = Server::start();
    for _ in 0..8 {
        server.send("PUT", "/missing/k", &[], &bytes(3 << 20)).refused(S3Code::NoSuchBucket);
    }
}

#[test]
fn an_error_reaches_a_client_that_sends_all_before_it_reads() {
    let server = Server::start();
    let bytes_sent = 16 * usize::try_from(limits::DISCARD_BYTES_MAX).unwrap();
    let answer = Reply::parse(&server.raw(&unsigned_upload(bytes_sent, bytes_sent)));
    assert_eq!(answer.refused(S3Code::NoSuchBucket).header("connection"), "close");
}

#[test]
fn an_error_reaches_a_client_that_sends_no_more() {
    let server = Server::start();
    let clock = real::world().clock;
    let began_ns = clock.monotonic_ns();
    let mut stream = server.connect();
    stream.write_all(&unsigned_upload(3 << 20, 1 << 20)).unwrap();
    let answer = Reply::parse(&read_all(&mut stream));
    answer.refused(S3Code::NoSuchBucket);
    assert!(u128::from(clock.monotonic_ns() - began_ns) < limits::BODY_STALL_TIMEOUT.as_nanos() / 2);
    // It may come to its senses: nobody resets the connection, and nobody reads it as another request.
    stream.write_all(&[b'x'; 1 << 20]).unwrap();
    assert!(read_all(&mut stream).is_empty());
}

/// A request of which `sent` bytes of the body are sent.
fn unsigned_upload(announced: usize, sent: usize) -> Vec<u8> {
    let mut bytes = format!("PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: {announced}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + sent, b'x');
    bytes
}

#[test]
fn health_and_administration_have_their_own_door() {
    let server = Server::start();
    let unsigned = |method: &str, path: &str| {
        Reply::parse(
            &server.raw(format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()),
        )
    };
    for path in ["/health/live", "/minio/health/live"] {
        assert_eq!(unsigned("GET", path).ok(200).text(), "ok\n");
        assert!(unsigned("HEAD", path).ok(200).body.is_empty());
        assert_eq!(unsigned("GET", &path.replace("live", "ready")).ok(503).text(), "drives are missing\n");
    }
    unsigned("GET", "/_aerie/hooks").refused(S3Code::AccessDenied);
    unsigned("GET", "/").refused(S3Code::AccessDenied);
    assert_eq!(unsigned("GET", "/_aerie/metrics").ok(200).text(), "GET metrics [] 0");
    let answer = server.send("POST", "/_aerie/hooks/a%20b?x=1%202", &[], b"abc").ok(200).text();
    assert_eq!(answer, r#"POST hooks/a b [("x", "1 2")] 3"#);
}

#[test]
fn a_panic_costs_one_request() {
    let server = Server::start();
    server.get("/_aerie/panic").refused(S3Code::InternalError);
    server.get("/").ok(200);
}

#[test]
fn shutdown_ends_idle_connections_at_once() {
    let mut server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut first = [0u8; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop();
    let rest = read_all(&mut stream);
    assert!(rest.ends_with(b"ok\n"));
}

#[test]
fn virtual_hosts_name_the_bucket() {
    let server = Server::start();
    server.send("PUT", "/hosted", &[], b"").ok(200);
    server.send("PUT", "/hosted/k", &[], b"x").ok(200);
    let bytes = b"GET /k HTTP/1.1\r\nhost: hosted.s3.test\r\nconnection: close\r\n\r\n";
    let denied = Reply::parse(&server.raw(bytes)).refused(S3Code::AccessDenied);
    assert!(denied.text().contains("s3:GetObject"), "{}", denied.text());
    let host = [("host", "hosted.s3.test")];
    assert_eq!(server.send("GET", "/k", &host, b"").ok(200).body, b"x");
    assert!(server.send("GET", "/", &host, b"").ok(200).text().contains("<Key>k</Key>"));
    server.send("PUT", "/", &[("host", "virtual.s3.test")], b"").ok(200);
    server.send("PUT", "/hosted/k", &[("host", "virtual.s3.test:9000")], b"y").ok(200);
    assert_eq!(server.get("/virtual/hosted/k").ok(200).body, b"y");
}
