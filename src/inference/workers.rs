//! The threads that run models: as many as runs may go on at the same time.
//!
//! The backend cannot break a run off. So a caller waits here with a bound and goes on without the result; the worker
//! is busy until the run ends by itself. Requests take the processor from a worker at any time: what it waits for one
//! counts as a wait for the worker, not as its run. Started with the first run, whoever asks for it behind the threads that
//! serve requests; they end when the `Inference` is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rten::ThreadPool;

use super::model::Bound;
use super::{InferenceError, InferenceSettings, LoadedModel, Tensor};
use crate::seam::thread::{self, ProcessorWait};

#[derive(Debug)]
pub(super) struct Workers {
    runs: usize,
    threads: usize,
    output_bytes_max: u64,
    run_max: Duration,
    wait_max: Duration,
    jobs: OnceLock<Option<Sender<Job>>>,
}

struct Job {
    model: Arc<LoadedModel>,
    bound: Bound,
    /// The caller went away before the job began.
    abandoned: Arc<AtomicBool>,
    progress: Sender<Progress>,
}

enum Progress {
    Started(Arc<ProcessorWait>),
    Done(Result<Vec<Tensor>, InferenceError>),
}

impl Workers {
    pub fn new(settings: &InferenceSettings) -> Workers {
        Workers {
            runs: settings.runs.max(1),
            threads: settings.threads.max(1),
            output_bytes_max: settings.output_bytes_max,
            run_max: Duration::from_millis(settings.run_ms_max),
            wait_max: Duration::from_millis(settings.wait_ms_max),
            jobs: OnceLock::new(),
        }
    }

    pub fn run(&self, model: &Arc<LoadedModel>, bound: Bound) -> Result<Vec<Tensor>, InferenceError> {
        let busy = || InferenceError::Busy { limit_ms: self.wait_max.as_millis() as u64 };
        let lost = || InferenceError::Run("the worker thread is gone".to_owned());
        let jobs = self.jobs.get_or_init(|| self.start());
        let jobs = jobs.as_ref().ok_or_else(|| InferenceError::Run("no worker thread could be started".to_owned()))?;
        let abandoned = Arc::new(AtomicBool::new(false));
        let (progress, follow) = bounded(2);
        let job = Job { model: model.clone(), bound, abandoned: abandoned.clone(), progress };
        jobs.send_timeout(job, self.wait_max).map_err(|_| busy())?;
        let worker = match follow.recv_timeout(self.wait_max) {
            Ok(Progress::Started(worker)) => worker,
            Ok(Progress::Done(result)) => return result,
            Err(error) => {
                abandoned.store(true, Ordering::Release);
                return Err(if error.is_timeout() { busy() } else { lost() });
            }
        };
        let waited_before = worker.so_far();
        let (mut left, mut granted) = (self.run_max, Duration::ZERO);
        loop {
            match follow.recv_timeout(left) {
                Ok(Progress::Done(result)) => return result,
                Ok(Progress::Started(_)) => return Err(lost()),
                Err(error) if !error.is_timeout() => return Err(lost()),
                Err(_) => {}
            }
            // What the worker waited for a processor is given back, once.
            let waited = worker.so_far().saturating_sub(waited_before).min(self.wait_max);
            left = waited.saturating_sub(granted);
            granted = waited;
            if left < GRANT_MIN {
                return Err(InferenceError::Time { limit_ms: self.run_max.as_millis() as u64 });
            }
        }
    }

    /// Starts the threads; `None` when not one could be had.
    fn start(&self) -> Option<Sender<Job>> {
        // As many may queue as can run: whoever waits longer waits in `send_timeout`, with the same bound.
        let (sender, receiver) = bounded(self.runs);
        let mut started = 0;
        for at in 0..self.runs {
            let receiver = receiver.clone();
            let (threads, output_bytes_max) = (self.threads, self.output_bytes_max);
            let named = std::thread::Builder::new().name(format!("inference-{at}"));
            let spawned = named.spawn(move || {
                thread::compute_in_background();
                let pool = Arc::new(ThreadPool::with_num_threads(threads));
                // The loop runs inside the pool, so that a run does not change threads once more.
                pool.run(|| work(&receiver, &pool, output_bytes_max));
            });
            started += usize::from(spawned.is_ok());
        }
        (started > 0).then_some(sender)
    }
}

/// A shorter time is not given back: a run that is over its time is told so instead of being asked for again and again.
const GRANT_MIN: Duration = Duration::from_millis(10);

fn work(jobs: &Receiver<Job>, pool: &Arc<ThreadPool>, output_bytes_max: u64) {
    let wait = Arc::new(ProcessorWait::of_this_thread());
    while let Ok(job) = jobs.recv() {
        if job.abandoned.load(Ordering::Acquire) {
            continue;
        }
        // The channel holds both messages, so that sending never waits; a caller who left does not matter.
        let _ = job.progress.send(Progress::Started(wait.clone()));
        let result = job.model.run(job.bound, pool, output_bytes_max);
        let _ = job.progress.send(Progress::Done(result));
    }
}
