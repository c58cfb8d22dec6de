//! The mirrored copies: equal at rest, repaired at start, never behind what was acknowledged.
#![expect(clippy::disallowed_methods, reason = "tests damage the real files")]

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::seam::{OpenMode, Space, StorageFile};

const DB: &str = "meta/aerie.db";
const LOG: &str = "meta/aerie.db-wal";

fn put(meta: &Meta, key: &str) {
    let bucket = meta.reader().unwrap().bucket("photos").unwrap().id;
    block_on(meta.put_version(inline(bucket, key, key))).unwrap();
}

fn keys(meta: &Meta) -> String {
    let reader = meta.reader().unwrap();
    let keys = reader.rows("SELECT key FROM version ORDER BY key", [], |row| row::key_column(row, 0)).unwrap();
    let bucket = reader.bucket("photos").unwrap().id;
    keys.iter().for_each(|key| assert_eq!(reader.version(bucket, key, VersionRef::Latest).unwrap().key, *key));
    keys.join(" ")
}

/// Three drives with the keys `a` and `b`, closed.
fn three_drives() -> Drives {
    let drives = Drives::new(3);
    let meta = drives.open();
    block_on(meta.create_bucket("photos".to_owned(), String::new(), false, 0)).unwrap();
    put(&meta, "a");
    put(&meta, "b");
    meta.close();
    drives
}

fn copy_meta(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("meta")).unwrap();
    for entry in fs::read_dir(to.join("meta")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from.join("meta")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join("meta").join(entry.file_name())).unwrap();
    }
}

fn assert_equal_at_rest(drives: &Drives) {
    let first = fs::read(drives.path(0, DB)).unwrap();
    for slot in 0..drives.folders.len() {
        assert!(fs::read(drives.path(slot, DB)).unwrap() == first, "the database in slot {slot} differs");
        let mut names: Vec<_> =
            fs::read_dir(drives.path(slot, "meta")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["aerie.db", "lock"], "slot {slot}");
    }
}

#[test]
fn copies_are_equal_at_rest_and_come_back() {
    let drives = three_drives();
    assert_equal_at_rest(&drives);
    let meta = drives.open();
    assert_eq!(meta.current_copies(), [0, 1, 2]);
    assert_eq!(keys(&meta), "a b");
    put(&meta, "c");
    meta.close();
    assert!(matches!(block_on(meta.delete_bucket("x".to_owned())), Err(MetaError::Unavailable(_))), "it is closed");
    drop(meta);
    assert_equal_at_rest(&drives);
    assert_eq!(*drives.failed.lock().unwrap(), [0usize; 0]);
}

#[test]
fn a_crash_leaves_every_acknowledged_commit_in_every_current_copy() {
    let drives = three_drives();
    let meta = drives.open();
    put(&meta, "c");
    let crashed = Drives::new(3);
    (0..3).for_each(|slot| copy_meta(drives.folders[slot].path(), crashed.folders[slot].path()));
    for slot in 0..3 {
        let alone = Drives::new(1);
        copy_meta(crashed.folders[slot].path(), alone.folders[0].path());
        let meta = alone.open();
        assert_eq!(keys(&meta), "a b c", "slot {slot} alone");
        meta.close();
    }
    let meta = crashed.open();
    assert_eq!(keys(&meta), "a b c");
    meta.close();
    drop(meta);
    assert_equal_at_rest(&crashed);
}

#[test]
fn after_a_crash_between_the_mirrors_the_one_ahead_is_taken() {
    for ahead in 0..3 {
        let drives = three_drives();
        let meta = drives.open();
        put(&meta, "c");
        let crashed = Drives::new(3);
        (0..3).for_each(|slot| copy_meta(drives.folders[slot].path(), crashed.folders[slot].path()));
        put(&meta, "d");
        copy_meta(drives.folders[ahead].path(), crashed.folders[ahead].path());
        // One of the others was torn in the middle of a frame.
        let torn = crashed.path((ahead + 1) % 3, LOG);
        let mut bytes = fs::read(&torn).unwrap();
        bytes.extend_from_slice(&fs::read(drives.path(0, LOG)).unwrap()[bytes.len()..][..100]);
        fs::write(&torn, bytes).unwrap();
        let meta = crashed.open();
        assert_eq!(keys(&meta), "a b c d", "slot {ahead} is ahead");
        put(&meta, "e");
        assert_eq!(meta.current_copies(), [0, 1, 2]);
        meta.close();
        drop(meta);
        assert_equal_at_rest(&crashed);
    }
}

