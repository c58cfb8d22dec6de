//! When access keys were last used: to the hour, so that what a core notes on each request is written once an hour and key.
//!
//! A core asks `Use::covers` of what it took down itself, so that the shared part is touched once an hour and key. Temporary
//! credentials and the operator's pair are not noted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Milliseconds of the unit in which a use is noted.
const UNIT_MS: i64 = 3_600_000;
/// What the properties' names begin with.
pub(super) const PREFIX: &str = "access/use/";

/// One use of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// Beginning of its hour.
    pub used_ms: i64,
    /// `s3`, `iam` or `sts`.
    pub service: String,
}

impl Use {
    pub fn now(service: &str, now_ms: i64) -> Use {
        Use { used_ms: hour_of(now_ms), service: service.to_owned() }
    }

    /// A use of the service now would be no news.
    pub fn covers(&self, service: &str, now_ms: i64) -> bool {
        self.used_ms == hour_of(now_ms) && self.service == service
    }
}

fn hour_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(UNIT_MS) * UNIT_MS
}

/// The last use of each key.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<String, Use>>);

impl Uses {
    pub fn new(known: HashMap<String, Use>) -> Uses {
        Uses(Mutex::new(known))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a use; whether it is another than the last one.
    pub fn note(&self, access_key: &str, latest: &Use) -> bool {
        let mut known = self.known();
        if known.get(access_key) == Some(latest) {
            return false;
        }
        known.insert(access_key.to_owned(), latest.clone());
        true
    }

    pub fn last(&self, access_key: &str) -> Option<Use> {
        self.known().get(access_key).cloned()
    }

    pub fn forget(&self, access_key: &str) {
        self.known().remove(access_key);
    }
}

pub(super) fn property(access_key: &str) -> String {
    format!("{PREFIX}{access_key}")
}
