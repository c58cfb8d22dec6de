//! Bundles: a hook's module, its models and what it asks for in one file, which a key may sign.
//!
//! ```text
//! 0      8  the text AERIEHB1
//! 8      4  length of the header, u32 little-endian
//! 12     n  header: JSON with name, grants and files (kind, name, bytes, sha256 in hex)
//! then   1  1 where a signature follows, else 0
//!       32  the signer's ed25519 public key
//!       64  its signature over all that stands before the byte above
//! then      the files, in the header's order, without gaps
//! ```
//! The header names each file by its digest, so the signature covers everything. Purely computing: no I/O, no store.

use bytes::Bytes;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::digest;
use super::manifest::Grants;
use super::store::{StoreError, check_name};
use crate::hash::{base64_decode, base64_encode};
use crate::limits;

const MAGIC: &[u8; 8] = b"AERIEHB1";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// Before a public key's base64.
const PUBLIC_PREFIX: &str = "ed25519:";
/// Before a secret key's base64.
const SECRET_PREFIX: &str = "aerie-hook-key:";

/// Why a bundle or a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("it is no bundle; make one with `aerie hook bundle`")]
    NoBundle,
    #[error("it is torn: it ends within its {0}; copy it anew")]
    Torn(&'static str),
    #[error("{0} bytes follow the last file; the bundle was changed")]
    Longer(usize),
    #[error("its header cannot be read: {0}")]
    Header(String),
    #[error("the {kind} {name} was changed: its SHA-256 is {found}, the header names {named}")]
    File { kind: &'static str, name: String, found: String, named: String },
    #[error("the signature of {0} does not fit the header: it was changed after it was signed")]
    Signature(String),
    #[error("{0:?} is no public key: it begins with `ed25519:`, as `aerie hook keygen` prints it")]
    PublicKey(String),
    #[error("it is no signing key: it begins with `aerie-hook-key:`, as `aerie hook keygen` writes it")]
    SecretKey,
}

/// What a file of a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    Module,
    Model,
    /// Of the model of the same name.
    Labels,
}

impl FileKind {
    fn as_str(self) -> &'static str {
        match self {
            FileKind::Module => "module",
            FileKind::Model => "model",
            FileKind::Labels => "labels",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: FileKind,
    name: String,
    bytes: u64,
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    grants: Grants,
    files: Vec<Entry>,
}

/// A model within a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledModel {
    pub name: String,
    pub bytes: Bytes,
    pub labels: Option<Bytes>,
}

/// A bundle that was read and whose digests are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Of the hook.
    pub name: String,
    /// Limits and capabilities that the hook asks for.
    pub grants: Grants,
    pub module: Bytes,
    pub models: Vec<BundledModel>,
    /// Public key of a signature that fits; nobody has said yet that it is trusted.
    pub signer: Option<String>,
}

/// A key that signs bundles.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// From the text of a key file.
    pub fn parse(text: &str) -> Result<SigningKey, BundleError> {
        let seed = text.trim().strip_prefix(SECRET_PREFIX).and_then(base64_decode).ok_or(BundleError::SecretKey)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(SigningKey).map_err(|_| BundleError::SecretKey)
    }

    /// The text of a new key file, from fresh entropy.
    pub fn text_of(seed: &[u8; KEY_BYTES]) -> String {
        format!("{SECRET_PREFIX}{}\n", base64_encode(seed))
    }

    /// As `hooks.trusted_keys` lists it.
    pub fn public(&self) -> String {
        public_text(self.0.public_key().as_ref())
    }
}

fn public_text(key: &[u8]) -> String {
    format!("{PUBLIC_PREFIX}{}", base64_encode(key))
}

/// Checks the text of a public key.
pub fn check_public(text: &str) -> Result<(), BundleError> {
    let bytes = text.strip_prefix(PUBLIC_PREFIX).and_then(base64_decode);
    match bytes {
        Some(bytes) if bytes.len() == KEY_BYTES => Ok(()),
        _ => Err(BundleError::PublicKey(text.to_owned())),
    }
}

