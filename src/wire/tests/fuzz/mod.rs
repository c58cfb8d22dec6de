//! What strangers send, mutated: request heads, signatures, chunk framing, XML. Each target compares with a simple twin or
//! a law of its own; none may panic, and none may take long.
//!
//! Deterministic: the same seed gives the same inputs. `AERIE_FUZZ_SECONDS` is the time of each target (a moment when it
//! is not set), `AERIE_FUZZ_SEED` another start. A failure names the seed and shows the input.

mod chunks;
mod head;
mod signature;
mod xml;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::seam::real;

/// Splitmix64: small, and good enough to choose mutations.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Changes some bytes: flips, cuts, repeats, and words that mean something here.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, words: &[&str]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.next() as u8,
                2 if at < end => drop(bytes.drain(at..end)),
                3 if at < end => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => bytes.truncate(at),
                5 if at < end => {
                    let to = self.below(bytes.len() - (end - at) + 1);
                    let moved: Vec<u8> = bytes.drain(at..end).collect();
                    bytes.splice(to..to, moved);
                }
                _ => {
                    let word = self.pick(words);
                    bytes.splice(at..at, word.bytes());
                }
            }
        }
    }

    /// The bytes in pieces of random lengths.
    pub fn split<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let largest = [1, 7, 64, 4096][self.below(4)];
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((1 + self.below(largest)).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// Runs `target` on one input after the other until the time is over.
pub fn fuzz(target: &str, mut one: impl FnMut(&mut Random, &mut Vec<u8>)) {
    let number = |name: &str, default: f64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    };
    let (seconds, start) = (number("AERIE_FUZZ_SECONDS", 0.4), number("AERIE_FUZZ_SEED", 0.0) as u64);
    let clock = real::world().clock;
    let began = clock.monotonic_ns();
    let end = began + (seconds * 1e9) as u64;
    let mut rounds = 0;
    while rounds < 50 || clock.monotonic_ns() < end {
        let seed = start.wrapping_add(rounds).wrapping_mul(0x2545_f491_4f6c_dd1d);
        // The target leaves its input here, to be shown.
        let mut input = Vec::new();
        let before = clock.monotonic_ns();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(&mut Random(seed), &mut input))) {
            eprintln!("{target}: round {rounds} from AERIE_FUZZ_SEED={start}, input \"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
        let took_ms = (clock.monotonic_ns() - before) / 1_000_000;
        assert!(took_ms < 60_000, "{target}: round {rounds} took {took_ms} ms for \"{}\"", input.escape_ascii());
        rounds += 1;
    }
    println!("{target}: {rounds} inputs");
}
