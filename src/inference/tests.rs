//! Inference on tiny models written by `onnx`: right results, clear refusals, kept budgets.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::onnx::{self, model};
use super::*;

/// Models in a table, with a count of the reads.
#[derive(Default)]
struct Shelf {
    models: RefCell<HashMap<String, (u32, Vec<u8>)>>,
    reads: Cell<u32>,
}

impl Shelf {
    fn with(models: &[(&str, Vec<u8>)]) -> Shelf {
        let shelf = Shelf::default();
        models.iter().for_each(|(name, bytes)| shelf.put(name, bytes.clone()));
        shelf
    }
    fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut models = self.models.borrow_mut();
        let edition = models.get(name).map_or(0, |(edition, _)| edition + 1);
        models.insert(name.to_owned(), (edition, bytes));
    }
}

impl ModelSource for Shelf {
    fn stamp(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.models.borrow().get(name).map(|(edition, _)| edition.to_string()))
    }
    fn read(&self, name: &str, _bytes_max: u64) -> Result<Option<ModelFile>, String> {
        self.reads.set(self.reads.get() + 1);
        let file = |(_, bytes): &(u32, Vec<u8>)| ModelFile { bytes: bytes.clone(), labels: vec!["cat".to_owned()] };
        Ok(self.models.borrow().get(name).map(file))
    }
}

fn tensor(name: &str, element: Element, shape: &[u32], bytes: Vec<u8>) -> Tensor {
    Tensor { name: name.to_owned(), element, shape: shape.to_vec(), bytes }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_model_runs_by_name_and_by_position() {
    let (inference, shelf) = (Inference::new(InferenceSettings::default()), Shelf::with(&[("s", onnx::sigmoid())]));
    let model = inference.load(&shelf, "s").unwrap();
    assert_eq!(model.inputs(), [Port { name: "x".to_owned(), shape: vec![None, Some(4)] }]);
    assert_eq!(model.outputs()[0].name, "y");
    assert_eq!(model.labels(), ["cat"]);
    let values = [0.0, 1.0, -1.0, 10.0];
    for name in ["x", ""] {
        let outputs = inference.run(&model, &[tensor(name, Element::F32, &[1, 4], floats(&values))]).unwrap();
        assert_eq!((outputs[0].name.as_str(), &outputs[0].shape), ("y", &vec![1, 4]));
        for (value, got) in values.iter().zip(outputs[0].bytes.as_chunks::<4>().0) {
            let wanted = 1.0 / (1.0 + (-value).exp());
            assert!((f32::from_le_bytes(*got) - wanted).abs() < 1e-6);
        }
    }
}

#[test]
fn integers_are_taken_in_both_widths() {
    let shape = [Some(2)];
    let add = model(&[("a", 7, &shape), ("b", 7, &shape)], &[("Add", &["a", "b"], "c")], &[("c", 7, &shape)]);
    let (inference, shelf) = (Inference::new(InferenceSettings::default()), Shelf::with(&[("add", add)]));
    let model = inference.load(&shelf, "add").unwrap();
    let wide = |values: [i64; 2]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let narrow = |values: [i32; 2]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let a = tensor("a", Element::I64, &[2], wide([1, -2]));
    let outputs = inference.run(&model, &[a, tensor("b", Element::I32, &[2], narrow([40, 40]))]).unwrap();
    assert_eq!((outputs[0].element, &outputs[0].bytes), (Element::I32, &narrow([41, 38])));
    let large = tensor("a", Element::I64, &[2], wide([1 << 40, 0]));
    assert!(matches!(inference.run(&model, &[large]), Err(InferenceError::IntegerRange { .. })));
}

#[test]
fn wrong_inputs_are_told_what_would_be_right() {
    let (inference, shelf) = (Inference::new(InferenceSettings::default()), Shelf::with(&[("s", onnx::sigmoid())]));
    let model = inference.load(&shelf, "s").unwrap();
    let good = || floats(&[0.0; 4]);
    let cases: [(Vec<Tensor>, &[&str]); 7] = [
        (vec![tensor("nope", Element::F32, &[1, 4], good())], &["nope", "inputs are x"]),
        (vec![tensor("x", Element::U8, &[1, 4], vec![0; 4])], &["f32", "got u8"]),
        (vec![tensor("x", Element::F32, &[1, 5], floats(&[0.0; 5]))], &["[?, 4]", "got [1, 5]"]),
        (vec![tensor("x", Element::F32, &[4], good())], &["[?, 4]", "got [4]"]),
        (vec![tensor("x", Element::F32, &[1, 4], vec![0; 15])], &["16 bytes", "got 15"]),
        (vec![tensor("x", Element::F32, &[1, 4], good()), tensor("x", Element::F32, &[1, 4], good())], &["twice"]),
        (vec![tensor("x", Element::F32, &[1, 4], good()), tensor("", Element::F32, &[1, 4], good())], &["too many"]),
    ];
    for (inputs, parts) in cases {
        let error = inference.run(&model, &inputs).unwrap_err();
        assert!(error.is_invalid(), "{error}");
        parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error}"));
    }
    let none = inference.run(&model, &[]).unwrap_err();
    assert!(none.to_string().contains('x'), "names the missing input: {none}");
    let huge = tensor("x", Element::F32, &[u32::MAX, u32::MAX, u32::MAX], good());
    assert!(inference.run(&model, &[huge]).is_err());
}

