//! A running `aerie serve` on temporary folders, and its own client commands against it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const AERIE: &str = env!("CARGO_BIN_EXE_aerie");
/// Every wait of these tests ends by then; the machines that run them may be slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Folders that outlive the processes on them.
pub struct Site {
    folder: tempfile::TempDir,
    drives: usize,
    config: String,
    log: &'static str,
}

/// A running appliance; ends with the value.
pub struct Appliance {
    child: Child,
    pub endpoint: String,
    pub mqtt: String,
    credentials: PathBuf,
    folder: PathBuf,
}

impl Site {
    pub fn new(drives: usize) -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for drive in 1..=drives {
            std::fs::create_dir(folder.path().join(format!("d{drive}"))).expect("an empty folder takes a folder");
        }
        Site { folder, drives, config: "[broker]\naddress = \"127.0.0.1:0\"\n".to_owned(), log: "" }
    }

    /// What AERIE_LOG says; nothing, unless this was called.
    pub fn log_at(&mut self, level: &'static str) {
        self.log = level;
    }

    /// Replaces the configuration file.
    pub fn configure(&mut self, config: &str) {
        self.config = config.to_owned();
    }

    pub fn drive(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("d{number}"))
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self) -> Command {
        let config = self.folder.path().join("aerie.toml");
        std::fs::write(&config, &self.config).expect("the folder is writable");
        let mut command = Command::new(AERIE);
        command.args(["serve", "--address", "127.0.0.1:0", "--config"]).arg(config);
        command.arg(format!("{}/d{{1..{}}}", self.folder.path().display(), self.drives));
        command.env_remove("AERIE_ROOT_ACCESS_KEY").env_remove("AERIE_ROOT_SECRET_KEY").env("AERIE_LOG", self.log);
        command
    }

    pub fn start(&self) -> Appliance {
        self.start_with(|_| {})
    }

    /// Starts it with more than the usual.
    pub fn start_with(&self, prepare: impl FnOnce(&mut Command)) -> Appliance {
        let log = std::fs::File::options().append(true).create(true).open(self.folder.path().join("log"));
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(log.expect("the folder is writable"));
        prepare(&mut command);
        let mut child = command.spawn().expect("the binary was built for this test");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped above");
        BufReader::new(out).read_line(&mut line).expect("standard output is text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [ready, endpoint, mqtt, ..] = words[..] else {
            // The process has ended, or says something else than it promised.
            _ = child.kill();
            panic!("not ready: {line:?}\n{}", self.log());
        };
        assert_eq!(ready, "ready");
        let credentials = (1..=self.drives).map(|drive| self.drive(drive).join("aerie.credentials"));
        let credentials = credentials.into_iter().find(|file| file.exists()).expect("some drive keeps the root keys");
        // Drives come and go in these tests; the operator has a copy of the keys.
        let copied = self.folder.path().join("credentials");
        std::fs::copy(&credentials, &copied).expect("the folder is writable");
        let credentials = copied;
        Appliance {
            child,
            endpoint: endpoint.to_owned(),
            mqtt: mqtt.to_owned(),
            credentials,
            folder: self.folder.path().to_owned(),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Appliance {
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(AERIE);
        command.args(arguments).env("AERIE_ENDPOINT", &self.endpoint).env("AERIE_CREDENTIALS", &self.credentials);
        command.env_remove("AERIE_ROOT_ACCESS_KEY").env_remove("AERIE_ROOT_SECRET_KEY");
        command
    }

    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.client(arguments).output().expect("the binary was built for this test")
    }

    /// Runs a command that must end well; gives its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(output.status.success(), "aerie {arguments:?}: {error}\n--- log ---\n{log}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must be refused; gives what it said.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(!output.status.success(), "aerie {arguments:?} was to be refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Stores bytes under a key.
    pub fn put(&self, object: &str, bytes: &[u8]) -> Output {
        let file = tempfile::NamedTempFile::new_in(&self.folder).expect("the folder is writable");
        std::fs::write(file.path(), bytes).expect("the folder is writable");
        self.try_run(&["put", file.path().to_str().expect("a plain path"), object])
    }

    pub fn get(&self, object: &str) -> Result<Vec<u8>, String> {
        let output = self.try_run(&["get", object]);
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Ends the process at once, as a power cut does to it.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Sends a signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Asks it to stop, and checks that it does in time and well.
    pub fn stop(mut self) {
        self.signal("TERM");
        let mut ended = None;
        eventually("the appliance stops", || {
            ended = self.child.try_wait().expect("the process is ours");
            ended.is_some()
        });
        assert!(ended.expect("seen above").success(), "a clean stop ends with 0");
    }

    /// The root key pair.
    pub fn keys(&self) -> (String, String) {
        let text = std::fs::read_to_string(&self.credentials).expect("it was copied at the start");
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).expect("it has both").to_owned();
        (value("AERIE_ROOT_ACCESS_KEY="), value("AERIE_ROOT_SECRET_KEY="))
    }

    /// `HOST:PORT` of S3.
    pub fn authority(&self) -> &str {
        self.endpoint.split_once("://").expect("the ready line names a URL").1
    }

    /// Starts to collect MQTT messages.
    pub fn subscribe(&self, topic: &str) -> Subscriber {
        let mut command = self.client(&["subscribe", "--url", &self.mqtt, topic]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built");
        let mut said = String::new();
        let mut error = BufReader::new(child.stderr.take().expect("piped above"));
        while !said.contains("subscribed") {
            said.clear();
            let length = error.read_line(&mut said).expect("standard error is text");
            assert!(length > 0, "the subscriber ended");
        }
        let mut out = child.stdout.take().expect("piped above");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Held, so that the subscriber can go on saying things.
            let _error = error;
            let mut buffer = Vec::new();
            let mut piece = [0u8; 4096];
            while let Ok(length @ 1..) = out.read(&mut piece) {
                buffer.extend_from_slice(&piece[..length]);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                        return;
                    }
                }
            }
        });
        Subscriber { child, lines }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Collects `TOPIC PAYLOAD` lines.
pub struct Subscriber {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Subscriber {
    /// The next message that `wanted` holds for; others are passed over.
    pub fn find(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the message arrives in time");
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Polls until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Bytes without regularity, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
