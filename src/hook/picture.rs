//! Pictures for hooks: JPEG and PNG, decoded and scaled on the host by safe Rust, within limits.
//!
//! EXIF orientation is not applied. Scaling is bilinear with an averaging window when the picture gets smaller.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{ImageReader, RgbImage};

use crate::limits;

/// How a picture is brought to the wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Stretch,
    Pad,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pixels {
    pub rgb: Vec<u8>,
    pub width: u32,
    pub height: u32,
    pub original: (u32, u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PictureFault {
    Limit(String),
    Invalid(String),
}

/// Decodes to `width` × `height` pixels; 0 × 0 keeps the picture's own size.
pub(super) fn decode(file: &[u8], width: u32, height: u32, fit: Fit) -> Result<Pixels, PictureFault> {
    let invalid =
        |error: &dyn std::fmt::Display| PictureFault::Invalid(format!("not a picture that can be decoded: {error}"));
    let reader = || ImageReader::new(Cursor::new(file)).with_guessed_format();
    let size = reader().map_err(|error| invalid(&error))?.into_dimensions().map_err(|error| invalid(&error))?;
    let pixels = u64::from(size.0) * u64::from(size.1);
    if pixels > limits::PICTURE_PIXELS_MAX || size.0.max(size.1) > limits::PICTURE_SIDE_MAX {
        return Err(PictureFault::Limit(format!(
            "the picture has {} x {} pixels, at most {} and {} a side are decoded",
            size.0,
            size.1,
            limits::PICTURE_PIXELS_MAX,
            limits::PICTURE_SIDE_MAX
        )));
    }
    let target = match (width, height) {
        (0, 0) => size,
        (0, _) | (_, 0) => {
            return Err(PictureFault::Invalid(
                "give both width and height, or 0 and 0 for the picture's own".to_owned(),
            ));
        }
        wanted => wanted,
    };
    let out = u64::from(target.0) * u64::from(target.1) * 3;
    if out > limits::PICTURE_OUT_BYTES_MAX {
        return Err(PictureFault::Limit(format!(
            "{} x {} pixels are {out} bytes, the limit is {}; ask for a smaller size",
            target.0,
            target.1,
            limits::PICTURE_OUT_BYTES_MAX
        )));
    }
    let mut reader = reader().map_err(|error| invalid(&error))?;
    let mut bounds = image::Limits::default();
    bounds.max_alloc = Some(limits::PICTURE_PIXELS_MAX * 8);
    reader.limits(bounds);
    let picture = reader.decode().map_err(|error| invalid(&error))?.into_rgb8();
    Ok(Pixels { rgb: scale(&picture, target, fit).into_raw(), width: target.0, height: target.1, original: size })
}

fn scale(picture: &RgbImage, target: (u32, u32), fit: Fit) -> RgbImage {
    if picture.dimensions() == target {
        return picture.clone();
    }
    let resize = |width, height| image::imageops::resize(picture, width, height, FilterType::Triangle);
    match fit {
        Fit::Stretch => resize(target.0, target.1),
        Fit::Pad => {
            let (width, height) = picture.dimensions();
            let ratio = (f64::from(target.0) / f64::from(width)).min(f64::from(target.1) / f64::from(height));
            let side = |length: u32, most: u32| ((f64::from(length) * ratio).round() as u32).clamp(1, most);
            let mut padded = RgbImage::new(target.0, target.1);
            image::imageops::replace(&mut padded, &resize(side(width, target.0), side(height, target.1)), 0, 0);
            padded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, _| {
            if x < width / 2 { image::Rgb([255, 0, 0]) } else { image::Rgb([0, 0, 255]) }
        });
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn pictures_are_brought_to_size() {
        let own = decode(&png(8, 4), 0, 0, Fit::Stretch).unwrap();
        assert_eq!((own.width, own.height, own.rgb.len()), (8, 4, 96));
        let stretched = decode(&png(80, 40), 10, 10, Fit::Stretch).unwrap();
        assert_eq!((&stretched.rgb[..3], &stretched.rgb[27..30]), (&[255, 0, 0][..], &[0, 0, 255][..]));
        assert_eq!(stretched.original, (80, 40));
        let padded = decode(&png(80, 40), 10, 10, Fit::Pad).unwrap();
        assert_eq!(&padded.rgb[9 * 30..], &[0; 30], "the lower half is black");
        assert_eq!(&padded.rgb[..3], &[255, 0, 0]);
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused_with_a_reason() {
        assert!(matches!(decode(b"no picture", 1, 1, Fit::Pad), Err(PictureFault::Invalid(_))));
        assert!(matches!(decode(&png(2, 2)[..30], 1, 1, Fit::Pad), Err(PictureFault::Invalid(_))));
        assert!(matches!(decode(&png(2, 2), 4096, 4096, Fit::Pad), Err(PictureFault::Limit(_))));
        assert!(matches!(decode(&png(2, 2), 5, 0, Fit::Pad), Err(PictureFault::Invalid(_))));
    }
}
