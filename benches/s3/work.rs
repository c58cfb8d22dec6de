//! The workloads: what is sent, by how many connections, for how long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aerie::seam::thread;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::client::{Client, Connection, Request, Signer, Target, runtime};
use crate::others;

pub const BUCKET: &str = "aerie-bench";
/// Its rule has the server seal every object (SSE-S3).
pub const SEALED_BUCKET: &str = "aerie-bench-sealed";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Put,
    Get,
    /// A GET on a connection of its own.
    Connect,
    List,
    Delete,
}

/// One row of the table.
#[derive(Clone)]
pub struct Workload {
    pub name: String,
    bucket: &'static str,
    operation: Operation,
    pub bytes: usize,
    pub connections: usize,
    /// Objects that must be there before the first round.
    objects: usize,
    /// Of the keys.
    prefix: String,
    /// What the next object that is read has its number raised by.
    stride: u64,
    /// Requests that are sent before this has passed are not counted.
    warm_up: Duration,
}

/// What one round gave.
pub struct Sample {
    pub operations: u64,
    pub seconds: f64,
    /// Sorted, in microseconds.
    pub latencies_us: Vec<u32>,
    pub server_cpu_us: Option<f64>,
}

impl Sample {
    /// The requests of all rounds together; none when there was no round.
    pub fn together(samples: Vec<Sample>) -> Sample {
        let mut all = Sample { operations: 0, seconds: 0.0, latencies_us: Vec::new(), server_cpu_us: None };
        for sample in samples {
            all.operations += sample.operations;
            all.seconds += sample.seconds;
            all.latencies_us.extend(sample.latencies_us);
        }
        all.latencies_us.sort_unstable();
        all
    }

    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// Latency in milliseconds below which `share` of the operations stayed.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let at = ((self.latencies_us.len() as f64 * share) as usize).min(self.latencies_us.len().saturating_sub(1));
        self.latencies_us.get(at).map_or(f64::NAN, |&us| f64::from(us) / 1e3)
    }
}

fn row(name: &str, operation: Operation, bytes: usize, connections: usize, objects: usize) -> Workload {
    let bucket = if name.ends_with("-sealed") { SEALED_BUCKET } else { BUCKET };
    let prefix = match operation {
        Operation::Put => format!("put-{bytes}-{connections}"),
        Operation::Get | Operation::Connect => format!("get-{bytes}"),
        Operation::List => "list".to_owned(),
        Operation::Delete => "delete".to_owned(),
    };
    Workload {
        name: name.to_owned(),
        bucket,
        operation,
        bytes,
        connections,
        objects,
        prefix,
        stride: 1,
        warm_up: Duration::ZERO,
    }
}

/// With `sealed`, some rows once more on objects that the server seals, beside those that they are compared with. With
/// `tls`, what new connections cost.
pub fn workloads(list_keys: usize, sealed: bool, tls: bool) -> Vec<Workload> {
    let mut rows = vec![
        row("put-4k-c1", Operation::Put, 4 << 10, 1, 0),
        row("put-4k", Operation::Put, 4 << 10, 32, 0),
        row("put-1m", Operation::Put, 1 << 20, 8, 0),
        row("put-64m", Operation::Put, 64 << 20, 2, 0),
        row("put-64m-c8", Operation::Put, 64 << 20, 8, 0),
        row("get-4k-c1", Operation::Get, 4 << 10, 1, 2000),
        row("get-4k", Operation::Get, 4 << 10, 32, 2000),
        row("get-4k-connect", Operation::Connect, 4 << 10, 8, 2000),
        row("get-1m", Operation::Get, 1 << 20, 8, 100),
        row("get-64m", Operation::Get, 64 << 20, 2, 4),
        row("list-1000", Operation::List, 0, 4, list_keys),
        row("delete", Operation::Delete, 1 << 10, 32, 0),
        row("put-4k-sealed", Operation::Put, 4 << 10, 32, 0),
        row("put-1m-sealed", Operation::Put, 1 << 20, 8, 0),
        row("get-4k-sealed", Operation::Get, 4 << 10, 32, 2000),
        row("get-1m-sealed", Operation::Get, 1 << 20, 8, 100),
    ];
    rows.retain(|row| (sealed || row.bucket == BUCKET) && (tls || row.operation != Operation::Connect));
    rows.sort_by_key(|row| (row.operation as u8, row.bytes, row.connections, row.bucket));
    rows
}

