//! The aarch64 kernel: two NEON table look-ups a product. Every aarch64 processor that Rust's target names has NEON.
#![allow(unsafe_code)] // Intrinsics.

use std::arch::aarch64::*;

use super::factor::Factor;
use super::lanes::{self, Lanes, by_shape};
use super::{Kernel, Tile};

/// The kernels of this processor, the fastest first.
pub(super) fn available() -> Vec<Kernel> {
    vec![Kernel { name: "neon", lane_bytes: Neon::BYTES, run: neon }]
}

fn neon(tile: &mut Tile<'_, '_>) {
    fn shaped<const K: usize, const R: usize>(tile: &mut Tile<'_, '_>) {
        // SAFETY: NEON is part of the target, so this function is compiled for it.
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { lanes::run::<Neon, K, R, 2>(tile) }
    }
    by_shape!(shaped, tile)
}

struct Neon;

/// A vector of half bytes, and one of the other halves.
#[derive(Clone, Copy)]
struct Halves {
    low: uint8x16_t,
    high: uint8x16_t,
}

impl Lanes for Neon {
    type Vector = uint8x16_t;
    type Operand = Halves;
    /// The products with each half byte.
    type Loaded = Halves;
    const BYTES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> uint8x16_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vdupq_n_u8(0) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vld1q_u8(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut u8, vector: uint8x16_t) {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vst1q_u8(to, vector) }
    }
    #[inline(always)]
    unsafe fn operand(source: uint8x16_t) -> Halves {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { Halves { low: vandq_u8(source, vdupq_n_u8(0x0f)), high: vshrq_n_u8::<4>(source) } }
    }
    #[inline(always)]
    unsafe fn factor(factor: &Factor) -> Halves {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { Halves { low: vld1q_u8(factor.of_low.as_ptr()), high: vld1q_u8(factor.of_high.as_ptr()) } }
    }
    #[inline(always)]
    unsafe fn add_product(sum: uint8x16_t, operand: Halves, factor: Halves) -> uint8x16_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe {
            let low = vqtbl1q_u8(factor.low, operand.low);
            let high = vqtbl1q_u8(factor.high, operand.high);
            veorq_u8(sum, veorq_u8(low, high))
        }
    }
}
