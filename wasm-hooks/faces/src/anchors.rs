//! Anchors: the grid that BlazeFace (short range) starts from, and what its raw outputs make of it. Pure.
//!
//! All anchors have the size of the whole input, so that raw values are plain pixels of the input. The order of the
//! anchors is part of the model: layer, row, column.

use aerie_guest::boxes::{Candidate, Rectangle, groups, sigmoid};

/// Sides of the input, in pixels.
pub const INPUT_PIXELS: u32 = 128;
/// Two anchors in each of 16 x 16 cells, six in each of 8 x 8.
pub const ANCHORS: usize = 2 * 16 * 16 + 6 * 8 * 8;
/// Values of an anchor: x, y, width, height of the box, then x and y of each point.
pub const COORDINATES: usize = 4 + 2 * POINTS.len();
/// The points of a face, as the person has them: `right` is the person's right.
pub const POINTS: [&str; 6] = ["right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear"];

/// A face, in fractions of the input.
#[derive(Debug)]
pub struct Face {
    /// 0 to 1.
    pub score: f32,
    pub area: Rectangle,
    /// x and y of `POINTS`.
    pub points: [[f32; 2]; POINTS.len()],
}

/// Centres of all anchors, in the order of the model's outputs.
fn centres() -> Vec<[f32; 2]> {
    let mut centres = Vec::with_capacity(ANCHORS);
    for (cells, anchors_per_cell) in [(16, 2), (8, 6)] {
        for row in 0..cells {
            for column in 0..cells {
                let centre = [(column as f32 + 0.5) / cells as f32, (row as f32 + 0.5) / cells as f32];
                centres.extend([centre].repeat(anchors_per_cell));
            }
        }
    }
    assert_eq!(centres.len(), ANCHORS);
    centres
}

/// The faces that reach `score_min`, best first. Anchors that see the same face are blended, each with the weight of its
/// score, as BlazeFace was made to be read: it steadies the box.
pub fn faces(raw: &[f32], logits: &[f32], score_min: f32, overlap_max: f32, faces_max: usize) -> Vec<Face> {
    let seen: Vec<(usize, Face)> = centres()
        .iter()
        .zip(raw.chunks_exact(COORDINATES).zip(logits))
        .enumerate()
        .filter_map(|(index, (centre, (values, logit)))| {
            let score = sigmoid(*logit);
            (score >= score_min).then(|| (index, decode(centre, values, score)))
        })
        .collect();
    let candidates =
        seen.iter().map(|(anchor, face)| Candidate { score: face.score, class: 0, area: face.area, anchor: *anchor });
    groups(candidates.collect(), overlap_max, faces_max)
        .iter()
        .map(|group| {
            let members = group.iter().filter_map(|c| seen.iter().find(|(anchor, _)| *anchor == c.anchor));
            blend(group[0].score, members.map(|(_, face)| face))
        })
        .collect()
}

fn decode(centre: &[f32; 2], values: &[f32], score: f32) -> Face {
    let at = |index: usize, axis: usize| values[index + axis] / INPUT_PIXELS as f32 + centre[axis];
    let side = |index: usize| values[index] / INPUT_PIXELS as f32;
    Face {
        score,
        area: Rectangle::around(at(0, 0), at(0, 1), side(2), side(3)),
        points: std::array::from_fn(|point| [at(4 + 2 * point, 0), at(4 + 2 * point, 1)]),
    }
}

fn blend<'a>(score: f32, members: impl Iterator<Item = &'a Face>) -> Face {
    let mut sum = Face {
        score: 0.0,
        area: Rectangle { left: 0.0, top: 0.0, right: 0.0, bottom: 0.0 },
        points: [[0.0; 2]; POINTS.len()],
    };
    for member in members {
        let weight = member.score;
        sum.score += weight;
        sum.area.left += weight * member.area.left;
        sum.area.top += weight * member.area.top;
        sum.area.right += weight * member.area.right;
        sum.area.bottom += weight * member.area.bottom;
        for (total, point) in sum.points.iter_mut().zip(member.points) {
            total[0] += weight * point[0];
            total[1] += weight * point[1];
        }
    }
    let part = |value: f32| value / sum.score;
    Face {
        score,
        area: Rectangle {
            left: part(sum.area.left),
            top: part(sum.area.top),
            right: part(sum.area.right),
            bottom: part(sum.area.bottom),
        },
        points: sum.points.map(|point| point.map(part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_that_see_one_face_are_blended_by_score() {
        let mut raw = vec![0.0; ANCHORS * COORDINATES];
        let mut logits = vec![-9.0; ANCHORS];
        // Two anchors of the first cell, centre 4 px: boxes of 64 px around 32 px and 36 px; the second weighs the same.
        for (anchor, x) in [(0, 28.0), (1, 32.0)] {
            raw[anchor * COORDINATES..][..6].copy_from_slice(&[x, 28.0, 64.0, 64.0, 4.0, 8.0]);
            logits[anchor] = 2.0;
        }
        let found = faces(&raw, &logits, 0.5, 0.3, 10);
        assert_eq!(found.len(), 1);
        let edges = [found[0].area.left, found[0].area.right, found[0].area.top, found[0].points[0][0]];
        for (is, should) in edges.into_iter().zip([2.0 / 128.0, 66.0 / 128.0, 0.0, 8.0 / 128.0]) {
            assert!((is - should).abs() < 1e-5, "{edges:?}");
        }
        assert!((found[0].score - 0.880797).abs() < 1e-5);
    }

    #[test]
    fn the_grid_has_both_layers() {
        let centres = centres();
        assert_eq!(centres.len(), 896);
        assert_eq!(centres[2], [1.5 / 16.0, 0.5 / 16.0]);
        assert_eq!(centres[512], [0.5 / 8.0, 0.5 / 8.0]);
        assert_eq!(centres[895], [7.5 / 8.0, 7.5 / 8.0]);
    }
}
