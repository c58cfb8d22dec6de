//! multipart/form-data, read as it streams: the fields in front of the file into memory, the file as a body source.
//!
//! What follows the file is read to the end and ignored, as S3 does. Bounds: bytes of all that is not the file.

use bytes::{Buf, Bytes, BytesMut};

use crate::engine::{BodyError, BodyFuture, BodySource};
use crate::limits;
use crate::wire::error::{S3Code, S3Error};

/// The fields of a form in front of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Names in lower case, in the order of the form.
    pub fields: Vec<(String, String)>,
    /// The name that the browser gave the file, without folders.
    pub filename: String,
}

impl Form {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Puts the file's name where the key asks for it, which S3 does before it looks at the policy.
    pub fn expand_filename(&mut self) {
        for (_, value) in self.fields.iter_mut().filter(|(field, _)| field == "key") {
            *value = value.replace("${filename}", &self.filename);
        }
    }
}

/// Reads one form from a body.
pub struct FormReader<'b> {
    source: &'b mut dyn BodySource,
    buffer: BytesMut,
    /// `\r\n--BOUNDARY`: begins every part, and ends the file. A carriage return is only at its start.
    delimiter: Vec<u8>,
    /// Bytes that were read beside the file's.
    spent: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fields,
    File,
    End,
}

fn malformed(reason: impl Into<String>) -> S3Error {
    let message = format!("The body of your POST request is not well-formed multipart/form-data: {}", reason.into());
    S3Error::with(S3Code::MalformedPOSTRequest, message)
}

impl<'b> FormReader<'b> {
    /// `content_type` is the request's header.
    pub fn new(content_type: &str, source: &'b mut dyn BodySource) -> Result<FormReader<'b>, S3Error> {
        let boundary = boundary(content_type)?;
        // With a line break in front, the first delimiter looks like the others.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Ok(FormReader { source, buffer, delimiter, spent: 0, state: State::Fields })
    }

    /// Reads the fields, up to the first byte of the file.
    pub async fn fields(&mut self) -> Result<Form, S3Error> {
        let mut form = Form::default();
        self.text_until_delimiter().await?;
        loop {
            let rest_of_line = self.take_until(b"\r\n").await?;
            if rest_of_line.starts_with(b"--") {
                return Err(S3Error::argument("file", "", "POST requires exactly one file upload per request."));
            }
            if !rest_of_line.iter().all(|byte| byte.is_ascii_whitespace()) {
                return Err(malformed("something follows a boundary on its line"));
            }
            let part = self.part_head().await?;
            if part.name == "file" {
                let filename = part.filename.unwrap_or_default();
                form.filename = filename.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
                self.state = State::File;
                return Ok(form);
            }
            let value = self.text_until_delimiter().await?;
            form.fields.push((part.name, value));
        }
    }

    async fn part_head(&mut self) -> Result<PartHead, S3Error> {
        let mut head = PartHead { name: String::new(), filename: None };
        loop {
            let line = self.take_until(b"\r\n").await?;
            if line.is_empty() {
                break;
            }
            let line = String::from_utf8(line.to_vec()).map_err(|_| malformed("a part's head is not UTF-8"))?;
            let (name, value) =
                line.split_once(':').ok_or_else(|| malformed("a part's head has a line without `:`"))?;
            if name.trim().eq_ignore_ascii_case("content-disposition") {
                head.name = parameter(value, "name").unwrap_or_default().to_ascii_lowercase();
                head.filename = parameter(value, "filename");
            }
        }
        if head.name.is_empty() { Err(malformed("a part has no name")) } else { Ok(head) }
    }

    async fn text_until_delimiter(&mut self) -> Result<String, S3Error> {
        let delimiter = self.delimiter.clone();
        let bytes = self.take_until(&delimiter).await?;
        String::from_utf8(bytes.to_vec()).map_err(|_| malformed("a field is not UTF-8"))
    }

    /// The bytes in front of `end`, which is read over.
    async fn take_until(&mut self, end: &[u8]) -> Result<Bytes, S3Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.buffer[searched..], end) {
                let taken = self.buffer.split_to(searched + at).freeze();
                self.buffer.advance(end.len());
                self.spend(taken.len() + end.len())?;
                return Ok(taken);
            }
            searched = self.buffer.len().saturating_sub(end.len() - 1);
            self.spend_check(self.buffer.len())?;
            match self.source.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(malformed("it ends before the file")),
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), S3Error> {
        self.spent += bytes;
        self.spend_check(0)
    }

    fn spend_check(&self, more: usize) -> Result<(), S3Error> {
        if self.spent + more <= limits::FORM_FIELDS_BYTES_MAX {
            return Ok(());
        }
        let message = "Your POST request fields preceding the upload file were too large.";
        let limit = limits::FORM_FIELDS_BYTES_MAX.to_string();
        Err(S3Error::with(S3Code::MaxMessageLengthExceeded, message).field("MaxMessageLengthBytes", limit))
    }

    async fn next_of_file(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if self.state == State::End {
                return Ok(None);
            }
            let safe = match find(&self.buffer, &self.delimiter) {
                Some(0) => {
                    self.drain().await?;
                    return Ok(None);
                }
                Some(at) => at,
                None => self.buffer.len() - partial_delimiter(&self.buffer, &self.delimiter),
            };
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            match self.source.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(BodyError::Framing("the form ends within its file".to_owned())),
            }
        }
    }

    /// Reads what follows the file to the end of the body, so that the body's own checks happen.
    async fn drain(&mut self) -> Result<(), BodyError> {
        self.state = State::End;
        let mut rest = self.buffer.len();
        while let Some(bytes) = self.source.next().await? {
            rest += bytes.len();
            if rest > limits::FORM_FIELDS_BYTES_MAX {
                return Err(BodyError::Framing("too much follows the file of the form; put the file last".to_owned()));
            }
        }
        Ok(())
    }
}

