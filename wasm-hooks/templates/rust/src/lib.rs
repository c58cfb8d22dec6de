//! A hook: publishes key and size of each new object.

wit_bindgen::generate!({ path: "wit", world: "hook" });
use aerie::hook::results;

struct Hook;

impl Guest for Hook {
    fn on_event(event: Event) -> Result<(), Failure> {
        let message = serde_json::json!({ "key": event.key, "size": event.size });
        results::publish(None, message.to_string().as_bytes())
            .map_err(|error| Failure { message: error.to_string(), retry: true })
    }
}

export!(Hook);
