//! The object lambda `thumbnail` over HTTP: GET, HEAD and ranges, signed as any S3 client signs them.

use std::io::{Read, Write};
use std::net::TcpStream;

use aerie::access::Secret;
use aerie::hash::hex_encode;
use aerie::wire::{Scope, derive_key, string_to_sign};
use ring::hmac;
use time::macros::format_description;

use crate::harness::{Appliance, PATIENCE, Site};

/// An answer: its head in lower case, and its body.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_default()
    }
}

/// Sends one request, signed by Signature Version 4. `query` is encoded and sorted.
fn ask(aerie: &Appliance, method: &str, path: &str, query: &str, range: Option<&str>) -> Answer {
    let (access_key, secret_key) = aerie.keys();
    let stamp = time::OffsetDateTime::now_utc()
        .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
        .expect("a time of this century has all of them");
    let scope = Scope { date: stamp[..8].to_owned(), region: "us-east-1".to_owned(), service: "s3".to_owned() };
    let (host, signed) = (aerie.authority(), "host;x-amz-content-sha256;x-amz-date");
    let headers = format!("host:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{stamp}\n");
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{signed}\nUNSIGNED-PAYLOAD");
    let text = string_to_sign(&stamp, &scope.text(), canonical.as_bytes());
    let signature = hex_encode(hmac::sign(&derive_key(&Secret::new(&secret_key), &scope), text.as_bytes()).as_ref());
    let scope = scope.text();
    let range = range.map(|range| format!("range: {range}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path}?{query} HTTP/1.1\r\n{}\r\nauthorization: AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n{range}connection: close\r\n\r\n",
        headers.trim_end().replace('\n', "\r\n")
    );
    let mut stream = TcpStream::connect(aerie.authority()).expect("the appliance listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is no zero");
    stream.write_all(request.as_bytes()).expect("the appliance reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the appliance answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head ends");
    let body = answer.split_off(end + 4);
    Answer { head: String::from_utf8_lossy(&answer).to_lowercase(), body }
}

#[test]
fn a_picture_is_asked_for_as_a_thumbnail_whole_by_its_head_and_in_ranges() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let site = Site::new(2);
    let aerie = site.start();
    aerie.run(&["bucket", "create", "photos"]);
    let picture = std::fs::read(root.join("tests/pictures/coffee.jpg")).expect("it is in the tree");
    assert!(aerie.put("photos/picture.jpg", &picture).status.success());
    assert!(aerie.put("photos/notes.txt", b"no picture").status.success());
    let component = root.join("wasm-hooks/built/thumbnail.wasm");
    let told = aerie.run(&["hook", "add", "thumbnail", component.to_str().expect("a plain path")]);
    assert!(told.contains("aerie get BUCKET/KEY --transform thumbnail"), "{told}");

    let query = "lambdaArn=arn%3Aaerie%3Ahook%3A%3A%3Athumbnail";
    let get = |range| ask(&aerie, "GET", "/photos/picture.jpg", query, range);
    let whole = get(None);
    assert_eq!((whole.status(), whole.header("content-type")), ("200", "image/png"), "{}", whole.head);
    let small = image::load_from_memory_with_format(&whole.body, image::ImageFormat::Png).expect("a PNG");
    let original = image::load_from_memory(&picture).expect("a JPEG");
    assert_eq!(((original.width(), original.height()), (small.width(), small.height())), ((512, 341), (256, 170)));

    let head = ask(&aerie, "HEAD", "/photos/picture.jpg", query, None);
    assert_eq!((head.status(), head.header("content-type"), head.body.len()), ("200", "image/png", 0));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    assert_eq!((head.header("etag"), head.header("etag").len()), (whole.header("etag"), 34));

    // The size of the picture stands at byte 16 of a PNG.
    let (part, last) = (get(Some("bytes=16-23")), get(Some("bytes=-12")));
    assert_eq!((part.status(), part.body.as_slice()), ("206", &[0, 0, 1, 0, 0, 0, 0, 170][..]), "{}", part.head);
    assert_eq!(part.header("content-range"), format!("bytes 16-23/{}", whole.body.len()));
    assert_eq!((last.status(), last.body.as_slice()), ("206", &whole.body[whole.body.len() - 12..]));
    assert_eq!(get(Some("bytes=9999999-")).status(), "416");

    let refused = ask(&aerie, "GET", "/photos/notes.txt", query, None);
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status() == "400" && text.contains("InvalidRequest") && text.contains("picture"), "{text}");
    assert_eq!(ask(&aerie, "GET", "/photos/absent.jpg", query, None).status(), "404");
    assert_eq!(aerie.get("photos/picture.jpg").as_deref(), Ok(&picture[..]), "the object itself stays as it was");
    aerie.stop();
}
