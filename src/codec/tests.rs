//! The kernels against novelpoly and against each other, all loss patterns, and the golden vectors of the format.

use super::*;
use crate::hash::hex_encode;

const GEOMETRIES: [(u8, u8); 12] =
    [(1, 0), (1, 1), (1, 3), (2, 1), (3, 1), (4, 2), (5, 3), (8, 4), (12, 4), (16, 5), (17, 3), (20, 12)];

/// A stripe of shards without regularity; parity is not computed yet.
fn stripe(codec: &Codec, length: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    let data = (0..codec.data_shards()).map(|_| (0..length).map(|_| next()).collect());
    data.chain((0..codec.parity_shards()).map(|_| vec![0x5a; length])).collect()
}

fn encode(codec: &Codec, shards: &mut [Vec<u8>]) {
    let (data, parity) = shards.split_at_mut(codec.data_shards());
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    codec.encode(&data, &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
}

fn coded_stripe(codec: &Codec, length: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut shards = stripe(codec, length, seed);
    encode(codec, &mut shards);
    shards
}

/// Reconstructs the shards of `wanted` from those of `present` (bit per shard) and compares.
fn check_loss(codec: &Codec, shards: &[Vec<u8>], present: u32, wanted: u32) {
    let listed = |mask: u32| (0..shards.len() as u8).filter(move |shard| mask >> shard & 1 == 1);
    let sources: Vec<(u8, &[u8])> = listed(present).map(|shard| (shard, &shards[usize::from(shard)][..])).collect();
    let mut found: Vec<(u8, Vec<u8>)> = listed(wanted).map(|shard| (shard, vec![0xc3; shards[0].len()])).collect();
    // In reverse: the order of either list does not matter.
    let mut targets: Vec<(u8, &mut [u8])> =
        found.iter_mut().rev().map(|(shard, bytes)| (*shard, &mut bytes[..])).collect();
    codec.reconstruct(&sources, &mut targets).expect("k shards are present");
    for (shard, bytes) in found {
        assert_eq!(bytes, shards[usize::from(shard)], "shard {shard} from {present:#b} on {:?}", codec.kernel());
    }
}

#[test]
fn every_kernel_equals_novelpoly() {
    for (k, m) in GEOMETRIES.into_iter().filter(|&(_, m)| m > 0) {
        let definition = Definition::new(k.into(), m.into());
        for kernel in Kernel::available() {
            let codec = Codec::with_kernel(k, m, kernel).expect("the kernel passes its self-test");
            for length in [0, 1, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 191, 193, 256, 300, 4097] {
                let shards = coded_stripe(&codec, length, length as u64);
                let data: Vec<&[u8]> = shards[..k.into()].iter().map(Vec::as_slice).collect();
                assert_eq!(shards[k.into()..], definition.parity_of(&data), "{k}+{m} {length} bytes on {kernel:?}");
            }
        }
    }
}

#[test]
fn all_losses_of_small_geometries_are_reconstructed() {
    for (k, m) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3)] {
        for kernel in Kernel::available() {
            let codec = Codec::with_kernel(k, m, kernel).expect("the kernel passes its self-test");
            let shards = coded_stripe(&codec, 100, 1);
            let all = (1u32 << shards.len()) - 1;
            for present in (0..=all).filter(|present| present.count_ones() >= u32::from(k)) {
                check_loss(&codec, &shards, present, all & !present);
            }
        }
    }
}

#[test]
fn sampled_losses_of_large_geometries_are_reconstructed() {
    for (k, m) in [(8, 4), (12, 4), (17, 3), (20, 12)] {
        let codec = Codec::new(k, m).expect("the kernel passes its self-test");
        let shards = coded_stripe(&codec, 161, 2);
        let all = ((1u64 << shards.len()) - 1) as u32;
        let mut state = 88172645463325252u64;
        for _ in 0..400 {
            let mut present = all;
            while present.count_ones() > u32::from(k) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                present &= !(1 << ((state >> 20) % shards.len() as u64));
            }
            check_loss(&codec, &shards, present, all & !present);
        }
    }
}

#[test]
fn chosen_shards_only_and_present_ones_too() {
    let codec = Codec::new(4, 2).expect("the kernel passes its self-test");
    let shards = coded_stripe(&codec, 64, 3);
    check_loss(&codec, &shards, 0b011110, 0b100000);
    check_loss(&codec, &shards, 0b110011, 0b000100);
    check_loss(&codec, &shards, 0b111111, 0b000000);
    // A shard that is present may be asked for: how a scrub compares what is there with what should be.
    check_loss(&codec, &shards, 0b111111, 0b110001);
}

