//! A drive's identity: the label file. Layout: FORMAT.md.
//!
//! Every drive's label names the whole pool: who is in which slot, and which slots hold current copies of the metadata.
//! The label with the highest epoch is right; a drive that missed an epoch learns what changed without it.

use serde::{Deserialize, Serialize};

use crate::hash;
use crate::seam::{OpenMode, Storage, replace_file};

/// Name of the label file in a drive's root.
pub const LABEL_FILE: &str = "aerie.label";
const LABEL_NEW: &str = "aerie.label.new";
const FORMAT: u32 = 1;
/// A label is a few hundred bytes; more than this is no label.
const LABEL_BYTES_MAX: u64 = 64 << 10;

/// Why a label cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("{place}: {source}")]
    Io { place: String, source: std::io::Error },
    #[error("{place}: the label is damaged; restore it from a backup or wipe the drive to rejoin it empty")]
    Damaged { place: String },
    #[error("{place}: the label has format {found}, this program knows {FORMAT}; use a newer aerie")]
    UnknownFormat { place: String, found: u32 },
}

/// Who this drive is, and the pool as it last knew it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    pub format: u32,
    /// Hex, 16 bytes, the same on all drives of the pool.
    pub pool: String,
    pub slot: usize,
    pub data: u8,
    pub parity: u8,
    /// Hex ids of the drives, by slot. This drive's own id stands at `slot`.
    pub drives: Vec<String>,
    /// Slots whose copy of the metadata is current.
    pub copies: Vec<usize>,
    /// Counts the changes of this label's pool-wide part. 0: the pool is being made and holds nothing yet.
    pub epoch: u64,
    /// Slots that may lack blocks; empty once a census has proved them whole.
    #[serde(default)]
    pub rebuilding: Vec<usize>,
    /// Segment numbers up to this one may have been used.
    #[serde(default)]
    pub segments_reserved: u32,
    /// Slots whose folder was a mount point at the last start that saw the drive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounted: Vec<usize>,
    /// By slot: the epoch of the last label that was on its way to that drive. Empty before the first one that keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<u64>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Label {
    /// A label of a pool in the making.
    pub fn new(pool: String, slot: usize, data: u8, parity: u8, drives: Vec<String>, copies: Vec<usize>) -> Label {
        Label {
            format: FORMAT,
            pool,
            slot,
            data,
            parity,
            drives,
            copies,
            epoch: 0,
            rebuilding: vec![],
            segments_reserved: 0,
            mounted: vec![],
            told: vec![],
        }
    }

    /// The next epoch, which these slots are to learn.
    pub fn advance(&mut self, slots: impl Iterator<Item = usize>) {
        // Whatever a drive holds when this is first kept is of this epoch or of one before.
        self.told.resize(self.drives.len(), self.epoch);
        self.epoch += 1;
        slots.for_each(|slot| self.told[slot] = self.epoch);
    }

    /// Whether this label comes after the one that the drive holds. It does not where the drive, with enough others, was
    /// used without those of this label, and these without it: each side may hold what the other lacks.
    pub fn follows(&self, of_drive: &Label) -> bool {
        // Of k drives and k others, where that is more than there are, one is in both.
        if self.data > self.parity {
            return true;
        }
        if of_drive.epoch == self.epoch {
            return Label { slot: self.slot, ..of_drive.clone() } == *self;
        }
        self.told.get(of_drive.slot).is_none_or(|told| of_drive.epoch <= *told)
    }

    /// Seed of the pool's block checksums.
    pub fn seed(&self) -> u64 {
        u64::from_str_radix(self.pool.get(..16).unwrap_or_default(), 16).unwrap_or(0)
    }

    /// The drive's label; `None` on a drive that has none.
    pub fn read(storage: &dyn Storage) -> Result<Option<Label>, LabelError> {
        let place = storage.describe();
        let file = match storage.open(LABEL_FILE, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LabelError::Io { place, source }),
        };
        let read = || {
            let mut bytes = vec![0; file.len()?.min(LABEL_BYTES_MAX) as usize];
            let filled = file.read_at(&mut bytes, 0)?;
            bytes.truncate(filled);
            Ok(bytes)
        };
        let bytes = read().map_err(|source| LabelError::Io { place: place.clone(), source })?;
        let damaged = || LabelError::Damaged { place: place.clone() };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        let (body, checksum) = text.trim_end().split_once('\n').ok_or_else(damaged)?;
        if checksum != checksum_of(body) {
            return Err(damaged());
        }
        let FormatOnly { format } = serde_json::from_str(body).map_err(|_| damaged())?;
        if format != FORMAT {
            return Err(LabelError::UnknownFormat { place, found: format });
        }
        serde_json::from_str(body).map(Some).map_err(|_| damaged())
    }

    /// Writes the label so that a crash leaves the old or the new one.
    pub fn write(&self, storage: &dyn Storage) -> Result<(), LabelError> {
        let body = serde_json::to_string(self).expect("a label has only plain fields");
        let text = format!("{body}\n{}\n", checksum_of(&body));
        replace_file(storage, LABEL_FILE, LABEL_NEW, text.as_bytes())
            .map_err(|source| LabelError::Io { place: storage.describe(), source })
    }
}

fn checksum_of(body: &str) -> String {
    hash::hex_encode(&hash::block_checksum(0, body.as_bytes(), b""))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look at the real file")]
mod tests {
    use super::*;
    use crate::seam::files::RealStorage;

    fn label() -> Label {
        let drives = vec!["aa".repeat(16), "bb".repeat(16)];
        Label::new("0123456789abcdef".repeat(2), 1, 1, 1, drives, vec![0, 1])
    }

    #[test]
    fn a_label_comes_back_and_an_unlabelled_drive_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let storage = RealStorage::open(folder.path()).unwrap();
        assert_eq!(Label::read(&storage).unwrap(), None);
        label().write(&storage).unwrap();
        assert_eq!(Label::read(&storage).unwrap(), Some(label()));
        assert_eq!(label().seed(), 0x0123_4567_89ab_cdef);
    }

    #[test]
    fn damage_and_newer_formats_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let storage = RealStorage::open(folder.path()).unwrap();
        label().write(&storage).unwrap();
        let path = folder.path().join(LABEL_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"slot\":1", "\"slot\":0")).unwrap();
        assert!(matches!(Label::read(&storage), Err(LabelError::Damaged { .. })));
        let newer = Label { format: 2, ..label() };
        newer.write(&storage).unwrap();
        assert!(matches!(Label::read(&storage), Err(LabelError::UnknownFormat { found: 2, .. })));
    }
}
