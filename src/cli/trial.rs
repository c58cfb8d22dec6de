//! `aerie hook test`: a hook on local files, with the server's own host code and limits, without a server.
#![expect(clippy::disallowed_methods, reason = "reads and writes the author's own files, and waits for them to change")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;

use super::bundle::named_model;
use super::hook::read;
use super::object::{content_type_of, ending_of};
use crate::hook::bundle::Bundle;
use crate::hook::{Bounds, Grants, HookWorld, Transformed, Trial, TrialObject, TrialReport};
use crate::inference::ModelFile;
use crate::limits;
use crate::mqtt::TopicFields;
use crate::outbox::Route;
use crate::seam::real;

/// Run a hook on local files with the server's own host code and limits, without a server.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "test")]
pub(super) struct Test {
    #[argh(positional, description = "the hook's .wasm, or its bundle")]
    file: PathBuf,
    #[argh(option, description = "file that plays the new object; repeatable: state is kept from one to the next")]
    object: Vec<PathBuf>,
    #[argh(option, description = "NAME=FILE.onnx, repeatable; labels are read from FILE.labels where that is there")]
    model: Vec<String>,
    #[argh(option, description = "name of the hook in topics; the file's name unless said")]
    name: Option<String>,
    #[argh(option, description = "bucket that the object plays to be in", default = "String::from(\"local\")")]
    bucket: String,
    #[argh(option, description = "the object's key; its file's name unless said")]
    key: Option<String>,
    #[argh(option, description = "the object's content type; by the file's ending unless said")]
    content_type: Option<String>,
    #[argh(option, description = "KEY=VALUE, repeatable: user metadata of the object")]
    metadata: Vec<String>,
    #[argh(option, description = "KEY=VALUE, repeatable: tag of the object")]
    tag: Vec<String>,
    #[argh(option, description = "memory the guest may take, MiB; 64 unless said")]
    memory_mib: Option<u64>,
    #[argh(option, description = "time an invocation may take, milliseconds; 2000 unless said")]
    deadline_ms: Option<u64>,
    #[argh(option, description = "bytes of results an invocation may give; 1048576 unless said")]
    output_bytes: Option<u64>,
    #[argh(option, description = "folder for what a transform answers and for derived objects")]
    save: Option<PathBuf>,
    #[argh(switch, description = "run again whenever the hook or an object changes, until interrupted")]
    watch: bool,
}

/// Time between two looks at the files.
const WATCH_POLL: Duration = Duration::from_millis(300);

impl Test {
    pub fn run(self) -> Result<(), String> {
        if self.object.is_empty() {
            return Err("name a file that plays the new object: --object picture.jpg".to_owned());
        }
        if self.object.len() > 1 && self.key.is_some() {
            return Err("--key is for one --object; several have the names of their files".to_owned());
        }
        if !self.watch {
            return self.once();
        }
        loop {
            let seen = self.written();
            if let Err(error) = self.once() {
                eprintln!("aerie: {error}");
            }
            eprintln!("waiting for a change of {} (interrupt to end)", self.file.display());
            while self.written() == seen {
                std::thread::sleep(WATCH_POLL);
            }
            // Whoever writes the file gets the time to finish it.
            std::thread::sleep(WATCH_POLL);
        }
    }

    fn written(&self) -> Vec<Option<std::time::SystemTime>> {
        let files = std::iter::once(&self.file).chain(&self.object);
        files.map(|file| file.metadata().and_then(|metadata| metadata.modified()).ok()).collect()
    }

