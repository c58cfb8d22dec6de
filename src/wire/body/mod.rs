//! Request bodies: from HTTP's frames to checked bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::engine::{BodyError, BodyFuture, BodySource};
use crate::hash::ChecksumAlgorithm;

/// Bytes as HTTP delivers them, its own framing removed.
#[derive(Debug)]
pub enum RawBody {
    Incoming(Incoming),
    /// At hand: tests, and bodies that were read before.
    Given(VecDeque<Bytes>),
}

impl RawBody {
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            RawBody::Given(pieces) => Ok(pieces.pop_front()),
            RawBody::Incoming(incoming) => loop {
                match incoming.frame().await {
                    None => return Ok(None),
                    Some(Err(_)) => return Err(BodyError::Incomplete),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => return Ok(Some(bytes)),
                        // HTTP's own trailers carry nothing for S3.
                        Err(_) => {}
                    },
                }
            },
        }
    }
}

/// A request's body, decoded and checked as far as it can be without knowing what it is for.
#[derive(Debug)]
pub struct RequestBody {
    raw: RawBody,
}

impl RequestBody {
    pub fn plain(raw: RawBody) -> RequestBody {
        RequestBody { raw }
    }
}

impl BodySource for RequestBody {
    fn next(&mut self) -> BodyFuture<'_> {
        Box::pin(self.raw.next())
    }

    fn trailing_checksum(&self) -> Option<(ChecksumAlgorithm, String)> {
        None
    }
}
