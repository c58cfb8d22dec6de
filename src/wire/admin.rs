//! The door to what is not S3: health, metrics and administration, answered by whoever started the service.
//!
//! Paths below `/_aerie/` and the health paths never reach the S3 router. All but health (and metrics asked for from
//! loopback) are signed by root.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use http::{Method, StatusCode};

pub type AdminFuture<'a> = Pin<Box<dyn Future<Output = AdminAnswer> + 'a>>;

/// Answers what is not S3. Lives on one core, like the service.
pub trait Admin {
    /// The process runs. An error's text says what is wrong.
    fn live(&self) -> Result<(), String>;
    /// Requests are taken.
    fn ready(&self) -> Result<(), String>;
    /// A request below `/_aerie/`, signed by root (`metrics` may come unsigned from loopback).
    fn handle(&self, request: AdminRequest) -> AdminFuture<'_>;
}

#[derive(Debug, Clone)]
pub struct AdminRequest {
    pub method: Method,
    /// Percent-decoded, without `/_aerie/`.
    pub path: String,
    /// Percent-decoded pairs in the order of the request.
    pub query: Vec<(String, String)>,
    /// At most `limits::ADMIN_BODY_BYTES_MAX` bytes.
    pub body: Bytes,
}

impl AdminRequest {
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
pub struct AdminAnswer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: AdminBody,
}

pub enum AdminBody {
    Bytes(Bytes),
    /// Sent piece by piece as it comes, until the stream or the client ends.
    Stream(Pin<Box<dyn Stream<Item = Bytes>>>),
}

impl fmt::Debug for AdminBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminBody::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            AdminBody::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl AdminAnswer {
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> AdminAnswer {
        AdminAnswer { status, content_type: "application/json", body: AdminBody::Bytes(body.into()) }
    }

    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> AdminAnswer {
        AdminAnswer { status, content_type: "text/plain; charset=utf-8", body: AdminBody::Bytes(body.into()) }
    }
}
