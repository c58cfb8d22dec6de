//! Thumbnail: an object lambda. A GET of a JPEG or PNG gives a PNG of at most 256 pixels a side in its place.
//!
//! Promises: the aspect ratio stays; a picture that is small already stays as large; equal pictures give equal bytes. An
//! object that is no picture is a lasting failure.

mod png;

wit_bindgen::generate!({ path: "../wit", world: "transform" });
use aerie::hook::picture::{self, Fit};
use aerie::hook::types::Error;

/// Pixels of the longer side.
const SIDE_MAX: u32 = 256;

struct Thumbnail;

impl Guest for Thumbnail {
    fn transform(_bucket: String, _key: String) -> Result<Response, Failure> {
        let size = picture::decode(1, 1, Fit::Stretch).map_err(failure)?;
        let (width, height) = fitted(size.original_width, size.original_height);
        let pixels = picture::decode(width, height, Fit::Stretch).map_err(failure)?;
        let bytes = png::encode(&pixels.rgb, pixels.width, pixels.height);
        Ok(Response { content_type: Some("image/png".to_owned()), bytes })
    }
}

/// The largest size of the same shape within the bound.
fn fitted(width: u32, height: u32) -> (u32, u32) {
    let longer = width.max(height).max(1);
    if longer <= SIDE_MAX {
        return (width, height);
    }
    let scaled = |side: u32| (u64::from(side) * u64::from(SIDE_MAX) / u64::from(longer)).max(1) as u32;
    (scaled(width), scaled(height))
}

/// Only what the host could not do is worth another attempt.
fn failure(error: Error) -> Failure {
    Failure { retry: matches!(error, Error::Failed(_)), message: error.to_string() }
}

export!(Thumbnail);
