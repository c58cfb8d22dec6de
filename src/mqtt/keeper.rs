//! Watches the built-in broker and keeps the ledger true: sessions, subscriptions, retained messages, acknowledgements.
//!
//! The broker's crate holds everything in memory; what it must find again after a crash is stored by the ledger's news
//! and put back (`restore.rs`) before the broker listens. A message that a kept session waits for is always in the
//! session's queue, in a batch taken from it, or noted as sent and unacknowledged: `route_by_queue` keeps the crate from
//! its shorter way, a channel that nobody can look into. Since that way also slowed the publisher down for slow
//! subscribers, `make_room` does.
//!
//! Architecture invariant: nothing here is needed for a message to be delivered; it decides only when one may be
//! forgotten. Lives on the thread `mqtt-broker`.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mqtt5::QoS;
use mqtt5::broker::events::{
    BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent, ClientSubscribeEvent,
    ClientUnsubscribeEvent, MessageDeliveredEvent, PublishAction, RetainedSetEvent,
};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::{
    ClientSession, DynamicStorage, InflightDirection, QueueHandle, StorageBackend, StoredSubscription,
};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::RetainedRow;
use super::gate::PUBLISHER_USER;
use super::ledger::{Ledger, name_of};
use super::restore::{document, filters};
use crate::limits;

pub struct Keeper {
    ledger: Arc<Ledger>,
    parts: OnceLock<Parts>,
    /// Queues of kept sessions whose subscriber is there.
    connected: Mutex<HashMap<String, Connected>>,
    /// A queue that was full has room again.
    room: Notify,
    /// Above so many queued messages the publisher waits a moment.
    full: usize,
}

/// Of the broker.
struct Parts {
    storage: Arc<DynamicStorage>,
    /// The router holds the keeper.
    router: Weak<MessageRouter>,
}

struct Connected {
    queue: QueueHandle,
    /// It did not make room in time: nobody waits for it until it has caught up.
    slow: bool,
    /// Filters of a SUBSCRIBE that is not answered yet.
    asked: Vec<String>,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Keeper {
    pub fn new(ledger: Arc<Ledger>, queued_messages_max: usize) -> Keeper {
        let full = (queued_messages_max / 4).clamp(1, limits::BROKER_QUEUE_FULL);
        Keeper { ledger, parts: OnceLock::new(), connected: Mutex::default(), room: Notify::new(), full }
    }

    pub fn attach(&self, storage: Arc<DynamicStorage>, router: &Arc<MessageRouter>) {
        // A second broker would have a keeper of its own.
        _ = self.parts.set(Parts { storage, router: Arc::downgrade(router) });
    }

    fn storage(&self) -> Option<&DynamicStorage> {
        self.parts.get().map(|parts| &*parts.storage)
    }

    fn connected(&self) -> MutexGuard<'_, HashMap<String, Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at sessions in which something has happened, until it is dropped.
    pub async fn run(self: Arc<Keeper>) {
        loop {
            for client in self.ledger.to_check().await {
                self.check(&client).await;
            }
        }
    }

    async fn check(&self, client: &str) {
        let Some(storage) = self.storage() else { return };
        let queue = storage.queue_handle(client);
        // A batch is on its way out of the queue, or a session from one connection to the next. What is acknowledged
        // then leads here again.
        if queue.draining() || queue.handoff() {
            return;
        }
        if !self.connected().contains_key(client) && self.session(client).await.is_none() {
            // It has expired.
            self.ledger.end(client);
            return;
        }
        let queued = !queue.is_empty();
        let Some(last) = self.ledger.look(client, queued) else { return };
        let sent = match storage.get_inflight_messages(client).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::warn!(client, %error, "what was sent to a subscriber cannot be read; its messages are kept on");
                return;
            }
        };
        let name = |event_id: Option<&[u8]>, topic: &str| name_of(event_id.unwrap_or_default(), topic);
        let outbound = sent.iter().filter(|message| message.direction == InflightDirection::Outbound);
        let names = outbound.map(|one| name(one.correlation_data.as_deref(), &one.topic)).collect::<HashSet<u64>>();
        let excess = self.ledger.observe(client, last, queued, &names);
        if excess > 0 {
            let gone = queue.take(excess).await;
            queue.finish_drain();
            let names = gone.iter().map(|one| name(one.correlation_data.as_deref(), &one.topic));
            self.ledger.dropped(client, &names.collect::<Vec<u64>>());
        }
        if !queued && let Some(one) = self.connected().get_mut(client) {
            one.slow = false;
        }
    }

    /// The session as the broker has it, if it outlives its connection.
    async fn session(&self, client: &str) -> Option<ClientSession> {
        let session = self.storage()?.get_session(client).await.ok()??;
        (session.expiry_interval != Some(0)).then_some(session)
    }

    /// Enters a session as the broker has it now.
    async fn enter(&self, client: &str) {
        match self.session(client).await {
            Some(session) => {
                self.put(&session);
            }
            None => self.ledger.end(client),
        }
    }

    fn put(&self, session: &ClientSession) -> Option<u64> {
        let document = document(session)?;
        self.ledger.put(&session.client_id, document, filters(session))
    }

    /// Makes a subscription durable before it is acknowledged.
    pub async fn before_subscribe(&self, client: &str, filter: &str) {
        let Some(mut session) = self.session(client).await else { return };
        if session.subscriptions.contains_key(filter) {
            return;
        }
        if let Some(connected) = self.connected().get_mut(client) {
            connected.asked.push(filter.to_owned());
            for asked in &connected.asked {
                // What was asked for in detail follows once it is granted.
                session.subscriptions.entry(asked.clone()).or_insert_with(|| StoredSubscription::new(QoS::ExactlyOnce));
            }
        }
        let Some(ticket) = self.put(&session) else { return };
        if !self.ledger.settled(ticket).await {
            tracing::warn!(client, filter, "a subscription is not durable yet; it will be once the metadata takes it");
        }
    }

    /// Sends everything for the session through its queue.
    fn route_by_queue(&self, client: &str, storage: &DynamicStorage) {
        let queue = storage.queue_handle(client);
        // Waits for a connection that never comes; a later connection that is not kept sets its own.
        queue.expect_bind(u64::MAX);
        self.connected().insert(client.to_owned(), Connected { queue, slow: false, asked: Vec::new() });
    }

    /// Waits, a moment at most, until subscribers that are there have fetched enough of what is queued for them.
    async fn make_room(&self) {
        let full = |one: &Connected| !one.slow && one.queue.count() >= self.full;
        while self.connected().values().any(full) {
            if timeout(limits::BROKER_ROOM_WAIT, self.room.notified()).await.is_err() {
                for one in self.connected().values_mut().filter(|one| full(one)) {
                    one.slow = true;
                }
            }
        }
    }
}

