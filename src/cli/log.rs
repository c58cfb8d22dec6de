//! Where `serve` writes what happens: lines on standard error, filtered by AERIE_LOG, each kind no more often than anybody
//! reads. A drive that is pulled under load makes thousands of equal warnings; the first ones tell it all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::limits;
use crate::seam::{World, real};

/// Levels of the log where AERIE_LOG names none.
const TARGETS: &str = "warn,aerie=info";

/// Logs go to standard error; AERIE_LOG filters them (`info` unless said, `aerie=debug` for more).
pub(super) fn start() {
    let wanted = std::env::var("AERIE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = wanted.as_deref().unwrap_or(TARGETS).parse::<Targets>().unwrap_or_else(|error| {
        eprintln!("aerie: AERIE_LOG: {error}; write it like {TARGETS}, which is taken now");
        TARGETS.parse().expect("the default names levels that there are")
    });
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    let bounded = lines.with_filter(Bounded { world: real::world(), kinds: Mutex::default() });
    if tracing_subscriber::registry().with(bounded).with(filter).try_init().is_err() {
        eprintln!("aerie: a log was started before");
    }
}

/// Lets `limits::LOG_LINES_MAX` lines of each place in the program through in `limits::LOG_LINES_WINDOW`, and says how
/// many it left out. Debug and trace lines were asked for: they pass.
struct Bounded {
    world: World,
    kinds: Mutex<Kinds>,
}

impl<S: Subscriber> Filter<S> for Bounded {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO {
            return true;
        }
        let now_ns = self.world.clock.monotonic_ns();
        // A panic while it was held left counts, which are as good as any.
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = kinds.admit(about.callsite(), place(about), now_ns);
        for (place, lines) in kinds.left_out(now_ns) {
            // An event of our own would be lost: no event is taken inside another.
            let mut time = String::new();
            _ = SystemTime.format_time(&mut Writer::new(&mut time));
            eprintln!("{time}  WARN aerie::log: {lines} more lines like those from {place} were left out");
        }
        passes
    }
}

fn place(about: &Metadata<'_>) -> String {
    format!("{}:{}", about.target(), about.line().unwrap_or(0))
}

/// Lines of each place in the program, in the window that is open for it.
#[derive(Default)]
struct Kinds(HashMap<Identifier, Kind>);

struct Kind {
    place: String,
    since_ns: u64,
    lines: u64,
}

fn is_over(kind: &Kind, now_ns: u64) -> bool {
    now_ns.saturating_sub(kind.since_ns) >= limits::LOG_LINES_WINDOW.as_nanos() as u64
}

impl Kinds {
    fn admit(&mut self, identifier: Identifier, place: String, now_ns: u64) -> bool {
        let kind = self.0.entry(identifier).or_insert(Kind { place, since_ns: now_ns, lines: 0 });
        kind.lines += 1;
        kind.lines <= limits::LOG_LINES_MAX
    }

    /// What ended windows left out. They begin anew with the next line.
    fn left_out(&mut self, now_ns: u64) -> Vec<(String, u64)> {
        let over = self.0.extract_if(|_, kind| is_over(kind, now_ns));
        let left = over.map(|(_, kind)| (kind.place, kind.lines.saturating_sub(limits::LOG_LINES_MAX)));
        left.filter(|(_, lines)| *lines > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_counted_instead_of_written() {
        let here = || {
            static CALLSITE: tracing::callsite::DefaultCallsite = {
                static META: Metadata<'static> = tracing::metadata! {
                    name: "test", target: "test", level: Level::WARN, fields: &[], callsite: &CALLSITE,
                    kind: tracing::metadata::Kind::EVENT
                };
                tracing::callsite::DefaultCallsite::new(&META)
            };
            Identifier(&CALLSITE)
        };
        let mut kinds = Kinds::default();
        let window_ns = limits::LOG_LINES_WINDOW.as_nanos() as u64;
        let passed = (0..1000).filter(|now_ns| kinds.admit(here(), "here".to_owned(), *now_ns)).count();
        assert_eq!(passed as u64, limits::LOG_LINES_MAX);
        assert_eq!(kinds.left_out(window_ns - 1), []);
        assert_eq!(kinds.left_out(window_ns), [("here".to_owned(), 1000 - limits::LOG_LINES_MAX)]);
        assert!(kinds.admit(here(), "here".to_owned(), window_ns));
        assert_eq!(kinds.left_out(2 * window_ns), []);
    }
}
