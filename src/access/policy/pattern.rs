//! Text with wildcards and variables, compiled.
//!
//! `*` stands for any characters, `?` for one, `${key}` or `${key, 'default'}` for a fact of the request, and `${*}`, `${?}`,
//! `${$}` for the characters themselves. What a variable brings in is always literal: a user named `*` matches a star.

use super::Context;

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    Any,
    One,
    Variable { key: String, default: Option<String> },
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    pieces: Vec<Piece>,
    ignore_case: bool,
    /// Some piece is a variable.
    varies: bool,
}

/// How a text becomes a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub wildcards: bool,
    /// Since version 2012-10-17.
    pub variables: bool,
    pub ignore_case: bool,
}

impl Pattern {
    pub fn new(text: &str, reading: Reading) -> Pattern {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let mut taken = character.len_utf8();
            let piece = match character {
                '*' if reading.wildcards => Some(Piece::Any),
                '?' if reading.wildcards => Some(Piece::One),
                '$' if reading.variables => match variable(rest) {
                    Some((Variable::Character(character), length)) => {
                        literal.push(character);
                        rest = &rest[length..];
                        continue;
                    }
                    Some((Variable::Key { key, default }, length)) => {
                        taken = length;
                        Some(Piece::Variable { key, default })
                    }
                    None => None,
                },
                _ => None,
            };
            match piece {
                None => literal.push(character),
                Some(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    if !(piece == Piece::Any && pieces.last() == Some(&Piece::Any)) {
                        pieces.push(piece);
                    }
                }
            }
            rest = &rest[taken..];
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let varies = pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. }));
        Pattern { pieces, ignore_case: reading.ignore_case, varies }
    }

    /// Whether the text matches. A variable without a value matches nothing.
    pub fn matches(&self, text: &str, context: &dyn Context) -> bool {
        if !self.varies {
            return self.glob(&self.pieces, text);
        }
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            pieces.push(match piece {
                Piece::Variable { key, default } => match value_of(context, key).or_else(|| default.clone()) {
                    Some(value) => Piece::Literal(value),
                    None => return false,
                },
                piece => piece.clone(),
            });
        }
        self.glob(&pieces, text)
    }

    /// One text matches, whatever the request.
    pub fn is_fixed(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)))
    }

    fn glob(&self, pieces: &[Piece], text: &str) -> bool {
        // On a mismatch the last `*` takes one character more and all behind it is tried again.
        let (mut at, mut piece) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match pieces.get(piece) {
                Some(Piece::Any) => {
                    retry = Some((piece + 1, at));
                    Some(at)
                }
                Some(Piece::One) => text[at..].chars().next().map(|character| at + character.len_utf8()),
                Some(Piece::Literal(literal)) => self.starts_with(&text[at..], literal).map(|length| at + length),
                Some(Piece::Variable { .. }) => None,
                None if at == text.len() => return true,
                None => None,
            };
            match (step, &mut retry) {
                (Some(next), _) => (at, piece) = (next, piece + 1),
                (None, Some((first, from))) => {
                    let Some(character) = text[*from..].chars().next() else { return false };
                    *from += character.len_utf8();
                    (at, piece) = (*from, *first);
                }
                (None, None) => return false,
            }
        }
    }

    /// Bytes of the text that the literal takes.
    fn starts_with(&self, text: &str, literal: &str) -> Option<usize> {
        if !self.ignore_case {
            return text.starts_with(literal).then_some(literal.len());
        }
        let mut taken = 0;
        let mut characters = text.chars();
        for wanted in literal.chars() {
            let found = characters.next()?;
            if found != wanted && !found.to_lowercase().eq(wanted.to_lowercase()) {
                return None;
            }
            taken += found.len_utf8();
        }
        Some(taken)
    }
}

/// The one value of a key; one with several has none that a variable could stand for.
fn value_of(context: &dyn Context, key: &str) -> Option<String> {
    match context.values(key)?.as_slice() {
        [single] => Some(single.clone().into_owned()),
        _ => None,
    }
}

/// Lower case up to the first `/`; what follows is a tag's name, where case counts.
pub fn normal_key(key: &str) -> String {
    match key.split_once('/') {
        Some((name, tag)) => format!("{}/{tag}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

enum Variable {
    Character(char),
    Key { key: String, default: Option<String> },
}

/// Reads `${…}` at the beginning of the text, and how many bytes it has.
fn variable(text: &str) -> Option<(Variable, usize)> {
    let inside = text.strip_prefix("${")?;
    let end = inside.find('}')?;
    let (name, length) = (&inside[..end], end + 3);
    if matches!(name, "*" | "?" | "$") {
        return name.chars().next().map(|character| (Variable::Character(character), length));
    }
    let (key, default) = match name.split_once(',') {
        None => (name, None),
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))?;
            (key, Some(default.to_owned()))
        }
    };
    let key = key.trim();
    key.contains(':').then(|| (Variable::Key { key: normal_key(key), default }, length))
}
