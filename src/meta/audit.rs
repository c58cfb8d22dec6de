//! The audit log's lines, in the metadata: mirrored, and durable with the group commit that writes them, so that a crash
//! tears none.
//!
//! Bounded: the oldest lines go, and the end of what went is kept, so that the chain of the rest can still be followed.

use rusqlite::{Connection, OptionalExtension, params};

use super::row::json;
use super::{Meta, MetaError, Reader, set_property};
use crate::audit::{AuditEntry, ChainEnd, line_hash};
use crate::limits;

/// Property with the end of the lines that went.
const ANCHOR_PROPERTY: &str = "audit-anchor";

impl Meta {
    /// Writes a line; durable when this returns.
    pub async fn audit(&self, entry: AuditEntry) -> Result<(), MetaError> {
        self.writer
            .write(move |group| {
                let connection = group.connection();
                let mut end = end(connection)?;
                let line = end.append(entry);
                connection
                    .prepare_cached("INSERT INTO audit VALUES(?1, ?2)")?
                    .execute(params![end.number as i64, line])?;
                // A line is looked at for every line that is written, so that the log is cut in steps.
                match end.number.is_multiple_of(limits::AUDIT_CUT) {
                    true => cut(connection, end.number),
                    false => Ok(()),
                }
            })
            .await
    }
}

fn anchor(connection: &Connection) -> Result<ChainEnd, MetaError> {
    let mut select = connection.prepare_cached("SELECT value FROM property WHERE name = ?1")?;
    let text: Option<String> = select.query_row([ANCHOR_PROPERTY], |row| row.get(0)).optional()?;
    let Some(text) = text else { return Ok(ChainEnd::default()) };
    serde_json::from_str(&text).map_err(|error| MetaError::Damaged(format!("the audit log's anchor: {error}")))
}

fn end(connection: &Connection) -> Result<ChainEnd, MetaError> {
    let mut select = connection.prepare_cached("SELECT number, line FROM audit ORDER BY number DESC LIMIT 1")?;
    let last: Option<(i64, String)> = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match last {
        Some((number, line)) => Ok(ChainEnd { number: number as u64, hash: line_hash(&line) }),
        None => anchor(connection),
    }
}

/// Lets the oldest lines go.
fn cut(connection: &Connection, newest: u64) -> Result<(), MetaError> {
    let Some(last_to_go) = newest.checked_sub(limits::AUDIT_LINES_MAX) else { return Ok(()) };
    let line: Option<String> = connection
        .prepare_cached("SELECT line FROM audit WHERE number = ?1")?
        .query_row([last_to_go as i64], |row| row.get(0))
        .optional()?;
    let Some(line) = line else { return Ok(()) };
    let anchor = ChainEnd { number: last_to_go, hash: line_hash(&line) };
    set_property(connection, ANCHOR_PROPERTY, Some(&json(&anchor)))?;
    connection.prepare_cached("DELETE FROM audit WHERE number <= ?1")?.execute([last_to_go as i64])?;
    Ok(())
}

impl Reader {
    /// Lines from after this number.
    pub fn audit(&self, after: u64, limit: usize) -> Result<Vec<String>, MetaError> {
        self.rows(
            "SELECT line FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2",
            params![after as i64, limit as i64],
            |row| row.get(0),
        )
    }

    /// The end of the lines that went, where the chain of those that are left begins; and its present end.
    pub fn audit_ends(&self) -> Result<(ChainEnd, ChainEnd), MetaError> {
        Ok((anchor(self.connection())?, end(self.connection())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let layout = "CREATE TABLE audit(number INTEGER PRIMARY KEY, line TEXT NOT NULL);
                      CREATE TABLE property(name TEXT PRIMARY KEY, value TEXT NOT NULL);";
        connection.execute_batch(layout).unwrap();
        connection
    }

    fn write(connection: &Connection, count: u64) {
        for _ in 0..count {
            let mut end = end(connection).unwrap();
            let line =
                end.append(AuditEntry { action: format!("action after {}", end.number), ..AuditEntry::default() });
            connection.execute("INSERT INTO audit VALUES(?1, ?2)", params![end.number as i64, line]).unwrap();
        }
    }

    /// Follows what is there, from the anchor to the end.
    fn follow(connection: &Connection) -> (u64, ChainEnd) {
        let anchor = anchor(connection).unwrap();
        let mut at = anchor.clone();
        let mut select = connection.prepare("SELECT line FROM audit ORDER BY number").unwrap();
        let lines: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        lines.iter().for_each(|line| at.follow(line).unwrap());
        assert_eq!(at, end(connection).unwrap());
        (anchor.number, at)
    }

    #[test]
    fn what_is_left_after_a_cut_follows_from_what_went() {
        let connection = table();
        assert_eq!(follow(&connection), (0, ChainEnd::default()));
        write(&connection, 20);
        let noted = follow(&connection).1;
        cut(&connection, limits::AUDIT_LINES_MAX).unwrap();
        assert_eq!(follow(&connection), (0, noted.clone()), "no line is too many");
        for (too_many, anchor) in [(7, 7), (3, 7), (15, 15)] {
            cut(&connection, limits::AUDIT_LINES_MAX + too_many).unwrap();
            assert_eq!(follow(&connection), (anchor, noted.clone()));
        }
        // Not even a line has to be left.
        cut(&connection, limits::AUDIT_LINES_MAX + 20).unwrap();
        assert_eq!(follow(&connection), (20, noted));
        write(&connection, 5);
        assert_eq!(follow(&connection).1.number, 25);
    }
}
