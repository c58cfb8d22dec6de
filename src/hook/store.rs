//! Hooks and models are objects of the store itself, in a system bucket that S3 clients do not see.
//!
//! `hooks/NAME/DIGEST.wasm`, `hooks/NAME/manifest.json`, `models/NAME.onnx`, `models/NAME.labels`: erasure-coded,
//! verified and healed like all else. A manifest names its module by digest. An upgrade stores the new module, then the
//! manifest (from here on the new hook runs), then removes the old module: wherever it stops, a whole hook is installed.

use bytes::Bytes;

use super::manifest::Manifest;
use super::model::state_property;
use crate::engine::{
    BodyFuture, BodySource, DeleteObject, Engine, EngineError, ExpectedDigests, ObjectVersion, PutObject,
};
use crate::inference::{ModelFile, ModelSource};
use crate::limits;
use crate::meta::{
    Attributes, Bucket, DeleteCause, EventName, ListQuery, Listed, MetaError, Requester, VersionRef, WriteCondition,
};

/// Name of the system bucket; no client can make or name it.
pub const SYSTEM_BUCKET: &str = ".aerie";

/// Why hooks or models could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{0:?} is no name: use 1 to 64 lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit"
    )]
    Name(String),
    #[error("no {what} is named {name}; see `aerie {what} list`")]
    Absent { what: &'static str, name: String },
    #[error("{0}")]
    Refused(String),
    #[error("{what} {name} is damaged: {reason}; add it again")]
    Damaged { what: &'static str, name: String, reason: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Checks the name of a hook or model.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = name.len() <= limits::HOOK_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'));
    if good { Ok(()) } else { Err(StoreError::Name(name.to_owned())) }
}

/// Bytes at hand as an upload's body.
pub(super) struct Bytewise(pub Option<Bytes>);

impl BodySource for Bytewise {
    fn next(&mut self) -> BodyFuture<'_> {
        let bytes = self.0.take().filter(|bytes| !bytes.is_empty());
        Box::pin(std::future::ready(Ok(bytes)))
    }
}

