//! The hook author's commands: new, test, keygen, bundle, sign (offline); add, list, remove, logs, stats, run, replay (on a server); models.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use http::Method;

use super::bundle::{Keygen, MakeBundle, Sign, named_model};
use super::client::{Client, encode};
use super::object::content_type_of;
use super::template::New;
use crate::hook::trial;
use crate::inference::ModelFile;
use crate::seam::real;

/// Write, test and run hooks.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "hook")]
pub(super) struct HookCommand {
    #[argh(subcommand)]
    action: HookAction,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum HookAction {
    New(New),
    Test(Test),
    Keygen(Keygen),
    Bundle(MakeBundle),
    Sign(Sign),
    Add(Add),
    List(List),
    Remove(Remove),
    Logs(Logs),
    Stats(Stats),
    Run(Run),
    Replay(Replay),
}

/// Run a hook on a local file with the server's own host code, without a server.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "test")]
struct Test {
    #[argh(positional)]
    file: PathBuf,
    #[argh(option, description = "file that plays the new object")]
    object: PathBuf,
    #[argh(option, description = "NAME=FILE.onnx, repeatable; labels are read from FILE.labels where that is there")]
    model: Vec<String>,
}

/// Install or upgrade a hook: `aerie hook add NAME FILE.wasm`, or `aerie hook add BUNDLE`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add")]
struct Add {
    #[argh(positional, description = "name of the hook, or the bundle's file")]
    name: String,
    #[argh(positional)]
    file: Option<PathBuf>,
    #[argh(option, description = "memory the guest may take, MiB")]
    memory_mib: Option<u64>,
    #[argh(option, description = "time an invocation may take, milliseconds")]
    deadline_ms: Option<u64>,
    #[argh(option, description = "bytes of results an invocation may give")]
    output_bytes: Option<u64>,
    #[argh(option, description = "invocations that may begin in a second")]
    rate_per_s: Option<u64>,
    #[argh(switch, description = "grant: set tags on the object")]
    allow_tags: bool,
    #[argh(option, description = "grant: store derived objects under this key prefix")]
    allow_derive: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// List the hooks.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
struct List {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Remove a hook.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "remove")]
struct Remove {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Show what a hook wrote to its log, and its failures.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "logs")]
struct Logs {
    #[argh(positional)]
    name: String,
    #[argh(switch, short = 'f', description = "go on as lines come")]
    follow: bool,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Show how often a hook ran, how it ended and how long it took.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stats")]
struct Stats {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Run a hook on one stored object, as if it had just been written.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "run")]
struct Run {
    #[argh(positional)]
    name: String,
    #[argh(positional, description = "BUCKET/KEY")]
    object: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Run a hook on the objects that a bucket has already.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "replay")]