impl BodySource for FormReader<'_> {
    fn next(&mut self) -> BodyFuture<'_> {
        assert!(self.state != State::Fields, "the fields are read before the file");
        Box::pin(self.next_of_file())
    }
}

struct PartHead {
    name: String,
    filename: Option<String>,
}

fn boundary(content_type: &str) -> Result<String, S3Error> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        let message = "Bucket POST must be of the enclosure-type multipart/form-data";
        return Err(S3Error::with(S3Code::PreconditionFailed, message).field("Condition", message));
    }
    let boundary = parameter(content_type, "boundary").unwrap_or_default();
    if (1..=70).contains(&boundary.len()) && boundary.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Ok(boundary);
    }
    Err(malformed("the Content-Type header has no valid boundary"))
}

/// The value of `; name=value` or `; name="value"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        if name.trim().trim_start_matches(';').trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next.trim_start().trim_start_matches(';');
    }
}

/// The text up to the closing quote, and what follows. Browsers write `%22` for a quote, others escape it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' if quoted[at + 1..].starts_with('"') => {
                characters.next();
                value.push('"');
            }
            other => value.push(other),
        }
    }
    None
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        let start = from + at;
        if bytes[start..].starts_with(wanted) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

/// Bytes at the end that may be the beginning of a delimiter.
fn partial_delimiter(bytes: &[u8], delimiter: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(delimiter.len() - 1);
    let tail = &bytes[from..];
    tail.iter().position(|byte| *byte == b'\r').map_or(0, |first| {
        (first..tail.len()).find(|at| delimiter.starts_with(&tail[*at..])).map_or(0, |at| tail.len() - at)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    struct Pieces(VecDeque<Bytes>);

    impl BodySource for Pieces {
        fn next(&mut self) -> BodyFuture<'_> {
            Box::pin(async { Ok(self.0.pop_front()) })
        }
    }

    /// The form and its file, or the error's code; the body comes in pieces of `size` bytes.
    fn read(content_type: &str, body: &[u8], size: usize) -> Result<(Form, Vec<u8>), String> {
        let mut pieces = Pieces(body.chunks(size).map(Bytes::copy_from_slice).collect());
        pollster::block_on(async {
            let code = |error: S3Error| error.code.as_str().to_owned();
            let mut reader = FormReader::new(content_type, &mut pieces).map_err(code)?;
            let form = reader.fields().await.map_err(code)?;
            let mut file = Vec::new();
            while let Some(bytes) = reader.next().await.map_err(|error| error.to_string())? {
                assert!(!bytes.is_empty());
                file.extend_from_slice(&bytes);
            }
            Ok((form, file))
        })
    }

    fn form(file: &str, rest: &str) -> Vec<u8> {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${{filename}}\r\n\
             --B\r\ncontent-type: text/plain\r\nContent-Disposition: form-data; name=policy\r\n\r\ntwo\r\nlines\r\n\
             --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\x \\\"y\\\".txt\"\r\n\
             Content-Type: text/x\r\n\r\n{file}\r\n--B{rest}"
        )
        .into_bytes()
    }

    #[test]
    fn forms_are_read_in_pieces_of_any_size() {
        for file in ["", "bar", "\r\n--", "\r\n--A\r\n--\r\r\n", "--B", "\r", "\r\n\r\n", &"\r\n-".repeat(50)] {
            let body = form(file, "--\r\n");
            for size in [1, 2, 3, 5, 7, 64, 4096] {
                let (form, got) = read("multipart/form-data; boundary=B", &body, size).expect("valid");
                assert_eq!(String::from_utf8_lossy(&got), file, "in pieces of {size}");
                assert_eq!(form.get("key"), Some("a/${filename}"));
                assert_eq!(form.get("policy"), Some("two\r\nlines"));
                assert_eq!(form.filename, "x \"y\".txt");
            }
        }
        let later_field = "\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--B--\r\n";
        let (_, file) =
            read("Multipart/Form-Data; charset=x; boundary=\"B\"", &form("f", later_field), 9).expect("valid");
        assert_eq!(file, b"f");
    }

    #[test]
    fn bad_forms_are_refused() {
        let good = form("f", "--\r\n");
        let kind = "multipart/form-data; boundary=B";
        let no_file = b"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--B--\r\n";
        let large = format!(
            "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n{}",
            "x".repeat(limits::FORM_FIELDS_BYTES_MAX)
        );
        let cases: [(&str, &[u8], &str); 10] = [
            ("text/plain", &good, "PreconditionFailed"),
            ("multipart/form-data", &good, "MalformedPOSTRequest"),
            ("multipart/form-data; boundary=", &good, "MalformedPOSTRequest"),
            ("multipart/form-data; boundary=C", &good, "MalformedPOSTRequest"),
            (kind, b"", "MalformedPOSTRequest"),
            (kind, no_file, "InvalidArgument"),
            (kind, b"--Bx\r\n\r\n", "MalformedPOSTRequest"),
            (kind, b"--B\r\nno colon\r\n\r\nv\r\n--B--", "MalformedPOSTRequest"),
            (kind, b"--B\r\n\r\nv\r\n--B--", "MalformedPOSTRequest"),
            (kind, large.as_bytes(), "MaxMessageLengthExceeded"),
        ];
        for (content_type, body, code) in cases {
            assert_eq!(read(content_type, body, 50).expect_err(code), code, "{content_type}");
        }
        let cut = &good[..good.len() - 6];
        assert!(read(kind, cut, 50).expect_err("cut").contains("ends within its file"));
        let long_end = form("f", &"x".repeat(limits::FORM_FIELDS_BYTES_MAX + 1));
        assert!(read(kind, &long_end, 5000).expect_err("long").contains("put the file last"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in "(--B|\r\n|--|[a-z:;=\"]|name=\"k\"|Content-Disposition: ){0,60}", size in 1usize..20) {
            let _ = read("multipart/form-data; boundary=B", body.as_bytes(), size);
        }
    }
}
