//! Bodies that are framed, signed and summed, end to end: what is stored is what was checked.

use super::*;

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The signed chunks of a body.
fn chunks(seed: &Seed, pieces: &[&[u8]], trailer: Option<(&str, &str)>) -> Vec<u8> {
    let mut previous = seed.signature.clone();
    let mut sign = |kind: &str, extra: &str, bytes: &[u8]| {
        let digest = hex_encode(sha256(bytes).as_ref());
        let (timestamp, scope) = (&seed.timestamp, &seed.scope);
        let message = format!("AWS4-HMAC-SHA256-{kind}\n{timestamp}\n{scope}\n{previous}\n{extra}{digest}");
        previous = hex_encode(ring::hmac::sign(&seed.key, message.as_bytes()).as_ref());
        previous.clone()
    };
    let mut body = Vec::new();
    for piece in pieces.iter().chain([&&b""[..]]) {
        let signature = sign("PAYLOAD", &format!("{EMPTY_SHA256}\n"), piece);
        body.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", piece.len()).as_bytes());
        body.extend_from_slice(piece);
        if !piece.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    if let Some((name, value)) = trailer {
        let signature = sign("TRAILER", "", format!("{name}:{value}\n").as_bytes());
        body.extend_from_slice(format!("{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body
}

fn put(server: &Server, uri: &str, headers: &[(&str, &str)], payload: &str, body: impl Fn(&Seed) -> Vec<u8>) -> Reply {
    let length = body(&server.head("PUT", uri, headers, payload).1).len().to_string();
    let mut all = headers.to_vec();
    all.push(("content-length", &length));
    let (mut bytes, seed) = server.head("PUT", uri, &all, payload);
    bytes.extend_from_slice(&body(&seed));
    Reply::parse(&server.raw(&bytes))
}

#[test]
fn signed_chunks_are_verified_one_by_one() {
    let server = Server::start();
    server.send("PUT", "/chunks", &[], b"").ok(200);
    let data = bytes(3 << 20);
    let (first, second) = data.split_at(2 << 20);
    let length = data.len().to_string();
    let decoded = ("x-amz-decoded-content-length", length.as_str());
    let plain = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    put(&server, "/chunks/a", &[decoded], plain, |seed| chunks(seed, &[first, second], None)).ok(200);
    assert!(server.get("/chunks/a").ok(200).body == data);

    let sum = crate::hash::Checksummer::of(crate::hash::ChecksumAlgorithm::Crc64Nvme, &data);
    let name = "x-amz-checksum-crc64nvme";
    let trailed = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let headers = [decoded, ("x-amz-trailer", name)];
    let good = put(&server, "/chunks/b", &headers, trailed, |seed| chunks(seed, &[&data], Some((name, &sum))));
    assert_eq!(good.ok(200).header(name), sum);
    assert!(server.get("/chunks/b").ok(200).body == data);

    let wrong_sum =
        put(&server, "/chunks/c", &headers, trailed, |seed| chunks(seed, &[&data], Some((name, "AAAAAAAAAAA="))));
    wrong_sum.refused(S3Code::BadDigest);
    let flipped = put(&server, "/chunks/c", &[decoded], plain, |seed| {
        let mut body = chunks(seed, &[first, second], None);
        body[1 << 20] ^= 1;
        body
    });
    flipped.refused(S3Code::SignatureDoesNotMatch);
    let swapped = put(&server, "/chunks/c", &[decoded], plain, |seed| {
        let mut other = chunks(seed, &[second, first], None);
        let at = other.len() / 2;
        other.rotate_left(at);
        other
    });
    assert!((400..500).contains(&swapped.status), "{}", swapped.text());
    let short = [("x-amz-decoded-content-length", "3")];
    put(&server, "/chunks/c", &short, plain, |seed| chunks(seed, &[&data], None)).refused(S3Code::IncompleteBody);
    put(&server, "/chunks/c", &[], plain, |seed| chunks(seed, &[&data], None)).refused(S3Code::MissingContentLength);
    server.get("/chunks/c").refused(S3Code::NoSuchKey);
}

#[test]
fn unsigned_trailers_are_compared() {
    let server = Server::start();
    server.send("PUT", "/trail", &[], b"").ok(200);
    let headers = [("x-amz-decoded-content-length", "11"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let send = |uri: &str, body: &str| put(&server, uri, &headers, payload, |_| body.as_bytes().to_vec());
    let good = send("/trail/a", "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n").ok(200);
    assert_eq!(good.header("x-amz-checksum-crc32"), "DUoRhQ==");
    assert_eq!(server.get("/trail/a").ok(200).body, b"hello world");
    for (body, code) in [
        ("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", S3Code::BadDigest),
        ("b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:junk\r\n\r\n", S3Code::MalformedTrailerError),
        ("b\r\nhello world\r\n0\r\n\r\n", S3Code::MalformedTrailerError),
        ("a\r\nhello worl\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", S3Code::IncompleteBody),
        ("z\r\nhello world\r\n0\r\n\r\n", S3Code::InvalidChunkSizeError),
        ("b\r\nhello world", S3Code::IncompleteBody),
    ] {
        send("/trail/b", body).refused(code);
    }
    server.get("/trail/b").refused(S3Code::NoSuchKey);
}

#[test]
fn the_signed_digest_is_compared_and_nothing_wrong_is_stored() {
    let server = Server::start();
    server.send("PUT", "/sums", &[], b"").ok(200);
    let digest = hex_encode(sha256(b"hello world").as_ref());
    put(&server, "/sums/a", &[], &digest, |_| b"hello world".to_vec()).ok(200);
    put(&server, "/sums/b", &[], &digest, |_| b"hello worle".to_vec()).refused(S3Code::XAmzContentSHA256Mismatch);
    put(&server, "/sums/c", &[], "UNSIGNED-PAYLOAD", |_| b"anything".to_vec()).ok(200);
    server.get("/sums/b").refused(S3Code::NoSuchKey);
}

#[test]
fn a_connection_that_breaks_stores_nothing() {
    let server = Server::start();
    server.send("PUT", "/cut", &[], b"").ok(200);
    let data = bytes(2 << 20);
    let length = data.len().to_string();
    for sent in [0, 1000, data.len() - 1] {
        let (head, _) = server.head("PUT", "/cut/k", &[("content-length", &length)], "UNSIGNED-PAYLOAD");
        let mut stream = server.connect();
        stream.write_all(&head).unwrap();
        stream.write_all(&data[..sent]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = read_all(&mut stream);
    }
    server.get("/cut/k").refused(S3Code::NoSuchKey);
}

#[test]
fn uploads_without_a_length_may_come_in_http_chunks() {
    let server = Server::start();
    server.send("PUT", "/free", &[], b"").ok(200);
    let (mut bytes, _) = server.head("PUT", "/free/k", &[("transfer-encoding", "chunked")], "UNSIGNED-PAYLOAD");
    bytes.extend_from_slice(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    Reply::parse(&server.raw(&bytes)).ok(200);
    assert_eq!(server.get("/free/k").ok(200).body, b"hello world");
    let (bytes, _) = server.head("PUT", "/free/none", &[], "UNSIGNED-PAYLOAD");
    Reply::parse(&server.raw(&bytes)).refused(S3Code::MissingContentLength);
    let created = server.send("POST", "/free/parts?uploads", &[], b"").ok(200).text();
    let id = created.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap();
    let (bytes, _) = server.head("PUT", &format!("/free/parts?partNumber=1&uploadId={id}"), &[], "UNSIGNED-PAYLOAD");
    Reply::parse(&server.raw(&bytes)).refused(S3Code::MissingContentLength);
}
