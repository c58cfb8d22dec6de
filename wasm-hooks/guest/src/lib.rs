//! Guest: what the Rust hooks share, so that each hook is only its own work.
//!
//! Promises: the bindings of `wit/hook.wit` are made once, and every host error becomes the failure that asks for the
//! right thing: another attempt where it may help, the dead letters where it cannot. Knows nothing of any one model;
//! `stream` is the object from front to back, `boxes` is the pure arithmetic that box detectors share. Runs inside the sandbox, on one thread.

pub mod boxes;
pub mod stream;
pub mod tensor;

/// What `wit-bindgen` makes of the contract.
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "hook",
        pub_export_macro: true,
        default_bindings_module: "aerie_guest::bindings",
    });
}

pub use bindings::aerie::hook::{
    inference, log, object, picture, results, state,
    types::{Error, Event, Failure},
};
pub use bindings::{Guest, export};
pub use stream::Stream;

/// The host's errors in the hook's terms: only `failed` is worth another attempt.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (kind, text, retry) = match error {
            Error::NotFound(text) => ("not found", text, false),
            Error::Denied(text) => ("denied", text, false),
            Error::Limit(text) => ("limit", text, false),
            Error::Invalid(text) => ("invalid", text, false),
            Error::Failed(text) => ("failed", text, true),
        };
        Failure { message: format!("{kind}: {text}"), retry }
    }
}

/// Bytes in a tag's value, by S3.
const TAG_VALUE_BYTES_MAX: usize = 256;

/// Sets the tag `seen` to what was seen, each once: `Cat/Person`. A hook that may not set tags goes on without.
pub fn tag_seen(labels: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let labels: std::collections::BTreeSet<String> = labels.into_iter().collect();
    let mut seen = String::new();
    for label in &labels {
        let divider = if seen.is_empty() { "" } else { "/" };
        if seen.len() + divider.len() + label.len() <= TAG_VALUE_BYTES_MAX {
            seen.push_str(divider);
            seen.push_str(label);
        }
    }
    match object::set_tags(&[("seen".to_owned(), seen)]) {
        Ok(()) | Err(Error::Denied(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Failure {
    /// A failure that no further attempt can mend: the invocation goes to the dead letters.
    pub fn lasting(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retry: false }
    }
}
