//! The appliance end to end: the real binary on real folders, driven as its users do.
#![expect(clippy::disallowed_methods, reason = "drives the real world: files, clocks, processes")]

mod bad_hooks;
mod faults;
mod flight;
mod garbage;
mod govern;
mod harness;
mod hook_faults;
mod hooks;
mod identity;
mod sealed;
mod service;
mod tls;
