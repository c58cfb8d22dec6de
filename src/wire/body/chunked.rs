//! The aws-chunked framing, signed and unsigned, with trailing headers. Pure: bytes in, pieces of data out.
//!
//! ```text
//! HEXSIZE[;chunk-signature=HEX]\r\n DATA \r\n  …  0[;chunk-signature=HEX]\r\n [name:value\r\n]… \r\n
//! ```
//! A chunk is not buffered: its data is handed on as it comes and its signature verified at its end. That is safe since
//! nothing is committed before `End`. Heads and trailers are bounded by `limits`.

use bytes::Bytes;
use ring::digest;

use crate::engine::BodyError;
use crate::hash::ChecksumAlgorithm;
use crate::limits;
use crate::wire::auth::ChunkSigner;

/// What the input gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Data(Bytes),
    /// All input is taken; more is needed.
    More,
    /// The framing is complete and all of it was good.
    End,
}

enum State {
    Head,
    Data {
        remaining: u64,
    },
    /// Behind a chunk's data.
    LineEnd,
    Trailer,
    /// Behind the last line: nothing but line ends may follow.
    End,
}

/// Which trailing headers the body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailing {
    None,
    /// The checksum that `x-amz-trailer` announced, if any.
    Checksum(Option<ChecksumAlgorithm>),
}

/// Decodes one body.
pub struct Chunked {
    state: State,
    signer: Option<ChunkSigner>,
    trailing: Trailing,
    /// The current line, while it is incomplete.
    line: Vec<u8>,
    /// Signature of the current chunk, and the digest of its data so far.
    chunk: Option<(String, digest::Context)>,
    /// `name:value\n` of each trailing header.
    trailer: Vec<u8>,
    trailer_bytes: usize,
    trailer_verified: bool,
    checksum: Option<(ChecksumAlgorithm, String)>,
}

fn framing(reason: &str) -> BodyError {
    BodyError::Framing(reason.to_owned())
}

fn trailer(reason: &str) -> BodyError {
    BodyError::Trailer(reason.to_owned())
}

impl Chunked {
    pub fn new(signer: Option<ChunkSigner>, trailing: Trailing) -> Chunked {
        Chunked {
            state: State::Head,
            signer,
            trailing,
            line: Vec::new(),
            chunk: None,
            trailer: Vec::new(),
            trailer_bytes: 0,
            trailer_verified: false,
            checksum: None,
        }
    }

    /// The trailing checksum, once the end was reached.
    pub fn checksum(&self) -> Option<&(ChecksumAlgorithm, String)> {
        self.checksum.as_ref()
    }

    /// Takes some of `input`. Call again with the rest until it says `More` or `End`.
    pub fn step(&mut self, input: &mut Bytes) -> Result<Step, BodyError> {
        while !input.is_empty() {
            match &mut self.state {
                State::Head => {
                    if let Some(line) = self.take_line(input, limits::CHUNK_HEAD_BYTES_MAX)? {
                        self.begin_chunk(&line)?;
                    }
                }
                State::Data { remaining } => {
                    let take = usize::try_from(*remaining).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(take);
                    *remaining -= take as u64;
                    let ends = *remaining == 0;
                    if let Some((_, digest)) = &mut self.chunk {
                        digest.update(&data);
                    }
                    if ends {
                        self.end_chunk()?;
                        self.state = State::LineEnd;
                    }
                    return Ok(Step::Data(data));
                }
                State::LineEnd => {
                    if let Some(line) = self.take_line(input, 2)? {
                        if !line.is_empty() {
                            return Err(framing("a chunk's data is longer than its size"));
                        }
                        self.state = State::Head;
                    }
                }
                State::Trailer => {
                    let room = limits::TRAILER_BYTES_MAX - self.trailer_bytes;
                    if let Some(line) = self.take_line(input, room)? {
                        self.trailer_bytes += line.len();
                        self.trailer_line(&line)?;
                    }
                }
                State::End => {
                    if input.iter().any(|b| !matches!(b, b'\r' | b'\n')) {
                        return Err(framing("bytes follow the last chunk"));
                    }
                    input.clear();
                }
            }
        }
        Ok(Step::More)
    }

