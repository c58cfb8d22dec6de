//! S3's flexible checksums: of a stream, of a multipart upload from its parts, and their text form.
//!
//! A multipart upload's checksum never needs the bytes again: a composite one is the checksum of the parts' checksums,
//! a full-object one follows from the parts' CRCs and lengths. Which header carries what is the wire layer's matter.

use std::fmt;

use crc_fast::CrcAlgorithm;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::{base64_decode, base64_encode};

/// The algorithms of S3's flexible checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// What the checksum of a multipart upload covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumType {
    /// The bytes of the whole object.
    FullObject,
    /// The checksums of its parts.
    Composite,
}

/// A checksum as S3 reports it: base64, with `-N` behind a composite one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChecksum {
    pub algorithm: ChecksumAlgorithm,
    pub kind: ChecksumType,
    pub value: String,
}

/// Why the checksum of a multipart upload cannot be computed from its parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    #[error("{0} has no {1} checksum; use another algorithm or type")]
    NoSuchType(ChecksumAlgorithm, ChecksumType),
    #[error("part {0} has no valid checksum; upload it again with one")]
    BadPart(usize),
}

impl ChecksumAlgorithm {
    /// What S3 computes where the client names nothing; always of the full object.
    pub const DEFAULT: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

    pub const ALL: [ChecksumAlgorithm; 5] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];

    /// As S3 writes it in XML and in `x-amz-checksum-algorithm`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "CRC32",
            ChecksumAlgorithm::Crc32c => "CRC32C",
            ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
            ChecksumAlgorithm::Sha1 => "SHA1",
            ChecksumAlgorithm::Sha256 => "SHA256",
        }
    }

    /// Reads the name in any case.
    pub fn parse(name: &str) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    /// Name of the header that carries the value, in lower case.
    pub fn header_name(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
            ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
            ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
            ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Bytes of a value before base64.
    pub fn value_bytes(self) -> usize {
        match self {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
            ChecksumAlgorithm::Crc64Nvme => 8,
            ChecksumAlgorithm::Sha1 => 20,
            ChecksumAlgorithm::Sha256 => 32,
        }
    }

    /// S3 allows a multipart upload to have a checksum of this type by this algorithm.
    pub fn allows(self, kind: ChecksumType) -> bool {
        match self {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => true,
            ChecksumAlgorithm::Crc64Nvme => kind == ChecksumType::FullObject,
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => kind == ChecksumType::Composite,
        }
    }

    /// The type a multipart upload gets when the client names none.
    pub fn default_type(self) -> ChecksumType {
        match self {
            ChecksumAlgorithm::Crc64Nvme => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        }
    }

    /// `value` is base64 of the right length (without `-N`); says nothing of what it sums.
    pub fn is_well_formed(self, value: &str) -> bool {
        self.decode(value).is_some()
    }

    fn decode(self, value: &str) -> Option<Vec<u8>> {
        base64_decode(value).filter(|bytes| bytes.len() == self.value_bytes())
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
        }
    }
}

impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ChecksumType {
    /// As S3 writes it in XML and in `x-amz-checksum-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChecksumType::FullObject => "FULL_OBJECT",
            ChecksumType::Composite => "COMPOSITE",
        }
    }

    pub fn parse(name: &str) -> Option<ChecksumType> {
        [ChecksumType::FullObject, ChecksumType::Composite].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for ChecksumType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checksum of a stream.
pub struct Checksummer {
    algorithm: ChecksumAlgorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha(digest::Context),
}

impl Checksummer {
    pub fn new(algorithm: ChecksumAlgorithm) -> Checksummer {
        let state = match (algorithm.crc(), algorithm) {
            (Some(crc), _) => State::Crc(crc_fast::Digest::new(crc)),
            (None, ChecksumAlgorithm::Sha1) => State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            (None, _) => State::Sha(digest::Context::new(&digest::SHA256)),
        };
        Checksummer { algorithm, state }
    }

    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(bytes),
            State::Sha(sha) => sha.update(bytes),
        }
    }

    /// The checksum in base64, as a client sends and sees it.
    pub fn finish(self) -> String {
        match self.state {
            State::Crc(crc) => crc_text(self.algorithm, crc.finalize()),
            State::Sha(sha) => base64_encode(sha.finish().as_ref()),
        }
    }

    /// Checksum of bytes at hand.
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
        let mut checksummer = Checksummer::new(algorithm);
        checksummer.update(bytes);
        checksummer.finish()
    }
}

impl fmt::Debug for Checksummer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checksummer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Composite checksum of a multipart upload from its parts' values in part order, `-N` included.
pub fn composite_checksum<'a>(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = &'a str>,
) -> Result<StoredChecksum, ChecksumError> {
    let kind = require(algorithm, ChecksumType::Composite)?;
    let mut checksummer = Checksummer::new(algorithm);
    let mut count = 0;
    for part in parts {
        count += 1;
        checksummer.update(&algorithm.decode(part).ok_or(ChecksumError::BadPart(count))?);
    }
    Ok(StoredChecksum { algorithm, kind, value: format!("{}-{count}", checksummer.finish()) })
}

