//! Access keys: made, switched off and on, removed.

use super::{AccessError, Change, over_quota};
use crate::access::Secret;
use crate::access::record::{Document, Key};
use crate::hash::base64_encode;
use crate::limits;

/// A key to make.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Name of the user; `None` for root.
    pub user: Option<String>,
    pub expires_ms: Option<i64>,
    /// Text of the policy that bounds it.
    pub policy: Option<String>,
    pub description: String,
}

impl Change<'_> {
    pub fn create_key(&mut self, account: &str, new: NewKey) -> Result<Key, AccessError> {
        let user = match &new.user {
            Some(name) => Some(self.directory.find_user(account, name)?.id.clone()),
            None => None,
        };
        let policy = new.policy.map(Document::new).transpose()?;
        let bounded = policy.is_some();
        let same = |key: &&std::sync::Arc<Key>| key.policy.is_some() == bounded;
        let limit = if bounded { limits::SERVICE_ACCOUNTS_MAX } else { limits::ACCESS_KEYS_MAX };
        if self.directory.keys(account, user.as_deref()).filter(same).count() >= limit {
            return Err(over_quota("AccessKeysPerUser", limit));
        }
        let now_ms = self.now_ms();
        if new.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            return Err(AccessError::Invalid("the key would have expired already; name a time to come".to_owned()));
        }
        let mut random = [0u8; 30];
        self.world.entropy.fill(&mut random);
        let key = Key {
            account: account.to_owned(),
            access_key: self.new_id("AKIA", 20),
            // Forty characters, as AWS has them.
            secret: Secret::new(base64_encode(&random)),
            user,
            active: true,
            created_ms: now_ms,
            expires_ms: new.expires_ms,
            policy,
            description: new.description,
        };
        self.put_key(key.clone());
        Ok(key)
    }

    /// The key, where it is one of the user's (or of root's: `None`).
    fn own_key(&self, account: &str, user: Option<&str>, access_key: &str) -> Result<Key, AccessError> {
        let id = match user {
            Some(name) => Some(self.directory.find_user(account, name)?.id.clone()),
            None => None,
        };
        let found = self.directory.keys(account, id.as_deref()).find(|key| key.access_key == access_key);
        let absent = || AccessError::NoSuchEntity(format!("The Access Key with id {access_key} cannot be found."));
        found.map(|key| Key::clone(key)).ok_or_else(absent)
    }

    pub fn set_key_active(
        &mut self,
        account: &str,
        user: Option<&str>,
        access_key: &str,
        active: bool,
    ) -> Result<(), AccessError> {
        let key = self.own_key(account, user, access_key)?;
        self.put_key(Key { active, ..key });
        Ok(())
    }

    pub fn delete_key(&mut self, account: &str, user: Option<&str>, access_key: &str) -> Result<(), AccessError> {
        self.own_key(account, user, access_key)?;
        self.forget_key(access_key);
        Ok(())
    }
}
