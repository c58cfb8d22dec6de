//! Listings against a plain model, and what they step over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::meta::list::STEPS;

/// Versions of each key, newest first: `true` is a delete marker.
type Model = BTreeMap<String, Vec<bool>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Key(String),
    Prefix(String),
}

impl Line {
    fn text(&self) -> &String {
        match self {
            Line::Key(text) | Line::Prefix(text) => text,
        }
    }
}

/// What S3 lists of these keys, before paging.
fn lines<'a>(keys: impl Iterator<Item = &'a String>, prefix: &str, delimiter: Option<&str>) -> Vec<Line> {
    let mut lines = Vec::new();
    for key in keys.filter(|key| key.starts_with(prefix)) {
        let group = delimiter.and_then(|delimiter| {
            let at = key[prefix.len()..].find(delimiter)?;
            Some(key[..prefix.len() + at + delimiter.len()].to_owned())
        });
        lines.push(group.map_or_else(|| Line::Key(key.clone()), Line::Prefix));
    }
    lines.dedup();
    lines
}

fn key() -> impl Strategy<Value = String> {
    let piece = prop_oneof![Just("a"), Just("b"), Just("/"), Just("//"), Just("ab"), Just("é"), Just("\u{1}")];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

fn delimiter() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("/")), Just(Some("//")), Just(Some("ab")), Just(Some("é"))]
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("a".to_owned()), Just("a/".to_owned()), key()]
}

/// A bucket of its own with the model's versions, all by way of the public operations.
fn fill(store: &Store, model: &Model) -> BucketId {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("bucket-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    block_on(store.meta.create_bucket(name.clone(), String::new(), false, 0)).unwrap();
    let bucket = store.reader.bucket(&name).unwrap().id;
    block_on(store.meta.set_versioning(bucket, Versioning::Enabled)).unwrap();
    let writes = model.iter().map(|(key, versions)| async {
        for is_marker in versions.iter().rev() {
            if *is_marker {
                store.meta.delete_version(deletion(bucket, key, VersionRef::Latest)).await.unwrap();
            } else {
                store.meta.put_version(inline(bucket, key, "")).await.unwrap();
            }
        }
    });
    block_on(futures_util::future::join_all(writes));
    bucket
}

fn check_objects(reader: &Reader, model: &Model, query: &ListQuery) {
    let visible = model.iter().filter(|(_, versions)| !versions[0]).map(|(key, _)| key);
    let mut expected = lines(visible, &query.prefix, query.delimiter.as_deref());
    expected.retain(|line| query.after.as_ref().is_none_or(|after| line.text() > after));
    let page = reader.list(query).unwrap();
    let truncated = query.limit > 0 && expected.len() > query.limit;
    expected.truncate(query.limit);
    let line = |entry| match entry {
        Listed::Object(version) => Line::Key(version.key),
        Listed::CommonPrefix(prefix) => Line::Prefix(prefix),
    };
    let got: Vec<Line> = page.entries.into_iter().map(line).collect();
    assert_eq!((got, page.truncated), (expected, truncated), "{query:?}");
}

/// Pages through all versions; gives each line with its sequence and whether it is the latest.
fn all_versions(reader: &Reader, query: &VersionsQuery) -> Vec<(Line, Option<Sequence>, bool)> {
    let mut query = query.clone();
    let mut all = Vec::new();
    loop {
        let page = reader.list_versions(&query).unwrap();
        assert!(page.entries.len() <= query.limit);
        for entry in page.entries {
            match entry {
                ListedVersion::Version { version, is_latest } => {
                    query.key_marker = Some(version.key.clone());
                    query.version_marker = Some(VersionRef::Exact(version.sequence));
                    all.push((Line::Key(version.key), Some(version.sequence), is_latest));
                }
                ListedVersion::CommonPrefix(prefix) => {
                    query.key_marker = Some(prefix.clone());
                    query.version_marker = None;
                    all.push((Line::Prefix(prefix), None, false));
                }
            }
        }
        if !page.truncated {
            return all;
        }
    }
}

fn check_versions(reader: &Reader, model: &Model, query: &VersionsQuery) {
    let got = all_versions(reader, query);
    let keys = lines(model.keys(), &query.prefix, query.delimiter.as_deref());
    let expected: Vec<(Line, bool)> = keys
        .into_iter()
        .flat_map(|line| match &line {
            Line::Key(key) => (0..model[key].len()).map(|at| (line.clone(), at == 0)).collect(),
            Line::Prefix(_) => vec![(line, false)],
        })
        .collect();
    let seen: Vec<(Line, bool)> = got.iter().map(|(line, _, is_latest)| (line.clone(), *is_latest)).collect();
    assert_eq!(seen, expected, "{query:?}");
    let same_key_newest_first = got.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 > pair[1].1);
    assert!(same_key_newest_first, "{query:?}");
}

