//! The sandbox, held against guests that behave badly. Each is written as text here, so that no other toolchain is
//! needed: a core module with the contract embedded, as wit-bindgen's guests are.

mod guest;
mod sandbox;
