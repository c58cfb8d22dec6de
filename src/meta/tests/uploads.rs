//! Uploads, parts, completion and abort.

use super::*;

fn upload(bucket: BucketId, key: &str, id: &str, initiated_ms: i64) -> Upload {
    Upload {
        upload_id: id.to_owned(),
        bucket,
        key: key.to_owned(),
        initiated_ms,
        attributes: Attributes { cache_control: Some("no-store".to_owned()), ..Attributes::default() },
        checksum: Some((ChecksumAlgorithm::Crc32c, ChecksumType::Composite)),
        requester: Requester::default(),
    }
}

fn part(number: u32, etag: &str, extents: &[Extent]) -> Part {
    Part {
        number,
        size: extents.iter().map(|extent| extent.length).sum(),
        etag: etag.to_owned(),
        modified_ms: 5,
        checksum: None,
        salt: None,
        body: Body::Extents(extents.to_vec()),
    }
}

impl Store {
    fn begin(&self, key: &str, id: &str, initiated_ms: i64) {
        block_on(self.meta.create_upload(upload(self.bucket, key, id, initiated_ms))).unwrap();
    }

    fn part(&self, id: &str, part: Part) -> Result<(), MetaError> {
        block_on(self.meta.put_part(self.bucket, id.to_owned(), part, 0))
    }

    fn complete(&self, id: &str, parts: &[(u32, &str)], extents: &[Extent]) -> Result<Committed, MetaError> {
        let parts = parts.iter().map(|(number, etag)| (*number, (*etag).to_owned())).collect();
        block_on(self.meta.complete_upload(id.to_owned(), parts, stored(self.bucket, "k", extents)))
    }

    fn buried(&self) -> Vec<Extent> {
        self.reader.garbage(i64::MAX, 100).unwrap().into_iter().flat_map(|garbage| garbage.extents).collect()
    }

    fn live(&self) -> i64 {
        self.reader.rows("SELECT coalesce(sum(live), 0) FROM segment", [], |row| row.get(0)).unwrap()[0]
    }
}

const A: Extent = Extent { segment: 1, offset: 0, length: 10 };
const B: Extent = Extent { segment: 1, offset: 10, length: 20 };
const C: Extent = Extent { segment: 2, offset: 0, length: 40 };
const D: Extent = Extent { segment: 2, offset: 40, length: 80 };

#[test]
fn an_upload_becomes_a_version_and_the_rest_is_given_back() {
    let store = Store::new();
    assert_eq!(store.part("u", part(1, "e", &[A])), Err(MetaError::NoSuchUpload));
    store.begin("k", "u", 1);
    let stored_upload = store.reader.upload(store.bucket, "k", "u").unwrap();
    assert_eq!(stored_upload, upload(store.bucket, "k", "u", 1));
    assert_eq!(store.reader.upload(store.bucket, "other", "u"), Err(MetaError::NoSuchUpload));
    store.part("u", part(1, "one", &[A])).unwrap();
    store.part("u", part(2, "old", &[B])).unwrap();
    store.part("u", part(2, "two", &[C])).unwrap();
    store.part("u", part(7, "seven", &[D])).unwrap();
    assert_eq!(store.buried(), [B], "a replaced part");
    let page = store.reader.parts("u", 1, 1).unwrap();
    assert_eq!((page.entries, page.truncated), (vec![part(2, "two", &[C])], true));
    assert!(!store.reader.parts("u", 2, 1).unwrap().truncated);

    assert_eq!(store.complete("u", &[(1, "one"), (2, "old")], &[A, B]), Err(MetaError::PartChanged));
    assert_eq!(store.complete("u", &[(1, "one"), (2, "two")], &[A, B]), Err(MetaError::PartChanged));
    let done = store.complete("u", &[(1, "one"), (2, "two")], &[A, C]).unwrap();
    assert_eq!(store.buried(), [B, D], "parts that were not chosen");
    assert_eq!(store.live(), 150, "buried bytes live until they are reclaimed");
    let version = store.reader.version(store.bucket, "k", VersionRef::Latest).unwrap();
    assert_eq!((version.body, version.sequence), (Body::Extents(vec![A, C]), done.sequence));
    assert_eq!(store.reader.upload(store.bucket, "k", "u"), Err(MetaError::NoSuchUpload));

    assert_eq!(store.complete("u", &[(1, "one"), (2, "two")], &[A, C]), Ok(done.clone()), "a repeat");
    assert_eq!(store.complete("u", &[(1, "one")], &[A]), Err(MetaError::NoSuchUpload), "another list of parts");
    let remembered = store.reader.completed_upload(store.bucket, "k", "u").unwrap().unwrap();
    assert_eq!(remembered.committed, done);
    assert_eq!(remembered.parts, [(1, "one".to_owned()), (2, "two".to_owned())]);
    assert_eq!(store.buried(), [B, D]);
}

#[test]
fn what_a_part_missed_is_queued_for_heal() {
    let store = Store::new();
    store.begin("k", "u", 1);
    block_on(store.meta.put_part(store.bucket, "u".to_owned(), part(1, "one", &[A]), 0b10)).unwrap();
    let tasks = store.reader.heal_tasks(0, 10).unwrap();
    assert_eq!((tasks.len(), &tasks[0].extents, tasks[0].slots), (1, &vec![A], 0b10));
}