/// The log began anew in one copy only: its database and the other's are the same.
#[test]
fn a_log_that_began_anew_in_one_copy_is_ahead() {
    let drives = three_drives();
    let meta = drives.open();
    put(&meta, "c");
    let connection = open::connect(&meta.database).unwrap();
    let moved: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0)).unwrap();
    assert_eq!(moved, 0);
    let crashed = Drives::new(3);
    (0..3).for_each(|slot| copy_meta(drives.folders[slot].path(), crashed.folders[slot].path()));
    put(&meta, "d");
    copy_meta(drives.folders[2].path(), crashed.folders[2].path());
    let older = fs::read(crashed.path(0, LOG)).unwrap();
    let newer = fs::read(crashed.path(2, LOG)).unwrap();
    assert!(older[..32] != newer[..32] && older.len() >= newer.len(), "the log began anew in place");
    let meta = crashed.open();
    assert_eq!(keys(&meta), "a b c d");
    meta.close();
    drop(meta);
    assert_equal_at_rest(&crashed);
}

#[test]
fn damaged_absent_and_stale_copies_are_written_anew() {
    type Harm = fn(&Path);
    let cases: [(&str, Harm); 8] = [
        ("database removed", |meta| fs::remove_file(meta.join("aerie.db")).unwrap()),
        ("everything removed", |meta| fs::remove_dir_all(meta).unwrap()),
        ("header overwritten", |meta| overwrite(meta, 0, &[0xAA; 100])),
        ("schema page overwritten", |meta| overwrite(meta, 100, &[0xAA; 3000])),
        ("page in the middle overwritten", |meta| overwrite(meta, 5 * 4096, &[0x55; 4096])),
        ("one bit flipped", |meta| flip(meta)),
        ("cut short", |meta| {
            let bytes = fs::read(meta.join("aerie.db")).unwrap();
            fs::write(meta.join("aerie.db"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("half written", |meta| {
            fs::write(meta.join("replacing"), b"").unwrap();
            overwrite(meta, 5 * 4096, &[0; 4096]);
        }),
    ];
    for slot in [0, 2] {
        for (name, harm) in &cases {
            let drives = three_drives();
            harm(&drives.path(slot, "meta"));
            let meta = drives.open();
            assert_eq!(meta.current_copies(), [0, 1, 2], "{name} in slot {slot}");
            assert_eq!(keys(&meta), "a b", "{name} in slot {slot}");
            meta.close();
            drop(meta);
            assert_equal_at_rest(&drives);
        }
    }
}

fn overwrite(meta: &Path, at: usize, bytes: &[u8]) {
    let mut database = fs::read(meta.join("aerie.db")).unwrap();
    database[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(meta.join("aerie.db"), database).unwrap();
}

/// Flips a bit in the text of a row: SQLite's own checks cannot see that.
fn flip(meta: &Path) {
    let mut database = fs::read(meta.join("aerie.db")).unwrap();
    let at = database.windows(6).position(|window| window == b"etag-a").unwrap();
    database[at] ^= 1;
    fs::write(meta.join("aerie.db"), database).unwrap();
}

#[test]
fn a_copy_that_is_not_current_is_never_a_source() {
    let drives = three_drives();
    let stale = Drives::new(1);
    copy_meta(drives.folders[0].path(), stale.folders[0].path());
    let meta = drives.open();
    put(&meta, "c");
    meta.close();
    drop(meta);
    // Slot 0 comes back as it was, with a log that looks long.
    copy_meta(stale.folders[0].path(), drives.folders[0].path());
    let meta = drives.open_copies(drives.copies(&[1, 2])).unwrap();
    assert_eq!(keys(&meta), "a b c");
    assert_eq!(meta.current_copies(), [0, 1, 2]);
    meta.close();
    drop(meta);
    assert_equal_at_rest(&drives);
    let refused = drives.open_copies(drives.copies(&[])).unwrap_err();
    assert!(matches!(&refused, MetaError::Unavailable(text) if text.contains("not current")), "{refused}");
}

#[test]
fn one_good_copy_is_enough_and_none_is_refused() {
    let drives = three_drives();
    [0, 1].iter().for_each(|slot| fs::write(drives.path(*slot, DB), b"garbage").unwrap());
    let meta = drives.open();
    assert_eq!(keys(&meta), "a b");
    meta.close();
    drop(meta);
    assert_equal_at_rest(&drives);
    (0..3).for_each(|slot| fs::write(drives.path(slot, DB), b"garbage").unwrap());
    let refused = drives.open_copies(drives.copies(&[0, 1, 2])).unwrap_err();
    assert!(matches!(&refused, MetaError::Unavailable(text) if text.contains("slot 2: damaged")), "{refused}");
    assert_eq!(fs::read(drives.path(0, DB)).unwrap(), b"garbage", "nothing was thrown away");
}

#[test]
fn an_unfinished_creation_begins_again() {
    let drives = Drives::new(2);
    for slot in 0..2 {
        fs::create_dir(drives.path(slot, "meta")).unwrap();
        fs::write(drives.path(slot, "meta/creating"), b"").unwrap();
        fs::write(drives.path(slot, DB), b"SQLite for").unwrap();
        fs::write(drives.path(slot, LOG), b"rest").unwrap();
    }
    let meta = drives.open();
    block_on(meta.create_bucket("photos".to_owned(), String::new(), false, 0)).unwrap();
    meta.close();
    drop(meta);
    // As if the crash had come when one copy was finished.
    fs::write(drives.path(1, "meta/creating"), b"").unwrap();
    let meta = drives.open();
    assert_eq!(keys(&meta), "");
    meta.close();
    drop(meta);
    assert_equal_at_rest(&drives);
}

#[test]
fn foreign_unknown_and_used_databases_are_refused() {
    let drives = three_drives();
    let meta = drives.open();
    let used = drives.open_copies(drives.copies(&[0, 1, 2])).unwrap_err();
    assert!(matches!(&used, MetaError::Unavailable(text) if text.contains("another process")), "{used}");
    meta.close();
    drop(meta);
    let other = Meta::open(drives.copies(&[0, 1, 2]), "other", Arc::new(|_| true), real::world()).unwrap_err();
    assert!(matches!(&other, MetaError::Unavailable(text) if text.contains("the drives are of other")), "{other}");
    let meta = drives.open();
    open::connect(&meta.database)
        .unwrap()
        .pragma_update(None, "user_version", super::super::schema::SCHEMA_VERSION + 1)
        .unwrap();
    meta.close();
    drop(meta);
    let newer = drives.open_copies(drives.copies(&[0, 1, 2])).unwrap_err();
    assert!(
        matches!(&newer, MetaError::Unavailable(text) if text.contains(&format!("layout {}", super::super::schema::SCHEMA_VERSION + 1))),
        "{newer}"
    );
}

#[test]
fn pages_carry_checksums_and_a_wrong_one_is_read_from_another_copy() {
    let drives = three_drives();
    let good = fs::read(drives.path(0, DB)).unwrap();
    assert_eq!(good[20], 8, "bytes that SQLite leaves free in each page");
    // Of two copies that differ, the checksums say which is right, whichever it is.
    for slot in 0..2 {
        flip(&drives.path(slot, "meta"));
        let meta = drives.open_copies(drives.copies(&[0, 1, 2]).into_iter().take(2).collect()).unwrap();
        meta.close();
        drop(meta);
        assert!(fs::read(drives.path(slot, DB)).unwrap() == good, "slot {slot}");
    }
    // Damage that comes while the database is open.
    let meta = drives.open();
    flip(&drives.path(0, "meta"));
    assert_eq!(keys(&meta), "a b");
    assert_eq!(meta.reader().unwrap().buckets().unwrap().len(), 1);
    [1, 2].iter().for_each(|slot| flip(&drives.path(*slot, "meta")));
    let reader = meta.reader().unwrap();
    let bucket = reader.bucket("photos").unwrap().id;
    assert!(matches!(reader.version(bucket, "a", VersionRef::Latest), Err(MetaError::Damaged(_))));
}

#[test]
fn a_copy_is_read_by_any_sqlite_as_the_format_says() {
    let drives = three_drives();
    let plain = rusqlite::Connection::open(drives.path(1, DB)).unwrap();
    assert_eq!(
        plain.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(),
        super::super::schema::SCHEMA_VERSION
    );
    assert_eq!(plain.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    let sql = "SELECT key, bytes FROM version JOIN inline ON sequence = -rank WHERE marker = 0 AND extents IS NULL";
    let mut statement = plain.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    let rows: Vec<_> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, [(b"a".to_vec(), b"a".to_vec()), (b"b".to_vec(), b"b".to_vec())]);
}

/// A drive whose changes fail once the budget is used up. Syncs are counted, not done: these tests cut no real power.
#[derive(Debug)]
struct Failing {
    inner: RealStorage,
    budget: Arc<AtomicI64>,
}

#[derive(Debug)]
struct FailingFile {
    inner: Arc<dyn StorageFile>,
    budget: Arc<AtomicI64>,
}

/// A budget that stands for a full drive.
const FULL: i64 = i64::MIN / 2;

fn spend(budget: &AtomicI64) -> io::Result<()> {
    if budget.load(Ordering::SeqCst) <= FULL {
        return Err(io::ErrorKind::StorageFull.into());
    }
    if budget.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("broken")) }
}

impl Storage for Failing {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        if matches!(mode, OpenMode::Create | OpenMode::CreateNew) {
            spend(&self.budget)?;
        }
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FailingFile { inner, budget: self.budget.clone() }))
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        spend(&self.budget).and_then(|()| self.inner.remove(path))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        spend(&self.budget).and_then(|()| self.inner.rename(from, to))
    }
    fn create_dir(&self, path: &str) -> io::Result<()> {
        spend(&self.budget).and_then(|()| self.inner.create_dir(path))
    }
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }
    fn exists(&self, path: &str) -> io::Result<bool> {
        self.inner.exists(path)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        assert!(self.inner.exists(path)?, "a folder is synced that is not there");
        spend(&self.budget)
    }
    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
    fn is_mounted(&self) -> io::Result<bool> {
        self.inner.is_mounted()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl StorageFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn read_at_nowait(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.inner.read_at_nowait(buffers, offset)
    }
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        spend(&self.budget).and_then(|()| self.inner.write_at(buffer, offset))
    }
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.inner.write_vectored_at(buffers, offset)
    }
    fn write_direct_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.inner.write_direct_at(buffers, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        spend(&self.budget)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        spend(&self.budget).and_then(|()| self.inner.set_len(length))
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inner.allocate(offset, length)
    }
    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inner.punch_hole(offset, length)
    }
    fn lock(&self) -> io::Result<()> {
        self.inner.lock()
    }
}

