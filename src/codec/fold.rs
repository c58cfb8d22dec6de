//! Shards folded to 64 bytes by XOR. The code is linear and works byte column by byte column, so the fold of a stripe
//! is a stripe itself: a whole MiB is checked by coding 64 columns.

/// Bytes in a fold. A power of two that is a cache line and any vector's multiple.
pub(super) const FOLD_BYTES: usize = 64;

/// XOR of all 64-byte pieces; the last one counts as padded with zeros.
pub(super) fn fold(shard: &[u8]) -> [u8; FOLD_BYTES] {
    let (pieces, rest) = shard.as_chunks::<FOLD_BYTES>();
    let mut folded = [0; FOLD_BYTES];
    for piece in pieces {
        for (sum, byte) in folded.iter_mut().zip(piece) {
            *sum ^= byte;
        }
    }
    for (sum, byte) in folded.iter_mut().zip(rest) {
        *sum ^= byte;
    }
    folded
}
