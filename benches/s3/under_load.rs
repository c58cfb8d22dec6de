//! 4 KiB GETs and PUTs while the store does something else: what a robot's uploads feel of a scrub, a rebuild, hooks that
//! compute on every processor, hooks that break every limit, and of rebuild and hooks together.
//!
//! Two servers of one kind take turns, round by round: one that has nothing else to do, and one that is disturbed. Who is
//! not measured is stopped in its tracks (SIGSTOP), so that both meet the same machine at nearly the same time. Objects of
//! the measured rows start no hook. Rounds are short and many, so that both servers see the same moments of a machine that
//! others share, and a percentile is that of all rounds' requests together: one of a single round hangs on a few of them.
//! The requests at the start of a round, when caches are those of the other server, are sent and not counted.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bad_hooks::{self, Uploads};
use crate::others::{self, Watch};
use crate::process::Aerie;
use crate::work::{self, Sample, Workload};

/// One workload beside one disturbance.
pub struct Disturbed {
    workload: String,
    beside: &'static str,
    operations_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    quiet_p50_ms: f64,
    quiet_p99_ms: f64,
    /// What hooks finished meanwhile.
    invocations_per_second: Option<f64>,
    /// Processors that other programs took, at worst.
    others: f64,
}

impl Disturbed {
    fn ratio(&self) -> f64 {
        self.p99_ms / self.quiet_p99_ms
    }

    pub fn line(&self) -> String {
        let hooks = self.invocations_per_second.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        format!(
            "| {} | {} | {:.0} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} | {hooks} | {:.2} |",
            self.workload,
            self.beside,
            self.operations_per_second,
            self.p50_ms,
            self.p99_ms,
            self.quiet_p50_ms,
            self.quiet_p99_ms,
            self.ratio(),
            self.others,
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "workload": self.workload, "beside": self.beside, "operations_per_second": self.operations_per_second,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "quiet_p50_ms": self.quiet_p50_ms, "quiet_p99_ms": self.quiet_p99_ms,
            "quiet_p99_ratio": self.ratio(), "invocations_per_second": self.invocations_per_second,
            "processors_of_others": self.others,
        })
    }
}

pub const HEAD: &str = "| workload | beside | op/s | p50 / p99 ms | quiet p50 / p99 ms | p99 to the quiet p99 | hooks/s | processors of others |\n\
     |---|---|---|---|---|---|---|---|";

const PICTURE_BUCKET: &str = "aerie-bench-pictures";
/// Folder that is emptied for the rebuild.
const REPLACED: usize = 2;
/// Objects of 1 MiB that walks pass in a second of their usual budget, rounded up.
const WALKED_PER_SECOND: f64 = 44.0;
/// Seconds of walking beside what is measured: pictures are stored meanwhile, commands are sent.
const WALK_MARGIN_S: f64 = 20.0;
/// Of which a round takes more than it measures.
const ROUND_MARGIN_S: f64 = 0.2;
/// Rounds of a row are this many times those that were asked for, at most: those that are measured again among them.
const ATTEMPTS: usize = 3;
/// Bad hooks run for as long before the first round.
const BAD_HOOKS_LEAD: Duration = Duration::from_secs(2);
/// Pictures that one processor's hooks look at in a second, at most.
const PICTURES_PER_SECOND: f64 = 250.0;
/// Hooks that keep less than this share of the processors busy do not saturate them.
const SATURATED: f64 = 0.8;
/// Whatever is waited for has come by then.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured where nothing else is asked for: the whole run takes less than five minutes.
pub const ROUNDS: usize = 12;
pub const SECONDS: f64 = 0.4;

/// What the rows stand beside; `only` names some of them.
const LOOPS: &str = "loops";
const INFERENCE: &str = "inference";
const BAD_HOOKS: &str = "bad-hooks";
const SCRUB: &str = "scrub";
const REBUILD: &str = "rebuild";
const ALL: &str = "rebuild-scrub-inference";
const ROWS: [&str; 6] = [LOOPS, INFERENCE, SCRUB, REBUILD, ALL, BAD_HOOKS];

