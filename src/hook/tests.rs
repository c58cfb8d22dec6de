//! The sandbox, held against guests that behave badly; and installed hooks over a store on real folders. The guests are
//! written as text here, so that no other toolchain is needed: core modules with the contract embedded, as wit-bindgen's
//! guests are.

mod bad_hooks;
mod bundles;
mod cache;
mod chains;
mod guest;
mod rate;
mod reader;
mod sandbox;
mod shelf;
mod stored;