    /// The connection has delivered the whole body.
    pub fn finish(&mut self) -> Result<Step, BodyError> {
        match self.state {
            State::End => Ok(Step::End),
            // The last line end may be missing.
            State::Trailer if self.line.iter().all(|b| *b == b'\r') => {
                self.end_trailer()?;
                Ok(Step::End)
            }
            State::Trailer => {
                let line = std::mem::take(&mut self.line);
                self.trailer_line(&line)?;
                self.end_trailer()?;
                Ok(Step::End)
            }
            State::Head | State::Data { .. } | State::LineEnd => Err(BodyError::Incomplete),
        }
    }

    /// A line without its end, once it is complete. `limit` bounds its bytes with the end.
    fn take_line(&mut self, input: &mut Bytes, limit: usize) -> Result<Option<Vec<u8>>, BodyError> {
        let end = input.iter().position(|b| *b == b'\n');
        let take = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + take > limit {
            return Err(match self.state {
                State::Trailer => trailer("it is too long"),
                State::LineEnd => framing("a chunk's data is longer than its size"),
                _ => framing("a chunk's head is too long"),
            });
        }
        self.line.extend_from_slice(&input.split_to(take));
        if end.is_none() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }

    fn begin_chunk(&mut self, line: &[u8]) -> Result<(), BodyError> {
        let line = std::str::from_utf8(line).map_err(|_| framing("a chunk's head is not text"))?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(framing("a chunk's size is no hexadecimal number"));
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| framing("a chunk's size is no hexadecimal number"))?;
        if self.signer.is_some() {
            let signature = extension.trim().strip_prefix("chunk-signature=");
            let signature = signature.ok_or_else(|| framing("a chunk has no chunk-signature"))?;
            self.chunk = Some((signature.to_owned(), digest::Context::new(&digest::SHA256)));
        }
        if size > 0 {
            self.state = State::Data { remaining: size };
            return Ok(());
        }
        self.end_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), BodyError> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        let (signature, digest) = self.chunk.take().expect("a signed chunk began with its signature");
        if !signer.verify_chunk(digest.finish().as_ref(), &signature) {
            return Err(BodyError::ChunkSignature);
        }
        Ok(())
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), BodyError> {
        if line.is_empty() {
            // Some signers put an empty line between the headers and their signature.
            let waits = self.signer.is_some() && self.trailing != Trailing::None && !self.trailer_verified;
            return if waits { Ok(()) } else { self.end_trailer() };
        }
        let text = std::str::from_utf8(line).map_err(|_| trailer("it is not text"))?;
        let (name, value) = text.split_once(':').ok_or_else(|| trailer("a line has no colon"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if self.trailing == Trailing::None {
            return Err(framing("trailing headers follow a body that announced none"));
        }
        if name == "x-amz-trailer-signature" {
            let Some(signer) = &mut self.signer else {
                return Err(trailer("a signature follows a body whose chunks are not signed"));
            };
            if !signer.verify_trailer(&self.trailer, value) {
                return Err(BodyError::ChunkSignature);
            }
            self.trailer_verified = true;
            return Ok(());
        }
        if self.trailer_verified {
            return Err(trailer("a header follows its signature"));
        }
        let algorithm = ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.header_name() == name);
        let algorithm = algorithm.ok_or_else(|| BodyError::Trailer(format!("{name} is no checksum")))?;
        if self.trailing != Trailing::Checksum(Some(algorithm)) {
            return Err(BodyError::Trailer(format!("x-amz-trailer did not announce {name}")));
        }
        if !algorithm.is_well_formed(value) {
            return Err(BodyError::Trailer(format!("the value of {name} is not valid")));
        }
        if self.checksum.replace((algorithm, value.to_owned())).is_some() {
            return Err(BodyError::Trailer(format!("{name} comes twice")));
        }
        self.trailer.extend_from_slice(format!("{name}:{value}\n").as_bytes());
        Ok(())
    }

    fn end_trailer(&mut self) -> Result<(), BodyError> {
        if let Trailing::Checksum(announced) = self.trailing {
            if announced.is_some() && self.checksum.is_none() {
                return Err(trailer("the checksum that x-amz-trailer announced is missing"));
            }
            if self.signer.is_some() && !self.trailer_verified {
                return Err(trailer("x-amz-trailer-signature is missing"));
            }
        }
        self.state = State::End;
        Ok(())
    }
}

impl std::fmt::Debug for Chunked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunked").field("trailing", &self.trailing).finish_non_exhaustive()
    }
}
