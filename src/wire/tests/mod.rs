//! The service on real folders, over loopback, with a client of the tests' own.

mod attacks;
pub(super) mod fuzz;
mod listen;
mod objects;
mod protocol;
mod races;
mod uploads;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use monoio::io::IntoPollIo;
use monoio_compat::hyper::MonoioIo;

use super::auth::signing::{Scope, derive_key, string_to_sign};
use super::auth::{Identity, Signed};
use super::{Admin, AdminAnswer, AdminFuture, AdminRequest, HookExists, S3Code, Service, Settings, Timeouts, date};
use crate::access::{Account, Principal, Registry, Secret};
use crate::engine::Engine;
use crate::hash::hex_encode;
use crate::meta::{Copy, Meta};
use crate::pool::{Pool, PoolOptions};
use crate::seam::files::RealStorage;
use crate::seam::{Storage, real};

const ACCESS_KEY: &str = "ROOTKEY";
const SECRET: &str = "root-secret";
const REGION: &str = "us-east-1";

/// Answers what was asked; panics when told to.
struct Echo;

impl Admin for Echo {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Err("drives are missing".to_owned())
    }

    fn handle(&self, request: AdminRequest) -> AdminFuture<'_> {
        Box::pin(async move {
            assert_ne!(request.path, "panic", "told to");
            let text = format!("{} {} {:?} {}", request.method, request.path, request.query, request.body.len());
            AdminAnswer::text(StatusCode::OK, text)
        })
    }
}

/// A server on a thread and on folders of its own; stops when dropped.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        Server::start_with(Timeouts::default())
    }

    fn start_with(timeouts: Timeouts) -> Server {
        Server::launch(settings(timeouts))
    }

    fn launch(settings: Settings) -> Server {
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let folders: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
            let (engine, meta) = open_engine(&folders);
            let mut runtime =
                monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build().expect("a runtime");
            runtime.block_on(async {
                let service = Service::new(Rc::new(engine), Arc::new(settings), Rc::new(Echo));
                let listener = monoio::net::TcpListener::bind("127.0.0.1:0").unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                accept(listener, service.clone(), stopped).await;
                service.shutdown();
                while service.connections() > 0 {
                    monoio::time::sleep(Duration::from_millis(2)).await;
                }
            });
            meta.close();
        });
        let address = address.recv_timeout(Duration::from_secs(20)).expect("the server starts");
        Server { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Begins to stop; `drop` waits for the end.
    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends raw bytes and reads until the server closes.
    fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_all(&mut stream)
    }

    /// A signed request on a connection of its own.
    fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        let mut bytes = self.head(method, uri, &all, &hex_encode(sha256(body).as_ref())).0;
        bytes.extend_from_slice(body);
        Reply::parse(&self.raw(&bytes))
    }

    fn get(&self, uri: &str) -> Reply {
        self.send("GET", uri, &[], b"")
    }

    /// The bytes of a signed head, and its signature.
    fn head(&self, method: &str, uri: &str, headers: &[(&str, &str)], payload: &str) -> (Vec<u8>, Seed) {
        let timestamp = date::basic(real::world().clock.unix_ms());
        let host = self.address.to_string();
        let mut all = HeaderMap::new();
        let signed = [("host", host.as_str()), ("x-amz-date", &timestamp), ("x-amz-content-sha256", payload)];
        let given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        for (name, value) in signed.iter().filter(|(name, _)| !given(name)).chain(headers) {
            all.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let mut names: Vec<&str> = all.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let signed_headers = names.join(";");
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let canonical =
            Signed { method, path, query, headers: &all, signed_headers: &signed_headers, payload }.canonical();
        let scope = Scope { date: timestamp[..8].to_owned(), region: REGION.to_owned(), service: "s3".to_owned() };
        let key = derive_key(&Secret::new(SECRET), &scope);
        let string = string_to_sign(&timestamp, &scope.text(), &canonical);
        let signature = hex_encode(ring::hmac::sign(&key, string.as_bytes()).as_ref());
        let credential = format!("{ACCESS_KEY}/{}", scope.text());
        let mut text = format!("{method} {uri} HTTP/1.1\r\nConnection: close\r\nAuthorization: AWS4-HMAC-SHA256 ");
        text.push_str(&format!("Credential={credential}, SignedHeaders={signed_headers}, Signature={signature}\r\n"));
        let mut bytes = text.into_bytes();
        for (name, value) in &all {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        (bytes, Seed { key, timestamp, scope: scope.text(), signature })
    }
}

/// What chunk signatures go on from.
struct Seed {
    key: ring::hmac::Key,
    timestamp: String,
    scope: String,
    signature: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server's thread panicked");
        }
    }
}

