//! What the S3 endpoint asks of object lambdas. Which those are, and how they run, is not this layer's business.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::meta::Sequence;

/// The object of a GET that goes through a transform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransformRequest {
    pub hook: String,
    pub bucket: String,
    pub key: String,
    pub version: Sequence,
}

/// What the transform made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransformedObject {
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransformFault {
    /// No hook of this name is installed, or it is no transform.
    NoTransform(String),
    /// Too many wait already.
    Busy,
    /// It failed; the same request would fail again.
    Refused(String),
    /// It failed; a later request may not.
    Failed(String),
}

pub type TransformFuture = Pin<Box<dyn Future<Output = Result<TransformedObject, TransformFault>>>>;

/// Runs transforms. Called on every core; the future must not block either.
#[derive(Clone)]
pub struct Transforms(Arc<dyn Fn(TransformRequest) -> TransformFuture + Send + Sync>);

impl Transforms {
    pub fn new(run: impl Fn(TransformRequest) -> TransformFuture + Send + Sync + 'static) -> Transforms {
        Transforms(Arc::new(run))
    }

    /// Knows no transform.
    pub fn none() -> Transforms {
        Transforms::new(|request| {
            let fault = TransformFault::NoTransform(format!("no hook named {} is installed", request.hook));
            Box::pin(std::future::ready(Err(fault)))
        })
    }

    pub(super) fn run(&self, request: TransformRequest) -> TransformFuture {
        (self.0)(request)
    }
}

impl fmt::Debug for Transforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transforms(…)")
    }
}
