//! The appliance end to end: the real binary on real folders, driven as its users do.
#![expect(clippy::disallowed_methods, reason = "drives the real world: files, clocks, processes")]

mod away;
#[path = "../../src/hook/tests/bad_hooks.rs"]
mod bad_guests;
mod bad_hooks;
mod faults;
mod flight;
mod garbage;
mod govern;
#[path = "../../src/hook/tests/guest.rs"]
#[expect(dead_code, reason = "the sandbox's tests use the rest")]
mod guest;
mod harness;
mod hook_faults;
mod hooks;
mod identity;
mod lambda;
mod sealed;
mod service;
mod tls;