pub fn measure(
    binary: &Path,
    folder: &Path,
    rounds: usize,
    seconds: f64,
    only: Option<&[String]>,
) -> Result<Vec<Disturbed>, String> {
    if let Some(unknown) = only.unwrap_or_default().iter().find(|name| !ROWS.contains(&name.as_str())) {
        return Err(format!("nothing is measured beside {unknown}; take some of {}", ROWS.join(",")));
    }
    let wanted = |beside: &str| only.is_none_or(|only| only.iter().any(|name| name == beside));
    let processors = others::processors();
    let settings = format!("[outbox]\nhook_threads = {processors}\n[inference]\nruns = {processors}\n");
    let start = |name: &str, more: &str| Aerie::start(binary, &folder.join(name), &format!("{settings}{more}"), false);
    let (quiet, busy) = (start("quiet", "")?, start("busy", "")?);
    let duration = Duration::from_secs_f64(seconds);
    let mut bench = Bench {
        quiet,
        busy,
        rounds,
        duration,
        picture: picture()?,
        pictures: Cell::new(0),
        bad: Vec::new(),
        rows: Cell::new(0),
        seen: vec![],
    };
    bench.fill(if [SCRUB, REBUILD, ALL].into_iter().any(wanted) { bench.walked() } else { 0 })?;

    let model = source("wasm-hooks/models/blazeface.onnx").display().to_string();
    bench.busy.command(&["model", "add", "faces", &model])?;
    bench.busy.wire(PICTURE_BUCKET, "faces")?;
    if wanted(LOOPS) {
        bench.beside(LOOPS, &[Disturbance::Loops])?;
    }
    if wanted(INFERENCE) {
        bench.queue_pictures()?;
        bench.check_saturation()?;
        bench.beside(INFERENCE, &[Disturbance::Hooks])?;
        bench.until("hooks have ended", |status| status["outbox"]["pending"] == 0)?;
    }
    if wanted(SCRUB) {
        bench.beside(SCRUB, &[Disturbance::Scrub])?;
    }
    if wanted(REBUILD) || wanted(ALL) {
        bench.replace_drive()?;
    }
    if wanted(REBUILD) {
        bench.beside(REBUILD, &[Disturbance::Rebuild])?;
    }
    if wanted(ALL) {
        // A rebuild verifies each block that it passes, as a scrub does; a scrub that is asked for meanwhile follows it
        // within the same budget.
        bench.busy.command(&["scrub"])?;
        bench.beside(ALL, &[Disturbance::Rebuild, Disturbance::Hooks])?;
    }
    if wanted(BAD_HOOKS) {
        // What the other hooks and walks have left undone stays with the server that had them.
        bench.busy.stop();
        bench.busy = start("bad", bad_hooks::SETTINGS)?;
        bench.fill_one(&bench.busy, 0)?;
        bench.wire_bad_hooks(&folder.join("bad"))?;
        bench.check_saturation()?;
        bench.beside(BAD_HOOKS, &[Disturbance::BadHooks])?;
        bad_hooks::check(&bench.stats()?)?;
    }
    Ok(bench.seen)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// Threads of this program of the kernel's idle class that only count, one for each processor: what the machine
    /// itself makes of it that no processor is ever idle.
    Loops,
    Hooks,
    BadHooks,
    Scrub,
    Rebuild,
}

struct Bench {
    quiet: Aerie,
    busy: Aerie,
    rounds: usize,
    duration: Duration,
    picture: Vec<u8>,
    /// How often pictures were stored.
    pictures: Cell<usize>,
    /// Buckets whose uploads start a bad hook each.
    bad: Vec<String>,
    /// Rows that were begun.
    rows: Cell<usize>,
    seen: Vec<Disturbed>,
}

impl Bench {
    /// Objects of 1 MiB that last for all walks.
    fn walked(&self) -> usize {
        let round_s = self.duration.as_secs_f64() + ROUND_MARGIN_S;
        let measured_s = (work::foreground().len() * 2 * self.rounds) as f64 * round_s;
        ((measured_s + WALK_MARGIN_S) * WALKED_PER_SECOND) as usize
    }

    fn fill(&self, walked: usize) -> Result<(), String> {
        [&self.quiet, &self.busy].into_iter().try_for_each(|aerie| self.fill_one(aerie, walked))
    }

