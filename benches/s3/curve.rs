//! What is stored should cost nothing: listings, GETs, PUTs and DELETEs at more and more objects of 4 KiB, the memory that
//! the server holds, and how long it takes to be ready after it was killed.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Aerie;
use crate::work::{self, Sample, Workload};

/// The server with so many objects.
pub struct Grown {
    objects: usize,
    /// Each workload's median round.
    samples: Vec<(String, Sample)>,
    resident_mib: f64,
    /// From `kill -9` to the ready line of the next process.
    start_ms: f64,
}

pub const HEAD: &str = "| objects | LIST of 1,000, /s (ms p50) | GET 4 KiB, /s (ms p50) | PUT 4 KiB, /s (ms p50) | DELETE, /s (ms p50) \
    | resident, MiB | start after kill -9, ms |\n|---|---|---|---|---|---|---|";

impl Grown {
    pub fn line(&self) -> String {
        let figure =
            |(_, sample): &(String, Sample)| format!("{:.0} ({:.2})", sample.per_second(), sample.percentile_ms(0.5));
        let samples: Vec<String> = self.samples.iter().map(figure).collect();
        format!("| {} | {} | {:.0} | {:.0} |", self.objects, samples.join(" | "), self.resident_mib, self.start_ms)
    }

    pub fn json(&self) -> Value {
        let figure = |(name, sample): &(String, Sample)| {
            let value = json!({
                "operations_per_second": sample.per_second(), "p50_ms": sample.percentile_ms(0.5),
                "p99_ms": sample.percentile_ms(0.99), "server_cpu_us_per_operation": sample.server_cpu_us,
            });
            (name.clone(), value)
        };
        let workloads: serde_json::Map<String, Value> = self.samples.iter().map(figure).collect();
        json!({
            "objects": self.objects, "workloads": workloads, "resident_mib": self.resident_mib, "start_ms": self.start_ms,
        })
    }
}

/// One server, filled up to each of `counts` in turn.
pub fn measure(
    binary: &Path,
    work: &Path,
    counts: &[usize],
    rounds: usize,
    seconds: f64,
) -> Result<Vec<Grown>, String> {
    let mut aerie = Aerie::start(binary, &work.join("aerie"), "", false)?;
    work::prepare(&aerie.target, work::BUCKET)?;
    let mut grown: Vec<Grown> = Vec::new();
    for &objects in counts {
        let listing = work::listing(objects);
        work::fill_listing(&aerie.target, &listing, grown.last().map_or(0, |before| before.objects))?;
        let beside = work::beside(&listing);
        let samples = [listing]
            .into_iter()
            .chain(beside)
            .map(|row| Ok((row.name.clone(), median(&row, &aerie, rounds, seconds)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let resident_mib = aerie.resident_mib()?;
        aerie.kill();
        let killed = Instant::now();
        aerie.resume()?;
        let row = Grown { objects, samples, resident_mib, start_ms: killed.elapsed().as_secs_f64() * 1e3 };
        println!("{}", row.line());
        grown.push(row);
    }
    aerie.stop();
    Ok(grown)
}

fn median(row: &Workload, aerie: &Aerie, rounds: usize, seconds: f64) -> Result<Sample, String> {
    let time = Duration::from_secs_f64(seconds);
    let mut samples =
        (0..rounds).map(|round| row.round(&aerie.target, round, time)).collect::<Result<Vec<_>, String>>()?;
    samples.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
    Ok(samples.swap_remove(samples.len() / 2))
}
