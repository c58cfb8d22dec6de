//! The service of one core: connections in, S3 answers out.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::admin::Admin;
use super::settings::Settings;
use crate::engine::Engine;

/// S3 on one core.
pub struct Service {
    engine: Rc<Engine>,
    settings: Arc<Settings>,
    admin: Rc<dyn Admin>,
    stopping: Cell<bool>,
}

impl Service {
    pub fn new(engine: Rc<Engine>, settings: Arc<Settings>, admin: Rc<dyn Admin>) -> Rc<Service> {
        Rc::new(Service { engine, settings, admin, stopping: Cell::new(false) })
    }

    /// Serves one connection until it ends. `secure` says that it came over TLS.
    pub async fn serve<IO>(self: Rc<Self>, _io: IO, _peer: SocketAddr, _secure: bool)
    where
        IO: hyper::rt::Read + hyper::rt::Write + Unpin,
    {
        let _ = (&self.engine, &self.settings, &self.admin);
    }

    /// Tells all connections to finish the request under way and close.
    pub fn shutdown(&self) {
        self.stopping.set(true);
    }
}
