//! `aerie tls`: certificates for boards without an authority.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::tls;

/// Make certificates.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "tls")]
pub(super) struct TlsCommand {
    #[argh(subcommand)]
    action: TlsAction,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum TlsAction {
    Init(Init),
}

/// Make a self-signed certificate and its key, and print the settings that use them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
struct Init {
    #[argh(
        positional,
        description = "host names and IP addresses that clients will use; localhost and 127.0.0.1 by default"
    )]
    names: Vec<String>,
    #[argh(option, description = "folder for certificate.pem and key.pem; the current one by default")]
    folder: Option<PathBuf>,
}

impl TlsCommand {
    pub fn run(self) -> Result<(), String> {
        let TlsAction::Init(init) = self.action;
        init.run()
    }
}

impl Init {
    fn run(self) -> Result<(), String> {
        let names = match self.names.is_empty() {
            true => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            false => self.names,
        };
        let pair = tls::self_signed(&names, time::OffsetDateTime::now_utc().year())
            .map_err(|error| format!("{error}; name hosts as they stand in the endpoint, without scheme and port"))?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from("."));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        // The key first: whoever finds a certificate finds its key.
        write_new(&key, 0o600, &pair.key)?;
        write_new(&certificate, 0o644, &pair.certificate)?;
        let (certificate, key) = (certificate.display(), key.display());
        println!("[server.tls]\ncertificate_file = {:?}\nkey_file = {:?}", certificate.to_string(), key.to_string());
        eprintln!("clients trust it by AERIE_CA_FILE, AWS_CA_BUNDLE or --ca-bundle {certificate}");
        Ok(())
    }
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), String> {
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{} is there already; remove it, or choose another --folder", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    })
}
