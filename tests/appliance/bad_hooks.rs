//! The hooks of tests/bad-hooks, all at once on a running server: S3 and a good hook go on, and each bad one is reported
//! with the limit that it broke.

use std::time::{Duration, Instant};

use crate::bad_guests::{BadHook, Ends, bad_hooks};
use crate::guest;
use crate::harness::{Appliance, Site, eventually};

/// Deadline and results as tests/bad-hooks/README.md has them; few attempts, so that the dead letters come soon.
const CONFIG: &str = "[broker]\naddress = \"127.0.0.1:0\"\n[hooks]\ndeadline_ms = 200\noutput_bytes = 262144\n\
                      [outbox]\nattempts_max = 2\nretry_ms_min = 10\nretry_ms_max = 50\n";
const OBJECTS: usize = 3;
/// A request, with the start of the program that sends it, and a result of the good hook are there by then, though some
/// twelve hooks run until their deadline. An unfair schedule would need that for each of them; the rest is the machine's.
const BOUND: Duration = Duration::from_secs(15);

/// What a fault is called where people read of it.
fn reported(fault: &str) -> &'static str {
    match fault {
        "deadline" => "the hook ran longer than its 200 ms",
        "memory" => "the hook used more than its 67108864 bytes of memory",
        "output" => "the hook gave more than its 262144 bytes of output",
        "messages" => "the hook published more than its 256 messages",
        "call" => "the hook handed over more than 16842752 bytes in one call",
        "stack" => "the hook overflowed its stack of 1048576 bytes",
        "trap" => "the hook trapped: ",
        "rejected" => "the hook answered: key",
        other => panic!("{other}: no such fault"),
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    assert!(start.elapsed() < BOUND, "{what} took {:?} beside bad hooks", start.elapsed());
    done
}

/// Adds the hooks, each with a bucket of its name and a rule; gives those that are installed, with their faults.
fn install(aerie: &Appliance, folder: &std::path::Path) -> Vec<(String, String)> {
    let mut installed = Vec::new();
    for BadHook { name, wasm, ends } in bad_hooks() {
        let file = folder.join(&name);
        std::fs::write(&file, wasm).expect("the folder is writable");
        let add = ["hook", "add", &name, file.to_str().expect("a plain path")];
        let notify = ["notify", name.as_str(), "--hook", &name];
        aerie.run(&["bucket", "create", &name]);
        match ends {
            Ends::With(fault) => {
                aerie.run(&add);
                aerie.run(&notify);
                installed.push((name, fault));
            }
            Ends::Refused(_) if name == "wrong-world" => {
                assert!(aerie.run(&add).contains("--transform wrong-world"));
                let refused = aerie.refused(&notify);
                assert!(refused.contains("a transform is for GETs"), "{refused}");
            }
            Ends::Refused(reason) => {
                let refused = aerie.refused(&add);
                assert!(refused.contains(&reason), "{name}: {refused}");
            }
        }
    }
    installed
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn bad_hooks_stop_nothing_and_each_is_reported_with_its_limit() {
    let mut site = Site::new(2);
    site.configure(CONFIG);
    let aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    let bad = install(&aerie, site.path());
    let good = site.path().join("good");
    std::fs::write(&good, guest::publishing(3)).expect("the folder is writable");
    aerie.run(&["hook", "add", "good", good.to_str().expect("a plain path")]);
    aerie.run(&["notify", "frames", "--hook", "good"]);
    let messages = aerie.subscribe("aerie/hooks/#");
    for number in 0..OBJECTS {
        for (name, _) in &bad {
            assert!(timed("a PUT", || aerie.put(&format!("{name}/{number}"), b"0123456789")).status.success());
        }
        let object = format!("frames/{number}");
        let stored = timed("a PUT", || aerie.put(&object, object.as_bytes()));
        assert!(stored.status.success(), "{stored:?}");
        assert_eq!(timed("a GET", || aerie.get(&object)), Ok(object.clone().into_bytes()));
        // Nothing of a bad hook is published, so that each message is the good one's.
        let line = timed("the good hook", || messages.find(|_| true));
        assert_eq!(line, format!("aerie/hooks/good/frames/{number} key"));
    }
    let dead = bad.len() * OBJECTS;
    eventually("all bad invocations are dead", || json(&aerie.run(&["outbox"]))["dead"] == dead);
    assert_eq!(json(&aerie.run(&["outbox"]))["publications"], 0);

    let letters = json(&aerie.run(&["outbox", "dead"]));
    let stats = json(&aerie.run(&["hook", "stats"]));
    let metrics = aerie.run(&["hook", "stats", "good"]);
    assert_eq!(json(&metrics)["failures"], serde_json::json!({}));
    for (name, fault) in &bad {
        let said = reported(fault);
        let own: Vec<_> = letters.as_array().expect("a list").iter().filter(|row| row["hook"] == **name).collect();
        assert_eq!(own.len(), OBJECTS, "{name}");
        for letter in own {
            assert!(letter["error"].as_str().expect("a text").starts_with(said), "{letter}");
            assert_eq!(letter["attempts"], 2, "{letter}");
        }
        assert_eq!(stats[name]["failures"], serde_json::json!({ fault: 2 * OBJECTS }), "{name}");
        assert_eq!((&stats[name]["dead"], &stats[name]["pending"]), (&OBJECTS.into(), &0.into()), "{name}");
        let logs = aerie.run(&["hook", "logs", name]);
        let failures = logs.lines().filter(|line| line.contains(" error ") && line.contains(said)).count();
        // A storm of lines pushes the oldest out: the log is bounded.
        assert!((1..=2 * OBJECTS).contains(&failures), "{name}: {failures} of {said}");
        assert!(logs.trim_end().lines().last().is_some_and(|line| line.contains(said)), "{name}");
    }

    // Dead letters of one hook are attempted anew, and forgotten, apart from the others.
    assert_eq!(aerie.run(&["outbox", "revive", "--hook", "unreachable"]).trim(), "3 invocations are attempted anew");
    let attempts = || json(&aerie.run(&["hook", "stats", "unreachable"]))["invocations"].as_u64().expect("a number");
    eventually("they are attempted", || attempts() > 2 * OBJECTS as u64);
    eventually("they are dead again", || json(&aerie.run(&["outbox"]))["dead"] == dead);
    assert_eq!(aerie.run(&["outbox", "forget", "--hook", "unreachable"]).trim(), "3 invocations are forgotten");
    assert_eq!(json(&aerie.run(&["outbox"]))["dead"], dead - OBJECTS);
    assert!(aerie.refused(&["outbox", "forget", "--hook", "unreachable"]).contains("no such invocation"));
    aerie.stop();
}
