//! What an operator rules: quotas and rolling buckets, and the clock that retention is judged by.

use argh::FromArgs;
use http::Method;

use super::client::{Client, encode};

/// Limit what a bucket may hold: `aerie bucket quota photos --bytes 20G`; without a limit the quota is lifted.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "quota")]
pub(super) struct BucketQuota {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "most bytes of all versions and parts; K, M, G and T count in 1024s")]
    bytes: Option<String>,
    #[argh(option, description = "most versions")]
    objects: Option<u64>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Let a bucket give up its oldest unlocked objects when the pool is short of space.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rolling")]
pub(super) struct BucketRolling {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "also keep it below so many bytes; K, M, G and T count in 1024s")]
    bytes: Option<String>,
    #[argh(switch, description = "keep all objects again")]
    off: bool,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Show the clock that retention is judged by, or confirm the wall clock to it: `aerie clock`, `aerie clock accept`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "clock")]
pub(super) struct Clock {
    #[argh(positional, description = "accept: the wall clock is right", default = "String::from(\"status\")")]
    action: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

impl BucketQuota {
    pub fn run(self) -> Result<(), String> {
        let bytes = self.bytes.as_deref().map(parse_bytes).transpose()?;
        let mut query: Vec<String> = bytes.into_iter().map(|bytes| format!("bytes={bytes}")).collect();
        query.extend(self.objects.map(|objects| format!("objects={objects}")));
        let path = format!("/_aerie/v1/buckets/{}/quota", encode(&self.name));
        println!("{}", Client::find(self.endpoint)?.ask(Method::PUT, &path, &query.join("&"), Vec::new())?);
        Ok(())
    }
}

impl BucketRolling {
    pub fn run(self) -> Result<(), String> {
        let bytes = self.bytes.as_deref().map(parse_bytes).transpose()?;
        let (method, query) = match (self.off, bytes) {
            (true, None) => (Method::DELETE, String::new()),
            (false, None) => (Method::PUT, String::new()),
            (false, Some(bytes)) => (Method::PUT, format!("bytes={bytes}")),
            (true, Some(_)) => return Err("say --off or --bytes, not both".to_owned()),
        };
        let path = format!("/_aerie/v1/buckets/{}/rolling", encode(&self.name));
        println!("{}", Client::find(self.endpoint)?.ask(method, &path, &query, Vec::new())?);
        Ok(())
    }
}

impl Clock {
    pub fn run(self) -> Result<(), String> {
        let (method, path) = match self.action.as_str() {
            "status" => (Method::GET, "/_aerie/v1/clock"),
            "accept" => (Method::POST, "/_aerie/v1/clock/accept"),
            other => return Err(format!("{other}: say `aerie clock` or `aerie clock accept`")),
        };
        println!("{}", Client::find(self.endpoint)?.ask(method, path, "", Vec::new())?);
        Ok(())
    }
}

/// `20G`, `512M`, `1000`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text}: write a size like 20G, 512M or 1000");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("2K", Some(2048)),
            ("20G", Some(20 << 30)),
            ("3t", Some(3 << 40)),
            ("", None),
            ("G", None),
            ("1.5G", None),
            ("99999999T", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), bytes, "{text}");
        }
    }
}
