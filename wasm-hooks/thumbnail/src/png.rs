//! PNG of RGB pixels: one IDAT, each row as differences to the pixel on its left, which deflate packs well.

use miniz_oxide::deflate::compress_to_vec_zlib;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Eight bits a channel, RGB, deflate, filtered, not interlaced.
const FORMAT: [u8; 5] = [8, 2, 0, 0, 0];
/// The filter `Sub` before each row.
const SUB: u8 = 1;
/// Of zlib's 0 to 9: above it photographs hardly get smaller.
const LEVEL: u8 = 6;

pub fn encode(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut rows = Vec::with_capacity(rgb.len() + height as usize);
    for row in rgb.chunks_exact(width as usize * 3) {
        rows.push(SUB);
        rows.extend(row.iter().enumerate().map(|(at, value)| match at {
            0..3 => *value,
            _ => value.wrapping_sub(row[at - 3]),
        }));
    }
    let mut png = SIGNATURE.to_vec();
    chunk(&mut png, b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &FORMAT].concat());
    chunk(&mut png, b"IDAT", &compress_to_vec_zlib(&rows, LEVEL));
    chunk(&mut png, b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend((data.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let sum = crc32(&png[start..]);
    png.extend(sum.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
