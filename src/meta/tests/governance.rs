//! Object lock, usage, quotas and rolling buckets.

use super::*;
use crate::seam::sim::{self, Dice};

const DAY_MS: i64 = 24 * 3600 * 1000;

impl Store {
    /// A store whose clock the test moves.
    fn simulated() -> (Store, Arc<sim::SimClock>) {
        let drives = Drives::new(1);
        let (world, clock) = sim::world(1);
        let meta = Meta::open(drives.copies(&[0]), POOL, Arc::new(|_| true), world).unwrap();
        block_on(meta.create_bucket("photos".to_owned(), "eu".to_owned(), false, 7)).unwrap();
        let reader = meta.reader().unwrap();
        let bucket = reader.bucket("photos").unwrap().id;
        (Store { meta, reader, bucket, drives }, clock)
    }

    fn locked() -> (Store, Arc<sim::SimClock>) {
        let (store, clock) = Store::simulated();
        store.set_versioning(Versioning::Enabled);
        block_on(store.meta.set_object_lock(store.bucket, None)).unwrap();
        (store, clock)
    }

    fn try_delete(&self, key: &str, version: VersionRef, bypass_governance: bool) -> Result<Deleted, MetaError> {
        let cause = DeleteCause::Request { bypass_governance };
        block_on(self.meta.delete_version(DeleteVersion { cause, ..deletion(self.bucket, key, version) }))
    }

    fn retain(&self, key: &str, mode: RetentionMode, until_ms: i64) -> Result<Committed, MetaError> {
        let retention = Some(Retention { mode, until_ms });
        block_on(self.meta.set_retention(self.bucket, key.to_owned(), VersionRef::Latest, retention, false))
    }

    fn check_usage(&self) {
        let counted = self.reader.recount(self.bucket).unwrap();
        assert_eq!(self.reader.usage(self.bucket).unwrap(), counted, "the counters differ from a scan");
    }

    fn keys(&self) -> Vec<String> {
        let query = ListQuery { bucket: self.bucket, prefix: String::new(), delimiter: None, after: None, limit: 1000 };
        let key = |entry| match entry {
            Listed::Object(version) => version.key,
            Listed::CommonPrefix(prefix) => prefix,
        };
        self.reader.list(&query).unwrap().entries.into_iter().map(key).collect()
    }
}

#[test]
fn a_held_version_goes_only_when_its_time_is_over() {
    let (store, clock) = Store::locked();
    let now_ms = store.meta.retention_now_ms();
    for (mode, bypass_helps) in [(RetentionMode::Governance, true), (RetentionMode::Compliance, false)] {
        let (held, free) = (store.put("k"), store.put("free"));
        store.retain("k", mode, now_ms + DAY_MS).unwrap();
        assert!(store.try_delete("free", exact(&free), false).is_ok());
        assert_eq!(store.try_delete("k", exact(&held), false), Err(MetaError::Locked), "{mode:?}");
        let marked = store.try_delete("k", VersionRef::Latest, false).unwrap();
        assert!(marked.delete_marker, "a delete that only marks is free");
        let passed = store.try_delete("k", exact(&held), true);
        assert_eq!(passed.is_ok(), bypass_helps, "{mode:?}");
        if !bypass_helps {
            // A wall clock that jumps, as in a board without a battery, opens nothing.
            clock.jump_to(now_ms + 400 * DAY_MS);
            assert_eq!(store.try_delete("k", exact(&held), true), Err(MetaError::Locked));
            clock.jump_to(0);
            clock.advance_ms(DAY_MS as u64 + 1_000);
            assert!(store.try_delete("k", exact(&held), false).is_ok(), "a day has really passed");
        }
    }
    store.check_usage();
}

#[test]
fn a_legal_hold_ends_when_it_is_taken_off_and_no_sooner() {
    let (store, clock) = Store::locked();
    let put = store.put("k");
    let hold = |on| block_on(store.meta.set_legal_hold(store.bucket, "k".to_owned(), VersionRef::Latest, on)).unwrap();
    hold(true);
    clock.advance_ms(1_000 * DAY_MS as u64);
    assert_eq!(store.try_delete("k", exact(&put), true), Err(MetaError::Locked));
    hold(false);
    assert!(store.try_delete("k", exact(&put), false).is_ok());
}

