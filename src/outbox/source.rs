//! The table of publications as the queue that the MQTT publisher empties, and what the built-in broker has kept there.
//! Lives on the MQTT thread; the broker reads its part once, when it starts.

use crate::meta::{BrokerUpdate, Meta, OutboxUpdate, Reader, StoredPublication, StoredRetained, StoredSession};
use crate::mqtt::{BrokerStore, KeptRow, Message, PublicationSource, RetainedRow, SessionRow, SettleFuture, Settled};

pub struct Publications {
    pub meta: Meta,
    pub reader: Reader,
}

/// Rows that are read at once: payloads may be large, and the caller's bound is in bytes.
const PAGE: usize = 16;

fn message(row: StoredPublication) -> Message {
    let StoredPublication { id, publication } = row;
    Message {
        id,
        event_id: publication.event_id,
        topic: publication.topic,
        payload: publication.payload.into(),
        qos: publication.qos,
        retain: publication.retain,
        expires_ms: publication.expires_ms,
        properties: publication.properties,
    }
}

impl PublicationSource for Publications {
    fn next(&mut self, after: i64, limit: usize, bytes: usize) -> Result<Vec<Message>, String> {
        let (mut messages, mut together, mut after) = (Vec::new(), 0, after);
        while messages.len() < limit && together < bytes {
            let wanted = PAGE.min(limit - messages.len());
            let rows = self.reader.publications(after, wanted).map_err(|error| error.to_string())?;
            let end = rows.len() < wanted;
            for row in rows {
                after = row.id;
                together += row.publication.payload.len();
                messages.push(message(row));
            }
            if end {
                break;
            }
        }
        Ok(messages)
    }

    fn settle(&mut self, settled: Settled) -> SettleFuture {
        let meta = self.meta.clone();
        let Settled { acknowledged, dropped, kept, sessions, advanced, retained } = settled;
        Box::pin(async move {
            let session =
                |row: SessionRow| StoredSession { client: row.client, through: row.through, session: row.session };
            let message = |row: RetainedRow| StoredRetained { topic: row.topic, head: row.head, payload: row.payload };
            let broker = BrokerUpdate {
                kept,
                sessions: sessions.into_iter().map(|(client, row)| (client, row.map(session))).collect(),
                advanced,
                retained: retained.into_iter().map(|(topic, row)| (topic, row.map(message))).collect(),
            };
            let update = OutboxUpdate { acknowledged, dropped, broker, ..OutboxUpdate::default() };
            meta.update_outbox(update).await.map_err(|error| error.to_string())
        })
    }
}

/// What the built-in broker finds again when it starts.
pub struct KeptPublications {
    pub reader: Reader,
}

impl BrokerStore for KeptPublications {
    fn sessions(&mut self) -> Result<Vec<SessionRow>, String> {
        let rows = self.reader.broker_sessions().map_err(|error| error.to_string())?;
        let row = |row: StoredSession| SessionRow { client: row.client, through: row.through, session: row.session };
        Ok(rows.into_iter().map(row).collect())
    }

    fn retained(&mut self, after: &str, limit: usize) -> Result<Vec<RetainedRow>, String> {
        let rows = self.reader.broker_retained(after, limit).map_err(|error| error.to_string())?;
        let row = |row: StoredRetained| RetainedRow { topic: row.topic, head: row.head, payload: row.payload };
        Ok(rows.into_iter().map(row).collect())
    }

    fn kept(&mut self, after: i64, limit: usize) -> Result<Vec<KeptRow>, String> {
        let rows = self.reader.broker_kept(after, limit).map_err(|error| error.to_string())?;
        Ok(rows.into_iter().map(|(place, row)| KeptRow { place, message: message(row) }).collect())
    }
}
