//! Every acknowledged object whose rule matched is processed: overwritten, deleted, with its bucket gone, its rules changed.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pollster::block_on;

use super::appliance::{Appliance, BUCKET, Runner, answer, refusal};
use crate::engine::Engine;
use crate::hook::{HookFault, HookRunner, Invocation, Outcome};
use crate::meta::{
    Attributes, Body, BucketConfig, DeleteCause, DeleteVersion, MetaError, NewVersion, Requester, VersionRef,
    WriteCondition,
};
use crate::mqtt::tests::until;
use crate::notification::{Configuration, Filter, Target};
use crate::outbox::{OutboxSettings, RouteChange};

/// Answers with the bytes of the version that the change speaks of.
struct Reading;

impl HookRunner for Reading {
    fn run(&self, engine: &Rc<Engine>, invocation: &Invocation) -> Result<Outcome, HookFault> {
        let change = &invocation.change;
        let failed = |error: crate::engine::EngineError| HookFault::Object(error.to_string());
        let version = change.version.ok_or_else(|| refusal(false))?;
        let object = engine.held_object(change.bucket, &change.key, version).map_err(failed)?;
        let mut reader = engine.read_object(&object, 0..object.version.size);
        let mut text = String::new();
        while let Some(piece) = block_on(reader.next()) {
            text.push_str(std::str::from_utf8(&piece.map_err(failed)?).unwrap());
        }
        Ok(answer(&text))
    }
}

fn put(appliance: &Appliance, key: &str, text: &str, attributes: Attributes) {
    let version = NewVersion {
        size: text.len() as u64,
        body: Body::Inline(bytes::Bytes::copy_from_slice(text.as_bytes())),
        attributes,
        ..appliance.version(key, 0, "somebody")
    };
    block_on(appliance.meta.put_version(version)).unwrap();
}

fn delete(appliance: &Appliance, key: &str) {
    let delete = DeleteVersion {
        bucket: appliance.bucket,
        key: key.to_owned(),
        version: VersionRef::Latest,
        time_ms: 1,
        condition: WriteCondition::default(),
        cause: DeleteCause::PLAIN,
        requester: Requester::default(),
    };
    block_on(appliance.meta.delete_version(delete)).unwrap();
}

fn payloads(appliance: &Appliance) -> Vec<String> {
    let rows = appliance.meta.reader().unwrap().publications(0, 1000).unwrap();
    rows.into_iter().map(|row| String::from_utf8(row.publication.payload).unwrap()).collect()
}

fn is_done(appliance: &Appliance) -> bool {
    let stats = appliance.meta.reader().unwrap().outbox_stats().unwrap();
    assert_eq!(stats.dead, 0);
    (stats.changes, stats.pending) == (0, 0)
}

#[test]
fn versions_that_are_gone_before_their_hook_ran_are_read_whole() {
    let mut appliance = Appliance::new();
    let expected: Vec<String> = (0..60).map(|number| format!("version {number}")).collect();
    for text in &expected {
        put(&appliance, "k", text, Attributes::default());
    }
    delete(&appliance, "k");
    // The rules go, then the bucket, then the power.
    block_on(appliance.meta.set_bucket_config(appliance.bucket, BucketConfig::Notification, None, Some(false)))
        .unwrap();
    block_on(appliance.meta.delete_bucket(BUCKET.to_owned())).unwrap();
    appliance = appliance.restart();
    assert_eq!(appliance.meta.reader().unwrap().bucket(BUCKET), Err(MetaError::NoSuchBucket));
    let stats = || appliance.meta.reader().unwrap().outbox_stats().unwrap();
    assert_eq!(stats().held, 60);
    let outbox = appliance.outbox_of(Arc::new(Reading), OutboxSettings::default(), None);
    until("all have run", || is_done(&appliance));
    assert_eq!(payloads(&appliance), expected);
    assert_eq!((stats().held, stats().held_bytes), (0, 0));
    outbox.stop();
}

