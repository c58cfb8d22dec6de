//! Load on S3 endpoints over real sockets: throughput, latency and server CPU per operation, side by side.
//!
//! ```text
//! cargo bench --bench s3 -- --serve target/release/aerie [--peer garage=PATH] [--peer rustfs=PATH]
//!     [--peer NAME=http://IP:PORT,ACCESS,SECRET,PID] [--target NAME=http://IP:PORT,ACCESS,SECRET,PID]
//!     [--seconds 2] [--rounds 3] [--list-keys 10000] [--only put-4k,get-4k] [--json FILE] [--sealed] [--tls]
//!     [--under-load | --hooks | --curve 10000,100000,1000000]
//! ```
//!
//! Targets are measured in turns, round by round, because machines are noisy; each figure is the median round. Ratios
//! are those of the first target. `--serve` starts Aerie; `--under-load` measures its 4 KiB GETs and PUTs beside scrub,
//! rebuild, inference and bad hooks instead (12 rounds of 0.4 s; `--only` names what they stand beside), `--hooks` what
//! hooks themselves do, `--curve` what it is at so many objects. `--tls` measures Aerie below TLS as well, as further
//! targets: the same process, whose address takes both. Objects that GET and DELETE name are signed for before the clock
//! runs; the client runs on one thread for each processor. The machine's own limits are measured in the same run; for
//! large GETs and PUTs, what the server's HTTP stack gives out of memory or takes into it (`memory`), and for PUTs what it
//! takes with the MD5 that S3 wants (`memory and MD5`). `scripts/bench` builds and calls this.
#![expect(clippy::disallowed_methods, reason = "measures the real world")]

#[path = "../../src/hook/tests/bad_hooks.rs"]
mod bad_guests;
mod bad_hooks;
mod client;
mod curve;
#[path = "../../src/hook/tests/guest.rs"]
#[expect(dead_code, reason = "the sandbox's tests use the rest")]
mod guest;
mod hooks;
mod limits;
mod memory;
mod others;
mod process;
mod report;
mod sandbox;
mod stream;
mod subscriber;
mod under_load;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use client::Target;
use process::{Aerie, Process};

/// What to run.
struct Plan {
    /// Aerie's binary, to be started here.
    serve: Option<PathBuf>,
    targets: Vec<Target>,
    peers: Vec<String>,
    /// What is measured decides where nothing is said.
    seconds: Option<f64>,
    rounds: Option<usize>,
    list_keys: usize,
    only: Option<Vec<String>>,
    json: Option<String>,
    /// Measure objects that the server seals (SSE-S3) as well.
    sealed: bool,
    /// Measure Aerie below TLS as well.
    tls: bool,
    under_load: bool,
    hooks: bool,
    /// Measure one server with more and more objects.
    curve: Option<Vec<usize>>,
}

impl Plan {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(3)
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(2.0)
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(memory::ARGUMENT) {
        return ended(memory::serve(std::env::args().nth(2).as_deref()));
    }
    let plan = match parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(message) => {
            eprintln!("s3 bench: {message}");
            return ExitCode::from(2);
        }
    };
    if plan.targets.is_empty() && plan.serve.is_none() {
        // `cargo bench` and `cargo test --benches` start every bench; without a server there is nothing to measure.
        println!("s3 bench: no server given; see benches/s3/main.rs, or run scripts/bench");
        return ExitCode::SUCCESS;
    }
    ended(run(&plan))
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("s3 bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> Result<(), String> {
    let work = tempfile::Builder::new().prefix("aerie-bench.").tempdir().map_err(|error| error.to_string())?;
    let machine = limits::measure(work.path())?;
    let mut measured = report::Measured::default();
    match &plan.serve {
        Some(binary) if plan.under_load => {
            let rounds = plan.rounds.unwrap_or(under_load::ROUNDS);
            let seconds = plan.seconds.unwrap_or(under_load::SECONDS);
            measured.disturbed = under_load::measure(binary, work.path(), rounds, seconds, plan.only.as_deref())?;
        }
        Some(binary) if plan.hooks => measured.hooks = hooks::measure(binary, work.path())?,
        Some(binary) if plan.curve.is_some() => {
            let counts = plan.curve.as_deref().unwrap_or_default();
            measured.curve = curve::measure(binary, work.path(), counts, plan.rounds(), plan.seconds())?;
        }
        None if plan.under_load || plan.hooks || plan.curve.is_some() => {
            return Err("--under-load, --hooks and --curve need --serve: they start and stop the server".to_owned());
        }
        serve => {
            let folder = work.path().join("aerie");
            let mut aerie = serve.as_ref().map(|binary| Aerie::start(binary, &folder, "", plan.tls)).transpose()?;
            let (_processes, targets) = targets(plan, aerie.as_ref(), work.path())?;
            let memory = memory::Servers::start(work.path())?;
            measured.rows = side_by_side(plan, &targets, &memory)?;
            if let Some(aerie) = &mut aerie {
                aerie.stop();
            }
        }
    }
    report::print(&machine, &measured);
    match &plan.json {
        Some(path) => {
            std::fs::write(path, report::json(&machine, &measured)).map_err(|error| format!("{path}: {error}"))
        }
        None => Ok(()),
    }
}

