//! Adding and removing hooks: each is checked, compiled and kept whole, and changed by one command at a time.
//!
//! Knows nothing of what runs meanwhile: invocations under way end with the hook that they began with.

use std::sync::Arc;

use bytes::Bytes;

use super::installed::Installed;
use super::runtime::Compiled;
use super::{Grants, Hooks, Manifest, StoreError, bundle, digest, store};
use crate::engine::Engine;
use crate::limits;

/// A hook may be changed by one at a time.
struct Changing<'a> {
    hooks: &'a Hooks,
    name: String,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.hooks.changing.lock().expect("no holder of this lock panics").remove(&self.name);
    }
}

impl Hooks {
    /// Refuses what nobody has signed, where the settings ask for a signature.
    pub fn check_unsigned(&self) -> Result<(), StoreError> {
        if !self.settings.require_signature {
            return Ok(());
        }
        Err(StoreError::Refused(
            "hooks.require_signature is set: put module and models in a bundle (`aerie hook bundle --key FILE`) and add that"
                .to_owned(),
        ))
    }

    /// Checks, compiles and keeps a hook, or its next version; invocations under way end with the old one. Compiling
    /// takes its time: call it on a thread that may block.
    pub async fn add(
        &self,
        engine: &Engine,
        name: &str,
        module: Bytes,
        grants: Grants,
    ) -> Result<Manifest, StoreError> {
        self.check_unsigned()?;
        let _changing = self.change(name)?;
        let (manifest, compiled) = self.prepare(engine, name, &module, grants)?;
        self.install(engine, manifest, module, compiled).await
    }

    /// Adds a bundle: its models, then its hook. What the bundle asks for it gets where a trusted key signed it;
    /// otherwise `granted` must have each capability.
    pub async fn add_bundle(&self, engine: &Engine, file: Bytes, granted: &Grants) -> Result<Manifest, StoreError> {
        let refuse = |reason: String| StoreError::Refused(format!("the bundle is refused: {reason}"));
        let bundle = bundle::Bundle::parse(&file).map_err(|error| refuse(error.to_string()))?;
        let is_trusted = bundle.signer.as_ref().is_some_and(|signer| self.settings.trusted_keys.contains(signer));
        if self.settings.require_signature && !is_trusted {
            return Err(refuse(match &bundle.signer {
                Some(signer) => format!("{signer} signed it, which hooks.trusted_keys does not list"),
                None => "it is not signed; sign it with `aerie hook sign`".to_owned(),
            }));
        }
        if !is_trusted {
            granted.cover(&bundle.grants).map_err(refuse)?;
        }
        let _changing = self.change(&bundle.name)?;
        let (mut manifest, compiled) = self.prepare(engine, &bundle.name, &bundle.module, bundle.grants.clone())?;
        manifest.signer = bundle.signer.clone().filter(|_| is_trusted);
        manifest.models = Some(bundle.pins());
        for model in &bundle.models {
            store::put_model(engine, &model.name, model.bytes.clone()).await?;
            store::put_labels(engine, &model.name, model.labels.clone().unwrap_or_default()).await?;
        }
        self.install(engine, manifest, bundle.module, compiled).await
    }

    /// Checks a hook and compiles it; nothing is kept yet but its code.
    fn prepare(
        &self,
        engine: &Engine,
        name: &str,
        module: &[u8],
        grants: Grants,
    ) -> Result<(Manifest, Compiled), StoreError> {
        store::check_name(name)?;
        grants.check().map_err(StoreError::Refused)?;
        if module.len() as u64 > limits::HOOK_MODULE_BYTES_MAX {
            let most = limits::HOOK_MODULE_BYTES_MAX;
            return Err(StoreError::Refused(format!("the module has {} bytes, the limit is {most}", module.len())));
        }
        let digest = digest(module);
        let compiled = self.compile(engine, &digest, module).map_err(|fault| StoreError::Refused(fault.to_string()))?;
        let manifest = Manifest {
            name: name.to_owned(),
            world: compiled.world(),
            digest,
            module_bytes: module.len() as u64,
            added_ms: engine.world().clock.unix_ms(),
            signer: None,
            models: None,
            grants,
        };
        Ok((manifest, compiled))
    }

    async fn install(
        &self,
        engine: &Engine,
        manifest: Manifest,
        module: Bytes,
        compiled: Compiled,
    ) -> Result<Manifest, StoreError> {
        store::put_hook(engine, &manifest, module).await?;
        if let Some(stamp) = store::hook_stamp(engine, &manifest.name)? {
            let name = manifest.name.clone();
            self.keep(&name, Installed { stamp, manifest: Arc::new(manifest.clone()), compiled });
        }
        Ok(manifest)
    }

    pub async fn remove(&self, engine: &Engine, name: &str) -> Result<(), StoreError> {
        let _changing = self.change(name)?;
        store::remove_hook(engine, name).await?;
        self.installed.lock().expect("no holder of this lock panics").remove(name);
        Ok(())
    }

    fn change(&self, name: &str) -> Result<Changing<'_>, StoreError> {
        if self.changing.lock().expect("no holder of this lock panics").insert(name.to_owned()) {
            return Ok(Changing { hooks: self, name: name.to_owned() });
        }
        Err(StoreError::Refused(format!(
            "hook {name} is being changed by another command; try again when it has ended"
        )))
    }
}
