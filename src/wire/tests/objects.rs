//! Objects, end to end.

use super::*;

const MIB: usize = 1 << 20;

#[test]
fn objects_of_all_sizes_come_back_whole_and_in_ranges() {
    let server = Server::start();
    server.send("PUT", "/sizes", &[], b"").ok(200);
    for size in [0, 1, 1024, 1025, 100_000, MIB, 3 * MIB + 7] {
        let body = bytes(size);
        let uri = format!("/sizes/dir/{size}//..");
        let put = server.send("PUT", &uri, &[("content-type", "image/jpeg")], &body).ok(200);
        let etag = format!("\"{}\"", hex_encode(&crate::hash::Md5::of(&body)));
        assert_eq!(put.header("etag"), etag);
        assert_eq!(put.header("x-amz-version-id"), "-");
        let got = server.get(&uri).ok(200);
        assert!(got.body == body, "{size} bytes differ");
        assert_eq!(got.header("content-length"), size.to_string());
        assert_eq!(got.header("content-type"), "image/jpeg");
        assert_eq!(got.header("etag"), etag);
        assert_eq!(got.header("accept-ranges"), "bytes");
        assert_eq!(got.header("x-amz-request-id").len(), 16);
        let head = server.send("HEAD", &uri, &[], b"").ok(200);
        assert_eq!((head.header("content-length"), head.body.len()), (size.to_string().as_str(), 0));
        for (range, from, to) in
            [("bytes=0-0", 0, 1), ("bytes=-3", size.saturating_sub(3), size), ("bytes=1-", 1, size)]
        {
            let got = server.send("GET", &uri, &[("range", range)], b"");
            if from >= to.min(size) {
                let got = got.refused(S3Code::InvalidRange);
                assert_eq!(got.header("content-range"), format!("bytes */{size}"));
                continue;
            }
            let got = got.ok(206);
            assert!(got.body == body[from..to], "{range} of {size}");
            assert_eq!(got.header("content-range"), format!("bytes {from}-{}/{size}", to - 1));
        }
        server.send("DELETE", &uri, &[], b"").ok(204);
        server.get(&uri).refused(S3Code::NoSuchKey);
        let gone = server.send("HEAD", &uri, &[], b"").ok(404);
        assert!(gone.body.is_empty());
    }
    server.send("PUT", "/nowhere/k", &[], b"x").refused(S3Code::NoSuchBucket);
    server.send("DELETE", "/sizes", &[], b"").ok(204);
}

