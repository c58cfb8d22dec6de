//! MD5's compression, generic over the lanes that it runs in: one stream in each, all with as many blocks.
//!
//! A step waits for the one before, so that a stream alone leaves most of the processor idle; what is added here to fill it
//! costs next to nothing until the lanes are full.
#![allow(unsafe_code)] // Vector loads by address: bounds are asserted once a call instead of once a vector.

/// Bytes of an MD5 block.
pub(in crate::hash) const BLOCK_BYTES: usize = 64;
/// Streams in the widest lanes.
pub(super) const WIDTH_MAX: usize = 16;

/// 32-bit words of several streams, side by side.
///
/// # Safety
/// The functions may be called only where the processor has the instructions of the implementor.
pub(super) trait Lanes {
    type Words: Copy;
    /// Streams, at most `WIDTH_MAX`.
    const WIDTH: usize;

    unsafe fn from_words(words: &[u32; WIDTH_MAX]) -> Self::Words;
    unsafe fn to_words(words: Self::Words) -> [u32; WIDTH_MAX];
    unsafe fn splat(word: u32) -> Self::Words;
    unsafe fn add(a: Self::Words, b: Self::Words) -> Self::Words;
    unsafe fn rotate<const BITS: i32, const REST: i32>(a: Self::Words) -> Self::Words;
    /// sum + (b ? c : d), bit by bit.
    unsafe fn add_choice(sum: Self::Words, b: Self::Words, c: Self::Words, d: Self::Words) -> Self::Words;
    /// sum + (b ^ c ^ d).
    unsafe fn add_parity(sum: Self::Words, b: Self::Words, c: Self::Words, d: Self::Words) -> Self::Words;
    /// sum + (c ^ (b | !d)).
    unsafe fn add_last(sum: Self::Words, b: Self::Words, c: Self::Words, d: Self::Words) -> Self::Words;
    /// The 16 words of each stream's next block, which begins at the address.
    unsafe fn load(blocks: &[*const u8; WIDTH_MAX]) -> [Self::Words; 16];
}

/// The 16 words of each stream, from quarters of blocks: those of four streams lie in four rows, and are transposed.
macro_rules! transposed {
    ($quarters:ident, $blocks:expr, $low32:ident, $high32:ident, $low64:ident, $high64:ident) => {{
        let mut words = [$quarters($blocks, 0, 0); 16];
        for quarter in 0..4 {
            let row = |row: usize| $quarters($blocks, row, quarter);
            let (low01, high01) = ($low32(row(0), row(1)), $high32(row(0), row(1)));
            let (low23, high23) = ($low32(row(2), row(3)), $high32(row(2), row(3)));
            words[4 * quarter] = $low64(low01, low23);
            words[4 * quarter + 1] = $high64(low01, low23);
            words[4 * quarter + 2] = $low64(high01, high23);
            words[4 * quarter + 3] = $high64(high01, high23);
        }
        words
    }};
}
pub(super) use transposed;

/// Hashes all of the inputs, which have one length in whole blocks, into the states. There are at most as many as lanes.
///
/// # Safety
/// The processor has the instructions of `L`, and the caller is compiled for them.
#[inline(always)]
pub(super) unsafe fn run<L: Lanes>(states: &mut [[u32; 4]], inputs: &[&[u8]]) {
    assert!(!inputs.is_empty() && inputs.len() <= L::WIDTH && states.len() == inputs.len());
    let length = inputs[0].len();
    assert!(length.is_multiple_of(BLOCK_BYTES) && inputs.iter().all(|input| input.len() == length));
    // Idle lanes hash the first input, for nobody.
    let mut blocks: [*const u8; WIDTH_MAX] =
        std::array::from_fn(|lane| inputs.get(lane).unwrap_or(&inputs[0]).as_ptr());
    let of_lanes = |word: usize| std::array::from_fn(|lane| states.get(lane).map_or(0, |state| state[word]));
    let start: [[u32; WIDTH_MAX]; 4] = std::array::from_fn(of_lanes);
    // SAFETY: the instructions are there, by this function's own condition.
    let mut state: [L::Words; 4] = unsafe { start.map(|words| L::from_words(&words)) };
    // Known constants would be added last, and each step would wait for that.
    let sines = std::hint::black_box(&SINES);
    for _ in 0..length / BLOCK_BYTES {
        // SAFETY: as above; a whole block is left at each address.
        unsafe {
            state = compress::<L>(state, L::load(&blocks), sines);
            blocks = blocks.map(|block| block.add(BLOCK_BYTES));
        }
    }
    for (word, lanes) in state.into_iter().enumerate() {
        // SAFETY: as above.
        let lanes = unsafe { L::to_words(lanes) };
        states.iter_mut().zip(lanes).for_each(|(state, lane)| state[word] = lane);
    }
}

