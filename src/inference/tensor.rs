//! Tensors as bytes, and their way into and out of the backend's values.

use rten::{Value, ValueView};
use rten_tensor::prelude::*;

use super::InferenceError;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    F32,
    U8,
    I32,
    /// Taken where a model wants integers; the backend computes in 32 bits.
    I64,
}

impl Element {
    pub fn as_str(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::U8 => "u8",
            Element::I32 => "i32",
            Element::I64 => "i64",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::F32 | Element::I32 => 4,
            Element::I64 => 8,
        }
    }
}

/// A tensor as hooks know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// An input with an empty name is taken by its position.
    pub name: String,
    pub element: Element,
    pub shape: Vec<u32>,
    /// Row-major, little-endian.
    pub bytes: Vec<u8>,
}

/// Makes the backend's value of an input. `name` is the model's, for messages.
pub(super) fn to_value(name: &str, tensor: &Tensor) -> Result<Value, InferenceError> {
    let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let wanted = elements.and_then(|elements| elements.checked_mul(tensor.element.size()));
    if wanted != Some(tensor.bytes.len()) {
        return Err(InferenceError::WrongBytes {
            input: name.to_owned(),
            shape: shape_text(tensor.shape.iter()),
            wanted: wanted.map_or(u64::MAX, |wanted| wanted as u64),
            got: tensor.bytes.len() as u64,
        });
    }
    let bytes = &tensor.bytes;
    let value = match tensor.element {
        Element::U8 => Value::from_shape(&shape, bytes.clone()).map_err(|error| error.to_string()),
        Element::F32 => Value::from_shape(&shape, words(bytes, f32::from_le_bytes)).map_err(|error| error.to_string()),
        Element::I32 => Value::from_shape(&shape, words(bytes, i32::from_le_bytes)).map_err(|error| error.to_string()),
        Element::I64 => Value::from_shape(&shape, narrow(name, bytes)?).map_err(|error| error.to_string()),
    };
    value.map_err(InferenceError::Run)
}

/// Makes bytes of an output.
pub(super) fn from_value(name: &str, value: &Value) -> Result<Tensor, InferenceError> {
    let (element, shape, bytes) = match value.as_view() {
        ValueView::FloatTensor(view) => {
            (Element::F32, view.shape().to_vec(), view.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        ValueView::Int32Tensor(view) => {
            (Element::I32, view.shape().to_vec(), view.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        ValueView::Int8Tensor(view) => {
            let wide = view.iter().flat_map(|&value| i32::from(value).to_le_bytes());
            (Element::I32, view.shape().to_vec(), wide.collect())
        }
        ValueView::UInt8Tensor(view) => (Element::U8, view.shape().to_vec(), view.to_vec()),
        _ => return Err(InferenceError::OutputKind(name.to_owned())),
    };
    let shape = shape.into_iter().map(|size| u32::try_from(size).unwrap_or(u32::MAX)).collect();
    Ok(Tensor { name: name.to_owned(), element, shape, bytes })
}

/// Bytes that `from_value` will make.
pub(super) fn bytes_of(value: &Value) -> u64 {
    let bytes = match value.as_view() {
        ValueView::FloatTensor(view) => view.len() * 4,
        ValueView::Int32Tensor(view) => view.len() * 4,
        ValueView::Int8Tensor(view) => view.len() * 4,
        ValueView::UInt8Tensor(view) => view.len(),
        _ => 0,
    };
    bytes as u64
}

/// `[1, 3, ?]`
pub(super) fn shape_text<T: ToString>(sizes: impl Iterator<Item = T>) -> String {
    let sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
    format!("[{}]", sizes.join(", "))
}

fn words<T>(bytes: &[u8], read: impl Fn([u8; 4]) -> T) -> Vec<T> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "the length was checked against the shape");
    words.iter().map(|&word| read(word)).collect()
}

fn narrow(name: &str, bytes: &[u8]) -> Result<Vec<i32>, InferenceError> {
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "the length was checked against the shape");
    let one = |&word: &[u8; 8]| {
        let value = i64::from_le_bytes(word);
        i32::try_from(value).map_err(|_| InferenceError::IntegerRange { input: name.to_owned(), value })
    };
    words.iter().map(one).collect()
}
