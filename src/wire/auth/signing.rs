//! Keys and strings of Signature Version 4: HMAC-SHA256 by ring, compared in constant time.

use std::cell::RefCell;
use std::collections::HashMap;

use ring::{digest, hmac};

use crate::access::Secret;
use crate::hash::hex_encode;
use crate::limits;

/// SHA-256 of no bytes, in hex.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `DATE/REGION/SERVICE/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    pub region: String,
    pub service: String,
}

impl Scope {
    pub fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// The key that signs within a scope.
pub fn derive_key(secret: &Secret, scope: &Scope) -> hmac::Key {
    let step = |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
    let date = step(format!("AWS4{}", secret.as_str()).as_bytes(), &scope.date);
    let region = step(date.as_ref(), &scope.region);
    let service = step(region.as_ref(), &scope.service);
    hmac::Key::new(hmac::HMAC_SHA256, step(service.as_ref(), "aws4_request").as_ref())
}

/// What is signed for a whole request.
pub fn string_to_sign(timestamp: &str, scope: &str, canonical_request: &[u8]) -> String {
    let digest = hex_encode(digest::digest(&digest::SHA256, canonical_request).as_ref());
    format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}")
}

/// `signature` is the hex of the HMAC of `message`; takes the same time whatever differs.
pub fn verify(key: &hmac::Key, message: &[u8], signature: &str) -> bool {
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(signature, &mut bytes).is_ok() && hmac::verify(key, message, &bytes).is_ok()
}

/// Derived keys of one core: four HMACs saved on each request.
#[derive(Debug, Default)]
pub struct SigningKeys {
    known: RefCell<HashMap<(String, String), Known>>,
}

#[derive(Debug)]
struct Known {
    secret: Secret,
    region: String,
    key: hmac::Key,
}

impl SigningKeys {
    /// The key of the scope. A secret that changed gives a new key at once.
    pub fn key(&self, access_key: &str, secret: &Secret, scope: &Scope) -> hmac::Key {
        let mut known = self.known.borrow_mut();
        let name = (access_key.to_owned(), scope.date.clone());
        if let Some(found) = known.get(&name)
            && found.secret == *secret
            && found.region == scope.region
            && scope.service == "s3"
        {
            return found.key.clone();
        }
        let key = derive_key(secret, scope);
        if scope.service == "s3" {
            if known.len() >= limits::SIGNING_KEYS_MAX {
                known.clear();
            }
            known.insert(name, Known { secret: secret.clone(), region: scope.region.clone(), key: key.clone() });
        }
        key
    }
}

/// Continues a request's signature over the chunks of its body.
#[derive(Debug, Clone)]
pub struct ChunkSigner {
    key: hmac::Key,
    timestamp: String,
    scope: String,
    previous: String,
}

impl ChunkSigner {
    /// `seed` is the request's own signature.
    pub fn new(key: hmac::Key, timestamp: String, scope: String, seed: String) -> ChunkSigner {
        ChunkSigner { key, timestamp, scope, previous: seed }
    }

    /// Verifies a chunk's signature; the next one builds on it.
    pub fn verify_chunk(&mut self, sha256: &[u8], signature: &str) -> bool {
        let (timestamp, scope, previous) = (&self.timestamp, &self.scope, &self.previous);
        let digest = hex_encode(sha256);
        let message = format!("AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{digest}");
        self.advance(&message, signature)
    }

    /// Verifies the signature of the trailing headers (`name:value\n` each).
    pub fn verify_trailer(&mut self, trailer: &[u8], signature: &str) -> bool {
        let (timestamp, scope, previous) = (&self.timestamp, &self.scope, &self.previous);
        let digest = hex_encode(digest::digest(&digest::SHA256, trailer).as_ref());
        let message = format!("AWS4-HMAC-SHA256-TRAILER\n{timestamp}\n{scope}\n{previous}\n{digest}");
        self.advance(&message, signature)
    }

    fn advance(&mut self, message: &str, signature: &str) -> bool {
        let good = verify(&self.key, message.as_bytes(), signature);
        if good {
            self.previous.clear();
            self.previous.push_str(signature);
        }
        good
    }
}
