//! Reading settings: a profile, overridden key by key by a configuration file.

use std::path::Path;

use toml::{Table, Value};

use super::{Settings, profile};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {message}")]
    Parse { path: String, message: String },
    #[error("no profile is named {name:?}; use one of {known}, or the path of a .toml file")]
    UnknownProfile { name: String, known: String },
    #[error("{0}")]
    Plan(String),
}

/// Settings of a profile (a name of ours or a path; `dev` where there is none) and a configuration file.
pub fn load(profile: Option<&str>, file: Option<&Path>) -> Result<Settings, ConfigError> {
    let name = profile.unwrap_or("dev");
    let mut table = match profile::profile_text(name) {
        Some(text) => parse(name, text)?,
        None if name.ends_with(".toml") => read(Path::new(name))?,
        None => {
            let known = profile::PROFILES.map(|(name, _)| name).join(", ");
            return Err(ConfigError::UnknownProfile { name: name.to_owned(), known });
        }
    };
    // Each file is checked alone, so that an error names the file it is in.
    check(name, &table)?;
    if let Some(path) = file {
        let overrides = read(path)?;
        check(&path.display().to_string(), &overrides)?;
        merge(&mut table, overrides);
    }
    check(name, &table)
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(source) => Err(ConfigError::Read { path: name, source }),
    }
}

fn parse(path: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

fn check(path: &str, table: &Table) -> Result<Settings, ConfigError> {
    table.clone().try_into().map_err(|error: toml::de::Error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

fn merge(into: &mut Table, overrides: Table) {
    for (key, value) in overrides {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(value)) => merge(below, value),
            (_, value) => _ = into.insert(key, value),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write the file that is read")]
mod tests {
    use super::*;

    #[test]
    fn every_profile_of_ours_is_good_and_fits_its_own_budget() {
        for (name, _) in profile::PROFILES {
            let settings = load(Some(name), None).unwrap_or_else(|error| panic!("{error}"));
            crate::config::plan(&settings, 6, Some(2)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_file_overrides_single_keys_and_mistakes_name_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = folder.path().join("aerie.toml");
            std::fs::write(&path, text).unwrap();
            load(Some("dev"), Some(&path))
        };
        let settings = file("[server]\nregion = \"eu-west-1\"\n").unwrap();
        assert_eq!(settings.server.region, "eu-west-1");
        assert_eq!(settings.server.address, load(None, None).unwrap().server.address);
        for (text, part) in [
            ("[server]\nport = 1\n", "unknown field `port`"),
            ("[server\n", "aerie.toml"),
            ("[server]\ncores = -1\n", "cores"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("aerie.toml"), "{error}");
        }
        assert!(load(Some("pi"), None).unwrap_err().to_string().contains("rpi5-nvme"));
    }
}