#[test]
fn new_versions_get_the_buckets_retention_by_the_retention_clock() {
    let (store, clock) = Store::locked();
    let default = DefaultRetention { mode: RetentionMode::Compliance, period: RetentionPeriod::Days(2) };
    block_on(store.meta.set_object_lock(store.bucket, Some(default))).unwrap();
    let now_ms = store.meta.retention_now_ms();
    clock.jump_to(now_ms - 300 * DAY_MS);
    let put = store.put("k");
    let found = store.reader.version(store.bucket, "k", VersionRef::Latest).unwrap();
    let expected = Retention { mode: RetentionMode::Compliance, until_ms: now_ms + 2 * DAY_MS };
    assert_eq!(found.attributes.retention, Some(expected));
    clock.advance_ms(2 * DAY_MS as u64 - 1);
    assert_eq!(store.try_delete("k", exact(&put), false), Err(MetaError::Locked));
    clock.advance_ms(1);
    assert!(store.try_delete("k", exact(&put), false).is_ok());
}

#[test]
fn the_clock_survives_restarts_and_a_jump_across_one_is_believed_up_to_the_bound() {
    let (store, clock) = Store::locked();
    let start_ms = store.meta.retention_now_ms();
    let put = store.put("k");
    store.retain("k", RetentionMode::Compliance, start_ms + 30 * DAY_MS).unwrap();
    let Store { meta, reader, bucket, drives } = store;
    clock.advance_ms(DAY_MS as u64);
    meta.close();
    drop((meta, reader));
    let (world, clock) = sim::world(2);
    clock.jump_to(start_ms + 365 * DAY_MS);
    let meta = Meta::open(drives.copies(&[0]), POOL, Arc::new(|_| true), world).unwrap();
    let store = Store { reader: meta.reader().unwrap(), meta, bucket, drives };
    let credit_days = limits::RETENTION_CREDIT_MAX.as_millis() as i64 / DAY_MS;
    assert_eq!(store.meta.retention_now_ms(), start_ms + (1 + credit_days) * DAY_MS);
    assert_eq!(store.try_delete("k", exact(&put), true), Err(MetaError::Locked));
    assert!(store.meta.retention_clock().behind_ms > 300 * DAY_MS);
    block_on(store.meta.accept_clock()).unwrap();
    assert!(store.try_delete("k", exact(&put), false).is_ok(), "an operator has confirmed the clock");
}

#[test]
fn versioning_and_object_lock_hold_together() {
    let (store, _) = Store::simulated();
    let lock = |store: &Store| block_on(store.meta.set_object_lock(store.bucket, None));
    assert_eq!(lock(&store), Err(MetaError::LockNeedsVersioning));
    store.put("before");
    let retained = store.retain("before", RetentionMode::Governance, i64::MAX);
    assert_eq!(retained, Err(MetaError::NoObjectLock));
    store.set_versioning(Versioning::Enabled);
    lock(&store).unwrap();
    let suspended = block_on(store.meta.set_versioning(store.bucket, Versioning::Suspended));
    assert_eq!(suspended, Err(MetaError::LockNeedsVersioning));
    // The null version of before can be held as well, and stays under a new one.
    store.retain("before", RetentionMode::Compliance, i64::MAX).unwrap();
    store.put("before");
    assert_eq!(store.try_delete("before", VersionRef::Null, true), Err(MetaError::Locked));
    assert_eq!(store.retain("before", RetentionMode::Governance, 5), Err(MetaError::RetainUntilPast));
    assert_eq!(block_on(store.meta.delete_bucket("photos".to_owned())), Err(MetaError::BucketNotEmpty));
}

#[test]
fn usage_is_exact_whatever_happens() {
    for versioning in [Versioning::Unversioned, Versioning::Enabled, Versioning::Suspended] {
        let store = Store::new();
        if versioning != Versioning::Unversioned {
            store.set_versioning(versioning);
        }
        let mut dice = Dice::new(versioning as u64);
        let (mut uploads, mut offset) = (Vec::new(), 0);
        for step in 0..300 {
            let key = format!("k{}", dice.below(5));
            offset += 64;
            match dice.below(8) {
                0..3 => _ = store.put(&key),
                3 => {
                    let version = stored(store.bucket, &key, &[extent(1, offset, 10_000 + step)]);
                    block_on(store.meta.put_version(version)).unwrap();
                }
                4 => _ = store.delete(&key, VersionRef::Latest),
                5 => {
                    let found = store.reader.version(store.bucket, &key, VersionRef::Latest);
                    if let Ok(found) = found {
                        store.delete(&key, VersionRef::Numbered(found.sequence));
                    }
                }
                6 => {
                    let upload_id = format!("u{step}");
                    block_on(store.meta.create_upload(upload(store.bucket, &key, &upload_id))).unwrap();
                    for (number, at) in [(1, 0), (2, 20_000), (1, 40_000)] {
                        let part = part(number, extent(2, offset + at, 500 + step));
                        block_on(store.meta.put_part(store.bucket, upload_id.clone(), part, 0)).unwrap();
                    }
                    uploads.push((key, upload_id, extent(2, offset + 40_000, 500 + step)));
                }
                _ => match uploads.pop() {
                    Some((key, upload_id, _)) if dice.flip() => {
                        block_on(store.meta.abort_upload(store.bucket, key, upload_id)).unwrap();
                    }
                    Some((key, upload_id, first)) => {
                        // One part of two is chosen; the other goes.
                        let version = stored(store.bucket, &key, &[first]);
                        let named = vec![(1, "etag-1".to_owned())];
                        block_on(store.meta.complete_upload(upload_id, named, version)).unwrap();
                    }
                    None => {}
                },
            }
            store.check_usage();
        }
        assert!(store.reader.usage(store.bucket).unwrap().bytes > 0);
    }
}

