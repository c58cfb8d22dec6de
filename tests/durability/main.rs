//! What the whole engine promises of durability, on simulated drives: power cuts, failing drives, full drives, upkeep;
//! and on real folders, rescue without the program.
#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod crash;
mod drives;
mod full;
mod govern;
mod kill;
mod model;
mod rescue;
mod store;
mod upkeep;
