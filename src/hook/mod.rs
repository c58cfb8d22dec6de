//! Hooks: WASM components that look at each new object, in a sandbox.

mod contract;
mod host;
mod model;

pub use model::*;
