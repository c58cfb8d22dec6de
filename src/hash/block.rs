//! The checksum of a block on a drive: XXH3-128, seeded so that a block of another pool or place does not pass.
//!
//! It finds bitrot, torn writes and misdirected blocks; it is no defence against someone who forges blocks on purpose.

use twox_hash::XxHash3_128;
use twox_hash::xxhash3_128::{DEFAULT_SECRET_LENGTH, RawHasher, SecretBuffer};

/// XXH3-128 of `header` followed by `payload`, big-endian. The caller has zeroed the checksum field of the header.
pub fn block_checksum(seed: u64, header: &[u8], payload: &[u8]) -> [u8; 16] {
    // The streaming hasher is compiled with this crate, and without optimisation so slow that it took half of the time of
    // the tests; what hashes one piece is compiled with its own.
    if cfg!(debug_assertions) { in_one_piece(seed, header, payload) } else { in_two_pieces(seed, header, payload) }
}

fn in_two_pieces(seed: u64, header: &[u8], payload: &[u8]) -> [u8; 16] {
    let secret = SecretBuffer::with_seed(seed, [0; DEFAULT_SECRET_LENGTH])
        .unwrap_or_else(|_| unreachable!("the secret has exactly the default length"));
    let mut hasher = RawHasher::new(secret);
    hasher.write(header);
    hasher.write(payload);
    hasher.finish_128().to_be_bytes()
}

fn in_one_piece(seed: u64, header: &[u8], payload: &[u8]) -> [u8; 16] {
    XxHash3_128::oneshot_with_seed(seed, &[header, payload].concat()).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hex_encode;

    #[test]
    fn known_values() {
        // The empty input and seed 0 are published with XXH3-128 itself.
        assert_eq!(hex_encode(&block_checksum(0, b"", b"")), "99aa06d3014798d86001c324468d497f");
        let whole: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
        for split in [0, 1, 64, 255, 256, 257, 4096, 10_000] {
            let (header, payload) = whole.split_at(split);
            let once = XxHash3_128::oneshot_with_seed(42, &whole).to_be_bytes();
            assert_eq!(in_two_pieces(42, header, payload), once, "split at {split}");
            assert_eq!(in_one_piece(42, header, payload), once, "split at {split}");
            assert_eq!(block_checksum(42, header, payload), once, "split at {split}");
        }
    }

    #[test]
    fn each_bit_and_the_seed_matter() {
        let (header, payload) = ([1u8; 64], vec![2u8; 4096]);
        let good = block_checksum(7, &header, &payload);
        assert_ne!(good, block_checksum(8, &header, &payload));
        for byte in 0..64 {
            let mut bad = header;
            bad[byte] ^= 1;
            assert_ne!(good, block_checksum(7, &bad, &payload));
        }
        for byte in (0..4096).step_by(97) {
            let mut bad = payload.clone();
            bad[byte] ^= 0x80;
            assert_ne!(good, block_checksum(7, &header, &bad));
        }
    }
}
