//! The crypt layer alone, attacked below the pool's checksums.

mod blocks;
mod ring;

use std::sync::Arc;

use pollster::block_on;

use super::*;
use crate::hash;
use crate::seam::files::RealStorage;
use crate::seam::{OpenMode, Storage, real};

const PLACE: (i64, &str) = (7, "photos/a.jpg");

/// Folders with a ring.
struct Site {
    folder: tempfile::TempDir,
    copies: usize,
}

impl Site {
    fn new(copies: usize) -> Site {
        Site { folder: tempfile::tempdir().unwrap(), copies }
    }

    fn storage(&self, copy: usize) -> Arc<dyn Storage> {
        Arc::new(RealStorage::create(&self.folder.path().join(format!("d{copy}"))).unwrap())
    }

    fn open(&self) -> KeyRing {
        self.open_with(None).unwrap()
    }

    fn open_with(&self, root: Option<&RootKey>) -> Result<KeyRing, SealError> {
        KeyRing::open((0..self.copies).map(|copy| self.storage(copy)).collect(), 0, root, real::world())
    }

    /// All bytes of a copy's files.
    fn bytes(&self, copy: usize) -> Vec<u8> {
        bytes_of(&*self.storage(copy))
    }
}

fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
    let mut all = Vec::new();
    for name in RING_FILES {
        let Ok(file) = storage.open(name, OpenMode::Read) else { continue };
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        all.extend_from_slice(&bytes);
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn key_of(ring: &KeyRing) -> DataKey {
    block_on(ring.seal(PLACE, &Sealing::S3)).unwrap().1
}

fn kms(key: &str) -> Sealing {
    Sealing::Kms(KmsRequest { key: Some(key.to_owned()), ..KmsRequest::default() })
}

fn whole(size: usize) -> [Stream<'static>; 1] {
    [Stream { number: 0, salt: "", size: size as u64 }]
}
