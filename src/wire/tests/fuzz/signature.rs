//! Signature Version 4: a request that was changed is taken only where it still means what was signed.

use super::super::*;
use super::fuzz;
use crate::wire::auth::{Authenticator, Head};
use crate::wire::query::Query;

/// A request in the parts that are mutated one by one.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

/// What a request asks for, however it is written.
#[derive(Debug, PartialEq)]
struct Meaning {
    method: String,
    path: Vec<u8>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

const TIMESTAMP: &str = "20300102T030405Z";
const SIGNED_HEADERS: &str = "host;range;x-amz-content-sha256;x-amz-date";
const WORDS: [&str; 24] = [
    "%2F",
    "%2f",
    "/",
    "//",
    "..",
    "+",
    "%20",
    "%2B",
    "%41",
    "A",
    "&",
    "=",
    "?",
    ";",
    ",",
    " ",
    "  ",
    "\t",
    "%",
    "%00",
    "X-Amz-Signature=0",
    "versionId=1",
    "host",
    "%C3%A9",
];

impl Request {
    fn headers(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
        Some(map)
    }

    /// Whether it is taken as signed by somebody. A query that cannot be read is refused before.
    fn is_signed(&self, settings: &Settings) -> bool {
        let (Some(headers), Ok(query)) = (self.headers(), Query::parse(&self.query)) else { return false };
        let (path, raw_query) = (self.path.as_str(), self.query.as_str());
        let head = Head { method: &self.method, path, raw_query, query: &query, headers: &headers };
        let now_ms = date::parse_basic(TIMESTAMP).expect("a time") + 1000;
        let authenticated = Authenticator::default().authenticate(head, settings, now_ms);
        authenticated.is_ok_and(|authenticated| !matches!(authenticated.identity, Identity::Anonymous))
    }

    /// What operations would make of it: path and query decoded, the signed headers without white space around.
    fn meaning(&self) -> Meaning {
        let path: Vec<u8> = percent_encoding::percent_decode_str(&self.path).collect();
        let mut query = Query::parse(&self.query).expect("it was read before").into_pairs();
        query.retain(|(name, _)| name != "X-Amz-Signature");
        query.sort();
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
            .filter(|(name, _)| SIGNED_HEADERS.split(';').any(|signed| signed == name))
            .collect();
        headers.sort();
        Meaning { method: self.method.clone(), path, query, headers }
    }

    fn part(&mut self, number: usize) -> &mut String {
        match number {
            0 => &mut self.method,
            1 => &mut self.path,
            2 => &mut self.query,
            other => {
                let at = (other - 3) % self.headers.len().max(1);
                &mut self.headers[at].1
            }
        }
    }

    fn text(&self) -> Vec<u8> {
        format!("{self:?}").into_bytes()
    }
}

fn sign(string: &str) -> String {
    let scope = scope();
    hex_encode(ring::hmac::sign(&derive_key(&Secret::new(SECRET), &scope), string.as_bytes()).as_ref())
}

fn scope() -> Scope {
    Scope { date: TIMESTAMP[..8].to_owned(), region: REGION.to_owned(), service: "s3".to_owned() }
}

fn signed_in_the_header() -> Request {
    let payload = "UNSIGNED-PAYLOAD";
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut request = Request {
        method: "GET".to_owned(),
        path: "/bucket/a%20b/c%2Bd//e".to_owned(),
        query: "versionId=null&prefix=a%2Fb&x=%2B&y".to_owned(),
        headers: vec![
            header("host", "example.com:9000"),
            header("range", "bytes=0-9"),
            header("x-amz-content-sha256", payload),
            header("x-amz-date", TIMESTAMP),
            header("user-agent", "anything"),
        ],
    };
    let headers = request.headers().expect("headers");
    let (method, path, query) = (request.method.as_str(), request.path.as_str(), request.query.as_str());
    let signed = Signed { method, path, query, headers: &headers, signed_headers: SIGNED_HEADERS, payload };
    let signature = sign(&string_to_sign(TIMESTAMP, &scope().text(), &signed.canonical()));
    let credential = format!("{ACCESS_KEY}/{}", scope().text());
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={SIGNED_HEADERS}, Signature={signature}");
    request.headers.push(header("authorization", &authorization));
    request
}

fn signed_in_the_query() -> Request {
    let credential = format!("{ACCESS_KEY}/{}", scope().text()).replace('/', "%2F");
    let mut request = Request {
        method: "PUT".to_owned(),
        path: "/bucket/key".to_owned(),
        query: format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={TIMESTAMP}&X-Amz-Expires=60\
             &X-Amz-SignedHeaders=host&partNumber=1&uploadId=a%2Bb"
        ),
        headers: vec![("host".to_owned(), "example.com".to_owned())],
    };
    let headers = request.headers().expect("headers");
    let (method, path, query) = (request.method.as_str(), request.path.as_str(), request.query.as_str());
    let payload = "UNSIGNED-PAYLOAD";
    let signed = Signed { method, path, query, headers: &headers, signed_headers: "host", payload };
    let signature = sign(&string_to_sign(TIMESTAMP, &scope().text(), &signed.canonical()));
    request.query.push_str(&format!("&X-Amz-Signature={signature}"));
    request
}

#[test]
fn a_changed_request_is_taken_only_where_it_means_what_was_signed() {
    let settings = settings(Timeouts::default());
    let seeds = [signed_in_the_header(), signed_in_the_query()];
    for seed in &seeds {
        assert!(seed.is_signed(&settings), "the seed is good: {seed:?}");
    }
    let mut taken = 0;
    fuzz("signature", |random, input| {
        let seed = random.pick(&[&seeds[0], &seeds[1]]);
        let mut request = seed.clone();
        for _ in 0..1 + random.below(2) {
            let part = request.part(random.below(3 + seed.headers.len()));
            let mut bytes = std::mem::take(part).into_bytes();
            random.mutate(&mut bytes, &WORDS);
            *part = String::from_utf8_lossy(&bytes).into_owned();
        }
        if random.one_in(8) && !request.headers.is_empty() {
            let again = request.headers[random.below(request.headers.len())].clone();
            request.headers.push(again);
        }
        *input = request.text();
        if request.is_signed(&settings) {
            taken += 1;
            assert_eq!(request.meaning(), seed.meaning());
        }
    });
    println!("signature: {taken} taken");
}
