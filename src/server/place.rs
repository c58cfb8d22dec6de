//! Drives as the command line names them: brace ranges and lists expanded, as a shell would, for units and containers
//! that have no shell.

use crate::limits::SHARDS_MAX;

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