#[test]
fn a_drive_that_fails_is_reported_before_the_commit_it_misses_and_replaced_at_start() {
    for slot in 0..3 {
        let drives = three_drives();
        let budget = Arc::new(AtomicI64::new(i64::MAX));
        let mut copies = drives.copies(&[0, 1, 2]);
        let inner = RealStorage::open(drives.folders[slot].path()).unwrap();
        copies[slot].storage = Arc::new(Failing { inner, budget: budget.clone() });
        let meta = drives.open_copies(copies).unwrap();
        put(&meta, "c");
        budget.store(0, Ordering::SeqCst);
        put(&meta, "d");
        assert_eq!(*drives.failed.lock().unwrap(), [slot]);
        let others: Vec<usize> = (0..3).filter(|other| *other != slot).collect();
        assert_eq!(meta.current_copies(), others);
        put(&meta, "e");
        assert_eq!(keys(&meta), "a b c d e");
        meta.close();
        drop(meta);
        let meta = drives.open_copies(drives.copies(&others)).unwrap();
        assert_eq!(keys(&meta), "a b c d e");
        assert_eq!(meta.current_copies(), [0, 1, 2]);
        meta.close();
        drop(meta);
        assert_equal_at_rest(&drives);
    }
}

fn failing(drives: &Drives, budget: &Arc<AtomicI64>) -> Vec<Copy> {
    let mut copies = drives.copies(&[0, 1, 2]);
    for copy in &mut copies {
        let inner = RealStorage::open(drives.folders[copy.slot].path()).unwrap();
        copy.storage = Arc::new(Failing { inner, budget: budget.clone() });
    }
    copies
}