#[test]
fn too_few_shards_are_an_error() {
    let codec = Codec::new(4, 2).expect("the kernel passes its self-test");
    let shards = coded_stripe(&codec, 64, 4);
    let present: Vec<(u8, &[u8])> = [0u8, 2, 5].into_iter().map(|j| (j, &shards[usize::from(j)][..])).collect();
    let mut missing = vec![0; 64];
    let refused = codec.reconstruct(&present, &mut [(1, &mut missing)]);
    assert_eq!(refused, Err(CodecError::TooFewShards { found: 3, needed: 4 }));
}

#[test]
fn geometries_out_of_bounds_are_refused() {
    for (k, m) in [(0, 0), (0, 2), (32, 1), (1, 32), (255, 255)] {
        assert_eq!(Codec::new(k, m).err(), Some(CodecError::Geometry { data: k, parity: m }));
    }
    for (k, m) in [(1, 0), (32, 0), (31, 1), (1, 31), (16, 16)] {
        assert!(Codec::new(k, m).is_ok(), "{k}+{m}");
    }
}

#[test]
fn the_fold_check_finds_every_single_byte() {
    for (k, m) in [(2, 1), (4, 2), (12, 4)] {
        let codec = Codec::new(k, m).expect("the kernel passes its self-test");
        let mut shards = coded_stripe(&codec, 1000, 5);
        let consistent = |shards: &[Vec<u8>]| {
            let shards: Vec<&[u8]> = shards.iter().map(Vec::as_slice).collect();
            let (data, parity) = shards.split_at(k.into());
            codec.fold_check(data, parity)
        };
        assert!(consistent(&shards));
        for shard in 0..shards.len() {
            for byte in [0, 1, 63, 64, 500, 999] {
                shards[shard][byte] ^= 1 << (byte % 8);
                assert!(!consistent(&shards), "{k}+{m} shard {shard} byte {byte}");
                shards[shard][byte] ^= 1 << (byte % 8);
            }
        }
        assert!(consistent(&shards));
    }
}

#[test]
fn a_kernel_with_wrong_factors_fails_the_self_test() {
    let mut codec = Codec::new(4, 2).expect("the kernel passes its self-test");
    codec.generator[1][2] ^= 1;
    codec.encoder = Factors::new(&codec.generator);
    assert_eq!(codec.self_test(), Err(CodecError::SelfTest { kernel: codec.kernel().name() }));
}

#[test]
fn loss_masks_beyond_the_limit_replace_older_ones() {
    let codec = Codec::new(12, 4).expect("the kernel passes its self-test");
    let shards = coded_stripe(&codec, 16, 6);
    for present in (0u32..1 << 16).filter(|present| present.count_ones() == 12).take(limits::DECODE_MASKS_MAX + 10) {
        check_loss(&codec, &shards, present, 0xffff & !present);
    }
}

/// The stored format: parity that is computed otherwise can no longer be read by what was written before.
#[test]
fn golden_vectors_hold() {
    for (name, golden) in [
        ("2+1", include_str!("../../tests/golden/codec/2+1.txt")),
        ("3+1", include_str!("../../tests/golden/codec/3+1.txt")),
        ("4+2", include_str!("../../tests/golden/codec/4+2.txt")),
        ("8+4", include_str!("../../tests/golden/codec/8+4.txt")),
        ("12+4", include_str!("../../tests/golden/codec/12+4.txt")),
    ] {
        let (k, m) = name.split_once('+').expect("geometry");
        let codec = Codec::new(k.parse().expect("k"), m.parse().expect("m")).expect("the kernel passes its self-test");
        assert_eq!(golden_text(&codec), golden, "{name}");
    }
}

/// Generator rows, then data and parity shards of a small stripe whose byte b of shard s is 37·s + 11·b + 5.
fn golden_text(codec: &Codec) -> String {
    let mut shards = stripe(codec, 40, 0);
    for (shard, bytes) in shards.iter_mut().enumerate() {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (37 * shard + 11 * at + 5) as u8;
        }
    }
    encode(codec, &mut shards);
    let line = |name: &str, bytes: &Vec<u8>| format!("{name} {}\n", hex_encode(bytes));
    let generator = codec.generator.iter().map(|row| line("generator", row));
    let (data, parity) = shards.split_at(codec.data_shards());
    let data = data.iter().map(|shard| line("data", shard));
    generator.chain(data).chain(parity.iter().map(|shard| line("parity", shard))).collect()
}
