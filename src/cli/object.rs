//! Everyday object commands, so that a board needs no other S3 client: buckets, put, get, notification rules.
#![expect(clippy::disallowed_methods, reason = "reads and writes the operator's own files")]

use std::path::PathBuf;

use argh::FromArgs;
use http::Method;

use super::client::Client;
use super::govern::{BucketQuota, BucketRolling};
use crate::hash::Md5;
use crate::notification::{Configuration, Filter, Rule, Target};

/// Make, list or remove buckets; rule what they may hold.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "bucket")]
pub(super) struct BucketCommand {
    #[argh(subcommand)]
    action: BucketAction,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum BucketAction {
    Create(BucketCreate),
    List(BucketList),
    Remove(BucketRemove),
    Quota(BucketQuota),
    Rolling(BucketRolling),
}

/// Make a bucket.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "create")]
struct BucketCreate {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// List the buckets: name, objects, bytes, and the rules that hold for it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
struct BucketList {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Remove an empty bucket.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "remove")]
struct BucketRemove {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

impl BucketCommand {
    pub fn run(self) -> Result<(), String> {
        match self.action {
            BucketAction::Create(BucketCreate { name, endpoint }) => {
                Client::find(endpoint)?.call(Method::PUT, &format!("/{name}"), "", Vec::new())?;
                println!("bucket {name} made");
            }
            BucketAction::List(BucketList { endpoint }) => {
                let answer = Client::find(endpoint)?.call(Method::GET, "/_aerie/v1/buckets", "", Vec::new())?;
                let buckets: Vec<serde_json::Value> =
                    serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
                buckets.iter().for_each(|bucket| println!("{}", bucket_line(bucket)));
            }
            BucketAction::Quota(quota) => quota.run()?,
            BucketAction::Rolling(rolling) => rolling.run()?,
            BucketAction::Remove(BucketRemove { name, endpoint }) => {
                Client::find(endpoint)?.call(Method::DELETE, &format!("/{name}"), "", Vec::new())?;
                println!("bucket {name} removed");
            }
        }
        Ok(())
    }
}

/// `NAME OBJECTS BYTES`, and what is ruled, separated by tabs.
fn bucket_line(bucket: &serde_json::Value) -> String {
    let mut columns = vec![bucket["name"].as_str().unwrap_or_default().to_owned()];
    columns.push(bucket["objects"].to_string());
    columns.push(bucket["bytes"].to_string());
    for flag in ["versioned", "object_lock", "lifecycle"] {
        columns.extend((bucket[flag] == true).then(|| flag.to_owned()));
    }
    for quota in ["quota_bytes", "quota_objects"] {
        columns.extend(bucket[quota].as_u64().map(|most| format!("{quota}={most}")));
    }
    if let Some(rolling) = bucket["rolling"].as_object() {
        let bytes = rolling.get("bytes").and_then(serde_json::Value::as_u64);
        columns.push(bytes.map_or("rolling".to_owned(), |bytes| format!("rolling={bytes}")));
    }
    columns.join("\t")
}

/// Send a bucket's events to a hook or an MQTT topic (adds to the rules that are there).
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "notify")]
pub(super) struct Notify {
    #[argh(positional)]
    bucket: String,
    #[argh(option, description = "hook to run; without it and --topic the rules are listed")]
    hook: Option<String>,
    #[argh(option, description = "MQTT topic that takes the S3 event record")]
    topic: Option<String>,
    #[argh(option, description = "event, repeatable; s3:ObjectCreated:* unless said")]
    event: Vec<String>,
    #[argh(option, description = "only keys that begin with this", default = "String::new()")]
    prefix: String,
    #[argh(option, description = "only keys that end with this", default = "String::new()")]
    suffix: String,
    #[argh(option, description = "only objects of at least so many bytes")]
    size_min: Option<String>,
    #[argh(option, description = "only objects of at most so many bytes")]
    size_max: Option<String>,
    #[argh(option, description = "only this content type: image/png, or 'image/*'")]
    content_type: Option<String>,
    #[argh(option, description = "KEY=VALUE, repeatable: only objects with this tag; '*' takes any value")]
    tag: Vec<String>,
    #[argh(option, description = "KEY=VALUE, repeatable: only objects with this user metadata")]
    metadata: Vec<String>,
    #[argh(option, description = "id of a rule that goes")]
    remove: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

impl Notify {
    fn filter(&self) -> Result<Filter, String> {
        let single = [("size-min", &self.size_min), ("size-max", &self.size_max), ("content-type", &self.content_type)];
        let mut wanted: Vec<(String, &str)> = Vec::new();
        wanted.extend(single.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.as_deref()?))));
        for (kind, pairs) in [("tag", &self.tag), ("metadata", &self.metadata)] {
            for pair in pairs {
                let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair}: write --{kind} KEY=VALUE"))?;
                wanted.push((format!("{kind}:{key}"), value));
            }
        }
        let mut filter = Filter::default();
        for (name, value) in wanted {
            if !filter.set(&name, value).map_err(|error| error.to_string())? {
                return Err(format!("{name}: it needs a key, as in --tag KEY=VALUE"));
            }
        }
        filter.check().map_err(|error| error.to_string())?;
        Ok(filter)
    }

    /// Lists the rules, or takes one away.
    fn rules(self) -> Result<(), String> {
        let client = Client::find(self.endpoint)?;
        let path = format!("/{}", self.bucket);
        let present = client.call(Method::GET, &path, "notification=", Vec::new())?;
        let mut configuration = Configuration::parse(&present).map_err(|error| error.to_string())?;
        let Some(id) = self.remove else {
            for Rule { id, arn, events, prefix, suffix, filter, .. } in &configuration.rules {
                let keys = [("prefix", prefix), ("suffix", suffix)].into_iter().filter(|(_, value)| !value.is_empty());
                let keys = keys.map(|(name, value)| format!(" {name}={value}")).collect::<String>();
                let rest = filter.entries().into_iter().map(|(name, value)| format!(" {name}={value}"));
                println!("{id} {arn} {}{keys}{}", events.join(","), rest.collect::<String>());
            }
            return Ok(());
        };
        let before = configuration.rules.len();
        configuration.rules.retain(|rule| rule.id != id);
        if configuration.rules.len() == before {
            return Err(format!("{} has no rule {id}; `aerie notify {0}` lists them", self.bucket));
        }
        client.call(Method::PUT, &path, "notification=", configuration.to_xml().into_bytes())?;
        println!("rule {id} of {} is removed", self.bucket);
        Ok(())
    }

    pub fn run(self) -> Result<(), String> {
        if self.hook.is_none() && self.topic.is_none() {
            return self.rules();
        }
        let filter = self.filter()?;
        let (target, arn) = match (self.hook, self.topic) {
            (Some(hook), None) => (Target::Hook(hook.clone()), format!("arn:aerie:hook:::{hook}")),
            (None, Some(topic)) => (Target::Topic(topic.clone()), format!("arn:aerie:mqtt:::{topic}")),
            _ => return Err("name one of --hook and --topic".to_owned()),
        };
        if self.remove.is_some() {
            return Err("--remove stands alone: it takes a rule away".to_owned());
        }
        let client = Client::find(self.endpoint)?;
        let path = format!("/{}", self.bucket);
        let present = client.call(Method::GET, &path, "notification=", Vec::new())?;
        let mut configuration = Configuration::parse(&present).map_err(|error| error.to_string())?;
        let events = if self.event.is_empty() { vec!["s3:ObjectCreated:*".to_owned()] } else { self.event };
        let mut id = format!("{arn} {} {} {}", events.join(","), self.prefix, self.suffix);
        for (name, value) in filter.entries() {
            id.push_str(&format!(" {name}={value}"));
        }
        let id = crate::hash::hex_encode(&Md5::of(id.as_bytes()));
        if configuration.rules.iter().any(|rule| rule.id == id) {
            println!("{arn} is notified of {} already", self.bucket);
            return Ok(());
        }
        configuration.rules.push(Rule {
            id,
            target,
            arn: arn.clone(),
            events,
            prefix: self.prefix,
            suffix: self.suffix,
            filter,
        });
        client.call(Method::PUT, &path, "notification=", configuration.to_xml().into_bytes())?;
        println!("{arn} is notified of {}", self.bucket);
        Ok(())
    }
}

