//! An appliance for the tests: pool and metadata on folders, an outbox over them, a runner made of a closure.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use pollster::block_on;

use crate::engine::Engine;
use crate::hook::{HookFault, HookResult, HookRunner, Invocation, Outcome};
use crate::meta::{
    Attributes, Body, BucketConfig, BucketId, Copy, EventName, Meta, NewVersion, OutboxUpdate, Requester,
    WriteCondition,
};
use crate::mqtt::PublisherSettings;
use crate::notification::{Configuration, Rule, Target};
use crate::outbox::{Outbox, OutboxParts, OutboxSettings};
use crate::pool::{Pool, PoolOptions};
use crate::seam::Storage;
use crate::seam::files::RealStorage;
use crate::seam::real::world;

/// What a hook does with an invocation.
pub type Behaviour = dyn Fn(&Invocation) -> Result<Outcome, HookFault> + Send + Sync;

/// Runs a closure and notes each attempt.
pub struct Runner {
    behaviour: Box<Behaviour>,
    pub attempts: Mutex<Vec<Invocation>>,
}

impl Runner {
    pub fn new(behaviour: impl Fn(&Invocation) -> Result<Outcome, HookFault> + Send + Sync + 'static) -> Arc<Runner> {
        Arc::new(Runner { behaviour: Box::new(behaviour), attempts: Mutex::default() })
    }

    /// Answers each invocation with its number, which the tests keep in the object's entity tag.
    pub fn echo() -> Arc<Runner> {
        Runner::new(|invocation| Ok(answer(&invocation.change.etag)))
    }

    /// Numbers of the objects of one key, in the order of the attempts.
    pub fn numbers(&self, key: &str) -> Vec<u64> {
        let attempts = self.attempts.lock().unwrap();
        attempts
            .iter()
            .filter(|attempt| attempt.change.key == key)
            .map(|attempt| attempt.change.etag.parse().unwrap())
            .collect()
    }

    pub fn count(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }
}

impl HookRunner for Runner {
    fn run(&self, _engine: &Rc<Engine>, invocation: &Invocation) -> Result<Outcome, HookFault> {
        self.attempts.lock().unwrap().push(invocation.clone());
        (self.behaviour)(invocation)
    }
}

pub fn answer(payload: &str) -> Outcome {
    Outcome { results: vec![HookResult { topic: None, payload: payload.as_bytes().to_vec() }], ..Outcome::default() }
}

pub fn refusal(retry: bool) -> HookFault {
    HookFault::Rejected { message: "not today".to_owned(), retry }
}

/// Folders that outlive the processes that the tests play.
pub struct Appliance {
    root: tempfile::TempDir,
    pub pool: Arc<Pool>,
    pub meta: Meta,
    pub bucket: BucketId,
}

pub const BUCKET: &str = "pictures";

impl Appliance {
    /// A new appliance whose bucket tells hook `look` of every new object.
    pub fn new() -> Appliance {
        let root = tempfile::tempdir().unwrap();
        for name in ["d0", "d1"] {
            RealStorage::create(&root.path().join(name)).unwrap();
        }
        let (pool, meta) = open(root.path().to_owned());
        block_on(meta.create_bucket(BUCKET.to_owned(), "eu-edge-1".to_owned(), false, 0)).unwrap();
        let bucket = meta.reader().unwrap().bucket(BUCKET).unwrap().id;
        let appliance = Appliance { root, pool, meta, bucket };
        appliance.set_rules(&[("look-rule", Target::Hook("look".to_owned()), "")]);
        appliance
    }

    /// The same folders, opened again, as after a restart.
    pub fn restart(self) -> Appliance {
        let Appliance { root, pool, meta, bucket } = self;
        meta.close();
        pool.close();
        drop((meta, pool));
        let (pool, meta) = open(root.path().to_owned());
        Appliance { root, pool, meta, bucket }
    }

    /// Replaces the bucket's rules: id, target and prefix of each, for new objects.
    pub fn set_rules(&self, rules: &[(&str, Target, &str)]) {
        let rules = rules.iter().map(|(id, target, prefix)| self.rule(id, target, prefix));
        self.set_configuration(&Configuration { rules: rules.collect() });
    }

