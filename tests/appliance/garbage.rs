//! Bytes that are no requests: each gets an answer or a closed connection, and the appliance goes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{PATIENCE, Site, noise};

/// Sends bytes and reads what comes back until the appliance hangs up.
fn exchange(authority: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(authority).expect("the appliance listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is no zero");
    // It may have hung up already; its answer counts.
    _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn malformed_requests_are_refused_and_do_no_harm() {
    let site = Site::new(1);
    let aerie = site.start();
    let long_header = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-a: b\r\n".repeat(500));
    let cases: [(&str, &[u8], &[&str]); 8] = [
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", &["", "HTTP/1.1 400"]),
        ("no path", b"GET\r\n\r\n", &["", "HTTP/1.1 400"]),
        ("long header", long_header.as_bytes(), &["HTTP/1.1 431", "HTTP/1.1 400"]),
        ("many headers", many_headers.as_bytes(), &["HTTP/1.1 431", "HTTP/1.1 400"]),
        (
            "length and chunked",
            b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            &["HTTP/1.1 400"],
        ),
        (
            "two lengths",
            b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
            &["HTTP/1.1 400"],
        ),
        ("unsigned", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &["HTTP/1.1 403"]),
        (
            "odd signature",
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: AWS4-HMAC-SHA256 nonsense\r\n\r\n",
            &["HTTP/1.1 400"],
        ),
    ];
    for (name, bytes, allowed) in cases {
        let answer = exchange(aerie.authority(), bytes);
        let fits =
            allowed.iter().any(|start| if start.is_empty() { answer.is_empty() } else { answer.starts_with(start) });
        assert!(fits, "{name}: {}", answer.get(..200).unwrap_or(&answer));
    }
    for seed in 0..50 {
        let mut stream = TcpStream::connect(aerie.authority()).expect("the appliance listens");
        // It may hang up in the middle.
        _ = stream.write_all(&noise(500, seed));
    }
    let live = exchange(aerie.authority(), b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    let ready = exchange(aerie.authority(), b"GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
}

#[test]
fn refusals_reach_the_person_in_words() {
    let site = Site::new(1);
    let aerie = site.start();
    assert!(aerie.refused(&["bucket", "create", "No_Caps"]).contains("InvalidBucketName"));
    assert!(aerie.get("nowhere/key").unwrap_err().contains("NoSuchBucket"));
    assert!(aerie.refused(&["notify", "nowhere", "--hook", "x"]).contains("NoSuchBucket"));
    let empty = site.path().join("empty.wasm");
    std::fs::write(&empty, b"no wasm").expect("the folder is writable");
    let said = aerie.refused(&["hook", "add", "broken", empty.to_str().expect("a plain path")]);
    assert!(said.contains("no WebAssembly file"), "{said}");
    let output = aerie
        .client(&["bucket", "list"])
        .env("AERIE_ROOT_ACCESS_KEY", "nobody")
        .env("AERIE_ROOT_SECRET_KEY", "wrongwrong")
        .output();
    let output = output.expect("the binary was built for this test");
    assert!(String::from_utf8_lossy(&output.stderr).contains("InvalidAccessKeyId"));
}
