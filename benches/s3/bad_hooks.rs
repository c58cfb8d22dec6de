//! The hooks of `tests/bad-hooks` on a server, and the uploads that start them again and again while something is measured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bad_guests::{BadHook, Ends, bad_hooks};
use crate::client::{Client, Target};
use crate::process::Aerie;
use crate::work;

/// Uploads in a second, all hooks together: some five for each. A dozen of the hooks take their whole deadline each time,
/// which is several times what the machine's processors have to give.
const UPLOADS_PER_SECOND: u32 = 150;
/// Hooks whose work grows with the object.
const WANT_A_PICTURE: [&str; 2] = ["decode-storm", "object-read-storm"];
/// Settings under which each of them breaks a limit, as their README has them.
pub const SETTINGS: &str = "[hooks]\ndeadline_ms = 200\noutput_bytes = 262144\n";

/// Uploads at a steady pace to a bucket for each hook, until the value is dropped.
pub struct Uploads {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// Buckets by the names of the hooks that can be installed.
pub fn prepare(aerie: &Aerie, folder: &Path, install: bool) -> Result<Vec<String>, String> {
    let mut buckets = Vec::new();
    for BadHook { name, wasm, ends } in bad_hooks() {
        if matches!(ends, Ends::Refused(_)) {
            continue;
        }
        work::prepare(&aerie.target, &name)?;
        if install {
            let file = folder.join(format!("{name}.wasm"));
            std::fs::write(&file, wasm).map_err(|error| format!("{}: {error}", file.display()))?;
            aerie.command(&["hook", "add", &name, &file.display().to_string()])?;
            aerie.command(&["notify", &name, "--hook", &name])?;
        }
        buckets.push(name);
    }
    Ok(buckets)
}

/// Each has run, and the statistics tell of nothing but the limit that it breaks.
pub fn check(statistics: &Value) -> Result<(), String> {
    for BadHook { name, ends, .. } in bad_hooks() {
        let Ends::With(fault) = ends else { continue };
        let hook = &statistics[&name];
        let failures = hook["failures"].as_object().ok_or(format!("{name} has never run"))?;
        if failures.len() != 1 || failures.get(&fault) != Some(&hook["invocations"]) {
            return Err(format!("{name} has to end with {fault} each time: {hook}"));
        }
    }
    Ok(())
}

impl Uploads {
    pub fn start(target: &Target, buckets: &[String], picture: &[u8]) -> Uploads {
        let stop = Arc::new(AtomicBool::new(false));
        let (target, buckets, picture, stopped) = (target.clone(), buckets.to_vec(), picture.to_vec(), stop.clone());
        let thread = std::thread::spawn(move || upload(&target, &buckets, &picture, &stopped));
        Uploads { stop, thread: Some(thread) }
    }

    /// Ends them; all must have succeeded.
    pub fn end(mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("the uploads have ended before")?;
        thread.join().map_err(|_| "the uploads panicked".to_owned())?
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn upload(target: &Target, buckets: &[String], picture: &[u8], stop: &AtomicBool) -> Result<(), String> {
    let mut client = Client::connect(target)?;
    let started = Instant::now();
    for number in 0.. {
        let due = Duration::from_secs(1) * number / UPLOADS_PER_SECOND;
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let bucket = &buckets[number as usize % buckets.len()];
        let body = if WANT_A_PICTURE.contains(&bucket.as_str()) { picture } else { &b"0123456789"[..] };
        let answer = client.send("PUT", &format!("/{bucket}/{number}"), "", body)?;
        if answer.status != 200 {
            return Err(format!("a PUT beside bad hooks gave {}: {}", answer.status, work::text(&answer.body)));
        }
    }
    Ok(())
}
