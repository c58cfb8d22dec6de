//! SQLite's write-ahead log as a file: how far it goes, so that copies can be compared without opening them.
//!
//! Read-only and without SQL. The layout is SQLite's own ("WAL-mode file format"): a header of 32 bytes, then frames of
//! 24 bytes and a page. Checksums are cumulative, so that the first bad frame ends the log.

use std::io;

use crate::seam::StorageFile;

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The magic's last bit tells the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// How far a log goes. Greater is newer: within one life of the process, SQLite counts each time the log begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogState {
    begun: u32,
    /// Frames up to the last one that ends a transaction.
    committed_frames: u64,
    page_bytes: u32,
    salts: [u32; 2],
    /// Of the last committed frame: equal states are equal bytes.
    checksum: [u32; 2],
}

impl LogState {
    /// Reads a log; `None` when it holds nothing that SQLite would use.
    pub fn read(file: &dyn StorageFile) -> io::Result<Option<LogState>> {
        LogState::read_up_to(file, u64::MAX)
    }

    /// The same, as if the log ended after so many frames.
    pub fn read_up_to(file: &dyn StorageFile, frames: u64) -> io::Result<Option<LogState>> {
        let mut header = [0; HEADER_BYTES as usize];
        if file.read_at(&mut header, 0)? < header.len() {
            return Ok(None);
        }
        let magic = word(&header, 0);
        let little_endian = magic & 1 == 0;
        let page_bytes = word(&header, 8);
        let sum = checksum([0, 0], &header[..24], little_endian);
        let is_page = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        if magic & !1 != MAGIC || !is_page || sum != [word(&header, 24), word(&header, 28)] {
            return Ok(None);
        }
        let salts = [word(&header, 16), word(&header, 20)];
        let begun = word(&header, 12);
        let mut state = LogState { begun, committed_frames: 0, page_bytes, salts, checksum: sum };
        state.follow(file, little_endian, frames)?;
        Ok(Some(state))
    }

    /// Walks the frames.
    fn follow(&mut self, file: &dyn StorageFile, little_endian: bool, frames: u64) -> io::Result<()> {
        let mut frame = vec![0; FRAME_HEADER_BYTES + self.page_bytes as usize];
        let frame_bytes = frame.len();
        let mut sum = self.checksum;
        for number in 0..frames {
            let read = file.read_at(&mut frame, HEADER_BYTES + number * frame_bytes as u64)?;
            if read < frame_bytes || [word(&frame, 8), word(&frame, 12)] != self.salts {
                return Ok(());
            }
            sum = checksum(sum, &frame[..8], little_endian);
            sum = checksum(sum, &frame[FRAME_HEADER_BYTES..], little_endian);
            if sum != [word(&frame, 16), word(&frame, 20)] {
                return Ok(());
            }
            let ends_transaction = word(&frame, 4) != 0;
            if ends_transaction {
                self.committed_frames = number + 1;
                self.checksum = sum;
            }
        }
        Ok(())
    }

    pub fn salts(&self) -> [u32; 2] {
        self.salts
    }

    /// The last committed frame is this one.
    pub fn is_at(&self, frames: u64, checksum: [u32; 2]) -> bool {
        self.committed_frames == frames && self.checksum == checksum
    }

    /// Bytes of the file up to the end of the last committed frame.
    pub fn bytes(&self) -> u64 {
        HEADER_BYTES + self.committed_frames * (FRAME_HEADER_BYTES as u64 + u64::from(self.page_bytes))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's log checksum over a multiple of eight bytes.
fn checksum(start: [u32; 2], bytes: &[u8], little_endian: bool) -> [u32; 2] {
    let (pairs, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "headers and pages are multiples of eight bytes");
    pairs.iter().fold(start, |[first, second], p| {
        let (a, b) = ([p[0], p[1], p[2], p[3]], [p[4], p[5], p[6], p[7]]);
        let (a, b) = match little_endian {
            true => (u32::from_le_bytes(a), u32::from_le_bytes(b)),
            false => (u32::from_be_bytes(a), u32::from_be_bytes(b)),
        };
        let first = first.wrapping_add(a).wrapping_add(second);
        [first, second.wrapping_add(b).wrapping_add(first)]
    })
}
