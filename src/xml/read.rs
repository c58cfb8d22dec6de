//! Reads a document into a tree. Bounds: bytes, depth and number of elements (limits.rs).

use std::borrow::Cow;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use crate::limits;

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error("the document has more than {limit} bytes; send less in one request")]
    TooLong { limit: usize },
    #[error("the document is not UTF-8; encode it so")]
    NotUtf8,
    #[error("the document has a DOCTYPE, which is not accepted; leave it out")]
    DocumentType,
    #[error("the entity &{0}; is not one of XML's own; write the character instead")]
    Entity(String),
    #[error("elements are nested deeper than {limit}")]
    TooDeep { limit: usize },
    #[error("the document has more than {limit} elements")]
    TooManyElements { limit: usize },
    #[error("the document is not well-formed: {0}")]
    Syntax(String),
    #[error("the document has no root element")]
    Empty,
    #[error("something follows the root element")]
    Trailing,
}

/// An element with its children. Attributes and namespace prefixes are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    name: String,
    text: Cow<'a, str>,
    children: Vec<Element<'a>>,
}

impl<'a> Element<'a> {
    /// Its name without a namespace prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own text, unescaped, without that of its children. White space is kept: a key may have it at its ends.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn children(&self) -> &[Element<'a>] {
        &self.children
    }

    pub fn children_named<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Element<'a>> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(Element::text)
    }
}

/// Reads a whole document.
pub fn parse(document: &[u8]) -> Result<Element<'_>, XmlError> {
    if document.len() > limits::XML_BODY_BYTES_MAX {
        return Err(XmlError::TooLong { limit: limits::XML_BODY_BYTES_MAX });
    }
    let text = std::str::from_utf8(document).map_err(|_| XmlError::NotUtf8)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut tree = Tree { open: Vec::new(), root: None, elements: 0 };
    loop {
        match reader.read_event().map_err(|error| XmlError::Syntax(error.to_string()))? {
            Event::Start(start) => tree.open(&start)?,
            Event::Empty(start) => {
                tree.open(&start)?;
                tree.close()?;
            }
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.text(text.xml10_content())?,
            Event::CData(text) => tree.text(text.xml10_content())?,
            Event::GeneralRef(reference) => tree.text(Cow::Owned(resolve(&reference)?.to_string()))?,
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish(),
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    let of_number = reference.resolve_char_ref().map_err(|error| XmlError::Syntax(error.to_string()))?;
    if let Some(character) = of_number {
        return Ok(character);
    }
    let name = reference.xml10_content();
    match name.as_ref() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        other => Err(XmlError::Entity(other.chars().take(32).collect())),
    }
}

/// The elements whose end was not seen yet, from the root down.
struct Tree<'a> {
    open: Vec<Element<'a>>,
    root: Option<Element<'a>>,
    elements: usize,
}

impl<'a> Tree<'a> {
    fn open(&mut self, start: &BytesStart<'a>) -> Result<(), XmlError> {
        if self.root.is_some() {
            return Err(XmlError::Trailing);
        }
        if self.open.len() == limits::XML_DEPTH_MAX {
            return Err(XmlError::TooDeep { limit: limits::XML_DEPTH_MAX });
        }
        self.elements += 1;
        if self.elements > limits::XML_ELEMENTS_MAX {
            return Err(XmlError::TooManyElements { limit: limits::XML_ELEMENTS_MAX });
        }
        let name = start.local_name().as_ref().to_owned();
        self.open.push(Element { name, text: Cow::Borrowed(""), children: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), XmlError> {
        let closed = self.open.pop().ok_or_else(|| XmlError::Syntax("an end tag without its start".to_owned()))?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(closed),
            None => self.root = Some(closed),
        }
        Ok(())
    }

    fn text(&mut self, text: Cow<'a, str>) -> Result<(), XmlError> {
        match self.open.last_mut() {
            Some(element) if element.text.is_empty() => element.text = text,
            Some(element) => element.text.to_mut().push_str(&text),
            None if text.trim().is_empty() => {}
            None if self.root.is_some() => return Err(XmlError::Trailing),
            None => return Err(XmlError::Syntax("text before the root element".to_owned())),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element<'a>, XmlError> {
        match self.open.last() {
            Some(element) => Err(XmlError::Syntax(format!("<{}> is not closed", element.name))),
            None => self.root.ok_or(XmlError::Empty),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as text: `name(text|child child)`.
    fn sketch(element: &Element<'_>) -> String {
        let children: Vec<String> = element.children().iter().map(sketch).collect();
        format!("{}({}|{})", element.name(), element.text(), children.join(" "))
    }

    #[test]
    fn documents_are_read() {
        let cases = [
            ("<a/>", "a(|)"),
            ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a></a>\n", "a(|)"),
            ("\u{feff}<a>x</a>", "a(x|)"),
            ("<s:a xmlns:s=\"u\"><s:b> x </s:b></s:a>", "a(|b( x |))"),
            ("<a>&lt;&#65;&#x42;&amp;&apos;&quot;&gt;</a>", "a(<AB&'\">|)"),
            ("<a><![CDATA[<&>]]>z</a>", "a(<&>z|)"),
            ("<a><b>1</b><c/><b>2</b></a>", "a(|b(1|) c(|) b(2|))"),
            ("<a><!-- note -->x<!-- note -->y</a>", "a(xy|)"),
            ("<a>&#1;</a>", "a(\u{1}|)"),
            ("<a>r\u{fc}b\u{e9}</a>", "a(r\u{fc}b\u{e9}|)"),
        ];
        for (document, expected) in cases {
            let element = parse(document.as_bytes()).unwrap_or_else(|error| panic!("{document}: {error}"));
            assert_eq!(sketch(&element), expected, "{document}");
        }
    }

    #[test]
    fn bad_documents_are_refused() {
        let deep = "<a>".repeat(limits::XML_DEPTH_MAX + 1);
        let many = format!("<a>{}</a>", "<b/>".repeat(limits::XML_ELEMENTS_MAX));
        let long = " ".repeat(limits::XML_BODY_BYTES_MAX + 1);
        let cases: [(&[u8], &str); 18] = [
            (b"", "no root"),
            (b"   ", "no root"),
            (b"text", "not well-formed"),
            (b"<a>", "not closed"),
            (b"<a><b></a>", "not well-formed"),
            (b"</a>", "not well-formed"),
            (b"<a/><b/>", "follows the root"),
            (b"<a/>text", "follows the root"),
            (b"<a>&nope;</a>", "&nope;"),
            (b"<a>&</a>", "not well-formed"),
            (b"<a>&#xD800;</a>", "not well-formed"),
            (b"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "DOCTYPE"),
            (b"<a>\xff</a>", "UTF-8"),
            (b"<a", "not well-formed"),
            (b"{\"a\": 1}", "not well-formed"),
            (deep.as_bytes(), "deeper"),
            (many.as_bytes(), "elements"),
            (long.as_bytes(), "bytes"),
        ];
        for (document, expected) in cases {
            let shown = String::from_utf8_lossy(&document[..document.len().min(60)]);
            let error = parse(document).expect_err(&shown).to_string();
            assert!(error.contains(expected), "{shown}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(document in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&document);
        }

        #[test]
        fn what_is_written_is_read_back(text in "\\PC{0,40}|[\\x01-\\x20<>&'\"]{0,20}") {
            let mut document = crate::xml::Document::new("R");
            document.text("T", &text);
            let written = document.finish();
            let root = parse(written.as_bytes()).expect("written documents are well-formed");
            proptest::prop_assert_eq!(root.text_of("T"), Some(text.as_str()));
        }
    }
}