/// Full-object checksum of a multipart upload from its parts' values and lengths in bytes, in part order.
pub fn full_object_checksum<'a>(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<StoredChecksum, ChecksumError> {
    let kind = require(algorithm, ChecksumType::FullObject)?;
    let crc = algorithm.crc().expect("only CRCs allow the full-object type");
    let mut whole = crc_fast::checksum(crc, b"");
    for (index, (part, length)) in parts.into_iter().enumerate() {
        let bytes = algorithm.decode(part).ok_or(ChecksumError::BadPart(index + 1))?;
        let value = bytes.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        whole = crc_fast::checksum_combine(crc, whole, value, length);
    }
    Ok(StoredChecksum { algorithm, kind, value: crc_text(algorithm, whole) })
}

fn require(algorithm: ChecksumAlgorithm, kind: ChecksumType) -> Result<ChecksumType, ChecksumError> {
    if algorithm.allows(kind) { Ok(kind) } else { Err(ChecksumError::NoSuchType(algorithm, kind)) }
}

/// Big-endian, in the algorithm's own width.
fn crc_text(algorithm: ChecksumAlgorithm, value: u64) -> String {
    base64_encode(&value.to_be_bytes()[8 - algorithm.value_bytes()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with zlib, hashlib and bitwise CRCs, apart from the crates used here.
    const CHECKS: [(ChecksumAlgorithm, &str); 5] = [
        (ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
        (ChecksumAlgorithm::Crc32c, "4waSgw=="),
        (ChecksumAlgorithm::Crc64Nvme, "rosUhgp5mIg="),
        (ChecksumAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
        (ChecksumAlgorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ];

    #[test]
    fn known_values_in_any_split() {
        for (algorithm, expected) in CHECKS {
            for split in 0..=9 {
                let mut checksummer = Checksummer::new(algorithm);
                checksummer.update(&b"123456789"[..split]);
                checksummer.update(&b"123456789"[split..]);
                assert_eq!(checksummer.finish(), expected, "{algorithm} split at {split}");
            }
            assert!(algorithm.is_well_formed(expected));
            assert!(!algorithm.is_well_formed("AAA="));
            assert!(!algorithm.is_well_formed(&format!("{expected}-1")));
        }
    }

    #[test]
    fn names_are_read_back() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(ChecksumAlgorithm::parse(algorithm.as_str()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::parse(&algorithm.as_str().to_lowercase()), Some(algorithm));
            assert!(algorithm.header_name().ends_with(&algorithm.as_str().to_lowercase()));
            assert!(algorithm.allows(algorithm.default_type()));
        }
        assert_eq!(ChecksumAlgorithm::parse("MD5"), None);
        assert_eq!(ChecksumType::parse("COMPOSITE"), Some(ChecksumType::Composite));
        assert_eq!(ChecksumType::parse("composite"), None);
    }

    #[test]
    fn composite_is_the_checksum_of_checksums() {
        for (algorithm, expected) in [
            (ChecksumAlgorithm::Crc32, "4zspdQ==-2"),
            (ChecksumAlgorithm::Sha256, "/wiQ+jHXUUcr18tTEaeru5H1cBgrYDQGvfxkGFLzgl4=-2"),
        ] {
            let parts = [Checksummer::of(algorithm, b"12345"), Checksummer::of(algorithm, b"6789")];
            let whole = composite_checksum(algorithm, parts.iter().map(String::as_str)).expect("parts are valid");
            assert_eq!((whole.value.as_str(), whole.kind), (expected, ChecksumType::Composite));
        }
    }

    #[test]
    fn full_object_crc_follows_from_the_parts() {
        let object: Vec<u8> = (0..100_000u32).map(|i| (i ^ i >> 7) as u8).collect();
        for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme] {
            for cuts in [vec![0, 100_000], vec![0, 1, 100_000], vec![0, 65_536, 65_536, 99_999, 100_000], vec![0, 0]] {
                let parts: Vec<_> = cuts.windows(2).map(|cut| &object[cut[0]..cut[1]]).collect();
                let sums: Vec<_> = parts.iter().map(|part| Checksummer::of(algorithm, part)).collect();
                let listed = sums.iter().zip(&parts).map(|(sum, part)| (sum.as_str(), part.len() as u64));
                let whole = full_object_checksum(algorithm, listed).expect("parts are valid");
                let end = *cuts.last().expect("not empty");
                assert_eq!(whole.value, Checksummer::of(algorithm, &object[..end]), "{algorithm} cut at {cuts:?}");
            }
        }
    }

    #[test]
    fn wrong_types_and_parts_are_refused() {
        use ChecksumAlgorithm::{Crc32, Crc64Nvme, Sha256};
        assert_eq!(full_object_checksum(Sha256, []), Err(ChecksumError::NoSuchType(Sha256, ChecksumType::FullObject)));
        assert_eq!(
            composite_checksum(Crc64Nvme, []),
            Err(ChecksumError::NoSuchType(Crc64Nvme, ChecksumType::Composite))
        );
        assert_eq!(composite_checksum(Crc32, ["y/Q5Jg==", "junk"]), Err(ChecksumError::BadPart(2)));
        assert_eq!(full_object_checksum(Crc32, [("rosUhgp5mIg=", 9)]), Err(ChecksumError::BadPart(1)));
    }
}
