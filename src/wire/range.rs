//! The `Range` header.

use std::ops::Range;

/// What a range means for an object of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// No range, one that cannot be read, or several: S3 gives the whole object.
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Resolves `bytes=A-B`, `bytes=A-` and `bytes=-N`.
pub fn resolve(header: &str, size: u64) -> Resolved {
    let Some((first, last)) = header.trim().strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Resolved::Whole;
    };
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than a u64 holds lie beyond any object.
        true => Some(text.parse::<u64>().unwrap_or(u64::MAX)),
        false => None,
    };
    match (number(first), number(last)) {
        (None, Some(length)) if first.is_empty() => match length.min(size) {
            0 => Resolved::Unsatisfiable,
            length => Resolved::Part(size - length..size),
        },
        (Some(first), None) if last.is_empty() => match first < size {
            true => Resolved::Part(first..size),
            false => Resolved::Unsatisfiable,
        },
        (Some(first), Some(last)) if first <= last => match first < size {
            true => Resolved::Part(first..last.saturating_add(1).min(size)),
            false => Resolved::Unsatisfiable,
        },
        _ => Resolved::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_refused_or_passed_over() {
        use Resolved::{Part, Unsatisfiable, Whole};
        for (header, size, resolved) in [
            ("bytes=0-9", 100, Part(0..10)),
            ("bytes=90-", 100, Part(90..100)),
            ("bytes=90-200", 100, Part(90..100)),
            ("bytes=-10", 100, Part(90..100)),
            ("bytes=-200", 100, Part(0..100)),
            ("bytes=99-99", 100, Part(99..100)),
            ("bytes=100-", 100, Unsatisfiable),
            ("bytes=100-200", 100, Unsatisfiable),
            ("bytes=-0", 100, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Unsatisfiable),
            ("bytes=99999999999999999999-", 100, Unsatisfiable),
            ("bytes=0-99999999999999999999", 100, Part(0..100)),
            ("bytes=0-18446744073709551615", 100, Part(0..100)),
            ("bytes=5-4", 100, Whole),
            ("bytes=0-1,3-4", 100, Whole),
            ("bytes=a-b", 100, Whole),
            ("bytes=-", 100, Whole),
            ("bytes=+1-2", 100, Whole),
            ("items=0-1", 100, Whole),
            ("", 100, Whole),
        ] {
            assert_eq!(resolve(header, size), resolved, "{header} of {size}");
        }
    }
}
