//! Digests as text: lower-case hex, and base64 with padding, which are the two forms S3 uses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Lower-case hex.
pub fn hex_encode(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Base64 in the standard alphabet, padded.
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads padded standard base64; `None` for anything else.
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
