//! Tensors: bytes of the host's interface as numbers, and pixels as a model wants them.
//!
//! Pure apart from the one call that runs a model. A tensor with an unexpected element type or length is a lasting
//! failure: another attempt would meet the same model.

use crate::Failure;
use crate::inference::{Element, Model, Tensor};

/// RGB bytes, row by row, as the planar input `[1, 3, height, width]` with values from -1 to 1.
pub fn planar(rgb: &[u8], width: u32, height: u32) -> Tensor {
    let pixels = rgb.len() / 3;
    assert_eq!(pixels, width as usize * height as usize, "the host gives height * width * 3 bytes");
    let mut bytes = Vec::with_capacity(rgb.len() * 4);
    for channel in 0..3 {
        for pixel in rgb.chunks_exact(3) {
            bytes.extend_from_slice(&(f32::from(pixel[channel]) / 127.5 - 1.0).to_le_bytes());
        }
    }
    Tensor { name: String::new(), element: Element::F32, shape: vec![1, 3, height, width], bytes }
}

/// Runs a detector with one picture and gives its two outputs as numbers: boxes and scores.
///
/// Both have one row for each of the `anchors`; a box row has `coordinates` values, a score row any other number of
/// them. They are told apart by their shapes, so that neither names nor order matter.
pub fn detect(
    model: &Model,
    picture: Tensor,
    anchors: usize,
    coordinates: usize,
) -> Result<(Vec<f32>, Vec<f32>), Failure> {
    let (mut boxes, mut scores) = (None, None);
    for output in model.run(&[picture])? {
        let values = floats(&output)?;
        if values.len() == anchors * coordinates {
            boxes = Some(values);
        } else if !values.is_empty() && values.len() % anchors == 0 {
            scores = Some(values);
        }
    }
    boxes.zip(scores).ok_or_else(|| {
        Failure::lasting(format!(
            "the model is another one: expected outputs [1, {anchors}, {coordinates}] and [1, {anchors}, classes]"
        ))
    })
}

/// The numbers of an `f32` tensor.
pub fn floats(tensor: &Tensor) -> Result<Vec<f32>, Failure> {
    if tensor.element != Element::F32 {
        return Err(Failure::lasting(format!("the model is another one: output {:?} is not f32", tensor.name)));
    }
    Ok(tensor.bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::planar;

    #[test]
    fn pixels_become_planes_from_minus_one_to_one() {
        let tensor = planar(&[0, 51, 255, 255, 102, 0], 2, 1);
        let values: Vec<f32> =
            tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let expected = [-1.0, 1.0, -0.6, -0.2, 1.0, -1.0];
        assert_eq!(tensor.shape, [1, 3, 1, 2]);
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    }
}