/// One copy is ahead, one is behind, one is damaged; the power goes at every step of the start that repairs this.
#[test]
fn a_crash_in_the_repair_is_harmless() {
    let drives = three_drives();
    let meta = drives.open();
    put(&meta, "c");
    let wreck = Drives::new(3);
    (0..3).for_each(|slot| copy_meta(drives.folders[slot].path(), wreck.folders[slot].path()));
    put(&meta, "d");
    copy_meta(drives.folders[1].path(), wreck.folders[1].path());
    overwrite(&wreck.path(2, "meta"), 5 * 4096, &[0x55; 4096]);
    let crashed = Drives::new(3);
    for cut in 0.. {
        (0..3).for_each(|slot| copy_meta(wreck.folders[slot].path(), crashed.folders[slot].path()));
        let budget = Arc::new(AtomicI64::new(cut));
        drop(crashed.open_copies(failing(&crashed, &budget)).inspect(Meta::close));
        let healthy = Arc::new(AtomicI64::new(i64::MAX));
        let meta = crashed.open_copies(failing(&crashed, &healthy)).unwrap();
        assert_eq!((keys(&meta).as_str(), meta.current_copies()), ("a b c d", vec![0, 1, 2]), "cut at {cut}");
        meta.close();
        drop(meta);
        assert_equal_at_rest(&crashed);
        if budget.load(Ordering::SeqCst) >= 0 {
            assert!(cut > 40, "the repair takes more than {cut} steps");
            return;
        }
    }
}

