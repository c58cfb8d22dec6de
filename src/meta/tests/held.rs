//! Versions that hooks are still to see outlive their overwriting and deletion, and no longer.

use super::*;

/// What a change, or an invocation made of it, speaks of.
fn changes(store: &Store) -> Vec<Change> {
    store.reader.changes(Sequence(0), 100).unwrap()
}

fn update(store: &Store, update: OutboxUpdate) {
    block_on(store.meta.update_outbox(update)).unwrap();
}

/// Applies rules to all changes: each asks for one invocation.
fn queue(store: &Store) -> Vec<i64> {
    let changes = changes(store);
    let invocations = changes.iter().map(|change| NewInvocation {
        event_id: change.sequence.0.to_string(),
        rule: String::new(),
        hook: "h".to_owned(),
        change: change.clone(),
        expires_ms: (change.key == "mortal").then_some(1000),
    });
    let consumed = changes.iter().map(|change| change.sequence).collect();
    update(store, OutboxUpdate { consumed, invocations: invocations.collect(), ..OutboxUpdate::default() });
    let pending = store.reader.invocations(InvocationState::Pending, 0, 100).unwrap();
    pending.iter().map(|row| row.id).collect()
}

fn numbered(store: &Store, key: &str, committed: &Committed) -> Result<Version, MetaError> {
    store.reader.version(store.bucket, key, VersionRef::Numbered(committed.sequence))
}

fn held(store: &Store) -> (u64, u64) {
    let stats = store.reader.outbox_stats().unwrap();
    (stats.held, stats.held_bytes)
}

fn extents_walked(store: &Store, limit: usize) -> Vec<Extent> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.reader.all_extents(cursor.as_ref(), limit).unwrap();
        found.extend(page.entries.into_iter().flat_map(|entry| entry.extents));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

