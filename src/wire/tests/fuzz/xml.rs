//! XML: what is written is read back the same; what is not well-formed is refused; no document grows as it is read.

use super::{Random, fuzz};
use crate::limits;
use crate::notification::Configuration;
use crate::wire::xml::{
    BUCKET_TAGS, CorsConfiguration, DeleteRequest, OBJECT_TAGS, parse_complete, parse_location, parse_tagging,
    parse_versioning,
};
use crate::xml::{Document, Element, parse};

const NAMES: [&str; 6] = ["Key", "Contents", "a", "Tag-Set", "ID", "x.y"];

/// A document as it was meant.
#[derive(Debug, PartialEq)]
struct Tree {
    name: &'static str,
    text: String,
    children: Vec<Tree>,
}

fn text(random: &mut Random) -> String {
    let pieces = [
        "<",
        "&",
        ">",
        "\"",
        "'",
        "]]>",
        "&lt;",
        " ",
        "\r",
        "\n",
        "\t",
        "\u{1}",
        "\u{7f}",
        "\u{e9}",
        "\u{1f600}",
        "a",
        "%2F",
    ];
    (0..random.below(8)).map(|_| random.pick(&pieces)).collect()
}

fn tree(random: &mut Random, depth: usize) -> Tree {
    let name = random.pick(&NAMES);
    let count = if depth == 0 { 0 } else { random.below(4) };
    let children: Vec<Tree> = (0..count).map(|_| tree(random, depth - 1)).collect();
    // The writer puts text into leaves only.
    let text = if children.is_empty() { text(random) } else { String::new() };
    Tree { name, text, children }
}

fn write(document: &mut Document, tree: &Tree) {
    match tree.children.is_empty() {
        true => document.text(tree.name, &tree.text),
        false => document.inside(tree.name, |inside| tree.children.iter().for_each(|child| write(inside, child))),
    }
}

fn same(read: &Element<'_>, meant: &Tree) -> bool {
    read.name() == meant.name
        && read.text() == meant.text
        && read.children().len() == meant.children.len()
        && read.children().iter().zip(&meant.children).all(|(read, meant)| same(read, meant))
}

#[test]
fn what_is_written_is_read_back() {
    fuzz("xml written", |random, input| {
        let children: Vec<Tree> = (0..random.below(4)).map(|_| tree(random, 4)).collect();
        let mut document = Document::new("Root");
        children.iter().for_each(|child| write(&mut document, child));
        *input = document.finish().into_bytes();
        let read = parse(input).expect("what is written is well-formed");
        assert!(read.children().iter().zip(&children).all(|(read, meant)| same(read, meant)), "{children:?}");
        assert_eq!((read.name(), read.children().len()), ("Root", children.len()));
    });
}

const SEEDS: [&str; 6] = [
    "<?xml version=\"1.0\"?><Delete xmlns=\"x\"><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object></Delete>",
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>\
     <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
    "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
    "<CORSConfiguration><CORSRule><AllowedOrigin>http://*.a</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
     <MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    "<NotificationConfiguration><TopicConfiguration><Topic>arn:aerie:mqtt:::t</Topic><Event>s3:ObjectCreated:*</Event>\
     <Filter><S3Key><FilterRule><Name>prefix</Name><Value>x</Value></FilterRule></S3Key></Filter>\
     </TopicConfiguration></NotificationConfiguration>",
    "<VersioningConfiguration><!-- c --><Status><![CDATA[Enabled]]></Status><?p i?></VersioningConfiguration>",
];
const WORDS: [&str; 20] = [
    "<a>",
    "</a>",
    "<a/>",
    "<",
    ">",
    "&",
    ";",
    "&#x41;",
    "&#0;",
    "&#xD800;",
    "&lol;",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?x",
    "?>",
    "\u{feff}",
    "99999999999999999999",
];

fn elements(element: &Element<'_>) -> (usize, usize, usize) {
    let (mut count, mut depth, mut bytes) = (1, 0, element.name().len() + element.text().len());
    for child in element.children() {
        let (child_count, child_depth, child_bytes) = elements(child);
        (count, depth, bytes) = (count + child_count, depth.max(child_depth), bytes + child_bytes);
    }
    (count, depth + 1, bytes)
}

#[test]
fn no_document_hurts_its_readers() {
    fuzz("xml read", |random, input| {
        *input = random.pick(&SEEDS).as_bytes().to_vec();
        random.mutate(input, &WORDS);
        if random.one_in(500) {
            // Deep or wide beyond the bounds.
            let one: &[u8] = if random.one_in(2) { b"<a>" } else { b"<a/>" };
            let at = random.below(input.len());
            input.splice(at..at, one.repeat(random.below(2 * limits::XML_ELEMENTS_MAX)));
        }
        if let Ok(root) = parse(input) {
            let (count, depth, bytes) = elements(&root);
            assert!(count <= limits::XML_ELEMENTS_MAX && depth <= limits::XML_DEPTH_MAX, "{count} {depth}");
            assert!(bytes <= input.len(), "a document does not grow");
        }
        // Whether they take it is their own tests' matter; what they take is written and read back the same.
        if let Ok(rules) = Configuration::parse(input) {
            assert_eq!(Configuration::parse(rules.to_xml().as_bytes()), Ok(rules));
        }
        if let Ok(rules) = CorsConfiguration::parse(input) {
            assert_eq!(CorsConfiguration::parse(rules.to_xml().as_bytes()).ok(), Some(rules));
        }
        for limit in [BUCKET_TAGS, OBJECT_TAGS] {
            if let Ok(tags) = parse_tagging(input, limit) {
                assert_eq!(parse_tagging(crate::wire::xml::tagging_document(&tags).as_bytes(), limit).ok(), Some(tags));
            }
        }
        let taken = (DeleteRequest::parse(input).is_ok(), parse_complete(input).is_ok());
        let settings = (parse_versioning(input).is_ok(), parse_location(input).is_ok());
        assert!(parse(input).is_ok() || taken == (false, false) && settings.0 as u8 == 0, "not well-formed, and taken");
    });
}
