//! What a hook can see and change of its object, over the store or over a local file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::model::{BY, EVENT, HOOK_PRINCIPAL, MODEL, MODULE, Provenance};
use super::reader::ByteStream;
use super::store::Bytewise;
use crate::crypt::{SealError, SealMode};
use crate::engine::{Engine, EngineError, ExpectedDigests, ObjectReader, ObjectVersion, PutObject};
use crate::hash::{Md5, hex_encode};
use crate::limits;
use crate::meta::{Attributes, Bucket, BucketId, Change, EventName, MetaError, Requester, VersionRef, WriteCondition};

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
    /// Bytes.
    fn size(&self) -> Result<u64, ObjectFault>;
    /// The bytes of a range within the object, front to back.
    fn open(&self, range: Range<u64>) -> Result<Box<dyn ByteStream>, ObjectFault>;
    /// Up to `length` bytes; fewer only at the end.
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ObjectFault>;
    /// Sets tags beside those that are there, and one that says where they are from.
    fn set_tags(&self, tags: &BTreeMap<String, String>, from: &Provenance) -> Result<(), ObjectFault>;
    /// Stores a derived object in the same bucket, whose metadata says where it is from.
    fn put_derived(&self, key: &str, content_type: &str, bytes: Bytes, from: &Provenance) -> Result<(), ObjectFault>;
}

/// S3's bound on the value of a tag.
const TAG_VALUE_BYTES_MAX: usize = 256;
/// Of the digests of models in a derived object's metadata; S3 allows 2 KiB of metadata in all.
const METADATA_MODELS_BYTES_MAX: usize = 1024;

/// In whose name, and because of what, a hook changes objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Author {
    /// Of the changes it makes.
    pub principal: String,
    pub event_id: String,
}

impl Author {
    /// The hooks of the principal's chain.
    fn hooks(&self) -> &str {
        self.principal.strip_prefix(HOOK_PRINCIPAL).unwrap_or_default()
    }

    /// The hook itself.
    fn hook(&self) -> &str {
        self.hooks().rsplit(',').next().unwrap_or_default()
    }
}

/// Exactly the version that a change speaks of.
pub(super) struct StoredObject {
    engine: Rc<Engine>,
    bucket_name: String,
    key: String,
    version: VersionRef,
    /// The bucket of the change; another one may have its name by now.
    bucket: Option<BucketId>,
    pub author: Author,
    found: RefCell<Option<ObjectVersion>>,
}

impl StoredObject {
    pub fn of_change(engine: Rc<Engine>, change: &Change, author: Author) -> StoredObject {
        let version = change.version.map_or(VersionRef::Latest, VersionRef::Numbered);
        let object = StoredObject::new(engine, &change.bucket_name, &change.key, version, author);
        StoredObject { bucket: Some(change.bucket), ..object }
    }

    pub fn new(engine: Rc<Engine>, bucket: &str, key: &str, version: VersionRef, author: Author) -> StoredObject {
        StoredObject {
            engine,
            bucket_name: bucket.to_owned(),
            key: key.to_owned(),
            version,
            bucket: None,
            author,
            found: RefCell::default(),
        }
    }

    /// The bucket as it is now, where it is still the change's.
    fn bucket(&self) -> Result<Bucket, ObjectFault> {
        let bucket = self.engine.bucket(&self.bucket_name)?;
        if self.bucket.is_some_and(|id| id != bucket.id) {
            return Err(EngineError::Meta(MetaError::NoSuchBucket).into());
        }
        Ok(bucket)
    }

    fn find(&self) -> Result<ObjectVersion, ObjectFault> {
        if let Some(found) = &*self.found.borrow() {
            return Ok(found.clone());
        }
        let object = match (self.bucket(), self.bucket, self.version) {
            (Ok(bucket), _, _) => self.engine.head_object(&bucket, &self.key, self.version)?,
            // The bucket may go before the hook has run: its versions are held all the same.
            (Err(ObjectFault::Gone(_)), Some(id), VersionRef::Numbered(version)) => {
                self.engine.held_object(id, &self.key, version)?
            }
            (Err(fault), _, _) => return Err(fault),
        };
        *self.found.borrow_mut() = Some(object.clone());
        Ok(object)
    }

    fn requester(&self) -> Requester {
        Requester { principal: self.author.principal.clone(), ..Requester::default() }
    }

    /// The hooks that led to the object, as the principal of a change. (The change that stored it has the same one; a
    /// replay, or a client that sets tags, has another.)
    pub fn cause(&self) -> Option<String> {
        let object = self.find().ok()?;
        object.version.attributes.user_metadata.get(BY).map(|hooks| format!("{HOOK_PRINCIPAL}{hooks}"))
    }

