//! Hooks: WASM components that look at each new object, in a sandbox.

mod model;

pub use model::*;
