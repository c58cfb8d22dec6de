//! Embed: what a text means, as a vector of 384 numbers, so that texts can be found by likeness.
//!
//! Promises: one message for each text, with a vector of length 1 (the cosine of two is their product). A text beyond the
//! model's window is cut, which the message says. What is no UTF-8 fails for good. The model is MiniLM-L6-v2 as
//! `scripts/fetch-models minilm` makes it; its labels are the vocabulary.

mod words;

use aerie_guest::tensor::floats;
use aerie_guest::{Event, Failure, Guest, inference, object, results};
use serde_json::json;
use words::Vocabulary;

/// Bytes of text that are read: more than fill the model's window.
const TEXT_BYTES: u32 = 16 << 10;
/// Tokens that the model was trained with, the first and last one included.
const TOKENS_MAX: usize = 256;

struct Embed;

impl Guest for Embed {
    fn on_event(event: Event) -> Result<(), Failure> {
        let size = object::describe()?.size;
        let mut bytes = object::read(0, TEXT_BYTES)?;
        // The cut may go through a letter.
        if size > u64::from(TEXT_BYTES) {
            let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
            if bytes.len() - whole < 4 {
                bytes.truncate(whole);
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| Failure::lasting("invalid: the object is no UTF-8 text"))?;
        let model = inference::load("minilm")?;
        let vocabulary = Vocabulary::new(model.labels()).map_err(Failure::lasting)?;
        let (tokens, cut) = vocabulary.tokens(&text, TOKENS_MAX);
        let input = inference::Tensor {
            name: "input_ids".to_owned(),
            element: inference::Element::I32,
            shape: vec![1, tokens.len() as u32],
            bytes: tokens.iter().flat_map(|token| token.to_le_bytes()).collect(),
        };
        let outputs = model.run(&[input])?;
        let output = outputs.first().ok_or_else(|| Failure::lasting("the model gives nothing"))?;
        let vector: Vec<f64> = floats(output)?.iter().map(|value| (f64::from(*value) * 1e5).round() / 1e5).collect();
        let message = json!({
            "bucket": event.bucket, "key": event.key, "event": event.id,
            "tokens": tokens.len(), "cut": cut || size > u64::from(TEXT_BYTES), "embedding": vector,
        });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

aerie_guest::export!(Embed);
