//! BERT's uncased tokens: text to the numbers that the model was trained on.
//!
//! Promises: the tokens of the reference tokenizer for text in Latin script (accents of Latin-1 and Latin Extended-A are
//! taken off) and for all other scripts that have no accents to take off; a Chinese character is a word of its own.
//! Purely computing.

use std::collections::HashMap;

/// Characters of a word beyond which it is unknown as a whole.
const WORD_CHARS_MAX: usize = 100;

pub struct Vocabulary {
    tokens: HashMap<String, i32>,
    first: i32,
    last: i32,
    unknown: i32,
}

impl Vocabulary {
    /// One token a line, in the order of their numbers.
    pub fn new(lines: Vec<String>) -> Result<Vocabulary, String> {
        let tokens: HashMap<String, i32> = lines.into_iter().zip(0..).collect();
        let special = |name: &str| {
            let missing = || format!("not found: the model's labels have no {name}; add it with its vocabulary");
            tokens.get(name).copied().ok_or_else(missing)
        };
        let (first, last, unknown) = (special("[CLS]")?, special("[SEP]")?, special("[UNK]")?);
        Ok(Vocabulary { tokens, first, last, unknown })
    }

    /// At most `most` tokens, with the ones that begin and end a text, and whether something was cut.
    pub fn tokens(&self, text: &str, most: usize) -> (Vec<i32>, bool) {
        let mut tokens = vec![self.first];
        for word in words(text) {
            self.add(&word, &mut tokens);
            if tokens.len() >= most {
                break;
            }
        }
        // One that fills the window to its last place leaves none for the end.
        let cut = tokens.len() >= most;
        tokens.truncate(most - 1);
        tokens.push(self.last);
        (tokens, cut)
    }

    /// The longest known piece first, then the longest that continues it.
    fn add(&self, word: &str, tokens: &mut Vec<i32>) {
        let start = tokens.len();
        let mut rest = word;
        while !rest.is_empty() && word.chars().count() <= WORD_CHARS_MAX {
            let prefix = if rest.len() == word.len() { "" } else { "##" };
            let ends = rest.char_indices().map(|(at, letter)| at + letter.len_utf8()).rev();
            let mut pieces =
                ends.filter_map(|end| Some((end, *self.tokens.get(&format!("{prefix}{}", &rest[..end]))?)));
            let Some((end, token)) = pieces.next() else { break };
            tokens.push(token);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            tokens.truncate(start);
            tokens.push(self.unknown);
        }
    }
}

/// Words in lower case and without accents; each mark of punctuation and each Chinese character is one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in text.chars() {
        if letter == '\0' || letter == '\u{fffd}' || (letter.is_control() && !letter.is_whitespace()) {
            continue;
        }
        if letter.is_whitespace() {
            words.push(String::new());
        } else if is_punctuation(letter) || is_chinese(letter) {
            words.push(letter.to_string());
            words.push(String::new());
        } else {
            let word = words.last_mut().expect("there is always a word that is being read");
            letter.to_lowercase().filter_map(plain).for_each(|letter| word.push(letter));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_punctuation(letter: char) -> bool {
    letter.is_ascii_punctuation()
        || matches!(letter, '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{b6}' | '\u{b7}' | '\u{bb}' | '\u{bf}')
        || ('\u{2010}'..='\u{2027}').contains(&letter)
        || ('\u{2030}'..='\u{205e}').contains(&letter)
        || ('\u{3001}'..='\u{3003}').contains(&letter)
        || ('\u{3008}'..='\u{3011}').contains(&letter)
        || matches!(letter, '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}' | '\u{ff1b}' | '\u{ff1f}')
}

fn is_chinese(letter: char) -> bool {
    matches!(letter, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2ceaf}')
}

/// Lower-case letters of Latin-1 and Latin Extended-A with an accent, by the letter that is left of them.
const ACCENTED: [(char, &str); 21] = [
    ('a', "àáâãäåāăą"),
    ('c', "çćĉċč"),
    ('d', "ď"),
    ('e', "èéêëēĕėęě"),
    ('g', "ĝğġģ"),
    ('h', "ĥ"),
    ('i', "ìíîïĩīĭį"),
    ('j', "ĵ"),
    ('k', "ķ"),
    ('l', "ĺļľ"),
    ('n', "ñńņň"),
    ('o', "òóôõöōŏő"),
    ('r', "ŕŗř"),
    ('s', "śŝşš"),
    ('t', "ţť"),
    ('u', "ùúûüũūŭůűų"),
    ('w', "ŵ"),
    ('y', "ýÿŷ"),
    ('z', "źżž"),
    ('a', "ǎ"),
    ('o', "ǒ"),
];

/// `None` for an accent that stands by itself.
fn plain(letter: char) -> Option<char> {
    if ('\u{300}'..='\u{36f}').contains(&letter) {
        return None;
    }
    let found = ACCENTED.iter().find(|(_, accented)| !letter.is_ascii() && accented.contains(letter));
    Some(found.map_or(letter, |(plain, _)| *plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_plain_and_punctuation_stands_alone() {
        let cases = [
            ("Hello, World!", "hello|,|world|!"),
            ("  Crème\u{a0}brûlée\n¿qué? ", "creme|brulee|¿|que|?"),
            ("e\u{301}té İ", "ete|i"),
            ("無人機 drone", "無|人|機|drone"),
            ("don't re-enter", "don|'|t|re|-|enter"),
            ("a\u{0}b\u{fffd}c\u{7}d", "abcd"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text).join("|"), expected, "{text:?}");
        }
    }

    #[test]
    fn words_are_cut_into_the_longest_known_pieces() {
        let lines = "[PAD] [UNK] [CLS] [SEP] drone ##s drones fly un ##aff ##able ,".split(' ').map(str::to_owned);
        let vocabulary = Vocabulary::new(lines.collect()).unwrap();
        let cases = [
            ("Drones fly", vec![2, 6, 7, 3], false),
            ("unaffable, drone", vec![2, 8, 9, 10, 11, 4, 3], false),
            ("flys flyx", vec![2, 7, 5, 1, 3], false),
            ("fly fly fly fly fly fly fly", vec![2, 7, 7, 7, 7, 7, 7, 3], true),
            ("", vec![2, 3], false),
        ];
        for (text, expected, cut) in cases {
            assert_eq!(vocabulary.tokens(text, 8), (expected, cut), "{text}");
        }
        assert!(Vocabulary::new(vec!["a".to_owned()]).is_err());
        assert_eq!(vocabulary.tokens(&"x".repeat(200), 8).0, [2, 1, 3]);
    }
}
