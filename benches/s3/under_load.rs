//! 4 KiB GETs and PUTs while the store does something else: what a robot's uploads feel of a scrub, a rebuild, hooks that
//! compute on every processor, and of rebuild and hooks together.
//!
//! Two servers of one kind take turns, round by round: one that has nothing else to do, and one that is disturbed. Who is
//! not measured is stopped in its tracks (SIGSTOP), so that both meet the same machine at nearly the same time. Objects of
//! the measured rows start no hook. Each figure is the median of its rounds. A GET's p99 jumps between two values where
//! client and server fill the processors, so what all rows saw of the quiet server counts for each.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

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
            "| {} | {} | {:.0} | {:.2} / {:.2} | {:.2} | {:.2} | {hooks} | {:.2} |",
            self.workload,
            self.beside,
            self.operations_per_second,
            self.p50_ms,
            self.p99_ms,
            self.quiet_p99_ms,
            self.ratio(),
            self.others,
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "workload": self.workload, "beside": self.beside, "operations_per_second": self.operations_per_second,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "quiet_p99_ms": self.quiet_p99_ms,
            "quiet_p99_ratio": self.ratio(), "invocations_per_second": self.invocations_per_second,
            "processors_of_others": self.others,
        })
    }
}

pub const HEAD: &str = "| workload | beside | op/s | p50 / p99 ms | quiet p99 ms | p99 to the quiet p99 | hooks/s | processors of others |\n\
     |---|---|---|---|---|---|---|---|";

const PICTURE_BUCKET: &str = "aerie-bench-pictures";
/// Folder that is emptied for the rebuild.
const REPLACED: usize = 2;
/// Objects of 1 MiB that walks pass in a second of their usual budget, rounded up.
const WALKED_PER_SECOND: f64 = 44.0;
/// Seconds of walking beside what is measured: pictures are stored meanwhile, commands are sent.
const WALK_MARGIN_S: f64 = 20.0;
/// Rounds of a row, those that are measured again among them.
const ROUNDS_MAX: usize = 100;
/// Pictures that one processor's hooks look at in a second, at most.
const PICTURES_PER_SECOND: f64 = 250.0;
/// Hooks that keep less than this share of the processors busy do not saturate them.
const SATURATED: f64 = 0.85;
/// Whatever is waited for has come by then.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn measure(binary: &Path, folder: &Path, rounds: usize, seconds: f64) -> Result<Vec<Disturbed>, String> {
    let processors = others::processors();
    let settings = format!("[outbox]\nhook_threads = {processors}\n[inference]\nruns = {processors}\n");
    let start = |name: &str| Aerie::start(binary, &folder.join(name), &settings, false);
    let (quiet, busy) = (start("quiet")?, start("busy")?);
    let duration = Duration::from_secs_f64(seconds);
    let mut bench = Bench { quiet, busy, rounds, duration, picture: picture()?, pictures: Cell::new(0), seen: vec![] };
    bench.fill()?;

    bench.busy.command(&[
        "model",
        "add",
        "faces",
        &source("wasm-hooks/models/blazeface.onnx").display().to_string(),
    ])?;
    bench.busy.wire(PICTURE_BUCKET, "faces")?;
    bench.queue_pictures()?;
    bench.check_saturation()?;
    bench.beside("inference", &[Disturbance::Hooks])?;
    bench.until("hooks have ended", |status| status["outbox"]["pending"] == 0)?;

    bench.beside("scrub", &[Disturbance::Scrub])?;

    bench.replace_drive()?;
    bench.beside("rebuild", &[Disturbance::Rebuild])?;
    // A rebuild verifies each block that it passes, as a scrub does; a scrub that is asked for meanwhile follows it within
    // the same budget.
    bench.busy.command(&["scrub"])?;
    bench.beside("rebuild, scrub and inference", &[Disturbance::Rebuild, Disturbance::Hooks])?;
    share_quiet(&mut bench.seen);
    Ok(bench.seen)
}

