//! One stream in plain registers: nothing but Rust, and the twin that the vectors are tested against.
#![allow(unsafe_code)] // The trait's functions are unsafe, because those of other implementors are.

use super::rounds::{BLOCK_BYTES, Lanes, WIDTH_MAX};

pub(super) struct Plain;

impl Lanes for Plain {
    type Words = u32;
    const WIDTH: usize = 1;

    #[inline(always)]
    unsafe fn from_words(words: &[u32; WIDTH_MAX]) -> u32 {
        words[0]
    }
    #[inline(always)]
    unsafe fn to_words(word: u32) -> [u32; WIDTH_MAX] {
        [word; WIDTH_MAX]
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> u32 {
        word
    }
    #[inline(always)]
    unsafe fn add(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    unsafe fn rotate<const BITS: i32, const REST: i32>(a: u32) -> u32 {
        a.rotate_left(BITS.cast_unsigned())
    }
    #[inline(always)]
    unsafe fn add_choice(sum: u32, b: u32, c: u32, d: u32) -> u32 {
        // The two sides have no bit in common; the second comes later, and then waits for one addition only.
        sum.wrapping_add(!b & d).wrapping_add(b & c)
    }
    #[inline(always)]
    unsafe fn add_parity(sum: u32, b: u32, c: u32, d: u32) -> u32 {
        sum.wrapping_add(b ^ (c ^ d))
    }
    #[inline(always)]
    unsafe fn add_last(sum: u32, b: u32, c: u32, d: u32) -> u32 {
        sum.wrapping_add(c ^ (b | !d))
    }
    #[inline(always)]
    unsafe fn load(blocks: &[*const u8; WIDTH_MAX]) -> [u32; 16] {
        // SAFETY: the caller promises a block at each address; bytes have any alignment.
        let block: &[u8; BLOCK_BYTES] = unsafe { &*blocks[0].cast() };
        let word = |at: usize| [block[4 * at], block[4 * at + 1], block[4 * at + 2], block[4 * at + 3]];
        std::array::from_fn(|at| u32::from_le_bytes(word(at)))
    }
}