#[test]
fn listings_equal_a_plain_model() {
    let store = Store::new();
    let model = prop::collection::btree_map(key(), prop::collection::vec(any::<bool>(), 1..4), 0..25);
    let queries = prop::collection::vec((prefix(), delimiter(), prop::option::of(key()), 0usize..6), 12);
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let checked = runner.run(&(model, queries), |(model, queries)| {
        let bucket = fill(&store, &model);
        for (prefix, delimiter, after, limit) in queries {
            let delimiter = delimiter.map(str::to_owned);
            let query = ListQuery { bucket, prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit };
            check_objects(&store.reader, &model, &query);
            let (key_marker, version_marker) = (None, None);
            let query = VersionsQuery { bucket, prefix, delimiter, key_marker, version_marker, limit: limit + 1 };
            check_versions(&store.reader, &model, &query);
        }
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn a_listing_skips_what_it_does_not_show() {
    let store = Store::new();
    let many = |versions: usize| vec![false; versions];
    let mut model: Model = (0..2000).map(|n| (format!("group-{}/{n:04}", n % 10), many(1))).collect();
    model.insert("hot".to_owned(), many(300));
    model.insert("last".to_owned(), many(1));
    let bucket = fill(&store, &model);
    let steps = |work: &dyn Fn() -> usize| {
        STEPS.set(0);
        let entries = work();
        (entries, STEPS.get())
    };
    let delimiter = Some("/".to_owned());
    let query = ListQuery { bucket, prefix: String::new(), delimiter: delimiter.clone(), after: None, limit: 1000 };
    let (entries, stepped) = steps(&|| store.reader.list(&query).unwrap().entries.len());
    assert_eq!(entries, 12);
    assert!(stepped <= 12 + limits::LIST_STEPS_BEFORE_SEEK + 2, "{stepped} rows for 12 entries");
    let query = VersionsQuery {
        bucket,
        prefix: "group-".to_owned(),
        delimiter,
        key_marker: Some("group-3/".to_owned()),
        version_marker: None,
        limit: 1000,
    };
    let (entries, stepped) = steps(&|| store.reader.list_versions(&query).unwrap().entries.len());
    assert_eq!(entries, 6);
    assert!(stepped <= 7, "{stepped} rows for 6 entries");
}

#[test]
fn a_page_of_versions_may_begin_behind_a_version_that_is_gone() {
    let store = Store::new();
    store.set_versioning(Versioning::Enabled);
    let committed: Vec<_> = (0..4).map(|_| store.put("k")).collect();
    let listed = |marker| {
        let query = VersionsQuery {
            bucket: store.bucket,
            prefix: String::new(),
            delimiter: None,
            key_marker: Some("k".to_owned()),
            version_marker: marker,
            limit: 10,
        };
        all_versions(&store.reader, &query)
            .into_iter()
            .map(|(_, sequence, latest)| (sequence.unwrap(), latest))
            .collect()
    };
    let sequence = |at: usize| committed[at].sequence;
    let expected: Vec<_> = vec![(sequence(1), false), (sequence(0), false)];
    let behind: Vec<_> = listed(Some(exact(&committed[2])));
    assert_eq!(behind, expected);
    store.delete("k", exact(&committed[2]));
    let behind: Vec<_> = listed(Some(exact(&committed[2])));
    assert_eq!(behind, expected);
    store.delete("k", exact(&committed[3]));
    let behind: Vec<_> = listed(Some(exact(&committed[2])));
    assert_eq!(behind, vec![(sequence(1), true), (sequence(0), false)], "what is left begins with the latest");
    let behind: Vec<(Sequence, bool)> = listed(None);
    assert_eq!(behind, []);
}