/// What stands for clients that want to be served while other things go on: 4 KiB GETs and PUTs.
pub fn foreground() -> [Workload; 2] {
    [row("get-4k-c8", Operation::Get, 4 << 10, 8, 2000), row("put-4k-c8", Operation::Put, 4 << 10, 8, 0)]
        .map(|row| Workload { warm_up: FOREGROUND_WARM_UP, ..row })
}

/// Of a server that was stopped until now: by then its caches are its own again.
const FOREGROUND_WARM_UP: Duration = Duration::from_millis(100);

/// Creates the bucket.
pub fn prepare(target: &Target, bucket: &str) -> Result<(), String> {
    put(target, bucket, "", "")
}

/// Creates the bucket whose objects the server seals.
pub fn prepare_sealed(target: &Target) -> Result<(), String> {
    let rule = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
        </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    put(target, SEALED_BUCKET, "", "")?;
    put(target, SEALED_BUCKET, "encryption=", rule)
}

fn put(target: &Target, bucket: &str, query: &str, body: &str) -> Result<(), String> {
    let answer = Client::connect(target)?.send("PUT", &format!("/{bucket}"), query, body.as_bytes())?;
    match answer.status {
        200 | 409 => Ok(()),
        status => Err(format!("{}: PUT of bucket {bucket}?{query} gave {status}: {}", target.name, text(&answer.body))),
    }
}

impl Workload {
    /// Puts the objects that the rounds read.
    pub fn fill(&self, target: &Target) -> Result<(), String> {
        put_numbered(target, self.bucket, &self.prefix, self.objects, self.bytes.max(1), Duration::MAX)?;
        if self.operation == Operation::List {
            self.check_list(target)?;
        }
        Ok(())
    }

    /// A listing that gives less than was asked for would be fast for the wrong reason.
    fn check_list(&self, target: &Target) -> Result<(), String> {
        let answer = Client::connect(target)?.send("GET", &format!("/{}", self.bucket), &self.list_query(0), b"")?;
        let keys = answer.body.windows(5).filter(|w| w == b"<Key>").count();
        match keys == self.objects.saturating_sub(1).min(1000) {
            true => Ok(()),
            false => Err(format!("{}: a listing gave {keys} keys: {}", target.name, text(&answer.body))),
        }
    }

