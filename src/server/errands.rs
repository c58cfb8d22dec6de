//! Errands: work that takes long and was asked of a core, which must not wait for it. A few threads of their own do it, each
//! with an engine; what waits is bounded, and an errand whose asker has gone is not begun.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use futures_channel::oneshot;

use super::EngineFactory;
use crate::engine::Engine;
use crate::limits;

type Errand = Box<dyn FnOnce(&Rc<Engine>) + Send>;

/// Why an errand was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// Too many wait already.
    Busy,
    /// The thread could not open the store, panicked or is stopping; the log says which.
    Failed,
}

pub struct Errands {
    sender: Mutex<Option<Sender<Errand>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Errands {
    pub fn start(engines: &EngineFactory) -> std::io::Result<Errands> {
        let (sender, receiver) = bounded::<Errand>(limits::ERRANDS_WAITING_MAX);
        let mut threads = Vec::with_capacity(limits::ERRAND_THREADS);
        for number in 0..limits::ERRAND_THREADS {
            let (engines, receiver) = (engines.clone(), receiver.clone());
            let thread = std::thread::Builder::new().name(format!("errand-{number}"));
            threads.push(thread.stack_size(limits::HOOK_THREAD_STACK_BYTES).spawn(move || work(&engines, &receiver))?);
        }
        Ok(Errands { sender: Mutex::new(Some(sender)), threads: Mutex::new(threads) })
    }

    /// Has a thread do it. The future may be polled on any runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&Rc<Engine>) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let (done, outcome) = oneshot::channel();
        let errand: Errand = Box::new(move |engine| {
            if !done.is_canceled() {
                // The asker may have gone meanwhile.
                _ = done.send(errand(engine));
            }
        });
        let sent = match &*self.sender.lock().expect("no holder of this lock panics") {
            Some(sender) => sender.try_send(errand),
            None => return Err(Undone::Failed),
        };
        match sent {
            Ok(()) => outcome.await.map_err(|_| Undone::Failed),
            Err(TrySendError::Full(_)) => Err(Undone::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Undone::Failed),
        }
    }

    /// Lets the threads finish what waits; each errand is bounded by a hook's limits.
    pub fn stop(&self) {
        self.sender.lock().expect("no holder of this lock panics").take();
        for thread in self.threads.lock().expect("no holder of this lock panics").drain(..) {
            if thread.join().is_err() {
                tracing::error!("an errand thread panicked");
            }
        }
    }
}

fn work(engines: &EngineFactory, errands: &Receiver<Errand>) {
    let mut lent: Option<Rc<Engine>> = None;
    for errand in errands {
        let engine = match &lent {
            Some(engine) => Rc::clone(engine),
            None => match engines() {
                Ok(made) => Rc::clone(lent.insert(Rc::new(made))),
                Err(error) => {
                    tracing::error!(%error, "an errand has no engine");
                    continue;
                }
            },
        };
        if catch_unwind(AssertUnwindSafe(|| errand(&engine))).is_err() {
            tracing::error!("an errand panicked. This is a defect: report it");
            // What the panic left behind in the engine is not trusted.
            lent = None;
        }
    }
}

impl std::fmt::Debug for Errands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Errands").finish_non_exhaustive()
    }
}
