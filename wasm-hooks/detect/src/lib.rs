//! Detect: names the objects in a picture, with a score and a box for each.
//!
//! Promises: one message for each picture, also when nothing was seen; boxes in pixels of the picture as it was stored;
//! equal pictures give equal messages. Where tags are granted, the tag `seen` has the labels. Needs the model `detector` with its labels (`scripts/fetch-models`). An
//! object that is no picture is a lasting failure: filter by suffix in the rule.

mod anchors;

use aerie_guest::boxes::{groups, rounded};
use aerie_guest::{Event, Failure, Guest, inference, picture, results, tag_seen, tensor};
use serde_json::{Value, json};

use anchors::{ANCHORS, COORDINATES, INPUT_PIXELS, candidates};

const MODEL: &str = "detector";
/// Below this the model is wrong more often than right.
const SCORE_MIN: f32 = 0.4;
/// Two boxes of one class that share more than this are the same object.
const OVERLAP_MAX: f32 = 0.5;
/// Bounds the message; the best are kept.
const OBJECTS_MAX: usize = 100;

struct Detect;

impl Guest for Detect {
    fn on_event(event: Event) -> Result<(), Failure> {
        let model = inference::load(MODEL)?;
        let pixels = picture::decode(INPUT_PIXELS, INPUT_PIXELS, picture::Fit::Stretch)?;
        let (width, height) = (pixels.original_width, pixels.original_height);
        let input = tensor::planar(&pixels.rgb, pixels.width, pixels.height);
        let (boxes, scores) = tensor::detect(&model, input, ANCHORS, COORDINATES)?;
        let labels = model.labels();
        let objects: Vec<Value> = groups(candidates(&boxes, &scores, SCORE_MIN), OVERLAP_MAX, OBJECTS_MAX)
            .iter()
            .map(|group| {
                let best = &group[0];
                let label = labels.get(best.class).cloned().unwrap_or_else(|| format!("class {}", best.class));
                let area = best.area.pixels(width as f32, height as f32, width, height);
                json!({ "label": label, "score": rounded(best.score), "box": area })
            })
            .collect();
        let seen = objects.iter().filter_map(|object| object["label"].as_str().map(str::to_owned));
        tag_seen(seen)?;
        let message = json!({
            "bucket": event.bucket, "key": event.key, "event": event.id,
            "width": width, "height": height, "objects": objects,
        });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

aerie_guest::export!(Detect);
