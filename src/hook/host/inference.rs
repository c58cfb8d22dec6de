//! Interface `inference`: models that are loaded once for all, and run outside the sandbox in time that the deadline does
//! not count.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Answer, Host, HostParts};
use crate::hook::contract::{inference, types};
use crate::inference::{Element, InferenceError, Port, Tensor};
use crate::limits;

/// A model that is loaded faster than this was in memory already.
const MODEL_LOAD_COUNTED: Duration = Duration::from_millis(1);

/// A model as guests hold it.
pub struct LoadedModel(Arc<crate::inference::LoadedModel>);

impl From<InferenceError> for types::Error {
    fn from(error: InferenceError) -> types::Error {
        let text = error.to_string();
        match error {
            InferenceError::NoSuchModel(_) => types::Error::NotFound(text),
            error if error.is_limit() => types::Error::Limit(text),
            error if error.is_invalid() => types::Error::Invalid(text),
            _ => types::Error::Failed(text),
        }
    }
}

fn to_port(port: &Port) -> inference::Port {
    inference::Port { name: port.name.clone(), shape: port.shape.clone() }
}

fn to_tensor(tensor: inference::Tensor) -> Tensor {
    let element = match tensor.element {
        inference::Element::F32 => Element::F32,
        inference::Element::U8 => Element::U8,
        inference::Element::I32 => Element::I32,
        inference::Element::I64 => Element::I64,
    };
    Tensor { name: tensor.name, element, shape: tensor.shape, bytes: tensor.bytes }
}

fn from_tensor(tensor: Tensor) -> inference::Tensor {
    let element = match tensor.element {
        Element::F32 => inference::Element::F32,
        Element::U8 => inference::Element::U8,
        Element::I32 => inference::Element::I32,
        Element::I64 => inference::Element::I64,
    };
    inference::Tensor { name: tensor.name, element, shape: tensor.shape, bytes: tensor.bytes }
}

impl Host {
    /// Runs something slow whose time the deadline does not count.
    fn timed<T>(&mut self, work: impl FnOnce(&HostParts) -> T) -> T {
        let start_ns = self.parts.world.clock.monotonic_ns();
        let done = work(&self.parts);
        let end_ns = self.parts.world.clock.monotonic_ns();
        self.waited += Duration::from_nanos(end_ns.saturating_sub(start_ns));
        done
    }
}

impl inference::Host for Host {
    fn load(&mut self, name: String) -> Answer<Resource<LoadedModel>> {
        if self.models_open >= limits::HOOK_MODELS_OPEN_MAX {
            let text = format!("an invocation holds at most {} models open", limits::HOOK_MODELS_OPEN_MAX);
            return Ok(Err(types::Error::Limit(text)));
        }
        let before = self.waited;
        let loaded = self.timed(|parts| parts.inference.load(&*parts.models, &name));
        // A model that is in memory, or nowhere, costs no more than any call: a guest that asks without end has its deadline.
        if loaded.is_err() || self.waited - before < MODEL_LOAD_COUNTED {
            self.waited = before;
        }
        match loaded {
            Ok(model)
                if self
                    .parts
                    .pins
                    .as_ref()
                    .is_some_and(|pins| pins.get(&name).is_none_or(|pin| pin != model.digest())) =>
            {
                Ok(Err(types::Error::Denied(format!(
                    "model {name} is not the one of the hook's bundle; add the bundle again"
                ))))
            }
            Ok(model) => {
                self.models_open += 1;
                self.models_used.insert(name, model.digest().to_owned());
                Ok(Ok(self.table.push(LoadedModel(model))?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl inference::HostModel for Host {
    fn inputs(&mut self, model: Resource<LoadedModel>) -> Result<Vec<inference::Port>> {
        Ok(self.table.get(&model)?.0.inputs().iter().map(to_port).collect())
    }

    fn outputs(&mut self, model: Resource<LoadedModel>) -> Result<Vec<inference::Port>> {
        Ok(self.table.get(&model)?.0.outputs().iter().map(to_port).collect())
    }

    fn labels(&mut self, model: Resource<LoadedModel>) -> Result<Vec<String>> {
        Ok(self.table.get(&model)?.0.labels().to_vec())
    }

    fn run(&mut self, model: Resource<LoadedModel>, inputs: Vec<inference::Tensor>) -> Answer<Vec<inference::Tensor>> {
        let model = self.table.get(&model)?.0.clone();
        let inputs: Vec<Tensor> = inputs.into_iter().map(to_tensor).collect();
        let outputs = self.timed(|parts| parts.inference.run(&model, &inputs));
        Ok(outputs.map(|outputs| outputs.into_iter().map(from_tensor).collect()).map_err(Into::into))
    }

    fn drop(&mut self, model: Resource<LoadedModel>) -> Result<()> {
        self.table.delete(model)?;
        self.models_open -= 1;
        Ok(())
    }
}