#[test]
fn a_full_drive_refuses_writes_and_fails_no_copy() {
    let drives = three_drives();
    let budget = Arc::new(AtomicI64::new(i64::MAX));
    let mut copies = drives.copies(&[0, 1, 2]);
    copies[1] = failing(&drives, &budget).remove(1);
    let meta = drives.open_copies(copies).unwrap();
    let bucket = meta.reader().unwrap().bucket("photos").unwrap().id;
    let put_many = || {
        let puts = ["c", "d"].map(|key| meta.put_version(inline(bucket, key, key)));
        block_on(futures_util::future::join_all(puts))
    };
    budget.store(FULL, Ordering::SeqCst);
    assert!(put_many().iter().all(|put| *put == Err(MetaError::Full)));
    assert_eq!(keys(&meta), "a b");
    budget.store(i64::MAX, Ordering::SeqCst);
    assert!(put_many().iter().all(Result::is_ok));
    assert_eq!(keys(&meta), "a b c d");
    assert_eq!(meta.current_copies(), [0, 1, 2]);
    meta.close();
    drop(meta);
    assert_equal_at_rest(&drives);
}

#[test]
fn commits_and_reads_go_on_while_the_log_is_moved() {
    let drives = three_drives();
    let meta = drives.open();
    let reader = meta.reader().unwrap();
    let bucket = reader.bucket("photos").unwrap().id;
    let text = "x".repeat(1000);
    let mut largest = 0;
    for round in 0..12 {
        let puts = (0..500).map(|n| meta.put_version(inline(bucket, &format!("{round:02}-{n:04}"), &text)));
        let results = block_on(futures_util::future::join_all(puts));
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(reader.version(bucket, &format!("{round:02}-0499"), VersionRef::Latest).unwrap().size, 1000);
        largest = largest.max(meta.database.log_bytes());
    }
    assert!(largest > 8 << 20, "the log grew to {largest} bytes, too little to be moved");
    meta.close();
    drop((meta, reader));
    assert_equal_at_rest(&drives);
    let meta = drives.open();
    assert_eq!(keys(&meta).split(' ').count(), 6002);
}
