//! TLS on the S3 address, by the pair that `aerie tls init` makes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use crate::harness::{AERIE, Appliance, PATIENCE, Site, eventually};

fn init(folder: &std::path::Path) -> Output {
    let mut command = Command::new(AERIE);
    command.args(["tls", "init", "127.0.0.1", "--folder"]).arg(folder);
    command.output().expect("the binary was built for this test")
}

/// Sends one request without TLS and gives the answer's head.
fn plain(aerie: &Appliance, path: &str) -> String {
    let mut stream = TcpStream::connect(aerie.authority()).expect("the appliance listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is no zero");
    let host = aerie.authority();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the appliance reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text");
    answer
}

fn over_tls(aerie: &Appliance, folder: &std::path::Path, shown: bool, arguments: &[&str]) -> Output {
    let mut command = aerie.client(arguments);
    command.env("AERIE_CA_FILE", folder.join("certificate.pem"));
    if shown {
        command.env("AERIE_CLIENT_CERTIFICATE_FILE", folder.join("certificate.pem"));
        command.env("AERIE_CLIENT_KEY_FILE", folder.join("key.pem"));
    }
    command.output().expect("the binary was built for this test")
}

#[test]
fn objects_travel_by_tls_and_a_renewed_certificate_needs_no_restart() {
    let mut site = Site::new(1);
    let folder = site.path().join("tls");
    let settings = init(&folder);
    assert!(settings.status.success(), "{settings:?}");
    let settings = String::from_utf8(settings.stdout).expect("settings are text");
    site.configure(&format!("[broker]\naddress = \"127.0.0.1:0\"\n{settings}"));
    let aerie = site.start();
    assert!(aerie.endpoint.starts_with("https://"), "{}", aerie.endpoint);
    assert!(over_tls(&aerie, &folder, false, &["bucket", "create", "photos"]).status.success());

    // Large enough for many records both ways.
    let picture = std::fs::read("tests/pictures/coffee.jpg").expect("the picture is in the tree");
    assert!(over_tls(&aerie, &folder, false, &["put", "tests/pictures/coffee.jpg", "photos/a"]).status.success());
    assert_eq!(over_tls(&aerie, &folder, false, &["get", "photos/a"]).stdout, picture);

    let answer = plain(&aerie, "/photos/a?x=1");
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    let there = format!("location: {}/photos/a?x=1\r\n", aerie.endpoint);
    assert!(answer.to_lowercase().contains(&there), "{answer}");
    assert!(plain(&aerie, "/health/live").starts_with("HTTP/1.1 200"), "probes need no TLS");
    let distrusted = aerie.client(&["get", "photos/a"]).output().expect("the binary was built for this test");
    assert!(String::from_utf8_lossy(&distrusted.stderr).contains("AERIE_CA_FILE"), "{distrusted:?}");

    let again = init(&folder);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "a key is never overwritten");
    for file in ["certificate.pem", "key.pem"] {
        std::fs::remove_file(folder.join(file)).expect("made above");
    }
    assert!(init(&folder).status.success());
    eventually("the new certificate is shown", || {
        over_tls(&aerie, &folder, false, &["get", "photos/a"]).stdout == picture
    });
    aerie.stop();
}

#[test]
fn mutual_tls_and_no_plain_requests() {
    let mut site = Site::new(1);
    let folder = site.path().join("tls");
    let settings = String::from_utf8(init(&folder).stdout).expect("settings are text");
    let certificate = folder.join("certificate.pem");
    site.configure(&format!(
        "[broker]\naddress = \"127.0.0.1:0\"\n{settings}client_ca_file = {certificate:?}\nplain_http = \"refuse\"\nversion_min = \"1.3\"\n"
    ));
    let aerie = site.start();
    let shown = over_tls(&aerie, &folder, true, &["bucket", "create", "photos"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(!over_tls(&aerie, &folder, false, &["bucket", "create", "photos2"]).status.success());
    let answer = plain(&aerie, "/photos");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("https://"), "{answer}");
    // Noise that looks like a handshake ends with its connection.
    let mut stream = TcpStream::connect(aerie.authority()).expect("the appliance listens");
    stream.write_all(b"\x16\x03\x01\xff\xff nonsense").expect("the appliance reads");
    drop(stream);
    assert!(over_tls(&aerie, &folder, true, &["bucket", "list"]).status.success());
}
