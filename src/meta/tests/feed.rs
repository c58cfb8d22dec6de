//! The live feed: what a tap sees, and what ends it.

use futures_util::FutureExt;
use futures_util::StreamExt;

use super::*;

fn all() -> Wants {
    Box::new(|_| true)
}

/// What the tap has now; `None` once it has ended.
fn heard(tap: &mut ChangeTap) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    loop {
        match tap.next().now_or_never() {
            None => return Some(keys),
            Some(Some(change)) => keys.push(format!("{} {}", change.event.as_str(), change.key)),
            Some(None) if keys.is_empty() => return None,
            Some(None) => return Some(keys),
        }
    }
}

/// A change reaches the taps after its caller has the answer: waits for the next group.
fn settle(store: &Store) {
    block_on(store.meta.set_property("settle".to_owned(), None)).unwrap();
    block_on(store.meta.set_property("settle".to_owned(), None)).unwrap();
}

#[test]
fn a_tap_hears_what_is_committed_while_it_lives() {
    let store = Store::new();
    store.put("before");
    let mut every = store.meta.tap(all()).unwrap();
    let mut removed = store.meta.tap(Box::new(|change| change.event == EventName::ObjectRemovedDelete)).unwrap();
    store.put("a");
    let refused = NewVersion {
        condition: WriteCondition { if_none_match: Some(EtagCondition::Any), ..WriteCondition::default() },
        ..inline(store.bucket, "a", "again")
    };
    assert_eq!(block_on(store.meta.put_version(refused)), Err(MetaError::ConditionFailed));
    block_on(store.meta.set_tags(
        store.bucket,
        "a".to_owned(),
        VersionRef::Latest,
        tags("x", "y"),
        5,
        Requester::default(),
    ))
    .unwrap();
    store.delete("a", VersionRef::Latest);
    settle(&store);
    assert_eq!(heard(&mut every).unwrap(), ["ObjectCreated:Put a", "ObjectTagging:Put a", "ObjectRemoved:Delete a"]);
    assert_eq!(heard(&mut removed).unwrap(), ["ObjectRemoved:Delete a"]);
    assert!(store.reader.changes(Sequence(0), 10).unwrap().is_empty(), "nobody watches the bucket: nothing is stored");
    drop(every);
    store.put("b");
    settle(&store);
    assert_eq!(heard(&mut removed).unwrap(), Vec::<String>::new());
    store.meta.close();
    assert_eq!(heard(&mut removed), None, "it ends with the store");
}

#[test]
fn a_slow_tap_is_ended_and_taps_are_bounded() {
    let store = Store::new();
    let mut slow = store.meta.tap(all()).unwrap();
    // A channel has one more place for each sender.
    let room = limits::LISTENER_CHANGES_MAX + 1;
    for number in 0..room + 1 {
        store.put(&number.to_string());
    }
    settle(&store);
    let got = heard(&mut slow).unwrap();
    assert_eq!(got.len(), room, "what was taken still comes");
    assert_eq!(heard(&mut slow), None, "and then it ends, with no gap");
    let taps: Vec<ChangeTap> = (0..limits::LISTENERS_MAX).map(|_| store.meta.tap(all()).unwrap()).collect();
    assert_eq!(store.meta.tap(all()).err(), Some(MetaError::Busy));
    drop(taps);
    store.meta.tap(all()).unwrap();
}

#[test]
fn a_configuration_that_is_put_is_announced() {
    let store = Store::new();
    block_on(store.meta.announce_notifications(store.bucket, Requester::default())).unwrap();
    assert!(store.reader.changes(Sequence(0), 10).unwrap().is_empty(), "only to those who watch");
    store.watch();
    block_on(store.meta.announce_notifications(store.bucket, Requester::default())).unwrap();
    let changes = store.reader.changes(Sequence(0), 10).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].event, changes[0].key.as_str(), changes[0].version), (EventName::TestEvent, "", None));
}
