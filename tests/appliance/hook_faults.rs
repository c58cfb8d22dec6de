//! kill -9 in the middle of a hook's upgrade and of a replay: the hook that runs afterwards is a whole one, and every
//! object is looked at.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::guest;
use crate::harness::{Appliance, Site, eventually};

/// A hook that stores `d/KEY` for each object, with bytes of its own: a custom section of one letter.
fn deriving(site: &Site, letter: u8) -> String {
    let mut module = guest::deriving('d');
    module.extend([0, 3, 1, b'v', letter]);
    let path = site.path().join(format!("deriving-{}.wasm", char::from(letter)));
    std::fs::write(&path, module).expect("the folder is writable");
    path.to_str().expect("a plain path").to_owned()
}

fn digest(aerie: &Appliance) -> String {
    let hooks: serde_json::Value = serde_json::from_str(&aerie.run(&["hook", "list"])).expect("the list is JSON");
    let digest = hooks.as_array().and_then(|hooks| hooks.first()?["digest"].as_str());
    digest.expect("the hook is installed").to_owned()
}

/// Whether the hook has looked at each of these keys.
fn all_seen(aerie: &Appliance, keys: &[String]) -> bool {
    keys.iter().all(|key| aerie.get(&format!("frames/d/{key}")).is_ok())
}

#[test]
fn an_upgrade_that_is_killed_half_way_leaves_a_whole_hook_and_no_object_unseen() {
    let site = Site::new(2);
    let modules = [deriving(&site, b'1'), deriving(&site, b'2')];
    let mut aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    let mut digests = BTreeSet::new();
    for module in &modules {
        aerie.run(&["hook", "add", "look", module, "--allow-derive", "d/"]);
        digests.insert(digest(&aerie));
    }
    assert_eq!(digests.len(), 2);
    aerie.run(&["notify", "frames", "--hook", "look", "--prefix", "in/"]);
    let mut keys = Vec::new();
    for round in 0..6 {
        for number in 0..3 {
            let key = format!("in/{round}-{number}");
            assert!(aerie.put(&format!("frames/{key}"), b"0123456789").status.success());
            keys.push(key);
        }
        let add = ["hook", "add", "look", &modules[round % 2], "--allow-derive", "d/"];
        let mut upgrade = aerie.client(&add).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it was built");
        // Another moment each time: before the request, while it compiles, while it stores, after the answer.
        std::thread::park_timeout(std::time::Duration::from_millis(15 * round as u64));
        aerie.kill();
        upgrade.wait().expect("the process is ours");
        aerie = site.start();
        assert!(digests.contains(&digest(&aerie)), "one of the two modules is installed");
    }
    eventually("every object was looked at", || all_seen(&aerie, &keys));
    assert!(aerie.run(&["hook", "run", "look", "frames/in/0-0"]).contains("look looked at frames/in/0-0"));
    aerie.stop();
}

#[test]
fn a_replay_goes_on_after_a_kill() {
    const OBJECTS: usize = 12;
    let site = Site::new(2);
    let module = deriving(&site, b'1');
    let aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    let mut keys = Vec::new();
    for number in 0..OBJECTS {
        let key = format!("in/{number:02}");
        assert!(aerie.put(&format!("frames/{key}"), b"0123456789").status.success());
        keys.push(key);
    }
    // So slow that the kill meets it under way.
    aerie.run(&["hook", "add", "look", &module, "--allow-derive", "d/", "--rate-per-s", "4"]);
    let replay = ["hook", "replay", "look", "--bucket", "frames", "--prefix", "in/", "--since", "2000-01-01T00:00:00Z"];
    let queued = aerie.run(&replay);
    assert!(queued.contains("aerie hook replays"), "{queued}");
    eventually("it has begun", || all_seen(&aerie, &keys[..1]));
    assert!(!all_seen(&aerie, &keys));
    aerie.kill();
    let aerie = site.start();
    eventually("it has come to its end", || all_seen(&aerie, &keys));
    assert_eq!(aerie.run(&["hook", "replays"]).trim(), "[]");
    assert!(aerie.refused(&["hook", "replays", "--stop", "7"]).contains("not under way"));
    aerie.stop();
}
