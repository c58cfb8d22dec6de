//! Wire: S3 over HTTP/1.1. Requests are authenticated, routed, authorised, and answered as S3 answers them.
//!
//! Promises: a request body is never believed before it was checked (signature, framing, length, digests); every wait on
//! a client has a bound; a handler that panics costs one request, never the core. What S3 offers and we do not answers
//! 501 with the operation's name, and no request for encryption or a lock is silently ignored.
//! Knows nothing of SQL, drives, hooks or MQTT. One `Service` per core, on that core's thread: nothing here is `Send`.

mod acl;
mod address;
mod admin;
mod audited;
mod auth;
mod body;
mod clients;
mod conditions;
mod connection;
mod copy_source;
mod date;
mod encryption;
mod error;
mod facts;
mod failure;
mod framing;
mod iam;
mod object_headers;
mod operation;
mod ops;
mod query;
mod range;
mod request;
mod response;
mod route;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod traffic;
mod transfers;
mod transforms;
pub mod xml;

pub use admin::{Admin, AdminAnswer, AdminBody, AdminFuture, AdminRequest};
pub use auth::{Identity, Scope, derive_key, string_to_sign};
pub use clients::{ClientLimits, Clients, Connected};
pub use error::{S3Code, S3Error};
pub use operation::Operation;
pub use response::{Response, ResponseBody};
pub use service::Service;
pub use settings::{HookExists, Settings, Timeouts};
pub use traffic::{DURATION_BOUNDS_MS, Traffic};
pub use transfers::Transfers;
pub use transforms::{TransformFault, TransformFuture, TransformRequest, TransformedObject, Transforms};
