//! Responses: headers, XML, and bodies that are at hand or streamed.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use super::admin::{AdminAnswer, AdminBody};
use super::connection::ExchangeGuard;
use super::transfers::Transfer;
use crate::engine::{EngineError, ObjectReader};

pub use super::object_headers::insert_put_done as put_done;

pub type Response = http::Response<ResponseBody>;

/// An empty response of the status.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response
}

/// 200 with an XML document.
pub fn xml(document: String) -> Response {
    xml_with_status(StatusCode::OK, document)
}

pub fn xml_with_status(status: StatusCode, document: String) -> Response {
    let mut response = Response::new(ResponseBody::from(document));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// 200 whose body is sent piece by piece as the stream gives it.
pub fn stream(content_type: &'static str, pieces: Pin<Box<dyn Stream<Item = Bytes>>>) -> Response {
    let mut response = Response::new(ResponseBody::Stream(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn admin(answer: AdminAnswer) -> Response {
    let mut response = match answer.body {
        AdminBody::Stream(pieces) => stream(answer.content_type, pieces),
        AdminBody::Bytes(bytes) => {
            let mut response = Response::new(ResponseBody::Bytes(bytes));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
            response
        }
    };
    *response.status_mut() = answer.status;
    response
}

/// Bytes of a response.
pub enum ResponseBody {
    Empty,
    Bytes(Bytes),
    /// An object's bytes, verified as they are read.
    Object(Box<ObjectBody>),
    Stream(Pin<Box<dyn Stream<Item = Bytes>>>),
}

impl From<String> for ResponseBody {
    fn from(text: String) -> ResponseBody {
        ResponseBody::Bytes(text.into())
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseBody::Empty => f.write_str("Empty"),
            ResponseBody::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            ResponseBody::Object(body) => write!(f, "Object({})", body.remaining),
            ResponseBody::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// What is left of an object's bytes. A read that fails half-way breaks the connection, so that the client sees a
/// truncated body and never a wrong one.
pub struct ObjectBody {
    first: Option<Bytes>,
    remaining: u64,
    state: Reading,
}

/// What `ObjectReader::next` gives.
type Next = Option<Result<Bytes, EngineError>>;

enum Reading {
    Idle(ObjectReader),
    Busy(Pin<Box<dyn Future<Output = (ObjectReader, Next)>>>),
    Done,
}

impl ResponseBody {
    /// The body of `length` bytes from a reader. The first bytes are read before the response begins: a read that fails
    /// at once is answered with an error, and a short body goes out in one write with its head.
    pub async fn object(mut reader: ObjectReader, length: u64) -> Result<ResponseBody, EngineError> {
        let first = match reader.next().await {
            None => return Ok(ResponseBody::Empty),
            Some(first) => first?,
        };
        if first.len() as u64 == length {
            return Ok(ResponseBody::Bytes(first));
        }
        let state = Reading::Idle(reader);
        Ok(ResponseBody::Object(Box::new(ObjectBody { first: Some(first), remaining: length, state })))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = EngineError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EngineError>>> {
        match &mut *self {
            ResponseBody::Empty => Poll::Ready(None),
            ResponseBody::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = ResponseBody::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            ResponseBody::Object(body) => body.poll_next(context).map(|next| next.map(|read| read.map(Frame::data))),
            ResponseBody::Stream(pieces) => {
                let piece = ready!(pieces.as_mut().poll_next(context));
                Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Empty => true,
            ResponseBody::Bytes(bytes) => bytes.is_empty(),
            ResponseBody::Object(body) => body.remaining == 0,
            ResponseBody::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Empty => SizeHint::with_exact(0),
            ResponseBody::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ResponseBody::Object(body) => SizeHint::with_exact(body.remaining),
            ResponseBody::Stream(_) => SizeHint::default(),
        }
    }
}

impl ObjectBody {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, EngineError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(self.count(first))));
        }
        if let Reading::Idle(_) = &self.state
            && let Reading::Idle(mut reader) = std::mem::replace(&mut self.state, Reading::Done)
        {
            self.state = Reading::Busy(Box::pin(async move {
                let next = reader.next().await;
                (reader, next)
            }));
        }
        let Reading::Busy(busy) = &mut self.state else { return Poll::Ready(None) };
        let (reader, next) = ready!(busy.as_mut().poll(context));
        match next {
            None => {
                self.state = Reading::Done;
                Poll::Ready(None)
            }
            Some(Ok(bytes)) => {
                self.state = Reading::Idle(reader);
                Poll::Ready(Some(Ok(self.count(bytes))))
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a read failed after its response had begun; the connection is closed");
                self.state = Reading::Done;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn count(&mut self, bytes: Bytes) -> Bytes {
        assert!(bytes.len() as u64 <= self.remaining, "a reader gives no more than its range");
        self.remaining -= bytes.len() as u64;
        bytes
    }
}

/// A response's body, with the guard that ends the exchange when hyper has it all.
#[derive(Debug)]
pub struct GuardedBody {
    body: ResponseBody,
    _guard: ExchangeGuard,
    /// Ends when the last byte is out.
    _transfer: Option<Transfer>,
}

impl GuardedBody {
    pub fn new(body: ResponseBody, guard: ExchangeGuard, transfer: Option<Transfer>) -> GuardedBody {
        GuardedBody { body, _guard: guard, _transfer: transfer }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = EngineError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EngineError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// hyper's service error: there is none, errors are responses.
pub type Never = Infallible;
