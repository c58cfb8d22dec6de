//! The table of S3's operations (src/wire/OPERATIONS.md): what becomes of each, and a test that shows it. It is made from
//! the router's operations, the arms of `wire::ops::run`, and the requests that the tests' sources spell out.
//!
//! `AERIE_BLESS=1 cargo test --test tidy` writes it anew.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use aerie::wire::Operation;

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Offered,
    NeverConfigured,
    Refused,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Offered => "yes",
            State::NeverConfigured => "as never configured",
            State::Refused => "501",
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `wire::ops::run` does with each operation that it names.
fn states(root: &Path) -> HashMap<String, State> {
    let text = read(&root.join("src/wire/ops/mod.rs"));
    let (_, body) = text.split_once("match call.operation {").expect("`run` matches the operation");
    let mut states = HashMap::new();
    for arm in body.split("=>").collect::<Vec<_>>().windows(2) {
        let handler = arm[1].trim_start();
        let state = match ["config::not_configured", "config::put_default"].iter().any(|it| handler.starts_with(it)) {
            true => State::NeverConfigured,
            false => State::Offered,
        };
        // What stands before `=>` begins with the previous arm's end.
        for (_, name) in arm[0].match_indices("Operation::").map(|(at, mark)| arm[0].split_at(at + mark.len())) {
            let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            states.insert(name.to_owned(), state);
        }
    }
    states
}

/// A test's file and name.
type Place = (String, String);

/// Every place that shows an operation; Rust's before the clients'.
#[derive(Default)]
struct Shown {
    rust: BTreeMap<String, Vec<Place>>,
    clients: BTreeMap<String, Vec<Place>>,
}

/// A string literal of a Rust source and where it ends.
fn literals(text: &str) -> Vec<(usize, &str)> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 3,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
            }
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                found.extend(text.get(start..at).map(|literal| (start, literal)));
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// A target as the router may see it: placeholders are filled, and a template without its bucket gets one.
fn target(literal: &str) -> String {
    let mut text = String::new();
    let mut rest = literal;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        text.push('x');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    if text.starts_with('/') { text } else { format!("/b/{text}") }
}

/// The last name after one of the marks before a place.
fn enclosing<'a>(text: &'a str, at: usize, mark: &str) -> Option<&'a str> {
    let start = text[..at].rfind(mark)? + mark.len();
    text[start..].split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn scan_rust(name: &str, text: &str, shown: &mut Shown) {
    let literals = literals(text);
    for (index, (start, literal)) in literals.iter().enumerate() {
        let before = text[..start.saturating_sub(1)].trim_end_matches("&format!(");
        let asked = if before.ends_with(".get(") && literal.starts_with('/') {
            Some(("GET", *start, *literal))
        } else if METHODS.contains(literal) {
            let next = literals.get(index + 1).filter(|(next, _)| next - start < 80);
            next.filter(|(_, next)| next.starts_with('/') || next.starts_with('{'))
                .map(|(next_start, next)| (*literal, *next_start, *next))
        } else {
            None
        };
        let Some((method, place, literal)) = asked else { continue };
        let rest: String = text[place..].chars().take_while(|c| *c != ';').take(300).collect();
        let copying = rest.contains("x-amz-copy-source") || rest.contains("[source") || rest.contains("copy(");
        let Some(operation) = Operation::of(method, &target(literal), copying) else { continue };
        let Some(test) = enclosing(text, place, "\nfn ") else { continue };
        let places = shown.rust.entry(operation.as_str().to_owned()).or_default();
        let place = (name.to_owned(), test.to_owned());
        // A helper shows it as well, but a test tells more.
        if text.contains(&format!("#[test]\nfn {test}(")) { places.insert(0, place) } else { places.push(place) }
    }
}

/// `GetObject` as `get_object` or `get-object`.
fn cased(operation: &str, between: char) -> String {
    let mut text = String::new();
    for (at, c) in operation.char_indices() {
        if c.is_uppercase() && at > 0 {
            text.push(between);
        }
        text.extend(c.to_lowercase());
    }
    text
}

fn scan_client(name: &str, text: &str, shown: &mut Shown) {
    for operation in Operation::ALL {
        let operation = operation.as_str();
        let (snake, kebab) = (cased(operation, '_'), cased(operation, '-'));
        let marks = [
            format!(".{snake}("),
            format!("\"{snake}\""),
            format!("\"{kebab}\""),
            format!("\"{operation}\""),
            format!(".{operation}Command"),
            format!("paginate{operation}("),
        ];
        let listens = operation == "ListenBucketNotification" && text.contains("isten_bucket_notification(");
        let at = marks.iter().filter_map(|mark| text.find(mark)).min();
        let at = at.or_else(|| text.find("isten_bucket_notification(").filter(|_| listens));
        if let Some(at) = at {
            let test = enclosing(text, at, "@test\ndef ").or_else(|| enclosing(text, at, "function "));
            let place = (name.to_owned(), test.unwrap_or_default().to_owned());
            shown.clients.entry(operation.to_owned()).or_default().push(place);
        }
    }
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the tree is readable") {
        let path = entry.expect("the tree is readable").path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

fn shown(root: &Path) -> Shown {
    let mut all = Vec::new();
    files(&root.join("src/wire"), &mut all);
    files(&root.join("tests"), &mut all);
    all.sort();
    let mut shown = Shown::default();
    for path in all {
        let name = path.strip_prefix(root).expect("found below the root").display().to_string();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        // Tests of signatures look at no operation.
        let is_test = name.starts_with("tests/") || name.contains("/tests") && !name.contains("/auth/");
        match ending {
            "rs" if is_test && !name.starts_with("tests/tidy") => scan_rust(&name, &read(&path), &mut shown),
            "py" | "cjs" if name.starts_with("tests/clients/") => scan_client(&name, &read(&path), &mut shown),
            _ => {}
        }
    }
    shown
}

const HEAD: &str = "# S3's operations\n
Made by `AERIE_BLESS=1 cargo test --test tidy` from the router, the operations and the tests; do not edit.\n
*as never configured*: nobody can set it here; who asks gets the answer that AWS gives where it was never set, and who sets
just that is told that it holds. *501*: refused with NotImplemented and the operation's name.\n
| operation | | a test that shows it |\n|---|---|---|\n";

#[test]
#[expect(clippy::disallowed_methods, reason = "the table is a file of the tree")]
fn the_table_of_operations_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (states, shown) = (states(root), shown(root));
    assert!(states.len() > 50, "the arms of `run` are found: {}", states.len());
    let (mut table, mut untested) = (HEAD.to_owned(), Vec::new());
    for operation in Operation::ALL {
        let name = operation.as_str();
        let state = states.get(name).copied().unwrap_or(State::Refused);
        let first = |places: &BTreeMap<String, Vec<Place>>| places.get(name).and_then(|places| places.first().cloned());
        let places: Vec<Place> = [first(&shown.rust), first(&shown.clients)].into_iter().flatten().collect();
        if places.is_empty() && state == State::Offered {
            untested.push(name);
        }
        let text: Vec<String> = places.iter().map(|(file, test)| format!("`{file}` {test}")).collect();
        // Writing to a string does not fail.
        _ = writeln!(table, "| {name} | {} | {} |", state.text(), text.join(", "));
    }
    assert!(untested.is_empty(), "no test spells out a request of {untested:?}: write one");
    let path = root.join("src/wire/OPERATIONS.md");
    if std::env::var_os("AERIE_BLESS").is_some() {
        std::fs::write(&path, &table).expect("the table is writable");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == table, "{} is stale: run AERIE_BLESS=1 cargo test --test tidy", path.display());
}