#[test]
fn of_racing_completions_all_get_one_answer() {
    let store = Store::new();
    store.begin("k", "u", 1);
    store.part("u", part(1, "one", &[A])).unwrap();
    let complete =
        |_| store.meta.complete_upload("u".to_owned(), vec![(1, "one".to_owned())], stored(store.bucket, "k", &[A]));
    let answers = block_on(futures_util::future::join_all((0..20).map(complete)));
    assert!(answers.iter().all(|answer| answer.is_ok() && *answer == answers[0]), "{answers:?}");
    assert_eq!(store.buried(), []);
}

#[test]
fn aborted_uploads_and_those_of_a_deleted_bucket_are_given_back() {
    let store = Store::new();
    let abort = |id: &str| block_on(store.meta.abort_upload(store.bucket, "k".to_owned(), id.to_owned()));
    assert_eq!(abort("u"), Err(MetaError::NoSuchUpload));
    store.begin("k", "u", 1);
    store.part("u", part(1, "one", &[A])).unwrap();
    abort("u").unwrap();
    assert_eq!(abort("u"), Err(MetaError::NoSuchUpload));
    assert_eq!(store.buried(), [A]);
    store.begin("k", "v", 1);
    store.part("v", part(1, "one", &[B])).unwrap();
    block_on(store.meta.delete_bucket("photos".to_owned())).unwrap();
    assert_eq!(store.buried(), [A, B]);
    assert_eq!(store.reader.parts("v", 0, 10).unwrap().entries, []);
}

#[test]
fn a_refused_completion_leaves_the_upload() {
    let store = Store::new();
    store.begin("k", "u", 1);
    store.part("u", part(1, "one", &[A])).unwrap();
    let condition = WriteCondition { if_match: Some(EtagCondition::Any), ..WriteCondition::default() };
    let version = NewVersion { condition, ..stored(store.bucket, "k", &[A]) };
    let refused = block_on(store.meta.complete_upload("u".to_owned(), vec![(1, "one".to_owned())], version));
    assert_eq!(refused, Err(MetaError::NoSuchKey));
    assert_eq!(store.reader.parts("u", 0, 10).unwrap().entries, [part(1, "one", &[A])]);
    store.complete("u", &[(1, "one")], &[A]).unwrap();
}

#[test]
fn uploads_are_listed_by_key_and_time() {
    let store = Store::new();
    for (key, id, at) in [("b/1", "x", 1), ("a", "z", 1), ("a", "y", 2), ("b/2", "w", 1), ("c", "v", 1)] {
        store.begin(key, id, at);
    }
    let list = |prefix: &str, delimiter: Option<&str>, marker: Option<(&str, Option<&str>)>, limit| {
        let query = UploadsQuery {
            bucket: store.bucket,
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            key_marker: marker.map(|(key, _)| key.to_owned()),
            upload_id_marker: marker.and_then(|(_, id)| id.map(str::to_owned)),
            limit,
        };
        let page = store.reader.list_uploads(&query).unwrap();
        let name = |entry| match entry {
            ListedUpload::Upload(upload) => upload.upload_id,
            ListedUpload::CommonPrefix(prefix) => prefix,
        };
        (page.entries.into_iter().map(name).collect::<Vec<_>>().join(" "), page.truncated)
    };
    let cases = [
        (list("", None, None, 10), ("z y x w v", false)),
        (list("", Some("/"), None, 10), ("z y b/ v", false)),
        (list("", Some("/"), None, 2), ("z y", true)),
        (list("", Some("/"), Some(("a", Some("z"))), 2), ("y b/", true)),
        (list("", Some("/"), Some(("b/", None)), 2), ("v", false)),
        (list("", None, Some(("a", None)), 10), ("x w v", false)),
        (list("", None, Some(("a", Some("gone"))), 10), ("x w v", false)),
        (list("b", None, Some(("b/1", Some("x"))), 10), ("w", false)),
        (list("b", None, None, 0), ("", false)),
    ];
    for (number, (got, expected)) in cases.into_iter().enumerate() {
        assert_eq!((got.0.as_str(), got.1), expected, "case {number}");
    }
}

#[test]
fn the_walk_over_extents_meets_every_part_and_version() {
    let store = Store::new();
    store.begin("k", "u", 1);
    store.part("u", part(1, "one", &[A])).unwrap();
    store.part("u", part(2, "two", &[B])).unwrap();
    store.put("inline");
    for (key, extents) in [("a", vec![C]), ("b", vec![D, extent(9, 0, 1)])] {
        block_on(store.meta.put_version(stored(store.bucket, key, &extents))).unwrap();
    }
    for limit in 1..7 {
        let (mut met, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.reader.all_extents(cursor.as_ref(), limit).unwrap();
            met.extend(page.entries.into_iter().map(|entry| entry.extents));
            // A cursor survives as text.
            cursor = page.next.map(|next| serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap());
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(met, [vec![A], vec![B], vec![C], vec![D, extent(9, 0, 1)]], "limit {limit}");
    }
}
