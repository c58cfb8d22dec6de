//! The x86-64 kernels: one GFNI instruction a product, in 512 or 256 bits, else two AVX2 table look-ups.
#![allow(unsafe_code)] // Intrinsics; each kernel is handed out only after the processor was asked for its instructions.

use std::arch::x86_64::*;

use super::factor::Factor;
use super::lanes::{self, Lanes, by_shape};
use super::{Kernel, Tile};

/// The kernels of this processor, the fastest first.
pub(super) fn available() -> Vec<Kernel> {
    let (gfni, avx2) = (is_x86_feature_detected!("gfni"), is_x86_feature_detected!("avx2"));
    let mut kernels = Vec::new();
    if gfni && is_x86_feature_detected!("avx512f") {
        kernels.push(Kernel { name: "gfni512", lane_bytes: Gfni512::BYTES, run: gfni512 });
    }
    if gfni && avx2 {
        kernels.push(Kernel { name: "gfni256", lane_bytes: Gfni256::BYTES, run: gfni256 });
    }
    if avx2 {
        kernels.push(Kernel { name: "avx2", lane_bytes: Avx2::BYTES, run: avx2_pshufb });
    }
    kernels
}

/// A function that works through a tile with the given instructions.
macro_rules! kernel {
    ($name:ident, $lanes:ty, $features:literal, $vectors_a_round:literal) => {
        fn $name(tile: &mut Tile<'_, '_>) {
            #[target_feature(enable = $features)]
            fn shaped<const K: usize, const R: usize>(tile: &mut Tile<'_, '_>) {
                // SAFETY: this function is compiled for the instructions of the lanes.
                unsafe { lanes::run::<$lanes, K, R, $vectors_a_round>(tile) }
            }
            // SAFETY: `available` made this kernel, so the processor has the instructions.
            unsafe { by_shape!(shaped, tile) }
        }
    };
}

kernel!(gfni512, Gfni512, "gfni,avx512f", 2);
kernel!(gfni256, Gfni256, "gfni,avx2", 2);
kernel!(avx2_pshufb, Avx2, "avx2", 1);

struct Gfni512;

impl Lanes for Gfni512 {
    type Vector = __m512i;
    type Operand = __m512i;
    type Loaded = __m512i;
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut u8, vector: __m512i) {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm512_storeu_si512(to.cast(), vector) }
    }
    #[inline(always)]
    unsafe fn operand(source: __m512i) -> __m512i {
        source
    }
    #[inline(always)]
    unsafe fn factor(factor: &Factor) -> __m512i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm512_set1_epi64(factor.affine.cast_signed()) }
    }
    #[inline(always)]
    unsafe fn add_product(sum: __m512i, operand: __m512i, factor: __m512i) -> __m512i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm512_xor_si512(sum, _mm512_gf2p8affine_epi64_epi8::<0>(operand, factor)) }
    }
}

struct Gfni256;

impl Lanes for Gfni256 {
    type Vector = __m256i;
    type Operand = __m256i;
    type Loaded = __m256i;
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut u8, vector: __m256i) {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_storeu_si256(to.cast(), vector) }
    }
    #[inline(always)]
    unsafe fn operand(source: __m256i) -> __m256i {
        source
    }
    #[inline(always)]
    unsafe fn factor(factor: &Factor) -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_set1_epi64x(factor.affine.cast_signed()) }
    }
    #[inline(always)]
    unsafe fn add_product(sum: __m256i, operand: __m256i, factor: __m256i) -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_xor_si256(sum, _mm256_gf2p8affine_epi64_epi8::<0>(operand, factor)) }
    }
}

struct Avx2;

/// A vector of half bytes, and one of the other halves.
#[derive(Clone, Copy)]
struct Halves {
    low: __m256i,
    high: __m256i,
}

impl Lanes for Avx2 {
    type Vector = __m256i;
    type Operand = Halves;
    /// The products with each half byte.
    type Loaded = Halves;
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut u8, vector: __m256i) {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { _mm256_storeu_si256(to.cast(), vector) }
    }
    #[inline(always)]
    unsafe fn operand(source: __m256i) -> Halves {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe {
            let mask = _mm256_set1_epi8(0x0f);
            let high = _mm256_and_si256(_mm256_srli_epi64::<4>(source), mask);
            Halves { low: _mm256_and_si256(source, mask), high }
        }
    }
    #[inline(always)]
    unsafe fn factor(factor: &Factor) -> Halves {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe {
            let table = |half: &[u8; 16]| _mm256_broadcastsi128_si256(_mm_loadu_si128(half.as_ptr().cast()));
            Halves { low: table(&factor.of_low), high: table(&factor.of_high) }
        }
    }
    #[inline(always)]
    unsafe fn add_product(sum: __m256i, operand: Halves, factor: Halves) -> __m256i {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe {
            let low = _mm256_shuffle_epi8(factor.low, operand.low);
            let high = _mm256_shuffle_epi8(factor.high, operand.high);
            _mm256_xor_si256(sum, _mm256_xor_si256(low, high))
        }
    }
}
