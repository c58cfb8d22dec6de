//! What the metadata keeps of identities, read at the start; and what must be written there before anything else: secrets that
//! lie in the clear, as they did before there was a vault.
//!
//! What does not open with the vault is closed: nobody can sign with such a key, and sessions of such a token key have ended.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::Account;
use super::change::{Properties, key_property};
use super::directory::{Directory, name_of};
use super::record::{Group, Key, Managed, Role, User};
use super::usage::{self, Uses};
use crate::crypt::{SealError, Vault};
use crate::meta::{MetaError, Reader};
use crate::seam::World;

/// Property that holds the key of session tokens, in hex, sealed.
const TOKEN_KEY: &str = "access/token-key";

/// What the metadata holds.
pub(super) struct Loaded {
    pub directory: Directory,
    pub token_key: Zeroizing<[u8; 32]>,
    pub uses: Uses,
    /// Properties to write: secrets that are not sealed yet.
    pub clear: Properties,
}

/// Reads all records. One that cannot be read is damage: to go on without it could open what it closed.
pub(super) fn load(reader: &Reader, vault: &Vault, world: &World) -> Result<Loaded, MetaError> {
    fn records<T: DeserializeOwned>(reader: &Reader, kind: &str) -> Result<Vec<T>, MetaError> {
        let read = |(name, text): (String, String)| {
            serde_json::from_str(&text).map_err(|error| MetaError::Damaged(format!("property {name}: {error}")))
        };
        reader.properties(&format!("access/{kind}/"))?.into_iter().map(read).collect()
    }
    let (token_key, sealed) = load_token_key(reader, vault, world)?;
    let mut clear: Vec<_> = sealed.into_iter().map(|sealed| (TOKEN_KEY.to_owned(), Some(sealed))).collect();
    let mut directory = Directory::default();
    for account in records::<Account>(reader, "account")? {
        directory.accounts.insert(account.id.clone(), Arc::new(account));
    }
    for user in records::<User>(reader, "user")? {
        directory.users.insert(name_of(&user.account, &user.name), Arc::new(user));
    }
    for group in records::<Group>(reader, "group")? {
        directory.groups.insert(name_of(&group.account, &group.name), Arc::new(group));
    }
    for role in records::<Role>(reader, "role")? {
        directory.roles.insert(name_of(&role.account, &role.name), Arc::new(role));
    }
    for policy in records::<Managed>(reader, "policy")? {
        directory.policies.insert(name_of(&policy.account, &policy.name), Arc::new(policy));
    }
    for kept in records::<Key>(reader, "key")? {
        let access_key = kept.access_key.clone();
        let (key, was_sealed) = match kept.opened(vault) {
            Ok(opened) => opened,
            // Nobody can sign with it. Where the ring is only away, it is there again with the ring.
            Err(error) => {
                tracing::error!(access_key, %error, "the secret of an access key does not open; make another key");
                continue;
            }
        };
        if !was_sealed {
            let sealed = serde_json::to_string(&key.sealed(vault).map_err(unsealed)?);
            let sealed = sealed.expect("records are plain fields with text keys");
            clear.push((key_property(&key.access_key), Some(sealed)));
        }
        directory.keys.insert(key.access_key.clone(), Arc::new(key));
    }
    Ok(Loaded { directory: with_store_account(directory), token_key, uses: load_uses(reader)?, clear })
}

/// The key of session tokens, and what to write where it is new or not sealed.
fn load_token_key(
    reader: &Reader,
    vault: &Vault,
    world: &World,
) -> Result<(Zeroizing<[u8; 32]>, Option<String>), MetaError> {
    let kept = reader.property(TOKEN_KEY)?;
    let damaged = || MetaError::Damaged(format!("property {TOKEN_KEY} is no key"));
    let mut key = Zeroizing::new([0u8; 32]);
    world.entropy.fill(&mut *key);
    match kept {
        Some(sealed) if Vault::is_sealed(&sealed) => match vault.open(TOKEN_KEY, &sealed) {
            Ok(text) => return Ok((decode_key(&text).ok_or_else(damaged)?, None)),
            Err(error) => tracing::error!(%error, "the key of session tokens does not open; all sessions have ended"),
        },
        Some(text) => key = decode_key(&text).ok_or_else(damaged)?,
        None => {}
    }
    let text = Zeroizing::new(crate::hash::hex_encode(&*key));
    let sealed = vault.seal(TOKEN_KEY, &text).map_err(unsealed)?;
    Ok((key, Some(sealed)))
}

fn unsealed(error: SealError) -> MetaError {
    MetaError::Unavailable(format!("the secrets of access keys cannot be used: {error}"))
}

/// A use that cannot be read is as good as none: nothing is decided by it.
fn load_uses(reader: &Reader) -> Result<Uses, MetaError> {
    let read = |(name, text): (String, String)| {
        Some((name.strip_prefix(usage::PREFIX)?.to_owned(), serde_json::from_str(&text).ok()?))
    };
    Ok(Uses::new(reader.properties(usage::PREFIX)?.into_iter().filter_map(read).collect()))
}

fn decode_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text, &mut *key).ok().map(|()| key)
}

pub(super) fn with_store_account(mut directory: Directory) -> Directory {
    let account = Account::store();
    directory.accounts.insert(account.id.clone(), Arc::new(account));
    directory.finish();
    directory
}
