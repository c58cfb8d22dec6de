//! Voice: finds speech in a WAV file and publishes where it begins and ends.
//!
//! Promises: one message for each file, also when nobody speaks; reads the object as a stream, so that its length does not
//! matter for memory. Needs the model `voice` (Silero VAD, `scripts/fetch-models silero-vad`). What is no 16-bit PCM at 16 kHz or
//! a multiple is a lasting failure that says so.

mod speech;
mod wav;

use aerie_guest::inference::{Element, Model, Tensor};
use aerie_guest::{Event, Failure, Guest, Stream, inference, object, results};
use serde_json::{Value, json};

use speech::{Segments, WINDOW};
use wav::RATE_HZ;

const MODEL: &str = "voice";
/// Bytes a read.
const READ_BYTES: usize = 1 << 20;
const HEAD_BYTES: u32 = 64 << 10;
/// Samples before a window that the model sees with it.
const CONTEXT: usize = 64;
/// Values of the state that the model hands on from window to window: `[2, 1, 128]`.
const STATE: usize = 2 * 128;

struct Voice;

impl Guest for Voice {
    fn on_event(event: Event) -> Result<(), Failure> {
        let model = inference::load(MODEL)?;
        let format = wav::format(&object::read(0, HEAD_BYTES)?).map_err(Failure::lasting)?;
        let sound = Stream::part(format.start as u64, Some(u64::from(format.claimed_bytes)))?;
        let step = READ_BYTES / format.sample_bytes() * format.sample_bytes();
        let (mut listener, mut segments) = (Listener::new(&model), Segments::default());
        let mut waiting = Vec::new();
        loop {
            let bytes = sound.exactly(step as u32)?;
            if bytes.is_empty() {
                break;
            }
            waiting.extend(wav::samples(&bytes, &format));
            let windows = waiting.len() / WINDOW;
            for window in waiting.chunks_exact(WINDOW) {
                segments.push(listener.probability(window)?);
            }
            waiting.drain(..windows * WINDOW);
        }
        let (spoken, windows) = segments.finish();
        let seconds = |window: usize| ((window * WINDOW) as f64 / f64::from(RATE_HZ) * 1000.0).round() / 1000.0;
        let parts: Vec<Value> = spoken
            .iter()
            .map(|part| json!({ "start": seconds(part.start), "end": seconds(part.end), "score": part.score() }))
            .collect();
        let message = json!({
            "bucket": event.bucket, "key": event.key, "event": event.id,
            "seconds": seconds(windows), "speech": parts,
        });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

/// The model with what it remembers.
struct Listener<'a> {
    model: &'a Model,
    context: Vec<f32>,
    state: Vec<u8>,
}

impl Listener<'_> {
    fn new(model: &Model) -> Listener<'_> {
        Listener { model, context: vec![0.0; CONTEXT], state: vec![0; STATE * 4] }
    }

    /// Probability, 0 to 1, that someone speaks in the next window.
    fn probability(&mut self, window: &[f32]) -> Result<f32, Failure> {
        let bytes = self.context.iter().chain(window).flat_map(|value| value.to_le_bytes()).collect();
        self.context = window[WINDOW - CONTEXT..].to_vec();
        let tensor = |name: &str, shape, bytes| Tensor { name: name.to_owned(), element: Element::F32, shape, bytes };
        let outputs = self.model.run(&[
            tensor("input", vec![1, (CONTEXT + WINDOW) as u32], bytes),
            tensor("state", vec![2, 1, 128], std::mem::take(&mut self.state)),
        ])?;
        let mut probability = None;
        for output in outputs {
            match output.bytes[..] {
                [a, b, c, d] => probability = Some(f32::from_le_bytes([a, b, c, d])),
                _ if output.bytes.len() == STATE * 4 => self.state = output.bytes,
                _ => {}
            }
        }
        probability
            .filter(|_| self.state.len() == STATE * 4)
            .ok_or_else(|| Failure::lasting("the model is another one: expected outputs [1, 1] and [2, 1, 128]"))
    }
}

aerie_guest::export!(Voice);
