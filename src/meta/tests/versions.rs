//! Buckets, versions, deletes, tags and conditions.

use super::*;

#[test]
fn buckets_come_and_go() {
    let store = Store::new();
    let (meta, reader) = (&store.meta, &store.reader);
    let again = block_on(meta.create_bucket("photos".to_owned(), String::new(), false, 0));
    assert_eq!(again, Err(MetaError::BucketExists));
    block_on(meta.create_bucket("archive".to_owned(), "us".to_owned(), true, 9)).unwrap();
    let names: Vec<_> = reader.buckets().unwrap().into_iter().map(|b| (b.name, b.versioning, b.object_lock)).collect();
    let expected =
        [("archive".to_owned(), Versioning::Enabled, true), ("photos".to_owned(), Versioning::Unversioned, false)];
    assert_eq!(names, expected);

    let cors = BucketConfig::Cors;
    block_on(meta.set_bucket_config(store.bucket, cors, Some("<cors/>".to_owned()), None)).unwrap();
    assert_eq!(reader.bucket_config(store.bucket, cors).unwrap().as_deref(), Some("<cors/>"));
    block_on(meta.set_bucket_config(store.bucket, cors, None, None)).unwrap();
    assert_eq!(reader.bucket_config(store.bucket, cors).unwrap(), None);
    assert!(!reader.bucket("photos").unwrap().watched);
    store.watch();
    assert!(reader.bucket("photos").unwrap().watched);

    store.put("a");
    assert_eq!(block_on(meta.delete_bucket("photos".to_owned())), Err(MetaError::BucketNotEmpty));
    store.delete("a", VersionRef::Latest);
    block_on(meta.delete_bucket("photos".to_owned())).unwrap();
    assert_eq!(reader.bucket("photos"), Err(MetaError::NoSuchBucket));
    assert_eq!(block_on(meta.delete_bucket("photos".to_owned())), Err(MetaError::NoSuchBucket));
    let gone = block_on(meta.put_version(inline(store.bucket, "a", "")));
    assert_eq!(gone, Err(MetaError::NoSuchBucket));
}

#[test]
fn a_version_comes_back_whole() {
    let store = Store::new();
    let mut new = inline(store.bucket, "späße/\u{1}x", "hello");
    new.attributes.tags = tags("colour", "blue");
    let committed = block_on(store.meta.put_version(new.clone())).unwrap();
    assert_eq!(committed.version_id, None);
    let found = store.reader.version(store.bucket, &new.key, VersionRef::Latest).unwrap();
    let expected = Version {
        bucket: store.bucket,
        key: new.key.clone(),
        sequence: committed.sequence,
        is_null: true,
        kind: VersionKind::Object,
        size: 5,
        etag: new.etag,
        modified_ms: new.modified_ms,
        attributes: new.attributes,
        body: new.body,
    };
    assert_eq!(found, expected);
    assert_eq!(store.reader.version(store.bucket, "b", VersionRef::Latest), Err(MetaError::NoSuchKey));
    assert_eq!(store.reader.version(store.bucket, "b", VersionRef::Null), Err(MetaError::NoSuchVersion));
}

/// One step on one key and what is to be seen after it: versions, newest first, as `null` or `id`, markers with `-`.
enum Step {
    State(Versioning),
    Put,
    Delete,
    /// Deletes the n-th version as it is listed.
    DeleteNth(usize),
}

fn seen(store: &Store) -> Vec<&'static str> {
    let query = VersionsQuery {
        bucket: store.bucket,
        prefix: String::new(),
        delimiter: None,
        key_marker: None,
        version_marker: None,
        limit: 1000,
    };
    let name = |entry| match entry {
        ListedVersion::Version { version, .. } => match (version.is_null, version.kind) {
            (true, VersionKind::Object) => "null",
            (true, VersionKind::DeleteMarker) => "-null",
            (false, VersionKind::Object) => "id",
            (false, VersionKind::DeleteMarker) => "-id",
        },
        ListedVersion::CommonPrefix(_) => "prefix",
    };
    store.reader.list_versions(&query).unwrap().entries.into_iter().map(name).collect()
}

fn nth(store: &Store, number: usize) -> VersionRef {
    let sequences = store.reader.rows("SELECT rank, is_null FROM version ORDER BY rank", [], |row| {
        let is_null: bool = row.get(1)?;
        Ok(if is_null { VersionRef::Null } else { VersionRef::Exact(row::sequence(row.get(0)?)) })
    });
    sequences.unwrap()[number]
}

