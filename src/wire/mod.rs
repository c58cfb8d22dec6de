//! (in preparation)

pub mod xml;
