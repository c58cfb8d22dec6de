//! Lifecycle rules and rolling buckets, carried out by upkeep on simulated drives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aerie::engine::EngineError;
use aerie::lifecycle::Configuration;
use aerie::meta::{
    BucketConfig, ListQuery, Listed, ListedUpload, ListedVersion, MetaError, Retention, RetentionMode, Rolling,
    UploadsQuery, VersionKind, VersionRef, Versioning, VersionsQuery,
};
use aerie::pool::PoolError;
use aerie::seam::sim::{self, SimClock, SimMachine};
use aerie::upkeep::{LifecycleSettings, Upkeep, UpkeepRequest, UpkeepSettings};
use pollster::block_on;

use crate::store::{Store, bucket, bytes};

const DAY_S: u64 = 100;

fn start(store: &Store, objects_per_second: u32) -> Upkeep {
    let settings = UpkeepSettings { bytes_per_second: 0, scrub_interval_s: 0 };
    let lifecycle = LifecycleSettings { objects_per_second, day_seconds: DAY_S };
    Upkeep::start_with(store.meta.clone(), store.pool.clone(), settings, lifecycle, store.world.clone()).unwrap()
}

fn set_rules(store: &Store, rules: &str) {
    let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
    let stored = Configuration::parse(document.as_bytes()).unwrap().to_stored();
    let bucket = bucket(&store.engine).unwrap();
    block_on(store.engine.set_bucket_config(&bucket, BucketConfig::Lifecycle, Some(stored))).unwrap();
}

fn keys(store: &Store) -> BTreeSet<String> {
    let bucket = bucket(&store.engine).unwrap().id;
    let mut query = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 1000 };
    let mut keys = BTreeSet::new();
    loop {
        let page = store.engine.list(&query).unwrap();
        keys.extend(page.entries.into_iter().map(|entry| match entry {
            Listed::Object(version) => version.key,
            Listed::CommonPrefix(prefix) => prefix,
        }));
        if !page.truncated {
            return keys;
        }
        query.after = keys.last().cloned();
    }
}

/// `KEY` of each version, `KEY-` of each delete marker, newest first.
fn versions(store: &Store) -> Vec<String> {
    let query = VersionsQuery {
        bucket: bucket(&store.engine).unwrap().id,
        prefix: String::new(),
        delimiter: None,
        key_marker: None,
        version_marker: None,
        limit: 1000,
    };
    let name = |entry| match entry {
        ListedVersion::Version { version, .. } if version.kind == VersionKind::DeleteMarker => {
            format!("{}-", version.key)
        }
        ListedVersion::Version { version, .. } => version.key,
        ListedVersion::CommonPrefix(prefix) => prefix,
    };
    store.engine.list_versions(&query).unwrap().entries.into_iter().map(name).collect()
}

