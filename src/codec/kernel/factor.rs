//! A coefficient in the forms that the kernels multiply by, and matrices of them.

use crate::codec::novelpoly::product;

/// Multiplication by one constant of GF(2^8), which is linear in the bits of the other operand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    /// Products with 1, 2, 4, … 128.
    pub(super) of_bits: [u8; 8],
    /// Products with 0..16, and with the sixteen multiples of 16: a table look-up per half byte.
    pub(super) of_low: [u8; 16],
    pub(super) of_high: [u8; 16],
    /// The same as an 8×8 bit matrix in the order of GF2P8AFFINEQB: byte 7−i selects the input bits of output bit i.
    pub(super) affine: u64,
}

impl Factor {
    fn new(coefficient: u8) -> Factor {
        let of_bits = std::array::from_fn(|bit| product(coefficient, 1 << bit));
        let row = |output: usize| (0..8).fold(0, |row, input| row | (of_bits[input] >> output & 1) << input);
        Factor {
            of_bits,
            of_low: std::array::from_fn(|half| product(coefficient, half as u8)),
            of_high: std::array::from_fn(|half| product(coefficient, (half as u8) << 4)),
            affine: u64::from_be_bytes(std::array::from_fn(row)),
        }
    }
}

/// A matrix ready to multiply by.
#[derive(Debug)]
pub(in crate::codec) struct Factors {
    rows: Vec<Vec<Factor>>,
}

impl Factors {
    pub(in crate::codec) fn new(coefficients: &[Vec<u8>]) -> Factors {
        Factors { rows: coefficients.iter().map(|row| row.iter().copied().map(Factor::new).collect()).collect() }
    }

    pub(super) fn rows(&self) -> &[Vec<Factor>] {
        &self.rows
    }
}