#[test]
fn versioning_states_and_deletes_behave_as_in_s3() {
    use Step::*;
    use Versioning::{Enabled, Suspended};
    let cases: Vec<Vec<(Step, &[&str])>> = vec![
        vec![(Put, &["null"]), (Put, &["null"]), (Delete, &[]), (Delete, &[])],
        vec![(Put, &["null"]), (State(Enabled), &["null"]), (Put, &["id", "null"]), (Delete, &["-id", "id", "null"])],
        vec![
            (State(Enabled), &[]),
            (Delete, &["-id"]),
            (Put, &["id", "-id"]),
            (DeleteNth(1), &["id"]),
            (DeleteNth(0), &[]),
        ],
        vec![
            (State(Enabled), &[]),
            (Put, &["id"]),
            (State(Suspended), &["id"]),
            (Put, &["null", "id"]),
            (Put, &["null", "id"]),
            (Delete, &["-null", "id"]),
            (Delete, &["-null", "id"]),
            (Put, &["null", "id"]),
            (State(Enabled), &["null", "id"]),
            (Put, &["id", "null", "id"]),
            (DeleteNth(1), &["id", "id"]),
        ],
        vec![
            (Put, &["null"]),
            (State(Enabled), &["null"]),
            (Put, &["id", "null"]),
            (State(Suspended), &["id", "null"]),
            (Put, &["null", "id"]),
            (DeleteNth(0), &["id"]),
        ],
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let store = Store::new();
        for (at, (step, expected)) in case.into_iter().enumerate() {
            match step {
                State(state) => store.set_versioning(state),
                Put => _ = store.put("key"),
                Delete => _ = store.delete("key", VersionRef::Latest),
                DeleteNth(which) => _ = store.delete("key", nth(&store, which)),
            }
            assert_eq!(seen(&store), expected, "case {number}, step {at}");
        }
    }
}

#[test]
fn answers_name_versions_as_s3_does() {
    let store = Store::new();
    assert_eq!(store.delete("k", VersionRef::Latest), Deleted { version_id: None, delete_marker: false });
    store.set_versioning(Versioning::Enabled);
    let first = store.put("k");
    assert_eq!(first.version_id, Some(version_id_text(first.sequence)));
    let marked = store.delete("k", VersionRef::Latest);
    assert!(marked.delete_marker && marked.version_id.is_some() && marked.version_id != first.version_id);
    assert_eq!(store.reader.version(store.bucket, "k", VersionRef::Latest).unwrap().kind, VersionKind::DeleteMarker);
    let marker = parse_version_id(marked.version_id.as_deref().unwrap()).unwrap();
    assert_eq!(store.delete("k", marker), marked);
    assert_eq!(
        store.delete("k", exact(&first)),
        Deleted { version_id: first.version_id.clone(), delete_marker: false }
    );
    assert_eq!(store.delete("k", exact(&first)).version_id, first.version_id, "a repeat succeeds");
    store.set_versioning(Versioning::Suspended);
    assert_eq!(store.put("k").version_id.as_deref(), Some("null"));
    let marked = store.delete("k", VersionRef::Latest);
    assert_eq!(marked, Deleted { version_id: Some("null".to_owned()), delete_marker: true });
}