/// Holds each row against the median of what all rows of its workload saw of the quiet server.
fn share_quiet(rows: &mut [Disturbed]) {
    let seen: Vec<(String, f64)> = rows.iter().map(|row| (row.workload.clone(), row.quiet_p99_ms)).collect();
    for row in rows {
        let same = seen.iter().filter(|(workload, _)| *workload == row.workload);
        let mut quiet: Vec<f64> = same.map(|(_, p99_ms)| *p99_ms).collect();
        quiet.sort_by(f64::total_cmp);
        row.quiet_p99_ms = (quiet[(quiet.len() - 1) / 2] + quiet[quiet.len() / 2]) / 2.0;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Hooks,
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
    seen: Vec<Disturbed>,
}

impl Bench {
    fn fill(&self) -> Result<(), String> {
        let measured_s = (work::foreground().len() * 2 * self.rounds) as f64 * self.duration.as_secs_f64();
        let walked = ((measured_s + WALK_MARGIN_S) * WALKED_PER_SECOND) as usize;
        for aerie in [&self.quiet, &self.busy] {
            work::prepare(&aerie.target, work::BUCKET)?;
            work::put_numbered(&aerie.target, work::BUCKET, "walked", walked, 1 << 20, Duration::MAX)?;
            for workload in work::foreground() {
                workload.fill(&aerie.target)?;
                // The first requests of a server meet cold caches.
                workload.round(&aerie.target, 0, self.duration)?;
            }
        }
        Ok(())
    }

    fn beside(&mut self, beside: &'static str, disturbances: &[Disturbance]) -> Result<(), String> {
        for workload in work::foreground() {
            let (mut quiet, mut busy): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
            let (mut others, mut done, mut passed_s) = (0f64, 0, 0.0);
            let (mut round, mut measured) = (0, 0);
            while measured < self.rounds {
                self.busy.pause()?;
                self.quiet.go_on()?;
                // No two rounds write the same keys.
                let number = (self.seen.len() + 1) * ROUNDS_MAX + round;
                let (sample, before) = self.watched(&workload, &self.quiet, number)?;
                self.quiet.pause()?;
                self.busy.go_on()?;
                self.keep_on(disturbances)?;
                let (started, pending) = (Instant::now(), self.pending()?);
                let (disturbed, beside_it) = self.watched(&workload, &self.busy, number)?;
                let left = self.pending()?;
                self.check(disturbances, left)?;
                round += 1;
                // Other programs disturb both; rounds that they spoil are measured again, as long as there is patience.
                let spoilt = before.max(beside_it);
                if spoilt > others::TOLERATED && round < (self.rounds * 3).min(ROUNDS_MAX) {
                    continue;
                }
                measured += 1;
                passed_s += started.elapsed().as_secs_f64();
                done += pending.saturating_sub(left);
                others = others.max(spoilt);
                quiet.push(sample);
                busy.push(disturbed);
            }
            let invocations = disturbances.contains(&Disturbance::Hooks).then(|| done as f64 / passed_s);
            let row = row(&workload, beside, &mut quiet, &mut busy, invocations, others);
            println!("{}", row.line());
            self.seen.push(row);
        }
        self.quiet.go_on()
    }

    /// A round, and how many processors other programs took meanwhile.
    fn watched(&self, workload: &Workload, aerie: &Aerie, round: usize) -> Result<(Sample, f64), String> {
        let watch = Watch::start(&[&self.quiet, &self.busy]);
        let sample = workload.round(&aerie.target, round, self.duration)?;
        Ok((sample, watch.others()))
    }

    /// Makes sure that the disturbance lasts for a round.
    fn keep_on(&self, disturbances: &[Disturbance]) -> Result<(), String> {
        for disturbance in disturbances {
            match disturbance {
                Disturbance::Hooks => self.queue_pictures()?,
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
    fn check(&self, disturbances: &[Disturbance], pending: u64) -> Result<(), String> {
        for disturbance in disturbances {
            let lasted = match disturbance {
                Disturbance::Hooks => pending > 0,
                // One scrub may end and be followed by the next.
                Disturbance::Scrub => true,
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

fn row(
    workload: &Workload,
    beside: &'static str,
    quiet: &mut [Sample],
    busy: &mut [Sample],
    invocations_per_second: Option<f64>,
    others: f64,
) -> Disturbed {
    let (quiet, busy) = (median(quiet), median(busy));
    Disturbed {
        workload: workload.name.clone(),
        beside,
        operations_per_second: busy.per_second(),
        p50_ms: busy.percentile_ms(0.50),
        p99_ms: busy.percentile_ms(0.99),
        quiet_p99_ms: quiet.percentile_ms(0.99),
        invocations_per_second,
        others,
    }
}

/// The round with the median p99.
fn median(samples: &mut [Sample]) -> &Sample {
    samples.sort_by(|a, b| a.percentile_ms(0.99).total_cmp(&b.percentile_ms(0.99)));
    &samples[samples.len() / 2]
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
