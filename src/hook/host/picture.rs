//! Interface `picture`: the event's object as pixels.

use super::{Answer, Host};
use crate::hook::contract::{picture, types};
use crate::hook::picture::{self as pictures, Fit, PictureFault};
use crate::limits;

impl From<PictureFault> for types::Error {
    fn from(fault: PictureFault) -> types::Error {
        match fault {
            PictureFault::Limit(what) => types::Error::Limit(what),
            PictureFault::Invalid(what) => types::Error::Invalid(what),
        }
    }
}

impl picture::Host for Host {
    fn decode(&mut self, width: u32, height: u32, fit: picture::Fit) -> Answer<picture::Pixels> {
        let decode = || {
            let size = self.parts.object.describe()?.size;
            if size > limits::PICTURE_FILE_BYTES_MAX {
                let most = limits::PICTURE_FILE_BYTES_MAX;
                return Err(types::Error::Limit(format!("the file has {size} bytes, at most {most} are decoded")));
            }
            let file = self.parts.object.read(0, size)?;
            let fit = match fit {
                picture::Fit::Stretch => Fit::Stretch,
                picture::Fit::Pad => Fit::Pad,
            };
            Ok(pictures::decode(&file, width, height, fit)?)
        };
        Ok(decode().map(|pixels| picture::Pixels {
            rgb: pixels.rgb,
            width: pixels.width,
            height: pixels.height,
            original_width: pixels.original.0,
            original_height: pixels.original.1,
        }))
    }
}
