//! An S3 client with as little of its own as can be: requests that are signed ahead, one exchange at a time on one
//! connection, no retries. Many connections share a thread, so that the client takes little of the processors that it
//! shares with the server.

use std::net::SocketAddr;
use std::time::Duration;

use ring::{digest, hmac};

use crate::stream::{Security, Stream};

/// An endpoint under test.
#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub address: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
    /// Process whose CPU time is read, where it runs on this machine.
    pub pid: Option<u32>,
    pub security: Security,
}

impl Target {
    /// Reads `NAME=http://HOST:PORT,ACCESS,SECRET[,PID]`.
    pub fn parse(text: &str) -> Result<Target, String> {
        let form = || format!("{text}: expected NAME=http://IP:PORT,ACCESS,SECRET[,PID]");
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let mut fields = rest.split(',');
        let url = fields.next().ok_or_else(form)?;
        let address = url.strip_prefix("http://").and_then(|a| a.parse().ok()).ok_or_else(form)?;
        let access_key = fields.next().ok_or_else(form)?.to_owned();
        let secret_key = fields.next().ok_or_else(form)?.to_owned();
        let pid = fields.next().map(str::parse).transpose().map_err(|_| form())?;
        Ok(Target { name: name.to_owned(), address, access_key, secret_key, pid, security: Security::Plain })
    }
}

/// Signs requests to one target.
pub struct Signer<'a> {
    target: &'a Target,
    key: hmac::Key,
    day: String,
}

/// A signed request, ready to be sent, also more than once while its signature holds (15 minutes).
pub struct Request {
    bytes: Vec<u8>,
    no_body: bool,
}

const REGION: &str = "us-east-1";

impl<'a> Signer<'a> {
    pub fn new(target: &'a Target) -> Signer<'a> {
        let (day, _) = amz_date();
        Signer { target, key: signing_key(&target.secret_key, &day), day }
    }

    /// `path` is already encoded; `query` is sorted and encoded (`a=b&c=`). `body` is what will be sent with it.
    pub fn sign(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Request {
        let (day, time) = amz_date();
        if day != self.day {
            self.key = signing_key(&self.target.secret_key, &day);
            self.day.clone_from(&day);
        }
        let host = self.target.address;
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{time}\n\n{signed}\nUNSIGNED-PAYLOAD"
        );
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let hashed = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
        let signature = hex::encode(hmac::sign(&self.key, to_sign.as_bytes()));
        let separator = if query.is_empty() { "" } else { "?" };
        let mut bytes = format!(
            "{method} {path}{separator}{query} HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {time}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\ncontent-length: {length}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\r\n",
            self.target.access_key,
            length = body.len(),
        )
        .into_bytes();
        // A small body travels in one piece with its head.
        if body.len() <= SMALL_BODY_BYTES {
            bytes.extend_from_slice(body);
        }
        Request { bytes, no_body: method == "HEAD" }
    }
}

const SMALL_BODY_BYTES: usize = 16 << 10;

/// One keep-alive connection.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    /// Whether the bodies of good answers are wanted, too.
    keeps_bodies: bool,
}

/// Status and body length of a response; its body where it was to be kept, or says what is wrong.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub length: u64,
}

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

