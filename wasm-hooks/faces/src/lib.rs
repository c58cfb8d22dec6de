//! Faces: finds faces in a picture, with a score, a box and six points for each.
//!
//! Promises: one message for each picture, also when nothing was seen; boxes and points in pixels of the picture as it was
//! stored; equal pictures give equal messages. Says nothing about who it is. Needs the model `faces`
//! (`wasm-hooks/models/blazeface.onnx`), which sees faces within about two metres. An object that is no picture is a lasting failure.

mod anchors;

use aerie_guest::boxes::rounded;
use aerie_guest::{Event, Failure, Guest, inference, picture, results, tag_seen, tensor};
use serde_json::{Value, json};

use anchors::{ANCHORS, COORDINATES, Face, INPUT_PIXELS, POINTS};

const MODEL: &str = "faces";
const SCORE_MIN: f32 = 0.5;
/// Two boxes that share more than this are the same face.
const OVERLAP_MAX: f32 = 0.3;
/// Bounds the message; the best are kept.
const FACES_MAX: usize = 100;

struct Faces;

impl Guest for Faces {
    fn on_event(event: Event) -> Result<(), Failure> {
        let model = inference::load(MODEL)?;
        let pixels = picture::decode(INPUT_PIXELS, INPUT_PIXELS, picture::Fit::Pad)?;
        let (width, height) = (pixels.original_width, pixels.original_height);
        let input = tensor::planar(&pixels.rgb, pixels.width, pixels.height);
        let (raw, logits) = tensor::detect(&model, input, ANCHORS, COORDINATES)?;
        if logits.len() != ANCHORS {
            return Err(Failure::lasting("the model is another one: expected one score for each anchor"));
        }
        let faces: Vec<Value> = anchors::faces(&raw, &logits, SCORE_MIN, OVERLAP_MAX, FACES_MAX)
            .iter()
            .map(|face| described(face, width, height))
            .collect();
        tag_seen(faces.iter().filter_map(|face| face["label"].as_str().map(str::to_owned)))?;
        let message = json!({
            "bucket": event.bucket, "key": event.key, "event": event.id,
            "width": width, "height": height, "objects": faces,
        });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

/// A face in pixels of the picture. The input's borders lie right and below, so one scale serves both sides.
fn described(face: &Face, width: u32, height: u32) -> Value {
    let scale = width.max(height) as f32;
    let points = POINTS
        .iter()
        .zip(face.points)
        .map(|(name, [x, y])| (name.to_string(), json!([(x * scale).round() as i32, (y * scale).round() as i32])));
    json!({
        "label": "Face",
        "score": rounded(face.score),
        "box": face.area.pixels(scale, scale, width, height),
        "points": Value::Object(points.collect()),
    })
}

aerie_guest::export!(Faces);
