//! The erasure code: k data shards, m parity shards, any k of them give back all others.
//!
//! Layout "B8" (FORMAT.md): shards are planar and data shards are the user's bytes, so a healthy read decodes nothing.
//! Parity is a matrix over GF(2^8) times the data, byte column by byte column. `reed-solomon-novelpoly` defines the
//! matrix and checks the result; the kernels beside this file do the work. Purely computing: no I/O, no blocks, no
//! checksums. A `Codec` is shared by all threads and works on the caller's.

mod decode;
mod fold;
mod kernel;
mod novelpoly;
#[cfg(test)]
mod tests;

pub use kernel::Kernel;

use decode::{Decoders, ShardSet};
use kernel::Factors;
use novelpoly::Definition;

use crate::limits;

/// Why a code cannot be set up, or shards not be given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("no code has {data}+{parity} shards; use at least 1 data shard and at most {} in all", limits::SHARDS_MAX)]
    Geometry { data: u8, parity: u8 },
    #[error("the {kernel} kernel computes wrong parity; do not trust this processor")]
    SelfTest { kernel: &'static str },
    #[error("only {found} of {needed} needed shards are present")]
    TooFewShards { found: usize, needed: usize },
}

/// The erasure code of one geometry.
#[derive(Debug)]
pub struct Codec {
    data: usize,
    kernel: Kernel,
    /// Coefficients of the parity shards; no rows when there is no parity.
    generator: Vec<Vec<u8>>,
    encoder: Factors,
    decoders: Decoders,
    /// `None` when there is no parity.
    definition: Option<Definition>,
}

impl Codec {
    /// The code of `k` data and `m` parity shards on the fastest kernel of this processor, once it has passed its test.
    pub fn new(k: u8, m: u8) -> Result<Codec, CodecError> {
        Codec::with_kernel(k, m, Kernel::fastest())
    }

    /// As `new`, on a kernel of choice: for comparisons.
    pub fn with_kernel(k: u8, m: u8, kernel: Kernel) -> Result<Codec, CodecError> {
        let (data, parity) = (usize::from(k), usize::from(m));
        if data == 0 || data + parity > limits::SHARDS_MAX {
            return Err(CodecError::Geometry { data: k, parity: m });
        }
        let definition = (parity > 0).then(|| Definition::new(data, parity));
        let generator = definition.as_ref().map_or(Vec::new(), |definition| definition.generator(data));
        let encoder = Factors::new(&generator);
        let codec = Codec { data, kernel, generator, encoder, decoders: Decoders::default(), definition };
        codec.self_test()?;
        Ok(codec)
    }

    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Data shards.
    pub fn data_shards(&self) -> usize {
        self.data
    }

    /// Parity shards.
    pub fn parity_shards(&self) -> usize {
        self.generator.len()
    }

    /// Computes all parity shards. Takes exactly k data and m parity shards, all of one length.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        assert_eq!((data.len(), parity.len()), (self.data_shards(), self.parity_shards()));
        self.kernel.apply(&self.encoder, data, parity);
    }

    /// Fills the `missing` shards from any k or more of the `present` ones; each with its index (data first, then
    /// parity), all of one length. Shards in neither list stay unknown. Data shards are preferred as sources.
    pub fn reconstruct(&self, present: &[(u8, &[u8])], missing: &mut [(u8, &mut [u8])]) -> Result<(), CodecError> {
        let (given, wanted) = (self.set_of(present.iter().map(|p| p.0)), self.set_of(missing.iter().map(|m| m.0)));
        if given.count() < self.data {
            return Err(CodecError::TooFewShards { found: given.count(), needed: self.data });
        }
        let used = given.first(self.data);
        let mut sources: Vec<&(u8, &[u8])> = present.iter().filter(|(shard, _)| used.contains(*shard)).collect();
        sources.sort_unstable_by_key(|(shard, _)| *shard);
        let sources: Vec<&[u8]> = sources.iter().map(|(_, bytes)| *bytes).collect();
        missing.sort_unstable_by_key(|(shard, _)| *shard);
        let mut targets: Vec<&mut [u8]> = missing.iter_mut().map(|(_, bytes)| &mut **bytes).collect();

        let rows = self.decoders.rows(&self.generator, self.data, used, wanted);
        self.kernel.apply(&rows, &sources, &mut targets);
        Ok(())
    }

    /// Whether a whole stripe is consistent, by novelpoly's own encoder on the shards folded to 64 bytes. Finds every
    /// error within one shard that does not cancel itself out; costs some 10 µs and one pass over the bytes.
    pub fn fold_check(&self, data: &[&[u8]], parity: &[&[u8]]) -> bool {
        assert_eq!((data.len(), parity.len()), (self.data_shards(), self.parity_shards()));
        let Some(definition) = &self.definition else {
            return true;
        };
        let folds: Vec<_> = data.iter().map(|shard| fold::fold(shard)).collect();
        let expected = definition.parity_of(&folds.iter().map(|fold| fold.as_slice()).collect::<Vec<_>>());
        expected.iter().zip(parity).all(|(expected, shard)| *expected == fold::fold(shard))
    }

    /// Codes a fixed pattern on the chosen kernel, the portable one and novelpoly; all three must agree.
    fn self_test(&self) -> Result<(), CodecError> {
        let shards = test_pattern(self.data);
        let data: Vec<&[u8]> = shards.iter().map(Vec::as_slice).collect();
        let parity_by = |kernel: Kernel| {
            let mut parity = vec![vec![0xa5; SELF_TEST_BYTES]; self.parity_shards()];
            let mut targets: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            kernel.apply(&self.encoder, &data, &mut targets);
            parity
        };
        let (ours, portable) = (parity_by(self.kernel), parity_by(Kernel::portable()));
        let checked = self.fold_check(&data, &ours.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if ours == portable && checked { Ok(()) } else { Err(CodecError::SelfTest { kernel: self.kernel.name() }) }
    }

    /// Indices as a set. One that is out of bounds or comes twice is a mistake of the caller.
    fn set_of(&self, shards: impl Iterator<Item = u8>) -> ShardSet {
        let mut set = ShardSet::default();
        for shard in shards {
            assert!(
                usize::from(shard) < self.data_shards() + self.parity_shards(),
                "shard {shard} is not of this code"
            );
            assert!(set.insert(shard), "shard {shard} is listed twice");
        }
        set
    }
}

/// Bytes a shard in the self-test: unrolled loop, single vectors and a tail on every kernel.
const SELF_TEST_BYTES: usize = 128 + 64 + 37;

/// Shards without regularity, the same on every run.
fn test_pattern(shards: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..shards).map(|_| (0..SELF_TEST_BYTES).map(|_| next()).collect()).collect()
}
