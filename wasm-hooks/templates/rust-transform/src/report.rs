//! What a hook says of itself before it ends.

use crate::aerie::hook::log::{Level, write};

/// From here on a panic is a line of `aerie hook logs`, and part of the attempt's error; without this it is a trap, of which
/// the appliance knows no more than that.
pub fn panics() {
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string())));
}