impl Bundle {
    /// Whether a file means to be a bundle, whole or not.
    pub fn is_one(file: &[u8]) -> bool {
        file.starts_with(MAGIC)
    }

    /// Digests of the models by name: with these, and no others, the hook is to run.
    pub fn pins(&self) -> std::collections::BTreeMap<String, String> {
        self.models.iter().map(|model| (model.name.clone(), digest(&model.bytes))).collect()
    }

    /// The file, signed where there is a key.
    pub fn seal(&self, key: Option<&SigningKey>) -> Vec<u8> {
        let mut files: Vec<(FileKind, &str, &Bytes)> = vec![(FileKind::Module, &self.name, &self.module)];
        for model in &self.models {
            files.push((FileKind::Model, &model.name, &model.bytes));
            files.extend(model.labels.iter().map(|labels| (FileKind::Labels, model.name.as_str(), labels)));
        }
        let entry = |(kind, name, bytes): &(FileKind, &str, &Bytes)| Entry {
            kind: *kind,
            name: (*name).to_owned(),
            bytes: bytes.len() as u64,
            sha256: digest(bytes),
        };
        let header =
            Header { name: self.name.clone(), grants: self.grants.clone(), files: files.iter().map(entry).collect() };
        let header = serde_json::to_vec(&header).expect("a header has texts and numbers only");
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(&header);
        match key {
            Some(key) => {
                let signature = key.0.sign(&out);
                out.push(1);
                out.extend_from_slice(key.0.public_key().as_ref());
                out.extend_from_slice(signature.as_ref());
            }
            None => out.push(0),
        }
        files.iter().for_each(|(_, _, bytes)| out.extend_from_slice(bytes));
        out
    }

    /// Reads a bundle and checks its signature and every digest.
    pub fn parse(file: &Bytes) -> Result<Bundle, BundleError> {
        let mut rest = Cut { file, at: 0 };
        if file.len() < MAGIC.len() || rest.take(MAGIC.len(), "name")?.as_ref() != MAGIC {
            return Err(BundleError::NoBundle);
        }
        let length = rest.take(4, "header")?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > limits::HOOK_BUNDLE_HEADER_BYTES_MAX {
            return Err(BundleError::Header(format!("it has {length} bytes")));
        }
        let header = rest.take(length, "header")?;
        let signed = file.slice(..rest.at);
        let signer = match rest.take(1, "signature")?[0] {
            0 => None,
            1 => {
                let (key, signature) = (rest.take(KEY_BYTES, "signature")?, rest.take(SIGNATURE_BYTES, "signature")?);
                let signer = public_text(&key);
                if UnparsedPublicKey::new(&ED25519, &key).verify(&signed, &signature).is_err() {
                    return Err(BundleError::Signature(signer));
                }
                Some(signer)
            }
            other => return Err(BundleError::Header(format!("its signature is of kind {other}, which is not known"))),
        };
        let header: Header = serde_json::from_slice(&header).map_err(|error| BundleError::Header(error.to_string()))?;
        let mut bundle =
            Bundle { name: header.name, grants: header.grants, module: Bytes::new(), models: Vec::new(), signer };
        for entry in &header.files {
            let length = usize::try_from(entry.bytes).map_err(|_| BundleError::Torn("files"))?;
            let bytes = rest.take(length, "files")?;
            bundle.add(entry, bytes)?;
        }
        match file.len() - rest.at {
            0 if bundle.module.is_empty() => Err(BundleError::Header("it names no module".to_owned())),
            0 => Ok(bundle),
            more => Err(BundleError::Longer(more)),
        }
    }

