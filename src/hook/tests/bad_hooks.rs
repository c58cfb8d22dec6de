//! The bad hooks of tests/bad-hooks, each with how it has to end.

use std::path::Path;

use super::guest::embed;

/// How a bad hook ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// An invocation fails with this fault, by its name in the statistics.
    With(String),
    /// It is refused when it is added, or named in a rule, with this text.
    Refused(String),
}

pub struct BadHook {
    /// The file's, without its ending.
    pub name: String,
    pub wasm: Vec<u8>,
    pub ends: Ends,
}

/// All of them, by name. A text says in its first lines how it ends; of those that are no text the torn ones are made here.
pub fn bad_hooks() -> Vec<BadHook> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-hooks");
    let mut found: Vec<BadHook> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wat"))
        .map(|path| of_text(&path))
        .collect();
    let whole = found.iter().find(|hook| hook.name == "unreachable").expect("it is there").wasm.clone();
    let mut flipped = whole.clone();
    flipped[12] ^= 0xff;
    for (name, wasm, reason) in [
        ("nothing", Vec::new(), "no WebAssembly file"),
        ("a-web-page", b"<html></html>".to_vec(), "no WebAssembly file"),
        ("torn", whole[..whole.len() / 2].to_vec(), "core module"),
        ("flipped", flipped, "core module"),
    ] {
        found.push(BadHook { name: name.to_owned(), wasm, ends: Ends::Refused(reason.to_owned()) });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn of_text(path: &Path) -> BadHook {
    let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).expect("it is text");
    let says = |what: &str| {
        let start = format!(";; {what}: ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    let ends = match (says("ends"), says("refused")) {
        (Some(fault), None) => Ends::With(fault),
        (None, Some(reason)) => Ends::Refused(reason),
        _ => panic!("{name}: say `;; ends: FAULT` or `;; refused: TEXT`"),
    };
    let mut wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    match says("world").as_deref() {
        Some("none") => {}
        world => embed(&mut wasm, world.unwrap_or("hook")),
    }
    BadHook { name, wasm, ends }
}
