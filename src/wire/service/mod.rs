//! The service of one core: connections in, S3 answers out.
//!
//! A request passes: address and query, route, signature, `authorize`, operation, response. Health and administration
//! leave this road at its beginning. A panic in an operation is answered 500 and costs nobody else anything.

mod administration;
mod registration;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use registration::Registration;

use crate::engine::Engine;
use crate::limits;
use crate::tls::PlainHttp;
use crate::wire::address::Address;
use crate::wire::admin::Admin;
use crate::wire::audited::{Audited, Outcome};
use crate::wire::auth::{Authenticated, Authenticator, Head, Identity, Payload};
use crate::wire::body::{self, RawBody, RequestBody};
use crate::wire::clients::{Connected, Meter};
use crate::wire::connection::{BoundedIo, Exchange};
use crate::wire::error::{S3Code, S3Error};
use crate::wire::facts::Facts;
use crate::wire::iam;
use crate::wire::ops;
use crate::wire::query::Query;
use crate::wire::request::{Call, Parts};
use crate::wire::response::{self, GuardedBody, Never, Response};
use crate::wire::route::route;
use crate::wire::settings::Settings;
use crate::wire::transfers::Transfer;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");

/// S3 on one core.
pub struct Service {
    engine: Rc<Engine>,
    settings: Arc<Settings>,
    admin: Rc<dyn Admin>,
    authenticator: Rc<Authenticator>,
    facts: Rc<Facts>,
    server: HeaderValue,
    host_id: HeaderValue,
    /// Request ids are a counter from a random start, mixed.
    next_request: Cell<u64>,
    stopping: Rc<Cell<bool>>,
    /// Tasks of the open connections, to be woken at shutdown.
    connections: RefCell<HashMap<u64, Option<Waker>>>,
    next_connection: Cell<u64>,
}

impl Service {
    pub fn new(engine: Rc<Engine>, settings: Arc<Settings>, admin: Rc<dyn Admin>) -> Rc<Service> {
        let mut random = [0u8; 8];
        engine.world().entropy.fill(&mut random);
        let start = u64::from_le_bytes(random);
        let escaped = percent_encoding::utf8_percent_encode(&settings.host_id, percent_encoding::CONTROLS).to_string();
        let host_id = HeaderValue::from_str(&escaped).expect("percent-encoded controls leave visible ASCII");
        let server = HeaderValue::from_str(&settings.server).unwrap_or(HeaderValue::from_static("Aerie"));
        Rc::new(Service {
            engine,
            settings,
            admin,
            authenticator: Rc::new(Authenticator::default()),
            facts: Rc::default(),
            server,
            host_id,
            next_request: Cell::new(start),
            stopping: Rc::default(),
            connections: RefCell::new(HashMap::new()),
            next_connection: Cell::new(0),
        })
    }

