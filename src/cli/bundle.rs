//! `aerie hook keygen`, `bundle` and `sign`: files of the hook's author and of who vouches for it, without a server.
#![expect(clippy::disallowed_methods, reason = "reads and writes the author's own files")]

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argh::FromArgs;
use bytes::Bytes;

use crate::hook::Grants;
use crate::hook::bundle::{Bundle, BundledModel, SigningKey};
use crate::seam::real;

/// Make a key that signs bundles; prints its public half, for hooks.trusted_keys.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "keygen")]
pub(super) struct Keygen {
    #[argh(positional, description = "file to make; keep it away from the appliances")]
    file: PathBuf,
}

/// Put a hook's module and its models in one file, for `aerie hook add FILE`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "bundle")]
pub(super) struct MakeBundle {
    #[argh(positional, description = "file to make")]
    file: PathBuf,
    #[argh(option, description = "name of the hook")]
    name: String,
    #[argh(option, description = "the module, .wasm")]
    module: PathBuf,
    #[argh(option, description = "NAME=FILE.onnx, repeatable; labels are read from FILE.labels where that is there")]
    model: Vec<String>,
    #[argh(option, description = "memory the guest may take, MiB")]
    memory_mib: Option<u64>,
    #[argh(option, description = "time an invocation may take, milliseconds")]
    deadline_ms: Option<u64>,
    #[argh(option, description = "bytes of results an invocation may give")]
    output_bytes: Option<u64>,
    #[argh(option, description = "invocations that may begin in a second")]
    rate_per_s: Option<u32>,
    #[argh(switch, description = "ask for: set tags on the object")]
    allow_tags: bool,
    #[argh(option, description = "ask for: store derived objects under this key prefix")]
    allow_derive: Option<String>,
    #[argh(option, description = "sign it with this key file")]
    key: Option<PathBuf>,
}

/// Sign a bundle that is there, or sign it anew.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "sign")]
pub(super) struct Sign {
    #[argh(positional, description = "the bundle")]
    file: PathBuf,
    #[argh(option, description = "key file, as `aerie hook keygen` writes it")]
    key: PathBuf,
}

fn read(path: &Path) -> Result<Bytes, String> {
    std::fs::read(path).map(Bytes::from).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn signing_key(path: &Path) -> Result<SigningKey, String> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    SigningKey::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// A model and its labels, from `NAME=FILE.onnx`.
pub(super) fn named_model(text: &str) -> Result<BundledModel, String> {
    let (name, file) = text.split_once('=').ok_or_else(|| format!("{text}: write --model NAME=FILE.onnx"))?;
    let labels = Path::new(file).with_extension("labels");
    let labels = if labels.exists() { Some(read(&labels)?) } else { None };
    Ok(BundledModel { name: name.to_owned(), bytes: read(Path::new(file))?, labels })
}

impl Keygen {
    pub fn run(self) -> Result<(), String> {
        let mut seed = [0u8; 32];
        real::world().entropy.fill(&mut seed);
        let text = SigningKey::text_of(&seed);
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{}: is there already, and a key is never overwritten; name a new file", self.file.display())
            }
            _ => format!("{}: {error}", self.file.display()),
        };
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        println!("{}", SigningKey::parse(&text).map_err(|error| error.to_string())?.public());
        Ok(())
    }
}

impl MakeBundle {
    pub fn run(self) -> Result<(), String> {
        let grants = Grants {
            memory_bytes: self.memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
            deadline_ms: self.deadline_ms,
            output_bytes: self.output_bytes,
            rate_per_s: self.rate_per_s,
            tags: self.allow_tags,
            derive: self.allow_derive,
        };
        grants.check()?;
        let models = self.model.iter().map(|text| named_model(text)).collect::<Result<_, _>>()?;
        let bundle = Bundle { name: self.name, grants, module: read(&self.module)?, models, signer: None };
        let key = self.key.as_deref().map(signing_key).transpose()?;
        let file = Bytes::from(bundle.seal(key.as_ref()));
        // What cannot be added is not written.
        let made = Bundle::parse(&file).map_err(|error| error.to_string())?;
        write(&self.file, &file)?;
        println!(
            "{}: hook {}, {} models, {} bytes, {}",
            self.file.display(),
            made.name,
            made.models.len(),
            file.len(),
            signature(&made)
        );
        Ok(())
    }
}

impl Sign {
    pub fn run(self) -> Result<(), String> {
        let named = |error: crate::hook::bundle::BundleError| format!("{}: {error}", self.file.display());
        let key = signing_key(&self.key)?;
        let file = Bytes::from(Bundle::parse(&read(&self.file)?).map_err(named)?.seal(Some(&key)));
        let made = Bundle::parse(&file).map_err(named)?;
        write(&self.file, &file)?;
        println!("{}: {}", self.file.display(), signature(&made));
        Ok(())
    }
}

fn signature(bundle: &Bundle) -> String {
    bundle.signer.as_ref().map_or_else(|| "not signed".to_owned(), |signer| format!("signed by {signer}"))
}
