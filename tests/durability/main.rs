//! What the whole engine promises of durability, on simulated drives: power cuts, failing drives, full drives, upkeep;
//! and on real folders, rescue without the program.

mod crash;
mod full;
mod model;
mod rescue;
mod store;
mod upkeep;
