//! Load on S3 endpoints over real sockets: throughput, latency and server CPU per operation, side by side.
//!
//! ```text
//! cargo bench --bench s3 -- --target aerie=http://127.0.0.1:9000,ACCESS,SECRET,PID [--target peer=…]
//!     [--seconds 3] [--rounds 3] [--list-keys 10000] [--sealed] [--only put-4k,get-4k] [--json FILE] [--hook-latency mqtt://HOST:PORT]
//! ```
//!
//! Targets are measured in turns, round by round, because machines are noisy; each figure is the median round. The
//! machine's own limits are measured in the same run. `scripts/bench` starts a server and calls this.
#![expect(clippy::disallowed_methods, reason = "measures the real world")]

mod client;
mod latency;
mod limits;
mod report;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use client::Target;

/// What to run.
struct Plan {
    targets: Vec<Target>,
    seconds: f64,
    rounds: usize,
    list_keys: usize,
    only: Option<Vec<String>>,
    json: Option<String>,
    /// Broker on which the first target's hook results arrive.
    hook_latency: Option<String>,
    /// Also measure objects that the server seals (SSE-S3).
    sealed: bool,
}

fn main() -> ExitCode {
    let plan = match parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(message) => {
            eprintln!("s3 bench: {message}");
            return ExitCode::from(2);
        }
    };
    if plan.targets.is_empty() {
        // `cargo bench` and `cargo test --benches` start every bench; without a server there is nothing to measure.
        println!("s3 bench: no --target given; see benches/s3/main.rs, or run scripts/bench");
        return ExitCode::SUCCESS;
    }
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("s3 bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> Result<(), String> {
    let machine = limits::measure()?;
    if let (Some(mqtt), Some(target)) = (&plan.hook_latency, plan.targets.first()) {
        println!("{}", latency::measure(target, mqtt)?);
    }
    let mut rows = Vec::new();
    for target in &plan.targets {
        work::prepare(target, plan.sealed)?;
    }
    for workload in work::workloads(plan.list_keys, plan.sealed) {
        if plan.only.as_ref().is_some_and(|only| !only.contains(&workload.name)) {
            continue;
        }
        for target in &plan.targets {
            workload.fill(target)?;
        }
        let mut samples: Vec<Vec<work::Sample>> = plan.targets.iter().map(|_| Vec::new()).collect();
        for round in 0..plan.rounds {
            for (target, samples) in plan.targets.iter().zip(&mut samples) {
                samples.push(workload.round(target, round, Duration::from_secs_f64(plan.seconds))?);
            }
        }
        for (target, samples) in plan.targets.iter().zip(samples) {
            let row = report::Row::new(&workload, target, samples);
            println!("{}", row.line());
            rows.push(row);
        }
    }
    report::print(&machine, &rows);
    match &plan.json {
        Some(path) => std::fs::write(path, report::json(&machine, &rows)).map_err(|e| format!("{path}: {e}")),
        None => Ok(()),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan {
        targets: Vec::new(),
        seconds: 3.0,
        rounds: 3,
        list_keys: 10_000,
        only: None,
        json: None,
        hook_latency: None,
        sealed: false,
    };
    while let Some(argument) = arguments.next() {
        if argument == "--sealed" {
            plan.sealed = true;
            continue;
        }
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--target" => plan.targets.push(Target::parse(&value()?)?),
            "--seconds" => plan.seconds = number(&value()?)?,
            "--rounds" => plan.rounds = number(&value()?)?,
            "--list-keys" => plan.list_keys = number(&value()?)?,
            "--only" => plan.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--json" => plan.json = Some(value()?),
            "--hook-latency" => plan.hook_latency = Some(value()?),
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
