//! The structure holds: imports point one way, every file says what it is, nothing in the tree speaks of one machine.

#[path = "tidy/operations.rs"]
mod operations;

use std::path::{Path, PathBuf};

/// Each module and what it may import. A leaf may be imported by all.
const LAYERS: &[(&str, &[&str])] = &[
    ("cli", &["access", "server", "config", "hook", "inference", "wire", "mqtt", "outbox", "engine"]),
    (
        "server",
        &[
            "access",
            "config",
            "wire",
            "engine",
            "pool",
            "meta",
            "outbox",
            "hook",
            "inference",
            "mqtt",
            "upkeep",
            "drive",
        ],
    ),
    ("config", &["hook", "inference", "mqtt", "outbox", "upkeep", "pool"]),
    ("wire", &["access", "engine", "meta", "pool"]),
    ("access", &["meta"]),
    ("outbox", &["hook", "mqtt", "engine", "meta"]),
    ("hook", &["engine", "meta", "inference"]),
    ("upkeep", &["engine", "pool", "meta"]),
    ("mqtt", &[]),
    ("inference", &[]),
    ("engine", &["pool", "meta"]),
    ("meta", &["pool"]),
    ("pool", &["drive", "codec"]),
    ("drive", &[]),
    ("codec", &[]),
    ("notification", &["xml"]),
    ("tls", &[]),
    ("lifecycle", &["xml"]),
    ("xml", &[]),
    ("acl", &[]),
    ("crypt", &[]),
];
const LEAVES: &[&str] = &["limits", "seam", "hash", "notification", "lifecycle", "tls", "xml", "acl", "crypt"];

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the source tree is readable") {
        let path = entry.expect("the source tree is readable").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("source files are text");
        (path.strip_prefix(root).expect("found below the root").to_owned(), text)
    };
    files.into_iter().map(read).collect()
}

/// Layers that a file names after `crate::`, tests left out: those may build a whole stack.
fn imports(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut found = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let name = line[at + "crate::".len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
            found.extend(name.filter(|name| !name.is_empty()));
        }
    }
    found
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let (Some(&module), true) = (parts.get(1), parts.len() > 2) else { continue };
        let is_test = parts.last().is_some_and(|name| name.starts_with("test")) || parts.contains(&"tests");
        if is_test {
            continue;
        }
        // What has no row is a leaf, and may import leaves only.
        let allowed = LAYERS.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, allowed)| *allowed);
        for import in imports(&text) {
            let fine = import == module || LEAVES.contains(&import) || allowed.contains(&import);
            if !fine && LAYERS.iter().any(|(name, _)| *name == import) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the table in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is() {
    let without: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! ") || text.starts_with("//! (in preparation)"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(without.is_empty(), "files without a head:\n{}", without.join("\n"));
}

#[test]
fn unfinished_code_is_not_committed() {
    // Built from parts, so that this file does not find itself.
    let marks = [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["FIX", "ME"].concat()];
    let mut found = Vec::new();
    for (path, text) in sources() {
        found
            .extend(marks.iter().filter(|mark| text.contains(*mark)).map(|mark| format!("{}: {mark}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
