//! A transform: a GET gives the first KiB of an object in its place.

mod report;

wit_bindgen::generate!({ path: "wit", world: "transform" });
use aerie::hook::object;
use aerie::hook::types::Error;

struct Preview;

impl Guest for Preview {
    fn transform(_bucket: String, _key: String) -> Result<Response, Failure> {
        report::panics();
        let content_type = object::describe()?.content_type;
        let bytes = object::read(0, 1024)?;
        Ok(Response { content_type, bytes })
    }
}

/// Only what the host could not do is worth another attempt.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { retry: matches!(error, Error::Failed(_)), message: error.to_string() }
    }
}

export!(Preview);
