//! Runs the proxy: starts the workers and waits for their end.
//!
//! The main thread waits for signals, already before the start; another thread runs the start and
//! then waits for the workers; each worker, the statistics port and the admin port (if configured)
//! have a thread each. If a worker fails, the process exits: a proxy with missing workers is worse
//! than a restarted proxy.

use crate::addresses::Addresses;
use crate::admin::{self, Admin};
use crate::args::Options;
use crate::config::{Config, Pool, Source, capacity};
use crate::discover::Discovery;
use crate::inbox::{Inbox, Message};
use crate::listener::{self, Listener, Taken};
use crate::log as logging;
use crate::own_files::OwnFiles;
use crate::patience::Patience;
use crate::process::{ProcessEvent, Ready, Signals, WakeUp};
use crate::question::Baseline;
use crate::resolve::{self, Resolver};
use crate::sockets::PoolSockets;
use crate::stats_port::{self, Figures};
use crate::worker::Worker;
use log::kv::Value;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::{self, Mux};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::stats::PoolStats;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The data of one pool that all workers share.
#[derive(Debug, Clone)]
pub(crate) struct SharedPool {
    pub(crate) pool: Arc<Pool>,
    /// Its figures, one block a worker.
    pub(crate) workers: Arc<[Arc<PoolStats>]>,
    /// The values that `stats` subtracts.
    pub(crate) baseline: Arc<Baseline>,
    /// Which address of each server is used.
    pub(crate) addresses: Arc<[Addresses]>,
    /// The resolver of the process.
    pub(crate) resolver: Resolver,
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
    // Signals are handled from now on, so the start, which may wait for a name server, runs on a
    // separate thread.
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

/// The data for the start besides the configuration.
struct Start {
    options: Options,
    ready: Ready,
    files: OwnFiles,
    is_draining: Arc<AtomicBool>,
    /// The inboxes that get the message of a drain; set once the proxy accepts clients.
    inboxes: Arc<OnceLock<Vec<Arc<Inbox>>>>,
}

impl Start {
    /// Starts, and waits for the end of the workers.
    fn serve(self, config: Config) -> io::Result<()> {
        let patience = Patience::until(Arc::clone(&self.is_draining));
        let workers = self.options.workers.get();
        let resolver = Resolver::new(self.options.dns.clone());
        let mut discovery = Discovery::new(&config.pools, &resolver);
        discovery.wait(self.options.discovery_wait);
        let pools = discovery.pools(config.pools);
        let proxy = Proxy::start_with(pools.clone(), &resolver, workers, &self.files, &patience)?;
        discovery.watch(pools)?;
        let stats = Arc::new(Inbox::new()?);
        // From now on a signal starts a drain: the proxy already serves clients.
        let inboxes = proxy.inboxes.iter().chain([&stats]).cloned();
        self.inboxes.get_or_init(|| inboxes.collect());
        let is_draining = Arc::clone(&self.is_draining);
        match self.finish(&proxy, config.source, stats, &patience) {
            // The process is ending anyway, and its clients must get their replies first.
            Err(_) if is_draining.load(Ordering::Relaxed) => {}
            outcome => outcome?,
        }
        proxy.join()
    }

