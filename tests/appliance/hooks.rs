//! A hook author's commands against the running appliance: run, replay, logs, stats, signed bundles, filters; and an
//! object lambda.
#![expect(clippy::disallowed_methods, reason = "hands modules to the program as files")]

use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::guest;
use crate::harness::{Appliance, Site, eventually};

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
    let ended = aerie.run(&["hook", "run", "speaking", "frames/a"]);
    assert!(ended.starts_with("speaking looked at frames/a in ") && ended.contains("0 messages"), "{ended}");
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

#[test]
fn a_signed_bundle_is_made_added_and_a_tampered_one_is_refused() {
    let mut site = Site::new(2);
    let folder = site.path().to_owned();
    let path = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    let (key, module, bundle) = (path("author.key"), path("look.wasm"), path("look.bundle"));
    std::fs::write(&module, guest::publishing(3)).expect("the folder is writable");
    let offline = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::harness::AERIE).args(arguments).output().expect("it was built");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let public = offline(&["hook", "keygen", &key]);
    let made = offline(&["hook", "bundle", &bundle, "--name", "look", "--module", &module, "--allow-tags"]);
    assert!(made.contains("not signed"), "{made}");
    site.configure(&format!(
        "[broker]\naddress = \"127.0.0.1:0\"\n[hooks]\nrequire_signature = true\ntrusted_keys = [\"{public}\"]\n"
    ));
    let aerie = site.start();
    assert!(aerie.refused(&["hook", "add", "look", &module]).contains("aerie hook bundle"));
    assert!(aerie.refused(&["hook", "add", &bundle]).contains("not signed"));
    assert!(offline(&["hook", "sign", &bundle, "--key", &key]).contains(&public));
    let mut tampered = std::fs::read(&bundle).expect("it was written");
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    std::fs::write(path("tampered.bundle"), tampered).expect("the folder is writable");
    assert!(aerie.refused(&["hook", "add", &path("tampered.bundle")]).contains("the module look was changed"));
    assert!(aerie.run(&["hook", "add", &bundle]).contains(&public));
    assert!(aerie.run(&["hook", "list"]).contains("\"tags\": true"));

    // Filters beyond the key: of two objects the larger one starts it.
    aerie.run(&["bucket", "create", "frames"]);
    assert!(aerie.refused(&["notify", "frames", "--hook", "look", "--content-type", "image"]).contains("TYPE/*"));
    aerie.run(&["notify", "frames", "--hook", "look", "--suffix", ".none"]);
    let rules = aerie.run(&["notify", "frames"]);
    assert!(rules.contains("arn:aerie:hook:::look s3:ObjectCreated:* suffix=.none"), "{rules}");
    let id = rules.split(' ').next().expect("a split has one part at least");
    aerie.run(&["notify", "frames", "--remove", id]);
    assert!(aerie.refused(&["notify", "frames", "--remove", id]).contains("has no rule"));
    assert_eq!(aerie.run(&["notify", "frames"]), "");
    aerie.run(&["notify", "frames", "--hook", "look", "--size-min", "10", "--size-max", "20"]);
    let messages = aerie.subscribe("aerie/hooks/#");
    for (key, length) in [("small", 9), ("large", 21), ("right", 15)] {
        assert!(aerie.put(&format!("frames/{key}"), &vec![b'x'; length]).status.success());
    }
    let line = messages.find(|line| line.starts_with("aerie/hooks/look/frames/"));
    assert_eq!(line, "aerie/hooks/look/frames/right key");
    assert_eq!(invocations(&aerie, "look"), 1);
    let removed = aerie.run(&["hook", "remove", "look"]);
    assert!(removed.contains("frames has a rule for it still"), "{removed}");
    let status = aerie.run(&["outbox"]).replace(' ', "");
    assert!(status.contains("\"held\":0") && status.contains("\"expired\":0"), "{status}");
    aerie.stop();
}

#[test]
fn what_an_author_does_wrong_is_answered_with_what_helps() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let tree = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let new = folder.path().join("new").to_str().expect("a plain path").to_owned();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::harness::AERIE).args(arguments).output().expect("it was built");
        let both = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&both).into_owned())
    };
    let (faces, picture) = (tree("wasm-hooks/built/faces.wasm"), tree("tests/pictures/astronaut.jpg"));
    let (source, model) = (tree("wasm-hooks/templates/c/hook.c"), tree("wasm-hooks/models/blazeface.onnx"));
    let named = format!("faces={model}");
    let cases: [(&[&str], bool, &str); 11] = [
        (&["hook", "new", &new], false, "--lang rust, python, js or c"),
        (&["hook", "new", "--lang", "c", &new], true, "aerie hook add sizes hook.wasm"),
        (&["hook", "new", "--lang", "c", &new], false, "name a new folder"),
        (&["hook", "test", &faces], false, "--object picture.jpg"),
        (&["hook", "test", &source, "--object", &picture], false, "build the hook"),
        (&["hook", "test", &faces, "--object", &picture], false, "--model NAME=FILE.onnx"),
        (&["hook", "test", &faces, "--object", &picture, "--model", &named], true, "of 2000 ms"),
        (&["hook", "test", &faces, "--object", &picture, "--model", &named], true, "add it with --allow-tags"),
        (
            &["hook", "test", &faces, "--object", &picture, "--model", &named, "--key", "a/b.jpg", "--name", "see"],
            true,
            "aerie/hooks/see/local/a/b.jpg {",
        ),
        (
            &["hook", "test", &faces, "--object", &picture, "--model", &named, "--memory-mib", "1"],
            false,
            "more than its 1048576 bytes of memory",
        ),
        (&["hook", "add", &faces], false, "aerie hook add NAME"),
    ];
    for (arguments, good, expected) in cases {
        let (ended_well, said) = run(arguments);
        assert!(ended_well == good && said.contains(expected), "{arguments:?}: {said}");
    }
}
