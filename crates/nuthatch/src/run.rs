//! The proxy at work: starts the workers and waits for their end.
//!
//! The main thread waits for signals, from before the start on; the start has a thread, which then
//! waits for the workers; each worker has a thread, the statistics port has one, and the admin port
//! if there is one. A worker that fails ends the process: half a proxy is worse than one that is
//! started again.

use crate::addresses::Addresses;
use crate::admin::{self, Admin};
use crate::args::Options;
use crate::config::{Config, Pool, Source};
use crate::inbox::{Inbox, Message};
use crate::listener::{self, Listener};
use crate::log as logging;
use crate::own_files::OwnFiles;
use crate::patience::Patience;
use crate::process::{ProcessEvent, Ready, Signals, WakeUp};
use crate::question::Baseline;
use crate::stats_port::{self, Figures};
use crate::worker::{PoolSockets, Worker};
use log::kv::Value;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::{self, Mux};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::stats::PoolStats;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What all workers have in common of one pool.
#[derive(Debug, Clone)]
pub(crate) struct SharedPool {
    pub(crate) pool: Arc<Pool>,
    /// Its figures, one block a worker.
    pub(crate) workers: Arc<[Arc<PoolStats>]>,
    /// From where on `stats` counts.
    pub(crate) baseline: Arc<Baseline>,
    /// Which address of each server is used.
    pub(crate) addresses: Arc<[Addresses]>,
}

/// Serves the pools of `config` until a signal ends it; announces `ready` once it listens.
///
/// # Errors
/// When a pool can't listen, or a worker's loop fails.
pub fn run(
    config: Config,
    options: &Options,
    mut signals: Signals,
    ready: Ready,
) -> io::Result<()> {
    let files = OwnFiles::default();
    let is_draining = Arc::new(AtomicBool::new(false));
    let inboxes = Arc::new(OnceLock::new());
    let start = Start {
        options: options.clone(),
        ready,
        files: files.clone(),
        is_draining: Arc::clone(&is_draining),
        inboxes: Arc::clone(&inboxes),
    };
    let end = EndOfWaiting(signals.wake_up());
    // Signals count from now on, so the start, which may wait for a name server, has a thread.
    let server = thread::spawn(move || {
        let _end = end;
        start.serve(config)
    });
    let mut draining_since: Option<Instant> = None;
    while let Some(event) = signals.wait() {
        if event == ProcessEvent::Drain {
            match draining_since {
                Some(since) if since.elapsed() < ECHO => continue,
                Some(_) => {
                    log::warn!("second signal: exiting now");
                    files.remove();
                    logging::flush();
                    process::exit(1);
                }
                None if inboxes.get().is_none() => {
                    log::info!("signal during the start: exiting now");
                    files.remove();
                    return Ok(());
                }
                None => draining_since = Some(now()),
            }
        }
        if event == ProcessEvent::Drain {
            is_draining.store(true, Ordering::Relaxed);
            files.give_up_pid();
        }
        handle(event, inboxes.get().map_or(&[], Vec::as_slice));
    }
    let outcome = server.join().expect("the thread that waits for the workers does nothing else");
    files.remove();
    if outcome.is_ok() {
        log::info!("nuthatch stopped");
    }
    outcome
}

/// What the start needs besides the configuration.
struct Start {
    options: Options,
    ready: Ready,
    files: OwnFiles,
    is_draining: Arc<AtomicBool>,
    /// Where those who work are told of a drain, once clients are taken.
    inboxes: Arc<OnceLock<Vec<Arc<Inbox>>>>,
}

impl Start {
    /// Starts, and waits for the end of the workers.
    fn serve(self, config: Config) -> io::Result<()> {
        let patience = Patience::until(Arc::clone(&self.is_draining));
        let workers = self.options.workers.get();
        let proxy = Proxy::start_with(config.pools, workers, &self.files, &patience)?;
        let stats = Arc::new(Inbox::new()?);
        // From now on a signal is a drain: clients are served already.
        let working = proxy.inboxes.iter().chain([&stats]).cloned();
        self.inboxes.get_or_init(|| working.collect());
        let is_draining = Arc::clone(&self.is_draining);
        match self.finish(&proxy, config.source, stats, &patience) {
            // It ends anyway, and those who are served have their answers before.
            Err(_) if is_draining.load(Ordering::Relaxed) => {}
            outcome => outcome?,
        }
        proxy.join()
    }