    /// Opens the statistics port and the admin port, then reports the start: in the log, in the pid
    /// file, to the process that waits for `ready`.
    fn finish(
        self,
        proxy: &Proxy,
        source: Source,
        stats: Arc<Inbox>,
        patience: &Patience,
    ) -> io::Result<()> {
        let Self { options, ready, files, is_draining, .. } = self;
        let (workers, file) = (options.workers.get(), source.to_string());
        let figures = Figures::new(proxy.pools.clone(), proxy.start, proxy.listeners);
        let address = (options.stats_addr.as_str(), options.stats_port);
        stats_port::start(address, figures, stats, &files, patience)?;
        if let Some(listen) = &options.admin {
            admin::start(listen, proxy.admin(source, is_draining), patience)?;
        }
        // Not before the proxy listens: a failed start must not change the file of a running
        // process.
        if let Some(path) = &options.pid_file {
            files.write_pid(path, patience)?;
        }
        log::info!(version = env!("CARGO_PKG_VERSION"), workers, source = file; "nuthatch started");
        ready.announce()
    }
}

/// Ends the wait for signals when the serving thread ends, for whatever reason.
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
            Some(level) => logging::always("log level changed", &log_level(level)),
            None => logging::always("no log level is higher", &log_level(logging::level())),
        },
        ProcessEvent::LowerLogLevel => match logging::lower() {
            Some(level) => logging::always("log level changed", &log_level(level)),
            None => logging::always("no log level is lower", &log_level(logging::level())),
        },
        ProcessEvent::User(signal) => {
            logging::always("signal ignored", &[("signal", signal.into())]);
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
    /// Workers send the result of their end here; new workers get a clone.
    ended: mpsc::Sender<io::Result<()>>,
    endings: mpsc::Receiver<io::Result<()>>,
    listeners: usize,
    /// Keeps the unix sockets of the listeners until the proxy is dropped.
    _files: OwnFiles,
}

impl Proxy {
    /// Listens for `pools` and starts `workers` workers.
    ///
    /// # Errors
    /// When a pool cannot listen or a worker cannot be started.
    pub fn start(pools: Vec<Pool>, workers: usize) -> io::Result<Self> {
        let resolver = Resolver::new(resolve::Options::default());
        Self::start_with(pools, &resolver, workers, &OwnFiles::default(), &Patience::default())
    }

    fn start_with(
        pools: Vec<Pool>,
        resolver: &Resolver,
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
            resolver: resolver.clone(),
        };
        let pools: Vec<SharedPool> = pools.into_iter().map(share).collect();
        let mut lists: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
        let mut taken = Taken::default();
        for (index, shared) in pools.iter().enumerate() {
            let opened = listener::open(&shared.pool, index, workers, &mut taken, files, patience)?;
            lists.iter_mut().zip(opened).for_each(|(list, opened)| list.extend(opened));
        }
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
        // If nobody joins the proxy, the result is not needed.
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

    /// The data for the admin port.
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

    /// Tells all workers to answer the requests in flight and end.
    pub fn drain(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
    }

    /// Waits until all workers have ended, or until one fails.
    ///
    /// # Errors
    /// When the loop of a worker failed.
    pub fn join(self) -> io::Result<()> {
        drop(self.ended);
        let ended = self.endings.iter().collect::<io::Result<Vec<()>>>()?;
        let all_ended = ended.len() == self.inboxes.len();
        if all_ended { Ok(()) } else { Err(io::Error::other("a worker panicked")) }
    }
}

/// The maximum number of clients of each worker: file descriptors are reserved for all server
/// connections, because clients could otherwise use all of them (twemproxy
/// `core_calc_connections`).
fn clients_max(pools: &[SharedPool], workers: usize, listeners: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return usize::MAX };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let per_pool = pools.iter().map(|shared| capacity::connections(&shared.pool));
    let to_servers = per_pool.fold(0, usize::saturating_add).saturating_mul(workers);
    let look_ups = resolve::files_max(pools.iter().map(|shared| &*shared.pool));
    let reserved = RESERVED_FILES + look_ups + admin::readers_max();
    let kept = to_servers.saturating_add(listeners).saturating_add(reserved);
    (files.saturating_sub(kept) / workers).max(1)
}

/// For logs, statistics and what the system needs, besides name look-ups and the readers of the
/// admin port (twemproxy `RESERVED_FDS`).
const RESERVED_FILES: usize = 48;

/// A second signal within this time counts as a copy of the first: wrappers often send a signal
/// both to the process and to its group.
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
        protocol: if config.redis { Protocol::Redis } else { Protocol::Memcache },
        ejection,
        timeout: config.timeout,
        server_connections: config.server_connections,
        allow_flush: config.allow_flush,
        redis: Arc::new(config.redis_settings()),
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
        let why = format!("pool 'two' can't listen on {free}: pool 'one' listens on {free}");
        assert_eq!(refused.to_string(), why);
        Proxy::start(vec![one], 2).unwrap().drain();
    }
}
