//! The outbox on real folders, with a hook runner of the test's own, the built-in broker and a subscriber.

mod appliance;
mod flow;
mod held;
mod limits;
mod recovery;
mod speed;