    fn fill_one(&self, aerie: &Aerie, walked: usize) -> Result<(), String> {
        work::prepare(&aerie.target, work::BUCKET)?;
        work::put_numbered(&aerie.target, work::BUCKET, "walked", walked, 1 << 20, Duration::MAX)?;
        for workload in work::foreground() {
            workload.fill(&aerie.target)?;
            // The first requests of a server meet cold caches.
            workload.round(&aerie.target, 0, self.duration)?;
        }
        Ok(())
    }

    fn beside(&mut self, beside: &'static str, disturbances: &[Disturbance]) -> Result<(), String> {
        for workload in work::foreground() {
            let row = self.row(&workload, beside, disturbances)?;
            println!("{}", row.line());
            self.seen.push(row);
        }
        self.quiet.go_on()
    }

    fn row(
        &self,
        workload: &Workload,
        beside: &'static str,
        disturbances: &[Disturbance],
    ) -> Result<Disturbed, String> {
        let (mut quiet, mut busy): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
        let (mut others, mut done, mut passed_s) = (0f64, 0, 0.0);
        self.rows.set(self.rows.get() + 1);
        for round in 0..self.rounds * ATTEMPTS {
            self.busy.pause()?;
            self.quiet.go_on()?;
            // No two rounds write the same keys.
            let number = (self.rows.get() * self.rounds * ATTEMPTS) + round;
            let (sample, before) = self.watched(workload, &self.quiet, number, disturbances)?;
            self.quiet.pause()?;
            self.busy.go_on()?;
            self.keep_on(disturbances)?;
            let (started, invocations) = (Instant::now(), self.invocations()?);
            let loops = disturbances.contains(&Disturbance::Loops).then(Loops::start);
            let (disturbed, beside_it) = self.watched(workload, &self.busy, number, disturbances)?;
            drop(loops);
            let invocations = self.invocations()? - invocations;
            self.check(disturbances)?;
            // Other programs disturb both; rounds that they spoil are measured again, as long as there is patience.
            let spoilt = before.max(beside_it);
            let left = self.rounds * ATTEMPTS - round;
            if spoilt > others::TOLERATED && left > self.rounds - quiet.len() {
                continue;
            }
            passed_s += started.elapsed().as_secs_f64();
            done += invocations;
            others = others.max(spoilt);
            quiet.push(sample);
            busy.push(disturbed);
            if quiet.len() == self.rounds {
                break;
            }
        }
        let hooks = disturbances.iter().any(|one| matches!(one, Disturbance::Hooks | Disturbance::BadHooks));
        let (quiet, busy) = (Sample::together(quiet), Sample::together(busy));
        Ok(Disturbed {
            workload: workload.name.clone(),
            beside,
            operations_per_second: busy.per_second(),
            p50_ms: busy.percentile_ms(0.50),
            p99_ms: busy.percentile_ms(0.99),
            quiet_p50_ms: quiet.percentile_ms(0.50),
            quiet_p99_ms: quiet.percentile_ms(0.99),
            invocations_per_second: hooks.then(|| done as f64 / passed_s),
            others,
        })
    }

    /// A round, and how many processors other programs took meanwhile.
    fn watched(
        &self,
        workload: &Workload,
        aerie: &Aerie,
        round: usize,
        disturbances: &[Disturbance],
    ) -> Result<(Sample, f64), String> {
        // Uploads that start bad hooks are not what disturbs: where there is no rule, they are sent as well.
        let uploads = disturbances.contains(&Disturbance::BadHooks).then(|| self.uploads(aerie));
        let watch = Watch::start(&[&self.quiet, &self.busy]);
        let sample = workload.round(&aerie.target, round, self.duration)?;
        let others = watch.others();
        uploads.map_or(Ok(()), Uploads::end)?;
        Ok((sample, others))
    }

    fn uploads(&self, aerie: &Aerie) -> Uploads {
        Uploads::start(&aerie.target, &self.bad, &self.picture)
    }

    /// Makes sure that the disturbance lasts for a round.
    fn keep_on(&self, disturbances: &[Disturbance]) -> Result<(), String> {
        for disturbance in disturbances {
            match disturbance {
                Disturbance::Hooks => self.queue_pictures()?,
                Disturbance::Loops | Disturbance::BadHooks => {}
                Disturbance::Scrub if self.walks("scrub")? => {}
                Disturbance::Scrub => {
                    self.busy.command(&["scrub"])?;
                    self.until("the scrub has begun", |status| status["heal"]["walk"]["kind"] == "scrub")?;
                }
                Disturbance::Rebuild => {
                    self.until("a rebuild is under way", |status| status["heal"]["walk"]["kind"] == "rebuild")?
                }
            }
        }
        Ok(())
    }