fn upload(bucket: BucketId, key: &str, upload_id: &str) -> Upload {
    Upload {
        upload_id: upload_id.to_owned(),
        bucket,
        key: key.to_owned(),
        initiated_ms: 1,
        attributes: Attributes::default(),
        checksum: None,
        requester: Requester::default(),
    }
}

fn part(number: u32, extent: Extent) -> Part {
    Part {
        number,
        size: extent.length,
        etag: format!("etag-{number}"),
        modified_ms: 1,
        checksum: None,
        salt: None,
        body: Body::Extents(vec![extent]),
    }
}

#[test]
fn what_failed_is_not_counted() {
    let store = Store::new();
    store.put("k");
    let condition = WriteCondition { if_none_match: Some(EtagCondition::Any), ..WriteCondition::default() };
    let refused = NewVersion { condition, ..inline(store.bucket, "k", "longer than before") };
    assert_eq!(block_on(store.meta.put_version(refused)), Err(MetaError::ConditionFailed));
    store.check_usage();
    assert_eq!(store.reader.usage(store.bucket).unwrap(), Usage { bytes: 1, objects: 1 });
}

#[test]
fn a_quota_refuses_what_makes_a_bucket_hold_more() {
    let store = Store::new();
    let put = |key: &str, text: &str| block_on(store.meta.put_version(inline(store.bucket, key, text)));
    block_on(store.meta.set_quota(store.bucket, Some(10), Some(2))).unwrap();
    put("a", "12345").unwrap();
    put("b", "12345").unwrap();
    assert_eq!(put("b", "123456"), Err(MetaError::QuotaExceeded));
    assert_eq!(put("c", ""), Err(MetaError::QuotaExceeded), "too many objects");
    put("b", "1234").unwrap();
    // A quota below what is held keeps nobody from holding less.
    block_on(store.meta.set_quota(store.bucket, Some(1), None)).unwrap();
    put("b", "123").unwrap();
    assert_eq!(put("b", "1234"), Err(MetaError::QuotaExceeded));
    store.delete("a", VersionRef::Latest);
    block_on(store.meta.create_upload(upload(store.bucket, "u", "u"))).unwrap();
    let part = part(1, extent(1, 0, 5));
    let refused = block_on(store.meta.put_part(store.bucket, "u".to_owned(), part.clone(), 0));
    assert_eq!(refused, Err(MetaError::QuotaExceeded));
    block_on(store.meta.set_quota(store.bucket, None, None)).unwrap();
    block_on(store.meta.put_part(store.bucket, "u".to_owned(), part, 0)).unwrap();
    store.check_usage();
}

#[test]
fn a_group_of_writes_does_not_pass_a_quota_together() {
    let store = Store::new();
    block_on(store.meta.set_quota(store.bucket, Some(50), None)).unwrap();
    let puts = (0..200).map(|number| store.meta.put_version(inline(store.bucket, &format!("k{number}"), "1")));
    let results = block_on(futures_util::future::join_all(puts));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
    assert_eq!(store.reader.usage(store.bucket).unwrap(), Usage { bytes: 50, objects: 50 });
}

