//! A hook author's commands against the running appliance: run, replay, logs, stats; and an object lambda.
#![expect(clippy::disallowed_methods, reason = "hands modules to the program as files")]

use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::harness::{Appliance, Site, eventually};

#[path = "../../src/hook/tests/guest.rs"]
#[expect(dead_code, reason = "the sandbox's tests use the rest")]
mod guest;

/// What `aerie hook logs -f` has written so far; ends with the value.
struct Followed {
    child: std::process::Child,
    text: Arc<Mutex<String>>,
}

impl Followed {
    fn start(aerie: &Appliance, hook: &str) -> Followed {
        let mut command = aerie.client(&["hook", "logs", "-f", hook]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary was built");
        let mut out = child.stdout.take().expect("piped above");
        let text = Arc::new(Mutex::new(String::new()));
        let into = text.clone();
        std::thread::spawn(move || {
            let mut piece = [0u8; 4096];
            while let Ok(length @ 1..) = out.read(&mut piece) {
                into.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Followed { child, text }
    }

    fn lines(&self) -> usize {
        self.text.lock().expect("nobody panics").lines().filter(|line| line.ends_with(" key")).count()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn invocations(aerie: &Appliance, hook: &str) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&aerie.run(&["hook", "stats", hook])).expect("stats are JSON");
    stats["invocations"].as_u64().expect("a number")
}

#[test]
fn a_hook_is_run_replayed_followed_and_counted_and_a_transform_answers_a_get() {
    let site = Site::new(2);
    let file = |name: &str, module: Vec<u8>| {
        let path = site.path().join(name);
        std::fs::write(&path, module).expect("the folder is writable");
        path.to_str().expect("a plain path").to_owned()
    };
    let log = format!("(call $log (i32.const 1) (i32.const {}) (i32.const 3)) i32.const 0", guest::WORD);
    let (speaking, first) =
        (file("speaking.wasm", guest::hook(1, "", &log)), file("first.wasm", guest::first_bytes(4)));
    let aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    for key in ["a", "a1", "a2", "b"] {
        assert!(aerie.put(&format!("frames/{key}"), b"0123456789").status.success());
    }
    assert!(aerie.refused(&["hook", "stats", "speaking"]).contains("aerie hook list"));
    aerie.run(&["hook", "add", "speaking", &speaking]);
    let followed = Followed::start(&aerie, "speaking");
    // One object, though others begin with its key.
    aerie.run(&["hook", "run", "speaking", "frames/a"]);
    eventually("the line is followed", || followed.lines() == 1);
    assert_eq!(invocations(&aerie, "speaking"), 1);
    assert!(aerie.refused(&["hook", "run", "speaking", "frames/absent"]).contains("frames/absent"));
    aerie.run(&["hook", "replay", "speaking", "--bucket", "frames", "--prefix", "a"]);
    eventually("three more lines are followed", || followed.lines() == 4);
    assert_eq!(invocations(&aerie, "speaking"), 4);
    aerie.run(&["hook", "replay", "speaking", "--bucket", "frames", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(aerie.run(&["hook", "logs", "speaking"]).lines().count(), 4);

    aerie.run(&["hook", "add", "first", &first]);
    assert_eq!(aerie.run(&["get", "frames/a", "--transform", "first"]), "0123");
    for (object, hook, expected) in [
        ("frames/a", "speaking", "it is a hook"),
        ("frames/a", "none", "none"),
        ("frames/absent", "first", "NoSuchKey"),
    ] {
        let refused = aerie.refused(&["get", object, "--transform", hook]);
        assert!(refused.contains(expected), "{object} {hook}: {refused}");
    }
    drop(followed);
    aerie.stop();
}
