//! MD5, only because S3 defines entity tags and `Content-MD5` by it.

use super::hex_encode;
use super::md5_kernel::{self, BLOCK_BYTES};

/// A one bit, and zeros up to the length.
const PADDING: [u8; BLOCK_BYTES] = {
    let mut padding = [0; BLOCK_BYTES];
    padding[0] = 0x80;
    padding
};

/// MD5 of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Md5 {
    /// After all whole blocks.
    state: [u32; 4],
    /// What came after them.
    tail: [u8; BLOCK_BYTES],
    bytes: u64,
}

impl Default for Md5 {
    fn default() -> Md5 {
        Md5 { state: md5_kernel::START, tail: [0; BLOCK_BYTES], bytes: 0 }
    }
}

impl Md5 {
    pub fn new() -> Md5 {
        Md5::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        let rest = self.fill_block(bytes);
        let (blocks, rest) = rest.split_at(rest.len() / BLOCK_BYTES * BLOCK_BYTES);
        if !blocks.is_empty() {
            md5_kernel::hash(std::slice::from_mut(&mut self.state), &[blocks]);
            self.bytes += blocks.len() as u64;
        }
        self.fill_block(rest);
    }

    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.bytes.wrapping_mul(8);
        let padding = (2 * BLOCK_BYTES - 8 - self.tail_bytes() - 1) % BLOCK_BYTES + 1;
        self.update(&PADDING[..padding]);
        self.update(&bits.to_le_bytes());
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    /// Bytes since the last whole block.
    pub(super) fn tail_bytes(&self) -> usize {
        (self.bytes % BLOCK_BYTES as u64) as usize
    }

    /// Takes bytes up to the next whole block if one has begun, or if they are less than one; gives the others.
    fn fill_block<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let begun = self.tail_bytes();
        if begun == 0 && bytes.len() >= BLOCK_BYTES {
            return bytes;
        }
        let (taken, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - begun));
        self.tail[begun..begun + taken.len()].copy_from_slice(taken);
        self.bytes += taken.len() as u64;
        if begun + taken.len() == BLOCK_BYTES {
            md5_kernel::hash(std::slice::from_mut(&mut self.state), &[&self.tail]);
        }
        rest
    }

    /// MD5 of bytes at hand.
    pub fn of(bytes: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::new();
        md5.update(bytes);
        md5.finish()
    }
}

/// Adds whole blocks to streams that stand between blocks, side by side; the inputs have one length.
pub(super) fn update_blocks(streams: &mut [&mut Md5], inputs: &[&[u8]]) {
    assert!(streams.iter().all(|stream| stream.tail_bytes() == 0), "the streams stand between blocks");
    let mut states: Vec<[u32; 4]> = streams.iter().map(|stream| stream.state).collect();
    md5_kernel::hash(&mut states, inputs);
    for ((stream, state), input) in streams.iter_mut().zip(states).zip(inputs) {
        stream.state = state;
        stream.bytes += input.len() as u64;
    }
}

/// Entity tag of a completed multipart upload, without quotes: MD5 of the parts' MD5s, then `-` and their number.
pub fn composite_etag(parts: &[[u8; 16]]) -> String {
    format!("{}-{}", hex_encode(&Md5::of(parts.as_flattened())), parts.len())
}

/// Reads an entity tag that is a plain MD5 (32 hex digits, no quotes), as those of parts are.
pub fn parse_md5_hex(text: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(text, &mut md5).ok()?;
    Some(md5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_in_any_split() {
        assert_eq!(hex_encode(&Md5::of(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        let message = b"The quick brown fox jumps over the lazy dog";
        for split in 0..message.len() {
            let mut md5 = Md5::new();
            md5.update(&message[..split]);
            md5.update(&message[split..]);
            assert_eq!(hex_encode(&md5.finish()), "9e107d9d372bb6826bd81d3542a419d6");
        }
    }

    #[test]
    fn every_length_around_the_blocks_is_padded_right() {
        use md5::Digest;
        let bytes: Vec<u8> = (0..300).map(|at| (at * 7) as u8).collect();
        for length in 0..bytes.len() {
            let expected: [u8; 16] = md5::Md5::digest(&bytes[..length]).into();
            assert_eq!(Md5::of(&bytes[..length]), expected, "{length} bytes");
        }
    }

    #[test]
    fn composite_etag_is_the_md5_of_md5s() {
        let parts = [Md5::of(b"a"), Md5::of(b"b")];
        let mut joined = parts[0].to_vec();
        joined.extend_from_slice(&parts[1]);
        assert_eq!(composite_etag(&parts), format!("{}-2", hex_encode(&Md5::of(&joined))));
        assert_eq!(composite_etag(&parts), "96e024ba2074fe77e8e965ba43a704be-2");
    }

    #[test]
    fn part_etags_are_read_back() {
        let md5 = Md5::of(b"part");
        assert_eq!(parse_md5_hex(&hex_encode(&md5)), Some(md5));
        assert_eq!(parse_md5_hex("96e024ba2074fe77e8e965ba43a704be-2"), None);
        assert_eq!(parse_md5_hex("zz"), None);
    }
}