struct Replay {
    #[argh(positional)]
    name: String,
    #[argh(option)]
    /// bucket
    bucket: String,
    #[argh(option, description = "only keys that begin with this", default = "String::new()")]
    prefix: String,
    #[argh(option, description = "only objects written since (2026-01-31T00:00:00Z)")]
    since: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl HookCommand {
    pub fn run(self) -> Result<(), String> {
        match self.action {
            HookAction::New(new) => new.run(),
            HookAction::Test(test) => test.run(),
            HookAction::Keygen(keygen) => keygen.run(),
            HookAction::Bundle(bundle) => bundle.run(),
            HookAction::Sign(sign) => sign.run(),
            HookAction::Add(add) => add.run(),
            HookAction::List(List { endpoint }) => {
                println!("{}", Client::find(endpoint)?.ask(Method::GET, "/_aerie/v1/hooks", "", Vec::new())?);
                Ok(())
            }
            HookAction::Remove(Remove { name, endpoint }) => {
                let path = format!("/_aerie/v1/hooks/{}", encode(&name));
                println!("{}", Client::find(endpoint)?.ask(Method::DELETE, &path, "", Vec::new())?);
                Ok(())
            }
            HookAction::Logs(Logs { name, follow, endpoint }) => {
                let path = format!("/_aerie/v1/hooks/{}/logs", encode(&name));
                let query = if follow { "follow=1" } else { "" };
                Client::find(endpoint)?.stream(&path, query, &mut std::io::stdout().lock())
            }
            HookAction::Stats(Stats { name, endpoint }) => {
                let path = format!("/_aerie/v1/hooks/{}/stats", encode(&name));
                println!("{}", Client::find(endpoint)?.ask(Method::GET, &path, "", Vec::new())?);
                Ok(())
            }
            HookAction::Run(Run { name, object, endpoint }) => {
                let (bucket, key) = object.split_once('/').ok_or("name the object as BUCKET/KEY")?;
                let path = format!("/_aerie/v1/hooks/{}/run", encode(&name));
                let query = format!("bucket={}&key={}", encode(bucket), encode(key));
                println!("{}", Client::find(endpoint)?.ask(Method::POST, &path, &query, Vec::new())?);
                Ok(())
            }
            HookAction::Replay(replay) => {
                let path = format!("/_aerie/v1/hooks/{}/replay", encode(&replay.name));
                let mut query = format!("bucket={}&prefix={}", encode(&replay.bucket), encode(&replay.prefix));
                if let Some(since) = &replay.since {
                    query.push_str(&format!("&since={}", encode(since)));
                }
                println!("{}", Client::find(replay.endpoint)?.ask(Method::POST, &path, &query, Vec::new())?);
                Ok(())
            }
        }
    }
}

impl Test {
    fn run(self) -> Result<(), String> {
        let mut models = std::collections::BTreeMap::new();
        for named in &self.model {
            let model = named_model(named)?;
            let labels = String::from_utf8_lossy(&model.labels.unwrap_or_default()).into_owned();
            let labels = labels.lines().map(str::to_owned).collect();
            models.insert(model.name, ModelFile { bytes: model.bytes.to_vec(), labels });
        }
        let module = read(&self.file)?;
        let key = self.object.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = content_type_of(&self.object);
        let report = trial(&module, read(&self.object)?, &key, kind, models, &real::world())
            .map_err(|fault| format!("{}: {fault}", self.file.display()))?;
        for line in &report.lines {
            eprintln!("{:5} {}", line.level, line.message);
        }
        for change in &report.changes {
            println!("would write {change}");
        }
        for result in &report.results {
            let topic = result.topic.as_deref().unwrap_or("(default topic)");
            println!("{topic} {}", String::from_utf8_lossy(&result.payload));
        }
        if let Some(made) = &report.transformed {
            let kind = made.content_type.as_deref().unwrap_or("no content type");
            println!("transformed to {} bytes ({kind})", made.bytes.len());
        }
        eprintln!("{} µs", report.duration_us);
        report.fault.map_or(Ok(()), |fault| Err(fault.to_string()))
    }
}

impl Add {
    fn run(self) -> Result<(), String> {
        let file = match &self.file {
            Some(module) => module.clone(),
            None => PathBuf::from(&self.name),
        };
        let body = read(&file)?;
        let mut query = Vec::new();
        if let Some(prefix) = &self.allow_derive {
            query.push(format!("allow-derive={}", encode(prefix)));
        }
        if self.allow_tags {
            query.push("allow-tags=1".to_owned());
        }
        let numbers = [
            ("deadline-ms", self.deadline_ms),
            ("memory-mib", self.memory_mib),
            ("output-bytes", self.output_bytes),
            ("rate-per-s", self.rate_per_s),
        ];
        query.extend(numbers.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))));
        query.sort();
        let path = match self.file {
            Some(_) => format!("/_aerie/v1/hooks/{}", encode(&self.name)),
            None => "/_aerie/v1/bundles".to_owned(),
        };
        println!("{}", Client::find(self.endpoint)?.ask(Method::PUT, &path, &query.join("&"), body)?);
        Ok(())
    }
}

/// Keep, list or remove models.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "model")]
pub(super) struct ModelCommand {
    #[argh(subcommand)]
    action: ModelAction,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum ModelAction {
    Add(ModelAdd),
    List(ModelList),
    Remove(ModelRemove),
}

/// Keep an ONNX model in the store, under a name that hooks load it by.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "add")]
struct ModelAdd {
    #[argh(positional)]
    name: String,
    #[argh(positional)]
    file: PathBuf,
    #[argh(option, description = "text file, one label a line")]
    labels: Option<PathBuf>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// List the models.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
struct ModelList {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Remove a model.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "remove")]
struct ModelRemove {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

impl ModelCommand {
    pub fn run(self) -> Result<(), String> {
        match self.action {
            ModelAction::Add(ModelAdd { name, file, labels, endpoint }) => {
                let model = read(&file)?;
                let path = format!("/_aerie/v1/models/{}", encode(&name));
                if let Some(labels) = labels {
                    Client::find(endpoint.clone())?.ask(Method::PUT, &path, "kind=labels", read(&labels)?)?;
                }
                println!("{}", Client::find(endpoint)?.ask(Method::PUT, &path, "kind=onnx", model)?);
            }
            ModelAction::List(ModelList { endpoint }) => {
                println!("{}", Client::find(endpoint)?.ask(Method::GET, "/_aerie/v1/models", "", Vec::new())?);
            }
            ModelAction::Remove(ModelRemove { name, endpoint }) => {
                let path = format!("/_aerie/v1/models/{}", encode(&name));
                println!("{}", Client::find(endpoint)?.ask(Method::DELETE, &path, "", Vec::new())?);
            }
        }
        Ok(())
    }
}
