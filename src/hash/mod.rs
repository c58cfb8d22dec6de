//! Hashes: MD5 for entity tags, S3's flexible checksums, XXH3-128 for blocks on a drive.
//!
//! A leaf: it knows nothing of objects, drives or requests and runs on the caller's thread, but for the MD5 of large
//! uploads, which has one of its own. Signatures (HMAC-SHA256) are not here; they belong to the wire layer.

mod block;
mod checksum;
mod md5;
mod md5_batch;
mod md5_kernel;
mod md5_lanes;
mod md5_pass;
mod text;

pub use block::block_checksum;
pub use checksum::{
    ChecksumAlgorithm, ChecksumError, ChecksumType, Checksummer, StoredChecksum, composite_checksum,
    full_object_checksum,
};
pub use md5::{Md5, composite_etag, parse_md5_hex};
pub use md5_batch::BatchedMd5;
pub use text::{base64_decode, base64_encode, hex_encode};
