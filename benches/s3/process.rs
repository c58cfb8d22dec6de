//! Servers that the bench starts itself, each on folders of its own, and ends with itself: Aerie, and peers that it knows.
//!
//! A peer that it does not know how to start is started by hand and named by its endpoint (`client::Target`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::client::Target;
use crate::stream::Security;

/// Folders that each server stores in.
const FOLDERS: usize = 6;
/// A server has answered by then, or does not start.
const START_MAX: Duration = Duration::from_secs(60);
/// A server that was asked to stop has ended by then, or is killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A running server; it ends with the value.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn start(command: &mut Command, log: &Path) -> Result<Process, String> {
        let shown = format!("{:?}", command.get_program());
        let log = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let child = command.stdin(Stdio::null()).stderr(log).spawn().map_err(|error| format!("{shown}: {error}"))?;
        Ok(Process { child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to stop and waits for it.
    pub fn stop(mut self) {
        // `kill` is in every shell; the standard library knows no signal but the last one.
        _ = Command::new("kill").arg(self.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks `ready` again and again until it gives something.
    pub fn wait_for<T>(&mut self, log: &Path, mut ready: impl FnMut() -> Option<T>) -> Result<T, String> {
        let started = Instant::now();
        while started.elapsed() < START_MAX && matches!(self.child.try_wait(), Ok(None)) {
            if let Some(ready) = ready() {
                return Ok(ready);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("a server does not start:\n{}", fs::read_to_string(log).unwrap_or_default()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Aerie on six folders, 4+2, and its hook.
pub struct Aerie {
    binary: PathBuf,
    folder: PathBuf,
    process: Option<Process>,
    pub target: Target,
    pub mqtt: String,
}

const SETTINGS_FILE: &str = "aerie.toml";
const ACCESS_KEY: &str = "benchaccess";
const SECRET_KEY: &str = "bench-secret-key";

impl Aerie {
    /// `settings` are lines of a configuration file; with `tls` the address takes both, TLS and none.
    pub fn start(binary: &Path, folder: &Path, settings: &str, tls: bool) -> Result<Aerie, String> {
        make_folders(folder)?;
        let secure = if tls { make_certificate(binary, folder)? } else { String::new() };
        let file = folder.join(SETTINGS_FILE);
        fs::write(&file, format!("{secure}{settings}")).map_err(|error| format!("{}: {error}", file.display()))?;
        let nowhere = Target {
            name: "aerie".to_owned(),
            address: ([127, 0, 0, 1], 0).into(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            pid: None,
            security: Security::Plain,
        };
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let mut aerie = Aerie { binary, folder, process: None, target: nowhere, mqtt: String::new() };
        aerie.resume()?;
        Ok(aerie)
    }

    /// Starts the server on what its folders hold.
    pub fn resume(&mut self) -> Result<(), String> {
        let (log, ready) = (self.folder.join("log"), self.folder.join("ready"));
        let out = fs::File::create(&ready).map_err(|error| format!("{}: {error}", ready.display()))?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--parity", "2", "--address", "127.0.0.1:0"]);
        command.arg("--config").arg(self.folder.join(SETTINGS_FILE));
        command.args((1..=FOLDERS).map(|number| self.drive(number))).stdout(out);
        command.env("AERIE_ROOT_ACCESS_KEY", ACCESS_KEY).env("AERIE_ROOT_SECRET_KEY", SECRET_KEY);
        let mut process = Process::start(&mut command, &log)?;
        let line = process.wait_for(&log, || {
            let text = fs::read_to_string(&ready).ok()?;
            text.strip_prefix("ready ").filter(|line| line.contains('\n')).map(str::to_owned)
        })?;
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|url| url.split_once("://")).and_then(|(_, address)| address.parse().ok());
        self.target.address = address.ok_or_else(|| format!("the ready line has no address: {line}"))?;
        self.mqtt = words.next().unwrap_or_default().to_owned();
        self.target.pid = Some(process.id());
        self.process = Some(process);
        Ok(())
    }

    /// The same server below TLS: with a full handshake for each connection, and with sessions that are resumed.
    pub fn secure(&self) -> Result<[Target; 2], String> {
        let certificate = self.folder.join(CERTIFICATE_FILE);
        let target = |name: &str, resumes| {
            let security = Security::trusting(&certificate, resumes)?;
            Ok::<_, String>(Target { name: name.to_owned(), security, ..self.target.clone() })
        };
        Ok([target("tls", false)?, target("tls-resumed", true)?])
    }

    pub fn stop(&mut self) {
        // One that is paused would not hear it.
        _ = self.go_on();
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }

    /// Ends the server as a power cut would, as far as a process can tell (`kill -9`).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// What the server holds of the memory.
    pub fn resident_mib(&self) -> Result<f64, String> {
        let file = format!("/proc/{}/status", self.target.pid.unwrap_or_default());
        let status = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: Option<f64> = resident.split_whitespace().next().and_then(|kib| kib.parse().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{file} has no VmRSS"))
    }

    /// Stops the server in its tracks; it notices nothing but the time.
    pub fn pause(&self) -> Result<(), String> {
        self.signal("-STOP")
    }

    pub fn go_on(&self) -> Result<(), String> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), String> {
        let Some(process) = &self.process else { return Err("the server is not running".to_owned()) };
        output(Command::new("kill").arg(signal).arg(process.id().to_string())).map(|_| ())
    }

    pub fn drive(&self, number: usize) -> PathBuf {
        self.folder.join(format!("d{number}"))
    }

    /// Runs one of the binary's own commands against the server.
    pub fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("AERIE_ENDPOINT", format!("http://{}", self.target.address));
        command.env("AERIE_ROOT_ACCESS_KEY", ACCESS_KEY).env("AERIE_ROOT_SECRET_KEY", SECRET_KEY);
        output(&mut command)
    }

    /// Runs `hook` (of those that come with the source) on every object of a bucket, which is created.
    pub fn wire(&self, bucket: &str, hook: &str) -> Result<(), String> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("wasm-hooks/built/{hook}.wasm"));
        self.command(&["hook", "add", hook, &module.display().to_string()])?;
        self.command(&["bucket", "create", bucket])?;
        self.command(&["notify", bucket, "--hook", hook]).map(|_| ())
    }
}

/// A peer by name and value: an endpoint that is there (`http://…,ACCESS,SECRET[,PID]`), or a binary to be started.
pub fn peer(text: &str, folder: &Path) -> Result<(Option<Process>, Target), String> {
    match text.split_once('=') {
        Some((_, value)) if value.starts_with("http://") => Ok((None, Target::parse(text)?)),
        Some(("garage", binary)) => garage(Path::new(binary), folder).map(|(process, target)| (Some(process), target)),
        Some(("rustfs", binary)) => rustfs(Path::new(binary), folder).map(|(process, target)| (Some(process), target)),
        _ => Err(format!(
            "{text}: expected NAME=http://IP:PORT,ACCESS,SECRET[,PID], or garage=PATH or rustfs=PATH of its binary"
        )),
    }
}

/// Garage, one node, the same number of folders, syncing data and metadata before it acknowledges.
fn garage(binary: &Path, folder: &Path) -> Result<(Process, Target), String> {
    make_folders(folder)?;
    let (s3, rpc) = (free_port()?, free_port()?);
    let data: Vec<String> = (1..=FOLDERS)
        .map(|number| format!("{{ path = \"{}\", capacity = \"1T\" }}", folder.join(format!("d{number}")).display()))
        .collect();
    let settings = format!(
        "metadata_dir = \"{meta}\"\ndata_dir = [{data}]\ndb_engine = \"lmdb\"\nmetadata_fsync = true\ndata_fsync = true\n\
         replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n",
        meta = folder.join("meta").display(),
        data = data.join(", "),
        secret = GARAGE_SECRET,
    );
    let (file, log) = (folder.join("garage.toml"), folder.join("log"));
    fs::write(&file, settings).map_err(|error| format!("{}: {error}", file.display()))?;
    let garage = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.env("GARAGE_CONFIG_FILE", &file).env("GARAGE_ALLOW_WORLD_READABLE_SECRETS", "true").args(arguments);
        command
    };
    let mut process = Process::start(garage(&["server"]).stdout(Stdio::null()), &log)?;
    process.wait_for(&log, || output(&mut garage(&["status"])).ok())?;
    let node = output(&mut garage(&["node", "id", "-q"]))?;
    let node = node.split('@').next().unwrap_or_default();
    for arguments in [
        &["layout", "assign", "-z", "here", "-c", "1T", node][..],
        &["layout", "apply", "--version", "1"],
        &["key", "import", "--yes", "-n", "bench", GARAGE_KEY, GARAGE_SECRET],
        &["key", "allow", "--create-bucket", "bench"],
    ] {
        output(&mut garage(arguments))?;
    }
    let target = Target {
        name: "garage".to_owned(),
        address: ([127, 0, 0, 1], s3).into(),
        access_key: GARAGE_KEY.to_owned(),
        secret_key: GARAGE_SECRET.to_owned(),
        pid: Some(process.id()),
        security: Security::Plain,
    };
    // The S3 side opens a moment after the rest.
    process.wait_for(&log, || std::net::TcpStream::connect(target.address).ok())?;
    Ok((process, target))
}

/// RustFS on the same number of folders, 4+2, syncing data and metadata before it acknowledges; without its console and its
/// scanner, which would take the processor from it.
fn rustfs(binary: &Path, folder: &Path) -> Result<(Process, Target), String> {
    make_folders(folder)?;
    let (port, log) = (free_port()?, folder.join("log"));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut command = Command::new(binary);
    command.arg("server").arg(folder.join(format!("d{{1...{FOLDERS}}}"))).stdout(Stdio::null()).current_dir(folder);
    command.env("RUSTFS_ADDRESS", address.to_string());
    command.env("RUSTFS_ACCESS_KEY", ACCESS_KEY).env("RUSTFS_SECRET_KEY", SECRET_KEY);
    command.env("RUSTFS_DURABILITY_MODE", "strict").env("RUSTFS_NEW_BUCKET_DURABILITY_MODE", "strict");
    command.env("RUSTFS_STORAGE_CLASS_STANDARD", "EC:2");
    // The folders may lie on one disk.
    command.env("RUSTFS_UNSAFE_BYPASS_DISK_CHECK", "true");
    for off in ["RUSTFS_CONSOLE_ENABLE", "RUSTFS_SCANNER_ENABLED", "RUSTFS_CHECK_UPDATE"] {
        command.env(off, "false");
    }
    command.env("RUSTFS_OBS_LOGGER_LEVEL", "error").env("RUSTFS_OBS_LOG_DIRECTORY", folder.join("logs"));
    let mut process = Process::start(&mut command, &log)?;
    let target = Target {
        name: "rustfs".to_owned(),
        address,
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        pid: Some(process.id()),
        security: Security::Plain,
    };
    // It listens before it has its store: a bucket that can be made tells that it has.
    process.wait_for(&log, || crate::work::prepare(&target, "aerie-ready").ok())?;
    Ok((process, target))
}

/// Keys have a form of their own there.
const GARAGE_KEY: &str = "GK000000000000000000000001";
const GARAGE_SECRET: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// What `aerie tls init` calls the certificate.
const CERTIFICATE_FILE: &str = "certificate.pem";

/// Has the binary make a certificate; gives the settings that use it and let requests come without TLS, too.
fn make_certificate(binary: &Path, folder: &Path) -> Result<String, String> {
    let settings = output(Command::new(binary).args(["tls", "init", "127.0.0.1", "--folder"]).arg(folder))?;
    Ok(format!("{settings}plain_http = \"serve\"\n"))
}

fn make_folders(folder: &Path) -> Result<(), String> {
    (1..=FOLDERS)
        .map(|number| folder.join(format!("d{number}")))
        .chain([folder.join("meta")])
        .try_for_each(|path| fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display())))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// What the command printed, if it succeeded.
fn output(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match status.success() {
        true => Ok(String::from_utf8_lossy(&stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&stderr))),
    }
}
