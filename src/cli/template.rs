//! `aerie hook new`: a folder with the files of wasm-hooks/templates and the contract, which builds wherever it lies.
#![expect(clippy::disallowed_methods, reason = "writes the author's own files")]

use std::path::PathBuf;

use argh::FromArgs;

/// Start a hook from a template: `aerie hook new --lang rust FOLDER`, or a transform with --transform.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "new")]
pub(super) struct New {
    #[argh(option, description = "rust, python, js or c", default = "String::new()")]
    lang: String,
    #[argh(switch, description = "a transform, which changes what a GET gives, in the place of a hook")]
    transform: bool,
    #[argh(positional, description = "folder to make")]
    folder: PathBuf,
}

/// A file of a template, by the name it gets.
macro_rules! file {
    ($lang:literal, $name:literal) => {
        ($name, include_str!(concat!("../../wasm-hooks/templates/", $lang, "/", $name)))
    };
}

/// Lies in every new folder.
const CONTRACT: (&str, &str) = ("wit/hook.wit", include_str!("../../wasm-hooks/wit/hook.wit"));

/// A template: the files of a language.
type Template = (&'static str, &'static [(&'static str, &'static str)]);

/// Hooks.
const HOOKS: [Template; 4] = [
    (
        "rust",
        &[
            file!("rust", "Cargo.toml"),
            file!("rust", "src/lib.rs"),
            file!("rust", "src/report.rs"),
            file!("rust", "src/stream.rs"),
            file!("rust", "README.md"),
            CONTRACT,
        ],
    ),
    (
        "python",
        &[
            file!("python", "hook.py"),
            file!("python", "report.py"),
            file!("python", "stream.py"),
            file!("python", "README.md"),
            CONTRACT,
        ],
    ),
    ("js", &[file!("js", "hook.js"), file!("js", "README.md"), CONTRACT]),
    ("c", &[file!("c", "hook.c"), file!("c", "README.md"), CONTRACT]),
];

/// Transforms.
const TRANSFORMS: [Template; 4] = [
    (
        "rust",
        &[
            file!("rust-transform", "Cargo.toml"),
            file!("rust-transform", "src/lib.rs"),
            file!("rust-transform", "src/report.rs"),
            file!("rust-transform", "README.md"),
            CONTRACT,
        ],
    ),
    (
        "python",
        &[
            file!("python-transform", "hook.py"),
            file!("python-transform", "report.py"),
            file!("python-transform", "README.md"),
            CONTRACT,
        ],
    ),
    ("js", &[file!("js-transform", "hook.js"), file!("js-transform", "README.md"), CONTRACT]),
    ("c", &[file!("c-transform", "hook.c"), file!("c-transform", "README.md"), CONTRACT]),
];

impl New {
    pub fn run(self) -> Result<(), String> {
        let templates = if self.transform { TRANSFORMS } else { HOOKS };
        let Some((_, files)) = templates.iter().find(|(lang, _)| *lang == self.lang) else {
            return Err(match self.lang.as_str() {
                "" => "which language? say --lang rust, python, js or c".to_owned(),
                other => format!("{other}: no template for this language; say rust, python, js or c"),
            });
        };
        if self.folder.exists() {
            return Err(format!("{}: is there already; name a new folder", self.folder.display()));
        }
        for (name, text) in *files {
            let path = self.folder.join(name);
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(failed)?;
            }
            std::fs::write(&path, text).map_err(failed)?;
        }
        println!("{} is ready; next, as its README.md says:\n", self.folder.display());
        println!("    cd {}", self.folder.display());
        let readme = files.iter().find(|(name, _)| *name == "README.md").map_or("", |(_, text)| text);
        for command in commands(readme) {
            println!("{command}");
        }
        Ok(())
    }
}

/// The commands of a README: its indented lines.
fn commands(readme: &str) -> impl Iterator<Item = &str> {
    readme.lines().filter(|line| line.starts_with("    "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Texts of all files below a folder, by their paths in it.
    fn texts(folder: &Path, below: &str, into: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                texts(folder, &path, into);
            } else {
                into.insert(path.clone(), std::fs::read_to_string(folder.join(&path)).unwrap());
            }
        }
    }

    #[test]
    fn a_new_folder_is_its_template_with_the_contract_in_it() {
        let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("wasm-hooks");
        let folder = tempfile::tempdir().unwrap();
        let languages = std::fs::read_dir(hooks.join("templates")).unwrap();
        let mut count = 0;
        for language in languages {
            let name = language.unwrap().file_name().into_string().unwrap();
            let (made, lang) = (folder.path().join(&name), name.trim_end_matches("-transform").to_owned());
            New { lang: lang.clone(), transform: lang != name, folder: made.clone() }.run().unwrap();
            let (mut expected, mut found) = (BTreeMap::new(), BTreeMap::new());
            texts(&hooks.join("templates").join(&name), "", &mut expected);
            let mut contract = BTreeMap::new();
            texts(&hooks.join("wit"), "", &mut contract);
            expected.extend(contract.into_iter().map(|(name, text)| (format!("wit/{name}"), text)));
            texts(&made, "", &mut found);
            assert_eq!(found, expected, "{name}");
            for (file, text) in &found {
                assert!(
                    !text.contains("../") && !text.contains("path = \"/"),
                    "{name}: {file} needs what is not in it"
                );
            }
            let next: Vec<&str> = commands(&found["README.md"]).collect();
            assert!(next.len() >= 3 && next.iter().any(|line| line.contains("aerie hook add")), "{name}: {next:?}");
            count += 1;
        }
        assert_eq!(count, HOOKS.len() + TRANSFORMS.len());
        let again = New { lang: "c".to_owned(), transform: false, folder: folder.path().join("c") }.run().unwrap_err();
        assert!(again.contains("new folder"), "{again}");
        let unknown =
            New { lang: "cobol".to_owned(), transform: true, folder: folder.path().join("x") }.run().unwrap_err();
        assert!(unknown.contains("rust, python, js or c"), "{unknown}");
    }
}