/// Lets upkeep work until it is so; the simulated clock stands unless the step moves it.
fn wait(upkeep: &Upkeep, mut step: impl FnMut(), mut right: impl FnMut() -> bool, what: &str) {
    for _ in 0..2_000 {
        if right() {
            return;
        }
        step();
        upkeep.request(UpkeepRequest::Heal);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("upkeep does not get there: {what}");
}

/// Lets upkeep begin and end more than one pass, while less than a day passes.
fn let_pass(upkeep: &Upkeep, clock: &Arc<SimClock>) {
    for _ in 0..20 {
        clock.advance_ms(DAY_S * 1000 / 25);
        upkeep.request(UpkeepRequest::Heal);
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

const EXPIRE: &str = "<Rule><Filter><Prefix>frames/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>2</Days></Expiration></Rule>";

#[test]
fn what_is_due_goes_across_restarts_and_nothing_else_does() {
    let (world, clock) = sim::world(1);
    let machine = SimMachine::new(3, 256 << 20);
    let store = Store::on(&machine, &world).unwrap();
    for number in 0..700 {
        store.put(&format!("frames/{number:04}"), &bytes(10, number)).unwrap();
        store.put(&format!("keep/{number:04}"), &bytes(10, number)).unwrap();
    }
    set_rules(&store, EXPIRE);
    clock.advance_ms(DAY_S * 1000);
    let upkeep = start(&store, 100);
    let_pass(&upkeep, &clock);
    assert_eq!(keys(&store).len(), 1_400, "two days have not passed");
    clock.advance_ms(2_000);
    let expired = |store: &Store| 1_400 - keys(store).len();
    wait(&upkeep, || clock.advance_ms(300), || expired(&store) >= 150, "a part is gone");
    drop(upkeep);
    let held = expired(&store);
    assert!(held < 700, "the budget lets only some go at a time, {held} are gone");
    store.put("frames/young", &bytes(10, 1)).unwrap();
    store.close();
    let store = Store::on(&SimMachine::boot(machine.image(), 256 << 20), &world).unwrap();
    let upkeep = start(&store, 100);
    wait(&upkeep, || clock.advance_ms(300), || expired(&store) >= 699, "all is gone");
    let left = keys(&store);
    assert!(left.contains("frames/young") && left.iter().filter(|key| key.starts_with("keep/")).count() == 700);
    drop(upkeep);
    store.close();
}

#[test]
fn versions_markers_and_uploads_end_by_their_rules_and_held_ones_stay() {
    let (world, clock) = sim::world(2);
    let store = Store::on(&SimMachine::new(3, 256 << 20), &world).unwrap();
    let id = bucket(&store.engine).unwrap().id;
    block_on(store.meta.set_versioning(id, Versioning::Enabled)).unwrap();
    block_on(store.meta.set_object_lock(id, None)).unwrap();
    for key in ["a", "held"] {
        for version in 0..4 {
            store.put(key, &bytes(20, version)).unwrap();
        }
    }
    let until_ms = store.meta.retention_now_ms() + 1_000_000_000;
    let retention = Some(Retention { mode: RetentionMode::Compliance, until_ms });
    block_on(store.meta.set_retention(id, "held".to_owned(), VersionRef::Latest, retention, false)).unwrap();
    store.put("held", &bytes(20, 9)).unwrap();
    store.put("gone", &bytes(5, 1)).unwrap();
    crate::store::begin_upload(&store.engine, "upload").unwrap();
    set_rules(
        &store,
        "<Rule><ID>1</ID><Filter/><Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
         <NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>\
         <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>\
         <Rule><ID>2</ID><Filter><Prefix>gone</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>\
         <NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>",
    );
    let upkeep = start(&store, 1_000);
    let step = || clock.advance_ms(2_000);
    // Held: the newest, the two newest noncurrent ones (of which one is locked), all older ones go.
    let expected = ["a", "a", "a", "held", "held", "held"];
    wait(&upkeep, step, || versions(&store) == expected, "three versions of each are left, and no marker");
    let query = UploadsQuery {
        bucket: id,
        prefix: String::new(),
        delimiter: None,
        key_marker: None,
        upload_id_marker: None,
        limit: 10,
    };
    let uploads = || -> Vec<ListedUpload> { store.engine.list_uploads(&query).unwrap().entries };
    wait(&upkeep, step, || uploads().is_empty(), "the upload is aborted");
    set_rules(
        &store,
        "<Rule><ID>1</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>",
    );
    wait(&upkeep, step, || versions(&store) == ["held-", "held"], "only what is locked is left, under a marker");
    let usage = store.engine.reader().usage(id).unwrap();
    assert_eq!((usage.bytes, usage.objects), (20, 1));
    drop(upkeep);
    store.close();
}

#[test]
fn a_rolling_bucket_takes_twice_the_pool() {
    const DRIVE_BYTES: u64 = 64 << 20;
    const FRAME: usize = 1 << 20;
    let (world, clock) = sim::world(3);
    let store = Store::on(&SimMachine::new(3, DRIVE_BYTES), &world).unwrap();
    let id = bucket(&store.engine).unwrap().id;
    block_on(store.meta.set_rolling(id, Some(Rolling { bytes: None }))).unwrap();
    let upkeep = start(&store, 1_000);
    let frames = 2 * 2 * DRIVE_BYTES / FRAME as u64;
    let mut refused = 0;
    for number in 0..frames {
        let body = bytes(FRAME, number);
        let key = format!("frame-{number:06}");
        let put = || match store.put(&key, &body) {
            Ok(_) => true,
            Err(EngineError::Pool(PoolError::Full) | EngineError::Meta(MetaError::Full)) => false,
            Err(error) => panic!("{key}: {error}"),
        };
        let mut tried = 0;
        let step = || {
            block_on(store.engine.roll_for(FRAME as u64)).unwrap();
            clock.advance_ms(4_000);
        };
        wait(
            &upkeep,
            step,
            || {
                tried += 1;
                put()
            },
            &key,
        );
        refused += u64::from(tried > 1);
    }
    let left = keys(&store);
    println!("{frames} frames, {refused} had to wait, {} are left", left.len());
    assert!(left.len() as u64 > DRIVE_BYTES / FRAME as u64 / 2, "no more is dropped than is needed");
    let oldest = left.first().unwrap().clone();
    assert!(
        left.iter().map(String::as_str).eq((0..frames)
            .map(|n| format!("frame-{n:06}"))
            .filter(|key| *key >= oldest)
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)),
        "the newest are left, without a gap"
    );
    drop(upkeep);
    store.close();
}
