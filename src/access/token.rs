//! Session tokens: all that temporary credentials stand for, sealed, so that nothing is kept of them here.
//!
//! AES-256-GCM under a key of the store; `base64(version ‖ nonce ‖ sealed JSON)`. Whoever holds a token cannot read it, and
//! a changed one does not open. What the bearer's user or role may do is looked up anew, so that it ends with them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::seam::World;

const VERSION: u8 = 1;

/// Whom temporary credentials act for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bearer {
    Root,
    /// Id of the user.
    User(String),
    Role {
        name: String,
        id: String,
        session: String,
    },
}

/// What a token seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub access_key: String,
    pub secret: String,
    pub account: String,
    pub bearer: Bearer,
    pub issued_ms: i64,
    pub expires_ms: i64,
    /// Each of these must allow what is asked for.
    #[serde(default)]
    pub bounds: Vec<Bound>,
}

/// Policies of which one must allow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub texts: Vec<String>,
    /// ARNs.
    pub managed: Vec<String>,
}

/// Seals and opens tokens.
pub struct TokenKey(LessSafeKey);

impl TokenKey {
    pub fn new(key: &[u8; 32]) -> TokenKey {
        TokenKey(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the length")))
    }

    pub fn seal(&self, claims: &Claims, world: &World) -> String {
        let mut nonce = [0u8; NONCE_LEN];
        world.entropy.fill(&mut nonce);
        let mut text = serde_json::to_vec(claims).expect("claims are plain fields");
        let sealed =
            self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from([VERSION]), &mut text);
        sealed.expect("a token is far shorter than what one nonce seals");
        URL_SAFE_NO_PAD.encode([&[VERSION][..], &nonce, &text].concat())
    }

    /// `None` for whatever this key has not sealed.
    pub fn open(&self, token: &str) -> Option<Claims> {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (head, sealed) = bytes.split_at_mut_checked(1 + NONCE_LEN)?;
        if head[0] != VERSION {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).ok()?;
        let text = self.0.open_in_place(nonce, Aad::from([VERSION]), sealed).ok()?;
        serde_json::from_slice(text).ok()
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::real::world;

    #[test]
    fn a_token_opens_whole_and_unchanged_or_not_at_all() {
        let claims = Claims {
            access_key: "ASIA1".to_owned(),
            secret: "hidden".to_owned(),
            account: "000000000001".to_owned(),
            bearer: Bearer::Root,
            issued_ms: 1,
            expires_ms: 2,
            bounds: Vec::new(),
        };
        let key = TokenKey::new(&[7; 32]);
        let token = key.seal(&claims, &world());
        assert_eq!(key.open(&token), Some(claims.clone()));
        assert_ne!(key.seal(&claims, &world()), token, "each token has a nonce of its own");
        assert_eq!(TokenKey::new(&[8; 32]).open(&token), None);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character carries bits that are no byte's: base64 refuses them.
            assert_eq!(key.open(&changed), None, "changed at {at}");
            assert_eq!(key.open(&token[..at]), None, "cut at {at}");
        }
    }
}
