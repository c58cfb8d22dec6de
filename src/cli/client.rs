//! A small S3 and admin client: one signed request a connection, answers streamed or whole.
//!
//! Server and keys come from `--endpoint`, AERIE_ENDPOINT, AERIE_ROOT_ACCESS_KEY and AERIE_ROOT_SECRET_KEY, or from the
//! credentials file that a first start makes (AERIE_CREDENTIALS). An https endpoint is trusted by AERIE_CA_FILE;
//! AERIE_CLIENT_CERTIFICATE_FILE and AERIE_CLIENT_KEY_FILE are shown where the server asks for a certificate.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use monoio::io::IntoPollIo;
use monoio_compat::hyper::MonoioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::{digest, hmac};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio_rustls::TlsConnector;

use crate::access::Secret;
use crate::hash::hex_encode;
use crate::server::credentials;
use crate::tls;
use crate::wire::{Scope, derive_key, string_to_sign};
use crate::xml;

/// A server must take the connection, and go on answering, within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer that is kept whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the server is and who calls.
#[derive(Debug, Clone)]
struct Connection {
    /// `HOST:PORT`.
    authority: String,
    tls: Option<Arc<rustls::ClientConfig>>,
    access_key: String,
    secret_key: String,
}

impl Connection {
    /// From the option, the environment, or the credentials file.
    fn find(endpoint: Option<String>) -> Result<Connection, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = endpoint.or_else(|| variable("AERIE_ENDPOINT")).unwrap_or("http://127.0.0.1:9000".to_owned());
        let (secure, rest) = match endpoint.strip_prefix("https://") {
            Some(rest) => (true, Some(rest)),
            None => (false, endpoint.strip_prefix("http://")),
        };
        let authority = rest
            .map(|rest| rest.trim_end_matches('/').to_owned())
            .filter(|authority| !authority.is_empty() && !authority.contains('/'))
            .ok_or_else(|| format!("{endpoint}: write the endpoint as http://HOST:PORT or https://HOST:PORT"))?;
        let tls = if secure { Some(tls_config(variable)?) } else { None };
        let pair = (variable("AERIE_ROOT_ACCESS_KEY"), variable("AERIE_ROOT_SECRET_KEY"));
        if let (Some(access_key), Some(secret_key)) = pair {
            return Ok(Connection { authority, tls, access_key, secret_key });
        }
        let Some(path) = variable("AERIE_CREDENTIALS") else {
            return Err("no keys: set AERIE_ROOT_ACCESS_KEY and AERIE_ROOT_SECRET_KEY, or AERIE_CREDENTIALS to the \
                        aerie.credentials file that the server named at its first start"
                .to_owned());
        };
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let keys = credentials::parse(&text).ok_or_else(|| format!("{path}: not a credentials file"))?;
        Ok(Connection { authority, tls, access_key: keys.access_key, secret_key: keys.secret_key })
    }
}

fn tls_config(variable: impl Fn(&str) -> Option<String>) -> Result<Arc<rustls::ClientConfig>, String> {
    let file = |name: &str| variable(name).map(PathBuf::from);
    let Some(ca) = file("AERIE_CA_FILE") else {
        return Err("no server can be trusted: set AERIE_CA_FILE to the PEM file of the server's certificate (of \
                    `aerie tls init`) or of who signed it"
            .to_owned());
    };
    let pair = match (file("AERIE_CLIENT_CERTIFICATE_FILE"), file("AERIE_CLIENT_KEY_FILE")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("AERIE_CLIENT_CERTIFICATE_FILE and AERIE_CLIENT_KEY_FILE: set both or neither".to_owned()),
    };
    let config = tls::client_config(&tls::ClientFiles { ca: Some(ca), pair });
    config.map(Arc::new).map_err(|error| error.to_string())
}

/// A path with everything escaped that S3's signature escapes; slashes stay.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// One query value or name, escaped.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Sends requests one after the other.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
}

impl Client {
    /// A client of the server that the option or the environment names.
    pub fn find(endpoint: Option<String>) -> Result<Client, String> {
        Connection::find(endpoint).map(|connection| Client { connection })
    }

