//! 4 KiB GETs and PUTs while the store does something else: what a robot's uploads feel of a scrub, a rebuild or a hook.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Aerie;
use crate::work::{self, Sample, Workload};

/// One workload beside one disturbance: the round with the median p99.
pub struct Disturbed {
    workload: String,
    beside: &'static str,
    operations_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// p99 to that of the same workload with nothing beside it.
    ratio: f64,
}

impl Disturbed {
    pub fn line(&self) -> String {
        format!(
            "| {} | {} | {:.0} | {:.2} / {:.2} | {:.2} |",
            self.workload, self.beside, self.operations_per_second, self.p50_ms, self.p99_ms, self.ratio
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "workload": self.workload, "beside": self.beside, "operations_per_second": self.operations_per_second,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "quiet_p99_ratio": self.ratio,
        })
    }
}

/// Objects of 1 MiB that scrub and rebuild walk over: at the usual budget more than they manage while they are watched.
const WALKED_OBJECTS: usize = 768;
/// Pictures that wait for the hook. One takes some milliseconds.
const PICTURES: usize = 4000;
const PICTURE_BUCKET: &str = "aerie-bench-pictures";
/// Folder that is emptied for the rebuild.
const REPLACED: usize = 2;

pub fn measure(aerie: &mut Aerie, rounds: usize, seconds: f64) -> Result<Vec<Disturbed>, String> {
    let mut watch = Watch { rounds, duration: Duration::from_secs_f64(seconds), quiet: Vec::new(), seen: Vec::new() };
    work::prepare(&aerie.target, work::BUCKET)?;
    work::put_numbered(&aerie.target, work::BUCKET, "walked", WALKED_OBJECTS, 1 << 20, Duration::MAX)?;
    for workload in work::foreground() {
        workload.fill(&aerie.target)?;
    }
    watch.beside("nothing", aerie, |_| Ok(()))?;
    watch.beside("scrub", aerie, |aerie| aerie.command(&["scrub"]).map(|_| ()))?;

    aerie.stop();
    let replaced = aerie.drive(REPLACED);
    let emptied = std::fs::remove_dir_all(&replaced).and_then(|()| std::fs::create_dir(&replaced));
    emptied.map_err(|error| format!("{}: {error}", replaced.display()))?;
    aerie.resume()?;
    watch.beside("rebuild", aerie, |aerie| is_walking(aerie, "rebuild"))?;

    aerie.command(&["model", "add", "faces", &source("wasm-hooks/models/blazeface.onnx")])?;
    aerie.wire(PICTURE_BUCKET, "faces")?;
    put_pictures(aerie)?;
    watch.beside("inference", aerie, has_work)?;
    Ok(watch.seen)
}

struct Watch {
    rounds: usize,
    duration: Duration,
    quiet: Vec<(String, f64)>,
    seen: Vec<Disturbed>,
}

impl Watch {
    /// `keep_on` is called before and after each round: it makes sure that the disturbance goes on.
    fn beside(
        &mut self,
        beside: &'static str,
        aerie: &Aerie,
        keep_on: impl Fn(&Aerie) -> Result<(), String>,
    ) -> Result<(), String> {
        for workload in work::foreground() {
            let mut samples = Vec::new();
            for round in 0..self.rounds {
                keep_on(aerie)?;
                samples.push(workload.round(&aerie.target, round, self.duration)?);
                keep_on(aerie)?;
            }
            let row = self.row(&workload, beside, samples);
            println!("{}", row.line());
            self.seen.push(row);
        }
        Ok(())
    }

    fn row(&mut self, workload: &Workload, beside: &'static str, mut samples: Vec<Sample>) -> Disturbed {
        samples.sort_by(|a, b| a.percentile_ms(0.99).total_cmp(&b.percentile_ms(0.99)));
        let median = &samples[samples.len() / 2];
        let p99_ms = median.percentile_ms(0.99);
        let quiet = match self.quiet.iter().find(|(name, _)| *name == workload.name) {
            Some((_, quiet)) => *quiet,
            None => {
                self.quiet.push((workload.name.clone(), p99_ms));
                p99_ms
            }
        };
        Disturbed {
            workload: workload.name.clone(),
            beside,
            operations_per_second: median.per_second(),
            p50_ms: median.percentile_ms(0.50),
            p99_ms,
            ratio: p99_ms / quiet,
        }
    }
}

fn status(aerie: &Aerie) -> Result<Value, String> {
    let text = aerie.command(&["status"])?;
    serde_json::from_str(&text).map_err(|error| format!("the status cannot be read: {error}"))
}

fn is_walking(aerie: &Aerie, kind: &str) -> Result<(), String> {
    let status = status(aerie)?;
    match status["heal"]["walk"]["kind"] == kind {
        true => Ok(()),
        false => Err(format!("no {kind} is under way: {}", status["heal"])),
    }
}

fn has_work(aerie: &Aerie) -> Result<(), String> {
    let status = status(aerie)?;
    match status["outbox"]["pending"].as_u64() {
        Some(pending) if pending > 0 => Ok(()),
        _ => Err(format!("the hook has nothing left to do: {}", status["outbox"])),
    }
}

fn put_pictures(aerie: &Aerie) -> Result<(), String> {
    let path = source("tests/pictures/astronaut.jpg");
    let picture = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    work::put_same(&aerie.target, PICTURE_BUCKET, "picture", PICTURES, &picture)
}

fn source(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}
