//! Boxes: the arithmetic that single-shot detectors share. Pure.
//!
//! Coordinates are fractions of the model's input, from the upper left corner. NaN never wins a comparison and so is
//! never reported.

/// A box that a detector starts from: its centre and size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

/// A rectangle by its edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Rectangle {
    /// From centre and size.
    pub fn around(x: f32, y: f32, width: f32, height: f32) -> Rectangle {
        Rectangle { left: x - width / 2.0, top: y - height / 2.0, right: x + width / 2.0, bottom: y + height / 2.0 }
    }

    fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }

    /// Intersection over union, 0 to 1.
    pub fn overlap(&self, other: &Rectangle) -> f32 {
        let common = Rectangle {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
        .area();
        if common == 0.0 { 0.0 } else { common / (self.area() + other.area() - common) }
    }

    /// `[x, y, width, height]` in whole pixels of a picture, cut at its edges. `scale_x` and `scale_y` are the pixels of
    /// the original that one input width and height stand for.
    pub fn pixels(&self, scale_x: f32, scale_y: f32, width: u32, height: u32) -> [u32; 4] {
        let cut = |value: f32, end: u32| value.round().clamp(0.0, end as f32) as u32;
        let (left, right) = (cut(self.left * scale_x, width), cut(self.right * scale_x, width));
        let (top, bottom) = (cut(self.top * scale_y, height), cut(self.bottom * scale_y, height));
        [left, top, right.saturating_sub(left), bottom.saturating_sub(top)]
    }
}

/// What one anchor reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// 0 to 1.
    pub score: f32,
    pub class: usize,
    pub area: Rectangle,
    /// Index of the anchor, from 0.
    pub anchor: usize,
}

/// Groups candidates that overlap by more than `overlap_max` with a better one of the same class.
///
/// Each group begins with its best candidate; groups come best first, and equal scores in the order of their anchors,
/// so that equal inputs give equal outputs everywhere. Keeping the firsts is non-maximum suppression; a detector that
/// blends takes the whole group.
pub fn groups(mut candidates: Vec<Candidate>, overlap_max: f32, groups_max: usize) -> Vec<Vec<Candidate>> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.anchor.cmp(&b.anchor)));
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for candidate in candidates {
        let home = groups.iter().position(|group| {
            group[0].class == candidate.class && group[0].area.overlap(&candidate.area) > overlap_max
        });
        match home {
            Some(index) => groups[index].push(candidate),
            None if groups.len() < groups_max => groups.push(vec![candidate]),
            None => {}
        }
    }
    groups
}

/// Maps a raw score to 0..1.
pub fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

/// A score as it is published: three digits say all that the model knows.
pub fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(score: f32, class: usize, left: f32, anchor: usize) -> Candidate {
        Candidate { score, class, area: Rectangle { left, top: 0.0, right: left + 0.2, bottom: 0.2 }, anchor }
    }

    #[test]
    fn overlap_is_intersection_over_union() {
        let a = Rectangle { left: 0.0, top: 0.0, right: 0.2, bottom: 0.2 };
        let half = Rectangle { left: 0.1, top: 0.0, right: 0.3, bottom: 0.2 };
        let apart = Rectangle { left: 0.5, top: 0.5, right: 0.6, bottom: 0.6 };
        let inside_out = Rectangle { left: 0.3, top: 0.0, right: 0.1, bottom: 0.2 };
        for (other, expected) in [(a, 1.0), (half, 1.0 / 3.0), (apart, 0.0), (inside_out, 0.0)] {
            assert!((a.overlap(&other) - expected).abs() < 1e-6, "{other:?}");
        }
    }

    #[test]
    fn the_best_of_overlapping_candidates_leads_its_group() {
        let found = groups(
            vec![
                candidate(0.5, 1, 0.01, 3),
                candidate(0.9, 1, 0.0, 2),
                candidate(0.6, 2, 0.0, 1),
                candidate(0.5, 1, 0.5, 0),
            ],
            0.5,
            10,
        );
        let anchors: Vec<Vec<usize>> = found.iter().map(|g| g.iter().map(|c| c.anchor).collect()).collect();
        assert_eq!(anchors, [vec![2, 3], vec![1], vec![0]]);
    }

    #[test]
    fn equal_scores_keep_the_order_of_anchors_and_the_limit_holds() {
        let found = groups((0..5).rev().map(|i| candidate(0.5, 1, i as f32, i)).collect(), 0.5, 3);
        let anchors: Vec<usize> = found.iter().map(|g| g[0].anchor).collect();
        assert_eq!(anchors, [0, 1, 2]);
    }

    #[test]
    fn boxes_are_cut_at_the_edges_of_the_picture() {
        let area = Rectangle { left: -0.1, top: 0.25, right: 0.5, bottom: 1.2 };
        assert_eq!(area.pixels(100.0, 80.0, 100, 80), [0, 20, 50, 60]);
    }
}
