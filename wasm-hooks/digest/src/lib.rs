//! Digest: the smallest useful hook. Says how large an object is, of which type, and what its CRC-32 is.
//!
//! Promises: reads the object in ranges, so that its size does not matter for memory; one message for each object.
//! Uses no inference: the latency benchmark runs it.

use aerie_guest::{Event, Failure, Guest, object, results};
use serde_json::json;

/// Bytes a read: large enough to spread the cost of a call, small beside the memory that a hook has.
const READ_BYTES: u32 = 1 << 20;

struct Digest;

impl Guest for Digest {
    fn on_event(event: Event) -> Result<(), Failure> {
        let info = object::describe()?;
        let mut crc = Crc32::new();
        let mut offset = 0;
        while offset < info.size {
            let bytes = object::read(offset, READ_BYTES)?;
            if bytes.is_empty() {
                return Err(Failure::lasting(format!("object ends at {offset} of {} bytes", info.size)));
            }
            crc.update(&bytes);
            offset += bytes.len() as u64;
        }
        let message = json!({
            "bucket": event.bucket, "key": event.key, "event": event.id,
            "size": info.size, "content_type": info.content_type, "crc32": format!("{:08x}", crc.value()),
        });
        Ok(results::publish(None, message.to_string().as_bytes())?)
    }
}

/// CRC-32 as zip and Ethernet have it (reflected polynomial 0xEDB88320), a byte a step.
struct Crc32(u32);

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

impl Crc32 {
    fn new() -> Crc32 {
        Crc32(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 >> 8) ^ TABLE[usize::from(self.0 as u8 ^ byte)];
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
        for (text, expected) in [("123456789", 0xCBF4_3926), ("", 0), ("a", 0xE8B7_BE43)] {
            let mut crc = Crc32::new();
            text.as_bytes().chunks(4).for_each(|part| crc.update(part));
            assert_eq!(crc.value(), expected, "{text}");
        }
    }
}
