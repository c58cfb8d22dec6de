//! The kernels: targets = matrix × sources over GF(2^8), as fast as the processor allows.
//!
//! All kernels compute the same bytes; `portable` is the safe twin that the others are tested against and that handles
//! what is left over after whole vectors. Architecture invariant: `unsafe` occurs in this folder's vector files only
//! (`lanes`, `x86`, `neon`), and a `Kernel` value exists only where the processor can run it.

mod factor;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use factor::Factors;

use factor::Factor;
use std::fmt;

/// Rows computed in one pass over the sources: as many sums as leave registers for the rest.
const TILE_ROWS: usize = 4;
/// Sources read side by side in one pass: as many streams as the unrolled loops are written for.
const TILE_COLUMNS: usize = 16;

/// A way to compute that this processor has.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// Bytes of a vector; `run` takes whole vectors only.
    lane_bytes: usize,
    run: fn(&mut Tile<'_, '_>),
}

/// A piece of the work that fits the registers: at most `TILE_ROWS` × `TILE_COLUMNS`.
struct Tile<'a, 'b> {
    /// A row of factors for each target, a factor for each source.
    factors: &'a [&'a [Factor]],
    sources: &'a [&'a [u8]],
    targets: &'a mut [&'b mut [u8]],
    /// Where the work begins and ends in every shard.
    start: usize,
    end: usize,
    /// Adds to what the targets hold, instead of replacing it.
    accumulate: bool,
}

impl Kernel {
    /// The kernel that needs nothing but Rust.
    pub fn portable() -> Kernel {
        Kernel { name: "portable", lane_bytes: 1, run: portable::run }
    }

    /// All kernels of this processor, the fastest first.
    pub fn available() -> Vec<Kernel> {
        #[cfg(target_arch = "x86_64")]
        let mut kernels = x86::available();
        #[cfg(target_arch = "aarch64")]
        let mut kernels = neon::available();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let mut kernels = Vec::new();
        kernels.push(Kernel::portable());
        kernels
    }

    pub fn fastest() -> Kernel {
        Kernel::available()[0]
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// targets = matrix × sources. All shards have one length; there is a source for each column, a target for each row.
    pub(super) fn apply(&self, matrix: &Factors, sources: &[&[u8]], targets: &mut [&mut [u8]]) {
        let Some(length) = targets.first().map(|target| target.len()) else {
            return;
        };
        assert_eq!(matrix.rows().len(), targets.len(), "a target for each row");
        assert!(matrix.rows().iter().all(|row| row.len() == sources.len()), "a source for each column");
        assert!(targets.iter().all(|target| target.len() == length), "shards of a stripe have one length");
        assert!(sources.iter().all(|source| source.len() == length), "shards of a stripe have one length");

        let vectors_end = length - length % self.lane_bytes;
        for (rows, targets) in matrix.rows().chunks(TILE_ROWS).zip(targets.chunks_mut(TILE_ROWS)) {
            for first in (0..sources.len()).step_by(TILE_COLUMNS) {
                let columns = first..sources.len().min(first + TILE_COLUMNS);
                let factors: Vec<&[Factor]> = rows.iter().map(|row| &row[columns.clone()]).collect();
                let mut tile = Tile {
                    factors: &factors,
                    sources: &sources[columns],
                    targets: &mut *targets,
                    start: 0,
                    end: vectors_end,
                    accumulate: first > 0,
                };
                (self.run)(&mut tile);
                (tile.start, tile.end) = (vectors_end, length);
                portable::run(&mut tile);
            }
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