    fn add(&mut self, entry: &Entry, bytes: Bytes) -> Result<(), BundleError> {
        let found = digest(&bytes);
        if found != entry.sha256 {
            let (kind, name, named) = (entry.kind.as_str(), entry.name.clone(), entry.sha256.clone());
            return Err(BundleError::File { kind, name, found, named });
        }
        let known = |error: StoreError| BundleError::Header(error.to_string());
        check_name(&entry.name).map_err(known)?;
        match entry.kind {
            FileKind::Module if self.module.is_empty() && entry.name == self.name => self.module = bytes,
            FileKind::Model if self.models.iter().all(|model| model.name != entry.name) => {
                self.models.push(BundledModel { name: entry.name.clone(), bytes, labels: None });
            }
            FileKind::Labels if self.models.last().is_some_and(|model| model.name == entry.name) => {
                self.models.last_mut().expect("one was found").labels = Some(bytes);
            }
            kind => {
                return Err(BundleError::Header(format!("{} {} stands where it cannot", kind.as_str(), entry.name)));
            }
        }
        Ok(())
    }
}

/// A file that is read from the front.
struct Cut<'a> {
    file: &'a Bytes,
    at: usize,
}

impl Cut<'_> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<Bytes, BundleError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.file.len()).ok_or(BundleError::Torn(part))?;
        let piece = self.file.slice(self.at..end);
        self.at = end;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::parse(&SigningKey::text_of(&[seed; KEY_BYTES])).unwrap()
    }

    fn bundle() -> Bundle {
        let model = |name: &str, labels: Option<&'static [u8]>| BundledModel {
            name: name.to_owned(),
            bytes: Bytes::copy_from_slice(name.as_bytes()),
            labels: labels.map(Bytes::from_static),
        };
        Bundle {
            name: "look".to_owned(),
            grants: Grants { tags: true, deadline_ms: Some(500), ..Grants::default() },
            module: Bytes::from_static(b"a module"),
            models: vec![model("faces", None), model("detector", Some(b"cat\ndog\n"))],
            signer: None,
        }
    }

    #[test]
    fn a_bundle_comes_back_whole_with_its_signer() {
        let plain = Bytes::from(bundle().seal(None));
        assert_eq!(Bundle::parse(&plain).unwrap(), bundle());
        let signed = Bytes::from(bundle().seal(Some(&key(7))));
        let read = Bundle::parse(&signed).unwrap();
        assert_eq!(read, Bundle { signer: Some(key(7).public()), ..bundle() });
        assert!(check_public(&key(7).public()).is_ok() && key(7).public() != key(8).public());
        assert_eq!(read.seal(Some(&key(7))), signed, "ed25519 has one signature for a key and a text");
    }

    #[test]
    fn each_changed_byte_is_noticed_and_the_part_is_named() {
        let whole = bundle().seal(Some(&key(7)));
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            let Err(error) = Bundle::parse(&changed.into()) else { panic!("byte {at} was changed") };
            assert!(at < 8 || error != BundleError::NoBundle, "byte {at}: {error}");
        }
        for length in 0..whole.len() {
            assert!(Bundle::parse(&whole[..length].to_vec().into()).is_err(), "{length} bytes");
        }
        let mut model = whole.clone();
        let at = model.windows(5).rposition(|text| text == b"faces").unwrap();
        model[at] = b'x';
        let error = Bundle::parse(&model.into()).unwrap_err().to_string();
        assert!(error.contains("the model faces was changed"), "{error}");
        assert_eq!(Bundle::parse(&[whole, b"more".to_vec()].concat().into()), Err(BundleError::Longer(4)));
    }

    #[test]
    fn a_header_that_makes_no_sense_is_refused() {
        for name in ["", "A", "../x"] {
            let odd = Bundle { name: name.to_owned(), ..bundle() };
            assert!(matches!(Bundle::parse(&odd.seal(None).into()), Err(BundleError::Header(_))), "{name}");
        }
        let mut twice = bundle();
        twice.models.push(twice.models[0].clone());
        assert!(matches!(Bundle::parse(&twice.seal(None).into()), Err(BundleError::Header(_))));
        for text in ["", "ed25519:", "ed25519:AAAA", "AAAA"] {
            assert!(check_public(text).is_err(), "{text}");
        }
        for text in ["", "aerie-hook-key:AAAA", "x"] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
    }
}
