//! Identities end to end: users and keys by the command line, what they may do, what is taken down when they are refused,
//! and where their secrets lie.

use std::path::Path;

use crate::harness::{Appliance, Site};

/// Access key and secret, as a shell would source them.
fn pair(answer: &str) -> [String; 2] {
    ["AERIE_ROOT_ACCESS_KEY=", "AERIE_ROOT_SECRET_KEY="].map(|name| {
        let found = answer.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{name} is not in {answer}")).to_owned()
    })
}

/// What a command with other keys than the operator's says, and whether it was refused.
fn as_user(aerie: &Appliance, keys: &[String; 2], arguments: &[&str]) -> (bool, String) {
    let mut command = aerie.client(arguments);
    command.env("AERIE_ROOT_ACCESS_KEY", &keys[0]).env("AERIE_ROOT_SECRET_KEY", &keys[1]);
    let output = command.output().expect("the binary was built for this test");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

fn holds(folder: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    entries.map(|entry| entry.expect("the folder is readable").path()).any(|path| match path.is_dir() {
        true => holds(&path, text),
        false => {
            let found = std::fs::read(&path).expect("the file is readable");
            found.windows(text.len()).any(|window| window == text.as_bytes())
        }
    })
}

#[test]
fn users_have_what_they_were_given_and_their_secrets_lie_sealed() {
    let mut site = Site::new(2);
    let root = site.path().join("root-key");
    std::fs::write(&root, "5c".repeat(32)).expect("the folder is writable");
    let inside = "[broker]\naddress = \"127.0.0.1:0\"\n";
    site.configure(inside);
    let aerie = site.start();
    aerie.run(&["bucket", "create", "flights"]);
    let policy = site.path().join("policy.json");
    let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","aerie:Get*"],"Resource":"*"}]}"#;
    std::fs::write(&policy, text).expect("the folder is writable");
    aerie.run(&["policy", "create", "pilots", policy.to_str().expect("a plain path")]);
    aerie.run(&["user", "create", "ann"]);
    aerie.run(&["policy", "attach", "pilots", "--user", "ann"]);
    let ann = pair(&aerie.run(&["access-key", "create", "--user", "ann"]));
    assert!(aerie.put("flights/a", b"one").status.success());
    assert_eq!(as_user(&aerie, &ann, &["get", "flights/a"]), (true, "one".to_owned()));
    assert!(as_user(&aerie, &ann, &["status"]).0);
    for refused in [
        &["key", "create", "hers"][..],
        &["bucket", "quota", "flights", "--bytes", "1K"],
        &["user", "create", "bob"],
        &["access-key", "create", "--user", "ann"],
        &["account", "create", "other"],
    ] {
        let (done, said) = as_user(&aerie, &ann, refused);
        assert!(!done && said.contains("AccessDenied"), "{refused:?}: {said}");
    }
    let tail = aerie.run(&["audit", "tail", "-n", "1000"]);
    for action in ["POST /_aerie/v1/keys", "/_aerie/v1/buckets/flights/quota", "CreateUser", "CreateAccessKey"] {
        let line = tail.lines().rfind(|line| line.contains(action) && line.contains("user/ann"));
        assert!(line.is_some_and(|line| line.contains("403")), "{action} is not in {tail}");
    }
    aerie.stop();

    // With a root key from outside the drives alone give no secret away.
    assert!(!(1..=2).any(|drive| holds(&site.drive(drive), &ann[1])), "a drive has the secret in the clear");
    site.configure(&format!("{inside}[encryption]\nroot_key_file = {root:?}\n"));
    let aerie = site.start();
    assert_eq!(as_user(&aerie, &ann, &["get", "flights/a"]), (true, "one".to_owned()));
    aerie.run(&["access-key", "disable", &ann[0], "--user", "ann"]);
    assert!(!as_user(&aerie, &ann, &["get", "flights/a"]).0);
    aerie.run(&["access-key", "enable", &ann[0], "--user", "ann"]);
    assert!(as_user(&aerie, &ann, &["get", "flights/a"]).0);
    aerie.stop();
    assert!(!site.log().contains(&ann[1]));
    site.configure(inside);
    let refused = site.command().output().expect("the binary was built for this test");
    assert!(!refused.status.success(), "the keys that the drives hold are of no use without the root key");
}
