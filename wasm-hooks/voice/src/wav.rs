//! WAV: finds the samples of a PCM file and brings them to 16 kHz mono. Pure.
//!
//! Takes 16-bit PCM at 16 kHz or a whole multiple of it, any number of channels. Sizes in the file are never trusted beyond
//! the bytes that are there: recorders that lose power leave them wrong.

/// Samples a second that the model takes.
pub const RATE_HZ: u32 = 16_000;

/// Where the samples lie in the object, and what they are.
#[derive(Debug, PartialEq)]
pub struct Format {
    pub channels: u16,
    pub rate_hz: u32,
    /// Bytes before the first sample.
    pub start: usize,
    /// Bytes of samples that the header claims.
    pub claimed_bytes: u32,
}

impl Format {
    /// Bytes that become one sample at 16 kHz.
    pub fn sample_bytes(&self) -> usize {
        2 * usize::from(self.channels) * (self.rate_hz / RATE_HZ) as usize
    }
}

/// Reads the head of a WAV file. `head` is its beginning; the samples must start in it.
pub fn format(head: &[u8]) -> Result<Format, String> {
    if head.len() < 12 || &head[..4] != b"RIFF" || &head[8..12] != b"WAVE" {
        return Err("this is no WAV file".to_owned());
    }
    let mut at = 12;
    let mut found = None;
    while let Some(chunk) = head.get(at..at + 8) {
        let length = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        if &chunk[..4] == b"fmt " {
            found = Some(described(head.get(at + 8..at + 24).ok_or("the WAV format is cut off")?)?);
        } else if &chunk[..4] == b"data" {
            let (channels, rate_hz) = found.ok_or("the WAV file has samples before their format")?;
            return Ok(Format { channels, rate_hz, start: at + 8, claimed_bytes: length });
        }
        // Chunks begin at even offsets.
        at = at.saturating_add(8).saturating_add(length as usize).saturating_add(length as usize & 1);
        if at > head.len() {
            break;
        }
    }
    Err("no samples begin in the first 64 KiB of the WAV file".to_owned())
}

/// Channels and rate, where the model can take them.
fn described(fields: &[u8]) -> Result<(u16, u32), String> {
    let short = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let (code, channels, bits) = (short(0), short(2), short(14));
    let rate_hz = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
    // 0xFFFE says that more follows; it is still PCM in all that recorders write.
    if !matches!(code, 1 | 0xFFFE) || bits != 16 {
        return Err(format!("the WAV file has format {code} with {bits} bits: store 16-bit PCM"));
    }
    if !(1..=32).contains(&channels) {
        return Err(format!("the WAV file has {channels} channels: store 1 to 32"));
    }
    if rate_hz == 0 || rate_hz % RATE_HZ != 0 || rate_hz > 12 * RATE_HZ {
        return Err(format!("the WAV file has {rate_hz} samples a second: store 16000 or a multiple up to 192000"));
    }
    Ok((channels, rate_hz))
}

/// Samples from -1 to 1 at 16 kHz: channels, and neighbours of a higher rate, are averaged. A cut last sample is left out.
pub fn samples(bytes: &[u8], format: &Format) -> Vec<f32> {
    let values = (format.sample_bytes() / 2) as f32;
    let sum = |group: &[u8]| group.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]]))).sum::<f32>();
    bytes.chunks_exact(format.sample_bytes()).map(|group| sum(group) / values / 32768.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(code: u16, channels: u16, rate: u32, bits: u16, extra: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        if !extra.is_empty() {
            file.extend(b"LIST");
            file.extend((extra.len() as u32).to_le_bytes());
            file.extend(extra);
            file.resize(file.len().next_multiple_of(2), 0);
        }
        file.extend(b"fmt \x10\0\0\0");
        file.extend(code.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend([0; 6]);
        file.extend(bits.to_le_bytes());
        file.extend(b"data\xff\xff\xff\xff");
        file
    }

    #[test]
    fn the_samples_are_found_or_it_is_said_what_would_do() {
        let mono = Format { channels: 1, rate_hz: 16_000, start: 44, claimed_bytes: u32::MAX };
        let cases: [(Vec<u8>, Result<Format, &str>); 8] = [
            (wav(1, 1, 16_000, 16, b""), Ok(mono)),
            (
                wav(1, 2, 48_000, 16, b"odd"),
                Ok(Format { channels: 2, rate_hz: 48_000, start: 56, claimed_bytes: u32::MAX }),
            ),
            (wav(3, 1, 16_000, 32, b""), Err("16-bit PCM")),
            (wav(1, 1, 44_100, 16, b""), Err("16000 or a multiple")),
            (wav(1, 0, 16_000, 16, b""), Err("1 to 32")),
            (b"RIFF\0\0\0\0WAVE".to_vec(), Err("no samples")),
            (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff".to_vec(), Err("no samples")),
            (b"\xff\xd8\xff".to_vec(), Err("no WAV")),
        ];
        for (file, expected) in cases {
            match (format(&file), expected) {
                (Ok(is), Ok(should)) => assert_eq!(is, should),
                (Err(is), Err(should)) => assert!(is.contains(should), "{is}"),
                (is, should) => panic!("{is:?}, expected {should:?}"),
            }
        }
    }

    #[test]
    fn channels_and_higher_rates_are_averaged() {
        let format = Format { channels: 2, rate_hz: 32_000, start: 44, claimed_bytes: 0 };
        let bytes: Vec<u8> =
            [16384i16, 0, 0, 0, -32768, -32768, -32768, -32768, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(samples(&bytes, &format), [0.125, -1.0]);
    }
}
