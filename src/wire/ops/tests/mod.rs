//! Operations on a store of real folders, from method, path, headers and body to the answer. Signatures, connections
//! and limits of time are the service's, and tested there.

mod buckets;
mod edges;
mod encryption;
mod escalation;
mod governance;
mod lambdas;
mod listeners;
mod listings;
mod lists;
mod multipart;
mod posts;
mod rights;
mod strangers;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use pollster::block_on;

use crate::access::{Account, Principal, Registry, Secret};
use crate::crypt::KeyRing;
use crate::engine::Engine;
use crate::meta::{Copy, Meta};
use crate::pool::{Pool, PoolOptions};
use crate::seam::Storage;
use crate::seam::files::RealStorage;
use crate::seam::real::world;
use crate::wire::address::Address;
use crate::wire::auth::{Authenticator, Identity, Payload};
use crate::wire::body::{RawBody, RequestBody};
use crate::wire::error::S3Error;
use crate::wire::query::Query;
use crate::wire::request::Call;
use crate::wire::response::Response;
use crate::wire::route::route;
use crate::wire::settings::{HookExists, Settings, Timeouts};
use crate::wire::transforms::Transforms;

pub const ACCESS_KEY: &str = "AKIAEXAMPLE";
pub const SECRET: &str = "the secret of the tests";

/// A store on two drives, one of them parity.
pub struct Store {
    engine: Rc<Engine>,
    settings: Arc<Settings>,
    keys: Arc<KeyRing>,
    folder: tempfile::TempDir,
}

/// An answer, its body read to the end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The text of the first element of the name, unescaped; empty where there is none.
    pub fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    /// The texts of all elements of the name, at any depth.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let root = crate::xml::parse(self.text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {}", self.text));
        let mut found = Vec::new();
        collect(&root, name, &mut found);
        found
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("the tests use visible text"))
    }

    /// `STATUS CODE` of an error, `STATUS` of a success.
    pub fn outcome(&self) -> String {
        match self.status {
            200..400 => self.status.to_string(),
            _ => format!("{} {}", self.status, self.element("Code")),
        }
    }
}

fn collect(element: &crate::xml::Element<'_>, name: &str, found: &mut Vec<String>) {
    if element.name() == name {
        found.push(element.text().to_owned());
    }
    element.children().iter().for_each(|child| collect(child, name, found));
}

impl Drop for Store {
    fn drop(&mut self) {
        // The metadata's threads are at their end before the folder goes.
        self.settings.access.stop();
        self.engine.meta().close();
    }
}

impl Store {
    pub fn new() -> Store {
        Store::in_region("us-east-1")
    }

