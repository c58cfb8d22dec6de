//! Interface `state`: small values that are written with the results. An invocation reads what it has written itself.

use super::{Answer, Host};
use crate::hook::contract::{state, types};
use crate::limits;

fn check_state_key(key: &str) -> std::result::Result<(), types::Error> {
    let most = limits::HOOK_STATE_KEY_BYTES_MAX;
    if key.is_empty() || key.len() > most {
        return Err(types::Error::Limit(format!("a state key has 1 to {most} bytes")));
    }
    Ok(())
}

impl Host {
    fn write_state(&mut self, key: String, value: Option<Vec<u8>>) -> std::result::Result<(), types::Error> {
        check_state_key(&key)?;
        let (values, writes, keys) =
            (limits::HOOK_STATE_VALUE_BYTES_MAX, limits::HOOK_STATE_WRITES_MAX, limits::HOOK_STATE_KEYS_MAX);
        if value.as_ref().is_some_and(|value| value.len() > values) {
            return Err(types::Error::Limit(format!("a state value has at most {values} bytes")));
        }
        if !self.state_writes.contains_key(&key) {
            if self.state_writes.len() >= writes {
                return Err(types::Error::Limit(format!("an invocation writes at most {writes} state keys")));
            }
            let failed = types::Error::Failed;
            if value.is_some()
                && self.parts.state.get(&key).map_err(failed)?.is_none()
                && self.parts.state.keys().map_err(failed)? + self.state_writes.len() >= keys
            {
                return Err(types::Error::Limit(format!("a hook keeps at most {keys} state keys")));
            }
        }
        self.state_writes.insert(key, value);
        Ok(())
    }
}

impl state::Host for Host {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        if let Err(error) = check_state_key(&key) {
            return Ok(Err(error));
        }
        if let Some(written) = self.state_writes.get(&key) {
            return Ok(Ok(written.clone()));
        }
        Ok(self.parts.state.get(&key).map_err(types::Error::Failed))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.write_state(key, Some(value)))
    }

    fn delete(&mut self, key: String) -> Answer<()> {
        Ok(self.write_state(key, None))
    }
}
