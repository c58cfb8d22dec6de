//! What the built-in broker's sessions, retained and kept messages are as rows, and their way back into it at a start.
//!
//! A row that cannot be read is told and left where it is; it stops nobody, and the rest is found. Lives on the thread
//! `mqtt-broker`, before the broker listens.

use std::collections::HashMap;

use mqtt5::QoS;
use mqtt5::broker::storage::{ClientSession, DynamicStorage, QueuedMessage, RetainedMessage, StorageBackend};
use mqtt5::packet::publish::PublishPacket;

use super::ledger::Ledger;
use super::{BrokerStore, KeptRow, RetainedRow, SessionRow};
use crate::limits;

/// Puts back what was stored. What cannot be read is told and left where it is; it stops nobody.
pub async fn restore(ledger: &Ledger, store: &mut dyn BrokerStore, storage: &DynamicStorage, now_ms: i64) {
    let restored = async {
        let sessions = restore_sessions(ledger, store, storage).await?;
        restore_retained(ledger, store, storage).await?;
        restore_kept(ledger, store, storage, &sessions, now_ms).await
    };
    if let Err(error) = restored.await {
        tracing::error!(error, "not all that the built-in broker had kept can be read; it goes on with the rest");
    }
}

async fn restore_sessions(
    ledger: &Ledger,
    store: &mut dyn BrokerStore,
    storage: &DynamicStorage,
) -> Result<HashMap<String, ClientSession>, String> {
    let mut sessions = HashMap::new();
    for row in store.sessions()? {
        let Some(session) = read_session(&row) else { continue };
        if storage.store_session(session.clone()).await.is_ok() {
            ledger.restore_session(row, filters(&session));
            sessions.insert(session.client_id.clone(), session);
        }
    }
    Ok(sessions)
}

async fn restore_retained(
    ledger: &Ledger,
    store: &mut dyn BrokerStore,
    storage: &DynamicStorage,
) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let rows = store.retained(&after, limits::BROKER_RESTORE_PAGE)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after.clone_from(&last.topic);
        for row in rows {
            let Some(message) = read_retained(&row) else { continue };
            if storage.store_retained_message(&row.topic, message).await.is_ok() {
                ledger.restore_retained(&row);
            }
        }
    }
}

async fn restore_kept(
    ledger: &Ledger,
    store: &mut dyn BrokerStore,
    storage: &DynamicStorage,
    sessions: &HashMap<String, ClientSession>,
    now_ms: i64,
) -> Result<(), String> {
    let mut after = i64::MIN;
    loop {
        let rows = store.kept(after, limits::BROKER_RESTORE_PAGE)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.place;
        for row in rows {
            let expired = row.message.expires_ms.is_some_and(|at| at <= now_ms);
            for client in ledger.restore_kept(&row, expired) {
                let Some(session) = sessions.get(&client) else { continue };
                if let Err(error) = storage.queue_message(queued(&row, session, now_ms)).await {
                    tracing::warn!(client, %error, "a kept message cannot be queued; the next start tries again");
                }
            }
        }
    }
}

/// Filters of subscriptions for whose sake messages are kept.
pub fn filters(session: &ClientSession) -> Vec<String> {
    let above = session.subscriptions.iter().filter(|(_, one)| one.qos != QoS::AtMostOnce);
    above.map(|(filter, _)| filter.clone()).collect()
}

/// What is stored of a session: without what belongs to a connection.
pub fn document(session: &ClientSession) -> Option<String> {
    let mut stored = session.clone();
    (stored.will_message, stored.will_delay_interval) = (None, None);
    (stored.disconnected_at, stored.connection_token) = (None, 0);
    stored.change_only_state.last_payload_hashes.clear();
    // Sorted, so that the same session is the same text.
    let value = serde_json::to_value(&stored).ok()?;
    Some(value.to_string())
}

fn read_session(row: &SessionRow) -> Option<ClientSession> {
    match serde_json::from_str::<ClientSession>(&row.session) {
        Ok(session) if session.client_id == row.client => Some(session),
        Ok(_) => {
            tracing::error!(client = row.client, "a stored session is another client's; it is left alone");
            None
        }
        Err(error) => {
            tracing::error!(client = row.client, %error, "a stored session cannot be read; it is left alone");
            None
        }
    }
}

fn read_retained(row: &RetainedRow) -> Option<RetainedMessage> {
    match serde_json::from_str::<RetainedMessage>(&row.head) {
        Ok(mut message) if message.topic == row.topic => {
            message.payload.clone_from(&row.payload);
            message.recompute_expiry();
            Some(message)
        }
        Ok(_) => {
            tracing::error!(topic = row.topic, "a stored retained message is another topic's; it is left alone");
            None
        }
        Err(error) => {
            tracing::error!(topic = row.topic, %error, "a stored retained message cannot be read; it is left alone");
            None
        }
    }
}

/// A kept message as the broker would have queued it.
fn queued(row: &KeptRow, session: &ClientSession, now_ms: i64) -> QueuedMessage {
    let message = &row.message;
    let qos = |number: u8| if number >= 2 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
    let matches =
        |filter: &str| mqtt5::topic_matches_filter(&message.topic, mqtt5::strip_shared_subscription_prefix(filter));
    let matching = session.subscriptions.iter().filter(|(filter, _)| matches(filter)).map(|(_, one)| one);
    let best = matching.max_by_key(|one| one.qos as u8);
    let granted = best.map_or(1, |one| one.qos as u8).min(message.qos);
    let mut packet = PublishPacket::new(&message.topic, message.payload.to_vec(), qos(granted));
    packet.retain = message.retain && best.is_some_and(|one| one.retain_as_published);
    let properties = &mut packet.properties;
    if !message.event_id.is_empty() {
        properties.set_correlation_data(message.event_id.clone().into_bytes().into());
        properties.add_user_property("event-id".to_owned(), message.event_id.clone());
    }
    for (name, value) in &message.properties {
        properties.add_user_property(name.clone(), value.clone());
    }
    if let Some(left_ms) = message.expires_ms.map(|at| at - now_ms) {
        properties.set_message_expiry_interval(u32::try_from(left_ms.div_euclid(1000) + 1).unwrap_or(u32::MAX));
    }
    if let Some(id) = best.and_then(|one| one.subscription_id) {
        properties.set_subscription_identifier(id);
    }
    QueuedMessage::new(packet, session.client_id.clone(), qos(granted), None)
}
