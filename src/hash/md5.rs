//! MD5, only because S3 defines entity tags and `Content-MD5` by it.

use md5_many::Md5State;

use super::hex_encode;

/// MD5 of a stream.
#[derive(Debug, Clone)]
pub struct Md5 {
    pub(super) state: Md5State,
}

impl Default for Md5 {
    fn default() -> Md5 {
        Md5 { state: Md5State::new() }
    }
}

impl Md5 {
    pub fn new() -> Md5 {
        Md5::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
    }

    pub fn finish(self) -> [u8; 16] {
        self.state.finalize()
    }

    /// MD5 of bytes at hand.
    pub fn of(bytes: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::new();
        md5.update(bytes);
        md5.finish()
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
