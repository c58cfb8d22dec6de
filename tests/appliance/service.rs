//! The appliance as a service among others: what it tells its supervisor, what it counts, and what it leaves behind when it
//! is started again and again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use crate::harness::{Appliance, PATIENCE, Site, eventually, noise};

fn metrics(aerie: &Appliance) -> String {
    let mut stream = TcpStream::connect(aerie.authority()).expect("the appliance listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is no zero");
    let request = "GET /_aerie/metrics HTTP/1.1\r\nHost: aerie\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("the appliance reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("metrics are text");
    page
}

#[test]
fn its_supervisor_is_told_and_a_hangup_does_not_end_it() {
    let site = Site::new(1);
    let path = site.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("the folder is writable");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("a timeout is no zero");
    let told = || {
        let mut state = [0; 64];
        let length = supervisor.recv(&mut state).expect("the appliance tells its state in time");
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    let aerie = site.start_with(|command| _ = command.env("NOTIFY_SOCKET", &path));
    assert_eq!(told(), "READY=1");
    aerie.signal("HUP");
    eventually("the hangup is logged", || site.log().contains("SIGHUP"));
    aerie.run(&["status"]);
    aerie.stop();
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn requests_are_counted_by_operation_and_outcome() {
    let aerie = Site::new(1);
    let aerie = aerie.start();
    aerie.run(&["bucket", "create", "frames"]);
    for key in ["frames/a", "frames/b"] {
        assert!(aerie.put(key, b"x").status.success());
    }
    aerie.refused(&["get", "frames/c"]);
    let page = metrics(&aerie);
    for line in [
        "aerie_requests_total{operation=\"PutObject\",class=\"2xx\"} 2",
        "aerie_requests_total{operation=\"GetObject\",class=\"4xx\"} 1",
        "aerie_request_duration_seconds_bucket{le=\"+Inf\"}",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

/// Each start fills segments of its own. What the last ones had reserved and not filled stayed reserved for good: a board
/// that is switched on for every flight filled its drives with nothing.
#[test]
fn starts_do_not_eat_the_drives() {
    let site = Site::new(1);
    let kept_bytes = || {
        let files = std::fs::read_dir(site.drive(1).join("segments")).expect("the drive has segments");
        files.map(|file| file.expect("it is there").metadata().map_or(0, |about| about.blocks() * 512)).sum::<u64>()
    };
    let starts = 4;
    for start in 0..starts {
        let aerie = site.start();
        if start == 0 {
            aerie.run(&["bucket", "create", "frames"]);
        }
        assert!(aerie.put(&format!("frames/{start}"), &noise(200_000, start)).status.success());
        aerie.kill();
    }
    let aerie = site.start();
    eventually("the reserved space is given back", || kept_bytes() < 8 << 20);
    for start in 0..starts {
        assert!(aerie.get(&format!("frames/{start}")).as_ref() == Ok(&noise(200_000, start)));
    }
    aerie.stop();
}
