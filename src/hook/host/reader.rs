//! Resource `reader` of the interface `object`: parts of the event's object, read from front to back.

use wasmtime::component::Resource;
use wasmtime::{Result, format_err};

use super::{Answer, Host};
use crate::hook::contract::{object, types};
use crate::hook::reader::PartReader;
use crate::limits;

impl Host {
    /// Opens a part of the object under the first number that is free.
    pub(super) fn open_reader(&mut self, offset: u64, length: Option<u64>) -> Answer<Resource<PartReader>> {
        let number = (0..limits::HOOK_READERS_OPEN_MAX as u32).find(|number| !self.readers.contains_key(number));
        let Some(number) = number else {
            let text = format!(
                "an invocation has at most {} readers open; drop one before the next",
                limits::HOOK_READERS_OPEN_MAX
            );
            return Ok(Err(types::Error::Limit(text)));
        };
        Ok(PartReader::open(&*self.parts.object, offset, length)
            .map(|reader| {
                self.readers.insert(number, reader);
                Resource::new_own(number)
            })
            .map_err(Into::into))
    }
}

/// wasmtime lets a guest name only what it was given.
fn unknown() -> wasmtime::Error {
    format_err!("a reader that is not open")
}

impl object::HostReader for Host {
    fn read(&mut self, reader: Resource<PartReader>, length: u32) -> Answer<Vec<u8>> {
        if let Err(error) = super::object::check_length(length) {
            return Ok(Err(error));
        }
        let reader = self.readers.get_mut(&reader.rep()).ok_or_else(unknown)?;
        Ok(reader.read(length).map_err(Into::into))
    }

    fn skip(&mut self, reader: Resource<PartReader>, length: u64) -> Answer<u64> {
        let reader = self.readers.get_mut(&reader.rep()).ok_or_else(unknown)?;
        Ok(reader.skip(&*self.parts.object, length).map_err(Into::into))
    }

    fn drop(&mut self, reader: Resource<PartReader>) -> Result<()> {
        self.readers.remove(&reader.rep()).map(drop).ok_or_else(unknown)
    }
}
