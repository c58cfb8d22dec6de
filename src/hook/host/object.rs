//! Interface `object`: the event's object, what stands beside it, and objects derived from it.

use std::collections::BTreeMap;

use wasmtime::component::Resource;

use super::{Answer, Host};
use crate::hook::contract::{object, types};
use crate::hook::object::ObjectFault;
use crate::hook::reader::PartReader;
use crate::limits;

/// Of a derived object or a transform's answer. Real ones have some 70.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

impl From<ObjectFault> for types::Error {
    fn from(fault: ObjectFault) -> types::Error {
        match fault {
            ObjectFault::Gone(what) => types::Error::NotFound(what),
            ObjectFault::Refused(what) => types::Error::Limit(what),
            ObjectFault::Failed(what) => types::Error::Failed(what),
        }
    }
}

fn pairs(map: BTreeMap<String, String>) -> Vec<(String, String)> {
    map.into_iter().collect()
}

/// Refuses to give more in one call than the contract says.
pub(super) fn check_length(length: u32) -> Result<(), types::Error> {
    let most = limits::HOOK_READ_BYTES_MAX;
    if length > most {
        return Err(types::Error::Limit(format!("one read gives at most {most} bytes, {length} were asked for")));
    }
    Ok(())
}

impl object::Host for Host {
    fn describe(&mut self) -> Answer<object::Info> {
        let info = match self.parts.object.describe() {
            Ok(info) => info,
            Err(fault) => return Ok(Err(fault.into())),
        };
        Ok(Ok(object::Info {
            size: info.size,
            etag: info.etag,
            content_type: info.content_type,
            metadata: pairs(info.metadata),
            tags: pairs(info.tags),
        }))
    }

    fn read(&mut self, offset: u64, length: u32) -> Answer<Vec<u8>> {
        if let Err(error) = check_length(length) {
            return Ok(Err(error));
        }
        Ok(self.parts.object.read(offset, u64::from(length)).map_err(Into::into))
    }

    fn open(&mut self, offset: u64, length: Option<u64>) -> Answer<Resource<PartReader>> {
        self.open_reader(offset, length)
    }

    fn set_tags(&mut self, tags: Vec<(String, String)>) -> Answer<()> {
        if !self.parts.grants.tags {
            return Ok(Err(types::Error::Denied("tags were not granted; add the hook with --allow-tags".to_owned())));
        }
        if tags.iter().any(|(name, value)| name.is_empty() || name.len() > 128 || value.len() > 256) {
            return Ok(Err(types::Error::Invalid("a tag's name has 1 to 128 bytes, its value at most 256".to_owned())));
        }
        self.tags.extend(tags);
        if self.tags.len() > limits::OBJECT_TAGS_MAX {
            return Ok(Err(types::Error::Limit(format!("an object has at most {} tags", limits::OBJECT_TAGS_MAX))));
        }
        Ok(Ok(()))
    }

    fn put_derived(&mut self, key: String, content_type: String, bytes: Vec<u8>) -> Answer<()> {
        let Some(prefix) = &self.parts.grants.derive else {
            let text = "derived objects were not granted; add the hook with --allow-derive PREFIX";
            return Ok(Err(types::Error::Denied(text.to_owned())));
        };
        if !key.starts_with(prefix.as_str()) || key.len() > limits::KEY_BYTES_MAX {
            let text = format!("the key must begin with {prefix:?} and have at most {} bytes", limits::KEY_BYTES_MAX);
            return Ok(Err(types::Error::Denied(text)));
        }
        if content_type.len() > CONTENT_TYPE_BYTES_MAX || !content_type.bytes().all(|b| matches!(b, b' '..=b'~')) {
            let text = format!("a content type has at most {CONTENT_TYPE_BYTES_MAX} bytes of visible ASCII");
            return Ok(Err(types::Error::Invalid(text)));
        }
        self.derived_bytes += bytes.len() as u64;
        // The last of those with one key counts: an attempt that is repeated must not store the first one again.
        self.derived.retain(|(earlier, _, _)| *earlier != key);
        if self.derived.len() >= limits::HOOK_DERIVED_MAX || self.derived_bytes > limits::HOOK_DERIVED_BYTES_MAX {
            let text = format!(
                "an invocation stores at most {} derived objects of {} bytes together",
                limits::HOOK_DERIVED_MAX,
                limits::HOOK_DERIVED_BYTES_MAX
            );
            return Ok(Err(types::Error::Limit(text)));
        }
        self.derived.push((key, content_type, bytes.into()));
        Ok(Ok(()))
    }
}
