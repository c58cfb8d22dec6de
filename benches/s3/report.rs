//! The table and its JSON.

use crate::client::Target;
use crate::limits::Machine;
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
        samples.sort_by(|a, b| throughput(a).total_cmp(&throughput(b)));
        let median = &samples[samples.len() / 2];
        let percentile = |p: f64| {
            let latencies = &median.latencies_us;
            let at = ((latencies.len() as f64 * p) as usize).min(latencies.len().saturating_sub(1));
            latencies.get(at).map_or(f64::NAN, |&us| f64::from(us) / 1e3)
        };
        Row {
            workload: workload.name.clone(),
            target: target.name.clone(),
            connections: workload.connections,
            operations_per_second: throughput(median),
            mib_per_second: throughput(median) * workload.bytes as f64 / f64::from(1 << 20),
            p50_ms: percentile(0.50),
            p99_ms: percentile(0.99),
            server_cpu_us: median.server_cpu_us,
        }
    }

    pub fn line(&self) -> String {
        let cpu = self.server_cpu_us.map_or("-".to_owned(), |us| format!("{us:.0}"));
        format!(
            "| {} | {} | {} | {:.0} | {:.0} | {:.2} / {:.2} | {cpu} |",
            self.workload,
            self.target,
            self.connections,
            self.operations_per_second,
            self.mib_per_second,
            self.p50_ms,
            self.p99_ms
        )
    }
}

fn throughput(sample: &Sample) -> f64 {
    sample.operations as f64 / sample.seconds
}

pub fn print(machine: &Machine, rows: &[Row]) {
    println!();
    println!("| workload | target | connections | op/s | MiB/s | p50 / p99 ms | server CPU µs per op |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        println!("{}", row.line());
    }
    println!();
    println!(
        "machine: {} cores; memcpy {:.1} GB/s, MD5 (one stream) {:.2} GB/s, loopback TCP {:.1} GB/s, 4 KiB append + fdatasync {:.0} µs",
        machine.cores, machine.memcpy_gb_s, machine.md5_gb_s, machine.loopback_gb_s, machine.fdatasync_us
    );
}

pub fn json(machine: &Machine, rows: &[Row]) -> String {
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "workload": row.workload, "target": row.target, "connections": row.connections,
                "operations_per_second": row.operations_per_second, "mib_per_second": row.mib_per_second,
                "p50_ms": row.p50_ms, "p99_ms": row.p99_ms, "server_cpu_us_per_operation": row.server_cpu_us,
            })
        })
        .collect();
    let document = serde_json::json!({
        "machine": {
            "cores": machine.cores, "memcpy_gb_s": machine.memcpy_gb_s, "md5_gb_s": machine.md5_gb_s,
            "loopback_gb_s": machine.loopback_gb_s, "fdatasync_us": machine.fdatasync_us,
        },
        "rows": rows,
    });
    format!("{document:#}\n")
}