    pub fn round(&self, target: &Target, round: usize, duration: Duration) -> Result<Sample, String> {
        let deleted = format!("delete-{round}");
        let limit = match self.operation {
            Operation::Delete => put_numbered(target, self.bucket, &deleted, DELETES_MAX, self.bytes, DELETE_FILL_MAX)?,
            Operation::Put | Operation::Get | Operation::Connect | Operation::List => u64::MAX,
        };
        let body = noise(if self.operation == Operation::Put { self.bytes } else { 0 });
        // What is known before is signed before the clock runs.
        let mut signer = Signer::new(target);
        let mut sign = |key: String| {
            signer.sign(if self.operation == Operation::Delete { "DELETE" } else { "GET" }, &key, "", b"")
        };
        let ready: Vec<Request> = match self.operation {
            Operation::Get | Operation::Connect => {
                (0..self.objects).map(|n| sign(object(self.bucket, &self.prefix, n as u64 * self.stride))).collect()
            }
            Operation::Delete => (0..limit).map(|n| sign(object(self.bucket, &deleted, n))).collect(),
            Operation::Put | Operation::List => Vec::new(),
        };
        let request = |signer: &mut Signer<'_>, number: u64| match self.operation {
            Operation::Put => {
                signer.sign("PUT", &object(self.bucket, &format!("{}-{round}", self.prefix), number), "", &body)
            }
            _ => {
                let last = (self.objects as u64).saturating_sub(1000).max(1);
                signer.sign(
                    "GET",
                    &format!("/{}", self.bucket),
                    &self.list_query(number.wrapping_mul(7919) % last),
                    b"",
                )
            }
        };
        let started = Instant::now();
        let cpu_before = cpu_us(target);
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let connection = async || -> Result<Vec<u32>, String> {
            let mut connection = Connection::open(target).await?;
            let mut signer = Signer::new(target);
            let mut latencies = Vec::new();
            while started.elapsed() < self.warm_up + duration && !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= limit {
                    break;
                }
                let made;
                let request = match self.operation {
                    Operation::Get | Operation::Connect => {
                        &ready[(number.wrapping_mul(7919) % self.objects as u64) as usize]
                    }
                    Operation::Delete => &ready[number as usize],
                    Operation::Put | Operation::List => {
                        made = request(&mut signer, number);
                        &made
                    }
                };
                let sent = Instant::now();
                if self.operation == Operation::Connect {
                    connection = Connection::open(target).await.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
                }
                let answer =
                    connection.exchange(request, &body).await.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
                if sent - started >= self.warm_up {
                    latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                if answer.status >= 300 {
                    stop.store(true, Ordering::Relaxed);
                    return Err(format!("{} gave {}: {}", self.name, answer.status, text(&answer.body)));
                }
                if matches!(self.operation, Operation::Get | Operation::Connect) && answer.length != self.bytes as u64 {
                    return Err(format!("{}: {} bytes instead of {}", self.name, answer.length, self.bytes));
                }
            }
            Ok(latencies)
        };
        let mut latencies_us = on_connections(self.connections, duration + GRACE, &connection)?.concat();
        let seconds = (started.elapsed() - self.warm_up).as_secs_f64();
        let operations = latencies_us.len() as u64;
        latencies_us.sort_unstable();
        let cpu = cpu_before.zip(cpu_us(target)).map(|(before, after)| (after - before) / operations.max(1) as f64);
        Ok(Sample { operations, seconds, latencies_us, server_cpu_us: cpu })
    }

    /// What the same HTTP stack gives out of memory is beside it.
    pub fn is_large_get(&self) -> bool {
        self.operation == Operation::Get && self.bytes >= 1 << 20 && self.bucket == BUCKET
    }

    /// What the same HTTP stack takes into memory is beside it.
    pub fn is_large_put(&self) -> bool {
        self.operation == Operation::Put && self.bytes >= 1 << 20 && self.bucket == BUCKET
    }

    /// Where its objects are; workloads that read the same ones share it.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.bucket, self.prefix)
    }

    fn list_query(&self, after: u64) -> String {
        let prefix = &self.prefix;
        format!("list-type=2&max-keys=1000&prefix={prefix}%2F&start-after={prefix}%2F{after:08}")
    }
}

/// Objects that are there for a round of deletes, at most.
const DELETES_MAX: usize = 4000;
/// A slow server gets fewer of them: putting them ends by then.
const DELETE_FILL_MAX: Duration = Duration::from_secs(3);
/// What is under way at the end of a round has this long to come back.
const GRACE: Duration = Duration::from_secs(60);

fn object(bucket: &str, prefix: &str, number: u64) -> String {
    format!("/{bucket}/{prefix}/{number:08}")
}

/// Puts `count` objects, or as many as the time allows; gives how many there are.
pub fn put_numbered(
    target: &Target,
    bucket: &str,
    prefix: &str,
    count: usize,
    bytes: usize,
    time: Duration,
) -> Result<u64, String> {
    put_bodies(target, bucket, prefix, 0..count as u64, &noise(bytes), time)
}

/// The row that lists `keys` objects, 1,000 at a time.
pub fn listing(keys: usize) -> Workload {
    row("list-1000", Operation::List, 4 << 10, 4, keys)
}

