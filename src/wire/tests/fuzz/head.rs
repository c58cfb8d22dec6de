//! Request heads: the scan for contradicting lengths against a twin, and whole connections.

use super::super::{Reply, Server, quick_timeouts, read_all};
use super::fuzz;
use crate::limits;
use crate::wire::framing::HeadScan;

const SEEDS: [&str; 6] = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "PUT /bbb/k HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\r\nabc",
    "PUT /bbb/k HTTP/1.1\r\nhost: bbb.s3.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /bbb?delete HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
    "OPTIONS /bbb/k HTTP/1.1\r\nhost: a\r\norigin: http://x\r\naccess-control-request-method: PUT\r\n\r\n",
    "HEAD /bbb/%41?versionId=null&partNumber=1 HTTP/1.1\r\nhost: a\r\nrange: bytes=0-1\r\nif-match: \"a\", W/\"b\"\r\n\r\n",
];
const WORDS: [&str; 22] = [
    "\r\n",
    "\n",
    "\r\n\r\n",
    ":",
    " ",
    "\t",
    "content-length: 3\r\n",
    "Content-Length:3\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "connection: keep-alive, upgrade\r\n",
    "host: \r\n",
    "authorization: AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host, Signature=0\r\n",
    "x-amz-date: 20300101T000000Z\r\n",
    "x-amz-copy-source: /b/k?versionId=\r\n",
    "range: bytes=-1,9-\r\n",
    "HTTP/1.0",
    "%00%ff%zz",
    "?uploads&X-Amz-Algorithm=AWS4-HMAC-SHA256",
    "/../",
    "http://other/",
    "\u{e9}",
];

/// Line by line over the whole head, with nothing kept between reads.
fn contradicts(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // What follows the last line feed is no line yet.
    let count = head.iter().filter(|byte| **byte == b'\n').count();
    let mut fields = 0;
    let mut begun = false;
    for line in lines.by_ref().take(count) {
        match (line.is_empty(), begun) {
            (true, true) => break,
            (true, false) => continue,
            (false, _) => begun = true,
        }
        let name = line.split(|byte| *byte == b':').next().filter(|name| name.len() < line.len());
        let name = name.map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
        fields += usize::from(name == b"content-length" || name == b"transfer-encoding");
    }
    fields > 1
}

#[test]
fn contradicting_lengths_are_seen_as_by_the_twin() {
    fuzz("head scan", |random, input| {
        *input = random.pick(&SEEDS).as_bytes().to_vec();
        random.mutate(input, &WORDS);
        let mut scan = HeadScan::default();
        random.split(input).into_iter().for_each(|piece| scan.feed(piece));
        assert_eq!(scan.contradicts(), contradicts(input));
    });
}

#[test]
fn no_head_hurts_the_service() {
    let server = Server::start_with(quick_timeouts());
    server.send("PUT", "/bbb", &[], b"").ok(200);
    fuzz("connection", |random, input| {
        *input = random.pick(&SEEDS).as_bytes().to_vec();
        random.mutate(input, &WORDS);
        if random.one_in(50) {
            let long = "x".repeat(random.below(2 * limits::REQUEST_HEAD_BYTES_MAX));
            let at = random.below(input.len());
            input.splice(at..at, long.into_bytes());
        }
        let mut stream = server.connect();
        // The server may close before it has everything.
        let sent = std::io::Write::write_all(&mut stream, input);
        let ended = stream.shutdown(std::net::Shutdown::Write);
        if sent.is_err() || ended.is_err() {
            return;
        }
        let answer = read_all(&mut stream);
        if answer.is_empty() {
            return;
        }
        assert!(answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
        // Every answer but the one on demand to go on has a status that fits a stranger.
        let status = Reply::parse(&answer).status;
        assert!(matches!(status, 100 | 200 | 204 | 400..=499 | 501), "{status}");
    });
    server.get("/bbb").ok(200);
}
