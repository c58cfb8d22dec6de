//! Digest: the smallest useful hook. Says how large an object is, of which type, and what its CRC-32 is.
//!
//! Promises: reads the object as a stream, so that its size does not matter for memory; one message for each object.
//! Uses no inference: the latency benchmark runs it.

use aerie_guest::{Event, Failure, Guest, Stream, object, results};
use serde_json::json;

struct Digest;

impl Guest for Digest {
    fn on_event(event: Event) -> Result<(), Failure> {
        let mut crc = Crc32::new();
        for piece in Stream::open()?.pieces() {
            crc.update(&piece?);
        }
        let info = object::describe()?;
        let message = json!({
            "bucket": event.bucket, "key": event.key, "event": event.id,
            "size": info.size, "content_type": info.content_type, "crc32": format!("{:08x}", crc.value()),
        });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

/// CRC-32 as zip and Ethernet have it (reflected polynomial 0xEDB88320), eight bytes a step: a gigabyte must not take
/// longer than a hook may.
struct Crc32(u32);

/// Row `n` has what each byte becomes when `n` more have followed it.
static TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut at = 256;
    while at < 8 * 256 {
        let before = tables[at / 256 - 1][at % 256];
        tables[at / 256][at % 256] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
        at += 1;
    }
    tables
};

impl Crc32 {
    fn new() -> Crc32 {
        Crc32(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let [a, b, c, d, e, f, g, h] =
                (u64::from_le_bytes(*eight) ^ u64::from(self.0)).to_le_bytes().map(usize::from);
            self.0 = TABLES[7][a]
                ^ TABLES[6][b]
                ^ TABLES[5][c]
                ^ TABLES[4][d]
                ^ TABLES[3][e]
                ^ TABLES[2][f]
                ^ TABLES[1][g]
                ^ TABLES[0][h];
        }
        for byte in rest {
            self.0 = (self.0 >> 8) ^ TABLES[0][usize::from(self.0 as u8 ^ byte)];
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

aerie_guest::export!(Digest);

#[cfg(test)]
mod tests {
    use super::Crc32;

    #[test]
    fn crc_has_the_published_check_value() {
        for (text, expected) in [
            ("123456789", 0xCBF4_3926),
            ("", 0),
            ("a", 0xE8B7_BE43),
            ("The quick brown fox jumps over the lazy dog", 0x414F_A339),
        ] {
            for piece in 1..20 {
                let mut crc = Crc32::new();
                text.as_bytes().chunks(piece).for_each(|part| crc.update(part));
                assert_eq!(crc.value(), expected, "{text} by {piece}");
            }
        }
    }
}
