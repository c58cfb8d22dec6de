//! The ledger by itself: who waits for what, and when a message may go.

use std::collections::HashSet;

use crate::limits;
use crate::mqtt::BrokerSettings;
use crate::mqtt::ledger::{Ledger, Taken, name_of};

const BYTES: u64 = 1000;

fn ledger(queued_messages_max: usize, queued_bytes_max: usize) -> Ledger {
    Ledger::new(&BrokerSettings { queued_messages_max, queued_bytes_max, ..BrokerSettings::default() })
}

fn with_sessions(clients: &[(&str, &str)]) -> Ledger {
    let ledger = ledger(1000, 1 << 30);
    for (client, filter) in clients {
        ledger.put(client, format!("document of {client}"), vec![(*filter).to_owned()]).unwrap();
    }
    ledger
}

fn take(ledger: &Ledger, id: i64, topic: &str) -> Option<i64> {
    let event_id = id.to_string();
    ledger.take(Taken { id, topic, name: name_of(event_id.as_bytes(), topic), bytes: BYTES })
}

/// Looks at a session in which messages of these ids were sent to `t` and not acknowledged.
fn look(ledger: &Ledger, client: &str, queued: bool, sent: &[i64]) {
    let names: HashSet<u64> = sent.iter().map(|id| name_of(id.to_string().as_bytes(), "t")).collect();
    if let Some(last) = ledger.look(client, false) {
        ledger.observe(client, last, queued, &names);
    }
}

#[test]
fn a_message_is_kept_while_a_session_that_wants_it_waits() {
    let ledger = with_sessions(&[("a", "t"), ("b", "#"), ("c", "$share/group/t")]);
    assert_eq!(take(&ledger, 7, "t"), Some(1));
    assert_eq!(take(&ledger, 8, "other"), Some(2));
    for (client, left) in [("a", 2), ("c", 2), ("b", 0)] {
        look(&ledger, client, false, &[]);
        assert_eq!(ledger.stats().kept, left, "after {client}");
    }
    assert_eq!(ledger.news().released, [7, 8]);
    assert_eq!((ledger.stats().kept_bytes, ledger.stats().dropped), (0, 0));
    assert_eq!(with_sessions(&[("a", "x/+")]).take(Taken { id: 1, topic: "t", name: 0, bytes: 1 }), None);
}

#[test]
fn what_is_older_than_the_oldest_unacknowledged_message_is_let_go() {
    // Sent and not acknowledged, whether more is queued, and what is let go of 1 to 5.
    let cases: &[(&[i64], bool, &[i64])] = &[
        (&[], false, &[1, 2, 3, 4, 5]),
        // A batch may be between queue and socket: nothing is known.
        (&[], true, &[]),
        (&[1, 2], true, &[]),
        (&[3], true, &[1, 2]),
        (&[5, 3], false, &[1, 2]),
        // Other clients' messages say nothing of ours.
        (&[99], true, &[]),
        (&[99], false, &[1, 2, 3, 4, 5]),
    ];
    for (sent, queued, released) in cases {
        let ledger = with_sessions(&[("a", "t")]);
        (1..=5).for_each(|id| _ = take(&ledger, id, "t"));
        look(&ledger, "a", *queued, sent);
        assert_eq!(ledger.news().released, *released, "{sent:?} {queued}");
    }
}

#[test]
fn after_a_lost_connection_of_the_publisher_only_an_empty_queue_tells() {
    let ledger = with_sessions(&[("a", "t")]);
    (1..=5).for_each(|id| _ = take(&ledger, id, "t"));
    ledger.disorder();
    look(&ledger, "a", true, &[4]);
    assert_eq!(ledger.stats().kept, 5, "3 may have been queued behind 4");
    look(&ledger, "a", false, &[4]);
    assert_eq!(ledger.stats().kept, 2);
    take(&ledger, 6, "t");
    look(&ledger, "a", true, &[5]);
    assert_eq!(ledger.news().released, [1, 2, 3, 4], "in order again");
}

#[test]
fn a_look_says_nothing_of_what_was_taken_after_it_began() {
    let ledger = with_sessions(&[("a", "t")]);
    take(&ledger, 1, "t");
    let last = ledger.look("a", false).unwrap();
    take(&ledger, 2, "t");
    ledger.observe("a", last, false, &HashSet::new());
    assert_eq!(ledger.news().released, [1]);
}

