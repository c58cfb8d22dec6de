//! MD5 of whole blocks, of one stream or of several side by side, as fast as the processor allows.
//!
//! All kernels compute the same; `portable` is the safe twin that the others are tested against. Which of them is the
//! fastest for how many streams differs from processor to processor, and is measured once. Architecture invariant: a
//! `Kernel` value exists only where the processor can run it. Runs on the caller's thread.
#![allow(unsafe_code)] // The shared loop is generic over vectors; here it runs without.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod rounds;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use rounds::BLOCK_BYTES;

use std::sync::LazyLock;

/// The state before the first block (RFC 1321).
pub(super) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// Streams that the widest kernel of any processor takes at once.
pub(super) const STREAMS_MAX: usize = rounds::WIDTH_MAX;

/// A way to compute that this processor has.
#[derive(Clone, Copy)]
struct Kernel {
    name: &'static str,
    /// Streams that it takes at once; it takes as long for fewer.
    width: usize,
    run: fn(&mut [[u32; 4]], &[&[u8]]),
}

/// By the number of streams (from 1 on): the kernel that takes the first of them.
static BEST: LazyLock<[Kernel; STREAMS_MAX]> = LazyLock::new(|| best(&available(), time_of));

/// Hashes each input into its state. The inputs have one length, in whole blocks.
pub(super) fn hash(mut states: &mut [[u32; 4]], mut inputs: &[&[u8]]) {
    assert_eq!(states.len(), inputs.len(), "a state for each stream");
    while !inputs.is_empty() {
        let kernel = BEST[inputs.len().min(STREAMS_MAX) - 1];
        let (first, rest) = states.split_at_mut(kernel.width.min(inputs.len()));
        (kernel.run)(first, &inputs[..first.len()]);
        inputs = &inputs[first.len()..];
        states = rest;
    }
}

fn available() -> Vec<Kernel> {
    #[cfg(target_arch = "x86_64")]
    let mut kernels = x86::available();
    #[cfg(target_arch = "aarch64")]
    let mut kernels = neon::available();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let mut kernels = Vec::new();
    kernels.push(Kernel { name: "portable", width: 1, run: portable });
    kernels
}

fn portable(states: &mut [[u32; 4]], inputs: &[&[u8]]) {
    // SAFETY: it needs no instructions beyond those of the target.
    unsafe { rounds::run::<portable::Plain>(states, inputs) }
}

/// For each number of streams the kernel to begin with, so that all of them take the least time.
fn best(kernels: &[Kernel], time_of: impl Fn(&Kernel) -> u128) -> [Kernel; STREAMS_MAX] {
    let times: Vec<u128> = kernels.iter().map(time_of).collect();
    for (kernel, time) in kernels.iter().zip(&times) {
        tracing::debug!(kernel = kernel.name, time, "MD5");
    }
    // Of so many streams: the time, and the first kernel of it.
    let mut plans = vec![(0u128, 0usize)];
    for streams in 1..=STREAMS_MAX {
        let after = |at: usize| times[at] + plans[streams - kernels[at].width.min(streams)].0;
        let plan = (0..kernels.len()).map(|at| (after(at), at)).min();
        plans.push(plan.expect("the portable kernel is always there"));
    }
    std::array::from_fn(|at| kernels[plans[at + 1].1])
}

#[expect(clippy::disallowed_methods, reason = "it measures the processor, once, for speed alone")]
fn time_of(kernel: &Kernel) -> u128 {
    let bytes = [0x5a; 16 << 10];
    let (mut states, inputs) = ([START; STREAMS_MAX], [bytes.as_slice(); STREAMS_MAX]);
    // The least of some: whatever else the machine does only makes it longer.
    let time = || {
        let started = std::time::Instant::now();
        (kernel.run)(&mut states[..kernel.width], &inputs[..kernel.width]);
        started.elapsed().as_nanos()
    };
    std::iter::repeat_with(time).take(4).min().unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_hashes_as_its_safe_twin_does_with_any_lanes_idle() {
        let bytes: Vec<u8> = (0..STREAMS_MAX * 1024).map(|at| (at * 131 + at / 7) as u8).collect();
        let states: Vec<[u32; 4]> = (0..STREAMS_MAX as u32).map(|n| START.map(|word| word ^ n)).collect();
        for kernel in available() {
            for (streams, blocks) in
                (1..=kernel.width).flat_map(|streams| [0, 1, 2, 15].map(|blocks| (streams, blocks)))
            {
                // Each begins at an odd address.
                let inputs: Vec<&[u8]> =
                    (0..streams).map(|stream| &bytes[stream * 1001 + 1..][..blocks * BLOCK_BYTES]).collect();
                let (mut got, mut expected) = (states[..streams].to_vec(), states[..streams].to_vec());
                (kernel.run)(&mut got, &inputs);
                for (state, input) in expected.iter_mut().zip(&inputs) {
                    portable(std::slice::from_mut(state), &[input]);
                }
                assert_eq!(got, expected, "{} with {streams} streams of {blocks} blocks", kernel.name);
            }
        }
    }

    #[test]
    fn streams_go_where_they_take_the_least_time() {
        let kernel = |name, width| Kernel { name, width, run: portable };
        let kernels = [kernel("wide", 16), kernel("narrow", 4), kernel("single", 1)];
        let names = |times: [u128; 3]| {
            let best = best(&kernels, |kernel| times[kernels.iter().position(|k| k.name == kernel.name).unwrap()]);
            [1, 2, 4, 5, 9, 16].map(|streams: usize| best[streams - 1].name)
        };
        assert_eq!(names([30, 14, 10]), ["single", "narrow", "narrow", "narrow", "wide", "wide"]);
        assert_eq!(names([10, 10, 10]), ["wide"; 6]);
        assert_eq!(names([90, 50, 1]), ["single"; 6]);
    }

    #[test]
    fn more_streams_than_any_kernel_takes_are_hashed_in_turns() {
        let bytes = [7; 128];
        let mut states = [START; 2 * STREAMS_MAX + 3];
        hash(&mut states, &[bytes.as_slice(); 2 * STREAMS_MAX + 3]);
        let mut one = [START];
        portable(&mut one, &[bytes.as_slice()]);
        assert!(states.iter().all(|state| *state == one[0]));
    }
}
