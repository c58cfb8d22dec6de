//! The hook author's commands: new, test, keygen, bundle, sign (offline); add, list, remove, logs, stats, run, replay (on a server); models.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use http::Method;

use super::bundle::{Keygen, MakeBundle, Sign};
use super::client::{Client, encode};
use super::template::New;
use super::trial::Test;
use crate::hook::bundle::Bundle;
use crate::hook::check_name;

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
    Replays(Replays),
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

/// Show how often hooks ran, how they ended and what they took, since the server's start.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stats")]
struct Stats {
    #[argh(positional, description = "all hooks that ran, unless said")]
    name: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Run a hook on one stored object, as if it had just been written, and tell how it ended.
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
    #[argh(option, description = "bucket whose objects it looks at")]
    bucket: String,
    #[argh(option, description = "only keys that begin with this", default = "String::new()")]
    prefix: String,
    #[argh(
        option,
        description = "only objects written since: 2026-01-31T00:00:00Z, 2026-01-31, or so long ago: 30m, 24h, 7d"
    )]
    since: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Show replays that are under way, or stop one: what it has queued still runs.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "replays")]
struct Replays {
    #[argh(option, description = "id of a replay to stop")]
    stop: Option<u64>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
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
                let path = hook_path(&name)?;
                println!("{}", Client::find(endpoint)?.ask(Method::DELETE, &path, "", Vec::new())?);
                Ok(())
            }
            HookAction::Logs(Logs { name, follow, endpoint }) => {
                let path = format!("{}/logs", hook_path(&name)?);
                let query = if follow { "follow=1" } else { "" };
                Client::find(endpoint)?.stream(&path, query, &mut std::io::stdout().lock())
            }
            HookAction::Stats(Stats { name, endpoint }) => {
                let (path, query) = match name {
                    Some(name) => (format!("{}/stats", hook_path(&name)?), ""),
                    None => ("/_aerie/v1/hooks".to_owned(), "stats=1"),
                };
                println!("{}", Client::find(endpoint)?.ask(Method::GET, &path, query, Vec::new())?);
                Ok(())
            }
            HookAction::Run(Run { name, object, endpoint }) => {
                let (bucket, key) = object.split_once('/').ok_or("name the object as BUCKET/KEY")?;
                let path = format!("{}/run", hook_path(&name)?);
                let query = format!("bucket={}&key={}", encode(bucket), encode(key));
                println!("{}", Client::find(endpoint)?.ask(Method::POST, &path, &query, Vec::new())?);
                Ok(())
            }
            HookAction::Replay(replay) => {
                let path = format!("{}/replay", hook_path(&replay.name)?);
                let mut query = format!("bucket={}&prefix={}", encode(&replay.bucket), encode(&replay.prefix));
                if let Some(since) = &replay.since {
                    query.push_str(&format!("&since={}", encode(since)));
                }
                println!("{}", Client::find(replay.endpoint)?.ask(Method::POST, &path, &query, Vec::new())?);
                Ok(())
            }
            HookAction::Replays(Replays { stop, endpoint }) => {
                let (method, path) = match stop {
                    Some(id) => (Method::DELETE, format!("/_aerie/v1/replays/{id}")),
                    None => (Method::GET, "/_aerie/v1/replays".to_owned()),
                };
                println!("{}", Client::find(endpoint)?.ask(method, &path, "", Vec::new())?);
                Ok(())
            }
        }
    }
}

impl Add {
    fn run(self) -> Result<(), String> {
        let file = match &self.file {
            Some(module) => module.clone(),
            None => PathBuf::from(&self.name),
        };
        let body = read(&file)?;
        if self.file.is_none() && body.starts_with(b"\0asm") {
            return Err(format!("{0} is a module; say its name as well: aerie hook add NAME {0}", file.display()));
        }
        if self.file.is_some() && Bundle::is_one(&body) {
            return Err(format!("{0} is a bundle, which has its own name: aerie hook add {0}", file.display()));
        }
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
            Some(_) => hook_path(&self.name)?,
            None => "/_aerie/v1/bundles".to_owned(),
        };
        println!("{}", Client::find(self.endpoint)?.ask(Method::PUT, &path, &query.join("&"), body)?);
        Ok(())
    }
}

/// Paths of the admin API. A name with slashes would be another path, which the server cannot tell from a wrong signature.
fn hook_path(name: &str) -> Result<String, String> {
    check_name(name).map_err(|error| error.to_string())?;
    Ok(format!("/_aerie/v1/hooks/{name}"))
}

fn model_path(name: &str) -> Result<String, String> {
    check_name(name).map_err(|error| error.to_string())?;
    Ok(format!("/_aerie/v1/models/{name}"))
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
                let path = model_path(&name)?;
                if let Some(labels) = labels {
                    Client::find(endpoint.clone())?.ask(Method::PUT, &path, "kind=labels", read(&labels)?)?;
                }
                println!("{}", Client::find(endpoint)?.ask(Method::PUT, &path, "kind=onnx", model)?);
            }
            ModelAction::List(ModelList { endpoint }) => {
                println!("{}", Client::find(endpoint)?.ask(Method::GET, "/_aerie/v1/models", "", Vec::new())?);
            }
            ModelAction::Remove(ModelRemove { name, endpoint }) => {
                let path = model_path(&name)?;
                println!("{}", Client::find(endpoint)?.ask(Method::DELETE, &path, "", Vec::new())?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
mod tests {
    use super::*;

    #[test]
    fn a_module_needs_a_name_and_a_bundle_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let told = |name: &str, bytes: &[u8], named: bool| {
            let file = folder.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            let path = file.display().to_string();
            let (name, file) = if named { ("x".to_owned(), Some(file)) } else { (path, None) };
            let empty = Add {
                name,
                file,
                allow_derive: None,
                allow_tags: false,
                memory_mib: None,
                deadline_ms: None,
                output_bytes: None,
                rate_per_s: None,
                endpoint: None,
            };
            empty.run().unwrap_err()
        };
        let (module, bundle) = (told("m.wasm", b"\0asm", false), told("b.bundle", b"AERIEHB1", true));
        assert!(module.contains("aerie hook add NAME "), "{module}");
        assert!(bundle.contains("is a bundle") && bundle.ends_with("b.bundle"), "{bundle}");
    }

    /// `aerie hook add ../x FILE` was answered with a wrong signature.
    #[test]
    fn what_is_no_name_is_said_to_be_none_before_a_server_is_asked() {
        assert_eq!(hook_path("faces-2.a").as_deref(), Ok("/_aerie/v1/hooks/faces-2.a"));
        assert_eq!(model_path("faces").as_deref(), Ok("/_aerie/v1/models/faces"));
        for name in ["../x", "a/b", "", "A", "a b"] {
            let (hook, model) = (hook_path(name).unwrap_err(), model_path(name).unwrap_err());
            assert!(hook.contains("is no name") && hook == model, "{name}: {hook}");
        }
    }
}
