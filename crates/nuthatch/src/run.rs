//! Runs the proxy: starts the workers, reloads the configuration, and waits for the workers' end.
//!
//! The main thread waits for signals, already before the start; another thread runs the start and
//! then leads the proxy: it does reloads and waits for the workers. Each worker, the statistics port
//! and the admin port (if configured) have a thread each. If a worker fails, the process exits: a
//! proxy with missing workers is worse than a restarted proxy.

use crate::admin::{self, Admin};
use crate::args::Options;
use crate::config::{Config, Listen, Source};
use crate::config_watch;
use crate::control::{Control, Reload, Trigger, Wish};
use crate::discover::Discovery;
use crate::inbox::{Inbox, Message};
use crate::log as logging;
use crate::own_files::{self, OwnFiles};
use crate::patience::Patience;
use crate::process::{ProcessEvent, Ready, Signals, WakeUp};
use crate::proxy::Proxy;
use crate::reload::{Follower, Reloader, Reloads};
use crate::resolve::Resolver;
use crate::stats_port::{self, Figures};
use crate::systemd::{self, Inherited};
use crate::takeover::predecessor::{Keeper, Predecessor};
use crate::takeover::successor::Successor;
use crate::takeover::{self, Gate, Listening, Standstill};
use log::kv::Value;
use std::io;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

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
    let standstill = Standstill::default();
    let told = Arc::new(OnceLock::new());
    let start = Start {
        options: options.clone(),
        ready,
        files: files.clone(),
        is_draining: Arc::clone(&is_draining),
        told: Arc::clone(&told),
        gate: if options.upgrade { Gate::closed() } else { Gate::open() },
        standstill: standstill.clone(),
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
                None if told.get().is_none() => {
                    log::info!("signal during the start: exiting now");
                    files.remove();
                    return Ok(());
                }
                None => draining_since = Some(now()),
            }
            is_draining.store(true, Ordering::Relaxed);
            files.give_up_pid();
            // The service goes on with the process that has taken over.
            if !standstill.is_replaced() {
                systemd::tell_stopping();
            }
        }
        let may_upgrade = options.control.is_some() && !standstill.is_replaced();
        handle(event, told.get(), may_upgrade);
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
    /// Who is told of signals; set once the proxy accepts clients.
    told: Arc<OnceLock<Told>>,
    /// Where the workers of the next process wait until it may serve.
    gate: Gate,
    /// Says whether another process takes over, or has taken over.
    standstill: Standstill,
}

/// Who is told of signals.
struct Told {
    /// The inboxes that get the message of a drain.
    inboxes: Vec<Arc<Inbox>>,
    control: mpsc::Sender<Control>,
}

