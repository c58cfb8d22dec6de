//! Four lanes in the vectors of aarch64. Every aarch64 processor that Rust's target names has NEON.
#![allow(unsafe_code)] // Intrinsics.

use std::arch::aarch64::*;

use super::Kernel;
use super::rounds::{self, Lanes, WIDTH_MAX, transposed};

/// The kernels of this processor.
pub(super) fn available() -> Vec<Kernel> {
    vec![Kernel { name: "neon in 4 lanes", width: Neon::WIDTH, run: neon }]
}

fn neon(states: &mut [[u32; 4]], inputs: &[&[u8]]) {
    // SAFETY: NEON is part of the target, so this function is compiled for it.
    unsafe { rounds::run::<Neon>(states, inputs) }
}

struct Neon;

impl Lanes for Neon {
    type Words = uint32x4_t;
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn from_words(words: &[u32; WIDTH_MAX]) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`; there are words for a vector.
        unsafe { vld1q_u32(words.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn to_words(words: uint32x4_t) -> [u32; WIDTH_MAX] {
        let mut to = [0; WIDTH_MAX];
        // SAFETY: the caller keeps the conditions of `Lanes`; there is room for a vector.
        unsafe { vst1q_u32(to.as_mut_ptr(), words) };
        to
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vdupq_n_u32(word) }
    }
    #[inline(always)]
    unsafe fn add(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vaddq_u32(a, b) }
    }
    #[inline(always)]
    unsafe fn rotate<const BITS: i32, const REST: i32>(a: uint32x4_t) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vsriq_n_u32::<REST>(vshlq_n_u32::<BITS>(a), a) }
    }
    #[inline(always)]
    unsafe fn add_choice(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vaddq_u32(sum, vbslq_u32(b, c, d)) }
    }
    #[inline(always)]
    unsafe fn add_parity(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vaddq_u32(sum, veorq_u32(b, veorq_u32(c, d))) }
    }
    #[inline(always)]
    unsafe fn add_last(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
        // SAFETY: the caller keeps the conditions of `Lanes`.
        unsafe { vaddq_u32(sum, veorq_u32(c, vornq_u32(b, d))) }
    }
    #[inline(always)]
    unsafe fn load(blocks: &[*const u8; WIDTH_MAX]) -> [uint32x4_t; 16] {
        // SAFETY: the caller keeps the conditions of `Lanes`; a block is valid at each address.
        unsafe { transposed!(quarter_of, blocks, vzip1q_u32, vzip2q_u32, low_halves, high_halves) }
    }
}

/// # Safety
/// As for `Lanes::load`.
#[inline(always)]
unsafe fn quarter_of(blocks: &[*const u8; WIDTH_MAX], row: usize, quarter: usize) -> uint32x4_t {
    // SAFETY: the caller's promise; the load takes any alignment.
    unsafe { vreinterpretq_u32_u8(vld1q_u8(blocks[row].add(16 * quarter))) }
}

/// # Safety
/// As for `Lanes`.
#[inline(always)]
unsafe fn low_halves(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    // SAFETY: the caller's promise.
    unsafe { vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b))) }
}

/// # Safety
/// As for `Lanes`.
#[inline(always)]
unsafe fn high_halves(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    // SAFETY: the caller's promise.
    unsafe { vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b))) }
}