#[test]
fn rules_that_ask_for_more_than_a_key_see_the_object_as_it_was_written() {
    let appliance = Appliance::new();
    let rule = |id: &str, rules: &[(&str, &str)]| {
        let mut filter = Filter::default();
        rules.iter().for_each(|(name, value)| assert_eq!(filter.set(name, value), Ok(true)));
        crate::notification::Rule {
            id: id.to_owned(),
            filter,
            ..appliance.rule(id, &Target::Hook("look".to_owned()), "")
        }
    };
    let rules = vec![
        rule("pictures", &[("content-type", "image/*"), ("size-min", "3")]),
        rule("hot", &[("content-type", "text/plain"), ("tag:kind", "hot"), ("metadata:camera", "*")]),
    ];
    appliance.set_configuration(&Configuration { rules });
    let attributes = |kind: &str, tag: &str, camera: &str| {
        let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Attributes {
            content_type: Some(kind.to_owned()),
            tags: pair("kind", tag),
            user_metadata: pair(camera, "7"),
            ..Attributes::default()
        }
    };
    // Each is overwritten by the next before any rule is looked at.
    for (text, kind, tag, camera) in [
        ("jpeg", "image/jpeg", "cold", "lens"),
        ("12", "image/jpeg", "cold", "lens"),
        ("sound", "audio/wav", "hot", "camera"),
        ("note", "text/plain; charset=utf-8", "hot", "camera"),
        ("cold note", "text/plain", "cold", "camera"),
        ("bare note", "text/plain", "hot", "lens"),
        ("last", "image/png", "cold", "lens"),
    ] {
        put(&appliance, "k", text, attributes(kind, tag, camera));
    }
    delete(&appliance, "k");
    let outbox = appliance.outbox_of(Arc::new(Reading), OutboxSettings::default(), None);
    until("all have run", || is_done(&appliance));
    assert_eq!(payloads(&appliance), ["jpeg", "note", "last"]);
    outbox.stop();
}

#[test]
fn an_invocation_ends_with_the_time_to_live_of_its_rule() {
    let appliance = Appliance::new();
    let short = RouteChange { ttl_s: Some(1), ..RouteChange::default() };
    let settings = || OutboxSettings {
        attempts_max: 1_000_000,
        rules: BTreeMap::from([("look-rule".to_owned(), short.clone())]),
        ..OutboxSettings::default()
    };
    let outbox = appliance.outbox(&Runner::new(|_| Err(refusal(true))), settings(), None);
    for key in ["a", "b"] {
        put(&appliance, key, "text", Attributes::default());
        delete(&appliance, key);
    }
    let stats = || appliance.meta.reader().unwrap().outbox_stats().unwrap();
    until("both have expired", || stats().expired == 2);
    assert_eq!((stats().pending, stats().dead, stats().held), (0, 0, 0));
    outbox.stop();
    // What was given up before its time was over ends then, too.
    let outbox = appliance.outbox(&Runner::new(|_| Err(refusal(false))), settings(), None);
    put(&appliance, "c", "text", Attributes::default());
    until("it is dead, then gone", || (stats().expired, stats().dead) == (3, 0));
    outbox.stop();
}

#[test]
fn dead_invocations_hold_no_more_than_their_bound() {
    let appliance = Appliance::new();
    let settings = OutboxSettings { held_bytes_max: 25, ..OutboxSettings::default() };
    let outbox = appliance.outbox(&Runner::new(|_| Err(refusal(false))), settings, None);
    for number in 0..10 {
        put(&appliance, "k", &format!("{number:0>10}"), Attributes::default());
    }
    delete(&appliance, "k");
    let stats = || appliance.meta.reader().unwrap().outbox_stats().unwrap();
    until("all are dead and within the bound", || stats().dead == 10 && stats().held_bytes <= 25);
    assert_eq!((stats().held, stats().held_bytes), (2, 20), "the newest are left");
    let all = outbox.dead(0, 10).unwrap().iter().map(|row| row.id).collect();
    outbox.forget(all).unwrap();
    assert_eq!((stats().held, stats().dead), (0, 0));
    outbox.stop();
}
