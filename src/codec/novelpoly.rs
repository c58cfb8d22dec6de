//! The definition of the code: `reed-solomon-novelpoly`, called with one byte to a symbol.
//!
//! It is far too slow for the data path, so it runs only at construction (to derive the generator), in the self-test
//! and on folds. Its code for 2^i data shards is shortened to any k: the shards from k up to the next power of two are
//! zeros that nobody stores. Its field is GF(2^16); the values 0..=255 form the subfield GF(2^8) that we stay in.

use reed_solomon_novelpoly::f2e16::{Additive, Multiplier, ONEMASK};
use reed_solomon_novelpoly::{CodeParams, ReedSolomon, WrappedShard};

/// novelpoly's code of one geometry, with at least one parity shard.
#[derive(Debug)]
pub(super) struct Definition {
    /// Data shards as novelpoly counts them: a power of two.
    data_padded: usize,
    parity: usize,
    encoder: ReedSolomon,
}

impl Definition {
    /// `data` and `parity` are at least 1, so that the crate's panic at n = k is never reached.
    pub(super) fn new(data: usize, parity: usize) -> Definition {
        assert!(data >= 1 && parity >= 1);
        let data_padded = data.next_power_of_two();
        let params = CodeParams::derive_parameters(data_padded + parity, data_padded)
            .expect("at least two shards, and far fewer than the field has elements");
        Definition { data_padded, parity, encoder: params.make_encoder() }
    }

    /// Parity of data shards of one length, byte by byte.
    pub(super) fn parity_of(&self, data: &[&[u8]]) -> Vec<Vec<u8>> {
        let length = data[0].len();
        if length == 0 {
            return vec![Vec::new(); self.parity];
        }
        let mut payload = vec![0; length * self.data_padded * 2];
        for (column, symbols) in payload.chunks_exact_mut(self.data_padded * 2).enumerate() {
            for (shard, symbol) in data.iter().zip(symbols.chunks_exact_mut(2)) {
                symbol[1] = shard[column];
            }
        }
        let shards: Vec<WrappedShard> = self.encoder.encode(&payload).expect("the payload is not empty");
        shards[self.data_padded..].iter().map(|shard| low_bytes(shard.as_ref())).collect()
    }

    /// Coefficients of the parity shards, row by row: the parity of the unit vectors.
    pub(super) fn generator(&self, data: usize) -> Vec<Vec<u8>> {
        let units: Vec<Vec<u8>> =
            (0..data).map(|shard| (0..data).map(|column| u8::from(column == shard)).collect()).collect();
        self.parity_of(&units.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// The bytes of big-endian symbols that all lie in the subfield.
fn low_bytes(symbols: &[u8]) -> Vec<u8> {
    let (symbols, _) = symbols.as_chunks::<2>();
    symbols
        .iter()
        .map(|&[high, low]| {
            assert_eq!(high, 0, "bytes make a subfield that the code stays in");
            low
        })
        .collect()
}

/// Product in the subfield. The sum is XOR.
pub(super) fn product(a: u8, b: u8) -> u8 {
    if b == 0 {
        return 0;
    }
    let product = Additive(u16::from(a)).mul(Additive(u16::from(b)).to_multiplier());
    u8::try_from(product.0).expect("bytes make a subfield, which is closed under products")
}

/// Inverse of `a`, which is not zero.
pub(super) fn inverse(a: u8) -> u8 {
    assert_ne!(a, 0, "zero has no inverse");
    let log = Additive(u16::from(a)).to_multiplier().0;
    let inverse = Additive(1).mul(Multiplier(ONEMASK - log));
    u8::try_from(inverse.0).expect("bytes make a subfield, which is closed under inverses")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_a_field() {
        for a in 0..=255 {
            assert_eq!(product(a, 1), a);
            assert_eq!(product(1, a), a);
            assert_eq!(product(a, 0), 0);
            if a > 0 {
                assert_eq!(product(a, inverse(a)), 1, "inverse of {a}");
            }
            for b in (0..=255).step_by(7) {
                assert_eq!(product(a, b), product(b, a));
                for c in [3, 77, 200] {
                    assert_eq!(product(a, b ^ c), product(a, b) ^ product(a, c));
                    assert_eq!(product(a, product(b, c)), product(product(a, b), c));
                }
            }
        }
    }

    #[test]
    fn the_format_states_the_products() {
        let format = include_str!("FORMAT.md");
        let row = |i: u32| (0..8).map(|j| format!("{:02x}", product(1 << i, 1 << j))).collect::<Vec<_>>().join(" ");
        let table = (0..8).map(row).collect::<Vec<_>>().join("\n");
        assert!(format.contains(&table), "FORMAT.md lacks this table:\n{table}");
    }

    /// FORMAT.md states the generator by Lagrange interpolation; a reader without novelpoly relies on that.
    #[test]
    fn the_generator_is_lagrange_interpolation() {
        for (data, parity) in
            [(1, 1), (1, 3), (2, 1), (3, 1), (4, 2), (5, 3), (8, 4), (12, 4), (17, 3), (1, 31), (31, 1)]
        {
            let padded = usize::next_power_of_two(data);
            let generator = Definition::new(data, parity).generator(data);
            for (row, coefficients) in generator.iter().enumerate() {
                for (column, &coefficient) in coefficients.iter().enumerate() {
                    let at = (padded + row) as u8;
                    let expected = (0..padded).filter(|&other| other != column).fold(1, |value, other| {
                        let (above, below) = (at ^ other as u8, column as u8 ^ other as u8);
                        product(value, product(above, inverse(below)))
                    });
                    assert_eq!(coefficient, expected, "{data}+{parity} row {row} column {column}");
                }
            }
        }
    }
}
