//! Who an access key belongs to, for all cores.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::{Account, Principal, Secret};

/// What an access key stands for.
#[derive(Debug, Clone)]
pub struct Credential {
    pub secret: Secret,
    pub principal: Arc<Principal>,
}

/// Why an access key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("the access key does not exist, or is not active")]
    Unknown,
    #[error("the security token is not valid for this access key")]
    InvalidToken,
    #[error("the security token has expired")]
    ExpiredToken,
}

/// Accounts and keys; shared by all cores, asked on every request.
#[derive(Debug)]
pub struct Registry {
    keys: RwLock<HashMap<String, Credential>>,
    accounts: RwLock<Vec<Arc<Account>>>,
}

impl Registry {
    /// The store's account with the operator's key pair, and nobody else.
    pub fn of_root(access_key: impl Into<String>, secret: Secret) -> Registry {
        let account = Arc::new(Account::store());
        let principal = Arc::new(Principal::root(account.clone()));
        let keys = HashMap::from([(access_key.into(), Credential { secret, principal })]);
        Registry { keys: RwLock::new(keys), accounts: RwLock::new(vec![account]) }
    }

    /// Looks up who signs with `access_key`; `token` came with temporary credentials.
    pub fn credential(&self, access_key: &str, token: Option<&str>, _now_ms: i64) -> Result<Credential, KeyFault> {
        match token {
            Some(_) => Err(KeyFault::InvalidToken),
            None => {
                let keys = self.keys.read().expect("no holder of this lock panics");
                keys.get(access_key).cloned().ok_or(KeyFault::Unknown)
            }
        }
    }

    /// The account that owns what a canonical id names.
    pub fn account_of(&self, canonical_id: &str) -> Option<Arc<Account>> {
        let accounts = self.accounts.read().expect("no holder of this lock panics");
        accounts.iter().find(|account| account.canonical_id == canonical_id).cloned()
    }
}