    /// It did last.
    fn check(&self, disturbances: &[Disturbance]) -> Result<(), String> {
        for disturbance in disturbances {
            let lasted = match disturbance {
                Disturbance::Hooks | Disturbance::BadHooks => self.pending()? > 0,
                // One scrub may end and be followed by the next.
                Disturbance::Loops | Disturbance::Scrub => true,
                Disturbance::Rebuild => self.walks("rebuild")?,
            };
            if !lasted {
                return Err("what disturbs ended before the round did; use fewer seconds".to_owned());
            }
        }
        Ok(())
    }

    fn walks(&self, kind: &str) -> Result<bool, String> {
        Ok(status(&self.busy)?["heal"]["walk"]["kind"] == kind)
    }

    fn pending(&self) -> Result<u64, String> {
        Ok(status(&self.busy)?["outbox"]["pending"].as_u64().unwrap_or(0))
    }

    /// What hooks have begun so far, whatever came of it.
    fn invocations(&self) -> Result<u64, String> {
        let hooks = self.stats()?;
        let each = hooks.as_object().ok_or("the statistics of hooks are no object")?.values();
        Ok(each.filter_map(|hook| hook["invocations"].as_u64()).sum())
    }

    fn stats(&self) -> Result<Value, String> {
        let text = self.busy.command(&["hook", "stats"])?;
        serde_json::from_str(&text).map_err(|error| format!("the statistics of hooks cannot be read: {error}"))
    }

    /// Installs the bad hooks, and lets them begin.
    fn wire_bad_hooks(&mut self, folder: &Path) -> Result<(), String> {
        bad_hooks::prepare(&self.quiet, folder, false)?;
        self.bad = bad_hooks::prepare(&self.busy, folder, true)?;
        let uploads = self.uploads(&self.busy);
        std::thread::sleep(BAD_HOOKS_LEAD);
        uploads.end()
    }

    /// Has enough pictures wait for a round, and a little longer.
    fn queue_pictures(&self) -> Result<(), String> {
        let needed = ((self.duration.as_secs_f64() + 1.0) * PICTURES_PER_SECOND) as usize * others::processors();
        while (self.pending()? as usize) < needed {
            let prefix = format!("picture-{}", self.pictures.replace(self.pictures.get() + 1));
            work::put_same(&self.busy.target, PICTURE_BUCKET, &prefix, needed, &self.picture)?;
        }
        Ok(())
    }

    /// With nothing else to do, the hooks leave no processor idle.
    fn check_saturation(&self) -> Result<(), String> {
        let watch = Watch::start(&[&self.busy]);
        std::thread::sleep(Duration::from_secs(1));
        let (own, others, all) = (watch.own(), watch.others(), others::processors() as f64);
        match own + others >= SATURATED * all {
            true => Ok(()),
            false => Err(format!("hooks keep {own:.2} of {all} processors busy: they do not saturate them")),
        }
    }

    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<(), String> {
        let started = Instant::now();
        while !holds(&status(&self.busy)?) {
            if started.elapsed() > PATIENCE {
                return Err(format!("not in time: {what}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn replace_drive(&mut self) -> Result<(), String> {
        self.busy.stop();
        let replaced = self.busy.drive(REPLACED);
        let emptied = std::fs::remove_dir_all(&replaced).and_then(|()| std::fs::create_dir(&replaced));
        emptied.map_err(|error| format!("{}: {error}", replaced.display()))?;
        self.busy.resume()
    }
}

/// Ends with the value.
struct Loops {
    stop: Arc<AtomicBool>,
}

impl Loops {
    fn start() -> Loops {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..others::processors() {
            let stopped = stop.clone();
            std::thread::spawn(move || {
                aerie::seam::thread::compute_in_background();
                while !stopped.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Loops { stop }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn status(aerie: &Aerie) -> Result<Value, String> {
    let text = aerie.command(&["status"])?;
    serde_json::from_str(&text).map_err(|error| format!("the status cannot be read: {error}"))
}

fn picture() -> Result<Vec<u8>, String> {
    let path = source("tests/pictures/astronaut.jpg");
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