fn quick_timeouts() -> Timeouts {
    let soon = Duration::from_millis(150);
    Timeouts { head: soon, keep_alive: soon, body_stall: soon }
}

fn settings(timeouts: Timeouts) -> Settings {
    Settings {
        region: REGION.to_owned(),
        domain: Some("s3.test".to_owned()),
        access: Arc::new(Registry::of_root(ACCESS_KEY, Secret::new(SECRET), real::world())),
        server: "Aerie/test".to_owned(),
        host_id: "node".to_owned(),
        timeouts,
        plain_http: crate::tls::PlainHttp::Serve,
        hook_exists: HookExists::new(|_| false),
        transforms: crate::wire::Transforms::none(),
        object_ownership: crate::acl::ObjectOwnership::default(),
        clients: super::Clients::unbounded(crate::seam::real::world().clock),
        audit_requests: false,
        transfers: super::Transfers::new(16),
        traffic: super::Traffic::new(),
        customer_keys_in_clear: true,
    }
}

fn open_engine(folders: &[tempfile::TempDir]) -> (Engine, Meta) {
    let world = real::world();
    let storage = |folder: &tempfile::TempDir| Arc::new(RealStorage::open(folder.path()).unwrap()) as Arc<dyn Storage>;
    let places = folders.iter().map(|folder| (folder.path().display().to_string(), Some(storage(folder)))).collect();
    let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world: world.clone() };
    let pool = Pool::open(places, options).unwrap();
    let copies = folders.iter().take(2).enumerate();
    let copies = copies.map(|(slot, folder)| Copy { slot, storage: storage(folder), current: true }).collect();
    let meta = Meta::open(copies, &pool.id(), Arc::new(|_| true), world.clone()).unwrap();
    (Engine::new(meta.clone(), pool, world).unwrap(), meta)
}

async fn accept(listener: monoio::net::TcpListener, service: Rc<Service>, stopped: oneshot::Receiver<()>) {
    let mut stopped = stopped;
    loop {
        let next = Box::pin(listener.accept());
        match select(next, stopped).await {
            Either::Left((accepted, still)) => {
                stopped = still;
                let (stream, peer) = accepted.unwrap();
                let io = MonoioIo::new(stream.into_poll_io().unwrap());
                monoio::spawn(service.clone().serve(io, peer, None));
            }
            Either::Right(_) => return,
        }
    }
}

fn sha256(bytes: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, bytes)
}

/// Reads to the end; a reset counts as the end.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0u8; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&all)),
        }
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Reply {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        Reply { status, headers, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn ok(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// An XML error of this code.
    #[track_caller]
    fn refused(self, code: S3Code) -> Reply {
        assert!(self.text().contains(&format!("<Code>{}</Code>", code.as_str())), "{} {}", self.status, self.text());
        self.ok(code.status().as_u16())
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u64).wrapping_mul(0x9e37_79b9).rotate_left(13) as u8).collect()
}

#[test]
fn identities_have_names_for_event_records() {
    let root = Identity::Signed(Arc::new(Principal::root(Arc::new(Account::store()))));
    assert_eq!((root.name_in_events().as_str(), Identity::Anonymous.name_in_events().as_str()), ("root", "anonymous"));
}
