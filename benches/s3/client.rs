//! A blocking S3 client with as little of its own as can be: one connection, signed requests, no retries.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ring::{digest, hmac};

/// An endpoint under test.
pub struct Target {
    pub name: String,
    pub address: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
    /// Process whose CPU time is read, where it runs on this machine.
    pub pid: Option<u32>,
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
        Ok(Target { name: name.to_owned(), address, access_key, secret_key, pid })
    }
}

/// One keep-alive connection.
pub struct Client<'a> {
    target: &'a Target,
    stream: TcpStream,
    buffer: Vec<u8>,
    signing_key: hmac::Key,
    day: String,
}

/// Status and body length of a response; the body itself is in `Client::body` when it was small.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub length: u64,
}

/// Bodies up to this many bytes are kept.
const BODY_KEPT_BYTES: u64 = 4 << 20;
const REGION: &str = "us-east-1";

impl<'a> Client<'a> {
    pub fn connect(target: &'a Target) -> Result<Client<'a>, String> {
        let stream = TcpStream::connect_timeout(&target.address, Duration::from_secs(5))
            .map_err(|e| format!("{}: {e}", target.address))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
        let (day, _) = amz_date();
        let signing_key = signing_key(&target.secret_key, &day);
        Ok(Client { target, stream, buffer: vec![0; 1 << 20], signing_key, day })
    }

    /// `path` is already encoded; `query` is sorted and encoded (`a=b&c=`).
    pub fn send(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Result<Answer, String> {
        let head = self.head(method, path, query, body.len());
        let failed = |e: std::io::Error| format!("{method} {path}: {e}");
        if body.len() <= 16 << 10 {
            let mut whole = head.into_bytes();
            whole.extend_from_slice(body);
            self.stream.write_all(&whole).map_err(failed)?;
        } else {
            self.stream.write_all(head.as_bytes()).map_err(failed)?;
            self.stream.write_all(body).map_err(failed)?;
        }
        self.receive(method == "HEAD").map_err(|e| format!("{method} {path}: {e}"))
    }

    fn head(&mut self, method: &str, path: &str, query: &str, length: usize) -> String {
        let (day, time) = amz_date();
        if day != self.day {
            self.signing_key = signing_key(&self.target.secret_key, &day);
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
        let signature = hex::encode(hmac::sign(&self.signing_key, to_sign.as_bytes()));
        let separator = if query.is_empty() { "" } else { "?" };
        format!(
            "{method} {path}{separator}{query} HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {time}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\ncontent-length: {length}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\r\n",
            self.target.access_key
        )
    }

    fn receive(&mut self, no_body: bool) -> Result<Answer, String> {
        let mut filled = 0;
        let head_end = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).map_err(|e| e.to_string())?;
            if read == 0 {
                return Err("the server closed the connection".to_owned());
            }
            filled += read;
            if let Some(at) = self.buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("no status line")?;
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_start_matches(':').trim().to_owned())
        };
        let already = self.buffer[head_end..filled].to_vec();
        if no_body || status == 204 || status == 304 {
            return Ok(Answer { status, body: Vec::new(), length: 0 });
        }
        if header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            return self.receive_chunked(status, already);
        }
        let length: u64 = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut body = already;
        let mut seen = body.len() as u64;
        while seen < length {
            let room = self.buffer.len().min((length - seen) as usize);
            let read = self.stream.read(&mut self.buffer[..room]).map_err(|e| e.to_string())?;
            if read == 0 {
                return Err(format!("the body ended after {seen} of {length} bytes"));
            }
            if length <= BODY_KEPT_BYTES {
                body.extend_from_slice(&self.buffer[..read]);
            }
            seen += read as u64;
        }
        Ok(Answer { status, body, length })
    }

    fn receive_chunked(&mut self, status: u16, mut raw: Vec<u8>) -> Result<Answer, String> {
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
            let read = self.stream.read(&mut self.buffer).map_err(|e| e.to_string())?;
            if read == 0 {
                return Err("the chunked body ended early".to_owned());
            }
            raw.extend_from_slice(&self.buffer[..read]);
        }
    }
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