    /// Serves one connection until it ends; runs on the core's monoio runtime, with its timer enabled. `tls_version` is
    /// `1.2` or `1.3` where it came over TLS.
    pub async fn serve<IO>(self: Rc<Self>, io: IO, peer: SocketAddr, tls_version: Option<&'static str>)
    where
        IO: hyper::rt::Read + hyper::rt::Write + Unpin,
    {
        let exchange = Exchange::new(Meter::new(&self.settings.clients, peer.ip()));
        let io = BoundedIo::new(io, exchange.clone(), self.engine.world().clock.clone(), self.settings.timeouts);
        let answer = |request| self.clone().answer(request, exchange.clone(), peer, tls_version);
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(limits::REQUEST_HEAD_BYTES_MAX)
            .serve_connection(io, service_fn(answer));
        let mut connection = pin!(connection);
        let registration = Registration::new(&self);
        let mut told = false;
        let ended = poll_fn(|context| {
            registration.keep(context);
            if self.stopping.get() && !told {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            match catch_unwind(AssertUnwindSafe(|| connection.as_mut().poll(context))) {
                Ok(polled) => polled,
                Err(_) => {
                    tracing::error!(%peer, "a response panicked; its connection is closed. This is a defect: report it");
                    Poll::Ready(Ok(()))
                }
            }
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection broke");
        }
    }

    /// A place for a connection from this address; `None` when its client has as many as it may.
    pub fn connect(&self, address: IpAddr) -> Option<Connected> {
        self.settings.clients.connect(address)
    }

    /// Tells all connections to finish the request under way and close; `connections` says how many are left.
    pub fn shutdown(&self) {
        self.stopping.set(true);
        let wakers: Vec<Waker> = self.connections.borrow().values().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Connections that are open on this core.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    async fn answer(
        self: Rc<Self>,
        request: http::Request<Incoming>,
        exchange: Rc<Exchange>,
        peer: SocketAddr,
        tls_version: Option<&'static str>,
    ) -> Result<http::Response<GuardedBody>, Never> {
        let guard = exchange.begin();
        let began_ns = self.engine.world().clock.monotonic_ns();
        let request_id = self.request_id();
        let (head, incoming) = request.into_parts();
        let contradicts = exchange.head_contradicts();
        let waits_for_continue = head.headers.contains_key(header::EXPECT);
        let never_told = waits_for_continue && incoming.is_end_stream();
        let raw = RawBody::incoming(incoming, exchange);
        let resource = head.uri.path().to_owned();
        let shared = head.headers.contains_key(header::ORIGIN).then(|| (head.method.clone(), head.headers.clone()));
        let audited = Audited::of(&head, &self.settings);
        let parts = Parts { head, peer, secure: tls_version.is_some(), tls_version, request_id };
        let request_id = parts.request_id.clone();
        let handled = match contradicts {
            true => Ok(Err(S3Error::with(S3Code::InvalidRequest, "The request says twice how long its body is"))),
            false => AssertUnwindSafe(self.handle(parts, raw.clone(), &audited)).catch_unwind().await,
        };
        let mut code = "";
        let ((mut response, transfer), failed) = match handled {
            Ok(Ok(answered)) => (answered, false),
            Ok(Err(error)) => {
                code = error.code.as_str();
                tracing::debug!(%peer, %request_id, code = error.code.as_str(), message = %error.message, "refused");
                ((error.into_response(&resource, &request_id), None), true)
            }
            Err(_) => {
                tracing::error!(%peer, %request_id, %resource, "an operation panicked. This is a defect: report it");
                ((S3Error::new(S3Code::InternalError).into_response(&resource, &request_id), None), true)
            }
        };
        let operation = audited.operation();
        let outcome = Outcome { resource: &resource, request_id: &request_id, peer, status: response.status(), code };
        audited.take_down(&self.engine, outcome).await;
        // A client that still sends would not see the answer. One that waits to be told to send must not be told.
        // boto3 takes the status of an answer that comes in the place of `100 Continue` for that of the connection's next
        // answer as well, and hyper does not say it to a request whose body is empty. A body that was refused unread may be
        // taken to begin with the next request.
        let mut closes = contradicts || never_told || (failed && waits_for_continue);
        if failed && raw.may_discard(waits_for_continue) && !raw.clone().discard().await {
            raw.abandon();
            closes = true;
        }
        if closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some((method, request)) = shared
            && method != Method::OPTIONS
        {
            response.headers_mut().extend(self.cors_headers(&resource, &method, &request));
        }
        let took_ns = self.engine.world().clock.monotonic_ns().saturating_sub(began_ns);
        self.settings.traffic.count(operation, response.status(), Duration::from_nanos(took_ns));
        let headers = response.headers_mut();
        headers.insert(header::SERVER, self.server.clone());
        headers.insert(REQUEST_ID, HeaderValue::from_str(&request_id).expect("hex is a header value"));
        headers.insert(HOST_ID, self.host_id.clone());
        Ok(response.map(|body| GuardedBody::new(body, guard, transfer)))
    }

    /// What a bucket's cross-origin rules add to any answer, errors included.
    fn cors_headers(&self, path: &str, method: &Method, request: &HeaderMap) -> HeaderMap {
        match address_of(path, request, &self.settings) {
            Ok(address) => ops::cors::response_headers(&self.engine, &address.bucket, method.as_str(), request),
            // A path that cannot be read has no bucket.
            Err(_) => HeaderMap::new(),
        }
    }

    async fn handle(self: &Rc<Self>, parts: Parts, raw: RawBody, audited: &Audited) -> Result<Answered, S3Error> {
        let path = parts.head.uri.path();
        if matches!(parts.head.method, Method::GET | Method::HEAD)
            && let Some(answer) = self.health(path)
        {
            return Ok((response::admin(answer), None));
        }
        if !parts.secure && self.settings.plain_http != PlainHttp::Serve {
            return Ok((self.turn_away(&parts)?, None));
        }
        self.settings.clients.admit(parts.peer.ip())?;
        check_deciding_headers(&parts.head)?;
        let query = Query::parse(parts.head.uri.query().unwrap_or_default())?;
        if iam::is_query_request(&parts.head) {
            return Ok((self.query_api(parts, query, raw, audited).await, None));
        }
        // Browsers ask before they use a presigned URL, by that very URL: what it signs is another method.
        let authenticated = if parts.head.method == Method::OPTIONS {
            Authenticated { identity: Identity::Anonymous, payload: Payload::Unsigned }
        } else {
            let head = Head {
                method: parts.head.method.as_str(),
                path,
                raw_query: parts.head.uri.query().unwrap_or_default(),
                query: &query,
                headers: &parts.head.headers,
            };
            self.authenticator.authenticate(head, &self.settings, self.engine.world().clock.unix_ms())?
        };
        audited.identified(&authenticated.identity);
        let length = body::announced_length(&parts.head.headers, &authenticated.payload)?;
        let trailer = body::announced_trailer(&parts.head.headers)?;
        let body = RequestBody::new(raw, authenticated.payload, length, trailer);
        if let Some(path) = path.strip_prefix("/_aerie/") {
            let path = path.to_owned();
            let answer = self.administer(parts, path, query, authenticated.identity, body, length).await?;
            return Ok((answer, None));
        }
        let address = address_of(path, &parts.head.headers, &self.settings)?;
        let operation = route(&parts.head.method, &address, &query, &parts.head.headers)?;
        audited.routed(operation, &parts.head.headers, &authenticated.identity);
        let mut call = Call {
            engine: self.engine.clone(),
            settings: self.settings.clone(),
            authenticator: self.authenticator.clone(),
            facts: self.facts.clone(),
            operation,
            method: parts.head.method,
            bucket: address.bucket,
            key: address.key,
            query,
            headers: parts.head.headers,
            identity: authenticated.identity,
            request_id: parts.request_id,
            peer: parts.peer,
            secure: parts.secure,
            tls_version: parts.tls_version,
            stopping: self.stopping.clone(),
            body: Some(body),
            body_length: length,
        };
        if !call.operation.asks_for_itself() {
            call.authorize_operation()?;
        }
        let transfer = self.settings.transfers.admit(operation).await?;
        Ok((ops::run(&mut call).await?, transfer))
    }

    /// A request without TLS where there is TLS.
    fn turn_away(&self, parts: &Parts) -> Result<Response, S3Error> {
        let message = "this address takes TLS only; use https:// in the endpoint";
        if self.settings.plain_http == PlainHttp::Refuse {
            return Err(S3Error::with(S3Code::AccessDenied, message));
        }
        let host = parts.head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let there = host.map(|host| {
            let target = parts.head.uri.path_and_query().map_or("/", |target| target.as_str());
            HeaderValue::from_str(&format!("https://{host}{target}"))
        });
        let Some(Ok(location)) = there else { return Err(S3Error::with(S3Code::InvalidRequest, message)) };
        let mut response = response::empty(StatusCode::PERMANENT_REDIRECT);
        response.headers_mut().insert(header::LOCATION, location);
        Ok(response)
    }

    /// A call of IAM or STS: its errors have a shape of their own.
    async fn query_api(&self, parts: Parts, query: Query, raw: RawBody, audited: &Audited) -> Response {
        let caller = iam::Caller {
            authenticator: &self.authenticator,
            settings: &self.settings,
            now_ms: self.engine.world().clock.unix_ms(),
        };
        let iam::Answered { response, caller, action } = iam::answer(caller, parts, query, raw).await;
        // What only asks is taken down where all requests are.
        audited.of_query(caller, action, self.settings.audit_requests);
        response
    }

    /// Sixteen hex digits, as S3's.
    fn request_id(&self) -> String {
        let n = self.next_request.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.next_request.set(n);
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016X}", n ^ (n >> 31))
    }
}

/// A response, and the transfer that goes on until its body is out.
type Answered = (Response, Option<Transfer>);

/// Headers that decide who asks, and whom: a proxy in front may read another one of them than we do, or add one.
fn check_deciding_headers(head: &http::request::Parts) -> Result<(), S3Error> {
    let headers = &head.headers;
    if head.version == http::Version::HTTP_11 && !headers.contains_key(header::HOST) {
        let message = "A request of HTTP/1.1 needs a Host header";
        return Err(S3Error::with(S3Code::InvalidRequest, message));
    }
    for name in [header::HOST, header::AUTHORIZATION] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(S3Error::with(S3Code::InvalidRequest, format!("The request has more than one {name} header")));
        }
    }
    Ok(())
}

fn address_of(path: &str, headers: &HeaderMap, settings: &Settings) -> Result<Address, S3Error> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    Address::parse(path, host, settings.domain.as_deref())
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
