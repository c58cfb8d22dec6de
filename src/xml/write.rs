//! Writes a document into one `String`: no tree, one pass, escaped.

use std::fmt::{Display, Write};

/// Namespace of every S3 document.
pub const S3_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A document that is being written. Element names are the program's own and need no escaping.
#[derive(Debug, Clone)]
pub struct Document {
    out: String,
    root: &'static str,
}

impl Document {
    /// A document whose root is in S3's namespace.
    pub fn new(root: &'static str) -> Document {
        Document::sized(root, 512)
    }

    /// Like `new`, with room for `capacity` bytes.
    pub fn sized(root: &'static str, capacity: usize) -> Document {
        let mut out = String::with_capacity(capacity);
        out.push_str(DECLARATION);
        out.extend(["<", root, " xmlns=\"", S3_NAMESPACE, "\">"]);
        Document { out, root }
    }

    /// A document without a namespace (errors).
    pub fn plain(root: &'static str) -> Document {
        let mut out = String::with_capacity(256);
        out.push_str(DECLARATION);
        out.extend(["<", root, ">"]);
        Document { out, root }
    }

    /// An element with text.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.out.extend(["<", name, ">"]);
        escape_into(&mut self.out, text);
        self.out.extend(["</", name, ">"]);
    }

    /// Children alone, without a root or declaration.
    pub fn fragment() -> Document {
        Document { out: String::with_capacity(512), root: "" }
    }

    /// An element with text, if there is any.
    pub fn text_if(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element whose text needs no escaping: numbers, booleans, dates.
    pub fn value(&mut self, name: &'static str, value: impl Display) {
        self.out.extend(["<", name, ">"]);
        write!(self.out, "{value}").expect("a String takes any text");
        self.out.extend(["</", name, ">"]);
    }

    /// An entity tag, in the quotes that S3 puts around it.
    pub fn etag(&mut self, name: &'static str, etag: &str) {
        self.out.extend(["<", name, ">&quot;"]);
        escape_into(&mut self.out, etag);
        self.out.extend(["&quot;</", name, ">"]);
    }

    /// An element with children.
    pub fn inside(&mut self, name: &'static str, children: impl FnOnce(&mut Document)) {
        self.out.extend(["<", name, ">"]);
        children(self);
        self.out.extend(["</", name, ">"]);
    }

    /// An element with children and attributes, which the caller has escaped.
    pub fn inside_with(&mut self, name: &'static str, attributes: &str, children: impl FnOnce(&mut Document)) {
        self.out.extend(["<", name, " ", attributes, ">"]);
        children(self);
        self.out.extend(["</", name, ">"]);
    }

    /// Text of the root itself (GetBucketLocation).
    pub fn root_text(&mut self, text: &str) {
        escape_into(&mut self.out, text);
    }

    pub fn finish(mut self) -> String {
        if !self.root.is_empty() {
            self.out.extend(["</", self.root, ">"]);
        }
        self.out
    }
}

/// Control characters become character references, as S3 writes them; a line feed or tab in text would survive, a
/// carriage return would not.
fn escape_into(out: &mut String, text: &str) {
    let mut clean_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            0..=0x1f | 0x7f => "",
            _ => continue,
        };
        out.push_str(&text[clean_from..at]);
        if escape.is_empty() {
            write!(out, "&#x{byte:X};").expect("a String takes any text");
        } else {
            out.push_str(escape);
        }
        clean_from = at + 1;
    }
    out.push_str(&text[clean_from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written() {
        let mut document = Document::new("ListBucketResult");
        document.text("Name", "a<b>&\"c'\u{1}\r\n\u{e9}");
        document.value("MaxKeys", 7);
        document.text_if("Absent", None);
        document.inside("Contents", |document| {
            document.etag("ETag", "abc");
            document.text("Empty", "");
        });
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Name>a&lt;b&gt;&amp;&quot;c'&#x1;&#xD;&#xA;\u{e9}</Name><MaxKeys>7</MaxKeys>\
            <Contents><ETag>&quot;abc&quot;</ETag><Empty></Empty></Contents></ListBucketResult>";
        assert_eq!(document.finish(), expected);
        let plain = Document::plain("Error").finish();
        assert_eq!(plain, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error></Error>");
    }
}