#[test]
fn a_rolling_bucket_drops_its_oldest_and_tells() {
    let store = Store::new();
    store.put("0");
    store.watch();
    let rolling = Some(Rolling { bytes: Some(4) });
    block_on(store.meta.set_rolling(store.bucket, rolling)).unwrap();
    for key in ["1", "2", "3", "4", "5"] {
        store.put(key);
    }
    assert_eq!(store.keys(), ["2", "3", "4", "5"]);
    store.check_usage();
    let changes = store.reader.changes(Sequence(0), 100).unwrap();
    let dropped: Vec<_> =
        changes.iter().filter(|change| change.event == EventName::LifecycleExpirationDelete).collect();
    assert_eq!(dropped.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    assert!(dropped.iter().all(|change| change.requester.principal == ROLLING_PRINCIPAL));
    // What alone is too large changes nothing.
    let large = block_on(store.meta.put_version(inline(store.bucket, "large", "12345")));
    assert_eq!(large, Err(MetaError::QuotaExceeded));
    assert_eq!(store.keys(), ["2", "3", "4", "5"]);
    // What a reader of the change log is still to see keeps its space, so that to drop it would be for nothing.
    assert_eq!(block_on(store.meta.roll(2)), Ok(0));
    let consumed = store.reader.changes(Sequence(0), 100).unwrap().iter().map(|change| change.sequence).collect();
    block_on(store.meta.update_outbox(OutboxUpdate { consumed, ..OutboxUpdate::default() })).unwrap();
    // The pool's pressure goes by age, over all rolling buckets.
    assert_eq!(block_on(store.meta.roll(2)), Ok(2));
    assert_eq!(store.keys(), ["4", "5"]);
    block_on(store.meta.set_rolling(store.bucket, None)).unwrap();
    assert_eq!(block_on(store.meta.roll(9)), Ok(0));
    assert!(!store.reader.can_roll().unwrap());
    store.check_usage();
}

#[test]
fn a_rolling_bucket_keeps_what_is_held() {
    let (store, clock) = Store::locked();
    store.put("held");
    let until_ms = store.meta.retention_now_ms() + DAY_MS;
    store.retain("held", RetentionMode::Governance, until_ms).unwrap();
    block_on(store.meta.set_rolling(store.bucket, Some(Rolling { bytes: Some(6) }))).unwrap();
    for key in ["1", "2", "3"] {
        store.put(key);
    }
    assert_eq!(store.keys(), ["2", "3", "held"]);
    assert_eq!(block_on(store.meta.roll(100)), Ok(2));
    assert_eq!(store.keys(), ["held"]);
    clock.advance_ms(DAY_MS as u64 + 1);
    assert_eq!(block_on(store.meta.roll(100)), Ok(4));
    store.check_usage();
}

#[test]
fn a_lifecycle_rule_deletes_a_version_only_in_the_place_in_which_it_was_judged() {
    let store = Store::new();
    store.set_versioning(Versioning::Enabled);
    store.watch();
    let (old, new) = (store.put("k"), store.put("k"));
    let expire = |version: VersionRef, place: KeyPlace| {
        let cause = DeleteCause::Lifecycle(place);
        block_on(store.meta.delete_version(DeleteVersion { cause, ..deletion(store.bucket, "k", version) }))
    };
    let stale = expire(VersionRef::Latest, KeyPlace::Newest(old.sequence));
    assert_eq!(stale, Err(MetaError::ConditionFailed), "it is not the newest any more");
    let current = expire(VersionRef::Numbered(new.sequence), KeyPlace::Noncurrent(new.sequence));
    assert_eq!(current, Err(MetaError::ConditionFailed), "there is nothing newer");
    assert!(expire(VersionRef::Numbered(old.sequence), KeyPlace::Noncurrent(old.sequence)).is_ok());
    assert!(expire(VersionRef::Latest, KeyPlace::Newest(new.sequence)).unwrap().delete_marker);
    let marker = store.reader.version(store.bucket, "k", VersionRef::Latest).unwrap().sequence;
    let hides = expire(VersionRef::Numbered(marker), KeyPlace::Only(marker));
    assert_eq!(hides, Err(MetaError::ConditionFailed), "the marker hides a version");
    store.delete("k", VersionRef::Numbered(new.sequence));
    assert!(expire(VersionRef::Numbered(marker), KeyPlace::Only(marker)).is_ok());
    let events: Vec<_> = store.reader.changes(Sequence(0), 100).unwrap().into_iter().map(|c| c.event).collect();
    use EventName::*;
    let expected = [
        ObjectCreatedPut,
        ObjectCreatedPut,
        LifecycleExpirationDelete,
        LifecycleExpirationDeleteMarkerCreated,
        ObjectRemovedDelete,
        LifecycleExpirationDelete,
    ];
    assert_eq!(events, expected);
}
