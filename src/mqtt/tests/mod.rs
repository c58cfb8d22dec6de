//! Publisher, broker and a subscriber together, over loopback, with links that break.

mod broker;
mod equipment;
mod kept;
mod ledger;
mod mosquitto;
mod publisher;
mod tls;

pub(crate) use equipment::{CuttingProxy, Received, Subscriber, free_address, until};
pub(crate) use mosquitto::Mosquitto;
