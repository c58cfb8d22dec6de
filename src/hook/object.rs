//! What a hook can see and change of its object, over the store or over a local file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::model::HOOK_PRINCIPAL;
use super::store::Bytewise;
use crate::crypt::{SealError, SealMode};
use crate::engine::{Engine, EngineError, ExpectedDigests, ObjectVersion, PutObject};
use crate::hash::{Md5, hex_encode};
use crate::limits;
use crate::meta::{Attributes, Bucket, Change, EventName, MetaError, Requester, VersionRef, WriteCondition};

/// Why an object could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ObjectFault {
    /// It was deleted or overwritten since.
    Gone(String),
    /// The store would never take it.
    Refused(String),
    Failed(String),
}

impl From<EngineError> for ObjectFault {
    fn from(error: EngineError) -> ObjectFault {
        use MetaError::{NoSuchBucket, NoSuchKey, NoSuchVersion};
        match error {
            EngineError::Meta(NoSuchBucket | NoSuchKey | NoSuchVersion) | EngineError::DeleteMarker { .. } => {
                ObjectFault::Gone(error.to_string())
            }
            // Without the client's key, or after a shredding, no further attempt would read more.
            EngineError::Seal(SealError::CustomerKeyNeeded | SealError::KeyShredded(_)) => {
                ObjectFault::Refused(error.to_string())
            }
            error => ObjectFault::Failed(error.to_string()),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ObjectInfo {
    pub size: u64,
    pub etag: String,
    pub content_type: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

/// The object of one invocation.
pub(super) trait ObjectSource {
    fn describe(&self) -> Result<ObjectInfo, ObjectFault>;
    /// Up to `length` bytes; fewer only at the end.
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ObjectFault>;
    /// Sets tags beside those that are there.
    fn set_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), ObjectFault>;
    /// Stores a derived object in the same bucket.
    fn put_derived(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), ObjectFault>;
}

/// Metadata of derived objects: the hooks that led to it, the last one's module, and the event.
const BY: &str = "aerie-hook";
const MODULE: &str = "aerie-hook-sha256";
const EVENT: &str = "aerie-event";

/// In whose name, and because of what, a hook changes objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Author {
    /// Of the changes it makes.
    pub principal: String,
    /// Of the hook's module, hex.
    pub digest: String,
    pub event_id: String,
}

impl Author {
    /// The hooks of the principal's chain.
    fn hooks(&self) -> &str {
        self.principal.strip_prefix(HOOK_PRINCIPAL).unwrap_or_default()
    }
}

/// Exactly the version that a change speaks of.
pub(super) struct StoredObject {
    engine: Rc<Engine>,
    bucket_name: String,
    key: String,
    version: VersionRef,
    pub author: Author,
    found: RefCell<Option<(Bucket, ObjectVersion)>>,
}

impl StoredObject {
    pub fn of_change(engine: Rc<Engine>, change: &Change, author: Author) -> StoredObject {
        let version = change.version.map_or(VersionRef::Latest, VersionRef::Numbered);
        StoredObject::new(engine, &change.bucket_name, &change.key, version, author)
    }

    pub fn new(engine: Rc<Engine>, bucket: &str, key: &str, version: VersionRef, author: Author) -> StoredObject {
        StoredObject {
            engine,
            bucket_name: bucket.to_owned(),
            key: key.to_owned(),
            version,
            author,
            found: RefCell::default(),
        }
    }

    fn find(&self) -> Result<(Bucket, ObjectVersion), ObjectFault> {
        if let Some(found) = &*self.found.borrow() {
            return Ok(found.clone());
        }
        let bucket = self.engine.bucket(&self.bucket_name)?;
        let object = self.engine.head_object(&bucket, &self.key, self.version)?;
        *self.found.borrow_mut() = Some((bucket.clone(), object.clone()));
        Ok((bucket, object))
    }

    fn requester(&self) -> Requester {
        Requester { principal: self.author.principal.clone(), ..Requester::default() }
    }

    /// The hooks that led to the object, as the principal of a change. (The change that stored it has the same one; a
    /// replay, or a client that sets tags, has another.)
    pub fn cause(&self) -> Option<String> {
        let (_, object) = self.find().ok()?;
        object.version.attributes.user_metadata.get(BY).map(|hooks| format!("{HOOK_PRINCIPAL}{hooks}"))
    }

    /// The object is sealed with its client's own key, so that no attempt can read it.
    pub fn is_closed(&self) -> bool {
        let facts = self.find().ok().and_then(|(_, object)| object.version.attributes.encryption);
        facts.is_some_and(|facts| facts.mode == SealMode::Customer)
    }

    /// Whether an earlier attempt has stored this derived object already.
    fn is_stored(&self, bucket: &Bucket, key: &str, bytes: &Bytes) -> bool {
        let Ok(there) = self.engine.head_object(bucket, key, VersionRef::Latest) else { return false };
        let event = there.version.attributes.user_metadata.get(EVENT);
        // A sealed object's entity tag may tell nothing of its bytes.
        let same = match there.version.attributes.encryption {
            None => there.version.etag == hex_encode(&Md5::of(bytes)),
            Some(_) => there.version.size == bytes.len() as u64,
        };
        event == Some(&self.author.event_id) && same
    }
}

impl ObjectSource for StoredObject {
    fn describe(&self) -> Result<ObjectInfo, ObjectFault> {
        let (_, object) = self.find()?;
        let version = object.version;
        Ok(ObjectInfo {
            size: version.size,
            etag: version.etag,
            content_type: version.attributes.content_type,
            metadata: version.attributes.user_metadata,
            tags: version.attributes.tags,
        })
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ObjectFault> {
        let (_, object) = self.find()?;
        let start = offset.min(object.version.size);
        let end = start.saturating_add(length).min(object.version.size);
        let mut bytes = Vec::with_capacity((end - start) as usize);
        pollster::block_on(async {
            let mut reader = self.engine.read_object(&object, start..end);
            while let Some(piece) = reader.next().await {
                bytes.extend_from_slice(&piece?);
            }
            Ok::<(), EngineError>(())
        })?;
        Ok(bytes)
    }

    fn set_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), ObjectFault> {
        let (bucket, object) = self.find()?;
        let version = VersionRef::Numbered(object.version.sequence);
        // A client may have set tags while the hook ran: those stay.
        let there = self.engine.head_object(&bucket, &self.key, version)?.version.attributes.tags;
        let mut all = there.clone();
        all.extend(tags.clone());
        if all == there {
            return Ok(());
        }
        if all.len() > limits::OBJECT_TAGS_MAX {
            let most = limits::OBJECT_TAGS_MAX;
            return Err(ObjectFault::Refused(format!("with the hook's tags the object would have more than {most}")));
        }
        pollster::block_on(self.engine.set_tags(&bucket, &self.key, version, all, self.requester()))?;
        Ok(())
    }

    fn put_derived(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), ObjectFault> {
        let bucket = self.engine.bucket(&self.bucket_name)?;
        if self.is_stored(&bucket, key, &bytes) {
            return Ok(());
        }
        let provenance = [
            (BY, self.author.hooks().to_owned()),
            (MODULE, self.author.digest.clone()),
            (EVENT, self.author.event_id.clone()),
        ];
        let put = PutObject {
            bucket,
            key: key.to_owned(),
            attributes: Attributes {
                content_type: Some(content_type.to_owned()),
                user_metadata: provenance.map(|(name, value)| (name.to_owned(), value)).into(),
                ..Attributes::default()
            },
            sealing: None,
            size_hint: Some(bytes.len() as u64),
            expected: ExpectedDigests::default(),
            condition: WriteCondition::default(),
            event: EventName::ObjectCreatedPut,
            requester: self.requester(),
        };
        pollster::block_on(self.engine.put_object(put, &mut Bytewise(Some(bytes))))?;
        Ok(())
    }
}

/// A local file's bytes in an object's place; what the hook changes is only told.
#[derive(Debug, Default)]
pub(super) struct LocalObject {
    pub bytes: Vec<u8>,
    pub info: ObjectInfo,
    pub changes: Rc<RefCell<Vec<String>>>,
}

impl ObjectSource for LocalObject {
    fn describe(&self) -> Result<ObjectInfo, ObjectFault> {
        Ok(self.info.clone())
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ObjectFault> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let end =
            start.saturating_add(length.min(u64::from(limits::HOOK_READ_BYTES_MAX)) as usize).min(self.bytes.len());
        Ok(self.bytes[start..end].to_vec())
    }

    fn set_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), ObjectFault> {
        self.changes.borrow_mut().extend(tags.iter().map(|(name, value)| format!("tag {name}={value}")));
        Ok(())
    }

    fn put_derived(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), ObjectFault> {
        self.changes.borrow_mut().push(format!("derived object {key} ({content_type}, {} bytes)", bytes.len()));
        Ok(())
    }
}