#[test]
fn what_is_said_of_an_object_comes_back() {
    let server = Server::start();
    server.send("PUT", "/meta", &[], b"").ok(200);
    let put = server.send(
        "PUT",
        "/meta/k",
        &[
            ("content-encoding", "aws-chunked,gzip"),
            ("cache-control", "no-cache"),
            ("x-amz-meta-name", "grüße"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-tagging", "a=1&b=two%20words"),
            ("x-amz-checksum-crc32", "DUoRhQ=="),
        ],
        b"hello world",
    );
    let put = put.ok(200);
    assert_eq!((put.header("x-amz-checksum-crc32"), put.header("x-amz-checksum-type")), ("DUoRhQ==", "FULL_OBJECT"));
    let got = server.send("GET", "/meta/k", &[("x-amz-checksum-mode", "ENABLED")], b"").ok(200);
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-type", "binary/octet-stream"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-name", "=?UTF-8?B?Z3LDvMOfZQ==?="),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging-count", "2"),
        ("x-amz-checksum-crc32", "DUoRhQ=="),
        ("server", "Aerie/test"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    let got = server.get("/meta/k?response-content-type=text%2Fplain&response-cache-control=max-age%3D1").ok(200);
    assert_eq!((got.header("content-type"), got.header("cache-control")), ("text/plain", "max-age=1"));
    assert_eq!(got.header("x-amz-checksum-crc32"), "-");
    let tags = server.get("/meta/k?tagging").ok(200).text();
    assert!(tags.contains("<Key>b</Key><Value>two words</Value>"), "{tags}");
    let document = b"<Tagging><TagSet><Tag><Key>c</Key><Value>3</Value></Tag></TagSet></Tagging>";
    server.send("PUT", "/meta/k?tagging", &[], document).ok(200);
    assert!(server.get("/meta/k?tagging").ok(200).text().contains("<Key>c</Key>"));
    server.send("DELETE", "/meta/k?tagging", &[], b"").ok(204);
    assert!(!server.get("/meta/k?tagging").ok(200).text().contains("<Tag>"));
    let wanted = [("x-amz-object-attributes", "ETag,Checksum,ObjectSize,StorageClass")];
    let attributes = server.send("GET", "/meta/k?attributes", &wanted, b"").ok(200).text();
    for part in [
        "<ETag>5eb63bbbe01eeed093cb22bb8f5acdc3</ETag>",
        "<ChecksumCRC32>DUoRhQ==</ChecksumCRC32>",
        "<ObjectSize>11</ObjectSize>",
        "<StorageClass>STANDARD_IA</StorageClass>",
    ] {
        assert!(attributes.contains(part), "{part} in {attributes}");
    }
    server
        .send("GET", "/meta/k?attributes", &[("x-amz-object-attributes", "Colour")], b"")
        .refused(S3Code::InvalidArgument);
    server.get("/meta/k?partNumber=1").ok(206);
    server.get("/meta/k?partNumber=2").refused(S3Code::InvalidPartNumber);
    server.get("/meta/k?partNumber=0").refused(S3Code::InvalidArgument);
}

#[test]
fn conditions_hold_on_reads_writes_and_deletes() {
    let server = Server::start();
    server.send("PUT", "/cond", &[], b"").ok(200);
    let etag = server.send("PUT", "/cond/k", &[("if-none-match", "*")], b"one").ok(200).header("etag").to_owned();
    server.send("PUT", "/cond/k", &[("if-none-match", "*")], b"two").refused(S3Code::PreconditionFailed);
    server.send("PUT", "/cond/k", &[("if-match", "\"no\"")], b"two").refused(S3Code::PreconditionFailed);
    server.send("PUT", "/cond/absent", &[("if-match", "\"no\"")], b"two").refused(S3Code::NoSuchKey);
    server.send("GET", "/cond/k", &[("if-match", "\"no\"")], b"").refused(S3Code::PreconditionFailed);
    let not_modified = server.send("GET", "/cond/k", &[("if-none-match", &etag)], b"").ok(304);
    assert_eq!((not_modified.body.len(), not_modified.header("etag")), (0, etag.as_str()));
    server.send("HEAD", "/cond/k", &[("if-none-match", &etag)], b"").ok(304);
    server.send("DELETE", "/cond/k", &[("if-match", "\"no\"")], b"").refused(S3Code::PreconditionFailed);
    assert_eq!(server.get("/cond/k").ok(200).body, b"one");
    server.send("PUT", "/cond/k", &[("if-match", &etag)], b"two").ok(200);
    assert_eq!(server.get("/cond/k").ok(200).body, b"two");
}

#[test]
fn versions_and_delete_markers_are_told() {
    let server = Server::start();
    server.send("PUT", "/ver", &[], b"").ok(200);
    let enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.send("PUT", "/ver?versioning", &[], enable).ok(200);
    let first = server.send("PUT", "/ver/k", &[], b"one").ok(200).header("x-amz-version-id").to_owned();
    let second = server.send("PUT", "/ver/k", &[], b"two").ok(200).header("x-amz-version-id").to_owned();
    assert_ne!(first, second);
    assert_eq!(server.get(&format!("/ver/k?versionId={first}")).ok(200).body, b"one");
    let deleted = server.send("DELETE", "/ver/k", &[], b"").ok(204);
    assert_eq!(deleted.header("x-amz-delete-marker"), "true");
    let marker = deleted.header("x-amz-version-id").to_owned();
    let gone = server.get("/ver/k").refused(S3Code::NoSuchKey);
    assert_eq!((gone.header("x-amz-delete-marker"), gone.header("x-amz-version-id")), ("true", marker.as_str()));
    let named = server.get(&format!("/ver/k?versionId={marker}")).refused(S3Code::MethodNotAllowed);
    assert_eq!((named.header("x-amz-delete-marker"), named.header("allow")), ("true", "DELETE"));
    server.send("DELETE", &format!("/ver/k?versionId={marker}"), &[], b"").ok(204);
    assert_eq!(server.get("/ver/k").ok(200).body, b"two");
    let source = format!("/ver/k?versionId={first}");
    let copy = server.send("PUT", "/ver/k", &[("x-amz-copy-source", &source)], b"").ok(200);
    assert_eq!(copy.header("x-amz-copy-source-version-id"), first);
    assert_eq!(server.get("/ver/k").ok(200).body, b"one");
    server.get("/ver/k?versionId=bogus").refused(S3Code::InvalidArgument);
}

#[test]
fn copies_follow_their_directives() {
    let server = Server::start();
    server.send("PUT", "/from", &[], b"").ok(200);
    server.send("PUT", "/target", &[], b"").ok(200);
    let said = [("x-amz-meta-a", "1"), ("x-amz-tagging", "t=1"), ("content-type", "text/css")];
    let etag = server.send("PUT", "/from/a%20b", &said, b"hello world").ok(200).header("etag").to_owned();
    let source = ("x-amz-copy-source", "/from/a%20b");
    let copied = server.send("PUT", "/target/k", &[source, ("x-amz-checksum-algorithm", "CRC32")], b"").ok(200).text();
    assert!(
        copied.contains("<CopyObjectResult") && copied.contains("<ChecksumCRC32>DUoRhQ==</ChecksumCRC32>"),
        "{copied}"
    );
    let got = server.get("/target/k").ok(200);
    assert_eq!(got.body, b"hello world");
    let said = ["x-amz-meta-a", "content-type", "x-amz-tagging-count"].map(|name| got.header(name).to_owned());
    assert_eq!(said, ["1", "text/css", "1"]);
    let replace = [
        source,
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-meta-b", "2"),
    ];
    server.send("PUT", "/target/k", &replace, b"").ok(200);
    let got = server.get("/target/k").ok(200);
    let said = ["x-amz-meta-a", "x-amz-meta-b", "x-amz-tagging-count"].map(|name| got.header(name).to_owned());
    assert_eq!(said, ["-", "2", "-"]);
    for (headers, uri, code) in [
        (vec![source], "/from/a%20b", S3Code::InvalidRequest),
        (vec![("x-amz-copy-source", "/from/none")], "/target/k", S3Code::NoSuchKey),
        (vec![("x-amz-copy-source", "/gone/k")], "/target/k", S3Code::NoSuchBucket),
        (vec![("x-amz-copy-source", "from")], "/target/k", S3Code::InvalidArgument),
        (vec![("x-amz-copy-source", "/.aerie/k")], "/target/k", S3Code::AccessDenied),
        (vec![source, ("x-amz-metadata-directive", "MERGE")], "/target/k", S3Code::InvalidArgument),
        (vec![source, ("x-amz-copy-source-if-none-match", &etag)], "/target/k", S3Code::PreconditionFailed),
        (vec![source, ("x-amz-copy-source-if-match", "\"no\"")], "/target/k", S3Code::PreconditionFailed),
        (vec![source, ("x-amz-server-side-encryption", "aws:kms:dsse")], "/target/k", S3Code::NotImplemented),
    ] {
        server.send("PUT", uri, &headers, b"").refused(code);
    }
    server.send("PUT", "/from/a%20b", &[source, ("x-amz-metadata-directive", "REPLACE")], b"").ok(200);
    assert_eq!(server.get("/from/a%20b").ok(200).header("x-amz-meta-a"), "-");
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    let server = Server::start();
    server.send("PUT", "/not", &[], b"").ok(200);
    for (method, uri, headers, code) in [
        ("GET", "/not/k?torrent", vec![], S3Code::NotImplemented),
        ("POST", "/not/k?restore", vec![], S3Code::NotImplemented),
        ("PUT", "/not/k", vec![("x-amz-server-side-encryption", "aws:kms:dsse")], S3Code::NotImplemented),
        ("PUT", "/not/k", vec![("x-amz-acl", "public-read")], S3Code::AccessControlListNotSupported),
        ("PUT", "/not/k", vec![("x-amz-expected-bucket-owner", "111122223333")], S3Code::AccessDenied),
        ("PUT", "/not/k", vec![("content-md5", "junk")], S3Code::InvalidDigest),
        ("PUT", "/not/k", vec![("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")], S3Code::BadDigest),
        ("PUT", "/not/k", vec![("x-amz-checksum-crc32", "AAAAAA==")], S3Code::BadDigest),
        ("PUT", "/not/k", vec![("x-amz-checksum-crc32", "junk")], S3Code::InvalidRequest),
        (
            "PUT",
            "/not/k",
            vec![("x-amz-sdk-checksum-algorithm", "sha256"), ("x-amz-checksum-crc32", "jNxPnQ==")],
            S3Code::InvalidRequest,
        ),
        ("PUT", "/.aerie/k", vec![], S3Code::AccessDenied),
        ("PATCH", "/not/k", vec![], S3Code::MethodNotAllowed),
    ] {
        server.send(method, uri, &headers, b"x").refused(code);
    }
    server.get("/not/k").refused(S3Code::NoSuchKey);
    let torrent = server.get("/not/k?torrent").text();
    assert!(torrent.contains("GetObjectTorrent is not implemented"), "{torrent}");
}