impl Start {
    /// Starts, and waits for the end of the workers.
    fn serve(self, config: Config, inherited: Inherited) -> io::Result<()> {
        let patience = Patience::until(Arc::clone(&self.is_draining));
        let (listening, successor) = self.open(inherited)?;
        let workers = self.options.workers.get();
        let resolver = Resolver::new(self.options.dns.clone());
        let hold = self.options.dns.hold;
        let mut discovery = Discovery::new(&config.pools, &resolver, hold);
        discovery.wait(self.options.discovery_wait);
        let pools = discovery.pools(config.pools.clone());
        let (sockets, gate) = ((&self.files, &listening), &self.gate);
        let proxy = Proxy::start_with(pools, &resolver, workers, sockets, &patience, gate)?;
        discovery.forward(proxy.control.clone())?;
        let stats = Arc::new(Inbox::new()?);
        // From now on a signal starts a drain: the proxy already serves clients.
        let inboxes = proxy.inboxes.iter().chain([&stats]).cloned().collect();
        self.told.get_or_init(|| Told { inboxes, control: proxy.control.clone() });
        let (is_draining, gate) = (Arc::clone(&self.is_draining), self.gate.clone());
        let reloader = Reloader {
            source: config.source,
            options: self.options.clone(),
            answers: discovery.answers(),
            reloads: Arc::new(Reloads::new()),
            standstill: self.standstill.clone(),
        };
        if let (Source::File(path), false) = (&reloader.source, self.options.ignores_changes) {
            let (published, control) = (proxy.published.clone(), proxy.control.clone());
            config_watch::start(path.clone(), config.stamp, published, control)?;
        }
        let ports = Ports { listening, stats, successor };
        let keeper = match self.finish(&proxy, &reloader, ports, &patience) {
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
        let mut follower = Follower::new(reloader, discovery, config.pools);
        proxy.lead(|proxy, wish| {
            let is_ending = is_draining.load(Ordering::Relaxed);
            if is_ending { None } else { follower.follow(proxy, wish) }
        })?;
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
        reloader: &Reloader,
        ports: Ports,
        patience: &Patience,
    ) -> io::Result<Option<Keeper>> {
        let Ports { listening, stats, successor } = ports;
        let Self { options, files, is_draining, gate, standstill, .. } = &self;
        let figures = Figures::new(proxy.published.clone(), proxy.start);
        let address = (options.stats_addr.as_str(), options.stats_port);
        let sockets = (files, &listening);
        stats_port::start(address, figures, Arc::clone(&stats), sockets, patience)?;
        let control = options.control.as_deref();
        let control = control.map(|path| takeover::open_control(path, sockets, patience));
        let control = control.transpose()?;
        let (admin, until) = UnixStream::pair()?;
        if let Some(listen) = &options.admin {
            let content = Admin::new(proxy, reloader, Arc::clone(is_draining));
            let until = control.is_some().then_some(until);
            admin::start(listen, content, until, &listening, patience)?;
        }
        listening.check_used(&configured(proxy, options))?;
        let has_predecessor = successor.is_some();
        systemd::start_watchdog(proxy.inboxes.clone(), has_predecessor, standstill.clone())?;
        if let Some(successor) = successor {
            if is_draining.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            successor.go((&proxy.published, &proxy.inboxes), files, &listening, gate)?;
        }
        let predecessor = control.map(|control| {
            let predecessor = Predecessor {
                listening,
                files: files.clone(),
                published: proxy.published.clone(),
                standstill: standstill.clone(),
                workers: proxy.inboxes.clone(),
                stats,
                admin,
                is_draining: Arc::clone(is_draining),
            };
            predecessor.start(control)
        });
        let outcome = self.report(proxy, &reloader.source, patience);
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
    fn report(self, proxy: &Proxy, source: &Source, patience: &Patience) -> io::Result<()> {
        // Not before the proxy listens: a failed start must not change the file of a running
        // process.
        if let Some(path) = &self.options.pid_file {
            self.files.write_pid(path, patience)?;
        }
        let (workers, file) = (proxy.inboxes.len(), source.to_string());
        log::info!(version = env!("CARGO_PKG_VERSION"), workers, source = file; "nuthatch started");
        systemd::tell_ready(proxy.published.get().pools.len(), workers);
        self.ready.announce()
    }
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
    let generation = proxy.published.get();
    let of_pools = generation.pools.iter().flat_map(|shared| &shared.pool.listen);
    let stats = match options.stats_addr.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        host => format!("{host}:{} (statistics)", options.stats_port),
    };
    let admin = options.admin.iter().map(|listen| format!("{listen} (admin)"));
    of_pools.map(Listen::to_string).chain([stats]).chain(admin).collect()
}

/// Ends the wait for signals when the serving thread ends, for whatever reason.
struct EndOfWaiting(WakeUp);

impl Drop for EndOfWaiting {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn handle(event: ProcessEvent, told: Option<&Told>, may_upgrade: bool) {
    match event {
        ProcessEvent::Drain => {
            logging::always("draining: no new clients, answering the requests in flight", &[]);
            let inboxes = told.map_or(&[][..], |told| &told.inboxes);
            inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
        }
        ProcessEvent::Reload => {
            logging::reopen();
            let wish = Wish::Reload(Reload::by(Trigger::Signal));
            // When the proxy ends, there is nobody to reload.
            let _ = told.map(|told| told.control.send(Control::Wish(wish)));
        }
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

#[expect(clippy::disallowed_methods, reason = "not a worker: the time between two signals")]
fn now() -> Instant {
    Instant::now()
}

/// A second signal within this time counts as a copy of the first: wrappers often send a signal
/// both to the process and to its group.
const ECHO: Duration = Duration::from_millis(500);
