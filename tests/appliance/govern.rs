//! What an operator rules, by the command line: quotas, rolling buckets, lifecycle days, the clock, the audit log.

use std::path::Path;
use std::process::Command;

use crate::harness::{Appliance, Site, noise};

fn keys(aerie: &Appliance, bucket: &str, count: usize) -> Vec<usize> {
    (0..count).filter(|number| aerie.get(&format!("{bucket}/{number:02}")).is_ok()).collect()
}

#[test]
fn buckets_hold_no_more_than_they_may_and_every_rule_is_taken_down() {
    let mut site = Site::new(3);
    site.configure("[broker]\naddress = \"127.0.0.1:0\"\n[audit]\nrequests = true\n");
    let aerie = site.start();
    for bucket in ["full", "frames"] {
        aerie.run(&["bucket", "create", bucket]);
    }
    aerie.run(&["bucket", "quota", "full", "--bytes", "3K", "--objects", "2"]);
    assert!(aerie.put("full/a", &noise(2_000, 1)).status.success());
    let refused = aerie.put("full/b", &noise(2_000, 2));
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("QuotaExceeded"), "{refused:?}");
    aerie.run(&["bucket", "rolling", "frames", "--bytes", "10000"]);
    for number in 0..8u64 {
        assert!(aerie.put(&format!("frames/{number:02}"), &noise(3_000, number)).status.success());
    }
    assert_eq!(keys(&aerie, "frames", 8), [5, 6, 7]);
    let list = aerie.run(&["bucket", "list"]);
    assert!(list.contains("frames\t3\t9000\trolling=10000"), "{list}");
    assert!(list.contains("full\t1\t2000\tquota_bytes=3072\tquota_objects=2"), "{list}");
    assert!(aerie.refused(&["bucket", "quota", "absent", "--bytes", "1"]).contains("no such bucket"));
    assert!(aerie.run(&["clock"]).contains("\"guarded\": false"));
    aerie.run(&["clock", "accept"]);

    let verified = aerie.run(&["audit", "verify"]);
    let noted = verified.split("note ").nth(1).expect("it says what to note").trim().to_owned();
    let tail = aerie.run(&["audit", "tail", "-n", "1000"]);
    for part in ["/_aerie/v1/buckets/full/quota", "403 QuotaExceeded", "\"PutObject\"", "/_aerie/v1/clock/accept"] {
        assert!(tail.contains(part), "{part} is not in {tail}");
    }
    aerie.kill();
    let aerie = site.start();
    aerie.run(&["audit", "verify", "--noted", &noted]);
    let (number, hash) = noted.split_once(':').expect("it is NUMBER:HASH");
    let other = format!("{number}:{}", hash.chars().rev().collect::<String>());
    assert!(aerie.refused(&["audit", "verify", "--noted", &other]).contains("rewritten"));
    aerie.run(&["bucket", "rolling", "frames", "--off"]);
    for number in 0..8u64 {
        assert!(aerie.put(&format!("frames/{number:02}"), &noise(3_000, number)).status.success());
    }
    assert_eq!(keys(&aerie, "frames", 8).len(), 8);
    let status = aerie.run(&["status"]);
    assert!(status.contains("\"bytes\": 24000"), "{status}");
    aerie.stop();

    // The drives alone give the log back, and the line that was noted is still in its place.
    let log = site.path().join("audit");
    let rescue = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rescue.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(rescue).arg("--audit").arg(&log).args((1..=2).map(|drive| site.drive(drive)));
    let rescued = command.output().expect("python3 is there");
    assert!(rescued.status.success(), "{rescued:?}");
    let log = std::fs::read_to_string(log).expect("it was written");
    let mut end = aerie::audit::ChainEnd::default();
    let follows = |line: &str| end.follow(line).map(|()| format!("{}:{}", end.number, end.hash) == noted);
    let found: Result<Vec<bool>, _> = log.lines().map(follows).collect();
    assert!(found.expect("the chain holds").contains(&true), "{noted} is not in {log}");
}