    fn once(&self) -> Result<(), String> {
        let mut models = BTreeMap::new();
        for named in &self.model {
            let model = named_model(named)?;
            models.insert(model.name, model_file(&model.bytes, model.labels.as_deref()));
        }
        let mut module = read(&self.file)?;
        if Bundle::is_one(&module) {
            let bundle = Bundle::parse(&module.into()).map_err(|error| format!("{}: {error}", self.file.display()))?;
            module = bundle.module.to_vec();
            for model in bundle.models {
                models.insert(model.name, model_file(&model.bytes, model.labels.as_deref()));
            }
        }
        if module.len() > SLOW_MODULE_BYTES {
            eprintln!(
                "compiling {} bytes takes some seconds; a server does so once, when the hook is added",
                module.len()
            );
        }
        // Every capability is granted: what is written is only told, and the last line says what a server has to grant.
        let grants = Grants {
            memory_bytes: self.memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
            deadline_ms: self.deadline_ms,
            output_bytes: self.output_bytes,
            tags: true,
            derive: Some(String::new()),
            rate_per_s: None,
        };
        Grants { derive: None, ..grants.clone() }.check()?;
        let trial = Trial::new(&module, grants, models, &real::world())
            .map_err(|fault| format!("{}: {fault}", self.file.display()))?;
        let mut failed = None;
        for file in &self.object {
            let object = self.play(file)?;
            let key = object.key.clone();
            let report = trial.run(object);
            self.tell(&key, &trial, &report)?;
            failed = failed.or_else(|| report.fault.as_ref().map(|fault| advised(&fault.to_string())));
        }
        failed.map_or(Ok(()), Err)
    }

    fn play(&self, file: &Path) -> Result<TrialObject, String> {
        let name = || file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(TrialObject {
            bucket: self.bucket.clone(),
            key: self.key.clone().unwrap_or_else(name),
            bytes: read(file)?,
            content_type: Some(self.content_type.clone().unwrap_or_else(|| content_type_of(file).to_owned())),
            metadata: pairs("metadata", &self.metadata)?,
            tags: pairs("tag", &self.tag)?,
        })
    }

    /// What was published and written goes to standard output; the log, the limits and advice beside it.
    fn tell(&self, key: &str, trial: &Trial, report: &TrialReport) -> Result<(), String> {
        for line in &report.lines {
            eprintln!("{:5} {}", line.level, line.message);
        }
        for change in &report.changes {
            println!("would write {change}");
        }
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let hook = self.name.as_deref().unwrap_or(&stem);
        let fields = TopicFields { device: "dev", bucket: &self.bucket, key, hook };
        for result in &report.results {
            let topic =
                Route::default().topic_for(result.topic.as_deref(), fields).map_err(|error| error.to_string())?;
            match std::str::from_utf8(&result.payload) {
                Ok(text) => println!("{topic} {text}"),
                Err(_) => println!("{topic} ({} bytes that are no text)", result.payload.len()),
            }
        }
        if let Some(made) = &report.transformed {
            let kind = made.content_type.as_deref().unwrap_or("no content type");
            println!("transformed to {} bytes ({kind})", made.bytes.len());
        }
        self.save(key, report)?;
        eprintln!("{key}: {}", spent(report, trial.bounds()));
        if trial.world() == HookWorld::Hook {
            let needs = [
                ("--allow-tags", report.changes.iter().any(|change| change.starts_with("tag "))),
                ("--allow-derive PREFIX", !report.derived.is_empty()),
            ];
            for (option, _) in needs.iter().filter(|(_, needed)| *needed) {
                eprintln!("add it with {option}: a server grants nothing by itself");
            }
        }
        Ok(())
    }

    fn save(&self, key: &str, report: &TrialReport) -> Result<(), String> {
        let Some(folder) = &self.save else { return Ok(()) };
        let made = report.transformed.iter().map(|made| (answer_name(key, made), made.bytes.as_slice()));
        let derived = report.derived.iter().map(|(key, bytes)| (key.clone(), bytes.as_slice()));
        for (key, bytes) in made.chain(derived) {
            // A key is no path: it may have `..` in it.
            let file = folder.join(key.replace(['/', '\\'], "_"));
            let failed = |error: std::io::Error| format!("{}: {error}", file.display());
            std::fs::create_dir_all(folder).map_err(failed)?;
            std::fs::write(&file, bytes).map_err(failed)?;
            println!("saved {}", file.display());
        }
        Ok(())
    }
}

