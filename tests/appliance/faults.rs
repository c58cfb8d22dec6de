//! What breaks on a board: processes killed, drives gone, drives replaced.

use crate::harness::{Site, eventually, noise};

#[test]
fn what_was_acknowledged_survives_kill_after_every_put() {
    let site = Site::new(4);
    let mut stored = Vec::new();
    for round in 0..5u64 {
        let aerie = site.start();
        if round == 0 {
            aerie.run(&["bucket", "create", "frames"]);
        }
        for (number, size) in [0usize, 700, 5_000, 1_500_000].into_iter().enumerate() {
            let key = format!("frames/{round}-{number}");
            let bytes = noise(size, round * 10 + number as u64);
            assert!(aerie.put(&key, &bytes).status.success());
            stored.push((key, bytes));
        }
        aerie.kill();
    }
    let aerie = site.start();
    for (key, bytes) in &stored {
        assert!(aerie.get(key).as_ref() == Ok(bytes), "{key} differs");
    }
}

#[test]
fn any_two_of_six_drives_may_go_and_come_back_empty() {
    let site = Site::new(6);
    let aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    let objects: Vec<(String, Vec<u8>)> =
        [100, 9_000, 2_300_000].iter().map(|size| (format!("frames/{size}"), noise(*size, *size as u64))).collect();
    for (key, bytes) in &objects {
        assert!(aerie.put(key, bytes).status.success());
    }
    let all_there = |aerie: &crate::harness::Appliance| {
        for (key, bytes) in &objects {
            let got = aerie.get(key);
            assert!(got.as_ref() == Ok(bytes), "{key} differs: {:?}\n{}", got.map(|bytes| bytes.len()), site.log());
        }
    };
    // Hot: the folders vanish under the running process.
    std::fs::remove_dir_all(site.drive(1)).expect("the folder was there");
    std::fs::remove_dir_all(site.drive(4)).expect("the folder was there");
    all_there(&aerie);
    aerie.kill();
    // Cold: a start without them.
    let aerie = site.start();
    all_there(&aerie);
    assert!(aerie.put("frames/degraded", &noise(50_000, 3)).status.success(), "k drives take uploads");
    aerie.stop();
    // Replaced by empty ones: rebuilt, then two others may go.
    for drive in [1, 4] {
        std::fs::create_dir(site.drive(drive)).expect("removed above");
    }
    let aerie = site.start();
    eventually("the census finds everything whole", || aerie.try_run(&["verify"]).status.success());
    aerie.stop();
    for drive in [2, 3] {
        std::fs::remove_dir_all(site.drive(drive)).expect("the folder was there");
    }
    let aerie = site.start();
    all_there(&aerie);
    assert!(aerie.get("frames/degraded").as_ref() == Ok(&noise(50_000, 3)));
}

#[test]
fn bad_starts_say_what_to_do() {
    let site = Site::new(3);
    let twice = site.command().arg(site.drive(1)).output().expect("the binary was built for this test");
    let said = String::from_utf8_lossy(&twice.stderr);
    assert!(!twice.status.success() && said.contains("give each drive a folder of its own"), "{said}");
    // Otherwise the next start would find a pool of four drives.
    assert!(!site.drive(1).join("aerie.label").exists());
    site.start().stop();
    let refused = |site: &Site| {
        let output = site.command().output().expect("the binary was built for this test");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for drive in [1, 2] {
        std::fs::rename(site.drive(drive), site.path().join(format!("away{drive}"))).expect("the folder was there");
    }
    let said = refused(&site);
    assert!(said.contains("attach more of the pool's drives"), "{said}");
    let mut other = Site::new(3);
    other.configure("[server]\nport = 9\n");
    let said = refused(&other);
    assert!(said.contains("unknown field `port`"), "{said}");
}

#[test]
fn two_processes_never_share_the_drives() {
    let site = Site::new(2);
    let aerie = site.start();
    let output = site.command().output().expect("the binary was built for this test");
    assert!(!output.status.success(), "a second process on the same drives was let in");
    aerie.stop();
}
