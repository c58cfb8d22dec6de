//! Installed hooks as they run: found by their manifests, compiled once and kept, with their code cached for the next start.
//!
//! A hook that was upgraded is found anew with its manifest's next version. One that nobody trusted has signed is not found
//! where the settings ask for a signature. Shared by the threads that run hooks.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::cache::CodeCache;
use super::runtime::Compiled;
use super::{HookFault, HookWorld, Hooks, Manifest, digest, object_fault, store};
use crate::engine::Engine;
use crate::limits;

/// An installed hook, compiled.
#[derive(Clone)]
pub(super) struct Installed {
    /// Version of its manifest.
    pub stamp: u64,
    pub manifest: Arc<Manifest>,
    pub compiled: Compiled,
}

/// Looks at a hook's manifest before it counts as damaged.
const FIND_ATTEMPTS: usize = 3;

impl Hooks {
    pub fn exists(&self, engine: &Engine, name: &str) -> bool {
        matches!(store::hook_stamp(engine, name), Ok(Some(_)))
    }

    /// Whether a rule may name it: a transform is for GETs.
    pub fn takes_events(&self, engine: &Engine, name: &str) -> bool {
        // A manifest lies in its metadata row, as all small objects do: nothing is waited for.
        let manifest = pollster::block_on(store::hook(engine, name));
        matches!(manifest, Ok(Some(manifest)) if manifest.world == HookWorld::Hook)
    }

    pub(super) fn find(&self, engine: &Engine, name: &str) -> Result<Installed, HookFault> {
        // An upgrade in between takes the old module away: then there is another manifest to look at.
        for _ in 0..FIND_ATTEMPTS {
            let stamp = store::hook_stamp(engine, name).map_err(object_fault)?;
            let Some(stamp) = stamp else { return Err(HookFault::NotInstalled(name.to_owned())) };
            let kept = self.installed.lock().expect("no holder of this lock panics").get(name).cloned();
            if let Some(installed) = kept.filter(|installed| installed.stamp == stamp) {
                self.check_signer(&installed.manifest)?;
                return Ok(installed);
            }
            let manifest = pollster::block_on(store::hook(engine, name)).map_err(object_fault)?;
            let Some(manifest) = manifest else { continue };
            self.check_signer(&manifest)?;
            if let Some(compiled) = self.restore(engine, &manifest)? {
                let installed = Installed { stamp, manifest: Arc::new(manifest), compiled };
                self.keep(name, installed.clone());
                return Ok(installed);
            }
        }
        Err(HookFault::Module(format!(
            "the module that the manifest names is gone; run `aerie hook add {name} FILE.wasm`"
        )))
    }

    /// A hook that was installed before a signature was asked for, or whose key is no longer trusted, does not run.
    fn check_signer(&self, manifest: &Manifest) -> Result<(), HookFault> {
        let is_trusted = manifest.signer.as_ref().is_some_and(|signer| self.settings.trusted_keys.contains(signer));
        if is_trusted || !self.settings.require_signature {
            return Ok(());
        }
        Err(HookFault::Module(
            "hooks.require_signature is set and no key of hooks.trusted_keys signed it; add its signed bundle"
                .to_owned(),
        ))
    }

    /// The compiled hook of a manifest, from the cache or from its module; `None` where the store has no such module.
    fn restore(&self, engine: &Engine, manifest: &Manifest) -> Result<Option<Compiled>, HookFault> {
        let cached = self.cache().load(engine, self.runtime.engine(), &manifest.digest);
        if let Some(component) = cached {
            return self.runtime.prepare(&component).map(Some);
        }
        let module =
            pollster::block_on(store::module(engine, &manifest.name, &manifest.digest)).map_err(object_fault)?;
        let Some(module) = module else { return Ok(None) };
        if digest(&module) != manifest.digest {
            return Err(HookFault::Module("the module is not the one its manifest names; add it again".to_owned()));
        }
        self.compile(engine, &manifest.digest, &module).map(Some)
    }

    /// Compiles a module and keeps its code for the next start.
    pub(super) fn compile(&self, engine: &Engine, digest: &str, module: &[u8]) -> Result<Compiled, HookFault> {
        let _alone = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have compiled it meanwhile.
        let cached = self.cache().load(engine, self.runtime.engine(), digest);
        if let Some(component) = cached {
            return self.runtime.prepare(&component);
        }
        let compiled = self.runtime.compile(module)?;
        let code = compiled.code()?;
        self.cache().keep(engine, digest, &code);
        Ok(compiled)
    }

    /// A panic of the compiler leaves nothing half done in it.
    fn cache(&self) -> MutexGuard<'_, CodeCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, name: &str, installed: Installed) {
        let mut kept = self.installed.lock().expect("no holder of this lock panics");
        if kept.len() >= limits::HOOKS_COMPILED_MAX && !kept.contains_key(name) {
            // Compiled again when they are needed again.
            kept.clear();
        }
        kept.insert(name.to_owned(), installed);
    }
}
