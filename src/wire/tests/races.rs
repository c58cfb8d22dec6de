//! Many clients at once for one key: exactly one wins, and what is read is always one of what was written.

use std::sync::Barrier;

use super::*;

/// Sends all at once, each from a thread of its own; gives the statuses, sorted.
fn together(server: &Server, count: usize, send: impl Fn(&Server, usize) -> u16 + Sync) -> Vec<u16> {
    let start = Barrier::new(count);
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let sender = |number| {
            let (send, start) = (&send, &start);
            scope.spawn(move || {
                start.wait();
                send(server, number)
            })
        };
        let threads: Vec<_> = (0..count).map(sender).collect();
        threads.into_iter().map(|thread| thread.join().expect("no sender panics")).collect()
    });
    statuses.sort_unstable();
    statuses
}

fn won(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status == 200).count()
}

#[test]
fn of_a_hundred_writers_of_a_new_key_exactly_one_wins() {
    let server = Server::start();
    server.send("PUT", "/race", &[], b"").ok(200);
    for (round, size) in [10, 40_000].into_iter().enumerate() {
        let uri = format!("/race/{round}");
        let statuses = together(&server, 100, |server, number| {
            let body = vec![number as u8; size];
            server.send("PUT", &uri, &[("if-none-match", "*")], &body).status
        });
        assert_eq!(won(&statuses), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
        let body = server.get(&uri).ok(200).body;
        assert!(body.len() == size && body.iter().all(|byte| *byte == body[0]), "one writer's bytes");
    }
}

#[test]
fn of_many_who_replace_the_same_version_exactly_one_wins() {
    let server = Server::start();
    server.send("PUT", "/race", &[], b"").ok(200);
    let etag = server.send("PUT", "/race/k", &[], b"first").ok(200).header("etag").to_owned();
    let statuses = together(&server, 40, |server, number| {
        server.send("PUT", "/race/k", &[("if-match", &etag)], format!("number {number}").as_bytes()).status
    });
    assert_eq!(won(&statuses), 1, "{statuses:?}");
    let etag = server.get("/race/k").ok(200).header("etag").to_owned();
    let statuses =
        together(&server, 20, |server, _| server.send("DELETE", "/race/k", &[("if-match", &etag)], b"").status);
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 404, 409, 412].contains(status)), "{statuses:?}");
}

fn upload(server: &Server, key: &str, body: &[u8]) -> (String, String) {
    let text = server.send("POST", &format!("{key}?uploads"), &[], b"").ok(200).text();
    let id = text.split_once("<UploadId>").and_then(|(_, rest)| rest.split_once('<')).expect("an id").0.to_owned();
    let part = server.send("PUT", &format!("{key}?partNumber=1&uploadId={id}"), &[], body).ok(200);
    (id, part.header("etag").to_owned())
}

fn complete(server: &Server, key: &str, (id, etag): &(String, String), headers: &[(&str, &str)]) -> Reply {
    let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    let document = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
    server.send("POST", &format!("{key}?uploadId={id}"), headers, document.as_bytes())
}

/// A client that lost the answer repeats its request, sometimes while the first is still under way.
#[test]
fn an_upload_that_is_completed_many_times_at_once_is_one_version() {
    let server = Server::start();
    server.send("PUT", "/race", &[], b"").ok(200);
    let enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.send("PUT", "/race?versioning", &[], enable).ok(200);
    let part = upload(&server, "/race/k", b"the only part");
    let statuses = together(&server, 16, |server, _| complete(server, "/race/k", &part, &[]).status);
    assert_eq!(won(&statuses), 16, "each gets the same answer: {statuses:?}");
    let versions = server.get("/race?versions").ok(200).text();
    assert_eq!(versions.matches("<Version>").count(), 1, "{versions}");
    assert_eq!(server.get("/race/k").ok(200).body, b"the only part");
}

#[test]
fn of_many_uploads_that_want_a_new_key_exactly_one_is_completed() {
    let server = Server::start();
    server.send("PUT", "/race", &[], b"").ok(200);
    let uploads: Vec<_> = (0..12).map(|number| upload(&server, "/race/k", &[number; 100])).collect();
    let statuses = together(&server, uploads.len(), |server, number| {
        complete(server, "/race/k", &uploads[number], &[("if-none-match", "*")]).status
    });
    assert_eq!(won(&statuses), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
}
