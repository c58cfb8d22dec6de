//! Changes, invocations, publications, counts and properties.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn publication(topic: &str, payload: &str) -> NewPublication {
    NewPublication {
        event_id: "e".to_owned(),
        topic: topic.to_owned(),
        payload: payload.into(),
        qos: 1,
        retain: true,
        priority: 3,
        expires_ms: Some(77),
        properties: vec![("aerie-hook".to_owned(), "h".to_owned())],
    }
}

fn invocation(change: &Change, hook: &str) -> NewInvocation {
    NewInvocation {
        event_id: format!("{hook}-1"),
        rule: "r".to_owned(),
        hook: hook.to_owned(),
        change: change.clone(),
        expires_ms: None,
    }
}

#[test]
fn changes_are_written_for_watched_buckets_and_say_everything() {
    let store = Store::new();
    store.put("unseen");
    assert_eq!(store.reader.changes(Sequence(0), 10).unwrap(), []);
    store.watch();
    store.set_versioning(Versioning::Enabled);
    let put = store.put("k");
    let marked = store.delete("k", VersionRef::Latest);
    store.delete("k", exact(&put));
    store.delete("k", exact(&put));
    let changes = store.reader.changes(Sequence(0), 10).unwrap();
    let expected = Change {
        sequence: put.sequence,
        event: EventName::ObjectCreatedPut,
        time_ms: 1_700_000_000_123,
        bucket: store.bucket,
        bucket_name: "photos".to_owned(),
        key: "k".to_owned(),
        version_id: put.version_id.clone(),
        version: Some(put.sequence),
        size: 1,
        etag: "etag-k".to_owned(),
        requester: Requester { principal: "root".to_owned(), ..Requester::default() },
    };
    assert_eq!(changes[0], expected);
    let rest: Vec<_> = changes[1..].iter().map(|c| (c.event, c.version_id.clone(), c.version)).collect();
    let expected = [
        (EventName::ObjectRemovedDeleteMarkerCreated, marked.version_id, None),
        (EventName::ObjectRemovedDelete, put.version_id, None),
    ];
    assert_eq!(rest, expected);
    assert!(changes.is_sorted_by(|a, b| a.sequence < b.sequence));
    assert_eq!(store.reader.changes(changes[0].sequence, 1).unwrap(), changes[1..2]);
    assert_eq!(store.reader.outbox_stats().unwrap().changes, 3);
}