/// Aerie first, then what was named; with the processes that were started for them.
fn targets(plan: &Plan, aerie: Option<&Aerie>, work: &Path) -> Result<(Vec<Process>, Vec<Target>), String> {
    let mut targets: Vec<Target> = aerie.map(|aerie| aerie.target.clone()).into_iter().collect();
    if plan.tls {
        targets.extend(aerie.ok_or("--tls needs --serve: it makes the certificate")?.secure()?);
    }
    targets.extend(plan.targets.iter().cloned());
    let mut processes = Vec::new();
    for (number, peer) in plan.peers.iter().enumerate() {
        let (process, target) = process::peer(peer, &work.join(format!("peer-{number}")))?;
        processes.extend(process);
        targets.push(target);
    }
    Ok((processes, targets))
}

fn side_by_side(plan: &Plan, targets: &[Target], memory: &memory::Servers) -> Result<Vec<report::Row>, String> {
    let mut rows: Vec<report::Row> = Vec::new();
    for target in targets {
        work::prepare(target, work::BUCKET)?;
        if plan.sealed {
            work::prepare_sealed(target)?;
        }
    }
    let mut filled: Vec<String> = Vec::new();
    for workload in work::workloads(plan.list_keys, plan.sealed, plan.tls) {
        if plan.only.as_ref().is_some_and(|only| !only.contains(&workload.name)) {
            continue;
        }
        if !filled.contains(&workload.folder()) {
            for target in targets {
                workload.fill(target)?;
            }
            filled.push(workload.folder());
        }
        let memory = [
            Some(&memory.plain).filter(|_| workload.is_large_get() || workload.is_large_put()),
            Some(&memory.hashing).filter(|_| workload.is_large_put()),
        ];
        let measured: Vec<&Target> = targets.iter().chain(memory.into_iter().flatten()).collect();
        let mut samples: Vec<Vec<work::Sample>> = measured.iter().map(|_| Vec::new()).collect();
        for round in 0..plan.rounds() {
            for (target, samples) in measured.iter().zip(&mut samples) {
                samples.push(workload.round(target, round, Duration::from_secs_f64(plan.seconds()))?);
            }
        }
        let first = rows.len();
        for (target, samples) in measured.into_iter().zip(samples) {
            rows.push(report::Row::new(&workload, target, samples));
            println!("{}", rows[rows.len() - 1].line(&rows[first]));
        }
    }
    Ok(rows)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan {
        serve: None,
        targets: Vec::new(),
        peers: Vec::new(),
        seconds: None,
        rounds: None,
        list_keys: 10_000,
        only: None,
        json: None,
        sealed: false,
        tls: false,
        under_load: false,
        hooks: false,
        curve: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--serve" => plan.serve = Some(PathBuf::from(value()?)),
            "--target" => plan.targets.push(Target::parse(&value()?)?),
            "--peer" => plan.peers.push(value()?),
            "--seconds" => plan.seconds = Some(number(&value()?)?),
            "--rounds" => plan.rounds = Some(number::<usize>(&value()?)?.max(1)),
            "--list-keys" => plan.list_keys = number(&value()?)?,
            "--only" => plan.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--json" => plan.json = Some(value()?),
            "--sealed" => plan.sealed = true,
            "--tls" => plan.tls = true,
            "--under-load" => plan.under_load = true,
            "--hooks" => plan.hooks = true,
            "--curve" => plan.curve = Some(value()?.split(',').map(number).collect::<Result<_, _>>()?),
            // Cargo itself passes this one.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(plan)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
