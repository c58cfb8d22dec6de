//! The chain: PUT → hook → MQTT, through restarts.

use crate::harness::{Site, eventually, noise};

fn built(hook: &str) -> String {
    format!("{}/wasm-hooks/built/{hook}.wasm", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_put_becomes_a_hooks_result_on_mqtt() {
    let site = Site::new(6);
    let aerie = site.start();
    aerie.run(&["hook", "add", "digest", &built("digest")]);
    assert!(aerie.run(&["hook", "list"]).contains("digest"));
    aerie.run(&["bucket", "create", "frames"]);
    aerie.run(&["notify", "frames", "--hook", "digest", "--suffix", ".bin"]);
    let messages = aerie.subscribe("aerie/hooks/#");
    assert!(aerie.put("frames/one.bin", &noise(3_000_000, 1)).status.success());
    assert!(aerie.put("frames/other.txt", b"does not match the rule").status.success());
    let line = messages.find(|line| line.contains("one.bin"));
    assert!(line.starts_with("aerie/hooks/digest") && line.contains("3000000"), "{line}");
    aerie.stop();
}

#[test]
fn a_plain_topic_gets_the_event_record() {
    let site = Site::new(1);
    let aerie = site.start();
    aerie.run(&["bucket", "create", "frames"]);
    aerie.run(&["notify", "frames", "--topic", "site/frames", "--event", "s3:ObjectCreated:*", "--prefix", "a/"]);
    let messages = aerie.subscribe("site/#");
    assert!(aerie.put("frames/a/x", b"hello").status.success());
    let line = messages.find(|line| line.contains("ObjectCreated:Put"));
    let (topic, payload) = line.split_once(' ').expect("topic and payload");
    assert_eq!(topic, "site/frames");
    let record: serde_json::Value = serde_json::from_str(payload).expect("the event record is JSON");
    assert_eq!(record["Records"][0]["s3"]["object"]["key"], "a/x");
    assert_eq!(record["Records"][0]["s3"]["object"]["size"], 5);
    assert_eq!(record["Records"][0]["s3"]["bucket"]["name"], "frames");
}

#[test]
fn results_wait_for_a_broker_that_is_away_through_kill_and_restart() {
    let mut site = Site::new(3);
    // Nothing listens on the discard port of loopback.
    site.configure("[mqtt]\nurl = \"mqtt://127.0.0.1:9\"\n");
    let aerie = site.start();
    aerie.run(&["hook", "add", "digest", &built("digest")]);
    aerie.run(&["bucket", "create", "frames"]);
    aerie.run(&["notify", "frames", "--hook", "digest"]);
    for number in 0..20 {
        let stored = aerie.put(&format!("frames/{number:02}"), &noise(2000, number));
        assert!(stored.status.success(), "an upload never fails because the broker is away");
    }
    aerie.kill();
    let aerie = site.start();
    eventually("all results are in the outbox", || {
        aerie.run(&["outbox"]).replace(' ', "").contains("\"publications\":20")
    });
    aerie.kill();
    site.configure("[broker]\naddress = \"127.0.0.1:0\"\n");
    let aerie = site.start();
    // The outbox may drain before a subscriber is there: what counts is that every publication was acknowledged.
    eventually("the outbox drains", || aerie.run(&["outbox"]).replace(' ', "").contains("\"publications\":0"));
    aerie.stop();
}

#[test]
fn vision_names_what_is_in_a_picture() {
    let site = Site::new(6);
    let aerie = site.start();
    let root = env!("CARGO_MANIFEST_DIR");
    aerie.run(&["model", "add", "faces", &format!("{root}/wasm-hooks/models/blazeface.onnx")]);
    aerie.run(&["hook", "add", "faces", &built("faces")]);
    aerie.run(&["bucket", "create", "photos"]);
    aerie.run(&["notify", "photos", "--hook", "faces", "--suffix", ".jpg"]);
    let messages = aerie.subscribe("aerie/hooks/faces/#");
    aerie.run(&["put", &format!("{root}/tests/pictures/astronaut.jpg"), "photos/astronaut.jpg"]);
    let line = messages.find(|line| line.contains("astronaut"));
    let result: serde_json::Value =
        serde_json::from_str(line.split_once(' ').expect("topic and payload").1).expect("the result is JSON");
    let found = result["objects"].as_array().expect("a list of what was found");
    let score = |face: &serde_json::Value| face["score"].as_f64().expect("a number");
    let face = found.iter().max_by(|a, b| score(a).total_cmp(&score(b))).expect("one face");
    assert!(score(face) > 0.5, "{line}");
    // Eileen Collins' face is in the upper middle of the picture.
    let corner = face["box"].as_array().expect("x, y, width, height");
    let at = |index: usize| corner[index].as_f64().expect("a number");
    let (x, y) = (at(0) + at(2) / 2.0, at(1) + at(3) / 2.0);
    assert!((170.0..280.0).contains(&x) && (60.0..180.0).contains(&y), "centre {x} {y}");
}
