//! Listings: of current objects, of all versions, of uploads under way.
//!
//! Rows come in binary order of their keys. What a common prefix or an old version covers is not stepped over but
//! skipped by a new seek, so that the cost of a page is that of its entries, not of what lies between them. (Delete
//! markers that hide a key are stepped over one by one.)

use rusqlite::{Row, params};

use super::model::*;
use super::row::{VERSION_COLUMNS, key_column, rank, version_of};
use super::upload::{UPLOAD_COLUMNS, upload_of};
use super::{MetaError, Reader};
use crate::limits;

impl Reader {
    pub fn list(&self, query: &ListQuery) -> Result<ListPage<Listed>, MetaError> {
        let grouping = Grouping::new(&query.prefix, query.delimiter.as_deref());
        let mut page = Page::new(query.limit);
        let mut start = grouping.start(query.after.as_deref());
        let sql =
            format!("SELECT key, {VERSION_COLUMNS} FROM version WHERE bucket = ?1 AND key >= ?2 ORDER BY key, rank");
        let mut statement = self.connection().prepare_cached(&sql)?;
        while let Some(from) = start.take() {
            let mut rows = statement.query(params![query.bucket.0, from])?;
            let mut previous = Previous::default();
            while let Some(row) = step(&mut rows)? {
                let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                if !grouping.covers(key) {
                    break;
                }
                match previous.compare(key) {
                    Repeat::New => {}
                    Repeat::Older => continue,
                    Repeat::TooMany => {
                        start = Some(after_key(key));
                        break;
                    }
                }
                let is_marker: bool = row.get(3)?;
                if is_marker {
                    continue;
                }
                if page.is_full() {
                    return Ok(page.truncate());
                }
                if let Some(group) = grouping.group(key) {
                    page.push(Listed::CommonPrefix(text(group)?));
                    start = successor(group);
                    break;
                }
                page.push(Listed::Object(Box::new(listed_version(row, query.bucket)?)));
            }
        }
        Ok(page.finish())
    }

    pub fn list_versions(&self, query: &VersionsQuery) -> Result<ListPage<ListedVersion>, MetaError> {
        let grouping = Grouping::new(&query.prefix, query.delimiter.as_deref());
        let mut page = Page::new(query.limit);
        let resumed = self.resume_versions(query, &grouping)?;
        // A page that begins within a key begins with versions that are not its newest.
        let mut previous = resumed.as_ref().filter(|resumed| resumed.newer_exist).map(|resumed| resumed.key.clone());
        let mut start = match resumed {
            Some(Resumed { key, rank, .. }) => Some((key, rank)),
            None => grouping.start(query.key_marker.as_deref()).map(|key| (key, i64::MIN)),
        };
        let sql = format!(
            "SELECT key, {VERSION_COLUMNS} FROM version WHERE bucket = ?1 AND (key, rank) > (?2, ?3) ORDER BY key, rank"
        );
        let mut statement = self.connection().prepare_cached(&sql)?;
        while let Some((from, rank)) = start.take() {
            let mut rows = statement.query(params![query.bucket.0, from, rank])?;
            while let Some(row) = step(&mut rows)? {
                let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                if !grouping.covers(key) {
                    break;
                }
                if page.is_full() {
                    return Ok(page.truncate());
                }
                if let Some(group) = grouping.group(key) {
                    page.push(ListedVersion::CommonPrefix(text(group)?));
                    start = successor(group).map(|key| (key, i64::MIN));
                    break;
                }
                let is_latest = previous.as_deref() != Some(key);
                if is_latest {
                    previous = Some(key.to_vec());
                }
                let version = Box::new(listed_version(row, query.bucket)?);
                page.push(ListedVersion::Version { version, is_latest });
            }
        }
        Ok(page.finish())
    }

    /// Where a page of versions begins when its marker names a version; `None` when the marker is no place in a key.
    fn resume_versions(&self, query: &VersionsQuery, grouping: &Grouping) -> Result<Option<Resumed>, MetaError> {
        let Some(key) = query.key_marker.as_deref().map(str::as_bytes) else { return Ok(None) };
        if !grouping.covers(key) || grouping.group(key).is_some() {
            return Ok(None);
        }
        let marker = match query.version_marker {
            Some(VersionRef::Exact(sequence) | VersionRef::Numbered(sequence)) => rank(sequence),
            // When the null version is gone, its place is lost: the key's versions are listed again.
            Some(VersionRef::Null) => self.null_rank(query.bucket, key)?.unwrap_or(i64::MIN),
            Some(VersionRef::Latest) | None => return Ok(None),
        };
        let newer_exist = self
            .connection()
            .prepare_cached("SELECT 1 FROM version WHERE bucket = ?1 AND key = ?2 AND rank <= ?3 LIMIT 1")?
            .exists(params![query.bucket.0, key, marker])?;
        Ok(Some(Resumed { key: key.to_vec(), rank: marker, newer_exist }))
    }

    fn null_rank(&self, bucket: BucketId, key: &[u8]) -> Result<Option<i64>, MetaError> {
        let ranks = self.rows(
            "SELECT rank FROM version WHERE bucket = ?1 AND key = ?2 AND is_null = 1 ORDER BY rank LIMIT 1",
            params![bucket.0, key],
            |row| row.get(0),
        )?;
        Ok(ranks.first().copied())
    }

