//! Interface `results`: messages, counted and within the output budget.

use super::{Answer, Host};
use crate::hook::contract::{results, types};
use crate::hook::model::HookResult;
use crate::limits;

impl results::Host for Host {
    fn publish(&mut self, topic: Option<String>, payload: Vec<u8>) -> Answer<()> {
        if self.results.len() >= limits::HOOK_MESSAGES_MAX {
            self.messages_hit = true;
            return Ok(Err(types::Error::Limit(format!("more than {} messages", limits::HOOK_MESSAGES_MAX))));
        }
        if let Some(topic) = &topic
            && (topic.is_empty() || topic.contains(['+', '#', '\0']))
        {
            return Ok(Err(types::Error::Invalid(format!(
                "{topic:?}: a topic is not empty and has no '+', '#' or NUL"
            ))));
        }
        let bytes = payload.len() + topic.as_ref().map_or(0, String::len);
        if let Err(error) = self.take_output(bytes as u64) {
            return Ok(Err(error));
        }
        self.results.push(HookResult { topic, payload });
        Ok(Ok(()))
    }
}
