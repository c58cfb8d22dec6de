//! ListenBucketNotification over a real connection.

use std::io::BufRead as _;

use super::*;
use crate::limits;

/// A listening connection: the head was good; its body is read line by line, without HTTP's chunk frames.
struct Listener {
    lines: std::io::BufReader<TcpStream>,
}

impl Listener {
    fn start(server: &Server, uri: &str) -> Listener {
        let (head, _) = server.head("GET", uri, &[], "UNSIGNED-PAYLOAD");
        let mut stream = server.connect();
        stream.write_all(&head).unwrap();
        let mut lines = std::io::BufReader::new(stream);
        let mut status = String::new();
        lines.read_line(&mut status).unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        let mut line = status;
        while line != "\r\n" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the head ends");
        }
        Listener { lines }
    }

    /// The next document; frames and spaces between are passed over. `None` at the end.
    fn next(&mut self) -> Option<serde_json::Value> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(at) = line.find('{') {
                return Some(serde_json::from_str(&line[at..]).expect("one document a line"));
            }
        }
    }

    fn event(&mut self) -> (String, String, String) {
        let document = self.next().expect("an event");
        let record = &document["Records"][0];
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        (text(&record["eventName"]), text(&record["s3"]["bucket"]["name"]), text(&record["s3"]["object"]["key"]))
    }
}

fn event(name: &str, bucket: &str, key: &str) -> (String, String, String) {
    (name.to_owned(), bucket.to_owned(), key.to_owned())
}

#[test]
fn events_come_as_they_happen() {
    let server = Server::start();
    server.send("PUT", "/heard", &[], b"").ok(200);
    server.send("PUT", "/other", &[], b"").ok(200);
    server.send("PUT", "/heard/in/before.jpg", &[], b"x").ok(200);
    let uri = "/heard?events=s3%3AObjectCreated%3A%2A&events=s3%3AObjectRemoved%3A%2A&prefix=in%2F&suffix=.jpg";
    let mut some = Listener::start(&server, uri);
    let mut all = Listener::start(&server, "/?events=s3%3A%2A&events=s3%3ABucketCreated%3A%2A");
    server.send("PUT", "/heard/in/a%20b.jpg", &[("x-amz-tagging", "a=1")], b"abc").ok(200);
    server.send("PUT", "/heard/in/a.png", &[], b"x").ok(200);
    server.send("PUT", "/other/in/c.jpg", &[], b"x").ok(200);
    server.send("DELETE", "/heard/in/a%20b.jpg", &[], b"").ok(204);
    let first = some.next().expect("an event");
    let record = &first["Records"][0];
    assert_eq!(record["eventName"], "s3:ObjectCreated:Put");
    assert_eq!(record["s3"]["object"]["key"], "in/a+b.jpg");
    assert_eq!(record["s3"]["object"]["size"], 3);
    assert_eq!(record["s3"]["object"]["eTag"], "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!((&record["awsRegion"], &record["eventVersion"]), (&REGION.into(), &"2.1".into()));
    assert_eq!(record["responseElements"]["x-amz-id-2"], "node");
    assert_eq!(record["userIdentity"]["principalId"], "root");
    assert_eq!(some.event(), event("s3:ObjectRemoved:Delete", "heard", "in/a+b.jpg"));
    for expected in [
        event("s3:ObjectCreated:Put", "heard", "in/a+b.jpg"),
        event("s3:ObjectCreated:Put", "heard", "in/a.png"),
        event("s3:ObjectCreated:Put", "other", "in/c.jpg"),
        event("s3:ObjectRemoved:Delete", "heard", "in/a+b.jpg"),
    ] {
        assert_eq!(all.event(), expected);
    }
}

#[test]
fn what_cannot_be_listened_to_is_refused() {
    let server = Server::start();
    server.send("PUT", "/heard", &[], b"").ok(200);
    for (uri, code) in [
        ("/absent?events=s3%3AObjectCreated%3A%2A", S3Code::NoSuchBucket),
        ("/heard?events=s3%3AObjectEaten%3A%2A", S3Code::InvalidArgument),
        ("/heard?events=s3%3A%2A&prefix=a&prefix=b", S3Code::InvalidArgument),
        ("/heard?events=s3%3A%2A&ping=0", S3Code::InvalidArgument),
        ("/heard?events=s3%3A%2A&ping=soon", S3Code::InvalidArgument),
    ] {
        server.get(uri).refused(code);
    }
}

#[test]
fn a_quiet_listener_is_pinged_and_there_are_only_so_many() {
    let server = Server::start();
    server.send("PUT", "/heard", &[], b"").ok(200);
    let mut pinged = Listener::start(&server, "/heard?events=s3%3A%2A&ping=1");
    assert_eq!(pinged.next(), Some(serde_json::json!({"Records": null})));
    let mut others: Vec<Listener> =
        (1..limits::LISTENERS_MAX).map(|_| Listener::start(&server, "/heard?events=s3%3A%2A")).collect();
    server.get("/heard?events=s3%3A%2A").refused(S3Code::SlowDown);
    // One that goes makes room, at the latest when it would be written to.
    others.pop();
    let clock = real::world().clock;
    let deadline_ns = clock.monotonic_ns() + 30_000_000_000;
    loop {
        let (head, _) = server.head("GET", "/heard?events=s3%3A%2A", &[], "UNSIGNED-PAYLOAD");
        let mut stream = server.connect();
        stream.write_all(&head).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        if &first == b"HTTP/1.1 200" {
            break;
        }
        assert!(clock.monotonic_ns() < deadline_ns, "no room was made");
        std::thread::yield_now();
    }
}

#[test]
fn shutdown_ends_listeners_at_once() {
    let mut server = Server::start();
    server.send("PUT", "/heard", &[], b"").ok(200);
    let mut listener = Listener::start(&server, "/heard?events=s3%3A%2A");
    server.send("PUT", "/heard/k", &[], b"x").ok(200);
    assert_eq!(listener.event(), event("s3:ObjectCreated:Put", "heard", "k"));
    server.stop();
    assert_eq!(listener.next(), None);
}
