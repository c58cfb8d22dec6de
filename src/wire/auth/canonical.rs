//! The canonical request of Signature Version 4, exactly as S3 wants it: the path encoded once, nothing normalised.

use std::borrow::Cow;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What S3 leaves as it is: letters, digits, `-._~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A request as it came, as far as it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub method: &'a str,
    /// Raw, as in the request line.
    pub path: &'a str,
    /// Raw, without `?`.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    /// `a;b;c` as the client gave it.
    pub signed_headers: &'a str,
    /// Last line: a digest in hex, or one of the words that stand for one.
    pub payload: &'a str,
}

impl Signed<'_> {
    /// Header values need not be UTF-8, so that this is bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(self.method.as_bytes());
        out.push(b'\n');
        push_path(&mut out, self.path);
        out.push(b'\n');
        push_query(&mut out, self.query);
        out.push(b'\n');
        for name in self.signed_headers.split(';') {
            push_header(&mut out, name, self.headers);
        }
        out.push(b'\n');
        out.extend_from_slice(self.signed_headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.payload.as_bytes());
        out
    }
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn push_path(out: &mut Vec<u8>, path: &str) {
    if path.bytes().all(|b| is_unreserved(b) || b == b'/') {
        out.extend_from_slice(path.as_bytes());
        return;
    }
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    for piece in percent_encode(&decoded, RESERVED_IN_PATH) {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn push_query(out: &mut Vec<u8>, query: &str) {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        if name != "X-Amz-Signature" {
            pairs.push((encoded(name), encoded(value)));
        }
    }
    pairs.sort();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
}

/// Decodes as the server reads it (`+` is a space), encodes as the signer must have.
fn encoded(text: &str) -> String {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    let decoded: Cow<'_, [u8]> = percent_decode_str(&spaced).into();
    percent_encode(&decoded, RESERVED).to_string()
}

/// `name:value,value`, runs of white space inside a value folded to one space.
fn push_header(out: &mut Vec<u8>, name: &str, headers: &HeaderMap) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (i, value) in headers.get_all(name).iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let text = as_utf8(value.as_bytes());
        let words = text.split(|b| *b == b' ' || *b == b'\t').filter(|word| !word.is_empty());
        for (j, word) in words.enumerate() {
            if j > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    out.push(b'\n');
}

/// Clients sign text as UTF-8; some then send it as Latin-1.
fn as_utf8(value: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(value) {
        Ok(_) => value.into(),
        Err(_) => value.iter().map(|b| char::from(*b)).collect::<String>().into_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_once_and_never_normalised() {
        for (raw, canonical) in [
            ("/", "/"),
            ("/bucket/a-b_c.d~e/1", "/bucket/a-b_c.d~e/1"),
            ("/a//b/./../c/", "/a//b/./../c/"),
            ("/a%20b", "/a%20b"),
            ("/a+b", "/a%2Bb"),
            ("/a=b&c:d@e", "/a%3Db%26c%3Ad%40e"),
            ("/%7Etilde%2fslash", "/~tilde/slash"),
            ("/%e4%bd%a0", "/%E4%BD%A0"),
            ("/50%25", "/50%25"),
            ("/bad%zz", "/bad%25zz"),
            ("/%ff", "/%FF"),
        ] {
            let mut out = Vec::new();
            push_path(&mut out, raw);
            assert_eq!(String::from_utf8_lossy(&out), canonical, "{raw}");
        }
    }

    #[test]
    fn queries_are_sorted_and_encoded() {
        for (raw, canonical) in [
            ("", ""),
            ("acl", "acl="),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("a-b=1&a=2", "a=2&a-b=1"),
            ("prefix=a%20b&marker=a+b", "marker=a%20b&prefix=a%20b"),
            ("q=a%2Bb&x=/", "q=a%2Bb&x=%2F"),
            ("X-Amz-Signature=abc&z=1", "z=1"),
            ("&&a=1&", "a=1"),
            ("a=b=c", "a=b%3Dc"),
            ("Z=1&a=1", "Z=1&a=1"),
        ] {
            let mut out = Vec::new();
            push_query(&mut out, raw);
            assert_eq!(String::from_utf8_lossy(&out), canonical, "{raw}");
        }
    }

    #[test]
    fn header_white_space_is_folded_and_values_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-meta-a", "  one   two ".parse().unwrap());
        headers.append("x-amz-meta-a", "three".parse().unwrap());
        headers.append("x-amz-meta-u", http::HeaderValue::from_bytes("å".as_bytes()).unwrap());
        for (name, canonical) in [
            ("x-amz-meta-a", "x-amz-meta-a:one two,three\n"),
            ("x-amz-meta-u", "x-amz-meta-u:å\n"),
            ("gone", "gone:\n"),
        ] {
            let mut out = Vec::new();
            push_header(&mut out, name, &headers);
            assert_eq!(String::from_utf8_lossy(&out), canonical);
        }
    }
}
