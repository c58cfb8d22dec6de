//! Drives as the command line names them: brace ranges and lists expanded, as a shell would, for units and containers
//! that have no shell. And a first look at them: one that hangs delays the start by `DRIVE_STALL_TIMEOUT`, no more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::{DRIVE_STALL_TIMEOUT, SHARDS_MAX};
use crate::seam::Storage;
use crate::seam::files::RealStorage;
use crate::seam::thread;

/// A drive's folder.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub name: String,
    /// Without links, where that could be found out.
    pub real: PathBuf,
    /// `None`: it does not answer.
    pub exists: Option<bool>,
}

/// Looks at all at the same time.
pub(super) fn look_at(names: &[String]) -> Vec<Place> {
    let look = |name: &String| {
        let path = PathBuf::from(name);
        move || (path.canonicalize().unwrap_or_else(|_| path.clone()), path.exists())
    };
    let looks = on_each(names.iter().map(look).collect());
    let place = |(name, look): (&String, Option<(PathBuf, bool)>)| match look {
        Some((real, exists)) => Place { name: name.clone(), real, exists: Some(exists) },
        None => Place { name: name.clone(), real: PathBuf::from(name), exists: None },
    };
    names.iter().zip(looks).map(place).collect()
}

/// Opens those that are there; with `first`, makes those that are not.
pub(super) fn open_all(places: &[Place], first: bool) -> Vec<(String, Option<Arc<dyn Storage>>)> {
    let open = |place: &Place| {
        let (path, answers) = (PathBuf::from(&place.name), place.exists.is_some());
        move || match (answers, first) {
            (false, _) => Err(io::ErrorKind::TimedOut.into()),
            (true, true) => RealStorage::create(&path),
            (true, false) => RealStorage::open(&path),
        }
    };
    let opened = on_each(places.iter().map(open).collect());
    let place = |(place, opened): (&Place, Option<io::Result<RealStorage>>)| {
        let opened = opened.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let opened = opened.inspect_err(|error| tracing::warn!(place = place.name, %error, "a drive cannot be opened"));
        (place.name.clone(), opened.ok().map(|storage| Arc::new(storage) as Arc<dyn Storage>))
    };
    places.iter().zip(opened).map(place).collect()
}

/// Does each on a thread of its own; `None` of one that does not end in time.
fn on_each<T: Send + 'static>(work: Vec<impl FnOnce() -> T + Send + 'static>) -> Vec<Option<T>> {
    thread::answers(work.into_iter().map(thread::begin).collect(), DRIVE_STALL_TIMEOUT)
}

/// One folder twice would be two drives that fail together, and a pool made so stays so.
pub(super) fn refuse_repeated(places: &[Place]) -> Result<(), String> {
    for (index, place) in places.iter().enumerate() {
        if let Some(first) = places[..index].iter().find(|earlier| earlier.real == place.real) {
            let (first, place) = (&first.name, &place.name);
            return Err(format!("{place} is the same folder as {first}; give each drive a folder of its own"));
        }
    }
    Ok(())
}

/// What the pool may call the places that the operator named: as they were given, and as they are.
pub(super) fn named(places: &[Place], names: &[String]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for name in names {
        let is_it = |place: &&Place| Path::new(&place.name) == Path::new(name) || place.real == Path::new(name);
        let Some(place) = places.iter().find(is_it) else {
            let all: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
            return Err(format!("{name}: no drive is given by that name; the drives are {}", all.join(", ")));
        };
        found.extend([place.name.clone(), place.real.display().to_string()]);
    }
    Ok(found)
}

/// Expands `/data/d{1..6}` and `/data/{a,b}`; a name without braces stays as it is.
pub fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else { return Ok(vec![pattern.to_owned()]) };
    let Some((inside, after)) = rest.split_once('}') else {
        return Err(format!("{pattern}: the brace is not closed; write it as d{{1..6}} or {{a,b}}"));
    };
    let mut expanded = Vec::new();
    for middle in alternatives(inside).ok_or_else(|| format!("{pattern}: write the braces as {{1..6}} or {{a,b}}"))? {
        for end in expand(after)? {
            expanded.push(format!("{before}{middle}{end}"));
        }
        if expanded.len() > SHARDS_MAX {
            return Err(format!("{pattern}: names more than {SHARDS_MAX} drives"));
        }
    }
    Ok(expanded)
}

fn alternatives(inside: &str) -> Option<Vec<String>> {
    if let Some((first, last)) = inside.split_once("..") {
        let width = if first.starts_with('0') { first.len() } else { 1 };
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last - first > SHARDS_MAX as u32 {
            return None;
        }
        return Some((first..=last).map(|number| format!("{number:0width$}")).collect());
    }
    let list: Vec<String> = inside.split(',').map(str::to_owned).collect();
    (list.len() > 1).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn ranges_and_lists_expand_as_in_a_shell() {
        for (pattern, expected) in [
            ("/data/d", vec!["/data/d"]),
            ("/data/d{1..3}", vec!["/data/d1", "/data/d2", "/data/d3"]),
            ("d{08..10}/x", vec!["d08/x", "d09/x", "d10/x"]),
            ("{a,b}{1..2}", vec!["a1", "a2", "b1", "b2"]),
        ] {
            assert_eq!(expand(pattern).unwrap(), expected, "{pattern}");
        }
        for bad in ["d{1..6", "d{}", "d{x}", "d{5..1}", "d{1..4000}", "d{a..c}"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