/// The name of a transform's answer: the key, and what kind of file it has become.
fn answer_name(key: &str, made: &Transformed) -> String {
    let ending = made.content_type.as_deref().and_then(ending_of);
    match ending {
        Some(ending) if ending_of(content_type_of(Path::new(key))) != Some(ending) => format!("{key}.{ending}"),
        _ => key.to_owned(),
    }
}

fn model_file(bytes: &[u8], labels: Option<&[u8]>) -> ModelFile {
    let labels = String::from_utf8_lossy(labels.unwrap_or_default());
    ModelFile { bytes: bytes.to_vec(), labels: labels.lines().map(str::to_owned).collect() }
}

/// Modules of this size bring an interpreter, and take seconds to compile.
const SLOW_MODULE_BYTES: usize = 4 << 20;

/// What an invocation took, beside what it may take.
fn spent(report: &TrialReport, bounds: Bounds) -> String {
    let usage = report.usage;
    let ended = if report.fault.is_none() { "ended well" } else { "failed" };
    let own_ms = report.duration_us.saturating_sub(usage.inference_us) as f64 / 1000.0;
    format!(
        "{ended}; {own_ms:.1} of {} ms, and {:.1} ms of inference; {:.1} of {} MiB; {} of {} bytes of results; {} of {} messages",
        bounds.deadline_ms,
        usage.inference_us as f64 / 1000.0,
        usage.memory_bytes as f64 / f64::from(1 << 20),
        bounds.memory_bytes >> 20,
        usage.output_bytes,
        bounds.output_bytes,
        usage.messages,
        limits::HOOK_MESSAGES_MAX,
    )
}

/// An error with what helps here, where no server is.
fn advised(fault: &str) -> String {
    match fault.contains("no model named") {
        true => format!("{fault}; here: --model NAME=FILE.onnx"),
        false => fault.to_owned(),
    }
}

fn pairs(kind: &str, given: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text}: write --{kind} KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::bundle::BundledModel;

    /// What is deployed can be tried as it is: a bundle brings its models.
    #[test]
    fn a_bundle_is_tried_with_its_models_and_limits_are_told_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let model = std::fs::read(tree.join("wasm-hooks/models/blazeface.onnx")).unwrap();
        let bundle = Bundle {
            name: "faces".to_owned(),
            grants: Grants::default(),
            module: std::fs::read(tree.join("wasm-hooks/built/faces.wasm")).unwrap().into(),
            models: vec![BundledModel { name: "faces".to_owned(), bytes: model.into(), labels: None }],
            signer: None,
        };
        let file = folder.path().join("faces.bundle");
        std::fs::write(&file, bundle.seal(None)).unwrap();
        let picture = tree.join("tests/pictures/astronaut.jpg").display().to_string();
        let test = |more: &[&str]| {
            let (file, mut arguments) = (file.display().to_string(), vec!["--object", &picture]);
            arguments.extend(more);
            arguments.push(&file);
            Test::from_args(&["test"], &arguments).unwrap().run()
        };
        assert_eq!(test(&[]), Ok(()));
        assert_eq!(test(&["--deadline-ms", "0"]).unwrap_err(), "--deadline-ms is 0, it may be 1 to 300000");
        std::fs::write(&file, &bundle.seal(None)[..100_000]).unwrap();
        assert!(test(&[]).unwrap_err().contains("it is torn"));
    }

    #[test]
    fn a_saved_answer_says_what_kind_of_file_it_is() {
        for (key, content_type, expected) in [
            ("a.jpg", Some("image/png"), "a.jpg.png"),
            ("a.JPEG", Some("image/jpeg"), "a.JPEG"),
            ("a.tiff", Some("IMAGE/TIFF"), "a.tiff"),
            ("notes", Some("text/plain; charset=utf-8"), "notes.txt"),
            ("a.log", Some("text/plain"), "a.log"),
            ("a.bin", Some("application/x-own"), "a.bin"),
            ("a.jpg", None, "a.jpg"),
        ] {
            let made = Transformed { content_type: content_type.map(str::to_owned), bytes: Vec::new() };
            assert_eq!(answer_name(key, &made), expected);
        }
    }
}