#[test]
fn an_update_moves_everything_at_once() {
    let store = Store::new();
    store.watch();
    store.put("k");
    let change = store.reader.changes(Sequence(0), 1).unwrap().remove(0);
    let update = |update| block_on(store.meta.update_outbox(update)).unwrap();
    update(OutboxUpdate {
        consumed: vec![change.sequence, Sequence(999)],
        invocations: ["a", "b", "c"].map(|hook| invocation(&change, hook)).to_vec(),
        publications: vec![publication("t/1", "one"), publication("t/2", "three"), publication("t/3", "")],
        ..OutboxUpdate::default()
    });
    let pending = store.reader.invocations(InvocationState::Pending, 0, 10).unwrap();
    assert_eq!(pending.iter().map(|stored| stored.hook.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((&pending[0].change, pending[0].attempts, pending[0].next_ms), (&change, 0, 0));
    let one = |hook: &str, pending, dead| (hook.to_owned(), Backlog { pending, dead });
    assert_eq!(store.reader.backlogs().unwrap(), BTreeMap::from(["a", "b", "c"].map(|hook| one(hook, 1, 0))));
    let queued = store.reader.publications(0, 10).unwrap();
    assert_eq!(queued[0].publication, publication("t/1", "one"));
    let stats = OutboxStats { pending: 3, publications: 3, publication_bytes: 9 + 8, ..OutboxStats::default() };
    assert_eq!(store.reader.outbox_stats().unwrap(), stats);

    update(OutboxUpdate {
        finished: vec![pending[0].id, 12345],
        retried: vec![(pending[1].id, 2, 500, "busy".to_owned())],
        dead: vec![(pending[2].id, 5, "trap".to_owned())],
        acknowledged: vec![queued[0].id, queued[0].id],
        dropped: vec![queued[1].id, 12345],
        ..OutboxUpdate::default()
    });
    let retried = &store.reader.invocations(InvocationState::Pending, pending[0].id, 10).unwrap()[0];
    assert_eq!((retried.attempts, retried.next_ms, retried.last_error.as_deref()), (2, 500, Some("busy")));
    let dead = store.reader.invocations(InvocationState::Dead, 0, 10).unwrap();
    assert_eq!((dead.len(), dead[0].id, dead[0].last_error.as_deref()), (1, pending[2].id, Some("trap")));
    let stats = OutboxStats {
        pending: 1,
        dead: 1,
        publications: 1,
        publication_bytes: 3,
        dropped: 1,
        ..OutboxStats::default()
    };
    assert_eq!(store.reader.outbox_stats().unwrap(), stats);

    assert_eq!(store.reader.backlogs().unwrap(), BTreeMap::from([one("b", 1, 0), one("c", 0, 1)]));
    let plan = "EXPLAIN QUERY PLAN SELECT hook, state, count(*) FROM invocation GROUP BY hook, state";
    let plan: String = store.reader.connection().query_row(plan, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("USING COVERING INDEX invocation_by_hook"), "{plan}");

    update(OutboxUpdate { revived: vec![dead[0].id, pending[1].id], ..OutboxUpdate::default() });
    let pending = store.reader.invocations(InvocationState::Pending, 0, 10).unwrap();
    assert_eq!(pending.iter().map(|stored| stored.attempts).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(store.reader.outbox_stats().unwrap().dead, 0);
}

#[test]
fn counts_equal_the_rows() {
    let store = Store::new();
    store.watch();
    for number in 0..5 {
        store.put(&format!("k{number}"));
        let condition = WriteCondition { if_match: Some(EtagCondition::OneOf(vec![])), ..WriteCondition::default() };
        let refused = NewVersion { condition, ..inline(store.bucket, &format!("k{number}"), "") };
        assert_eq!(block_on(store.meta.put_version(refused)), Err(MetaError::ConditionFailed));
    }
    let rows = store.reader.rows("SELECT count(*) FROM change", [], |row| row.get::<_, i64>(0)).unwrap()[0];
    assert_eq!((rows, store.reader.outbox_stats().unwrap().changes), (5, 5));
}

#[test]
fn listeners_hear_of_what_was_written_to_the_outbox() {
    let store = Store::new();
    let heard = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = std::sync::mpsc::channel();
    let counter = heard.clone();
    store.meta.listen(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        sender.send(()).unwrap();
    }));
    let wait = || receiver.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    store.put("unwatched");
    store.watch();
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    store.put("k");
    wait();
    let publications = vec![publication("t", "p")];
    block_on(store.meta.update_outbox(OutboxUpdate { publications, ..OutboxUpdate::default() })).unwrap();
    wait();
    let id = store.reader.publications(0, 1).unwrap()[0].id;
    let acknowledged = OutboxUpdate { acknowledged: vec![id], ..OutboxUpdate::default() };
    block_on(store.meta.update_outbox(acknowledged)).unwrap();
    // The writer calls listeners before it takes the next mutation.
    store.put("l");
    wait();
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}

#[test]
fn properties_are_kept() {
    let store = Store::new();
    let set = |value: Option<&str>| block_on(store.meta.set_property("cursor".to_owned(), value.map(str::to_owned)));
    assert_eq!(store.reader.property("cursor").unwrap(), None);
    set(Some("12")).unwrap();
    set(Some("13")).unwrap();
    assert_eq!(store.reader.property("cursor").unwrap().as_deref(), Some("13"));
    set(None).unwrap();
    assert_eq!(store.reader.property("cursor").unwrap(), None);
}

#[test]
fn properties_go_with_an_update_and_are_listed_by_prefix() {
    let store = Store::new();
    let update = |properties: &[(&str, Option<&str>)]| {
        let own = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        let properties = properties.iter().map(own).collect();
        block_on(store.meta.update_outbox(OutboxUpdate { properties, ..OutboxUpdate::default() })).unwrap();
    };
    update(&[("s/a/2", Some("two")), ("s/a/1", Some("one")), ("s/ab/1", Some("other")), ("s/a0", Some("behind"))]);
    assert_eq!(store.reader.property_names("s/a/", 10).unwrap(), ["s/a/1", "s/a/2"]);
    assert_eq!(store.reader.property_names("s/a/", 1).unwrap(), ["s/a/1"]);
    update(&[("s/a/1", None), ("s/a/2", Some("three"))]);
    assert_eq!(store.reader.property_names("s/a/", 10).unwrap(), ["s/a/2"]);
    assert_eq!(store.reader.property("s/a/2").unwrap().as_deref(), Some("three"));
}
