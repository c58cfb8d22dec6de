//! What the built-in broker keeps: in one transaction with the outbox, and readable whatever has become of it.

use super::*;

fn publication(topic: &str) -> NewPublication {
    NewPublication {
        event_id: format!("e-{topic}"),
        topic: topic.to_owned(),
        payload: b"payload".to_vec(),
        qos: 1,
        retain: false,
        priority: 0,
        expires_ms: None,
        properties: Vec::new(),
    }
}

fn session(client: &str, through: i64, session: &str) -> (String, Option<StoredSession>) {
    let row = StoredSession { client: client.to_owned(), through, session: session.to_owned() };
    (client.to_owned(), Some(row))
}

fn update(store: &Store, broker: BrokerUpdate) {
    block_on(store.meta.update_outbox(OutboxUpdate { broker, ..OutboxUpdate::default() })).unwrap();
}

fn topics(rows: impl IntoIterator<Item = StoredPublication>) -> Vec<String> {
    rows.into_iter().map(|row| row.publication.topic).collect()
}

#[test]
fn a_kept_publication_is_no_longer_to_be_sent_and_counts_no_more() {
    let store = Store::new();
    let publications = ["a", "b", "c"].map(publication).to_vec();
    block_on(store.meta.update_outbox(OutboxUpdate { publications, ..OutboxUpdate::default() })).unwrap();
    let ids: Vec<i64> = store.reader.publications(0, 10).unwrap().iter().map(|row| row.id).collect();
    // The last is gone already; a place is given once.
    update(
        &store,
        BrokerUpdate { kept: vec![(7, ids[2]), (8, ids[0]), (9, 12345), (8, ids[1])], ..Default::default() },
    );
    let kept = || store.reader.broker_kept(0, 10).unwrap();
    assert_eq!(kept().iter().map(|(place, _)| *place).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(topics(kept().into_iter().map(|(_, row)| row)), ["c", "a"], "in the order of the places");
    assert_eq!(store.reader.broker_kept(7, 10).unwrap().len(), 1);
    assert_eq!(topics(store.reader.publications(0, 10).unwrap()), ["b"]);
    let counts = || {
        let stats = store.reader.outbox_stats().unwrap();
        (stats.publications, stats.publication_bytes, stats.dropped)
    };
    assert_eq!(counts(), (1, 8, 0));
    let gone = OutboxUpdate { acknowledged: vec![ids[0]], dropped: vec![ids[1]], ..OutboxUpdate::default() };
    block_on(store.meta.update_outbox(gone)).unwrap();
    assert_eq!(counts(), (0, 0, 1));
    assert_eq!(kept().len(), 1);
}

#[test]
fn of_sessions_and_retained_messages_the_last_state_counts() {
    let store = Store::new();
    let retained = |topic: &str, payload: &[u8]| {
        let row = StoredRetained { topic: topic.to_owned(), head: "{}".to_owned(), payload: payload.to_vec() };
        (topic.to_owned(), Some(row))
    };
    update(
        &store,
        BrokerUpdate {
            sessions: vec![
                session("a", 1, "old"),
                session("b", 2, "b"),
                ("b".to_owned(), None),
                session("a", 3, "new"),
            ],
            advanced: vec![("a".to_owned(), 5), ("b".to_owned(), 6)],
            retained: vec![retained("t/1", b"1"), retained("t/2", b""), retained("t/1", b"2")],
            ..Default::default()
        },
    );
    let rows = store.reader.broker_sessions().unwrap();
    assert_eq!(rows, [session("a", 5, "new").1.unwrap()]);
    let rows = store.reader.broker_retained("", 10).unwrap();
    assert_eq!(rows, [retained("t/1", b"2").1.unwrap(), retained("t/2", b"").1.unwrap()]);
    assert_eq!(store.reader.broker_retained("t/1", 10).unwrap().len(), 1);
    update(&store, BrokerUpdate { retained: vec![("t/1".to_owned(), None)], ..Default::default() });
    assert_eq!(store.reader.broker_retained("", 10).unwrap().len(), 1);
}

#[test]
fn rows_of_any_content_are_read() {
    let store = Store::new();
    update(&store, BrokerUpdate { sessions: vec![session("good", 1, "{}")], ..Default::default() });
    block_on(store.meta.writer.write(|group| {
        group.connection().execute_batch(
            "INSERT INTO broker_session VALUES('blob', 'no number', x'ff00'), (x'fe', 2, 17);
             INSERT INTO broker_retained VALUES('number', 3, 4), ('null', '', x'');",
        )?;
        Ok(())
    }))
    .unwrap();
    let rows = store.reader.broker_sessions().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.contains(&session("good", 1, "{}").1.unwrap()), "{rows:?}");
    assert_eq!(store.reader.broker_retained("", 10).unwrap().len(), 2);
}