    /// Like `call`, with the answer as text for a person.
    pub fn ask(&self, method: Method, path: &str, query: &str, body: Vec<u8>) -> Result<String, String> {
        let answer = self.call(method, path, query, body)?;
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    /// Sends and gives the whole answer; an answer that is no success is an error that says what the server said.
    /// `path` and `query` are escaped already, the query's names in order.
    pub fn call(&self, method: Method, path: &str, query: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
        self.call_with(method, path, query, &[], body)
    }

    pub fn call_with(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        let mut whole = Vec::new();
        self.send(method, path, query, headers, body, |piece| {
            if whole.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"));
            }
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(whole)
    }

    /// Writes the answer's bytes as they come.
    pub fn stream(&self, path: &str, query: &str, to: &mut dyn Write) -> Result<(), String> {
        self.send(Method::GET, path, query, &[], Vec::new(), |piece| {
            to.write_all(piece).and_then(|()| to.flush()).map_err(|error| error.to_string())
        })
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let request = self.connection.sign(method, path, query, headers, body)?;
        let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build();
        let mut runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        runtime.block_on(async {
            let response = self.exchange(request).await?;
            let status = response.status();
            let mut body = response.into_body();
            let mut refusal = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
                match frame.data_ref() {
                    Some(data) if status.is_success() => take(data)?,
                    Some(data) => refusal.extend_from_slice(data),
                    None => {}
                }
            }
            if status.is_success() { Ok(()) } else { Err(refusal_text(status, &refusal)) }
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let authority = &self.connection.authority;
        let scheme = if self.connection.tls.is_some() { "https" } else { "http" };
        let unreachable = |error: &dyn std::fmt::Display| {
            format!("{scheme}://{authority} cannot be reached: {error}; is `aerie serve` running there?")
        };
        let stream = monoio::time::timeout(ANSWER_TIMEOUT, monoio::net::TcpStream::connect(authority))
            .await
            .map_err(|_| unreachable(&"no answer"))?
            .and_then(|stream| stream.into_poll_io())
            .map_err(|error| unreachable(&error))?;
        let answering = async {
            let Some(tls) = &self.connection.tls else { return converse(stream, request).await };
            let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
            let name =
                ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
            let secured = TlsConnector::from(tls.clone()).connect(name, stream).await;
            converse(secured.map_err(|error| error.to_string())?, request).await
        };
        monoio::time::timeout(ANSWER_TIMEOUT, answering)
            .await
            .map_err(|_| format!("{scheme}://{authority} gave no answer within {} s", ANSWER_TIMEOUT.as_secs()))?
            .map_err(|error| unreachable(&error))
    }
}

/// One request and its answer's head over a stream that is ready for HTTP.
async fn converse<IO>(stream: IO, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(MonoioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    monoio::spawn(async move {
        // An error reaches the request's own future.
        _ = connection.await;
    });
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// What an S3 or admin error says, without its markup.
fn refusal_text(status: http::StatusCode, body: &[u8]) -> String {
    if let Ok(document) = xml::parse(body) {
        // S3's error is the root, IAM's is inside.
        let error = document.child("Error").unwrap_or(&document);
        if let (Some(code), Some(message)) = (error.text_of("Code"), error.text_of("Message")) {
            return format!("{code}: {message}");
        }
    }
    let text = String::from_utf8_lossy(body);
    if text.trim().is_empty() { status.to_string() } else { text.trim().to_owned() }
}

impl Connection {
    /// Signature Version 4 over the whole request.
    fn sign(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let now = OffsetDateTime::now_utc();
        let stamp = now
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .map_err(|error| error.to_string())?;
        let scope = Scope { date: stamp[..8].to_owned(), region: "us-east-1".to_owned(), service: "s3".to_owned() };
        let payload = hex_encode(digest::digest(&digest::SHA256, &body).as_ref());
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let host = &self.authority;
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{stamp}\n\n{signed}\n{payload}"
        );
        let key = derive_key(&Secret::new(&self.secret_key), &scope);
        let scope = scope.text();
        let to_sign = string_to_sign(&stamp, &scope, canonical.as_bytes());
        let signature = hex_encode(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let access_key = &self.access_key;
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}");
        let length = body.len();
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", host)
            .header("x-amz-date", &stamp)
            .header("x-amz-content-sha256", &payload)
            .header("content-length", length)
            .header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())
    }
}
