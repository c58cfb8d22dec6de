//! The audit log's chain: each line carries the SHA-256 of the line before it, so that nothing can be changed, taken out
//! or put in without breaking what follows.
//!
//! A leaf: pure. Who keeps the lines is the metadata's matter. What a chain cannot show is that its end was cut off, or
//! that all of it was written anew: for that an operator notes a line's number and hash elsewhere (`aerie audit verify`
//! prints them) and asks for it later. Lines never hold secrets: no bodies, no signatures, no values of a query.

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::hash::hex_encode;

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Milliseconds since the Unix epoch, by the wall clock.
    pub time_ms: i64,
    pub identity: String,
    /// S3's action, or method and path of the admin API.
    pub action: String,
    /// `BUCKET/KEY`, or what else the action was for.
    pub resource: String,
    /// HTTP status, and S3's code where there is one.
    pub outcome: String,
    pub source: String,
    pub request_id: String,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    number: u64,
    previous: String,
    #[serde(flatten)]
    entry: AuditEntry,
}

/// The end of a chain: the number of its last line, and that line's hash. Number 0 is before the first line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    pub number: u64,
    pub hash: String,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("the line after {after} cannot be read: {reason}")]
    Unreadable { after: u64, reason: String },
    #[error("line {expected} is missing: line {found} follows line {}", expected - 1)]
    Missing { expected: u64, found: u64 },
    #[error("line {number} does not follow from the line before it: one of the two was changed")]
    Broken { number: u64 },
}

/// SHA-256 of a line, in hex.
pub fn line_hash(line: &str) -> String {
    hex_encode(digest::digest(&digest::SHA256, line.as_bytes()).as_ref())
}

impl ChainEnd {
    /// The line that continues the chain, without a line feed. The end moves on to it.
    pub fn append(&mut self, entry: AuditEntry) -> String {
        let line = Line { number: self.number + 1, previous: self.hash.clone(), entry };
        let text = serde_json::to_string(&line).expect("a line has only plain fields");
        *self = ChainEnd { number: line.number, hash: line_hash(&text) };
        text
    }

    /// Checks that the line continues the chain; the end moves on to it.
    pub fn follow(&mut self, text: &str) -> Result<(), ChainError> {
        let read: Result<Line, _> = serde_json::from_str(text);
        let line = read.map_err(|error| ChainError::Unreadable { after: self.number, reason: error.to_string() })?;
        if line.number != self.number + 1 {
            return Err(ChainError::Missing { expected: self.number + 1, found: line.number });
        }
        if line.previous != self.hash {
            return Err(ChainError::Broken { number: line.number });
        }
        *self = ChainEnd { number: line.number, hash: line_hash(text) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        let mut end = ChainEnd::default();
        let entry = |n: usize| AuditEntry { action: format!("action {n}"), ..AuditEntry::default() };
        (0..count).map(|n| end.append(entry(n))).collect()
    }

    fn check(lines: &[String]) -> Result<ChainEnd, ChainError> {
        let mut end = ChainEnd::default();
        lines.iter().try_for_each(|line| end.follow(line)).map(|()| end)
    }

    #[test]
    fn a_chain_is_whole_or_says_where_it_is_not() {
        let good = lines(5);
        assert_eq!(check(&good).map(|end| end.number), Ok(5));
        let mut changed = good.clone();
        changed[2] = changed[2].replace("action 2", "action 3");
        assert_eq!(check(&changed), Err(ChainError::Broken { number: 4 }));
        let mut taken = good.clone();
        taken.remove(1);
        assert_eq!(check(&taken), Err(ChainError::Missing { expected: 2, found: 3 }));
        let mut swapped = good.clone();
        swapped.swap(1, 2);
        assert_eq!(check(&swapped), Err(ChainError::Missing { expected: 2, found: 3 }));
        let mut torn = good.clone();
        torn[4].truncate(20);
        assert!(matches!(check(&torn), Err(ChainError::Unreadable { after: 4, .. })));
        let mut forged = good;
        forged[4] = forged[4].replace("action 4", "action 9");
        let (forged, noted) = (check(&forged).unwrap(), check(&lines(5)).unwrap());
        assert_ne!(forged.hash, noted.hash, "the last line is covered by the hash that was noted");
    }
}