#[test]
fn what_is_replaced_or_deleted_is_given_back() {
    let store = Store::new();
    let put = |extents: &[Extent]| block_on(store.meta.put_version(stored(store.bucket, "k", extents))).unwrap();
    put(&[extent(1, 0, 100), extent(2, 64, 50)]);
    put(&[extent(2, 128, 10)]);
    let garbage = store.reader.garbage(i64::MAX, 10).unwrap();
    assert_eq!(garbage.len(), 1);
    assert_eq!(garbage[0].extents, [extent(1, 0, 100), extent(2, 64, 50)]);
    assert_eq!(store.reader.empty_segments().unwrap(), [0u32; 0]);
    assert_eq!(store.reader.last_segment().unwrap(), 2);
    block_on(store.meta.forget_garbage(garbage.clone())).unwrap();
    block_on(store.meta.forget_garbage(garbage)).unwrap();
    assert_eq!(store.reader.empty_segments().unwrap(), [1]);
    let live = store.reader.rows("SELECT live FROM segment WHERE number = 2", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(live, [10]);
    block_on(store.meta.forget_segments(vec![1, 2])).unwrap();
    assert_eq!(store.reader.last_segment().unwrap(), 2);
    assert_eq!(store.reader.empty_segments().unwrap(), [0u32; 0]);

    block_on(store.meta.put_version(inline(store.bucket, "k", "small"))).unwrap();
    let inline_rows =
        || store.reader.rows("SELECT sequence FROM inline", [], |row| row.get::<_, i64>(0)).unwrap().len();
    assert_eq!((store.reader.garbage(i64::MAX, 10).unwrap().len(), inline_rows()), (1, 1));
    store.put("k");
    assert_eq!(inline_rows(), 1);
    store.delete("k", VersionRef::Latest);
    assert_eq!(inline_rows(), 0);
}

#[test]
fn missed_slots_are_queued_for_heal() {
    let store = Store::new();
    let missed = NewVersion { missed: 0b101, ..stored(store.bucket, "k", &[extent(1, 0, 9)]) };
    block_on(store.meta.put_version(missed)).unwrap();
    block_on(store.meta.queue_heal(vec![extent(3, 0, 1)], 1 << 63)).unwrap();
    let tasks = store.reader.heal_tasks(0, 10).unwrap();
    let seen: Vec<_> = tasks.iter().map(|task| (task.extents.clone(), task.slots)).collect();
    assert_eq!(seen, [(vec![extent(1, 0, 9)], 0b101), (vec![extent(3, 0, 1)], 1 << 63)]);
    assert_eq!(store.reader.heal_count().unwrap(), 2);
    block_on(store.meta.forget_heal(tasks[0].id)).unwrap();
    block_on(store.meta.forget_heal(tasks[0].id)).unwrap();
    assert_eq!(store.reader.heal_count().unwrap(), 1);
}

#[test]
fn conditions_are_checked_against_the_newest_version() {
    let store = Store::new();
    let one = |etag: &str| Some(EtagCondition::OneOf(vec![etag.to_owned()]));
    let any = || Some(EtagCondition::Any);
    let none = WriteCondition::default;
    let condition_failed = Err(MetaError::ConditionFailed);
    // Before the key exists, and once its entity tag is `etag-k`, its size 1, its time 1,700,000,000,123.
    let cases = [
        (WriteCondition { if_none_match: any(), ..none() }, Ok(()), condition_failed.clone()),
        (WriteCondition { if_none_match: one("etag-k"), ..none() }, Ok(()), condition_failed.clone()),
        (WriteCondition { if_none_match: one("other"), ..none() }, Ok(()), Ok(())),
        (WriteCondition { if_match: any(), ..none() }, Err(MetaError::NoSuchKey), Ok(())),
        (WriteCondition { if_match: one("etag-k"), ..none() }, Err(MetaError::NoSuchKey), Ok(())),
        (WriteCondition { if_match: one("other"), ..none() }, Err(MetaError::NoSuchKey), condition_failed.clone()),
        (WriteCondition { if_match_size: Some(1), ..none() }, Err(MetaError::NoSuchKey), Ok(())),
        (WriteCondition { if_match_size: Some(2), ..none() }, Err(MetaError::NoSuchKey), condition_failed.clone()),
        (WriteCondition { if_match_modified_ms: Some(1_700_000_000_000), ..none() }, Err(MetaError::NoSuchKey), Ok(())),
        (
            WriteCondition { if_match_modified_ms: Some(1_699_999_999_999), ..none() },
            Err(MetaError::NoSuchKey),
            condition_failed,
        ),
    ];
    for (condition, absent, present) in cases {
        let attempt = || {
            let put = NewVersion { condition: condition.clone(), ..inline(store.bucket, "k", "k") };
            let put = block_on(store.meta.put_version(put)).map(|_| ());
            store.delete("k", VersionRef::Latest);
            put
        };
        assert_eq!(attempt(), absent, "{condition:?} on nothing");
        store.put("k");
        assert_eq!(attempt(), present, "{condition:?} on a version");
        store.put("k");
        let delete = DeleteVersion { condition: condition.clone(), ..deletion(store.bucket, "k", VersionRef::Latest) };
        assert_eq!(block_on(store.meta.delete_version(delete)).map(|_| ()), present, "{condition:?} on a delete");
        store.delete("k", VersionRef::Latest);
    }
}

#[test]
fn of_a_hundred_racing_creations_one_wins() {
    let store = Store::new();
    let create = |number: usize| {
        let condition = WriteCondition { if_none_match: Some(EtagCondition::Any), ..WriteCondition::default() };
        let version = NewVersion { condition, ..inline(store.bucket, "k", &number.to_string()) };
        store.meta.put_version(version)
    };
    let results = block_on(futures_util::future::join_all((0..100).map(create)));
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    assert!(results.iter().all(|result| result.is_ok() || *result == Err(MetaError::ConditionFailed)));
    assert_eq!(store.reader.version(store.bucket, "k", VersionRef::Latest).unwrap().sequence, won[0].sequence);
}

#[test]
fn tags_change_and_the_rest_stays() {
    let store = Store::new();
    store.watch();
    let committed = store.put("k");
    let set = |key: &str, version, tags| {
        block_on(store.meta.set_tags(store.bucket, key.to_owned(), version, tags, 99, Requester::default()))
    };
    assert_eq!(set("k", VersionRef::Latest, tags("a", "b")).unwrap(), committed);
    let found = store.reader.version(store.bucket, "k", VersionRef::Latest).unwrap();
    assert_eq!(found.attributes.tags, tags("a", "b"));
    assert_eq!(found.attributes.content_type.as_deref(), Some("text/plain"));
    assert_eq!(set("k", VersionRef::Null, BTreeMap::new()).unwrap(), committed);
    assert_eq!(set("other", VersionRef::Latest, BTreeMap::new()), Err(MetaError::NoSuchKey));
    let changes: Vec<_> =
        store.reader.changes(Sequence(0), 10).unwrap().into_iter().map(|c| (c.event, c.version, c.time_ms)).collect();
    let version = Some(committed.sequence);
    let expected = [
        (EventName::ObjectCreatedPut, version, 1_700_000_000_123),
        (EventName::ObjectTaggingPut, version, 99),
        (EventName::ObjectTaggingDelete, version, 99),
    ];
    assert_eq!(changes, expected);
    assert!(store.drives.failed.lock().unwrap().is_empty());
}