    /// Uploads by key, those of one key by the time they began.
    pub fn list_uploads(&self, query: &UploadsQuery) -> Result<ListPage<ListedUpload>, MetaError> {
        let grouping = Grouping::new(&query.prefix, query.delimiter.as_deref());
        let mut page = Page::new(query.limit);
        let mut start = match self.resume_uploads(query, &grouping)? {
            Some(place) => Some(place),
            None => grouping.start(query.key_marker.as_deref()).map(|key| (key, i64::MIN, String::new())),
        };
        let sql = format!(
            "SELECT {UPLOAD_COLUMNS} FROM upload WHERE bucket = ?1 AND (key, initiated_ms, id) > (?2, ?3, ?4)
             ORDER BY key, initiated_ms, id"
        );
        let mut statement = self.connection().prepare_cached(&sql)?;
        while let Some((from, initiated_ms, id)) = start.take() {
            let mut rows = statement.query(params![query.bucket.0, from, initiated_ms, id])?;
            while let Some(row) = step(&mut rows)? {
                let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                if !grouping.covers(key) {
                    break;
                }
                if page.is_full() {
                    return Ok(page.truncate());
                }
                if let Some(group) = grouping.group(key) {
                    page.push(ListedUpload::CommonPrefix(text(group)?));
                    start = successor(group).map(|key| (key, i64::MIN, String::new()));
                    break;
                }
                page.push(ListedUpload::Upload(upload_of(row)?));
            }
        }
        Ok(page.finish())
    }

    /// Where a page of uploads begins when its marker names one. When that upload is gone, its key is passed over.
    fn resume_uploads(
        &self,
        query: &UploadsQuery,
        grouping: &Grouping,
    ) -> Result<Option<(Vec<u8>, i64, String)>, MetaError> {
        let (Some(key), Some(id)) = (&query.key_marker, &query.upload_id_marker) else { return Ok(None) };
        if !grouping.covers(key.as_bytes()) || grouping.group(key.as_bytes()).is_some() {
            return Ok(None);
        }
        let found = self.rows(
            "SELECT initiated_ms FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3",
            params![id, query.bucket.0, key.as_bytes()],
            |row| row.get(0),
        )?;
        Ok(found.first().map(|initiated_ms| (key.clone().into_bytes(), *initiated_ms, id.clone())))
    }
}

struct Resumed {
    key: Vec<u8>,
    rank: i64,
    /// The key has versions at or before the marker.
    newer_exist: bool,
}

/// Prefix and delimiter of a listing.
struct Grouping {
    prefix: Vec<u8>,
    delimiter: Vec<u8>,
}

impl Grouping {
    fn new(prefix: &str, delimiter: Option<&str>) -> Grouping {
        Grouping { prefix: prefix.into(), delimiter: delimiter.unwrap_or_default().into() }
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    /// The common prefix that a covered key is part of.
    fn group<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = &key[self.prefix.len()..];
        let at = rest.windows(self.delimiter.len()).position(|window| window == self.delimiter)?;
        Some(&key[..self.prefix.len() + at + self.delimiter.len()])
    }

    /// The least key that may be listed after `marker`; `None` when there is none.
    fn start(&self, marker: Option<&str>) -> Option<Vec<u8>> {
        let Some(marker) = marker.map(str::as_bytes).filter(|marker| *marker >= self.prefix.as_slice()) else {
            return Some(self.prefix.clone());
        };
        if !self.covers(marker) {
            return None;
        }
        match self.group(marker) {
            Some(group) => successor(group),
            None => Some(after_key(marker)),
        }
    }
}

/// Entries gathered so far.
struct Page<T> {
    entries: Vec<T>,
    limit: usize,
}

impl<T> Page<T> {
    fn new(limit: usize) -> Page<T> {
        Page { entries: Vec::new(), limit }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    fn push(&mut self, entry: T) {
        self.entries.push(entry);
    }

    fn finish(self) -> ListPage<T> {
        ListPage { entries: self.entries, truncated: false }
    }

    /// There is more than fits. A page of nothing was asked for in full (S3: max-keys 0 is never truncated).
    fn truncate(self) -> ListPage<T> {
        ListPage { truncated: self.limit > 0, entries: self.entries }
    }
}

/// The key of the row before, and how often it came again.
#[derive(Default)]
struct Previous {
    key: Option<Vec<u8>>,
    repeats: usize,
}

enum Repeat {
    New,
    Older,
    /// Seeking is cheaper than going on.
    TooMany,
}

impl Previous {
    fn compare(&mut self, key: &[u8]) -> Repeat {
        if self.key.as_deref() != Some(key) {
            let buffer = self.key.get_or_insert_default();
            buffer.clear();
            buffer.extend_from_slice(key);
            self.repeats = 0;
            return Repeat::New;
        }
        self.repeats += 1;
        if self.repeats > limits::LIST_STEPS_BEFORE_SEEK { Repeat::TooMany } else { Repeat::Older }
    }
}

fn step<'a, 's>(rows: &'a mut rusqlite::Rows<'s>) -> rusqlite::Result<Option<&'a Row<'s>>> {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
    rows.next()
}

#[cfg(test)]
thread_local! {
    /// Rows that this thread's listings stepped to.
    pub(super) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn listed_version(row: &Row<'_>, bucket: BucketId) -> rusqlite::Result<Version> {
    version_of(row, 1, bucket, key_column(row, 0)?, Body::Inline(bytes::Bytes::new()))
}

fn text(bytes: &[u8]) -> Result<String, MetaError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MetaError::Damaged("a key is not UTF-8".to_owned()))?;
    Ok(text.to_owned())
}

/// The least key behind `key`.
fn after_key(key: &[u8]) -> Vec<u8> {
    [key, b"\0"].concat()
}

/// The least key behind all that begin with `prefix`; `None` when there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=kept].to_vec();
    next[kept] += 1;
    Some(next)
}