    pub fn in_region(region: &str) -> Store {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            (name.to_owned(), Some(Arc::new(RealStorage::open(&path).expect("a drive")) as Arc<dyn Storage>))
        };
        let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world: world() };
        let pool = Pool::open(vec![place("d0"), place("d1")], options).expect("a pool");
        let copies = pool.copies().into_iter().map(|(slot, storage, current)| Copy { slot, storage, current });
        let failed = Arc::new(|slot| -> bool { panic!("copy {slot} failed") });
        let meta = Meta::open(copies.collect(), &pool.id(), failed, world()).expect("metadata");
        let storages = pool.copies().into_iter().map(|(_, storage, _)| storage).collect();
        let keys = Arc::new(KeyRing::open(storages, 0, None, world()).expect("a key ring"));
        let vault = block_on(keys.vault()).expect("a vault");
        let access = Registry::open(meta.clone(), vault, ACCESS_KEY, Secret::new(SECRET), world()).expect("identities");
        let settings = Settings {
            region: region.to_owned(),
            domain: None,
            access: Arc::new(access),
            server: "test".to_owned(),
            host_id: "node".to_owned(),
            timeouts: Timeouts::default(),
            plain_http: crate::tls::PlainHttp::Serve,
            hook_exists: HookExists::new(|hook| hook == "detect"),
            transforms: Transforms::new(lambdas::transform),
            object_ownership: crate::acl::ObjectOwnership::default(),
            clients: crate::wire::Clients::unbounded(crate::seam::real::world().clock),
            audit_requests: false,
            transfers: crate::wire::Transfers::new(16),
            traffic: crate::wire::Traffic::new(),
            customer_keys_in_clear: true,
        };
        let engine = Engine::new(meta, pool, world()).expect("an engine").with_keys(keys.clone(), None);
        Store { engine: Rc::new(engine), settings: Arc::new(settings), keys, folder }
    }

    /// A store with a bucket.
    pub fn with_bucket(bucket: &str) -> Store {
        let store = Store::new();
        assert_eq!(store.ask("PUT", &format!("/{bucket}"), &[], b"").status, 200);
        store
    }

    /// Identities as they are after a restart, with `root` as the operator's key.
    pub fn reopen_access(&self) -> Registry {
        let vault = block_on(self.keys.vault()).expect("a vault");
        let meta = self.engine.meta().clone();
        Registry::open(meta, vault, "root", Secret::new("secret"), world()).expect("identities")
    }

    /// Every byte of every file on all drives.
    pub fn bytes_on_drives(&self) -> Vec<u8> {
        fn read(folder: &std::path::Path, all: &mut Vec<u8>) {
            for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() {
                    read(&entry, all);
                } else {
                    all.extend(std::fs::read(entry).expect("a file"));
                }
            }
        }
        let mut all = Vec::new();
        read(self.folder.path(), &mut all);
        all
    }

    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let outcome = self.run(method, target, headers, body);
        let response = outcome.unwrap_or_else(|error| error.into_response(target, "ID"));
        let (head, body) = response.into_parts();
        let bytes = block_on(body.collect()).expect("the body is read").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: head.status.as_u16(), headers: head.headers, text }
    }

    fn run(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, S3Error> {
        let mut call = self.call(method, target, headers, body)?;
        if !call.operation.asks_for_itself() {
            call.authorize_operation()?;
        }
        block_on(super::run(&mut call))
    }

    /// A call of the store's root.
    pub fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Call, S3Error> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("localhost:9000"))]);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header");
            map.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let query = Query::parse(query)?;
        let address = Address::parse(path, None, None)?;
        let operation = route(&method, &address, &query, &map)?;
        let length = Some(body.len() as u64);
        let pieces = body.chunks(1000).map(Bytes::copy_from_slice).collect::<VecDeque<_>>();
        Ok(Call {
            engine: self.engine.clone(),
            settings: self.settings.clone(),
            authenticator: Rc::new(Authenticator::default()),
            facts: Rc::default(),
            operation,
            method,
            bucket: address.bucket,
            key: address.key,
            query,
            headers: map,
            identity: Identity::Signed(Arc::new(Principal::root(Arc::new(Account::store())))),
            request_id: "ID".to_owned(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            secure: false,
            tls_version: None,
            stopping: Rc::default(),
            body: Some(RequestBody::new(RawBody::Given(pieces), Payload::Unsigned, length, None)),
            body_length: length,
        })
    }

    /// Stores an object without the help of HTTP.
    pub fn put(&self, bucket: &str, key: &str, body: &'static [u8]) {
        use crate::engine::{ExpectedDigests, PutObject};
        use crate::meta::{Attributes, EventName, Requester, WriteCondition};
        let put = PutObject {
            bucket: self.engine.bucket(bucket).expect("the bucket"),
            key: key.to_owned(),
            attributes: Attributes::default(),
            sealing: None,
            size_hint: Some(body.len() as u64),
            expected: ExpectedDigests::default(),
            condition: WriteCondition::default(),
            event: EventName::ObjectCreatedPut,
            requester: Requester::default(),
        };
        let raw = RawBody::Given([Bytes::from_static(body)].into());
        let mut source = RequestBody::new(raw, Payload::Unsigned, Some(body.len() as u64), None);
        block_on(self.engine.put_object(put, &mut source)).expect("it is stored");
    }

    /// Reads an object without the help of HTTP; `None` where there is none.
    pub fn get(&self, bucket: &str, key: &str) -> Option<(crate::meta::Version, Vec<u8>)> {
        let bucket = self.engine.bucket(bucket).expect("the bucket");
        let object = self.engine.head_object(&bucket, key, crate::meta::VersionRef::Latest).ok()?;
        let mut reader = self.engine.read_object(&object, 0..object.version.size);
        let mut bytes = Vec::new();
        while let Some(piece) = block_on(reader.next()) {
            bytes.extend_from_slice(&piece.expect("it is read"));
        }
        Some((object.version, bytes))
    }
}
