//! Tables, and the versions of their layout. FORMAT.md says what each column holds.

use rusqlite::Connection;

use super::MetaError;

/// What each layout adds to the one before it; the first entry leads from layout 1 to layout 2. Entries are only ever
/// appended: a database of any earlier layout runs the ones that it lacks.
const STEPS: &[&str] = &[
    // Canonical id of the account that owns the bucket; empty: the store's own.
    "ALTER TABLE bucket ADD COLUMN owner TEXT NOT NULL DEFAULT '';",
    super::held::TABLES,
    // Rules that writes are held against, what each bucket holds, and the versions of rolling buckets by age.
    "ALTER TABLE bucket ADD COLUMN rules TEXT NOT NULL DEFAULT '{}';
     CREATE TABLE usage(bucket INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, objects INTEGER NOT NULL);
     INSERT INTO usage SELECT id, 0, 0 FROM bucket;
     UPDATE usage SET (bytes, objects) = (counted.bytes, counted.objects) FROM
         (SELECT bucket, sum(size) AS bytes, sum(1 - marker) AS objects FROM version GROUP BY bucket) AS counted
         WHERE usage.bucket = counted.bucket;
     UPDATE usage SET bytes = usage.bytes + counted.bytes FROM
         (SELECT upload.bucket, sum(size) AS bytes FROM part JOIN upload ON upload.id = part.upload GROUP BY upload.bucket)
         AS counted WHERE usage.bucket = counted.bucket;
     CREATE TABLE rolling(bucket INTEGER NOT NULL, sequence INTEGER NOT NULL, key BLOB NOT NULL,
         PRIMARY KEY(bucket, sequence)) WITHOUT ROWID;",
    // Lines of the audit log.
    "CREATE TABLE audit(number INTEGER PRIMARY KEY, line TEXT NOT NULL);",
    // Of a sealed part.
    "ALTER TABLE part ADD COLUMN salt TEXT;",
    super::broker::TABLES,
    // What waits and what is dead of each hook is counted in the index alone.
    "CREATE INDEX invocation_by_hook ON invocation(hook, state);",
];

/// Layout that this program writes. A database with a later one is refused.
pub(super) const SCHEMA_VERSION: i64 = 1 + STEPS.len() as i64;