/// Adds a block to the state (RFC 1321).
///
/// # Safety
/// As for `Lanes`.
#[inline(always)]
unsafe fn compress<L: Lanes>(state: [L::Words; 4], block: [L::Words; 16], sines: &[u32; 64]) -> [L::Words; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    macro_rules! step {
        ($add:ident, $a:ident, $x:ident, $y:ident, $z:ident, $b:ident, $word:expr, $bits:literal, $step:expr) => {
            let sum = L::add($a, L::add(block[$word % 16], L::splat(sines[$step])));
            $a = L::add($b, L::rotate::<$bits, { 32 - $bits }>(L::$add(sum, $x, $y, $z)));
        };
    }
    macro_rules! four {
        ($add:ident, $order:ident, $from:literal, $factor:literal, $offset:literal; $r0:literal $r1:literal $r2:literal $r3:literal) => {
            four!(@$order $add, a, b, c, d, $from * $factor + $offset, $r0, $from);
            four!(@$order $add, d, a, b, c, ($from + 1) * $factor + $offset, $r1, $from + 1);
            four!(@$order $add, c, d, a, b, ($from + 2) * $factor + $offset, $r2, $from + 2);
            four!(@$order $add, b, c, d, a, ($from + 3) * $factor + $offset, $r3, $from + 3);
        };
        (@bcd $add:ident, $a:ident, $b:ident, $c:ident, $d:ident, $word:expr, $bits:literal, $step:expr) => {
            step!($add, $a, $b, $c, $d, $b, $word, $bits, $step);
        };
        // In the second round the last one chooses.
        (@dbc $add:ident, $a:ident, $b:ident, $c:ident, $d:ident, $word:expr, $bits:literal, $step:expr) => {
            step!($add, $a, $d, $b, $c, $b, $word, $bits, $step);
        };
    }
    // SAFETY: the caller grants the instructions.
    unsafe {
        four!(add_choice, bcd, 0, 1, 0; 7 12 17 22);
        four!(add_choice, bcd, 4, 1, 0; 7 12 17 22);
        four!(add_choice, bcd, 8, 1, 0; 7 12 17 22);
        four!(add_choice, bcd, 12, 1, 0; 7 12 17 22);
        four!(add_choice, dbc, 16, 5, 1; 5 9 14 20);
        four!(add_choice, dbc, 20, 5, 1; 5 9 14 20);
        four!(add_choice, dbc, 24, 5, 1; 5 9 14 20);
        four!(add_choice, dbc, 28, 5, 1; 5 9 14 20);
        four!(add_parity, bcd, 32, 3, 5; 4 11 16 23);
        four!(add_parity, bcd, 36, 3, 5; 4 11 16 23);
        four!(add_parity, bcd, 40, 3, 5; 4 11 16 23);
        four!(add_parity, bcd, 44, 3, 5; 4 11 16 23);
        four!(add_last, bcd, 48, 7, 0; 6 10 15 21);
        four!(add_last, bcd, 52, 7, 0; 6 10 15 21);
        four!(add_last, bcd, 56, 7, 0; 6 10 15 21);
        four!(add_last, bcd, 60, 7, 0; 6 10 15 21);
        [L::add(state[0], a), L::add(state[1], b), L::add(state[2], c), L::add(state[3], d)]
    }
}

/// The whole part of 2^32 × |sin(step + 1)| (RFC 1321).
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8,
    0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
    0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87,
    0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
    0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039,
    0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
    0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
    0xeb86d391,
];