    /// The object is sealed with its client's own key, so that no attempt can read it.
    pub fn is_closed(&self) -> bool {
        let facts = self.find().ok().and_then(|object| object.version.attributes.encryption);
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

/// An object of the store on its way from the drives.
impl ByteStream for ObjectReader {
    fn next(&mut self) -> Result<Option<Bytes>, ObjectFault> {
        Ok(pollster::block_on(ObjectReader::next(self)).transpose()?)
    }
}

impl ObjectSource for StoredObject {
    fn describe(&self) -> Result<ObjectInfo, ObjectFault> {
        let object = self.find()?;
        let version = object.version;
        Ok(ObjectInfo {
            size: version.size,
            etag: version.etag,
            content_type: version.attributes.content_type,
            metadata: version.attributes.user_metadata,
            tags: version.attributes.tags,
        })
    }

    fn size(&self) -> Result<u64, ObjectFault> {
        Ok(self.find()?.version.size)
    }

    fn open(&self, range: Range<u64>) -> Result<Box<dyn ByteStream>, ObjectFault> {
        Ok(Box::new(self.engine.read_object(&self.find()?, range)))
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ObjectFault> {
        let object = self.find()?;
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

    fn set_tags(&self, tags: &BTreeMap<String, String>, from: &Provenance) -> Result<(), ObjectFault> {
        let (bucket, object) = (self.bucket()?, self.find()?);
        let version = VersionRef::Numbered(object.version.sequence);
        // A client may have set tags while the hook ran: those stay.
        let there = self.engine.head_object(&bucket, &self.key, version)?.version.attributes.tags;
        let mut all = there.clone();
        all.extend(tags.clone());
        let models = from.models_text(TAG_VALUE_BYTES_MAX - from.module.len() - 1);
        all.insert(format!("{BY}.{}", self.author.hook()), format!("{} {models}", from.module).trim_end().to_owned());
        if all == there {
            return Ok(());
        }
        if all.len() > limits::OBJECT_TAGS_MAX {
            let most = limits::OBJECT_TAGS_MAX;
            return Err(ObjectFault::Refused(format!(
                "with the hook's tags, and the one that says where they are from, the object would have more than {most}"
            )));
        }
        pollster::block_on(self.engine.set_tags(&bucket, &self.key, version, all, self.requester()))?;
        Ok(())
    }

    fn put_derived(&self, key: &str, content_type: &str, bytes: Bytes, from: &Provenance) -> Result<(), ObjectFault> {
        let bucket = self.bucket()?;
        if self.is_stored(&bucket, key, &bytes) {
            return Ok(());
        }
        let mut provenance = vec![
            (BY, self.author.hooks().to_owned()),
            (MODULE, from.module.clone()),
            (EVENT, self.author.event_id.clone()),
        ];
        if !from.models.is_empty() {
            provenance.push((MODEL, from.models_text(METADATA_MODELS_BYTES_MAX)));
        }
        let put = PutObject {
            bucket,
            key: key.to_owned(),
            attributes: Attributes {
                content_type: Some(content_type.to_owned()),
                user_metadata: provenance.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
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
    pub bytes: Bytes,
    pub info: ObjectInfo,
    pub changes: Rc<RefCell<Vec<String>>>,
}

/// The rest of a local file, which comes in pieces as large as a stripe's.
struct LocalStream(Bytes);

impl ByteStream for LocalStream {
    fn next(&mut self) -> Result<Option<Bytes>, ObjectFault> {
        let piece = self.0.split_to(limits::STRIPE_BYTES.min(self.0.len()));
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl ObjectSource for LocalObject {
    fn describe(&self) -> Result<ObjectInfo, ObjectFault> {
        Ok(self.info.clone())
    }

    fn size(&self) -> Result<u64, ObjectFault> {
        Ok(self.bytes.len() as u64)
    }

    fn open(&self, range: Range<u64>) -> Result<Box<dyn ByteStream>, ObjectFault> {
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(Box::new(LocalStream(self.bytes.slice(index(range.start)..index(range.end)))))
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ObjectFault> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let end =
            start.saturating_add(length.min(u64::from(limits::HOOK_READ_BYTES_MAX)) as usize).min(self.bytes.len());
        Ok(self.bytes[start..end].to_vec())
    }

    fn set_tags(&self, tags: &BTreeMap<String, String>, _from: &Provenance) -> Result<(), ObjectFault> {
        self.changes.borrow_mut().extend(tags.iter().map(|(name, value)| format!("tag {name}={value}")));
        Ok(())
    }

    fn put_derived(&self, key: &str, content_type: &str, bytes: Bytes, _from: &Provenance) -> Result<(), ObjectFault> {
        self.changes.borrow_mut().push(format!("derived object {key} ({content_type}, {} bytes)", bytes.len()));
        Ok(())
    }
}
