//! Why inference was refused or failed; every text says what would be right.

/// Why a model was not loaded or not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    #[error("no model named {0}; add it with `aerie model add {0} FILE.onnx`")]
    NoSuchModel(String),
    #[error("the model {name} has {bytes} bytes, the limit is {limit}")]
    ModelTooLarge { name: String, bytes: u64, limit: u64 },
    #[error("the model {name} cannot be loaded: {reason}")]
    InvalidModel { name: String, reason: String },
    #[error("the model {name} could not be read: {reason}")]
    Source { name: String, reason: String },
    #[error("the model has no input {got:?}; its inputs are {known}")]
    UnknownInput { got: String, known: String },
    #[error("input {at} is one too many; the model's inputs are {known}")]
    TooManyInputs { at: usize, known: String },
    #[error("the input {0} is given twice")]
    RepeatedInput(String),
    #[error("the input {input} takes elements of {wanted}, got {got}")]
    WrongElement { input: String, wanted: String, got: String },
    #[error("the input {input} takes the shape {wanted}, got {got}")]
    WrongShape { input: String, wanted: String, got: String },
    #[error("the input {input} of shape {shape} takes {wanted} bytes, got {got}")]
    WrongBytes { input: String, shape: String, wanted: u64, got: u64 },
    #[error(
        "the input {input} has the value {value}, which does not fit in 32 bits; the backend computes integers in 32 bits"
    )]
    IntegerRange { input: String, value: i64 },
    #[error("the inputs have {bytes} bytes, the limit is {limit}")]
    Inputs { bytes: u64, limit: u64 },
    #[error("the outputs have {bytes} bytes, the limit is {limit}")]
    Outputs { bytes: u64, limit: u64 },
    #[error("the output {0} is of a kind that hooks cannot take (only tensors of f32, u8 and integers)")]
    OutputKind(String),
    #[error("all inference workers were busy for {limit_ms} ms; try again")]
    Busy { limit_ms: u64 },
    #[error("the run took longer than {limit_ms} ms")]
    Time { limit_ms: u64 },
    #[error("the run failed: {0}")]
    Run(String),
}

impl InferenceError {
    /// A limit was passed (against: the request makes no sense, or the backend failed).
    pub fn is_limit(&self) -> bool {
        use InferenceError::{Inputs, ModelTooLarge, Outputs, Time};
        matches!(self, ModelTooLarge { .. } | Inputs { .. } | Outputs { .. } | Time { .. })
    }

    /// The arguments make no sense for this model.
    pub fn is_invalid(&self) -> bool {
        use InferenceError::*;
        matches!(
            self,
            UnknownInput { .. }
                | TooManyInputs { .. }
                | RepeatedInput(_)
                | WrongElement { .. }
                | WrongShape { .. }
                | WrongBytes { .. }
                | IntegerRange { .. }
                | InvalidModel { .. }
                | OutputKind(_)
                | Run(_)
        )
    }
}