/// Upload a file: `aerie put picture.jpg photos/picture.jpg`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "put")]
pub(super) struct Put {
    #[argh(positional)]
    file: PathBuf,
    #[argh(positional, description = "BUCKET/KEY")]
    object: String,
    #[argh(option, description = "content type; by the file's ending unless said")]
    content_type: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Download an object: `aerie get photos/picture.jpg picture.jpg` (standard output where no file is named).
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "get")]
pub(super) struct Get {
    #[argh(positional, description = "BUCKET/KEY")]
    object: String,
    #[argh(positional)]
    file: Option<PathBuf>,
    #[argh(option, description = "object lambda, a hook of world transform, to send it through")]
    transform: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Path of `BUCKET/KEY` in a request, percent-encoded.
fn object_path(object: &str) -> Result<String, String> {
    match object.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok(super::client::encode_path(&format!("/{object}")))
        }
        _ => Err(format!("{object}: name the object as BUCKET/KEY")),
    }
}

/// Content types by the endings of files; the first ending of a type is the one that its files get.
const CONTENT_TYPES: [(&str, &str); 22] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("mp4", "video/mp4"),
    ("json", "application/json"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("xml", "application/xml"),
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("csv", "text/csv"),
    ("html", "text/html"),
];

pub(super) fn content_type_of(file: &std::path::Path) -> &'static str {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let found = CONTENT_TYPES.iter().find(|(known, _)| *known == ending);
    found.map_or("application/octet-stream", |(_, kind)| kind)
}

/// The ending that a file of a content type has, parameters left out.
pub(super) fn ending_of(content_type: &str) -> Option<&'static str> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    CONTENT_TYPES.iter().find(|(_, known)| *known == kind).map(|(ending, _)| *ending)
}

impl Put {
    pub fn run(self) -> Result<(), String> {
        let path = object_path(&self.object)?;
        let bytes = std::fs::read(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))?;
        let length = bytes.len();
        let kind = self.content_type.unwrap_or_else(|| content_type_of(&self.file).to_owned());
        let client = Client::find(self.endpoint)?;
        client.call_with(Method::PUT, &path, "", &[("content-type", &kind)], bytes)?;
        println!("{} ({length} bytes) stored", self.object);
        Ok(())
    }
}

impl Get {
    pub fn run(self) -> Result<(), String> {
        let path = object_path(&self.object)?;
        let client = Client::find(self.endpoint)?;
        let query = match &self.transform {
            Some(hook) => format!("lambdaArn={}", super::client::encode(&format!("arn:aerie:hook:::{hook}"))),
            None => String::new(),
        };
        let Some(file) = self.file else { return client.stream(&path, &query, &mut std::io::stdout().lock()) };
        let mut to = std::fs::File::create(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        client.stream(&path, &query, &mut to)
    }
}