    pub fn rule(&self, id: &str, target: &Target, prefix: &str) -> Rule {
        Rule {
            id: id.to_owned(),
            target: target.clone(),
            arn: match target {
                Target::Hook(name) => format!("arn:aerie:hook:::{name}"),
                Target::Topic(topic) => format!("arn:aerie:mqtt:::{topic}"),
            },
            events: vec!["s3:ObjectCreated:*".to_owned()],
            prefix: prefix.to_owned(),
            suffix: String::new(),
            filter: crate::notification::Filter::default(),
        }
    }

    pub fn set_configuration(&self, configuration: &Configuration) {
        let document = Some(configuration.to_xml());
        block_on(self.meta.set_bucket_config(self.bucket, BucketConfig::Notification, document, Some(true))).unwrap();
    }

    /// An outbox that retries fast.
    pub fn outbox(
        &self,
        runner: &Arc<Runner>,
        settings: OutboxSettings,
        publisher: Option<PublisherSettings>,
    ) -> Outbox {
        self.outbox_of(Arc::clone(runner) as Arc<dyn HookRunner>, settings, publisher)
    }

    pub fn outbox_of(
        &self,
        runner: Arc<dyn HookRunner>,
        settings: OutboxSettings,
        publisher: Option<PublisherSettings>,
    ) -> Outbox {
        let (meta, pool) = (self.meta.clone(), Arc::clone(&self.pool));
        Outbox::start(OutboxParts {
            background: false,
            ledger: None,
            meta: self.meta.clone(),
            engines: Arc::new(move || Engine::new(meta.clone(), Arc::clone(&pool), world())),
            runner,
            world: world(),
            budget: crate::outbox::BudgetSettings { cpu_share: 100, temperature_max: None },
            thermometer: Arc::new(crate::seam::sim::SimThermometer::default()),
            settings: OutboxSettings { retry_ms_min: 2, retry_ms_max: 20, ..settings },
            publisher: publisher.map(|settings| PublisherSettings {
                reconnect_ms_min: 5,
                reconnect_ms_max: 100,
                status: false,
                ..settings
            }),
        })
        .unwrap()
    }

    /// Commits an object; its number is kept as its entity tag, which nobody compares here.
    pub fn put(&self, key: &str, number: u64) {
        self.put_as(key, number, "somebody");
    }

    pub fn put_as(&self, key: &str, number: u64, principal: &str) {
        block_on(self.meta.put_version(self.version(key, number, principal))).unwrap();
    }

    pub fn version(&self, key: &str, number: u64, principal: &str) -> NewVersion {
        NewVersion {
            bucket: self.bucket,
            key: key.to_owned(),
            size: 0,
            etag: number.to_string(),
            modified_ms: world().clock.unix_ms(),
            attributes: Attributes::default(),
            body: Body::Inline(bytes::Bytes::new()),
            condition: WriteCondition::default(),
            event: EventName::ObjectCreatedPut,
            requester: Requester { principal: principal.to_owned(), ..Requester::default() },
            missed: 0,
        }
    }

    /// Nothing is left to be dispatched, run or sent.
    pub fn is_idle(&self) -> bool {
        let stats = self.meta.reader().unwrap().outbox_stats().unwrap();
        (stats.changes, stats.pending, stats.publications) == (0, 0, 0)
    }

    pub fn update(&self, update: OutboxUpdate) {
        block_on(self.meta.update_outbox(update)).unwrap();
    }
}

fn open(root: PathBuf) -> (Arc<Pool>, Meta) {
    let place = |name: &str| {
        let storage = RealStorage::open(&root.join(name)).unwrap();
        (name.to_owned(), Some(Arc::new(storage) as Arc<dyn Storage>))
    };
    let options = PoolOptions { parity: Some(1), write_shards_min: None, replace: vec![], world: world() };
    let pool = Pool::open(vec![place("d0"), place("d1")], options).unwrap();
    let copies = pool.copies().into_iter().map(|(slot, storage, current)| Copy { slot, storage, current });
    let meta =
        Meta::open(copies.collect(), &pool.id(), Arc::new(|slot| -> bool { panic!("copy {slot} failed") }), world())
            .unwrap();
    (pool, meta)
}
