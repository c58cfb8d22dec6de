//! The workloads: what is sent, by how many connections, for how long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, Target};

pub const BUCKET: &str = "aerie-bench";
/// Its rule seals every object (SSE-S3).
const SEALED_BUCKET: &str = "aerie-bench-sealed";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Put,
    Get,
    List,
    Delete,
}

/// One row of the table.
pub struct Workload {
    pub name: String,
    bucket: &'static str,
    operation: Operation,
    pub bytes: usize,
    pub connections: usize,
    /// Objects that must be there before the first round.
    objects: usize,
}

/// What one round gave.
pub struct Sample {
    pub operations: u64,
    pub seconds: f64,
    /// Sorted, in microseconds.
    pub latencies_us: Vec<u32>,
    pub server_cpu_us: Option<f64>,
}

/// With `sealed`, the rows of 4 KiB and 1 MiB also on objects that the server seals.
pub fn workloads(list_keys: usize, sealed: bool) -> Vec<Workload> {
    let row = |name: &str, operation, bytes, connections, objects| Workload {
        name: name.to_owned(),
        bucket: if name.ends_with("-sealed") { SEALED_BUCKET } else { BUCKET },
        operation,
        bytes,
        connections,
        objects,
    };
    let mut rows = vec![
        row("put-4k-c1", Operation::Put, 4 << 10, 1, 0),
        row("put-4k", Operation::Put, 4 << 10, 32, 0),
        row("put-1m", Operation::Put, 1 << 20, 8, 0),
        row("put-64m", Operation::Put, 64 << 20, 2, 0),
        row("get-4k-c1", Operation::Get, 4 << 10, 1, 2000),
        row("get-4k", Operation::Get, 4 << 10, 32, 2000),
        row("get-1m", Operation::Get, 1 << 20, 8, 100),
        row("get-64m", Operation::Get, 64 << 20, 2, 4),
        row("list-1000", Operation::List, 0, 4, list_keys),
        row("delete", Operation::Delete, 1 << 10, 32, 0),
    ];
    if sealed {
        rows.extend([
            row("put-4k-sealed", Operation::Put, 4 << 10, 32, 0),
            row("put-1m-sealed", Operation::Put, 1 << 20, 8, 0),
            row("get-4k-sealed", Operation::Get, 4 << 10, 32, 2000),
            row("get-1m-sealed", Operation::Get, 1 << 20, 8, 100),
        ]);
        // Beside the rows that they are compared with.
        rows.sort_by_key(|row| (row.operation as usize, row.bytes, row.connections, row.bucket));
    }
    rows
}

pub fn prepare(target: &Target, sealed: bool) -> Result<(), String> {
    let ask = |what: &str, path: &str, query: &str, body: &str| {
        let answer = Client::connect(target)?.send("PUT", path, query, body.as_bytes())?;
        match answer.status {
            200 | 409 => Ok(()),
            status => Err(format!("{}: {what} gave {status}: {}", target.name, text(&answer.body))),
        }
    };
    ask("creating the bucket", &format!("/{BUCKET}"), "", "")?;
    if sealed {
        let rule = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
            </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
        ask("creating the sealed bucket", &format!("/{SEALED_BUCKET}"), "", "")?;
        ask("setting its rule", &format!("/{SEALED_BUCKET}"), "encryption=", rule)?;
    }
    Ok(())
}

impl Workload {
    /// Puts the objects that the rounds read.
    pub fn fill(&self, target: &Target) -> Result<(), String> {
        self.put_numbered(target, self.prefix(), self.objects, self.bytes.max(1))
    }

    pub fn round(&self, target: &Target, round: usize, duration: Duration) -> Result<Sample, String> {
        let deleted = format!("delete-{round}");
        let bucket = self.bucket;
        if self.operation == Operation::Delete {
            self.put_numbered(target, deleted.clone(), DELETES_PER_ROUND, self.bytes)?;
        }
        let body = noise(if self.operation == Operation::Put { self.bytes } else { 0 });
        let started = Instant::now();
        let cpu_before = cpu_us(target);
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let worker = || -> Result<Vec<u32>, String> {
            let mut client = Client::connect(target)?;
            let mut latencies = Vec::new();
            while started.elapsed() < duration && !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let sent = Instant::now();
                let answer = match self.operation {
                    Operation::Put => {
                        client.send("PUT", &format!("/{bucket}/{}-{round}/{number:08}", self.prefix()), "", &body)?
                    }
                    Operation::Get => {
                        let number = number.wrapping_mul(7919) % self.objects as u64;
                        client.send("GET", &format!("/{bucket}/{}/{number:08}", self.prefix()), "", b"")?
                    }
                    Operation::List => {
                        let after = number.wrapping_mul(7919) % (self.objects as u64).saturating_sub(1000).max(1);
                        let query = format!(
                            "list-type=2&max-keys=1000&prefix={p}%2F&start-after={p}%2F{after:08}",
                            p = self.prefix()
                        );
                        client.send("GET", &format!("/{BUCKET}"), &query, b"")?
                    }
                    Operation::Delete if number >= DELETES_PER_ROUND as u64 => break,
                    Operation::Delete => client.send("DELETE", &format!("/{BUCKET}/{deleted}/{number:08}"), "", b"")?,
                };
                if answer.status >= 300 {
                    stop.store(true, Ordering::Relaxed);
                    return Err(format!("{} gave {}: {}", self.name, answer.status, text(&answer.body)));
                }
                if self.operation == Operation::Get && answer.length != self.bytes as u64 {
                    return Err(format!("{}: {} bytes instead of {}", self.name, answer.length, self.bytes));
                }
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok(latencies)
        };
        let mut latencies_us = in_threads(self.connections, worker)?.concat();
        let seconds = started.elapsed().as_secs_f64();
        let operations = latencies_us.len() as u64;
        latencies_us.sort_unstable();
        let cpu = cpu_before.zip(cpu_us(target)).map(|(before, after)| (after - before) / operations.max(1) as f64);
        Ok(Sample { operations, seconds, latencies_us, server_cpu_us: cpu })
    }

    fn prefix(&self) -> String {
        match self.operation {
            Operation::Put => format!("put-{}-{}", self.bytes, self.connections),
            Operation::Get => format!("get-{}", self.bytes),
            Operation::List => "list".to_owned(),
            Operation::Delete => "delete".to_owned(),
        }
    }

    fn put_numbered(&self, target: &Target, prefix: String, count: usize, bytes: usize) -> Result<(), String> {
        let body = noise(bytes);
        let next = AtomicU64::new(0);
        in_threads(32.min(count), || -> Result<(), String> {
            let mut client = Client::connect(target)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count as u64 {
                    return Ok(());
                }
                let answer = client.send("PUT", &format!("/{}/{prefix}/{number:08}", self.bucket), "", &body)?;
                if answer.status != 200 {
                    return Err(format!("filling gave {}: {}", answer.status, text(&answer.body)));
                }
            }
        })?;
        Ok(())
    }
}

const DELETES_PER_ROUND: usize = 4000;

fn in_threads<T: Send>(count: usize, work: impl Fn() -> Result<T, String> + Sync) -> Result<Vec<T>, String> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        workers.into_iter().map(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?).collect()
    })
}

/// Bytes that do not compress; the same in each run.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}

/// CPU time of the target's process so far, in microseconds (user and system).
fn cpu_us(target: &Target) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", target.pid?)).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks * 1e6 / TICKS_PER_SECOND)
}

/// USER_HZ: 100 on every Linux that Aerie runs on.
const TICKS_PER_SECOND: f64 = 100.0;
