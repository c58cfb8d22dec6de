//! The safe kernel: any processor, any length. The compiler turns its inner loop into whatever vectors there are.

use super::Tile;
use super::factor::Factor;

/// Bytes handled at a time, so that the sums stay in the first-level cache while the sources pass by.
const BLOCK_BYTES: usize = 4096;

pub(super) fn run(tile: &mut Tile<'_, '_>) {
    for start in (tile.start..tile.end).step_by(BLOCK_BYTES) {
        let block = start..tile.end.min(start + BLOCK_BYTES);
        for (target, row) in tile.targets.iter_mut().zip(tile.factors) {
            let target = &mut target[block.clone()];
            if !tile.accumulate {
                target.fill(0);
            }
            for (source, factor) in tile.sources.iter().zip(*row) {
                add_product(target, &source[block.clone()], factor);
            }
        }
    }
}

/// target += factor × source: the sum of the products with the bits that are set.
fn add_product(target: &mut [u8], source: &[u8], factor: &Factor) {
    for (target, &byte) in target.iter_mut().zip(source) {
        let mut product = 0;
        for (bit, of_bit) in factor.of_bits.iter().enumerate() {
            product ^= if byte & 1 << bit != 0 { *of_bit } else { 0 };
        }
        *target ^= product;
    }
}
