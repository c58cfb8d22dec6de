//! Encryption at rest end to end: drives hold nothing in the clear, keys survive restarts and are in no log, and a shredded
//! bucket is closed.

use std::path::Path;
use std::process::Command;

use crate::harness::Site;

const ROOT: &str = "8f1d3c5b7a9e0f2d4c6b8a1e3f5d7c9b0a2e4f6d8c1b3a5e7f9d0c2b4a6e8f1d";
const MARK: &[u8] = b"a sentence that must not lie on any drive in the clear";

/// Whether any file below the folder holds the bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    entries.map(|entry| entry.expect("the folder is readable").path()).any(|path| match path.is_dir() {
        true => holds(&path, bytes),
        false => {
            let found = std::fs::read(&path).expect("the file is readable");
            found.windows(bytes.len()).any(|window| window == bytes)
        }
    })
}

#[test]
fn a_sealed_store_keeps_its_secrets_and_forgets_what_is_shredded() {
    let mut site = Site::new(3);
    site.log_at("trace");
    let root = site.path().join("root-key");
    std::fs::write(&root, ROOT).expect("the folder is writable");
    let broker = "[broker]\naddress = \"127.0.0.1:0\"\n[encryption]\n";
    let with_root = format!("{broker}root_key_file = {root:?}\n");
    site.configure(&format!("{with_root}default = \"AES256\"\n"));
    let aerie = site.start();
    aerie.run(&["bucket", "create", "flights"]);
    aerie.run(&["bucket", "create", "other"]);
    let body = MARK.repeat(4000);
    for object in ["flights/large", "flights/small", "other/small"] {
        let bytes = if object.ends_with("large") { &body[..] } else { MARK };
        assert!(aerie.put(object, bytes).status.success());
    }
    assert!(!(1..=3).any(|drive| holds(&site.drive(drive), MARK)), "a drive has it in the clear");
    assert!(aerie.get("flights/large").expect("it is there") == body);
    aerie.run(&["key", "create", "camera", "--alias", "aws/s3"]);
    aerie.run(&["key", "rotate", "--bucket", "flights"]);
    aerie.run(&["key", "disable", "camera"]);
    let listed: serde_json::Value = serde_json::from_str(&aerie.run(&["key", "list"])).expect("JSON");
    let find =
        |name: &str, value: &str| listed.as_array().expect("a list").iter().find(|key| key[name] == value).cloned();
    assert_eq!(find("key", "camera").expect("it is listed")["state"], "disabled");
    assert_eq!(find("bucket", "flights").expect("it is listed")["versions"].as_array().map(Vec::len), Some(2));
    assert!(aerie.refused(&["key", "rotate", "camera"]).contains("aerie key enable camera"));
    assert!(aerie.refused(&["key", "rotate", "nobody"]).contains("aerie key create nobody"));
    aerie.stop();

    // Without the root key the drives are of no use, and the start says what is missing.
    site.configure(broker);
    let refused = site.command().output().expect("the binary was built for this test");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("AERIE_ENCRYPTION_ROOT_KEY"), "{said}");
    let rescue = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rescue.py");
    let mut command = Command::new("python3");
    command.arg(rescue).arg("--out").arg(site.path().join("rescued")).args((1..=3).map(|drive| site.drive(drive)));
    let rescued = command.output().expect("python3 is there");
    let said = String::from_utf8_lossy(&rescued.stderr).into_owned();
    assert!(!rescued.status.success() && said.contains("sealed (AES256)"), "{said}");

    // From here on new objects are not sealed; those that are stay so.
    site.configure(&with_root);
    let aerie = site.start();
    assert!(aerie.get("flights/large").expect("it is there") == body);
    assert!(aerie.put("flights/plain", b"never sealed").status.success());
    assert!(aerie.refused(&["key", "shred", "--bucket", "flights"]).contains("--yes"));
    let said = aerie.run(&["key", "shred", "--bucket", "flights", "--yes"]);
    assert!(said.contains("1 versions in flights were never sealed") && !said.contains("NOT reached"), "{said}");
    aerie.kill();
    let aerie = site.start();
    for object in ["flights/large", "flights/small"] {
        let refused = aerie.get(object).expect_err("it is closed");
        assert!(refused.contains("KMSInvalidState") && refused.contains("shredded"), "{refused}");
    }
    assert_eq!(aerie.get("other/small").expect("another bucket is not touched"), MARK);
    assert_eq!(aerie.get("flights/plain").expect("it was never sealed"), b"never sealed");
    aerie.stop();
    assert!(!(1..=3).any(|drive| holds(&site.drive(drive), ROOT.as_bytes())), "the root key is on a drive");
    let (log, keys) = (site.log(), std::fs::read_to_string(site.drive(1).join("aerie.credentials")));
    assert!(log.contains(" TRACE "), "the log says all that it ever says");
    assert!(!log.contains(ROOT), "the root key is in the log");
    let secret = keys
        .expect("it was made")
        .lines()
        .find_map(|line| line.strip_prefix("AERIE_ROOT_SECRET_KEY=").map(str::to_owned));
    assert!(!log.contains(&secret.expect("it has both")), "the secret key is in the log");
}
