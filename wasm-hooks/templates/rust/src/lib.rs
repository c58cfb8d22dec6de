//! A hook: publishes key, size and number of lines of each new object.

mod report;
mod stream;

wit_bindgen::generate!({ path: "wit", world: "hook" });
use aerie::hook::results;

struct Hook;

impl Guest for Hook {
    fn on_event(event: Event) -> Result<(), Failure> {
        report::panics();
        let mut lines = 0;
        for piece in stream::open()?.pieces() {
            lines += piece?.iter().filter(|byte| **byte == b'\n').count();
        }
        let message = serde_json::json!({ "key": event.key, "size": event.size, "lines": lines });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

export!(Hook);
