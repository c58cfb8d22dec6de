//! Compiled code of hooks, kept on a drive so that a start needs no compiler.
//!
//! `cache/DIGEST.code`, by the module's digest: an HMAC-SHA256 of all that follows it and of the digest, then what wasmtime
//! serialized. The key is a property of the pool, made once. Code is machine code: none runs whose tag is not ours. A file
//! that is torn, changed, under another name or of another wasmtime is passed over and written anew. Nothing here is
//! synced or erasure-coded: what is lost is compiled again. Runs on threads that may block.
#![allow(unsafe_code)] // Deserializes machine code, after its tag was checked.

use std::sync::Arc;

use ring::hmac;
use wasmtime::component::Component;

use crate::engine::{Engine, EngineError};
use crate::limits;
use crate::seam::{OpenMode, Storage};

const FOLDER: &str = "cache";
/// Property of the pool that holds the key, in base64.
const KEY_PROPERTY: &str = "hook-cache-key";
const KEY_BYTES: usize = 32;
/// An HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// The cache of one process.
#[derive(Debug, Default)]
pub(super) struct CodeCache {
    key: Option<hmac::Key>,
    /// Codes that were not there and had to be compiled.
    pub misses: u64,
}

impl CodeCache {
    /// The code of the module with this digest, if it is there and ours.
    pub fn load(&mut self, engine: &Engine, wasmtime: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let bytes = read(&*drive(engine)?, &path(digest))?;
        let (tag, code) = bytes.split_at_checked(TAG_BYTES)?;
        let key = self.key(engine)?;
        if hmac::verify(&key, &message(digest, code), tag).is_err() {
            tracing::warn!(digest, "the cached code of a hook is damaged or not ours; it is compiled anew");
            return None;
        }
        // SAFETY: wasmtime asks that the bytes come from its own `serialize`. They do: the tag over them and over the
        // module's digest was made with the pool's key by `keep`, which is given nothing else, and `code` is a copy in
        // memory that nobody can change after the check. Another version or other settings are refused by wasmtime.
        match unsafe { Component::deserialize(wasmtime, code) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::info!(digest, %error, "cached code is of another version; it is compiled anew");
                None
            }
        }
    }

    /// Keeps what `Component::serialize` gave. A failure costs time at the next start and nothing else.
    pub fn keep(&mut self, engine: &Engine, digest: &str, code: &[u8]) {
        self.misses += 1;
        let (Some(key), Some(drive)) = (self.key(engine), drive(engine)) else { return };
        let tag = hmac::sign(&key, &message(digest, code));
        if let Err(error) = write(&*drive, digest, tag.as_ref(), code) {
            tracing::warn!(digest, %error, "the compiled code of a hook is not cached");
            // Half a file would be passed over as well. That it cannot be removed either adds nothing.
            _ = drive.remove(&path(digest));
        }
    }

    /// The pool's key, made where there is none.
    fn key(&mut self, engine: &Engine) -> Option<hmac::Key> {
        if self.key.is_none() {
            match key_bytes(engine) {
                Ok(bytes) => self.key = Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
                Err(error) => tracing::warn!(%error, "the key of the cache of compiled hooks cannot be read"),
            }
        }
        self.key.clone()
    }
}

fn key_bytes(engine: &Engine) -> Result<Vec<u8>, EngineError> {
    let stored = engine.reader().property(KEY_PROPERTY)?.and_then(|text| crate::hash::base64_decode(&text));
    if let Some(bytes) = stored.filter(|bytes| bytes.len() == KEY_BYTES) {
        return Ok(bytes);
    }
    let mut bytes = vec![0u8; KEY_BYTES];
    engine.world().entropy.fill(&mut bytes);
    let text = crate::hash::base64_encode(&bytes);
    pollster::block_on(engine.meta().set_property(KEY_PROPERTY.to_owned(), Some(text)))?;
    Ok(bytes)
}

/// What is authenticated.
fn message(digest: &str, code: &[u8]) -> Vec<u8> {
    [digest.as_bytes(), b"\n", code].concat()
}

/// The first drive that is healthy and current.
fn drive(engine: &Engine) -> Option<Arc<dyn Storage>> {
    let healthy = engine.pool().healthy();
    let copies = engine.pool().copies();
    copies.into_iter().find(|(slot, _, current)| *current && healthy & 1 << slot != 0).map(|(_, storage, _)| storage)
}

fn path(digest: &str) -> String {
    format!("{FOLDER}/{digest}.code")
}

/// `None` where it is not there or cannot be read.
fn read(drive: &dyn Storage, path: &str) -> Option<Vec<u8>> {
    let file = drive.open(path, OpenMode::Read).ok()?;
    let length = file.len().ok().filter(|length| *length <= limits::HOOK_CODE_BYTES_MAX)?;
    let mut bytes = vec![0u8; usize::try_from(length).ok()?];
    let got = file.read_at(&mut bytes, 0).ok()?;
    (got == bytes.len()).then_some(bytes)
}

fn write(drive: &dyn Storage, digest: &str, tag: &[u8], code: &[u8]) -> std::io::Result<()> {
    if code.len() as u64 > limits::HOOK_CODE_BYTES_MAX - TAG_BYTES as u64 {
        return Err(std::io::Error::other("it is too large"));
    }
    drive.create_dir(FOLDER)?;
    // Codes of hooks that were upgraded or removed are of no use; those that are will be written again.
    let others: Vec<String> = drive.list(FOLDER)?.into_iter().filter(|name| !name.starts_with(digest)).collect();
    for name in others.iter().skip(limits::HOOKS_COMPILED_MAX - 1) {
        drive.remove(&format!("{FOLDER}/{name}"))?;
    }
    let file = drive.open(&path(digest), OpenMode::Create)?;
    file.set_len(0)?;
    file.write_at(tag, 0)?;
    file.write_at(code, tag.len() as u64)
}
