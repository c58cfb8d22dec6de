//! The calling thread's place among the others of this machine.
#![allow(unsafe_code)]

/// Nice value of threads that work behind the requests: the last one. Under full load each still gets a hundredth of a
/// processor, so that whoever waits for a lock that one of them holds does not wait for ever. (SCHED_IDLE would give
/// a fifth of that.)
const BACKGROUND_NICE: libc::c_int = 19;
/// The last level of the usual class of I/O; the class below it may never get a turn.
const BACKGROUND_IO: libc::c_long = IOPRIO_CLASS_BEST_EFFORT << IOPRIO_CLASS_SHIFT | 7;
const IOPRIO_CLASS_BEST_EFFORT: libc::c_long = 2;
const IOPRIO_CLASS_SHIFT: libc::c_long = 13;
const IOPRIO_WHO_PROCESS: libc::c_long = 1;

/// Puts this thread, and those that it starts from now on, behind the ones that serve requests: it takes the time of
/// processors and drives that they leave, and does not interrupt them when it wakes.
pub fn work_in_background() {
    let plain = libc::sched_param { sched_priority: 0 };
    // SAFETY: the calls take plain numbers and a structure on this stack; 0 means the calling thread.
    let done = unsafe {
        let batch = libc::sched_setscheduler(0, libc::SCHED_BATCH, &plain);
        let nice = libc::setpriority(libc::PRIO_PROCESS, 0, BACKGROUND_NICE);
        let io = libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0 as libc::c_long, BACKGROUND_IO);
        batch == 0 && nice == 0 && io == 0
    };
    if !done {
        // A container may forbid it. All works then, less evenly.
        tracing::debug!("a background thread could not be put behind the others");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_in_the_background_stays_there_and_its_starter_does_not() {
        // SAFETY: getpriority takes plain numbers.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        // SAFETY: sched_getscheduler takes a plain number.
        let look = move || (nice(), unsafe { libc::sched_getscheduler(0) });
        let started = in_background(|| std::thread::spawn(look));
        assert_eq!(started.join().expect("the thread does not panic"), (BACKGROUND_NICE, libc::SCHED_BATCH));
        assert_eq!(nice(), before);
    }
}
