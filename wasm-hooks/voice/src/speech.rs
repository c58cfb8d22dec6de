//! Speech: turns the probabilities of windows into stretches with a beginning and an end. Pure.

use std::ops::Range;

/// Samples of a window: 32 ms.
pub const WINDOW: usize = 512;
/// Speech begins at this probability, and goes on above the lower one: short dips do not cut it.
const BEGIN: f32 = 0.5;
const GO_ON: f32 = 0.35;
/// Windows of silence that end a stretch: 96 ms.
const PAUSE_WINDOWS: usize = 3;
/// Windows that a stretch has at least: 250 ms.
const SPEECH_WINDOWS_MIN: usize = 8;
/// Bounds the message.
const STRETCHES_MAX: usize = 10_000;

/// Windows from `start` up to, not including, `end`.
#[derive(Debug, PartialEq)]
pub struct Stretch {
    pub start: usize,
    pub end: usize,
    sum: f32,
}

impl Stretch {
    /// Mean probability, three digits.
    pub fn score(&self) -> f64 {
        let windows: Range<usize> = self.start..self.end;
        (f64::from(self.sum) / windows.len() as f64 * 1000.0).round() / 1000.0
    }
}

/// Windows as they come, in order.
#[derive(Default)]
pub struct Segments {
    windows: usize,
    open: Option<Stretch>,
    /// Probabilities since the open stretch was last above `GO_ON`.
    doubtful: Vec<f32>,
    done: Vec<Stretch>,
}

impl Segments {
    pub fn push(&mut self, probability: f32) {
        match &mut self.open {
            None if probability >= BEGIN => {
                self.open = Some(Stretch { start: self.windows, end: self.windows + 1, sum: probability });
            }
            None => {}
            Some(stretch) if probability >= GO_ON => {
                stretch.sum += self.doubtful.drain(..).sum::<f32>() + probability;
                stretch.end = self.windows + 1;
            }
            Some(_) => {
                self.doubtful.push(probability);
                if self.doubtful.len() >= PAUSE_WINDOWS {
                    self.close();
                }
            }
        }
        self.windows += 1;
    }

    /// All stretches, and how many windows there were.
    pub fn finish(mut self) -> (Vec<Stretch>, usize) {
        self.close();
        (self.done, self.windows)
    }

    fn close(&mut self) {
        self.doubtful.clear();
        let long = |stretch: &Stretch| stretch.end - stretch.start >= SPEECH_WINDOWS_MIN;
        if let Some(stretch) = self.open.take().filter(long)
            && self.done.len() < STRETCHES_MAX
        {
            self.done.push(stretch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dips_are_bridged_pauses_end_and_clicks_are_left_out() {
        let runs = [(2, 0.1), (5, 0.9), (2, 0.2), (5, 0.4), (3, 0.1), (4, 0.9), (9, 0.0), (8, 0.6)];
        let mut segments = Segments::default();
        runs.iter().for_each(|(count, value)| (0..*count).for_each(|_| segments.push(*value)));
        let (stretches, windows) = segments.finish();
        let found: Vec<_> = stretches.iter().map(|s| (s.start, s.end, s.score())).collect();
        assert_eq!(found, [(2, 14, 0.575), (30, 38, 0.6)]);
        assert_eq!(windows, 38);
    }
}
