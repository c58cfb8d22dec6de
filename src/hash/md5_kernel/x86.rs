//! Lanes in the vectors of x86-64: 8 or 16 with AVX-512's rotation and three-way logic, 8 with AVX2.
#![allow(unsafe_code)] // Intrinsics; each kernel is handed out only after the processor was asked for its instructions.

use std::arch::x86_64::*;

use super::Kernel;
use super::rounds::{self, Lanes, WIDTH_MAX, transposed};

/// The kernels of this processor.
pub(super) fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        kernels.push(Kernel { name: "avx512 in 8 lanes", width: 8, run: avx512_in_8 });
        kernels.push(Kernel { name: "avx512 in 16 lanes", width: 16, run: avx512_in_16 });
    }
    if is_x86_feature_detected!("avx2") {
        kernels.push(Kernel { name: "avx2 in 8 lanes", width: 8, run: avx2_in_8 });
    }
    kernels
}

macro_rules! kernel {
    ($name:ident, $lanes:ty, $features:literal) => {
        fn $name(states: &mut [[u32; 4]], inputs: &[&[u8]]) {
            #[target_feature(enable = $features)]
            fn compiled(states: &mut [[u32; 4]], inputs: &[&[u8]]) {
                // SAFETY: this function is compiled for the instructions of the lanes.
                unsafe { rounds::run::<$lanes>(states, inputs) }
            }
            // SAFETY: `available` made this kernel, so the processor has the instructions.
            unsafe { compiled(states, inputs) }
        }
    };
}

kernel!(avx512_in_8, Avx512In8, "avx512f,avx512vl");
kernel!(avx512_in_16, Avx512In16, "avx512f,avx512vl");
kernel!(avx2_in_8, Avx2In8, "avx2");

/// What `b ? c : d`, `b ^ c ^ d` and `c ^ (b | !d)` give for each of bcd's eight values.
const CHOICE: i32 = 0xca;
const PARITY: i32 = 0x96;
const LAST: i32 = 0x39;

/// Lanes by the intrinsics of one vector; of the rotation and of MD5's functions in its terms.
macro_rules! lanes {
    ($name:ident, $vector:ty, $width:literal, $load:ident, $store:ident, $splat:ident, $add:ident, $quarters:ident,
     $low32:ident, $high32:ident, $low64:ident, $high64:ident; rotate($a:ident) $rotate:expr;
     choice($b:ident, $c:ident, $d:ident) $choice:expr; parity $parity:expr; last $last:expr) => {
        struct $name;

        impl Lanes for $name {
            type Words = $vector;
            const WIDTH: usize = $width;

            #[inline(always)]
            unsafe fn from_words(words: &[u32; WIDTH_MAX]) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`; there are words for the widest vector.
                unsafe { $load(words.as_ptr().cast()) }
            }
            #[inline(always)]
            unsafe fn to_words(words: $vector) -> [u32; WIDTH_MAX] {
                let mut to = [0; WIDTH_MAX];
                // SAFETY: the caller keeps the conditions of `Lanes`; there is room for the widest vector.
                unsafe { $store(to.as_mut_ptr().cast(), words) };
                to
            }
            #[inline(always)]
            unsafe fn splat(word: u32) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`.
                unsafe { $splat(word.cast_signed()) }
            }
            #[inline(always)]
            unsafe fn add(a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn rotate<const BITS: i32, const REST: i32>($a: $vector) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`.
                unsafe { $rotate }
            }
            #[inline(always)]
            unsafe fn add_choice(sum: $vector, $b: $vector, $c: $vector, $d: $vector) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`.
                unsafe { $add(sum, $choice) }
            }
            #[inline(always)]
            unsafe fn add_parity(sum: $vector, $b: $vector, $c: $vector, $d: $vector) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`.
                unsafe { $add(sum, $parity) }
            }
            #[inline(always)]
            unsafe fn add_last(sum: $vector, $b: $vector, $c: $vector, $d: $vector) -> $vector {
                // SAFETY: the caller keeps the conditions of `Lanes`.
                unsafe { $add(sum, $last) }
            }
            #[inline(always)]
            unsafe fn load(blocks: &[*const u8; WIDTH_MAX]) -> [$vector; 16] {
                // SAFETY: the caller keeps the conditions of `Lanes`; a block is valid at each address.
                unsafe { transposed!($quarters, blocks, $low32, $high32, $low64, $high64) }
            }
        }
    };
}

lanes!(
    Avx512In16, __m512i, 16, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_add_epi32,
    quarters_of_16, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64;
    rotate(a) _mm512_rol_epi32::<BITS>(a);
    choice(b, c, d) _mm512_ternarylogic_epi32::<CHOICE>(b, c, d);
    parity _mm512_ternarylogic_epi32::<PARITY>(b, c, d);
    last _mm512_ternarylogic_epi32::<LAST>(b, c, d)
);
lanes!(
    Avx512In8, __m256i, 8, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_add_epi32,
    quarters_of_8, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64;
    rotate(a) _mm256_rol_epi32::<BITS>(a);
    choice(b, c, d) _mm256_ternarylogic_epi32::<CHOICE>(b, c, d);
    parity _mm256_ternarylogic_epi32::<PARITY>(b, c, d);
    last _mm256_ternarylogic_epi32::<LAST>(b, c, d)
);
lanes!(
    Avx2In8, __m256i, 8, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_add_epi32,
    quarters_of_8, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64;
    rotate(a) _mm256_or_si256(_mm256_slli_epi32::<BITS>(a), _mm256_srli_epi32::<REST>(a));
    choice(b, c, d) _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)));
    parity _mm256_xor_si256(b, _mm256_xor_si256(c, d));
    last _mm256_xor_si256(c, _mm256_or_si256(b, _mm256_xor_si256(d, _mm256_set1_epi32(-1))))
);

/// # Safety
/// 16 bytes are valid from `16 * quarter` on.
#[inline(always)]
unsafe fn quarter_of(block: *const u8, quarter: usize) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe { _mm_loadu_si128(block.add(16 * quarter).cast()) }
}

/// Of the streams `row` and `row + 4`.
///
/// # Safety
/// As for `Lanes::load`.
#[inline(always)]
unsafe fn quarters_of_8(blocks: &[*const u8; WIDTH_MAX], row: usize, quarter: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm256_castsi128_si256(quarter_of(blocks[row], quarter));
        _mm256_inserti128_si256::<1>(low, quarter_of(blocks[row + 4], quarter))
    }
}

/// Of the streams `row`, `row + 4`, `row + 8` and `row + 12`.
///
/// # Safety
/// As for `Lanes::load`.
#[inline(always)]
unsafe fn quarters_of_16(blocks: &[*const u8; WIDTH_MAX], row: usize, quarter: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm512_castsi128_si512(quarter_of(blocks[row], quarter));
        let four = _mm512_inserti32x4::<1>(four, quarter_of(blocks[row + 4], quarter));
        let four = _mm512_inserti32x4::<2>(four, quarter_of(blocks[row + 8], quarter));
        _mm512_inserti32x4::<3>(four, quarter_of(blocks[row + 12], quarter))
    }
}