/// GETs all over the listing's objects, and PUTs and DELETEs beside them.
pub fn beside(listing: &Workload) -> [Workload; 3] {
    let read = listing.objects.min(READ_MAX);
    let get = row("get-4k", Operation::Get, listing.bytes, 32, read);
    let stride = (listing.objects / read.max(1)) as u64;
    [
        Workload { prefix: listing.prefix.clone(), stride, ..get },
        row("put-4k", Operation::Put, 4 << 10, 32, 0),
        row("delete", Operation::Delete, 1 << 10, 32, 0),
    ]
}

/// As many different objects are read, at most: a signed request is kept for each.
const READ_MAX: usize = 20_000;

/// Puts the objects of a listing that are not there yet, beside the `there` first ones.
pub fn fill_listing(target: &Target, listing: &Workload, there: usize) -> Result<(), String> {
    let numbers = there as u64..listing.objects as u64;
    put_bodies(target, listing.bucket, &listing.prefix, numbers, &noise(listing.bytes), Duration::MAX)?;
    listing.check_list(target)
}

/// Puts `count` objects with the same bytes.
pub fn put_same(target: &Target, bucket: &str, prefix: &str, count: usize, body: &[u8]) -> Result<(), String> {
    put_bodies(target, bucket, prefix, 0..count as u64, body, Duration::MAX).map(|_| ())
}

fn put_bodies(
    target: &Target,
    bucket: &str,
    prefix: &str,
    numbers: std::ops::Range<u64>,
    body: &[u8],
    time: Duration,
) -> Result<u64, String> {
    let next = AtomicU64::new(numbers.start);
    let started = Instant::now();
    let connection = async || -> Result<(), String> {
        let mut connection = Connection::open(target).await?;
        let mut signer = Signer::new(target);
        while started.elapsed() < time {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                break;
            }
            let request = signer.sign("PUT", &object(bucket, prefix, number), "", body);
            let answer = connection.exchange(&request, body).await?;
            if answer.status != 200 {
                return Err(format!("filling gave {}: {}", answer.status, text(&answer.body)));
            }
        }
        Ok(())
    };
    on_connections(32.min(numbers.end.saturating_sub(numbers.start) as usize), FILL_MAX, &connection)?;
    Ok(next.into_inner().min(numbers.end))
}

/// Filling a million keys takes two minutes.
const FILL_MAX: Duration = Duration::from_secs(900);

/// Runs `count` connections, spread over one thread for each processor, and gives their results. The threads stay where they
/// are: clients of a store are elsewhere, and how the kernel moves them among its processors is not what is measured.
pub fn on_connections<T: Send>(
    count: usize,
    time: Duration,
    connection: &(impl AsyncFn() -> Result<T, String> + Sync),
) -> Result<Vec<T>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count).max(1);
    let run = |processor: usize, share: usize| -> Result<Vec<T>, String> {
        thread::pin_to(processor);
        let all = async {
            let mut running: FuturesUnordered<_> = (0..share).map(|_| connection()).collect();
            let mut results = Vec::with_capacity(share);
            while let Some(result) = running.next().await {
                results.push(result?);
            }
            Ok(results)
        };
        runtime()?.block_on(async { tokio::time::timeout(time, all).await }).map_err(|_| "no end in time".to_owned())?
    };
    std::thread::scope(|scope| {
        let share = |thread| count / threads + usize::from(thread < count % threads);
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread, share(thread)))).collect();
        let mut results = Vec::with_capacity(count);
        for worker in workers {
            results.extend(worker.join().map_err(|_| "a thread panicked".to_owned())??);
        }
        Ok(results)
    })
}

/// Bytes that do not compress; the same in each run.
pub fn noise(bytes: usize) -> Vec<u8> {
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

pub fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}

/// CPU time of the target's process so far, in microseconds (user and system).
fn cpu_us(target: &Target) -> Option<f64> {
    Some(others::process_s(&target.pid?.to_string()) * 1e6)
}
