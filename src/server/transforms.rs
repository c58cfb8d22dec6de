//! Object lambdas for the S3 endpoint: each runs as an errand, so that no core waits for a guest, and all of them within
//! a share of the processors. One that comes when the share is spent waits on its core, which costs nothing, and asks
//! again; beyond `TRANSFORM_WAIT_MAX` its client is told to come later.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use super::errands::{Errands, Undone};
use crate::hook::{HookFault, HookSettings, Hooks};
use crate::limits;
use crate::meta::VersionRef;
use crate::outbox::{Budget, BudgetSettings};
use crate::seam::{Clock, Thermometer};
use crate::wire::{TransformFault, TransformRequest, TransformedObject, Transforms};

/// What object lambdas may take.
pub fn budget(settings: &HookSettings, thermometer: Arc<dyn Thermometer>) -> Result<Arc<Budget>, String> {
    let (cpu_share, temperature_max) = (settings.transform_cpu_share, settings.temperature_max);
    let settings = BudgetSettings { cpu_share, temperature_max };
    settings.check("hooks.transform_cpu_share").map_err(|error| error.to_string())?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Ok(Arc::new(Budget::new(settings, processors, thermometer)))
}

pub fn transforms(hooks: &Arc<Hooks>, errands: &Arc<Errands>, budget: &Arc<Budget>) -> Transforms {
    let (hooks, errands, budget) = (hooks.clone(), errands.clone(), budget.clone());
    Transforms::new(move |request| {
        let (hooks, errands, budget) = (hooks.clone(), errands.clone(), budget.clone());
        Box::pin(async move {
            let mut waited = Duration::ZERO;
            loop {
                let (hooks, budget, request) = (hooks.clone(), budget.clone(), request.clone());
                let run = errands.run(move |engine| {
                    let TransformRequest { hook, bucket, key, version } = request;
                    let version = VersionRef::Numbered(version);
                    let clock = engine.world().clock.clone();
                    turn(&budget, &*clock, waited, || hooks.transform(engine, &hook, &bucket, &key, version))
                });
                match run.await {
                    Ok(Turn::Ran(made)) => return made.map(object_of).map_err(fault_of),
                    Ok(Turn::Wait(wait)) => {
                        monoio::time::sleep(wait).await;
                        waited += wait;
                    }
                    Ok(Turn::Busy) | Err(Undone::Busy) => return Err(TransformFault::Busy),
                    Err(Undone::Failed) => {
                        return Err(TransformFault::Failed("the transform was not run; see the log".to_owned()));
                    }
                }
            }
        })
    })
}

/// What became of a request that has a thread.
#[derive(Debug, PartialEq, Eq)]
enum Turn<T> {
    Ran(T),
    /// The share is spent for so long.
    Wait(Duration),
    /// And for longer than a client waits.
    Busy,
}

/// Does the work if the budget has room for it now, and charges it.
fn turn<T>(budget: &Budget, clock: &dyn Clock, waited: Duration, work: impl FnOnce() -> T) -> Turn<T> {
    let start_ns = clock.monotonic_ns();
    let wait = Duration::from_nanos(budget.free_ns(start_ns).saturating_sub(start_ns));
    if !wait.is_zero() {
        if waited + wait > limits::TRANSFORM_WAIT_MAX {
            return Turn::Busy;
        }
        budget.note_wait(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        return Turn::Wait(wait);
    }
    let made = work();
    let end_ns = clock.monotonic_ns();
    budget.spend(end_ns.saturating_sub(start_ns), end_ns);
    Turn::Ran(made)
}

fn object_of(made: crate::hook::Transformed) -> TransformedObject {
    TransformedObject { content_type: made.content_type, bytes: made.bytes.into() }
}

fn fault_of(fault: HookFault) -> TransformFault {
    let text = fault.to_string();
    match fault {
        HookFault::NotInstalled(_) | HookFault::Module(_) => TransformFault::NoTransform(text),
        // A transform is the same function of the same object: its limits would be hit again.
        HookFault::Memory { .. }
        | HookFault::Output { .. }
        | HookFault::Messages { .. }
        | HookFault::Call { .. }
        | HookFault::Stack { .. }
        | HookFault::Trap(_) => TransformFault::Refused(text),
        HookFault::Rejected { retry: false, .. } => TransformFault::Refused(text),
        HookFault::Rejected { .. } | HookFault::Deadline { .. } | HookFault::Object(_) => TransformFault::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::sim::{self, SimThermometer};

    /// Clients that ask for a lambda of 200 ms each time they are answered, for a minute on one processor.
    #[test]
    fn lambdas_stay_within_their_share_whoever_asks() {
        for (share, expected) in [(10, 0.1), (50, 0.5), (100, 1.0)] {
            let (world, clock) = sim::world(1);
            let settings = BudgetSettings { cpu_share: share, temperature_max: None };
            let budget = Budget::new(settings, 1, Arc::new(SimThermometer::default()));
            let mut busy_ms = 0;
            while world.clock.monotonic_ns() < 60_000_000_000 {
                match turn(&budget, &*world.clock, Duration::ZERO, || clock.advance_ms(200)) {
                    Turn::Ran(()) => busy_ms += 200,
                    Turn::Wait(wait) => clock.advance_ms((wait.as_millis() as u64).max(1)),
                    Turn::Busy => panic!("{share} %: nobody waits for ten seconds"),
                }
            }
            let found = f64::from(busy_ms) / 60_000.0;
            let burst = limits::HOOK_BUDGET_BURST.as_secs_f64() / 60.0;
            assert!(found >= expected * 0.95 && found <= expected + burst, "{share} %: {found}");
        }
    }

    #[test]
    fn a_client_waits_for_a_bounded_time() {
        let (world, clock) = sim::world(1);
        let settings = BudgetSettings { cpu_share: 10, temperature_max: None };
        let budget = Budget::new(settings, 1, Arc::new(SimThermometer::default()));
        let ask = |waited_s: u64| turn(&budget, &*world.clock, Duration::from_secs(waited_s), || clock.advance_ms(500));
        assert_eq!(ask(0), Turn::Ran(()));
        // Half a second cost five, of which one is the burst and a half has passed.
        assert_eq!(ask(0), Turn::Wait(Duration::from_millis(3500)));
        assert_eq!(ask(6), Turn::Wait(Duration::from_millis(3500)));
        assert_eq!(ask(7), Turn::Busy);
        clock.advance_ms(3500);
        assert_eq!(ask(9), Turn::Ran(()));
    }

    #[test]
    fn a_share_that_is_none_is_refused_by_name() {
        for share in [0, 101] {
            let settings = HookSettings { transform_cpu_share: share, ..HookSettings::default() };
            let error = budget(&settings, Arc::new(SimThermometer::default())).unwrap_err();
            assert!(error.contains("hooks.transform_cpu_share"), "{error}");
        }
    }
}
