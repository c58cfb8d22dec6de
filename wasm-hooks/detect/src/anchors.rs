//! Anchors: the boxes that SSD MobileNetV2 starts from, layer by layer, and what its raw outputs make of them. Pure.
//!
//! The order of the anchors is part of the model: layer, row, column, shape.

use aerie_guest::boxes::{Anchor, Candidate, Rectangle, sigmoid};

/// Sides of the input, in pixels.
pub const INPUT_PIXELS: u32 = 300;
/// Anchors in all: 3 shapes on the finest layer, 6 on the others.
pub const ANCHORS: usize = 3 * 19 * 19 + 6 * (10 * 10 + 5 * 5 + 3 * 3 + 2 * 2 + 1);
/// Values of a box: y, x, height, width, relative to its anchor.
pub const COORDINATES: usize = 4;

/// Pixels of the input that one cell of each layer stands for.
const STRIDES: [u32; 6] = [16, 32, 64, 128, 256, 512];
const SCALE_MIN: f32 = 0.2;
const SCALE_MAX: f32 = 0.95;
const ASPECT_RATIOS: [f32; 5] = [1.0, 2.0, 0.5, 3.0, 0.3333];
/// The model was trained with offsets and sizes stretched by these.
const CENTRE_SCALE: f32 = 10.0;
const SIZE_SCALE: f32 = 5.0;

/// All anchors, in the order of the model's outputs.
pub fn anchors() -> Vec<Anchor> {
    let mut anchors = Vec::with_capacity(ANCHORS);
    for (layer, stride) in STRIDES.into_iter().enumerate() {
        let shapes = shapes(layer);
        let cells = INPUT_PIXELS.div_ceil(stride);
        for row in 0..cells {
            for column in 0..cells {
                anchors.extend(shapes.iter().map(|(width, height)| Anchor {
                    x: (column as f32 + 0.5) / cells as f32,
                    y: (row as f32 + 0.5) / cells as f32,
                    width: *width,
                    height: *height,
                }));
            }
        }
    }
    assert_eq!(anchors.len(), ANCHORS);
    anchors
}

/// Width and height of a layer's shapes. The finest layer has fewer, one of them small; every other layer has one more
/// that lies between its own scale and the next.
fn shapes(layer: usize) -> Vec<(f32, f32)> {
    let scaled = |scale: f32, ratio: f32| (scale * ratio.sqrt(), scale / ratio.sqrt());
    if layer == 0 {
        return vec![scaled(0.1, 1.0), scaled(SCALE_MIN, 2.0), scaled(SCALE_MIN, 0.5)];
    }
    let between = (scale(layer) * scale(layer + 1)).sqrt();
    ASPECT_RATIOS.iter().map(|ratio| scaled(scale(layer), *ratio)).chain([(between, between)]).collect()
}

fn scale(layer: usize) -> f32 {
    let last = STRIDES.len() - 1;
    if layer > last { 1.0 } else { SCALE_MIN + (SCALE_MAX - SCALE_MIN) * layer as f32 / last as f32 }
}

/// The candidates that reach `score_min`: each anchor's best class and its box. Class 0 is the background and never
/// reported. `boxes` and `scores` are the raw outputs, one row for each anchor.
pub fn candidates(boxes: &[f32], scores: &[f32], score_min: f32) -> Vec<Candidate> {
    let classes = scores.len() / ANCHORS;
    let rows = boxes.chunks_exact(COORDINATES).zip(scores.chunks_exact(classes));
    anchors()
        .iter()
        .zip(rows)
        .enumerate()
        .filter_map(|(index, (anchor, (raw, logits)))| {
            let (class, logit) = logits.iter().enumerate().skip(1).max_by(|a, b| a.1.total_cmp(b.1))?;
            let score = sigmoid(*logit);
            (score >= score_min).then(|| Candidate { score, class, area: decode(anchor, raw), anchor: index })
        })
        .collect()
}

fn decode(anchor: &Anchor, raw: &[f32]) -> Rectangle {
    Rectangle::around(
        raw[1] / CENTRE_SCALE * anchor.width + anchor.x,
        raw[0] / CENTRE_SCALE * anchor.height + anchor.y,
        (raw[3] / SIZE_SCALE).exp() * anchor.width,
        (raw[2] / SIZE_SCALE).exp() * anchor.height,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_lie_where_the_model_expects_them() {
        let anchors = anchors();
        assert_eq!(anchors.len(), 1917);
        let expected = [
            (0, [0.5 / 19.0, 0.5 / 19.0, 0.1, 0.1]),
            (1, [0.5 / 19.0, 0.5 / 19.0, 0.2828427, 0.1414214]),
            (3, [1.5 / 19.0, 0.5 / 19.0, 0.1, 0.1]),
            (1083, [0.05, 0.05, 0.35, 0.35]),
            (1088, [0.05, 0.05, 0.4183300, 0.4183300]),
            (1916, [0.5, 0.5, 0.9746794, 0.9746794]),
        ];
        for (index, values) in expected {
            let anchor = anchors[index];
            for (is, should) in [anchor.x, anchor.y, anchor.width, anchor.height].into_iter().zip(values) {
                assert!((is - should).abs() < 1e-5, "anchor {index}: {anchor:?}, expected {values:?}");
            }
        }
    }

    #[test]
    fn only_a_foreground_class_above_the_threshold_is_a_candidate() {
        let boxes = vec![0.0; ANCHORS * COORDINATES];
        let mut scores = vec![-9.0; ANCHORS * 3];
        scores[7 * 3] = 9.0; // background
        scores[8 * 3 + 2] = 1.0;
        scores[9 * 3 + 1] = f32::NAN;
        let found = candidates(&boxes, &scores, 0.4);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].anchor, found[0].class), (8, 2));
    }
}
