//! The server's HTTP stack without the store: hyper over monoio's sockets, a thread for each processor, answers out of
//! memory. What a large GET lacks to its figure is what drives, checksums and S3 cost.
//!
//! It runs as a process of its own, this bench started again, so that its CPU time is told from the client's.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use aerie::limits::STRIPE_BYTES;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
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
/// The largest answer.
const BYTES_MAX: usize = 64 << 20;
/// As much as the store reads for the largest objects: answers out of less memory would come from the processor's cache.
const MEMORY_BYTES: usize = 4 * BYTES_MAX;

/// Starts the server; it ends with the process.
pub fn start(folder: &Path) -> Result<(Process, Target), String> {
    let bench = std::env::current_exe().map_err(|error| error.to_string())?;
    let (log, ready) = (folder.join("memory.log"), folder.join("memory.ready"));
    let out = std::fs::File::create(&ready).map_err(|error| format!("{}: {error}", ready.display()))?;
    let mut process = Process::start(Command::new(bench).arg(ARGUMENT).stdout(Stdio::from(out)), &log)?;
    let address = process.wait_for(&log, || std::fs::read_to_string(&ready).ok()?.strip_suffix('\n')?.parse().ok())?;
    let pid = Some(process.id());
    let keys = || "none".to_owned();
    let (name, security) = ("memory".to_owned(), Security::Plain);
    Ok((process, Target { name, address, access_key: keys(), secret_key: keys(), pid, security }))
}

/// Serves until the process is ended; prints the address first.
pub fn serve() -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(text)?;
    let address = first.local_addr().map_err(text)?;
    let mut listeners = vec![first];
    for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
        listeners.push(listen(address).map_err(text)?);
    }
    println!("{address}");
    std::io::stdout().flush().map_err(text)?;
    let bytes = Bytes::from(noise(MEMORY_BYTES));
    std::thread::scope(|scope| {
        let serve = |listener| {
            let bytes = bytes.clone();
            scope.spawn(move || serve_on(listener, &bytes))
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

fn serve_on(listener: std::net::TcpListener, bytes: &Bytes) -> Result<(), String> {
    let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(|error| error.to_string())?;
        loop {
            let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
            monoio::spawn(converse(stream, bytes.clone()));
        }
    })
}

async fn converse(stream: TcpStream, bytes: Bytes) {
    let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_poll_io()) else { return };
    let answer = |request: http::Request<Incoming>| {
        // The clients' keys tell how much: BUCKET/get-BYTES/NUMBER.
        let bytes_of = |path: &str| path.split('/').find_map(|part| part.strip_prefix("get-")?.parse().ok());
        let path = request.uri().path();
        let length = bytes_of(path).unwrap_or(0usize).min(BYTES_MAX);
        // Each object is another part of the memory, as far as it reaches: one alone would stay in the processor's cache.
        let number: usize = path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let start = number % (MEMORY_BYTES / length.max(1)) * length;
        let body = bytes.slice(start..start + length);
        // In the pieces in which the store reads.
        let pieces = (0..length)
            .step_by(STRIPE_BYTES)
            .map(move |at| Ok::<_, Infallible>(Frame::data(body.slice(at..length.min(at + STRIPE_BYTES)))));
        let answer = http::Response::builder()
            .header("content-length", length)
            .body(StreamBody::new(stream::iter(pieces)))
            .expect("a number is a header's value");
        async { Ok::<_, Infallible>(answer) }
    };
    // A client that goes away ends its connection; there is nobody to tell.
    _ = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(MonoioIo::new(stream), service_fn(answer))
        .await;
}