#[test]
fn an_overwritten_version_is_held_until_its_invocation_ends() {
    let store = Store::new();
    store.watch();
    let (small, large) = (inline(store.bucket, "small", "first"), [extent(1, 0, 100), extent(2, 64, 50)]);
    let small = block_on(store.meta.put_version(small)).unwrap();
    let first = block_on(store.meta.put_version(stored(store.bucket, "large", &large))).unwrap();
    store.put("small");
    block_on(store.meta.put_version(stored(store.bucket, "large", &[extent(3, 0, 7)]))).unwrap();
    assert_eq!(held(&store), (2, 155));
    // Clients see the new ones alone; a reader of the log finds both by number, before and after the rules were applied.
    assert_eq!(store.reader.version(store.bucket, "large", VersionRef::Latest).unwrap().size, 7);
    assert_eq!(store.reader.version(store.bucket, "large", exact(&first)), Err(MetaError::NoSuchVersion));
    let ids = queue(&store);
    assert_eq!(numbered(&store, "small", &small).unwrap().body, Body::Inline("first".into()));
    let version = numbered(&store, "large", &first).unwrap();
    assert_eq!((version.size, &version.body), (150, &Body::Extents(large.to_vec())));
    // Scrub, heal and census meet its blocks, in walks of any stride.
    for limit in [1, 2, 100] {
        assert_eq!(extents_walked(&store, limit), [extent(3, 0, 7), large[0], large[1]], "{limit}");
    }
    assert_eq!(store.reader.garbage(i64::MAX, 10).unwrap(), []);
    update(&store, OutboxUpdate { dead: vec![(ids[1], 1, "trap".to_owned())], ..OutboxUpdate::default() });
    assert_eq!(held(&store), (2, 155), "a dead invocation may be revived");
    update(&store, OutboxUpdate { finished: ids, ..OutboxUpdate::default() });
    assert_eq!(held(&store), (0, 0));
    let garbage = store.reader.garbage(i64::MAX, 10).unwrap();
    assert_eq!((garbage.len(), &garbage[0].extents[..]), (1, &large[..]));
    let bodies = store.reader.rows("SELECT count(*) FROM inline", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(bodies, [1], "the inline body of the present version is left");
    assert_eq!(numbered(&store, "large", &first), Err(MetaError::NoSuchVersion));
}

#[test]
fn what_nothing_speaks_of_is_not_held() {
    let store = Store::new();
    store.put("k");
    store.put("k");
    store.watch();
    store.put("k");
    assert_eq!(held(&store), (0, 0), "nobody watched");
    queue(&store);
    // The tags' change has a number of its own and speaks of the version all the same.
    let put = store.put("other");
    let (bucket, other) = (store.bucket, || "other".to_owned());
    update(&store, OutboxUpdate { consumed: vec![put.sequence], ..OutboxUpdate::default() });
    let tagged = store.meta.set_tags(bucket, other(), VersionRef::Latest, tags("a", "b"), 1, Requester::default());
    block_on(tagged).unwrap();
    store.delete("other", VersionRef::Latest);
    assert_eq!(held(&store).0, 1);
    let version = numbered(&store, "other", &put).unwrap();
    assert_eq!(version.attributes.tags, tags("a", "b"));
    let consumed = changes(&store).iter().map(|change| change.sequence).collect();
    update(&store, OutboxUpdate { consumed, ..OutboxUpdate::default() });
    assert_eq!(held(&store).0, 0);
}

#[test]
fn every_way_of_removing_holds_and_a_bucket_may_go_before_its_hooks_have_run() {
    let store = Store::new();
    store.watch();
    store.set_versioning(Versioning::Enabled);
    let first = store.put("k");
    store.delete("k", exact(&first));
    store.set_versioning(Versioning::Suspended);
    let second = store.put("k");
    let marker = store.delete("k", VersionRef::Latest);
    assert_eq!(held(&store).0, 2);
    store.delete("k", VersionRef::Null);
    assert!(marker.delete_marker);
    block_on(store.meta.delete_bucket("photos".to_owned())).unwrap();
    for committed in [&first, &second] {
        assert_eq!(numbered(&store, "k", committed).unwrap().size, 1);
    }
    let rules = store.reader.earlier_rules(store.bucket).unwrap();
    let last = changes(&store).last().unwrap().sequence;
    assert_eq!(rules, [EarlierRules { until: last, region: "eu".to_owned(), document: "<x/>".to_owned() }]);
    let finished = queue(&store);
    assert_eq!(store.reader.earlier_rules(store.bucket).unwrap(), [], "no change waits for them");
    update(&store, OutboxUpdate { finished, ..OutboxUpdate::default() });
    assert_eq!(held(&store), (0, 0));
}

#[test]
fn rules_that_change_count_for_earlier_changes_as_they_were() {
    let store = Store::new();
    let set = |document: Option<&str>| {
        let document = document.map(str::to_owned);
        let set = store.meta.set_bucket_config(store.bucket, BucketConfig::Notification, document, Some(true));
        block_on(set).unwrap();
    };
    set(Some("one"));
    let first = store.put("a");
    set(Some("two"));
    set(Some("three"));
    let second = store.put("b");
    set(None);
    let rules = store.reader.earlier_rules(store.bucket).unwrap();
    let seen: Vec<_> = rules.iter().map(|rules| (rules.until, rules.document.as_str())).collect();
    assert_eq!(seen, [(first.sequence, "one"), (second.sequence, "three")]);
    update(&store, OutboxUpdate { consumed: vec![first.sequence], ..OutboxUpdate::default() });
    assert_eq!(store.reader.earlier_rules(store.bucket).unwrap().len(), 1);
}

#[test]
fn time_to_live_and_the_bound_on_dead_invocations_let_go() {
    let store = Store::new();
    store.watch();
    for key in ["mortal", "old", "new"] {
        store.put(key);
    }
    let ids = queue(&store);
    for key in ["mortal", "old", "new"] {
        store.delete(key, VersionRef::Latest);
    }
    let consumed = changes(&store).iter().map(|change| change.sequence).collect();
    let dead = ids[..2].iter().map(|id| (*id, 1, "trap".to_owned())).collect();
    update(&store, OutboxUpdate { consumed, dead, ..OutboxUpdate::default() });
    assert_eq!(store.reader.expired_dead(999, 10).unwrap(), Vec::<i64>::new());
    let expired = store.reader.expired_dead(1000, 10).unwrap();
    assert_eq!(expired, ids[..1]);
    // What still waits for its hook is never among them.
    let by_dead = store.reader.held_by_dead(10).unwrap();
    assert_eq!(by_dead.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [6, 3]);
    update(&store, OutboxUpdate { expired, given_up: vec![by_dead[1].0], ..OutboxUpdate::default() });
    let stats = store.reader.outbox_stats().unwrap();
    assert_eq!((stats.expired, stats.held, stats.held_bytes, stats.dead, stats.pending), (1, 1, 3, 1, 1));
}

#[test]
fn a_held_version_outlives_a_restart() {
    let store = Store::new();
    store.watch();
    let first = store.put("k");
    store.put("k");
    let Store { meta, reader, bucket, drives } = store;
    meta.close();
    drop((meta, reader));
    let meta = drives.open();
    let reader = meta.reader().unwrap();
    let found = reader.version(bucket, "k", VersionRef::Numbered(first.sequence)).unwrap();
    assert_eq!((found.sequence, reader.outbox_stats().unwrap().held), (first.sequence, 1));
}
