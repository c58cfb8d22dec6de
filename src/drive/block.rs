//! The header in front of each shard block, and what makes a block valid. Layout: FORMAT.md.

use crate::hash;
use crate::limits::{BLOCK_ALIGN_BYTES, BLOCK_HEADER_BYTES};

const MAGIC: [u8; 4] = *b"AEB1";
const VERSION: u8 = 1;
/// Bytes of the header that the checksum covers; the checksum follows them.
const CHECKED_BYTES: usize = 48;

/// Which block this must be. A block that lies elsewhere, or is of another stripe, fails its checksum or its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockIdentity {
    /// From the pool's id: blocks of a foreign pool never verify.
    pub seed: u64,
    pub segment: u32,
    /// In units of `BLOCK_ALIGN_BYTES`.
    pub offset: u32,
    pub data: u8,
    pub parity: u8,
    pub shard: u8,
}

/// The header's own figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    pub shard_bytes: u32,
    /// User bytes in the whole stripe.
    pub user_bytes: u32,
}

impl BlockIdentity {
    /// The header of a block with this payload.
    pub fn header(&self, user_bytes: u32, payload: &[u8]) -> [u8; BLOCK_HEADER_BYTES] {
        assert!(payload.len().is_multiple_of(BLOCK_ALIGN_BYTES), "shards are padded to the alignment");
        let shard_bytes = u32::try_from(payload.len()).expect("a shard is at most a stripe long");
        let mut header = [0u8; BLOCK_HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[5] = self.data;
        header[6] = self.parity;
        header[7] = self.shard;
        header[8..12].copy_from_slice(&shard_bytes.to_le_bytes());
        header[12..16].copy_from_slice(&user_bytes.to_le_bytes());
        header[16..20].copy_from_slice(&self.segment.to_le_bytes());
        header[20..24].copy_from_slice(&self.offset.to_le_bytes());
        let checksum = hash::block_checksum(self.seed, &header[..CHECKED_BYTES], payload);
        header[CHECKED_BYTES..].copy_from_slice(&checksum);
        header
    }

    /// The header of `block` when all of it is what it must be; `None` for a hole, bitrot, or a misdirected block.
    pub fn verify(&self, block: &[u8]) -> Option<BlockHeader> {
        let (header, rest) = block.split_at_checked(BLOCK_HEADER_BYTES)?;
        self.verify_parts(header.first_chunk()?, rest)
    }

    /// `verify`, for a header and what follows it in another place.
    pub fn verify_parts(&self, header: &[u8; BLOCK_HEADER_BYTES], rest: &[u8]) -> Option<BlockHeader> {
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let found = BlockHeader { shard_bytes: number(8), user_bytes: number(12) };
        let payload = rest.get(..found.shard_bytes as usize)?;
        let named = header[0..4] == MAGIC
            && header[4..8] == [VERSION, self.data, self.parity, self.shard]
            && number(16) == self.segment
            && number(20) == self.offset;
        let checksum = hash::block_checksum(self.seed, &header[..CHECKED_BYTES], payload);
        (named && header[CHECKED_BYTES..] == checksum).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: BlockIdentity = BlockIdentity { seed: 7, segment: 3, offset: 9, data: 4, parity: 2, shard: 1 };

    fn block() -> Vec<u8> {
        let payload: Vec<u8> = (0..128u8).collect();
        let mut block = IDENTITY.header(500, &payload).to_vec();
        block.extend_from_slice(&payload);
        block
    }

    #[test]
    fn a_block_verifies_as_itself() {
        assert_eq!(IDENTITY.verify(&block()), Some(BlockHeader { shard_bytes: 128, user_bytes: 500 }));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let good = block();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(IDENTITY.verify(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_block_of_another_place_pool_or_shard_is_refused() {
        let others = [
            BlockIdentity { seed: 8, ..IDENTITY },
            BlockIdentity { segment: 4, ..IDENTITY },
            BlockIdentity { offset: 8, ..IDENTITY },
            BlockIdentity { shard: 2, ..IDENTITY },
            BlockIdentity { data: 3, ..IDENTITY },
        ];
        for other in others {
            assert_eq!(other.verify(&block()), None, "{other:?}");
        }
    }

    #[test]
    fn holes_and_stumps_are_no_blocks() {
        assert_eq!(IDENTITY.verify(&[0; 192]), None);
        assert_eq!(IDENTITY.verify(&block()[..100]), None);
        assert_eq!(IDENTITY.verify(&[]), None);
    }
}
