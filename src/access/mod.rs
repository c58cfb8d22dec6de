//! Access: accounts, principals, their keys, and what policies say about a request.
//!
//! Promises: decisions are pure and need no I/O; a change is durable before it is acknowledged, and every core sees it
//! from then on. Knows nothing of HTTP and SQL. `wire` asks here who a key belongs to and what its policies allow;
//! what access control lists allow is asked there.

mod principal;
mod registry;
mod secret;

pub use principal::*;
pub use registry::{Credential, KeyFault, Registry};
pub use secret::Secret;