impl BrokerEventHandler for Keeper {
    fn on_client_connect<'a>(&'a self, event: ClientConnectEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(storage) = self.storage() else { return };
            if self.session(&event.client_id).await.is_none() {
                self.connected().remove(&*event.client_id);
                self.ledger.end(&event.client_id);
                return;
            }
            self.route_by_queue(&event.client_id, storage);
            if event.clean_start {
                self.ledger.clear(&event.client_id);
            }
            // One that has no subscription yet is stored with its first.
            if self.ledger.knows(&event.client_id) {
                self.enter(&event.client_id).await;
            }
            self.ledger.set_connected(&event.client_id, true);
        })
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            let router = self.parts.get().and_then(|parts| parts.router.upgrade());
            if let Some(router) = router
                && router.is_connected(&event.client_id).await
            {
                // Another connection has taken the session over.
                return;
            }
            self.connected().remove(&*event.client_id);
            self.room.notify_one();
            if self.ledger.knows(&event.client_id) {
                self.enter(&event.client_id).await;
                self.ledger.set_connected(&event.client_id, false);
            }
        })
    }

    fn on_client_subscribe<'a>(&'a self, event: ClientSubscribeEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            if let Some(connected) = self.connected().get_mut(&*event.client_id) {
                connected.asked.clear();
            }
            self.enter(&event.client_id).await;
            self.ledger.set_connected(&event.client_id, true);
        })
    }

    fn on_client_unsubscribe<'a>(&'a self, event: ClientUnsubscribeEvent) -> Answer<'a, ()> {
        Box::pin(async move { self.enter(&event.client_id).await })
    }

    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Answer<'a, PublishAction> {
        Box::pin(async move {
            if event.user_id.as_deref() == Some(PUBLISHER_USER) {
                self.make_room().await;
            }
            PublishAction::Continue
        })
    }

    fn on_retained_set<'a>(&'a self, event: RetainedSetEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(storage) = self.storage() else { return };
            let Ok(message) = storage.get_retained_message(&event.topic).await else { return };
            let row = message.and_then(|mut message| {
                let payload = std::mem::take(&mut message.payload);
                let head = serde_json::to_string(&message).ok()?;
                Some(RetainedRow { topic: event.topic.to_string(), head, payload })
            });
            self.ledger.retain(&event.topic, row);
        })
    }

    fn on_message_delivered<'a>(&'a self, event: MessageDeliveredEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            self.ledger.acknowledged(&event.client_id);
            let room = self.connected().get(&*event.client_id).is_some_and(|one| one.queue.count() * 2 < self.full);
            if room {
                self.room.notify_one();
            }
        })
    }
}
