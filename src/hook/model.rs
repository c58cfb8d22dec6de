//! What the outbox asks of hooks and what they answer.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::engine::Engine;
use crate::limits;
use crate::meta::Change;

/// One attempt to run a hook for one change.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Stable over attempts and restarts: `{sequence:016x}-{rule or hook name}`; subscribers deduplicate by it.
    pub event_id: String,
    pub hook: String,
    pub change: Change,
    /// The event record of the change, as S3 writes it (JSON with `Records`).
    pub record_json: String,
    /// Counts from 1.
    pub attempt: u32,
}

/// One result of a hook, to become a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// Topic below the hook's own prefix; `None`: the hook's default topic.
    pub topic: Option<String>,
    pub payload: Vec<u8>,
}

/// A finished invocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub results: Vec<HookResult>,
    /// What the hook keeps for later, by key; `None` removes. To be committed with the results.
    pub state_writes: BTreeMap<String, Option<Vec<u8>>>,
    /// What made the results.
    pub provenance: Provenance,
}

/// Which code and which models made something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// SHA-256 of the hook's module, hex.
    pub module: String,
    /// Models that the invocation loaded: name and SHA-256 of the file, hex.
    pub models: BTreeMap<String, String>,
}

impl Provenance {
    /// What goes beside a published result: names and values.
    pub fn properties(&self, hook: &str) -> Vec<(String, String)> {
        if self.module.is_empty() {
            return Vec::new();
        }
        let mut properties = vec![(BY.to_owned(), hook.to_owned()), (MODULE.to_owned(), self.module.clone())];
        properties.extend(self.models.iter().map(|(name, digest)| (MODEL.to_owned(), format!("{name}={digest}"))));
        properties
    }

    /// The models as one text: `NAME=DIGEST NAME=DIGEST`; those that do not fit into `bytes_max` are left out.
    pub fn models_text(&self, bytes_max: usize) -> String {
        let mut text = String::new();
        for (name, digest) in &self.models {
            let entry = format!("{}{name}={digest}", if text.is_empty() { "" } else { " " });
            if text.len() + entry.len() <= bytes_max {
                text.push_str(&entry);
            }
        }
        text
    }
}

/// Names of provenance, in the metadata of derived objects and beside published results: the hook (in metadata all
/// hooks that led to the object), the digest of its module, a model with its digest, and the event.
pub(super) const BY: &str = "aerie-hook";
pub(super) const MODULE: &str = "aerie-hook-sha256";
pub(super) const MODEL: &str = "aerie-model";
pub(super) const EVENT: &str = "aerie-event";

impl Outcome {
    /// The state's writes as metadata properties.
    pub fn properties(&self, hook: &str) -> Vec<(String, Option<String>)> {
        let write = |(key, value): (&String, &Option<Vec<u8>>)| {
            (state_property(hook, key), value.as_deref().map(crate::hash::base64_encode))
        };
        self.state_writes.iter().map(write).collect()
    }
}

/// Property that holds a value of a hook's state, in base64.
pub(super) fn state_property(hook: &str, key: &str) -> String {
    format!("hook-state/{hook}/{key}")
}

/// Before the names of hooks, as the requester of a change.
pub(super) const HOOK_PRINCIPAL: &str = "hook:";

/// The requester of changes that a hook makes because of a change that `cause` made: `hook:NAME`, or `hook:FIRST,NAME`
/// where a hook's change was the cause. So each change names all hooks that led to it.
pub fn principal(cause: &str, hook: &str) -> String {
    match cause.strip_prefix(HOOK_PRINCIPAL) {
        Some(chain) => format!("{HOOK_PRINCIPAL}{chain},{hook}"),
        None => format!("{HOOK_PRINCIPAL}{hook}"),
    }
}

/// Whether a change by `principal` may start `hook`: not one that led to the change, nor any hook at the end of a long
/// chain. Without this, hooks that write where others look would feed each other without an end.
pub fn may_start(principal: &str, hook: &str) -> bool {
    let Some(chain) = principal.strip_prefix(HOOK_PRINCIPAL) else { return true };
    let mut length = 0;
    for link in chain.split(',') {
        length += 1;
        if link == hook {
            return false;
        }
    }
    length < limits::HOOK_DERIVED_DEPTH_MAX
}

/// Why an invocation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookFault {
    #[error("no hook named {0} is installed; run `aerie hook add {0} FILE.wasm`")]
    NotInstalled(String),
    #[error("the hook used more than its {limit_bytes} bytes of memory")]
    Memory { limit_bytes: u64 },
    #[error("the hook ran longer than its {limit_ms} ms")]
    Deadline { limit_ms: u64 },
    #[error("the hook gave more than its {limit_bytes} bytes of output")]
    Output { limit_bytes: u64 },
    #[error("the hook published more than its {limit} messages")]
    Messages { limit: usize },
    #[error("the hook handed over more than {limit_bytes} bytes in one call")]
    Call { limit_bytes: usize },
    #[error("the hook overflowed its stack of {limit_bytes} bytes")]
    Stack { limit_bytes: u64 },
    #[error("the hook trapped: {0}")]
    Trap(String),
    /// The hook itself answered with an error.
    #[error("the hook answered: {message}")]
    Rejected { message: String, retry: bool },
    #[error("the object could not be read: {0}")]
    Object(String),
    #[error("the module cannot be run: {0}")]
    Module(String),
}

impl HookFault {
    /// Whether a later attempt could end differently. Limits and traps are repeated too: the machine may have been busy.
    pub fn retry(&self) -> bool {
        match self {
            HookFault::Rejected { retry, .. } => *retry,
            HookFault::Module(_) => false,
            _ => true,
        }
    }

    /// Short name, for counters.
    pub fn name(&self) -> &'static str {
        match self {
            HookFault::NotInstalled(_) => "not_installed",
            HookFault::Memory { .. } => "memory",
            HookFault::Deadline { .. } => "deadline",
            HookFault::Output { .. } => "output",
            HookFault::Messages { .. } => "messages",
            HookFault::Call { .. } => "call",
            HookFault::Stack { .. } => "stack",
            HookFault::Trap(_) => "trap",
            HookFault::Rejected { .. } => "rejected",
            HookFault::Object(_) => "object",
            HookFault::Module(_) => "module",
        }
    }
}

/// Runs hooks. Called on a hook thread, which lends its engine to read the object.
pub trait HookRunner: Send + Sync {
    /// How long a hook has to wait for its next turn; `None` takes the turn.
    fn wait(&self, _engine: &Rc<Engine>, _hook: &str) -> Option<Duration> {
        None
    }

    fn run(&self, engine: &Rc<Engine>, invocation: &Invocation) -> Result<Outcome, HookFault>;
}
