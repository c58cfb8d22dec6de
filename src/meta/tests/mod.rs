//! Tests of the metadata on real folders.

mod broker;
mod copies;
mod feed;
mod governance;
mod held;
mod listing;
mod outbox;
mod reads;
mod uploads;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pollster::block_on;

use super::*;
use crate::limits;
use crate::pool::Extent;
use crate::seam::files::RealStorage;
use crate::seam::real;

const POOL: &str = "0123456789abcdef0123456789abcdef";

/// Folders that stand for drives, and the slots reported as failed.
struct Drives {
    folders: Vec<tempfile::TempDir>,
    failed: Arc<Mutex<Vec<usize>>>,
}

impl Drives {
    fn new(count: usize) -> Drives {
        let folders = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        Drives { folders, failed: Arc::default() }
    }

    fn path(&self, slot: usize, name: &str) -> PathBuf {
        self.folders[slot].path().join(name)
    }

    fn copies(&self, current: &[usize]) -> Vec<Copy> {
        let copy = |(slot, folder): (usize, &tempfile::TempDir)| Copy {
            slot,
            storage: Arc::new(RealStorage::open(folder.path()).unwrap()),
            current: current.contains(&slot),
        };
        self.folders.iter().enumerate().map(copy).collect()
    }

    fn open_copies(&self, copies: Vec<Copy>) -> Result<Meta, MetaError> {
        let failed = self.failed.clone();
        let note = move |slot| {
            failed.lock().unwrap().push(slot);
            true
        };
        Meta::open(copies, POOL, Arc::new(note), real::world())
    }

    fn open(&self) -> Meta {
        let all: Vec<usize> = (0..self.folders.len()).collect();
        self.open_copies(self.copies(&all)).unwrap()
    }
}

/// A store with one bucket.
struct Store {
    meta: Meta,
    reader: Reader,
    bucket: BucketId,
    drives: Drives,
}

impl Store {
    fn new() -> Store {
        let drives = Drives::new(1);
        let meta = drives.open();
        block_on(meta.create_bucket("photos".to_owned(), "eu".to_owned(), false, 7)).unwrap();
        let reader = meta.reader().unwrap();
        let bucket = reader.bucket("photos").unwrap().id;
        Store { meta, reader, bucket, drives }
    }

    fn put(&self, key: &str) -> Committed {
        block_on(self.meta.put_version(inline(self.bucket, key, key))).unwrap()
    }

    fn delete(&self, key: &str, version: VersionRef) -> Deleted {
        block_on(self.meta.delete_version(deletion(self.bucket, key, version))).unwrap()
    }

    fn set_versioning(&self, state: Versioning) {
        block_on(self.meta.set_versioning(self.bucket, state)).unwrap();
    }

    fn watch(&self) {
        let document = Some("<x/>".to_owned());
        block_on(self.meta.set_bucket_config(self.bucket, BucketConfig::Notification, document, Some(true))).unwrap();
    }
}

fn inline(bucket: BucketId, key: &str, text: &str) -> NewVersion {
    NewVersion {
        bucket,
        key: key.to_owned(),
        size: text.len() as u64,
        etag: format!("etag-{text}"),
        modified_ms: 1_700_000_000_123,
        attributes: Attributes { content_type: Some("text/plain".to_owned()), ..Attributes::default() },
        body: Body::Inline(bytes::Bytes::copy_from_slice(text.as_bytes())),
        condition: WriteCondition::default(),
        event: EventName::ObjectCreatedPut,
        requester: Requester { principal: "root".to_owned(), ..Requester::default() },
        missed: 0,
    }
}

fn stored(bucket: BucketId, key: &str, extents: &[Extent]) -> NewVersion {
    let size = extents.iter().map(|extent| extent.length).sum();
    NewVersion { size, body: Body::Extents(extents.to_vec()), ..inline(bucket, key, "") }
}

fn extent(segment: u32, offset: u32, length: u64) -> Extent {
    Extent { segment, offset, length }
}

fn deletion(bucket: BucketId, key: &str, version: VersionRef) -> DeleteVersion {
    DeleteVersion {
        bucket,
        key: key.to_owned(),
        version,
        time_ms: 1_700_000_000_456,
        condition: WriteCondition::default(),
        requester: Requester::default(),
        cause: DeleteCause::PLAIN,
    }
}

fn exact(committed: &Committed) -> VersionRef {
    VersionRef::Exact(committed.sequence)
}

fn tags(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

#[test]
fn version_ids_are_read_back_and_others_refused() {
    for number in [1, 0x1234, i64::MAX as u64] {
        let text = version_id_text(Sequence(number));
        assert_eq!(parse_version_id(&text), Some(VersionRef::Exact(Sequence(number))), "{text}");
    }
    assert_eq!(parse_version_id("null"), Some(VersionRef::Null));
    for bad in ["", "0", "NULL", "0000000000000000", "ffffffffffffffff", "000000000000000A", "00000000000000001"] {
        assert_eq!(parse_version_id(bad), None, "{bad}");
    }
}