#[test]
fn a_session_that_uses_up_its_room_loses_its_oldest_and_that_is_counted() {
    let all = |ids: std::ops::RangeInclusive<i64>| ids.map(|id| name_of(id.to_string().as_bytes(), "t"));
    // What was sent needs no room among the queued.
    for (sent, excess) in [(0, 2), (1, 1), (2, 0)] {
        for ledger in [ledger(3, 1 << 30), ledger(1000, 3 * BYTES as usize)] {
            ledger.put("a", "document".to_owned(), vec!["#".to_owned()]).unwrap();
            (1..=5).for_each(|id| _ = take(&ledger, id, "t"));
            let last = ledger.look("a", true).expect("its room is used up");
            assert_eq!(ledger.observe("a", last, true, &all(1..=sent).collect()), excess);
            // Another client's message is none of ours.
            let gone: Vec<u64> = all(sent + 1..=sent + excess as i64).chain([99]).collect();
            ledger.dropped("a", &gone);
            assert_eq!((ledger.stats().kept, ledger.stats().dropped), (5 - excess as u64, excess as u64));
            look(&ledger, "a", false, &[]);
            let mut released = ledger.news().released;
            released.sort_unstable();
            assert_eq!(released, [1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn when_all_sessions_together_take_too_much_each_has_its_share() {
    let ledger = ledger(1000, limits::BROKER_KEPT_BYTES_MAX as usize);
    for client in ["a", "b"] {
        ledger.put(client, "document".to_owned(), vec![format!("{client}/#")]).unwrap();
    }
    let bytes = limits::BROKER_KEPT_BYTES_MAX / 4;
    let take = |id: i64, topic| ledger.take(Taken { id, topic, name: id as u64, bytes });
    for (id, topic) in [(1, "a/x"), (2, "b/x"), (3, "a/x"), (4, "a/x")] {
        take(id, topic);
    }
    assert_eq!(ledger.look("a", true), None, "there is room for all");
    take(5, "a/x");
    let last = ledger.look("a", true).expect("it has more than its half");
    assert_eq!(ledger.observe("a", last, true, &HashSet::new()), 2);
    ledger.dropped("a", &[1, 3]);
    assert_eq!(ledger.look("b", true), None);
    assert_eq!(ledger.news().released, [1, 3]);
    assert_eq!((ledger.stats().kept, ledger.stats().dropped), (3, 2));
}

#[test]
fn a_session_that_ends_or_begins_anew_waits_for_nothing() {
    let ledger = with_sessions(&[("a", "t"), ("b", "t")]);
    (1..=2).for_each(|id| _ = take(&ledger, id, "t"));
    _ = ledger.news();
    ledger.clear("a");
    ledger.end("b");
    let news = ledger.news();
    assert_eq!(news.released, [1, 2]);
    let rows: Vec<_> =
        news.sessions.iter().map(|(client, row)| (client.as_str(), row.as_ref().map(|row| row.through))).collect();
    assert_eq!(rows, [("a", Some(2)), ("b", None)]);
    assert_eq!(take(&ledger, 3, "t"), Some(3), "a still subscribes");
    assert_eq!(ledger.stats().sessions, 1);
}

#[test]
fn sessions_and_retained_messages_have_their_bounds() {
    let ledger = ledger(10, 1 << 20);
    for number in 0..limits::BROKER_SESSIONS_MAX {
        assert!(ledger.put(&number.to_string(), "document".to_owned(), Vec::new()).is_some());
    }
    assert_eq!(ledger.put("one too many", "document".to_owned(), Vec::new()), None);
    let row = |topic: &str, bytes: u64| {
        Some(crate::mqtt::RetainedRow {
            topic: topic.to_owned(),
            head: String::new(),
            payload: vec![0; bytes as usize - topic.len()],
        })
    };
    let half = limits::BROKER_RETAINED_BYTES_MAX / 2;
    let topics = |ledger: &Ledger| -> Vec<(String, bool)> {
        ledger.news().retained.into_iter().map(|(topic, row)| (topic, row.is_some())).collect()
    };
    for (topic, bytes) in [("a", Some(half)), ("b", Some(half)), ("c", Some(1)), ("a", Some(half)), ("b", None)] {
        ledger.retain(topic, bytes.and_then(|bytes| row(topic, bytes)));
    }
    let told = |rows: &[(&str, bool)]| rows.iter().map(|(topic, set)| ((*topic).to_owned(), *set)).collect::<Vec<_>>();
    assert_eq!(topics(&ledger), told(&[("a", true), ("b", true), ("a", true), ("b", false)]), "c had no room");
    // What is too large now takes what was stored before with it.
    ledger.retain("a", row("a", 2 * half + 1));
    assert_eq!(topics(&ledger), told(&[("a", false)]));
}
