//! The root key pair: the environment's, the settings', or one made at the first start.
//!
//! A pair of our own making lies in a file on the first m+1 drives, readable by the owner alone, so that it goes where
//! the pool goes and survives the loss of m drives. There is no default password.

use std::sync::Arc;

use crate::config::CredentialSettings;
use crate::seam::{OpenMode, Storage, World, replace_file};

/// Name of the file below a drive's root.
pub const CREDENTIALS_FILE: &str = "aerie.credentials";
const CREDENTIALS_NEW: &str = "aerie.credentials.new";
/// A pair takes some 100 bytes; more than this is something else.
const FILE_BYTES_MAX: usize = 4096;

/// The root key pair.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKeys {
    pub access_key: String,
    pub secret_key: String,
    /// The file the pair came from, where it is of our own making.
    pub file: Option<String>,
}

impl std::fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RootKeys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Finds the root keys. `environment` reads a variable.
pub fn root_keys(
    environment: impl Fn(&str) -> Option<String>,
    settings: &CredentialSettings,
    copies: &[Arc<dyn Storage>],
    world: &World,
) -> Result<RootKeys, String> {
    let pair = (environment("AERIE_ROOT_ACCESS_KEY"), environment("AERIE_ROOT_SECRET_KEY"));
    if let Some(keys) = of_pair(pair, "AERIE_ROOT_ACCESS_KEY and AERIE_ROOT_SECRET_KEY")? {
        return Ok(keys);
    }
    let pair = (settings.root_access_key.clone(), settings.root_secret_key.clone());
    if let Some(keys) = of_pair(pair, "credentials.root_access_key and credentials.root_secret_key")? {
        return Ok(keys);
    }
    kept_or_new(copies, world)
}

fn of_pair(pair: (Option<String>, Option<String>), names: &str) -> Result<Option<RootKeys>, String> {
    match pair {
        (None, None) => Ok(None),
        (Some(access_key), Some(secret_key)) => {
            if access_key.len() < 3 || secret_key.len() < 8 {
                return Err(format!("{names}: an access key has at least 3 characters, a secret key at least 8"));
            }
            if access_key.contains(['/', '=', ',', ' ']) {
                return Err(format!("{names}: an access key has no '/', '=', ',' or space"));
            }
            Ok(Some(RootKeys { access_key, secret_key, file: None }))
        }
        _ => Err(format!("{names}: set both or neither")),
    }
}

fn kept_or_new(copies: &[Arc<dyn Storage>], world: &World) -> Result<RootKeys, String> {
    let mut found = None;
    for storage in copies {
        match read(&**storage) {
            Ok(Some(keys)) => {
                found = Some(keys);
                break;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a copy of the root keys cannot be read"),
        }
    }
    let mut keys = found.unwrap_or_else(|| new_keys(world));
    // A replaced drive gets its copy here; the first drive that takes it is the one to name.
    keys.file = None;
    for storage in copies {
        let place = format!("{}/{CREDENTIALS_FILE}", storage.describe());
        match write_where_missing(&**storage, &keys) {
            Ok(()) => keys.file = keys.file.or(Some(place)),
            Err(error) => tracing::warn!(place, %error, "the root keys could not be kept here"),
        }
    }
    match keys.file {
        Some(_) => Ok(keys),
        None => Err("the root keys could not be kept on any drive; set AERIE_ROOT_ACCESS_KEY and \
                     AERIE_ROOT_SECRET_KEY, or make a drive writable"
            .to_owned()),
    }
}

fn new_keys(world: &World) -> RootKeys {
    let mut random = [0u8; 40];
    world.entropy.fill(&mut random);
    let access_key = format!("AERIE{}", crate::hash::hex_encode(&random[..8]).to_uppercase());
    RootKeys { access_key, secret_key: crate::hash::hex_encode(&random[8..]), file: None }
}

fn read(storage: &dyn Storage) -> Result<Option<RootKeys>, String> {
    let place = format!("{}/{CREDENTIALS_FILE}", storage.describe());
    let file = match storage.open(CREDENTIALS_FILE, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{place}: {error}")),
    };
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).map_err(|error| format!("{place}: {error}"))?;
    parse(&String::from_utf8_lossy(&bytes[..length])).map(Some).ok_or_else(|| format!("{place}: not a pair of keys"))
}

/// Reads the file's two lines, `AERIE_ROOT_ACCESS_KEY=…` and `AERIE_ROOT_SECRET_KEY=…`: a shell can source it too.
pub fn parse(text: &str) -> Option<RootKeys> {
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
    Some(RootKeys {
        access_key: value("AERIE_ROOT_ACCESS_KEY")?,
        secret_key: value("AERIE_ROOT_SECRET_KEY")?,
        file: None,
    })
}

fn write_where_missing(storage: &dyn Storage, keys: &RootKeys) -> std::io::Result<()> {
    if storage.exists(CREDENTIALS_FILE)? {
        return Ok(());
    }
    let text = format!("AERIE_ROOT_ACCESS_KEY={}\nAERIE_ROOT_SECRET_KEY={}\n", keys.access_key, keys.secret_key);
    replace_file(storage, CREDENTIALS_FILE, CREDENTIALS_NEW, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::seam::{files::RealStorage, real};

    fn storages(folder: &tempfile::TempDir) -> Vec<Arc<dyn Storage>> {
        let storage =
            |name: &str| Arc::new(RealStorage::create(&folder.path().join(name)).unwrap()) as Arc<dyn Storage>;
        vec![storage("a"), storage("b")]
    }

    #[test]
    fn a_made_pair_is_kept_for_its_owner_alone_on_every_copy() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = CredentialSettings::default();
        let first = root_keys(|_| None, &nothing, &storages(&folder), &real::world()).unwrap();
        let path = folder.path().join("a").join(CREDENTIALS_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.file.as_deref(), path.canonicalize().unwrap().to_str());
        std::fs::remove_dir_all(folder.path().join("a")).unwrap();
        let again = root_keys(|_| None, &nothing, &storages(&folder), &real::world()).unwrap();
        assert_eq!(again, first, "the other copy gives the pair back");
    }

    #[test]
    fn the_environment_goes_before_the_settings_and_half_a_pair_is_refused() {
        let settings = CredentialSettings {
            root_access_key: Some("fromfile".to_owned()),
            root_secret_key: Some("secretsecret".to_owned()),
        };
        let both = |name: &str| Some(format!("{name}-x").to_lowercase());
        assert_eq!(root_keys(both, &settings, &[], &real::world()).unwrap().access_key, "aerie_root_access_key-x");
        assert_eq!(root_keys(|_| None, &settings, &[], &real::world()).unwrap().access_key, "fromfile");
        let half = |name: &str| (name == "AERIE_ROOT_ACCESS_KEY").then(|| "abc".to_owned());
        assert!(root_keys(half, &settings, &[], &real::world()).unwrap_err().contains("both or neither"));
    }
}
