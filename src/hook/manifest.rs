//! What the operator grants a hook. Deny by default; what is not said is the settings' default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Defaults of all hooks on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HookSettings {
    /// Bytes of memory of an instance.
    pub memory_bytes: u64,
    /// Milliseconds of an invocation; the time of inference is not counted.
    pub deadline_ms: u64,
    /// Bytes of results of an invocation.
    pub output_bytes: u64,
    /// Instances at the same time, over all hooks.
    pub instances: u32,
    /// Per cent of all processors that hooks may take, 1 to 100; the time of inference is counted.
    pub cpu_share: u32,
    /// Per cent of all processors that object lambdas (GET with `lambdaArn`) may take, 1 to 100.
    pub transform_cpu_share: u32,
    /// Degrees Celsius of the board's hottest zone from which on hooks run at a tenth of their share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_max: Option<f64>,
    /// Public keys (`ed25519:…`) whose signature on a bundle counts.
    pub trusted_keys: Vec<String>,
    /// Only hooks from bundles that one of `trusted_keys` signed are installed and run.
    pub require_signature: bool,
}

impl Default for HookSettings {
    fn default() -> HookSettings {
        HookSettings {
            memory_bytes: limits::HOOK_MEMORY_BYTES,
            deadline_ms: limits::HOOK_DEADLINE.as_millis() as u64,
            output_bytes: limits::HOOK_OUTPUT_BYTES,
            instances: limits::HOOK_INSTANCES,
            cpu_share: 100,
            transform_cpu_share: 50,
            temperature_max: None,
            trusted_keys: Vec::new(),
            require_signature: false,
        }
    }
}

impl HookSettings {
    /// Finds what could not work, before anything is started.
    pub fn check(&self) -> Result<(), String> {
        let keys = self.trusted_keys.iter().try_for_each(|key| super::bundle::check_public(key));
        keys.map_err(|error| format!("hooks.trusted_keys: {error}"))?;
        if self.require_signature && self.trusted_keys.is_empty() {
            return Err("hooks.require_signature needs hooks.trusted_keys: whose signature counts (aerie hook keygen)"
                .to_owned());
        }
        Ok(())
    }
}

/// What kind of component a hook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookWorld {
    /// Called for each change.
    Hook,
    /// Changes what a GET gives.
    Transform,
}

/// An installed hook, beside its module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: String,
    pub world: HookWorld,
    /// SHA-256 of the module, hex.
    pub digest: String,
    pub module_bytes: u64,
    pub added_ms: i64,
    /// Public key that signed the bundle it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// SHA-256 of the models that its bundle brought, by name: it runs with no others. Absent: whatever is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub grants: Grants,
}

/// Limits and capabilities that the operator set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Invocations that may begin in a second; absent: as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<u32>,
    /// May set tags of the object.
    pub tags: bool,
    /// May store derived objects below this prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derive: Option<String>,
}

impl Grants {
    /// Refuses to give less than `wanted` asks for.
    pub fn cover(&self, wanted: &Grants) -> Result<(), String> {
        if wanted.tags && !self.tags {
            return Err("it asks to set tags; trust its key, or add it with --allow-tags".to_owned());
        }
        match &wanted.derive {
            Some(prefix) if self.derive.as_ref() != Some(prefix) => Err(format!(
                "it asks to store objects below {prefix}; trust its key, or add it with --allow-derive {prefix}"
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what no hook may have.
    pub fn check(&self) -> Result<(), String> {
        let deadline = limits::HOOK_DEADLINE_MAX.as_millis() as u64;
        // As the author writes them; a bundle has its memory in bytes.
        let bounds = [
            ("--memory-mib", self.memory_bytes, limits::HOOK_MEMORY_BYTES_MAX, 1 << 20),
            ("--deadline-ms", self.deadline_ms, deadline, 1),
            ("--output-bytes", self.output_bytes, limits::HOOK_OUTPUT_BYTES_MAX, 1),
        ];
        for (option, value, most, unit) in bounds {
            if let Some(value) = value.filter(|value| *value == 0 || *value > most) {
                return Err(format!("{option} is {}, it may be 1 to {}", value / unit, most / unit));
            }
        }
        if self.rate_per_s == Some(0) {
            return Err("--rate-per-s is 0, it is at least 1".to_owned());
        }
        if self.derive.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.len() > limits::KEY_BYTES_MAX / 2) {
            return Err("the prefix of derived objects must not be empty, nor longer than 512 bytes".to_owned());
        }
        Ok(())
    }
}

/// The limits of one invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub memory_bytes: u64,
    pub deadline_ms: u64,
    pub output_bytes: u64,
    /// Milliseconds in inference that are not counted against the deadline.
    pub inference_ms: u64,
}

impl Bounds {
    pub fn of(settings: &HookSettings, grants: &Grants) -> Bounds {
        Bounds {
            memory_bytes: grants.memory_bytes.unwrap_or(settings.memory_bytes),
            deadline_ms: grants.deadline_ms.unwrap_or(settings.deadline_ms),
            output_bytes: grants.output_bytes.unwrap_or(settings.output_bytes),
            inference_ms: limits::HOOK_INFERENCE_MAX.as_millis() as u64,
        }
    }
}
