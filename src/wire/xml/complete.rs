//! The parts that CompleteMultipartUpload names.

use super::{DocumentError, root, schema};
use crate::hash::ChecksumAlgorithm;
use crate::limits;
use crate::xml::Element;

/// One part, as the client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPart {
    pub number: u32,
    /// Without quotes.
    pub etag: String,
    pub checksum: Option<(ChecksumAlgorithm, String)>,
}

/// Reads the document; the parts stay in the client's order.
pub fn parse_complete(document: &[u8]) -> Result<Vec<DocumentPart>, DocumentError> {
    let root = root(document, "CompleteMultipartUpload")?;
    let parts = root.children_named("Part").map(part).collect::<Result<Vec<_>, _>>()?;
    if parts.is_empty() {
        return Err(schema("name at least one <Part>"));
    }
    if parts.len() > limits::PART_NUMBER_MAX as usize {
        return Err(schema(format!("there are more than {} parts", limits::PART_NUMBER_MAX)));
    }
    Ok(parts)
}

fn part(element: &Element<'_>) -> Result<DocumentPart, DocumentError> {
    let number = element.text_of("PartNumber").ok_or_else(|| schema("a <Part> has no <PartNumber>"))?.trim();
    let number: u32 = number.parse().map_err(|_| schema(format!("`{number}` is not a part number")))?;
    if !(1..=limits::PART_NUMBER_MAX).contains(&number) {
        let limit = limits::PART_NUMBER_MAX;
        return Err(DocumentError::InvalidArgument(format!("part number must be an integer between 1 and {limit}")));
    }
    let etag = element.text_of("ETag").ok_or_else(|| schema("a <Part> has no <ETag>"))?;
    let checksum = ChecksumAlgorithm::ALL.into_iter().find_map(|algorithm| {
        let value = element.text_of(checksum_element(algorithm))?.trim();
        Some((algorithm, value.to_owned()))
    });
    Ok(DocumentPart { number, etag: etag.trim().trim_matches('"').to_ascii_lowercase(), checksum })
}

/// Name of the element that carries this checksum, in requests and responses.
pub fn checksum_element(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn parts_are_read() {
        let parts = parse_complete(
            b"<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
              <Part><PartNumber>2</PartNumber><ETag>\"AB\"</ETag><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>\
              <Part><ETag>&quot;cd&quot;</ETag><PartNumber> 1 </PartNumber></Part></CompleteMultipartUpload>",
        )
        .expect("valid");
        let checksum = Some((ChecksumAlgorithm::Crc32, "y/Q5Jg==".to_owned()));
        assert_eq!(parts[0], DocumentPart { number: 2, etag: "ab".to_owned(), checksum });
        assert_eq!(parts[1], DocumentPart { number: 1, etag: "cd".to_owned(), checksum: None });
    }

    #[test]
    fn bad_documents_are_refused() {
        let cases = [
            ("<CompleteMultipartUpload/>", S3Code::MalformedXML),
            ("<Complete/>", S3Code::MalformedXML),
            ("", S3Code::MalformedXML),
            (
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
                S3Code::MalformedXML,
            ),
            ("<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>", S3Code::MalformedXML),
            (
                "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
                S3Code::MalformedXML,
            ),
            (
                "<CompleteMultipartUpload><Part><PartNumber>0</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
                S3Code::InvalidArgument,
            ),
            (
                "<CompleteMultipartUpload><Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
                S3Code::InvalidArgument,
            ),
        ];
        for (document, code) in cases {
            assert_eq!(parse_complete(document.as_bytes()).expect_err(document).code(), code, "{document}");
        }
    }
}
