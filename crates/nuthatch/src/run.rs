//! Runs the proxy: starts the workers and waits for their end.
//!
//! The main thread waits for signals, already before the start; another thread runs the start and
//! then waits for the workers; each worker, the statistics port and the admin port (if configured)
//! have a thread each. If a worker fails, the process exits: a proxy with missing workers is worse
//! than a restarted proxy.

use crate::addresses::Addresses;
use crate::admin::{self, Admin};
use crate::args::Options;
use crate::config::{Config, Listen, Pool, Source, capacity};
use crate::inbox::{Inbox, Message};
use crate::listener::{self, Listener, Taken};
use crate::log as logging;
use crate::own_files::{self, OwnFiles};
use crate::patience::Patience;
use crate::process::{ProcessEvent, Ready, Signals, WakeUp};
use crate::question::Baseline;
use crate::sockets::PoolSockets;
use crate::stats_port::{self, Figures};
use crate::systemd::{self, Inherited};
use crate::takeover::predecessor::{Keeper, Predecessor};
use crate::takeover::successor::Successor;
use crate::takeover::{self, Gate, Listening};
use crate::worker::Worker;
use log::kv::Value;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::{self, Mux};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::stats::PoolStats;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::unix::net::UnixStream;
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
}

/// Serves the pools of `config` until a signal ends it; announces `ready` once it listens.
///
/// # Errors
/// When a pool can't listen, or a worker's loop fails.
pub fn run(
    config: Config,
    options: &Options,
    inherited: Inherited,
    mut signals: Signals,
    ready: Ready,
) -> io::Result<()> {
    let files = OwnFiles::default();
    let is_draining = Arc::new(AtomicBool::new(false));
    let is_replaced = Arc::new(AtomicBool::new(false));
    let inboxes = Arc::new(OnceLock::new());
    let start = Start {
        options: options.clone(),
        ready,
        files: files.clone(),
        is_draining: Arc::clone(&is_draining),
        inboxes: Arc::clone(&inboxes),
        gate: if options.upgrade { Gate::closed() } else { Gate::open() },
        is_replaced: Arc::clone(&is_replaced),
    };
    let end = EndOfWaiting(signals.wake_up());
    // Signals are handled from now on, so the start, which may wait for a name server, runs on a
    // separate thread.
    let server = thread::spawn(move || {
        let _end = end;
        start.serve(config, inherited)
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
            // The service goes on with the process that has taken over.
            if !is_replaced.load(Ordering::Acquire) {
                systemd::tell_stopping();
            }
        }
        let may_upgrade = options.control.is_some() && !is_replaced.load(Ordering::Acquire);
        handle(event, inboxes.get().map_or(&[], Vec::as_slice), may_upgrade);
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
    /// Where the workers of the next process wait until it may serve.
    gate: Gate,
    /// Set when another process has taken over from this one.
    is_replaced: Arc<AtomicBool>,
}

impl Start {
    /// Starts, and waits for the end of the workers.
    fn serve(self, config: Config, inherited: Inherited) -> io::Result<()> {
        let patience = Patience::until(Arc::clone(&self.is_draining));
        let (listening, successor) = self.open(inherited)?;
        let workers = self.options.workers.get();
        let sockets = (&self.files, &listening);
        let proxy = Proxy::start_with(config.pools, workers, sockets, &patience, &self.gate)?;
        let stats = Arc::new(Inbox::new()?);
        // From now on a signal starts a drain: the proxy already serves clients.
        let inboxes = proxy.inboxes.iter().chain([&stats]).cloned();
        self.inboxes.get_or_init(|| inboxes.collect());
        let (is_draining, gate) = (Arc::clone(&self.is_draining), self.gate.clone());
        let ports = Ports { listening, stats, successor };
        let keeper = match self.finish(&proxy, config.source, ports, &patience) {
            Ok(keeper) => keeper,
            Err(error) => {
                gate.decide(false);
                // The process is ending anyway, and its clients must get their replies first.
                if !is_draining.load(Ordering::Relaxed) {
                    return Err(error);
                }
                None
            }
        };
        proxy.join()?;
        keeper.into_iter().for_each(Keeper::finish);
        Ok(())
    }

    /// The listening sockets that are there already, and the running process that this one is to take
    /// over from.
    fn open(&self, inherited: Inherited) -> io::Result<(Listening, Option<Successor>)> {
        let Options { upgrade, control, pid_file, .. } = &self.options;
        let mut given = inherited.sockets;
        let Some(control) = control.as_ref().filter(|_| *upgrade) else {
            return Ok((Listening::with(given), None));
        };
        let (successor, handed) = Successor::connect(control)?;
        if let Some(path) = pid_file {
            own_files::check_pid_file_for(successor.predecessor, path)?;
        }
        given.extend(handed);
        Ok((Listening::with(given), Some(successor)))
    }

    /// Opens the other ports, takes over from a running process if there is one, and reports the start.
    fn finish(
        self,
        proxy: &Proxy,
        source: Source,
        ports: Ports,
        patience: &Patience,
    ) -> io::Result<Option<Keeper>> {
        let Ports { listening, stats, successor } = ports;
        let Self { options, files, is_draining, gate, .. } = &self;
        let started = Started { workers: options.workers.get(), source: source.to_string() };
        let figures = Figures::new(proxy.pools.clone(), proxy.start, proxy.listeners);
        let address = (options.stats_addr.as_str(), options.stats_port);
        let sockets = (files, &listening);
        stats_port::start(address, figures, Arc::clone(&stats), sockets, patience)?;
        let control = options.control.as_deref();
        let control = control.map(|path| takeover::open_control(path, sockets, patience));
        let control = control.transpose()?;
        let (admin, until) = UnixStream::pair()?;
        if let Some(listen) = &options.admin {
            let content = proxy.admin(source, Arc::clone(is_draining));
            let until = control.is_some().then_some(until);
            admin::start(listen, content, until, &listening, patience)?;
        }
        listening.check_used(&configured(proxy, options))?;
        let is_replaced = Arc::clone(&self.is_replaced);
        let (inboxes, has_predecessor) = (proxy.inboxes.clone(), successor.is_some());
        systemd::start_watchdog(inboxes, has_predecessor, Arc::clone(&is_replaced))?;
        if let Some(successor) = successor {
            if is_draining.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            successor.go((&proxy.pools, &proxy.inboxes), files, &listening, gate)?;
        }
        let predecessor = control.map(|control| {
            let predecessor = Predecessor {
                listening,
                files: files.clone(),
                pools: proxy.pools.clone(),
                workers: proxy.inboxes.clone(),
                stats,
                admin,
                is_draining: Arc::clone(is_draining),
                is_replaced,
            };
            predecessor.start(control)
        });
        let outcome = self.report(&started, proxy.pools.len(), patience);
        match outcome.and_then(|()| predecessor.transpose()) {
            // It is too late to leave the clients to the other process.
            Err(error) if has_predecessor => {
                log::error!(error:%; "the upgrade is incomplete");
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// Reports the start: in the pid file, in the log, to the process that waits for `ready`, and to
    /// systemd.
    fn report(self, started: &Started, pools: usize, patience: &Patience) -> io::Result<()> {
        // Not before the proxy listens: a failed start must not change the file of a running
        // process.
        if let Some(path) = &self.options.pid_file {
            self.files.write_pid(path, patience)?;
        }
        let Started { workers, source } = started;
        log::info!(version = env!("CARGO_PKG_VERSION"), workers, source; "nuthatch started");
        systemd::tell_ready(pools, *workers);
        self.ready.announce()
    }
}

/// What the log tells of a start.
struct Started {
    workers: usize,
    source: String,
}

/// What is opened besides the listeners of the pools.
struct Ports {
    listening: Listening,
    /// The inbox of the statistics port.
    stats: Arc<Inbox>,
    successor: Option<Successor>,
}

/// The addresses of the configuration, as the operator has written them.
fn configured(proxy: &Proxy, options: &Options) -> Vec<String> {
    let of_pools = proxy.pools.iter().flat_map(|shared| &shared.pool.listen).map(Listen::to_string);
    let stats = match options.stats_addr.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        host => format!("{host}:{} (statistics)", options.stats_port),
    };
    let admin = options.admin.iter().map(|listen| format!("{listen} (admin)"));
    of_pools.chain([stats]).chain(admin).collect()
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

fn handle(event: ProcessEvent, inboxes: &[Arc<Inbox>], may_upgrade: bool) {
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
        ProcessEvent::Upgrade if may_upgrade => takeover::start_next(),
        ProcessEvent::Upgrade => logging::always("signal ignored", &[("signal", "SIGUSR2".into())]),
        ProcessEvent::User => logging::always("signal ignored", &[("signal", "SIGUSR1".into())]),
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
        let sockets = (&OwnFiles::default(), &Listening::default());
        Self::start_with(pools, workers, sockets, &Patience::default(), &Gate::open())
    }

    fn start_with(
        pools: Vec<Pool>,
        workers: usize,
        (files, listening): (&OwnFiles, &Listening),
        patience: &Patience,
        gate: &Gate,
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
        let mut taken = Taken::default();
        taken.listening = listening.clone();
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
            proxy.start_worker(number, listeners, clients_max, gate)?;
        }
        Ok(proxy)
    }

    fn start_worker(
        &mut self,
        number: usize,
        listeners: Vec<Listener>,
        clients_max: usize,
        gate: &Gate,
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
        let gate = gate.clone();
        let work = move || {
            let worker = Worker::new(start, inbox, listeners, pools, clients_max)?;
            if gate.wait() { worker.run() } else { Ok(()) }
        };
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
    let kept =
        to_servers.saturating_add(listeners).saturating_add(RESERVED_FILES + admin::readers_max());
    (files.saturating_sub(kept) / workers).max(1)
}

/// For logs, statistics, name look-ups and what the system needs, besides the
/// readers of the admin port (twemproxy `RESERVED_FDS`).
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
