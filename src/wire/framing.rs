//! Looks at request heads as they are read, for length headers that contradict each other.
//!
//! hyper takes a head with both `Transfer-Encoding` and `Content-Length` (and closes afterwards) and folds equal lengths
//! into one; a proxy in front may read them otherwise, which is how requests are smuggled. By the time a service sees
//! the head the traces are gone, so that they are looked for here. The head of a pipelined request that came with the
//! one before is not seen; hyper's own rule then stands.

/// Bytes of a line that are looked at: the longer name and its colon.
const NAME_BYTES: usize = "transfer-encoding:".len();

/// One head, line by line.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// The beginning of a line that is not complete.
    partial: Vec<u8>,
    lines: usize,
    lengths: usize,
    encodings: usize,
    ended: bool,
}

impl HeadScan {
    /// Takes the next bytes of the head; what lies behind its end is not looked at.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !self.ended
            && let Some(end) = bytes.iter().position(|b| *b == b'\n')
        {
            if self.partial.is_empty() {
                self.line(&bytes[..end]);
            } else {
                self.keep(&bytes[..end]);
                let line = std::mem::take(&mut self.partial);
                self.line(&line);
            }
            bytes = &bytes[end + 1..];
        }
        if !self.ended {
            self.keep(bytes);
        }
    }

    /// The head says twice how long its body is.
    pub fn contradicts(&self) -> bool {
        self.lengths + self.encodings > 1
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = NAME_BYTES.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        if matches!(line, b"" | b"\r") {
            // Empty lines before the request line are allowed.
            self.ended = self.lines > 0;
            return;
        }
        self.lines += 1;
        let Some(colon) = line.iter().take(NAME_BYTES).position(|b| *b == b':') else { return };
        let name = &line[..colon];
        self.lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        self.encodings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_seen_in_any_split() {
        for (head, contradicts) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", false),
            ("\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n", true),
            ("PUT / HTTP/1.1\r\nCONTENT-LENGTH:1\r\nTransfer-Encoding:chunked\r\n\r\n", true),
            ("PUT / HTTP/1.1\nTransfer-Encoding:chunked\nhost: b\ncontent-length: 2\n\n", true),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\nContent-Length: 1\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nx-content-length: 1\r\ntransfer-encoding-x: 2\r\ncontent-length: 1\r\n\r\n", false),
        ] {
            for piece in 1..=head.len() {
                let mut scan = HeadScan::default();
                head.as_bytes().chunks(piece).for_each(|bytes| scan.feed(bytes));
                assert_eq!(scan.contradicts(), contradicts, "{head:?} in pieces of {piece}");
            }
        }
    }
}
