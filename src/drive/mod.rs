//! Drive: one root folder with a label, segment files and one I/O thread.
//!
//! Promises: a write whose ticket reports success with `sync` is on stable storage; after the first failed sync or
//! write the drive is out and says so to every later request, until it was pulled and put back, or the next start. Knows
//! addresses and blocks, not stripes, objects or other drives. `FORMAT.md` beside this file is the format on the medium.

mod block;
mod io;
mod label;
mod segment;
mod ticket;
mod worker;

pub use block::{BlockHeader, BlockIdentity};
pub use io::{Block, Check, Drive, DriveFault};
pub use label::{LABEL_FILE, Label, LabelError};
pub use segment::{SEGMENTS_DIR, is_empty as has_no_segments};
pub use ticket::{Outcome, Ticket, TicketWait};
