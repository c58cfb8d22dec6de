//! Settings: what an operator may choose, as data. Profiles and configuration files have one and the same shape.
//!
//! A profile is a board's settings file (firmware-profiles/); a configuration file overrides single keys of it; the
//! command line overrides both. Unknown keys are refused, each key carries its unit. The components that are built from
//! settings live elsewhere; nothing but `server` and `cli` reads this.

mod load;
mod plan;
mod profile;

pub use load::{ConfigError, load};
pub use plan::{Plan, plan};
pub use profile::{PROFILES, profile_text};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::acl::ObjectOwnership;
use crate::hook::HookSettings;
use crate::inference::InferenceSettings;
use crate::mqtt::{BrokerSettings, PublisherSettings};
use crate::outbox::OutboxSettings;
use crate::tls::TlsSettings;
use crate::upkeep::{LifecycleSettings, UpkeepSettings};

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub server: ServerSettings,
    pub credentials: CredentialSettings,
    pub pool: PoolSettings,
    pub memory: MemorySettings,
    pub hooks: HookSettings,
    pub inference: InferenceSettings,
    pub outbox: OutboxSettings,
    pub mqtt: PublisherSettings,
    pub broker: BrokerSettings,
    pub upkeep: UpkeepSettings,
    pub lifecycle: LifecycleSettings,
    pub audit: AuditSettings,
    pub encryption: EncryptionSettings,
}

/// The S3 side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// `HOST:PORT`; port 0 takes a free one, which the ready line names.
    pub address: String,
    pub region: String,
    /// Base domain of virtual-host style requests (`bucket.DOMAIN`); path style works always.
    pub domain: Option<String>,
    /// Pinned threads that serve S3; 0 takes one for each processor.
    pub cores: usize,
    /// Open connections of the whole process; one more is closed at once.
    pub connections_max: usize,
    /// Object ownership of new buckets that name none. `BucketOwnerEnforced` is AWS's since April 2023; with
    /// `ObjectWriter`, its older one, access control lists count.
    pub object_ownership: ObjectOwnership,
    pub clients: ClientSettings,
    /// TLS on the address; without, requests come and go in clear.
    pub tls: Option<TlsSettings>,
}

/// What one client address (of IPv6, its /64) may take; 0, as it is made, bounds nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSettings {
    /// Open connections; one more is closed at once.
    pub connections_max: usize,
    /// Requests in a second; who asks for more is answered 503 SlowDown with Retry-After.
    pub requests_per_second: u64,
    /// Bytes in a second, in both directions together, paid before the next request.
    pub bytes_per_second: u64,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            address: "127.0.0.1:9000".to_owned(),
            region: "us-east-1".to_owned(),
            domain: None,
            cores: 0,
            connections_max: 4096,
            tls: None,
            object_ownership: ObjectOwnership::default(),
            clients: ClientSettings::default(),
        }
    }
}

/// The root key pair. Without it, and without the environment's, the first start makes a random one.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialSettings {
    pub root_access_key: Option<String>,
    pub root_secret_key: Option<String>,
}

impl std::fmt::Debug for CredentialSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialSettings").field("root_access_key", &self.root_access_key).finish_non_exhaustive()
    }
}

/// Encryption at rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncryptionSettings {
    /// How objects are sealed where neither the request nor the bucket says.
    pub default: StoreDefault,
    /// With `default = "aws:kms"`: id, alias or ARN of the key; unset: the alias aws/s3.
    pub kms_key: Option<String>,
    /// File with the key that seals the key ring (64 hexadecimal digits, or base64), kept off the drives. Unset, and
    /// without AERIE_ENCRYPTION_ROOT_KEY or a systemd credential: the ring is sealed by a key that lies beside it.
    pub root_key_file: Option<PathBuf>,
    /// Clients' own keys (SSE-C) are also taken over plain HTTP, where whoever listens learns them.
    pub customer_keys_in_clear: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreDefault {
    #[default]
    #[serde(rename = "none")]
    None,
    #[serde(rename = "AES256")]
    S3,
    #[serde(rename = "aws:kms")]
    Kms,
}

/// What the audit log takes down beside administration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// Every request, durable before it is answered: each costs a commit of the metadata.
    pub requests: bool,
}

/// The drives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSettings {
    /// Used when the command line names none.
    pub drives: Vec<PathBuf>,
    /// Parity shards of a new pool; how many drives may go. Unset: 0 for one drive, 1 for two to five, 2 for more.
    pub parity: Option<u8>,
    /// Least shards of a stripe that must be durable before a write counts; unset: the data shards.
    pub write_shards_min: Option<u8>,
    /// Empty folders that may replace drives that were mounted. A word for one start, so that no file can say it.
    #[serde(skip)]
    pub replace: Vec<String>,
}

/// Memory of the whole process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySettings {
    /// Bytes that uploads, hooks, models, metadata caches and the outbox may take together.
    pub budget_bytes: u64,
}

impl Default for MemorySettings {
    fn default() -> MemorySettings {
        MemorySettings { budget_bytes: 1 << 30 }
    }
}
