//! The loop that all vector kernels share, generic over the vector and unrolled over the sources.
//!
//! Each source is a stream with a load instruction of its own: a loop over a run-time number of sources costs up to
//! 3.6 times as much. Hence the const generics: K sources, R targets, U vectors a round, all unrolled by the compiler.
#![allow(unsafe_code)] // Vector loads and stores by address: bounds are asserted once a call instead of once a vector.
#![allow(clippy::needless_range_loop)] // Indices of constant bounds are what the compiler unrolls.

use super::Tile;
use super::factor::Factor;

/// A vector unit that multiplies bytes by constants.
///
/// # Safety
/// The functions may be called only where the processor has the instructions of the implementor. `load` and `store`
/// need `BYTES` valid bytes at the address, of any alignment.
pub(super) trait Lanes {
    type Vector: Copy;
    /// A source vector, made ready to be multiplied by several factors.
    type Operand: Copy;
    /// A factor in vector form.
    type Loaded: Copy;
    const BYTES: usize;

    unsafe fn zero() -> Self::Vector;
    unsafe fn load(from: *const u8) -> Self::Vector;
    unsafe fn store(to: *mut u8, vector: Self::Vector);
    unsafe fn operand(source: Self::Vector) -> Self::Operand;
    unsafe fn factor(factor: &Factor) -> Self::Loaded;
    /// sum + operand × factor.
    unsafe fn add_product(sum: Self::Vector, operand: Self::Operand, factor: Self::Loaded) -> Self::Vector;
}

/// Works through a tile of K sources and R targets.
///
/// # Safety
/// The processor has the instructions of `L`, and the caller is compiled for them.
#[inline(always)]
pub(super) unsafe fn run<L: Lanes, const K: usize, const R: usize, const U: usize>(tile: &mut Tile<'_, '_>) {
    let (start, end) = (tile.start, tile.end);
    assert!(start <= end && (end - start).is_multiple_of(L::BYTES));
    assert!(tile.sources.len() == K && tile.sources.iter().all(|source| source.len() >= end));
    assert!(tile.targets.len() == R && tile.targets.iter().all(|target| target.len() >= end));

    let sources: [*const u8; K] = std::array::from_fn(|column| tile.sources[column].as_ptr());
    let targets: [*mut u8; R] = std::array::from_fn(|row| tile.targets[row].as_mut_ptr());
    // SAFETY: the instructions are there, by this function's own condition.
    let mut factors = [[unsafe { L::factor(&tile.factors[0][0]) }; K]; R];
    for row in 0..R {
        for column in 0..K {
            // SAFETY: as above.
            factors[row][column] = unsafe { L::factor(&tile.factors[row][column]) };
        }
    }

    let mut streams = Streams::<L, K, R> { sources, targets, factors, accumulate: tile.accumulate, at: start };
    while end - streams.at >= L::BYTES * U {
        // SAFETY: U whole vectors from `at` end at or before `end`, which no source or target is shorter than.
        unsafe { streams.round::<U>() };
    }
    while streams.at < end {
        // SAFETY: `end - at` is a whole number of vectors and not zero.
        unsafe { streams.round::<1>() };
    }
}

struct Streams<L: Lanes, const K: usize, const R: usize> {
    sources: [*const u8; K],
    targets: [*mut u8; R],
    factors: [[L::Loaded; K]; R],
    accumulate: bool,
    /// Where all streams have come to, in bytes.
    at: usize,
}

impl<L: Lanes, const K: usize, const R: usize> Streams<L, K, R> {
    /// Computes U vectors of each target.
    ///
    /// # Safety
    /// As for `Lanes`, and U vectors from `at` are valid in every source and target.
    #[inline(always)]
    unsafe fn round<const U: usize>(&mut self) {
        // SAFETY: the caller grants the instructions and U vectors from `at` in every stream; `offset` is below that.
        unsafe {
            let mut sums = [[L::zero(); U]; R];
            if self.accumulate {
                for row in 0..R {
                    for vector in 0..U {
                        sums[row][vector] = L::load(self.targets[row].add(self.at + vector * L::BYTES));
                    }
                }
            }
            macro_rules! add_columns {
                ($($column:literal)*) => { $(
                    if $column < K {
                        for vector in 0..U {
                            let offset = self.at + vector * L::BYTES;
                            let operand = L::operand(L::load(self.sources[$column].add(offset)));
                            for row in 0..R {
                                sums[row][vector] =
                                    L::add_product(sums[row][vector], operand, self.factors[row][$column]);
                            }
                        }
                    }
                )* };
            }
            add_columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            for row in 0..R {
                for vector in 0..U {
                    L::store(self.targets[row].add(self.at + vector * L::BYTES), sums[row][vector]);
                }
            }
        }
        self.at += U * L::BYTES;
    }
}

/// Calls `$run::<K, R>($tile)` for the tile's own shape.
macro_rules! by_shape {
    ($run:ident, $tile:expr) => {
        by_shape!(@arms $run, $tile; 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    };
    (@arms $run:ident, $tile:expr; $($sources:literal)*) => {
        match ($tile.sources.len(), $tile.targets.len()) {
            $(
                ($sources, 1) => $run::<$sources, 1>($tile),
                ($sources, 2) => $run::<$sources, 2>($tile),
                ($sources, 3) => $run::<$sources, 3>($tile),
                ($sources, 4) => $run::<$sources, 4>($tile),
            )*
            (sources, targets) => unreachable!("a tile of {sources} sources and {targets} targets"),
        }
    };
}
pub(super) use by_shape;

const _: () = assert!(super::TILE_COLUMNS == 16 && super::TILE_ROWS == 4);
