//! The calling thread's place among the others of this machine, and how long it waited for a processor; and work that may
//! hang, which is waited for with a bound.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

/// Nice value of threads that work behind the requests: the last one. Under full load each still gets a hundredth of a
/// processor, so that whoever waits for a lock that one of them holds does not wait for ever.
const BACKGROUND_NICE: libc::c_int = 19;
/// The last level of the usual class of I/O; the class below it may never get a turn.
const BACKGROUND_IO: libc::c_long = IOPRIO_CLASS_BEST_EFFORT << IOPRIO_CLASS_SHIFT | 7;
const IOPRIO_CLASS_BEST_EFFORT: libc::c_long = 2;
const IOPRIO_CLASS_SHIFT: libc::c_long = 13;
const IOPRIO_WHO_PROCESS: libc::c_long = 1;

/// Puts this thread, and those that it starts from now on, behind the ones that serve requests: it takes the time of
/// processors and drives that they leave, and does not interrupt them when it wakes. For threads that mostly wait for
/// drives: one that computes keeps a processor for some milliseconds before a request gets it.
pub fn work_in_background() {
    stand_behind(libc::SCHED_BATCH);
}

/// The same for threads that compute for long: whoever serves a request takes the processor from them at once, and a
/// processor that runs nothing else counts as idle where the kernel looks for one. They cannot be brought back from
/// there without privileges. Where requests keep a processor busy all the time, the kernel leaves them 3 parts of 1,027
/// of it: they get on, and their deadlines must not count the waiting (`ProcessorWait`).
pub fn compute_in_background() {
    stand_behind(libc::SCHED_IDLE);
}

fn stand_behind(policy: libc::c_int) {
    let plain = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calls take plain numbers and a structure on this stack; 0 means the calling thread.
    let done = unsafe {
        let nice = libc::setpriority(libc::PRIO_PROCESS, 0, BACKGROUND_NICE);
        let scheduled = libc::sched_setscheduler(0, policy, &plain);
        let io = libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0 as libc::c_long, BACKGROUND_IO);
        scheduled == 0 && nice == 0 && io == 0
    };
    if !done {
        // A container may forbid it. All works then, less evenly.
        tracing::debug!("a background thread could not be put behind the others");
    }
}

/// Pins the calling thread to a processor where the machine allows it.
pub fn pin_to(processor: usize) {
    // SAFETY: cpu_set_t is plain old data; the set lives on this stack for the call.
    let pinned = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if pinned != 0 {
        tracing::debug!(processor, "the thread could not be pinned");
    }
}

/// How long a thread was ready to run and had no processor. Can be asked from any thread.
#[derive(Debug)]
pub struct ProcessorWait {
    /// `None` where the kernel does not count it: then nobody ever waited.
    counted: Option<File>,
}

impl ProcessorWait {
    #[expect(clippy::disallowed_methods, reason = "the kernel's own file about this thread, on no drive")]
    pub fn of_this_thread() -> ProcessorWait {
        ProcessorWait { counted: File::open("/proc/thread-self/schedstat").ok() }
    }

    /// Since the thread began, without a wait that has not ended yet.
    pub fn so_far(&self) -> Duration {
        let mut text = [0; 96];
        let read = self.counted.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        // Nanoseconds on a processor, nanoseconds of waiting for one, turns.
        let text = std::str::from_utf8(&text[..read]).unwrap_or_default();
        Duration::from_nanos(text.split_whitespace().nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0))
    }
}

