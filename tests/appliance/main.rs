//! The appliance end to end: the real binary on real folders, driven as its users do.

mod faults;
mod flight;
mod garbage;
mod harness;
mod hooks;
