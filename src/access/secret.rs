//! A secret access key: never printed, compared in constant time.

use std::fmt;

/// A secret access key.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// For signing, and for the one answer that shows a new key to its maker.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    /// Takes the same time whatever differs (the lengths, which are public, apart).
    fn eq(&self, other: &Secret) -> bool {
        let differences = self.0.bytes().zip(other.0.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
        self.0.len() == other.0.len() && std::hint::black_box(differences) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn secrets_are_compared_whole_and_never_shown() {
        for (a, b, equal) in [("", "", true), ("abc", "abc", true), ("abc", "abd", false), ("abc", "ab", false)] {
            assert_eq!(Secret::new(a) == Secret::new(b), equal, "{a} {b}");
        }
        assert_eq!(format!("{:?}", Secret::new("hidden")), "Secret(…)");
    }
}