async fn bucket(engine: &Engine) -> Result<Bucket, EngineError> {
    match engine.bucket(SYSTEM_BUCKET) {
        Err(EngineError::Meta(MetaError::NoSuchBucket)) => {}
        found => return found,
    }
    let now_ms = engine.world().clock.unix_ms();
    match engine.meta().create_bucket(SYSTEM_BUCKET.to_owned(), String::new(), false, now_ms).await {
        // Another thread was faster.
        Ok(()) | Err(MetaError::BucketExists) => engine.bucket(SYSTEM_BUCKET),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn put(engine: &Engine, key: String, bytes: Bytes) -> Result<(), EngineError> {
    let put = PutObject {
        bucket: bucket(engine).await?,
        key,
        attributes: Attributes::default(),
        sealing: None,
        size_hint: Some(bytes.len() as u64),
        expected: ExpectedDigests::default(),
        condition: WriteCondition::default(),
        event: EventName::ObjectCreatedPut,
        requester: Requester::default(),
    };
    engine.put_object(put, &mut Bytewise(Some(bytes))).await?;
    Ok(())
}

fn find(engine: &Engine, key: &str) -> Result<Option<ObjectVersion>, EngineError> {
    let bucket = match engine.bucket(SYSTEM_BUCKET) {
        Err(EngineError::Meta(MetaError::NoSuchBucket)) => return Ok(None),
        found => found?,
    };
    match engine.head_object(&bucket, key, VersionRef::Latest) {
        Ok(object) => Ok(Some(object)),
        Err(EngineError::Meta(MetaError::NoSuchKey | MetaError::NoSuchVersion)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read(engine: &Engine, object: &ObjectVersion) -> Result<Vec<u8>, EngineError> {
    let mut reader = engine.read_object(object, 0..object.version.size);
    let mut bytes = Vec::with_capacity(object.version.size as usize);
    while let Some(piece) = reader.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

async fn get(engine: &Engine, key: &str) -> Result<Option<Vec<u8>>, EngineError> {
    match find(engine, key)? {
        Some(object) => read(engine, &object).await.map(Some),
        None => Ok(None),
    }
}

async fn delete(engine: &Engine, key: String) -> Result<(), EngineError> {
    let bucket = bucket(engine).await?;
    let delete = DeleteObject {
        key,
        version: VersionRef::Latest,
        condition: WriteCondition::default(),
        requester: Requester::default(),
        cause: DeleteCause::PLAIN,
    };
    engine.delete_object(&bucket, delete).await?;
    Ok(())
}

/// Keys below a prefix with their sizes.
fn list(engine: &Engine, prefix: &str) -> Result<Vec<(String, u64)>, EngineError> {
    let bucket = match engine.bucket(SYSTEM_BUCKET) {
        Err(EngineError::Meta(MetaError::NoSuchBucket)) => return Ok(Vec::new()),
        found => found?,
    };
    let mut query = ListQuery {
        bucket: bucket.id,
        prefix: prefix.to_owned(),
        delimiter: None,
        after: None,
        limit: limits::LIST_KEYS_MAX,
    };
    let mut found = Vec::new();
    loop {
        let page = engine.list(&query)?;
        for entry in page.entries {
            if let Listed::Object(version) = entry {
                found.push((version.key, version.size));
            }
        }
        if !page.truncated {
            return Ok(found);
        }
        query.after = found.last().map(|(key, _)| key.clone());
    }
}

/// All that a hook has.
fn hook_prefix(name: &str) -> String {
    format!("hooks/{name}/")
}

fn module_key(name: &str, digest: &str) -> String {
    format!("hooks/{name}/{digest}.wasm")
}

fn manifest_key(name: &str) -> String {
    format!("hooks/{name}/manifest.json")
}

/// Keeps a hook whose module was checked.
pub(super) async fn put_hook(engine: &Engine, manifest: &Manifest, module: Bytes) -> Result<(), StoreError> {
    let name = &manifest.name;
    let json = serde_json::to_vec_pretty(manifest).map_err(|error| StoreError::Refused(error.to_string()))?;
    put_module(engine, name, &manifest.digest, module).await?;
    put(engine, manifest_key(name), json.into()).await?;
    // The hook is installed, whatever becomes of what is left to do.
    if let Err(error) = remove_modules(engine, name, Some(&manifest.digest)).await {
        tracing::warn!(name, %error, "an old module stays in the store until the hook is added again or removed");
    }
    Ok(())
}

/// The first step of an upgrade, which changes nothing yet.
pub(super) async fn put_module(engine: &Engine, name: &str, digest: &str, module: Bytes) -> Result<(), EngineError> {
    put(engine, module_key(name, digest), module).await
}

/// Removes a hook's modules, but one.
async fn remove_modules(engine: &Engine, name: &str, but: Option<&str>) -> Result<(), EngineError> {
    let kept = but.map(|digest| module_key(name, digest));
    for (key, _) in list(engine, &hook_prefix(name))? {
        if key.ends_with(".wasm") && kept.as_ref() != Some(&key) {
            delete(engine, key).await?;
        }
    }
    Ok(())
}

pub(super) async fn hook(engine: &Engine, name: &str) -> Result<Option<Manifest>, StoreError> {
    let Some(json) = get(engine, &manifest_key(name)).await? else { return Ok(None) };
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: "hook",
        name: name.to_owned(),
        reason: error.to_string(),
    };
    serde_json::from_slice(&json).map(Some).map_err(damaged)
}

/// The version of a hook's manifest: changes with each `hook add`.
pub(super) fn hook_stamp(engine: &Engine, name: &str) -> Result<Option<u64>, EngineError> {
    Ok(find(engine, &manifest_key(name))?.map(|object| object.version.sequence.0))
}

pub(super) async fn module(engine: &Engine, name: &str, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(get(engine, &module_key(name, digest)).await?)
}

pub(super) async fn hooks(engine: &Engine) -> Result<Vec<Manifest>, StoreError> {
    let mut found = Vec::new();
    for (key, _) in list(engine, "hooks/")? {
        if let Some(name) = key.strip_prefix("hooks/").and_then(|rest| rest.strip_suffix("/manifest.json")) {
            found.extend(hook(engine, name).await?);
        }
    }
    Ok(found)
}

pub(super) async fn remove_hook(engine: &Engine, name: &str) -> Result<(), StoreError> {
    check_name(name)?;
    if hook_stamp(engine, name)?.is_none() {
        return Err(StoreError::Absent { what: "hook", name: name.to_owned() });
    }
    delete(engine, manifest_key(name)).await?;
    remove_modules(engine, name, None).await?;
    // A later hook of this name begins with nothing.
    let state = engine.reader().property_names(&state_property(name, ""), limits::HOOK_STATE_KEYS_MAX * 2);
    for property in state.map_err(EngineError::from)? {
        engine.meta().set_property(property, None).await.map_err(EngineError::from)?;
    }
    Ok(())
}

fn model_key(name: &str) -> String {
    format!("models/{name}.onnx")
}

fn labels_key(name: &str) -> String {
    format!("models/{name}.labels")
}

/// Keeps a model; one that cannot be loaded is refused.
pub async fn put_model(engine: &Engine, name: &str, bytes: Bytes) -> Result<(), StoreError> {
    check_name(name)?;
    let file = ModelFile { bytes: bytes.to_vec(), labels: Vec::new() };
    crate::inference::LoadedModel::parse(name, file).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(put(engine, model_key(name), bytes).await?)
}

/// Keeps a model's labels, one a line.
pub async fn put_labels(engine: &Engine, name: &str, text: Bytes) -> Result<(), StoreError> {
    check_name(name)?;
    if text.len() as u64 > limits::MODEL_LABELS_BYTES_MAX || std::str::from_utf8(&text).is_err() {
        return Err(StoreError::Refused(format!(
            "labels are UTF-8 text of at most {} bytes, one label a line",
            limits::MODEL_LABELS_BYTES_MAX
        )));
    }
    Ok(put(engine, labels_key(name), text).await?)
}

/// Names and sizes in bytes of the models.
pub fn models(engine: &Engine) -> Result<Vec<(String, u64)>, StoreError> {
    let named =
        |(key, size): (String, u64)| Some((key.strip_prefix("models/")?.strip_suffix(".onnx")?.to_owned(), size));
    Ok(list(engine, "models/")?.into_iter().filter_map(named).collect())
}

pub async fn remove_model(engine: &Engine, name: &str) -> Result<(), StoreError> {
    check_name(name)?;
    if find(engine, &model_key(name))?.is_none() {
        return Err(StoreError::Absent { what: "model", name: name.to_owned() });
    }
    delete(engine, model_key(name)).await?;
    delete(engine, labels_key(name)).await?;
    Ok(())
}

/// Models as they are stored.
pub(super) struct StoredModels(pub std::rc::Rc<Engine>);

impl ModelSource for StoredModels {
    fn stamp(&self, name: &str) -> Result<Option<String>, String> {
        let sequence = |key: String| {
            let found = find(&self.0, &key).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.map(|object| object.version.sequence.0))
        };
        let Some(model) = sequence(model_key(name))? else { return Ok(None) };
        Ok(Some(format!("{model}-{}", sequence(labels_key(name))?.unwrap_or(0))))
    }

    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<ModelFile>, String> {
        let Some(object) = find(&self.0, &model_key(name)).map_err(|error| error.to_string())? else { return Ok(None) };
        if object.version.size > bytes_max {
            return Err(format!("it has {} bytes, the limit is {bytes_max}", object.version.size));
        }
        let bytes = pollster::block_on(read(&self.0, &object)).map_err(|error| error.to_string())?;
        let labels = pollster::block_on(get(&self.0, &labels_key(name))).map_err(|error| error.to_string())?;
        Ok(Some(ModelFile { bytes, labels: labels_of(&labels.unwrap_or_default()) }))
    }
}

/// Labels of a text, one a line.
pub(super) fn labels_of(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
}
