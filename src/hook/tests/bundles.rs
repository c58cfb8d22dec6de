//! Signed bundles against an appliance that asks for signatures, and what a bundle's hook may load.

use std::sync::Arc;

use bytes::Bytes;
use pollster::block_on;

use super::guest::{self, ANSWER, WORD};
use super::shelf::{Shelf, grants};
use crate::hook::bundle::{Bundle, BundledModel, SigningKey};
use crate::hook::{Grants, HookFault, HookSettings, Hooks, Manifest, store};
use crate::inference::{InferenceSettings, onnx};

fn key(seed: u8) -> SigningKey {
    SigningKey::parse(&SigningKey::text_of(&[seed; 32])).unwrap()
}

/// A hook `h` that loads the model `key`, and sets a tag where that is asked for.
fn bundle(tags: bool) -> Bundle {
    let load = format!(
        "(call $load (i32.const {WORD}) (i32.const 3) (i32.const {ANSWER}))
         (if (i32.load8_u (i32.const {ANSWER})) (then unreachable)) i32.const 0"
    );
    let model = BundledModel { name: "key".to_owned(), bytes: onnx::sigmoid().into(), labels: None };
    Bundle {
        name: "h".to_owned(),
        grants: Grants { tags, ..Grants::default() },
        module: guest::hook(1, "", &load).into(),
        models: vec![model],
        signer: None,
    }
}

fn hooks(trusted: &[&SigningKey], require_signature: bool) -> Arc<Hooks> {
    let settings = HookSettings {
        instances: 2,
        trusted_keys: trusted.iter().map(|key| key.public()).collect(),
        require_signature,
        ..HookSettings::default()
    };
    Arc::new(Hooks::new(settings, InferenceSettings::default()).unwrap())
}

fn add(shelf: &Shelf, file: Vec<u8>, granted: &Grants) -> Result<Manifest, String> {
    block_on(shelf.hooks.add_bundle(&shelf.engine, Bytes::from(file), granted)).map_err(|error| error.to_string())
}

#[test]
fn where_a_signature_is_asked_for_nothing_else_is_installed_or_run() {
    let mut shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    shelf.add("h", &guest::publishing(1), Grants::default()).unwrap();
    shelf.hooks = hooks(&[&key(1)], true);
    let fault = shelf.run("h", &object).unwrap_err();
    assert!(!fault.retry() && fault.to_string().contains("hooks.trusted_keys"), "installed before: {fault}");
    let refused = shelf.add("g", &guest::publishing(1), Grants::default()).unwrap_err().to_string();
    assert!(refused.contains("aerie hook bundle"), "{refused}");
    let mut tampered = bundle(true).seal(Some(&key(1)));
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    for (file, part) in [
        (bundle(true).seal(None), "not signed"),
        (bundle(true).seal(Some(&key(2))), "hooks.trusted_keys does not list"),
        (tampered, "the model key was changed"),
        (b"PK".to_vec(), "no bundle"),
    ] {
        let error = add(&shelf, file, &grants(true, None)).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    assert!(store::models(&shelf.engine).unwrap().is_empty(), "what is refused leaves nothing");
    let manifest = add(&shelf, bundle(true).seal(Some(&key(1))), &Grants::default()).unwrap();
    assert_eq!((manifest.signer, manifest.grants.tags), (Some(key(1).public()), true));
    shelf.run("h", &object).unwrap();
    // After a restart as well; and no longer once its key is not trusted.
    shelf.hooks = hooks(&[&key(1), &key(2)], true);
    shelf.run("h", &object).unwrap();
    shelf.hooks = hooks(&[&key(2)], true);
    assert!(matches!(shelf.run("h", &object), Err(HookFault::Module(_))));
}

#[test]
fn an_unsigned_bundle_gets_what_the_operator_grants() {
    let mut shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    for hooks in [hooks(&[], false), hooks(&[&key(2)], false)] {
        shelf.hooks = hooks;
        for file in [bundle(true).seal(None), bundle(true).seal(Some(&key(1)))] {
            let error = add(&shelf, file.clone(), &Grants::default()).unwrap_err();
            assert!(error.contains("--allow-tags"), "{error}");
            let manifest = add(&shelf, file, &grants(true, None)).unwrap();
            assert_eq!(manifest.signer, None, "nobody vouches for that key");
        }
        shelf.run("h", &object).unwrap();
    }
}

#[test]
fn a_bundles_hook_runs_with_the_bundles_models_only() {
    let shelf = Shelf::new();
    let object = shelf.put("x", b"object");
    add(&shelf, bundle(false).seal(None), &Grants::default()).unwrap();
    let outcome = shelf.run("h", &object).unwrap();
    let model = crate::hook::digest(&onnx::sigmoid());
    assert_eq!(outcome.provenance.models["key"], model);
    let properties = outcome.provenance.properties("h");
    assert_eq!(properties[0], ("aerie-hook".to_owned(), "h".to_owned()));
    assert_eq!(properties[2], ("aerie-model".to_owned(), format!("key={model}")));
    // Somebody puts another model under the name.
    let shape = [None, Some(4)];
    let other = onnx::model(&[("x", 1, &shape)], &[("Relu", &["x"], "y")], &[("y", 1, &shape)]);
    block_on(store::put_model(&shelf.engine, "key", other.into())).unwrap();
    assert!(matches!(shelf.run("h", &object), Err(HookFault::Trap(_))), "it was denied");
    add(&shelf, bundle(false).seal(None), &Grants::default()).unwrap();
    shelf.run("h", &object).unwrap();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (trusted, require_signature) in [(vec![], true), (vec!["ed25519:AAAA".to_owned()], false)] {
        let settings = HookSettings { trusted_keys: trusted, require_signature, ..HookSettings::default() };
        let fault = Hooks::new(settings, InferenceSettings::default()).err().unwrap();
        assert!(fault.to_string().contains("hooks.trusted_keys"), "{fault}");
    }
}
