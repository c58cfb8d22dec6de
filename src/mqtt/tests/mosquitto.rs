//! The publisher against mosquitto, where that is installed (`AERIE_TEST_MOSQUITTO=required` makes it a failure when not).

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::equipment::{MemoryQueue, Subscriber, free_address, message, publisher, until};
use super::tls::Certificates;
use crate::mqtt::{Message, Password, PublisherSettings};

/// A running mosquitto with a folder of its own.
pub struct Mosquitto {
    child: Option<Child>,
    pub address: SocketAddr,
    pub tls_address: SocketAddr,
    config: PathBuf,
    folder: tempfile::TempDir,
}

/// Where Debian and others have it; it is not in every user's path.
fn program(name: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/sbin"]
        .map(|folder| Path::new(folder).join(name))
        .into_iter()
        .find(|path| path.exists());
    let required = std::env::var("AERIE_TEST_MOSQUITTO").is_ok_and(|value| value == "required");
    assert!(found.is_some() || !required, "{name} is missing: install mosquitto");
    if found.is_none() {
        println!("left out: {name} is not installed");
    }
    found
}

impl Mosquitto {
    /// Open to everybody on this machine; keeps retained messages through restarts.
    pub fn start() -> Option<Mosquitto> {
        Mosquitto::with(|listen, _, _| format!("allow_anonymous true\nlistener {} 127.0.0.1\n", listen.port()))
    }

    /// `options` gives the configuration for the two addresses and the folder.
    #[expect(clippy::disallowed_methods, reason = "the configuration is another program's file")]
    fn with(options: impl FnOnce(SocketAddr, SocketAddr, &Path) -> String) -> Option<Mosquitto> {
        program("mosquitto")?;
        let folder = tempfile::tempdir().unwrap();
        let (address, tls_address) = (free_address(), free_address());
        let place = folder.path().display();
        // As root it would become a user who cannot read the folder. The queue of a subscriber has no bound here.
        let text = format!(
            "user root\npersistence true\npersistence_location {place}/\nmax_queued_messages 0\nlog_dest file {place}/log\n{}",
            options(address, tls_address, folder.path())
        );
        let config = folder.path().join("mosquitto.conf");
        std::fs::write(&config, text).unwrap();
        let mut broker = Mosquitto { child: None, address, tls_address, config, folder };
        broker.begin();
        Some(broker)
    }

    pub fn begin(&mut self) {
        let mut command = Command::new(program("mosquitto").expect("it was found at the start"));
        let child = command.arg("-c").arg(&self.config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let log = self.folder.path().join("log");
        until(&format!("mosquitto listens; see {}", log.display()), || TcpStream::connect(self.address).is_ok());
    }

    /// Stops it as its service manager does.
    pub fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        until("mosquitto ends", || child.try_wait().unwrap().is_some());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn towards(address: SocketAddr) -> PublisherSettings {
    PublisherSettings { url: format!("mqtt://{address}"), ..PublisherSettings::default() }
}

#[test]
fn every_version_and_qos_empties_the_queue_into_mosquitto_in_order() {
    let Some(broker) = Mosquitto::start() else { return };
    for version in [5, 4] {
        for qos in [0, 1, 2] {
            let subscriber = Subscriber::connect(broker.address, "t/#");
            let queue = MemoryQueue::default();
            queue.fill(200, 7, qos);
            let properties = vec![("aerie-hook".to_owned(), "look".to_owned())];
            queue.push(Message { properties: properties.clone(), ..message(201, "t/last", qos) });
            let publisher = publisher(&queue, PublisherSettings { version, ..towards(broker.address) });
            let received = subscriber.take(201);
            let numbers: Vec<_> = received.iter().map(|message| message.payload.clone()).collect();
            let expected: Vec<_> = (1..=201).map(|number: i64| number.to_string().into_bytes()).collect();
            assert_eq!(numbers, expected, "v{version} q{qos}");
            let last = received.last().unwrap();
            let beside = (version == 5).then(|| ("event-201".to_owned(), properties));
            assert_eq!(last.event_id.clone().map(|id| (id, last.properties.clone())), beside);
            until("the queue is empty", || queue.len() == 0);
            publisher.stop();
        }
    }
}

#[test]
fn mosquitto_restarts_and_nothing_is_lost() {
    for version in [5, 4] {
        let Some(mut broker) = Mosquitto::start() else { return };
        let queue = MemoryQueue::default();
        // Retained messages tell afterwards what the broker ever had.
        for id in 1..=2000 {
            queue.push(Message { retain: true, ..message(id, &format!("t/{id}"), 1) });
        }
        let publisher = publisher(&queue, PublisherSettings { version, ..towards(broker.address) });
        for left in [1500, 1000, 500] {
            until("a part is sent", || queue.len() <= left);
            broker.end();
            broker.begin();
        }
        until("the queue is empty", || queue.len() == 0);
        let subscriber = Subscriber::connect(broker.address, "t/#");
        assert_eq!(subscriber.take_distinct(2000).len(), 2000);
        assert!(publisher.stats().connections >= 2);
        publisher.stop();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the password file is another program's")]
fn mosquitto_with_tls_and_a_password() {
    let certificates = Certificates::new();
    let Some(hasher) = program("mosquitto_passwd") else { return };
    let (certificate, key) = certificates.sign("localhost");
    let authority = certificates.authority_file();
    let broker = Mosquitto::with(|listen, tls, folder| {
        let passwords = folder.join("passwords");
        std::fs::write(&passwords, "edge:secret\n").unwrap();
        assert!(Command::new(&hasher).arg("-U").arg(&passwords).status().unwrap().success());
        format!(
            "allow_anonymous false\npassword_file {}\nlistener {} 127.0.0.1\nlistener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
            passwords.display(),
            listen.port(),
            tls.port(),
            authority.display(),
            certificate.display(),
            key.display()
        )
    });
    let Some(broker) = broker else { return };
    let subscriber = Subscriber::connect_as(broker.address, "t/#", Some(("edge", "secret"))).unwrap();
    let (own, own_key) = certificates.sign("drone-1");
    for version in [5, 4] {
        let queue = MemoryQueue::default();
        queue.fill(50, 2, 1);
        let settings = PublisherSettings {
            version,
            username: Some("edge".to_owned()),
            password: Some(Password("wrong".to_owned())),
            client_certificate_file: Some(own.clone()),
            client_key_file: Some(own_key.clone()),
            ..certificates.settings(broker.tls_address)
        };
        let stranger = publisher(&queue, settings.clone());
        until("a wrong password is turned away", || stranger.stats().last_error.is_some());
        stranger.stop();
        assert_eq!(queue.len(), 50);
        let known = publisher(&queue, PublisherSettings { password: Some(Password("secret".to_owned())), ..settings });
        assert_eq!(subscriber.take(50).len(), 50);
        until("the queue is empty", || queue.len() == 0);
        assert_eq!(known.stats().connections, 1);
        known.stop();
    }
}