impl Connection {
    pub async fn open(target: &Target) -> Result<Connection, String> {
        let stream = Stream::open(target.address, &target.security).await;
        let stream = stream.map_err(|error| format!("{}: {error}", target.address))?;
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES], keeps_bodies: false })
    }

    /// Sends the request and waits for the whole answer. A body that is not small must be the one that was signed.
    pub async fn exchange(&mut self, request: &Request, body: &[u8]) -> Result<Answer, String> {
        let failed = |error: std::io::Error| error.to_string();
        self.stream.write(&request.bytes).await.map_err(failed)?;
        if body.len() > SMALL_BODY_BYTES {
            self.stream.write(body).await.map_err(failed)?;
        }
        self.receive(request.no_body).await
    }

    async fn read(&mut self, from: usize) -> Result<usize, String> {
        match self.stream.read(&mut self.buffer[from..]).await.map_err(|error| error.to_string())? {
            0 => Err("the server closed the connection".to_owned()),
            read => Ok(read),
        }
    }

    async fn receive(&mut self, no_body: bool) -> Result<Answer, String> {
        let mut filled = 0;
        let end = loop {
            filled += self.read(filled).await?;
            if let Some(at) = self.buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = Head::parse(&self.buffer[..end])?;
        let status = head.status;
        if no_body || status == 204 || status == 304 {
            return Ok(Answer { status, body: Vec::new(), length: 0 });
        }
        if head.chunked {
            let raw = self.buffer[end..filled].to_vec();
            return self.receive_chunked(status, raw).await;
        }
        let length = head.length;
        let keep = status >= 300 || self.keeps_bodies;
        let mut body = if keep { self.buffer[end..filled].to_vec() } else { Vec::new() };
        let mut seen = (filled - end) as u64;
        while seen < length {
            let read = self.read(0).await?;
            if keep {
                body.extend_from_slice(&self.buffer[..read]);
            }
            seen += read as u64;
        }
        if seen > length {
            return Err(format!("{seen} bytes came instead of {length}"));
        }
        Ok(Answer { status, body, length })
    }

    async fn receive_chunked(&mut self, status: u16, mut raw: Vec<u8>) -> Result<Answer, String> {
        let mut body = Vec::new();
        loop {
            while let Some(at) = raw.windows(2).position(|w| w == b"\r\n") {
                let size = std::str::from_utf8(&raw[..at]).ok().and_then(|s| usize::from_str_radix(s.trim(), 16).ok());
                let size = size.ok_or("a chunk has no size")?;
                let end = at + 2 + size + 2;
                if raw.len() < end {
                    break;
                }
                body.extend_from_slice(&raw[at + 2..at + 2 + size]);
                raw.drain(..end);
                if size == 0 {
                    let length = body.len() as u64;
                    return Ok(Answer { status, body, length });
                }
            }
            let read = self.read(0).await?;
            raw.extend_from_slice(&self.buffer[..read]);
        }
    }
}

/// What is needed of a response's head.
struct Head {
    status: u16,
    length: u64,
    chunked: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Head, String> {
        let head = std::str::from_utf8(bytes).map_err(|_| "the head is not text")?;
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or("no status line")?;
        let (mut length, mut chunked) = (0, false);
        for line in head.split("\r\n").skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| format!("content-length is {value}"))?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.contains("chunked");
            }
        }
        Ok(Head { status, length, chunked })
    }
}

/// A connection and a runtime of its own, for what is done one after the other.
pub struct Client<'a> {
    runtime: tokio::runtime::Runtime,
    signer: Signer<'a>,
    connection: Connection,
}

/// Every exchange ends by then.
const PATIENCE: Duration = Duration::from_secs(60);

impl<'a> Client<'a> {
    pub fn connect(target: &'a Target) -> Result<Client<'a>, String> {
        let runtime = runtime()?;
        let mut connection = runtime.block_on(Connection::open(target))?;
        connection.keeps_bodies = true;
        Ok(Client { runtime, signer: Signer::new(target), connection })
    }

    pub fn send(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Result<Answer, String> {
        let request = self.signer.sign(method, path, query, body);
        let exchange = async { tokio::time::timeout(PATIENCE, self.connection.exchange(&request, body)).await };
        let answer = self.runtime.block_on(exchange).map_err(|_| "no answer in time".to_owned()).flatten();
        answer.map_err(|error| format!("{method} {path}: {error}"))
    }
}

/// A runtime for the calling thread.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

fn signing_key(secret: &str, day: &str) -> hmac::Key {
    let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let mut tag = hmac::sign(&key(format!("AWS4{secret}").as_bytes()), day.as_bytes());
    for part in [REGION, "s3", "aws4_request"] {
        tag = hmac::sign(&key(tag.as_ref()), part.as_bytes());
    }
    key(tag.as_ref())
}

/// Day (`20261124`) and time (`20261124T090000Z`) of the signature.
fn amz_date() -> (String, String) {
    let now = time::OffsetDateTime::now_utc();
    let day = format!("{:04}{:02}{:02}", now.year(), u8::from(now.month()), now.day());
    let time = format!("{day}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second());
    (day, time)
}
