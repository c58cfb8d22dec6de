//! The table of publications as the queue that the MQTT publisher empties. Lives on the MQTT thread.

use crate::meta::{Meta, OutboxUpdate, Reader};
use crate::mqtt::{Message, PublicationSource, SettleFuture, Settled};

pub struct Publications {
    pub meta: Meta,
    pub reader: Reader,
}

/// Rows that are read at once: payloads may be large, and the caller's bound is in bytes.
const PAGE: usize = 16;

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
                messages.push(Message {
                    id: row.id,
                    event_id: row.publication.event_id,
                    topic: row.publication.topic,
                    payload: row.publication.payload.into(),
                    qos: row.publication.qos,
                    retain: row.publication.retain,
                    expires_ms: row.publication.expires_ms,
                    properties: row.publication.properties,
                });
            }
            if end {
                break;
            }
        }
        Ok(messages)
    }

    fn settle(&mut self, settled: Settled) -> SettleFuture {
        let meta = self.meta.clone();
        let Settled { acknowledged, dropped } = settled;
        Box::pin(async move {
            let update = OutboxUpdate { acknowledged, dropped, ..OutboxUpdate::default() };
            meta.update_outbox(update).await.map_err(|error| error.to_string())
        })
    }
}