const TABLES: &str = "
CREATE TABLE state(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE property(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE bucket(
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, region TEXT NOT NULL, created_ms INTEGER NOT NULL,
    versioning INTEGER NOT NULL, object_lock INTEGER NOT NULL, watched INTEGER NOT NULL);
CREATE TABLE bucket_config(
    bucket INTEGER NOT NULL, kind TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(bucket, kind)) WITHOUT ROWID;
CREATE TABLE version(
    bucket INTEGER NOT NULL, key BLOB NOT NULL, rank INTEGER NOT NULL, is_null INTEGER NOT NULL, marker INTEGER NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, attributes TEXT NOT NULL, extents BLOB,
    PRIMARY KEY(bucket, key, rank)) WITHOUT ROWID;
CREATE TABLE inline(sequence INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE upload(
    id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL, initiated_ms INTEGER NOT NULL,
    attributes TEXT NOT NULL, checksum TEXT, requester TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX upload_by_key ON upload(bucket, key, initiated_ms, id);
CREATE TABLE part(
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL, checksum TEXT, extents BLOB NOT NULL, PRIMARY KEY(upload, number)) WITHOUT ROWID;
CREATE TABLE completed(
    upload TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL, sequence INTEGER NOT NULL, parts TEXT NOT NULL,
    completed_ms INTEGER NOT NULL, version_id TEXT) WITHOUT ROWID;
CREATE INDEX completed_by_time ON completed(completed_ms);
CREATE TABLE segment(number INTEGER PRIMARY KEY, live INTEGER NOT NULL);
CREATE TABLE garbage(id INTEGER PRIMARY KEY AUTOINCREMENT, extents BLOB NOT NULL, deleted_ms INTEGER NOT NULL);
CREATE TABLE heal(id INTEGER PRIMARY KEY AUTOINCREMENT, extents BLOB NOT NULL, slots INTEGER NOT NULL);
CREATE TABLE change(
    sequence INTEGER PRIMARY KEY, event TEXT NOT NULL, time_ms INTEGER NOT NULL, bucket INTEGER NOT NULL,
    bucket_name TEXT NOT NULL, key BLOB NOT NULL, version_id TEXT, version INTEGER, size INTEGER NOT NULL,
    etag TEXT NOT NULL, requester TEXT NOT NULL);
";

/// Creates the tables of a new database.
pub(super) fn create(connection: &Connection, pool_id: &str) -> Result<(), MetaError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(super::outbox::TABLES)?;
    connection.execute("INSERT INTO state VALUES('pool', ?1), ('sequence', 0)", [pool_id])?;
    super::outbox::Counts::create(connection)?;
    for step in STEPS {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    connection.execute_batch("COMMIT")?;
    Ok(())
}

/// Brings a database that `check` accepted to this program's layout, in one transaction.
pub(super) fn upgrade(connection: &Connection) -> Result<(), MetaError> {
    let version = layout(connection)?;
    if version == SCHEMA_VERSION {
        return Ok(());
    }
    tracing::info!(from = version, to = SCHEMA_VERSION, "the layout of the metadata is upgraded");
    let known = usize::try_from(version - 1).expect("`check` refuses layouts below 1");
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for step in &STEPS[known..] {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    connection.execute_batch("COMMIT")?;
    Ok(())
}

fn layout(connection: &Connection) -> Result<i64, MetaError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Checks that an existing database is one of ours, of this pool.
pub(super) fn check(connection: &Connection, pool_id: &str) -> Result<(), MetaError> {
    let version = layout(connection)?;
    if !(1..=SCHEMA_VERSION).contains(&version) {
        return Err(MetaError::Unavailable(format!(
            "the metadata has layout {version}, this program knows 1 to {SCHEMA_VERSION}; use the aerie that wrote it"
        )));
    }
    let found: String = connection.query_row("SELECT value FROM state WHERE name = 'pool'", [], |row| row.get(0))?;
    if found != pool_id {
        return Err(MetaError::Unavailable(format!(
            "the metadata is of pool {found}, the drives are of {pool_id}; put back the drives of one pool"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_earlier_layout_becomes_the_layout_of_a_new_database() {
        let tables = |connection: &Connection| -> Vec<String> {
            let sql = "SELECT sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY name";
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let new = Connection::open_in_memory().unwrap();
        create(&new, "pool").unwrap();
        for earlier in 0..STEPS.len() {
            let old = Connection::open_in_memory().unwrap();
            old.execute_batch(TABLES).unwrap();
            old.execute_batch(super::super::outbox::TABLES).unwrap();
            old.execute("INSERT INTO state VALUES('pool', 'pool')", []).unwrap();
            STEPS[..earlier].iter().for_each(|step| old.execute_batch(step).unwrap());
            old.pragma_update(None, "user_version", 1 + earlier as i64).unwrap();
            check(&old, "pool").unwrap();
            upgrade(&old).unwrap();
            assert_eq!(tables(&old), tables(&new), "from layout {}", 1 + earlier);
            assert_eq!(layout(&old).unwrap(), SCHEMA_VERSION);
        }
        new.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        assert!(check(&new, "pool").is_err(), "a later layout is refused");
    }

    #[test]
    fn what_buckets_hold_is_counted_when_the_counters_come() {
        let old = Connection::open_in_memory().unwrap();
        old.execute_batch(TABLES).unwrap();
        old.execute_batch(super::super::outbox::TABLES).unwrap();
        old.execute_batch(
            "INSERT INTO bucket VALUES(1, 'a', 'r', 0, 1, 0, 0), (2, 'b', 'r', 0, 0, 0, 0), (3, 'c', 'r', 0, 0, 0, 0);
             INSERT INTO version VALUES(1, x'61', -1, 0, 0, 10, '', 0, '{}', NULL), (1, x'62', -2, 0, 0, 5, '', 0, '{}', NULL),
                 (1, x'62', -3, 0, 1, 0, '', 0, '{}', NULL);
             INSERT INTO upload VALUES('u', 1, x'61', 0, '{}', NULL, '{}'), ('w', 2, x'61', 0, '{}', NULL, '{}');
             INSERT INTO part VALUES('u', 1, 100, '', 0, NULL, x''), ('u', 2, 50, '', 0, NULL, x''), ('w', 1, 7, '', 0, NULL, x'');",
        )
        .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        upgrade(&old).unwrap();
        let mut select = old.prepare("SELECT bucket, bytes, objects FROM usage ORDER BY bucket").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        let held: Vec<(i64, i64, i64)> = rows.map(Result::unwrap).collect();
        assert_eq!(held, [(1, 165, 2), (2, 7, 0), (3, 0, 0)]);
    }
}
