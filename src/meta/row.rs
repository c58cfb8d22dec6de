//! Rows of the `version` table, and the small encodings that several tables share.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::model::*;
use super::{MetaError, space};

/// What `version_of` reads, in its order. The bulky columns stand last, so that a listing does not touch them.
pub(super) const VERSION_COLUMNS: &str = "rank, is_null, marker, size, etag, modified_ms, attributes";
const VERSION_COLUMN_COUNT: usize = 7;

/// Rank orders a key's versions newest first.
pub(super) fn rank(sequence: Sequence) -> i64 {
    -(sequence.0 as i64)
}

pub(super) fn sequence(rank: i64) -> Sequence {
    Sequence(rank.unsigned_abs())
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("rows have only plain fields and text keys")
}

pub(super) fn json_column<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| unreadable(index, Type::Text, error))
}

pub(super) fn optional_json_column<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get_ref(index)?.as_str_or_null()? else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| unreadable(index, Type::Text, error))
}

/// Keys are stored as bytes, so that they sort as S3 sorts them.
pub(super) fn key_column(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(index)?.as_blob()?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| unreadable(index, Type::Blob, error))
}

fn unreadable(index: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, kind, Box::new(error))
}

/// A version from a row that begins, at `first`, with `VERSION_COLUMNS`.
pub(super) fn version_of(
    row: &Row<'_>,
    first: usize,
    bucket: BucketId,
    key: String,
    body: Body,
) -> rusqlite::Result<Version> {
    let marker: bool = row.get(first + 2)?;
    Ok(Version {
        bucket,
        key,
        sequence: sequence(row.get(first)?),
        is_null: row.get(first + 1)?,
        kind: if marker { VersionKind::DeleteMarker } else { VersionKind::Object },
        size: row.get::<_, i64>(first + 3)? as u64,
        etag: row.get(first + 4)?,
        modified_ms: row.get(first + 5)?,
        attributes: json_column(row, first + 6)?,
        body,
    })
}

/// The statement that reads one version with its body.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT rank, is_null, marker, size, etag, modified_ms, attributes, extents, inline.bytes FROM version ",
            "LEFT JOIN inline ON extents IS NULL AND inline.sequence = -rank WHERE bucket = ?1 AND key = ?2 ",
            $which
        )
    };
}

pub(super) const SELECT_LATEST: &str = select!("ORDER BY rank LIMIT 1");
const SELECT_NULL: &str = select!("AND is_null = 1 ORDER BY rank LIMIT 1");
const SELECT_EXACT: &str = select!("AND rank = ?3 AND is_null = 0");
const SELECT_NUMBERED: &str = select!("AND rank = ?3");

/// One version with its body.
pub(super) fn find_version(
    connection: &Connection,
    bucket: BucketId,
    key: &str,
    version: VersionRef,
) -> Result<Option<Version>, MetaError> {
    let decode = |row: &Row<'_>| {
        let body = match space::extents_column(row, VERSION_COLUMN_COUNT)? {
            Some(extents) => Body::Extents(extents),
            None => {
                let bytes = row.get_ref(VERSION_COLUMN_COUNT + 1)?.as_blob_or_null()?;
                Body::Inline(bytes::Bytes::copy_from_slice(bytes.unwrap_or_default()))
            }
        };
        version_of(row, 0, bucket, key.to_owned(), body)
    };
    let (bucket_and_key, statement) = (params![bucket.0, key.as_bytes()], |sql| connection.prepare_cached(sql));
    let found = match version {
        VersionRef::Latest => statement(SELECT_LATEST)?.query_row(bucket_and_key, decode),
        VersionRef::Null => statement(SELECT_NULL)?.query_row(bucket_and_key, decode),
        VersionRef::Exact(sequence) => {
            statement(SELECT_EXACT)?.query_row(params![bucket.0, key.as_bytes(), rank(sequence)], decode)
        }
        VersionRef::Numbered(sequence) => {
            statement(SELECT_NUMBERED)?.query_row(params![bucket.0, key.as_bytes(), rank(sequence)], decode)
        }
    };
    Ok(found.optional()?)
}
