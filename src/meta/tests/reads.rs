//! What readers keep, and what a read costs.

use rusqlite::StatementStatus;

use super::*;
use crate::meta::row::SELECT_LATEST;

/// SQLite once planned every statement anew for the values that were bound to it, which was half the cost of each read
/// and of each write.
#[test]
fn other_values_do_not_make_sqlite_plan_a_statement_anew() {
    let store = Store::new();
    for key in ["a", "b", "c"] {
        store.put(key);
        assert_eq!(store.reader.version(store.bucket, key, VersionRef::Latest).unwrap().key, key);
    }
    let statement = store.reader.connection().prepare_cached(SELECT_LATEST).unwrap();
    assert_eq!(statement.get_status(StatementStatus::Run), 3, "it is the statement that was used");
    assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
}

#[test]
fn a_reader_knows_no_bucket_longer_than_it_holds() {
    let store = Store::new();
    let other = store.meta.reader().unwrap();
    let versioning = |reader: &Reader| reader.bucket("photos").map(|bucket| bucket.versioning);
    let cors = |reader: &Reader| reader.bucket_config(store.bucket, BucketConfig::Cors).unwrap();
    for reader in [&store.reader, &other] {
        assert_eq!((versioning(reader), cors(reader)), (Ok(Versioning::Unversioned), None));
    }
    store.set_versioning(Versioning::Enabled);
    let set = |document: Option<&str>| {
        let document = document.map(str::to_owned);
        block_on(store.meta.set_bucket_config(store.bucket, BucketConfig::Cors, document, None)).unwrap();
    };
    for document in [Some("<a/>"), Some("<b/>"), None] {
        set(document);
        for reader in [&store.reader, &other] {
            assert_eq!(versioning(reader), Ok(Versioning::Enabled));
            assert_eq!(cors(reader).as_deref(), document);
        }
    }
    block_on(store.meta.delete_bucket("photos".to_owned())).unwrap();
    assert_eq!(versioning(&other), Err(MetaError::NoSuchBucket));
    block_on(store.meta.create_bucket("photos".to_owned(), "eu".to_owned(), false, 8)).unwrap();
    assert_eq!(versioning(&other), Ok(Versioning::Unversioned));
    assert_ne!(other.bucket("photos").unwrap().id, store.bucket);
}

#[test]
fn what_a_reader_keeps_is_bounded() {
    let store = Store::new();
    for number in 0..limits::BUCKETS_KNOWN_MAX + 10 {
        let name = format!("bucket-{number}");
        block_on(store.meta.create_bucket(name, "eu".to_owned(), false, 7)).unwrap();
    }
    for number in 0..limits::BUCKETS_KNOWN_MAX + 10 {
        let bucket = store.reader.bucket(&format!("bucket-{number}")).unwrap();
        assert_eq!(store.reader.bucket_config(bucket.id, BucketConfig::Cors).unwrap(), None);
    }
    let (buckets, documents) = store.reader.known().sizes();
    assert!(buckets <= limits::BUCKETS_KNOWN_MAX && documents <= limits::BUCKETS_KNOWN_MAX);
}
