//! One loaded model: what goes in, what comes out, and the backend's run.
//!
//! Architecture invariant: the backend (rten, pure Rust) is named in this file, in `tensor` and in `workers` only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rten::{DataType, Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueType};

use super::tensor::{bytes_of, from_value, shape_text, to_value};
use super::{Element, InferenceError, ModelFile, Tensor};

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// `None` where the model leaves a size open; empty when it says nothing of the shape at all.
    pub shape: Vec<Option<u32>>,
}

/// An input with what the backend wants of it.
#[derive(Debug)]
struct Input {
    node: NodeId,
    port: Port,
    /// The model says something of the shape (a scalar has an empty one).
    shaped: bool,
    kind: Option<ValueType>,
}

/// A model in memory, ready to run on any thread.
pub struct LoadedModel {
    model: Model,
    inputs: Vec<Input>,
    output_nodes: Vec<NodeId>,
    outputs: Vec<Port>,
    labels: Vec<String>,
    file_bytes: u64,
    digest: String,
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedModel")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// Values bound to a model's inputs.
pub(super) type Bound = Vec<(NodeId, Value)>;

impl LoadedModel {
    /// Parses and prepares a model. `name` is for messages.
    pub fn parse(name: &str, file: ModelFile) -> Result<LoadedModel, InferenceError> {
        let refuse = |reason: String| InferenceError::InvalidModel { name: name.to_owned(), reason };
        let file_bytes = file.bytes.len() as u64;
        if !super::framing::well_framed(&file.bytes) {
            return Err(refuse("it is not a whole ONNX file; export or copy it anew".to_owned()));
        }
        let digest = crate::hash::hex_encode(ring::digest::digest(&ring::digest::SHA256, &file.bytes).as_ref());
        // The parser is given whatever was uploaded: should it panic, this model is refused and nothing else suffers.
        let parsed = catch_unwind(AssertUnwindSafe(|| ModelOptions::with_all_ops().load(file.bytes)));
        let model = match parsed {
            Ok(Ok(model)) => model,
            Ok(Err(error)) => return Err(refuse(error.to_string())),
            Err(_) => return Err(refuse("the parser failed on it; is it an ONNX file?".to_owned())),
        };
        let inputs = model.input_ids().iter().map(|&node| input_of(&model, node)).collect();
        let output_nodes = model.output_ids().to_vec();
        let outputs = output_nodes.iter().map(|&node| port_of(&model, node)).collect();
        Ok(LoadedModel { model, inputs, output_nodes, outputs, labels: file.labels, file_bytes, digest })
    }

    pub fn inputs(&self) -> Vec<Port> {
        self.inputs.iter().map(|input| input.port.clone()).collect()
    }
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
    /// SHA-256 of the file that it was loaded from, hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }
    /// Bytes of the file that it was loaded from.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Compares the tensors with what the model takes, and makes values of them.
    pub(super) fn bind(&self, tensors: &[Tensor]) -> Result<Bound, InferenceError> {
        let mut bound: Bound = Vec::with_capacity(tensors.len());
        for (at, tensor) in tensors.iter().enumerate() {
            let input = self.input_for(at, &tensor.name)?;
            if bound.iter().any(|(node, _)| *node == input.node) {
                return Err(InferenceError::RepeatedInput(input.port.name.clone()));
            }
            check_element(input, tensor.element)?;
            check_shape(input, &tensor.shape)?;
            bound.push((input.node, to_value(&input.port.name, tensor)?));
        }
        Ok(bound)
    }

    /// Runs on the calling thread, in `pool`.
    pub(super) fn run(
        &self,
        bound: Bound,
        pool: &Arc<ThreadPool>,
        output_bytes_max: u64,
    ) -> Result<Vec<Tensor>, InferenceError> {
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let inputs = bound.into_iter().map(|(node, value)| (node, value.into())).collect();
        let run = catch_unwind(AssertUnwindSafe(|| self.model.run(inputs, &self.output_nodes, Some(options))));
        let values = match run {
            Ok(Ok(values)) => values,
            Ok(Err(error)) => return Err(InferenceError::Run(error.to_string())),
            Err(_) => return Err(InferenceError::Run("an operator panicked on these inputs".to_owned())),
        };
        let bytes = values.iter().map(bytes_of).sum();
        if bytes > output_bytes_max {
            return Err(InferenceError::Outputs { bytes, limit: output_bytes_max });
        }
        self.outputs.iter().zip(&values).map(|(port, value)| from_value(&port.name, value)).collect()
    }

    fn input_for(&self, at: usize, name: &str) -> Result<&Input, InferenceError> {
        let known = || self.inputs.iter().map(|input| input.port.name.as_str()).collect::<Vec<_>>().join(", ");
        if name.is_empty() {
            return self.inputs.get(at).ok_or_else(|| InferenceError::TooManyInputs { at, known: known() });
        }
        let found = self.inputs.iter().find(|input| input.port.name == name);
        found.ok_or_else(|| InferenceError::UnknownInput { got: name.to_owned(), known: known() })
    }
}

fn input_of(model: &Model, node: NodeId) -> Input {
    let info = model.node_info(node);
    let shaped = info.as_ref().is_some_and(|info| info.shape().is_some());
    let kind = info.and_then(|info| info.dtype());
    Input { node, port: port_of(model, node), shaped, kind }
}

fn port_of(model: &Model, node: NodeId) -> Port {
    let info = model.node_info(node);
    let name = info.as_ref().and_then(|info| info.name()).unwrap_or_default().to_owned();
    let size = |dimension| match dimension {
        Dimension::Fixed(size) => u32::try_from(size).ok(),
        Dimension::Symbolic(_) => None,
    };
    let shape = info.and_then(|info| info.shape()).unwrap_or_default().into_iter().map(size).collect();
    Port { name, shape }
}

fn check_element(input: &Input, got: Element) -> Result<(), InferenceError> {
    let wanted = match (input.kind, got) {
        (None, _)
        | (Some(ValueType::Tensor(DataType::Float)), Element::F32)
        | (Some(ValueType::Tensor(DataType::UInt8)), Element::U8)
        | (Some(ValueType::Tensor(DataType::Int32)), Element::I32 | Element::I64) => return Ok(()),
        (Some(ValueType::Tensor(DataType::Float)), _) => "f32",
        (Some(ValueType::Tensor(DataType::UInt8)), _) => "u8",
        (Some(ValueType::Tensor(DataType::Int32)), _) => "i32 or i64",
        (Some(_), _) => "a kind that hooks cannot give",
    };
    let (input, wanted, got) = (input.port.name.clone(), wanted.to_owned(), got.as_str().to_owned());
    Err(InferenceError::WrongElement { input, wanted, got })
}

fn check_shape(input: &Input, got: &[u32]) -> Result<(), InferenceError> {
    let wanted = &input.port.shape;
    let same = |(wanted, got): (&Option<u32>, &u32)| wanted.is_none_or(|wanted| wanted == *got);
    if !input.shaped || (wanted.len() == got.len() && wanted.iter().zip(got).all(same)) {
        return Ok(());
    }
    let open = |size: &Option<u32>| size.map_or_else(|| "?".to_owned(), |size| size.to_string());
    Err(InferenceError::WrongShape {
        input: input.port.name.clone(),
        wanted: shape_text(wanted.iter().map(open)),
        got: shape_text(got.iter()),
    })
}
