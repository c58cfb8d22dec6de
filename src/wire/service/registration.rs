//! The open connections of a core, to be woken when it stops.

use std::task::Context;

use super::Service;

/// A connection's place among those that shutdown wakes.
pub(super) struct Registration<'a> {
    service: &'a Service,
    id: u64,
}

impl Registration<'_> {
    pub fn new(service: &Service) -> Registration<'_> {
        let id = service.next_connection.get();
        service.next_connection.set(id + 1);
        service.connections.borrow_mut().insert(id, None);
        Registration { service, id }
    }

    pub fn keep(&self, context: &Context<'_>) {
        let mut connections = self.service.connections.borrow_mut();
        let slot = connections.get_mut(&self.id).expect("a connection stays registered while it is served");
        if !slot.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *slot = Some(context.waker().clone());
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.service.connections.borrow_mut().remove(&self.id);
    }
}