#[test]
fn what_is_no_model_is_refused() {
    let mut torn = onnx::sigmoid();
    torn.truncate(torn.len() / 2);
    let unknown = model(&[("x", 1, &[None])], &[("NoSuchOperator", &["x"], "y")], &[("y", 1, &[None])]);
    for bytes in [Vec::new(), b"<html>".to_vec(), torn, vec![0xff; 4096], unknown] {
        let (inference, shelf) = (Inference::new(InferenceSettings::default()), Shelf::with(&[("m", bytes)]));
        let error = inference.load(&shelf, "m").unwrap_err();
        assert!(matches!(error, InferenceError::InvalidModel { .. }), "{error}");
        assert_eq!(inference.loaded_bytes(), 0);
    }
    let (inference, shelf) = (Inference::new(InferenceSettings::default()), Shelf::default());
    assert_eq!(inference.load(&shelf, "m").unwrap_err(), InferenceError::NoSuchModel("m".to_owned()));
}

#[test]
fn models_are_shared_until_they_change_or_the_budget_is_full() {
    let one = onnx::sigmoid();
    let bytes = one.len() as u64;
    let settings = InferenceSettings { memory_bytes: 2 * bytes, ..InferenceSettings::default() };
    let inference = Inference::new(settings);
    let shelf = Shelf::with(&[("a", one.clone()), ("b", one.clone()), ("c", one.clone())]);
    // (load, files read so far)
    for (name, reads) in [("a", 1), ("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)] {
        inference.load(&shelf, name).unwrap();
        assert_eq!(shelf.reads.get(), reads, "after {name}");
        assert!(inference.loaded_bytes() <= 2 * bytes);
    }
    let before = inference.load(&shelf, "b").unwrap();
    shelf.put("b", one.clone());
    assert!(!Arc::ptr_eq(&before, &inference.load(&shelf, "b").unwrap()), "a replaced model is loaded anew");
    let large = InferenceSettings { model_bytes_max: bytes - 1, ..InferenceSettings::default() };
    let error = Inference::new(large).load(&shelf, "a").unwrap_err();
    assert!(error.is_limit(), "{error}");
}

#[test]
fn runs_are_bounded_in_bytes_and_time() {
    let square = [None, None];
    let product = model(&[("x", 1, &square)], &[("MatMul", &["x", "x"], "y")], &[("y", 1, &square)]);
    let shelf = Shelf::with(&[("m", product)]);
    let input = |side: u32| tensor("x", Element::F32, &[side, side], vec![0; (side * side * 4) as usize]);
    let check = |settings: InferenceSettings, side, wanted: fn(&InferenceError) -> bool| {
        let inference = Inference::new(settings);
        let model = inference.load(&shelf, "m").unwrap();
        let error = inference.run(&model, &[input(side)]).unwrap_err();
        assert!(wanted(&error) && error.is_limit(), "{error}");
    };
    let settings = InferenceSettings::default;
    check(InferenceSettings { input_bytes_max: 63, ..settings() }, 4, |e| matches!(e, InferenceError::Inputs { .. }));
    check(InferenceSettings { output_bytes_max: 63, ..settings() }, 4, |e| matches!(e, InferenceError::Outputs { .. }));
    check(InferenceSettings { run_ms_max: 1, ..settings() }, 1400, |e| matches!(e, InferenceError::Time { .. }));
}