/// Starts something whose threads are to work in the background: they inherit it from the thread that starts them.
pub fn in_background<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let start = || {
        work_in_background();
        start()
    };
    std::thread::scope(|scope| match scope.spawn(start).join() {
        Ok(started) => started,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// How far work that someone waits for has got.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// A step is done.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Does the work on a thread of its own, and gives up on it when no step is done for `limit`: for what may hang in a
/// system call. The thread is left to itself then.
pub fn watched<T: Send + 'static>(limit: Duration, work: impl FnOnce(&Progress) -> T + Send + 'static) -> Option<T> {
    let progress = Progress::default();
    let answer = begin_watched(&progress, work);
    loop {
        let before = progress.0.load(Ordering::Acquire);
        match answer.recv_timeout(limit) {
            Ok(done) => return Some(done),
            Err(RecvTimeoutError::Timeout) if progress.0.load(Ordering::Acquire) != before => {}
            Err(_) => return None,
        }
    }
}

fn begin_watched<T: Send + 'static>(
    progress: &Progress,
    work: impl FnOnce(&Progress) -> T + Send + 'static,
) -> Receiver<T> {
    let (done, answer) = crossbeam_channel::bounded(1);
    let progress = progress.clone();
    let work = move || _ = done.send(work(&progress));
    // Without a thread nobody answers, which the asker finds out.
    if let Err(error) = std::thread::Builder::new().name("watched".to_owned()).spawn(work) {
        tracing::error!(%error, "no thread could be started");
    }
    answer
}

/// The same without a wait: what it gives comes by the channel, if ever.
pub fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    begin_watched(&Progress::default(), |_| work())
}

/// What each has answered before `limit` has passed for all of them; `None` of one that has not, or never will.
#[expect(clippy::disallowed_methods, reason = "bounds how long this thread waits; nothing else depends on it")]
pub fn answers<T>(asked: Vec<Receiver<T>>, limit: Duration) -> Vec<Option<T>> {
    let deadline = Instant::now() + limit;
    asked.into_iter().map(|answer| answer.recv_deadline(deadline).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_waited_for_as_long_as_it_gets_on() {
        let limit = Duration::from_millis(200);
        let (stuck, never) = crossbeam_channel::bounded::<()>(0);
        assert_eq!(watched(limit, move |_| never.recv()), None);
        drop(stuck);
        let (tick, ticks) = crossbeam_channel::bounded::<()>(0);
        let slow = move |progress: &Progress| {
            for _ in 0..5 {
                // Nobody sends: each step takes its time.
                assert!(ticks.recv_timeout(Duration::from_millis(100)).is_err());
                progress.step();
            }
            7
        };
        assert_eq!(watched(limit, slow), Some(7));
        drop(tick);
    }

    #[test]
    fn what_is_started_in_the_background_stays_there_and_its_starter_does_not() {
        // SAFETY: getpriority takes plain numbers.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        // SAFETY: sched_getscheduler takes a plain number.
        let look = move || (nice(), unsafe { libc::sched_getscheduler(0) });
        let started = in_background(|| std::thread::spawn(look));
        assert_eq!(started.join().expect("the thread does not panic"), (BACKGROUND_NICE, libc::SCHED_BATCH));
        let compute = move || {
            compute_in_background();
            std::thread::spawn(look)
        };
        let started = std::thread::spawn(compute).join().expect("the thread does not panic");
        assert_eq!(started.join().expect("the thread does not panic"), (BACKGROUND_NICE, libc::SCHED_IDLE));
        assert_eq!(nice(), before);
    }

    #[test]
    fn the_wait_for_a_processor_is_counted() {
        let own = ProcessorWait::of_this_thread();
        if own.counted.is_none() {
            return;
        }
        // Two threads bound to one processor take turns there.
        let turns = |_| {
            std::thread::spawn(|| {
                pin_to(0);
                let wait = ProcessorWait::of_this_thread();
                let mut steps = 0u64;
                while wait.so_far() < Duration::from_millis(5) && steps < 10_000_000 {
                    steps += 1;
                }
                wait.so_far()
            })
        };
        let threads: Vec<_> = (0..2).map(turns).collect();
        for thread in threads {
            assert!(thread.join().expect("the thread does not panic") >= Duration::from_millis(5));
        }
        assert!(own.so_far() < Duration::from_secs(3600));
    }
}