    /// Listens for those who watch, and says that it does: to the log, in the pid file, to who waits
    /// for `ready`.
    fn finish(
        self,
        proxy: &Proxy,
        source: Source,
        stats: Arc<Inbox>,
        patience: &Patience,
    ) -> io::Result<()> {
        let Self { options, ready, files, is_draining, .. } = self;
        let figures = Figures::new(proxy.pools.clone(), proxy.start, proxy.listeners);
        let address = (options.stats_addr.as_str(), options.stats_port);
        stats_port::start(address, figures, stats, &files, patience)?;
        if let Some(listen) = &options.admin {
            admin::start(listen, proxy.admin(source, is_draining), patience)?;
        }
        // Not before it listens: a start that fails must not touch the file of a running process.
        if let Some(path) = &options.pid_file {
            files.write_pid(path, patience)?;
        }
        let workers = options.workers.get();
        log::info!(version = env!("CARGO_PKG_VERSION"), workers; "nuthatch started");
        ready.announce()
    }
}

/// Ends the waiting for signals when the thread that serves ends, in whatever way.
struct EndOfWaiting(WakeUp);

impl Drop for EndOfWaiting {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[expect(clippy::disallowed_methods, reason = "not a worker: the start of them all, and signals")]
fn now() -> Instant {
    Instant::now()
}

fn handle(event: ProcessEvent, inboxes: &[Arc<Inbox>]) {
    match event {
        ProcessEvent::Drain => {
            logging::always("draining: no new clients, answering the requests in flight", &[]);
            inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
        }
        ProcessEvent::ReopenLog => logging::reopen(),
        ProcessEvent::RaiseLogLevel => match logging::raise() {
            Some(level) => logging::always("log level raised", &log_level(level)),
            None => logging::always("no log level is higher", &log_level(logging::level())),
        },
        ProcessEvent::LowerLogLevel => match logging::lower() {
            Some(level) => logging::always("log level lowered", &log_level(level)),
            None => logging::always("no log level is lower", &log_level(logging::level())),
        },
        ProcessEvent::User(signal) => {
            logging::always("signal has no effect", &[("signal", signal.into())]);
        }
    }
}

fn log_level(level: u8) -> [(&'static str, Value<'static>); 1] {
    [("log_level", level.into())]
}

/// Running workers.
#[derive(Debug)]
pub struct Proxy {
    start: Instant,
    pools: Vec<SharedPool>,
    inboxes: Vec<Arc<Inbox>>,
    /// Where a worker says how it ended; it is here for workers to come.
    ended: mpsc::Sender<io::Result<()>>,
    endings: mpsc::Receiver<io::Result<()>>,
    listeners: usize,
    /// Keeps the unix sockets in place that it listens on.
    _files: OwnFiles,
}

impl Proxy {
    /// Listens for `pools` and starts `workers` workers.
    ///
    /// # Errors
    /// When a pool can't listen or the system has no room for a worker.
    pub fn start(pools: Vec<Pool>, workers: usize) -> io::Result<Self> {
        Self::start_with(pools, workers, &OwnFiles::default(), &Patience::default())
    }

    fn start_with(
        pools: Vec<Pool>,
        workers: usize,
        files: &OwnFiles,
        patience: &Patience,
    ) -> io::Result<Self> {
        let start = now();
        let share = |pool: Pool| SharedPool {
            workers: (0..workers).map(|_| Arc::new(PoolStats::new(pool.servers.len()))).collect(),
            baseline: Arc::default(),
            addresses: pool.servers.iter().map(|_| Addresses::default()).collect(),
            pool: Arc::new(pool),
        };
        let pools: Vec<SharedPool> = pools.into_iter().map(share).collect();
        let mut lists: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, shared) in pools.iter().enumerate() {
            let opened = listener::open(&shared.pool, index, workers, files, patience)?;
            lists.iter_mut().zip(opened).for_each(|(list, opened)| list.extend(opened));
        }
        check_addresses(&pools, &lists)?;
        let listeners = lists.iter().map(Vec::len).sum();
        let clients_max = clients_max(&pools, workers, listeners);
        let (ended, endings) = mpsc::channel();
        let inboxes = Vec::new();
        let _files = files.clone();
        let mut proxy = Self { start, pools, inboxes, ended, endings, listeners, _files };
        for (number, listeners) in lists.into_iter().enumerate() {
            proxy.start_worker(number, listeners, clients_max)?;
        }
        Ok(proxy)
    }

    fn start_worker(
        &mut self,
        number: usize,
        listeners: Vec<Listener>,
        clients_max: usize,
    ) -> io::Result<()> {
        let inbox = Arc::new(Inbox::new()?);
        let engine = |shared: &SharedPool| {
            let stats = Arc::clone(&shared.workers[number]);
            let mux = engine(shared, stats, number as u64);
            PoolSockets::new(mux, shared.clone())
        };
        let pools = self.pools.iter().map(engine).collect();
        self.inboxes.push(Arc::clone(&inbox));
        let (start, ended) = (self.start, self.ended.clone());
        let work = move || Worker::new(start, inbox, listeners, pools, clients_max)?.run();
        // A proxy that nobody joins does not want to know.
        let work = move || drop(ended.send(work().map_err(io::Error::from)));
        let thread = thread::Builder::new().name(format!("worker {number}"));
        thread.spawn(work).map_err(|error| self.no_room(number, &error))?;
        Ok(())
    }

