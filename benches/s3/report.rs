//! The tables and their JSON: the first target's figures, each peer's beside them, and the ratios.

use serde_json::{Value, json};

use crate::client::Target;
use crate::curve::{self, Grown};
use crate::hooks::Figure;
use crate::limits::Machine;
use crate::under_load::{Disturbed, HEAD};
use crate::work::{Sample, Workload};

/// One workload on one target: the median round.
pub struct Row {
    workload: String,
    target: String,
    connections: usize,
    operations_per_second: f64,
    mib_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_cpu_us: Option<f64>,
}

impl Row {
    pub fn new(workload: &Workload, target: &Target, mut samples: Vec<Sample>) -> Row {
        samples.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
        let median = &samples[samples.len() / 2];
        Row {
            workload: workload.name.clone(),
            target: target.name.clone(),
            connections: workload.connections,
            operations_per_second: median.per_second(),
            mib_per_second: median.per_second() * workload.bytes as f64 / f64::from(1 << 20),
            p50_ms: median.percentile_ms(0.50),
            p99_ms: median.percentile_ms(0.99),
            server_cpu_us: median.server_cpu_us,
        }
    }

    /// `first` is the same workload on the first target.
    pub fn line(&self, first: &Row) -> String {
        let cpu = self.server_cpu_us.map_or("-".to_owned(), |us| format!("{us:.0}"));
        let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let ratios = (self.target != first.target).then(|| self.ratios(first));
        format!(
            "| {} | {} | {} | {:.0} | {:.0} | {:.2} / {:.2} | {cpu} | {} | {} |",
            self.workload,
            self.target,
            self.connections,
            self.operations_per_second,
            self.mib_per_second,
            self.p50_ms,
            self.p99_ms,
            ratio(ratios.map(|(throughput, _)| throughput)),
            ratio(ratios.and_then(|(_, cpu)| cpu)),
        )
    }

    /// How many times more operations a second the first target does, and how much less CPU each of them takes there.
    fn ratios(&self, first: &Row) -> (f64, Option<f64>) {
        let cpu = self.server_cpu_us.zip(first.server_cpu_us).map(|(here, there)| here / there);
        (first.operations_per_second / self.operations_per_second, cpu)
    }

    fn json(&self, rows: &[Row]) -> Value {
        let first = rows.iter().find(|row| row.workload == self.workload).unwrap_or(self);
        let (throughput, cpu) = self.ratios(first);
        json!({
            "workload": self.workload, "target": self.target, "connections": self.connections,
            "operations_per_second": self.operations_per_second, "mib_per_second": self.mib_per_second,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "server_cpu_us_per_operation": self.server_cpu_us,
            "first_target_operations_ratio": throughput, "first_target_cpu_ratio": cpu,
        })
    }
}

/// All that was measured.
#[derive(Default)]
pub struct Measured {
    pub rows: Vec<Row>,
    pub disturbed: Vec<Disturbed>,
    pub hooks: Vec<Figure>,
    pub curve: Vec<Grown>,
}

pub fn print(machine: &Machine, Measured { rows, disturbed, hooks, curve }: &Measured) {
    if let Some(first) = rows.first() {
        println!();
        println!(
            "| workload | target | connections | op/s | MiB/s | p50 / p99 ms | server CPU µs per op | {0} op/s ratio | {0} CPU ratio |",
            first.target
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for row in rows {
            let first = rows.iter().find(|first| first.workload == row.workload).unwrap_or(row);
            println!("{}", row.line(first));
        }
    }
    if !disturbed.is_empty() {
        println!();
        println!("{HEAD}");
        disturbed.iter().for_each(|row| println!("{}", row.line()));
    }
    if !hooks.is_empty() {
        println!();
        println!("| hooks | |");
        println!("|---|---|");
        hooks.iter().for_each(|figure| println!("{}", figure.line()));
    }
    if !curve.is_empty() {
        println!();
        println!("{}", curve::HEAD);
        curve.iter().for_each(|grown| println!("{}", grown.line()));
    }
    println!();
    println!(
        "machine: {} cores; memcpy {:.1} GB/s, MD5 (one stream) {:.2} GB/s, loopback TCP {:.1} GB/s, 4 KiB append + fdatasync {:.0} µs, direct writes to 6 files {:.1} GB/s",
        machine.cores,
        machine.memcpy_gb_s,
        machine.md5_gb_s,
        machine.loopback_gb_s,
        machine.fdatasync_us,
        machine.direct_writes_gb_s
    );
}

pub fn json(machine: &Machine, Measured { rows, disturbed, hooks, curve }: &Measured) -> String {
    let document = json!({
        "machine": {
            "cores": machine.cores, "memcpy_gb_s": machine.memcpy_gb_s, "md5_gb_s": machine.md5_gb_s,
            "loopback_gb_s": machine.loopback_gb_s, "fdatasync_us": machine.fdatasync_us,
            "direct_writes_gb_s": machine.direct_writes_gb_s,
        },
        "rows": rows.iter().map(|row| row.json(rows)).collect::<Vec<_>>(),
        "under_load": disturbed.iter().map(Disturbed::json).collect::<Vec<_>>(),
        "hooks": hooks.iter().map(Figure::json).collect::<Vec<_>>(),
        "curve": curve.iter().map(Grown::json).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
