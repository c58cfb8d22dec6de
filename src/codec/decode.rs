//! How missing shards follow from present ones: rows over k chosen shards, solved once a loss mask and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::kernel::Factors;
use super::novelpoly::{inverse, product};
use crate::limits;

/// A set of shards of a stripe, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct ShardSet(u32);

const _: () = assert!(limits::SHARDS_MAX <= u32::BITS as usize);

impl ShardSet {
    /// False when it was there before.
    pub(super) fn insert(&mut self, shard: u8) -> bool {
        let before = self.0;
        self.0 |= 1 << shard;
        self.0 != before
    }

    pub(super) fn contains(self, shard: u8) -> bool {
        self.0 >> shard & 1 == 1
    }

    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The `count` lowest indices of the set: data before parity.
    pub(super) fn first(self, count: usize) -> ShardSet {
        let mut first = ShardSet::default();
        for shard in self.iter().take(count) {
            first.insert(shard);
        }
        first
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..u32::BITS as u8).filter(move |&shard| self.contains(shard))
    }
}

/// Solved rows, kept by the sets of present and wanted shards. Shared by all threads of a pool.
#[derive(Debug, Default)]
pub(super) struct Decoders {
    solved: Mutex<HashMap<(ShardSet, ShardSet), Arc<Factors>>>,
}

impl Decoders {
    /// One row for each shard of `wanted`, over the k shards of `present`, both in index order.
    pub(super) fn rows(&self, generator: &[Vec<u8>], data: usize, present: ShardSet, wanted: ShardSet) -> Arc<Factors> {
        let mut solved = self.solved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = solved.get(&(present, wanted)) {
            return Arc::clone(rows);
        }
        if solved.len() >= limits::DECODE_MASKS_MAX {
            solved.clear();
        }
        let rows = Arc::new(Factors::new(&solve(generator, data, present, wanted)));
        solved.insert((present, wanted), Arc::clone(&rows));
        rows
    }
}

/// Coefficients of the `wanted` shards over the `present` ones, of which there are exactly k.
///
/// Lost data shards are the unknowns of as many parity equations: A·lost = parity − B·kept data, hence
/// lost = A⁻¹·parity − A⁻¹·B·kept. A wanted parity shard is its generator row with the lost shards filled in.
fn solve(generator: &[Vec<u8>], data: usize, present: ShardSet, wanted: ShardSet) -> Vec<Vec<u8>> {
    assert_eq!(present.count(), data, "k shards determine the others");
    let columns: Vec<usize> = present.iter().map(usize::from).collect();
    let lost: Vec<usize> = (0..data).filter(|shard| !columns.contains(shard)).collect();
    let kept_count = data - lost.len();
    let equations: Vec<&Vec<u8>> = columns[kept_count..].iter().map(|shard| &generator[shard - data]).collect();

    let unknowns: Vec<Vec<u8>> = equations.iter().map(|row| lost.iter().map(|&shard| row[shard]).collect()).collect();
    let inverted = invert(unknowns);
    let data_row = |shard: usize| -> Vec<u8> {
        let Some(unknown) = lost.iter().position(|&lost| lost == shard) else {
            return columns.iter().map(|&column| u8::from(column == shard)).collect();
        };
        let by_equation = &inverted[unknown];
        let kept = columns[..kept_count].iter().map(|&column| {
            equations.iter().zip(by_equation).fold(0, |sum, (row, &factor)| sum ^ product(factor, row[column]))
        });
        kept.chain(by_equation.iter().copied()).collect()
    };
    let parity_row = |row: &Vec<u8>| -> Vec<u8> {
        (0..data).fold(vec![0; data], |mut sum, shard| {
            for (sum, value) in sum.iter_mut().zip(data_row(shard)) {
                *sum ^= product(row[shard], value);
            }
            sum
        })
    };
    wanted
        .iter()
        .map(usize::from)
        .map(|shard| if shard < data { data_row(shard) } else { parity_row(&generator[shard - data]) })
        .collect()
}

/// Inverse of a square matrix by Gauss and Jordan. Square parts of the generator always have one: the code is MDS.
fn invert(mut left: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let size = left.len();
    let mut right: Vec<Vec<u8>> = (0..size).map(|row| (0..size).map(|col| u8::from(row == col)).collect()).collect();
    for pivot in 0..size {
        let row = (pivot..size).find(|&row| left[row][pivot] != 0).expect("an MDS code has no singular part");
        left.swap(pivot, row);
        right.swap(pivot, row);
        let scale = inverse(left[pivot][pivot]);
        for value in left[pivot].iter_mut().chain(right[pivot].iter_mut()) {
            *value = product(*value, scale);
        }
        for row in (0..size).filter(|&row| row != pivot) {
            let factor = left[row][pivot];
            for col in 0..size {
                left[row][col] ^= product(factor, left[pivot][col]);
                right[row][col] ^= product(factor, right[pivot][col]);
            }
        }
    }
    right
}