    fn no_room(&self, number: usize, error: &io::Error) -> io::Error {
        let workers = self.pools[0].workers.len();
        let text = format!(
            "worker {} of {workers} can't start: {error}; raise the limit of threads (ulimit -u, \
             pids.max) or of memory, or lower --workers",
            number + 1
        );
        io::Error::new(error.kind(), text)
    }

    /// What the admin port tells of.
    fn admin(&self, source: Source, is_draining: Arc<AtomicBool>) -> Admin {
        Admin {
            source,
            pools: self.pools.clone(),
            rings: self.pools.iter().map(|shared| shared.pool.ring(0)).collect(),
            inboxes: self.inboxes.clone(),
            start: SystemTime::now(),
            is_draining,
            wanted: AtomicUsize::new(0),
        }
    }

    /// Asks all workers to answer what they have and end.
    pub fn drain(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
    }

    /// Waits for the end of all workers, or of the first that fails.
    ///
    /// # Errors
    /// When the loop of one failed.
    pub fn join(self) -> io::Result<()> {
        drop(self.ended);
        let ended = self.endings.iter().collect::<io::Result<Vec<()>>>()?;
        let all_ended = ended.len() == self.inboxes.len();
        if all_ended { Ok(()) } else { Err(io::Error::other("a worker panicked")) }
    }
}

/// Looks whether two pools listen on one address, which is possible with `reuseport`: clients of
/// either would be those of the other.
fn check_addresses(pools: &[SharedPool], lists: &[Vec<Listener>]) -> io::Result<()> {
    let mut owners = HashMap::new();
    for listener in lists.iter().flatten() {
        let Some(address) = listener.address() else { continue };
        let owner = *owners.entry(address).or_insert(listener.pool);
        if owner != listener.pool {
            let [one, two] = [owner, listener.pool].map(|pool| &pools[pool].pool.name);
            let text = format!(
                "pools '{one}' and '{two}' both listen on {address}; give each an address of its own"
            );
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
    }
    Ok(())
}

/// How many clients each worker may have: descriptors are kept for all that can be connected to
/// servers, or clients would take what serves them (twemproxy `core_calc_connections`).
fn clients_max(pools: &[SharedPool], workers: usize, listeners: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return usize::MAX };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let per_pool = pools
        .iter()
        .map(|shared| shared.pool.servers.len().saturating_mul(shared.pool.server_connections));
    let to_servers = per_pool.fold(0, usize::saturating_add).saturating_mul(workers);
    let kept =
        to_servers.saturating_add(listeners).saturating_add(RESERVED_FILES + admin::readers_max());
    (files.saturating_sub(kept) / workers).max(1)
}

/// For logs, statistics, name look-ups and what the system needs, besides the
/// readers of the admin port (twemproxy `RESERVED_FDS`).
const RESERVED_FILES: usize = 48;

/// How long a second signal to end is taken for an echo of the first: a wrapper often sends one to
/// us and one to all.
const ECHO: Duration = Duration::from_millis(500);

/// A pool's engine for one worker.
fn engine(shared: &SharedPool, stats: Arc<PoolStats>, number: u64) -> Mux {
    let config = &shared.pool;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ejection = config.auto_eject_hosts.then(|| Ejection {
        failure_limit: u32::try_from(config.server_failure_limit).unwrap_or(u32::MAX),
        retry_timeout: config.server_retry_timeout,
    });
    let ring = config.ring(since_epoch.as_secs() ^ number << 32);
    let options = mux::Options {
        protocol: Protocol::Memcache,
        ejection,
        timeout: config.timeout,
        server_connections: config.server_connections,
        allow_flush: config.allow_flush,
        limits: config.limits,
        epoch: since_epoch,
    };
    Mux::new(ring, options, stats)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;

    #[test]
    fn two_pools_that_come_to_share_an_address_are_refused() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!("one: {{listen: \"{free}\", reuseport: true, servers: [a:1:1]}}\n");
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        let one = config.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0);
        let mut two = one.clone();
        two.name = "two".into();
        let refused = Proxy::start(vec![one.clone(), two], 2).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("pools 'one' and 'two' both listen on {free}; give each an address of its own")
        );
        Proxy::start(vec![one], 2).unwrap().drain();
    }
}
