//! What one connection has written to the log or a journal and the copies have not been given yet.
//!
//! SQLite writes a commit in pieces of a page or less; together they go to each copy in one call, and at the same time to
//! all. They are given out before the connection syncs, truncates or closes the file, or reads what it wrote; other
//! connections look at nothing in these files that was not synced. A crash loses them as it loses any write that was not
//! synced.

/// Bytes that are put off: more than nearly every commit has.
const PENDING_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Pending {
    runs: Vec<Run>,
    bytes: usize,
}

/// Bytes that are written in one piece.
#[derive(Debug)]
pub(super) struct Run {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Run {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl Pending {
    pub fn push(&mut self, bytes: &[u8], offset: u64) {
        self.bytes += bytes.len();
        match self.runs.last_mut() {
            Some(last) if last.end() == offset => last.bytes.extend_from_slice(bytes),
            _ => self.runs.push(Run { offset, bytes: bytes.to_vec() }),
        }
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= PENDING_BYTES_MAX
    }

    pub fn overlaps(&self, offset: u64, length: usize) -> bool {
        self.runs.iter().any(|run| run.offset < offset + length as u64 && offset < run.end())
    }

    /// In the order in which they were written.
    pub fn take(&mut self) -> Vec<Run> {
        self.bytes = 0;
        std::mem::take(&mut self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_a_row_become_one_and_later_writes_stay_later() {
        let mut pending = Pending::default();
        for (bytes, offset) in [("head", 0), ("page", 4), ("far", 100), ("HE", 0)] {
            pending.push(bytes.as_bytes(), offset);
        }
        assert!(pending.overlaps(7, 1) && pending.overlaps(99, 2) && !pending.overlaps(8, 92));
        let runs: Vec<(u64, Vec<u8>)> = pending.take().into_iter().map(|run| (run.offset, run.bytes)).collect();
        assert_eq!(runs, [(0, b"headpage".to_vec()), (100, b"far".to_vec()), (0, b"HE".to_vec())]);
        assert!(pending.take().is_empty() && !pending.overlaps(0, 200));
    }

    #[test]
    fn what_is_put_off_is_bounded() {
        let mut pending = Pending::default();
        let pushes = (0..).take_while(|page| {
            pending.push(&[0; 4096], page * 8192);
            !pending.is_full()
        });
        assert_eq!(pushes.count(), PENDING_BYTES_MAX / 4096 - 1);
    }
}
