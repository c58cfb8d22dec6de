//! The server's HTTP stack without the store: hyper over monoio's sockets, a thread for each processor, answers out of
//! memory, and takes bodies into memory. What a large GET or PUT lacks to its figure is what drives, checksums and S3 cost.
//! A second one computes the MD5 of what it takes, which S3 wants, in the server's own way: no server on this machine that
//! answers with an ETag does more.
//!
//! It runs as a process of its own, this bench started again, so that its CPU time is told from the client's.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use aerie::hash::BatchedMd5;
use aerie::limits::STRIPE_BYTES;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use monoio::io::IntoPollIo;
use monoio::net::{TcpListener, TcpStream};
use monoio_compat::hyper::MonoioIo;

use crate::client::Target;
use crate::process::Process;
use crate::stream::Security;
use crate::work::noise;

/// The argument that makes this bench such a server.
pub const ARGUMENT: &str = "--serve-memory";
/// What follows it where it is to hash what it takes.
const HASHING: &str = "md5";
/// The largest answer.
const BYTES_MAX: usize = 64 << 20;
/// As much as the store reads for the largest objects: answers out of less memory would come from the processor's cache.
const MEMORY_BYTES: usize = 4 * BYTES_MAX;

/// Both servers; they end with their processes.
pub struct Servers {
    pub plain: Target,
    pub hashing: Target,
    _processes: [Process; 2],
}

impl Servers {
    pub fn start(folder: &Path) -> Result<Servers, String> {
        let (first, plain) = start(folder, "memory", None)?;
        let (second, hashing) = start(folder, "memory and MD5", Some(HASHING))?;
        Ok(Servers { plain, hashing, _processes: [first, second] })
    }
}

fn start(folder: &Path, name: &str, mode: Option<&str>) -> Result<(Process, Target), String> {
    let bench = std::env::current_exe().map_err(|error| error.to_string())?;
    let (log, ready) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.ready")));
    let out = std::fs::File::create(&ready).map_err(|error| format!("{}: {error}", ready.display()))?;
    let mut process = Process::start(Command::new(bench).arg(ARGUMENT).args(mode).stdout(Stdio::from(out)), &log)?;
    let address = process.wait_for(&log, || std::fs::read_to_string(&ready).ok()?.strip_suffix('\n')?.parse().ok())?;
    let pid = Some(process.id());
    let keys = || "none".to_owned();
    let (name, security) = (name.to_owned(), Security::Plain);
    Ok((process, Target { name, address, access_key: keys(), secret_key: keys(), pid, security }))
}

/// What a server gives and takes into; shared by its threads.
#[derive(Clone)]
struct Memory {
    bytes: Bytes,
    /// For bodies that are hashed.
    shelf: Option<Shelf>,
}

/// Serves until the process is ended; prints the address first.
pub fn serve(mode: Option<&str>) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(text)?;
    let address = first.local_addr().map_err(text)?;
    let mut listeners = vec![first];
    for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
        listeners.push(listen(address).map_err(text)?);
    }
    println!("{address}");
    std::io::stdout().flush().map_err(text)?;
    let hashes = mode == Some(HASHING);
    let bytes = if hashes { Bytes::new() } else { Bytes::from(noise(MEMORY_BYTES)) };
    let memory = Memory { bytes, shelf: hashes.then(Shelf::default) };
    std::thread::scope(|scope| {
        let serve = |listener| {
            let memory = memory.clone();
            scope.spawn(move || serve_on(listener, &memory))
        };
        let threads: Vec<_> = listeners.into_iter().map(serve).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// As the server's cores do it.
fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn serve_on(listener: std::net::TcpListener, memory: &Memory) -> Result<(), String> {
    let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(|error| error.to_string())?;
        loop {
            let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
            monoio::spawn(converse(stream, memory.clone()));
        }
    })
}

async fn converse(stream: TcpStream, memory: Memory) {
    let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_poll_io()) else { return };
    let answer = async |request: http::Request<Incoming>| {
        let body = match request.method() {
            &http::Method::PUT => {
                take(request.into_body(), memory.shelf.as_ref()).await?;
                Bytes::new()
            }
            _ => asked_for(request.uri().path(), &memory.bytes),
        };
        let length = body.len();
        // In the pieces in which the store reads.
        let pieces = (0..length)
            .step_by(STRIPE_BYTES)
            .map(move |at| Ok::<_, hyper::Error>(Frame::data(body.slice(at..length.min(at + STRIPE_BYTES)))));
        let answer = http::Response::builder()
            .header("content-length", length)
            .body(StreamBody::new(stream::iter(pieces)))
            .expect("a number is a header's value");
        Ok::<_, hyper::Error>(answer)
    };
    // A client that goes away ends its connection; there is nobody to tell.
    _ = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(MonoioIo::new(stream), service_fn(answer))
        .await;
}

/// The clients' keys tell how much: BUCKET/get-BYTES/NUMBER.
fn asked_for(path: &str, memory: &Bytes) -> Bytes {
    let bytes_of = |path: &str| path.split('/').find_map(|part| part.strip_prefix("get-")?.parse().ok());
    let length = bytes_of(path).unwrap_or(0usize).min(BYTES_MAX).min(memory.len());
    // Each object is another part of the memory, as far as it reaches: one alone would stay in the processor's cache.
    let number: usize = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let start = number % (memory.len() / length.max(1)).max(1) * length;
    memory.slice(start..start + length)
}

/// Takes all of a body. With a shelf it is collected in stripes, as the store does it, and hashed.
async fn take(mut body: Incoming, shelf: Option<&Shelf>) -> Result<(), hyper::Error> {
    let mut hashed = shelf.map(|shelf| (shelf.stripe(), BatchedMd5::new()));
    while let Some(frame) = body.frame().await {
        let Ok(mut bytes) = frame?.into_data() else { continue };
        let (Some((stripe, md5)), Some(shelf)) = (&mut hashed, shelf) else { continue };
        while !bytes.is_empty() {
            let room = STRIPE_BYTES - stripe.bytes.len();
            stripe.bytes.extend_from_slice(&bytes.split_to(bytes.len().min(room)));
            if stripe.bytes.len() == STRIPE_BYTES {
                md5.update(&Bytes::from_owner(std::mem::replace(stripe, shelf.stripe()))).await;
            }
        }
    }
    if let Some((stripe, mut md5)) = hashed {
        md5.update(&Bytes::from_owner(stripe)).await;
        std::hint::black_box(md5.finish().await);
    }
    Ok(())
}

/// Memory of stripes that nobody fills or hashes.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Vec<u8>>>>);

struct Stripe {
    bytes: Vec<u8>,
    shelf: Shelf,
}

impl Shelf {
    fn stripe(&self) -> Stripe {
        let kept = self.0.lock().expect("no holder of this lock panics").pop();
        Stripe { bytes: kept.unwrap_or_else(|| Vec::with_capacity(STRIPE_BYTES)), shelf: self.clone() }
    }
}

impl AsRef<[u8]> for Stripe {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.shelf.0.lock().expect("no holder of this lock panics").push(bytes);
    }
}
