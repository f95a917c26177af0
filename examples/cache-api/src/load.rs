//! The load: stores a batch of keys through the API, then asks for each one and compares.
//!
//! The rule: a key counts only if its own value came back. So each key has a value of its own, and
//! all are stored before the first is asked for.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Response;
use ureq::{Agent, Body, Error};

use crate::api::Item;
use crate::progress::Progress;
use crate::settings::LoadSettings;

/// Runs the whole load. Failed requests are in its outcome, not an error.
///
/// # Errors
/// When the API is not there to begin with.
pub fn run(settings: &LoadSettings) -> Result<Outcome, String> {
    let api = Api::new(&settings.api_url);
    api.wait_until_healthy(settings.wait)?;
    let start = Instant::now();
    let first = settings.job_index * settings.batch_size;
    let keys = first..first + settings.batch_size;
    let load = Load { parallel: settings.parallel, failures: Mutex::default() };
    let all: Vec<_> = keys.clone().collect();
    let stored = load.each("stored", &all, |key| api.store(&item(key)));
    let found = load.each("read back", &stored, |key| api.compare(&item(key)));
    let failures = load.failures.into_inner().expect("no thread panicked");
    let (stored, found) = (stored.len(), found.len());
    Ok(Outcome { keys, stored, found, failures, elapsed: start.elapsed() })
}

/// What is stored under a key.
fn item(key: usize) -> Item {
    Item { key: key.to_string(), value: format!("my-value-{key}") }
}

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Those of this part of the load.
    pub keys: Range<usize>,
    /// How many were stored.
    pub stored: usize,
    /// How many of the stored ones came back with their value.
    pub found: usize,
    /// A sentence for each of the first few that failed.
    pub failures: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// Keys that were not stored, or have not come back.
    pub fn failed(&self) -> usize {
        self.keys.len() - self.found
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, stored, found, .. } = self;
        let (failed, seconds) = (self.failed(), self.elapsed.as_secs_f64());
        write!(f, "keys {} to {}: {stored} stored, ", keys.start, keys.end - 1)?;
        write!(f, "{found} read back, {failed} failed, {seconds:.2} s")
    }
}

/// How a list of keys is worked on.
struct Load {
    parallel: usize,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Does `work` for each key, on as many threads as requests may be made at one time. Returns
    /// the keys for which it went well.
    fn each(
        &self,
        what: &'static str,
        keys: &[usize],
        work: impl Fn(usize) -> Result<(), String> + Sync,
    ) -> Vec<usize> {
        let progress = Progress::new(what, keys.len());
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut done = Vec::new();
            while let Some(&key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                match work(key) {
                    Ok(()) => done.push(key),
                    Err(why) => self.fail(format!("key {key} not {what}: {why}")),
                }
                progress.step(Instant::now());
            }
            done
        };
        let done = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.parallel).map(|_| scope.spawn(worker)).collect();
            let ends = workers.into_iter().map(thread::ScopedJoinHandle::join);
            ends.flat_map(|end| end.expect("no thread panics")).collect()
        });
        progress.end();
        done
    }

    fn fail(&self, sentence: String) {
        let mut failures = self.failures.lock().expect("no thread panics");
        if failures.len() < FAILURES_MAX {
            failures.push(sentence);
        }
    }
}

/// Failures that are told one by one.
const FAILURES_MAX: usize = 5;

/// A client of the API.
struct Api<'a> {
    agent: Agent,
    url: &'a str,
}

impl<'a> Api<'a> {
    fn new(url: &'a str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER_TIME_MAX))
            .http_status_as_error(false)
            // A connection for each request, as a service balances connections.
            .max_idle_connections(0)
            .proxy(None);
        Self { agent: config.build().into(), url }
    }

    /// Waits only as long as connections are refused: all else is no matter of time.
    fn wait_until_healthy(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.agent.get(format!("{}/health", self.url)).call() {
                Err(Error::Io(error))
                    if error.kind() == ErrorKind::ConnectionRefused
                        && Instant::now() < deadline =>
                {
                    thread::sleep(RETRY_EVERY);
                }
                result => {
                    let hint = |why| format!("{}/health: {why}: is the API there?", self.url);
                    return answer(result).map(drop).map_err(hint);
                }
            }
        }
    }

    fn store(&self, item: &Item) -> Result<(), String> {
        let result = self.agent.post(format!("{}/items/", self.url)).send_json(item);
        answer(result).map(drop)
    }

    fn compare(&self, item: &Item) -> Result<(), String> {
        let result = self.agent.get(format!("{}/items/{}", self.url, item.key)).call();
        let got: Item =
            answer(result)?.body_mut().read_json().map_err(|error| error.to_string())?;
        if got == *item { Ok(()) } else { Err(format!("got {got:?}, stored was {item:?}")) }
    }
}

/// An answer, or why it is none.
fn answer(result: Result<Response<Body>, Error>) -> Result<Response<Body>, String> {
    let mut response = result.map_err(|error| error.to_string())?;
    if response.status().is_success() {
        return Ok(response);
    }
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let excerpt: String = body.chars().take(EXCERPT_MAX).collect();
    Err(format!("{} {excerpt}", response.status().as_u16()))
}

/// As long as one answer may take; the API itself takes less.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Characters of a failed answer that its sentence shows.
const EXCERPT_MAX: usize = 300;
