//! Access: accounts, principals, their keys, and what policies say about a request.
//!
//! Promises: decisions are pure and need no I/O; a change is durable before it is acknowledged, and every core sees it
//! from then on. Knows nothing of HTTP and SQL. `wire` asks here who a key belongs to and what its policies allow;
//! what access control lists allow is asked there.

pub mod builtin;
mod change;
mod decision;
mod directory;
mod load;
pub mod policy;
mod principal;
pub mod record;
mod registry;
mod secret;
mod token;
mod usage;

pub use change::{AccessError, Carrier, Change, NewKey, NewPolicy, NewRole};
pub use decision::{Own, Owners, decide};
pub use directory::Directory;
pub use principal::*;
pub use registry::{Credential, Issued, KeyFault, Registry};
pub use secret::Secret;
pub use token::{Bearer, Bound};
pub use usage::Use;
