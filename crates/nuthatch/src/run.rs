//! Runs the proxy: starts the workers, reloads the configuration, and waits for the workers' end.
//!
//! The main thread waits for signals, already before the start; another thread runs the start and
//! then leads the proxy: it does reloads and waits for the workers. Each worker, the statistics port
//! and the admin port (if configured) have a thread each. If a worker fails, the process exits: a
//! proxy with missing workers is worse than a restarted proxy.

use crate::admin::{self, Admin};
use crate::args::Options;
use crate::config::{Config, Source};
use crate::config_watch;
use crate::control::{Control, Reload, Trigger, Wish};
use crate::discover::Discovery;
use crate::inbox::{Inbox, Message};
use crate::log as logging;
use crate::own_files::OwnFiles;
use crate::patience::Patience;
use crate::process::{ProcessEvent, Ready, Signals, WakeUp};
use crate::proxy::Proxy;
use crate::reload::{Follower, Reloader, Reloads};
use crate::resolve::Resolver;
use crate::stats_port::{self, Figures};
use log::kv::Value;
use std::io;
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
    mut signals: Signals,
    ready: Ready,
) -> io::Result<()> {
    let files = OwnFiles::default();
    let is_draining = Arc::new(AtomicBool::new(false));
    let told = Arc::new(OnceLock::new());
    let start = Start {
        options: options.clone(),
        ready,
        files: files.clone(),
        is_draining: Arc::clone(&is_draining),
        told: Arc::clone(&told),
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
                None if told.get().is_none() => {
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
        handle(event, told.get());
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
}

/// Who is told of signals.
struct Told {
    /// The inboxes that get the message of a drain.
    inboxes: Vec<Arc<Inbox>>,
    control: mpsc::Sender<Control>,
}

impl Start {
    /// Starts, and waits for the end of the workers.
    fn serve(self, config: Config) -> io::Result<()> {
        let patience = Patience::until(Arc::clone(&self.is_draining));
        let workers = self.options.workers.get();
        let resolver = Resolver::new(self.options.dns.clone());
        let mut discovery = Discovery::new(&config.pools, &resolver);
        discovery.wait(self.options.discovery_wait);
        let pools = discovery.pools(config.pools.clone(), None);
        let proxy = Proxy::start_with(pools, &resolver, workers, &self.files, &patience)?;
        discovery.forward(proxy.control.clone())?;
        let stats = Arc::new(Inbox::new()?);
        // From now on a signal starts a drain: the proxy already serves clients.
        let inboxes = proxy.inboxes.iter().chain([&stats]).cloned().collect();
        self.told.get_or_init(|| Told { inboxes, control: proxy.control.clone() });
        let is_draining = Arc::clone(&self.is_draining);
        let (source, options) = (config.source, self.options.clone());
        let answers = discovery.answers();
        let reloader = Reloader { source, options, answers, reloads: Arc::new(Reloads::new()) };
        match self.finish(&proxy, &reloader, stats, &patience) {
            // The process is ending anyway, and its clients must get their replies first.
            Err(_) if is_draining.load(Ordering::Relaxed) => {}
            outcome => outcome?,
        }
        let mut follower = Follower { reloader, discovery, config: config.pools };
        proxy.lead(|proxy, wish| {
            if !is_draining.load(Ordering::Relaxed) {
                follower.follow(proxy, wish);
            }
        })
    }

    /// Opens the statistics port and the admin port, then reports the start: in the log, in the pid
    /// file, to the process that waits for `ready`.
    fn finish(
        self,
        proxy: &Proxy,
        reloader: &Reloader,
        stats: Arc<Inbox>,
        patience: &Patience,
    ) -> io::Result<()> {
        let Self { options, ready, files, is_draining, .. } = self;
        let (workers, file) = (options.workers.get(), reloader.source.to_string());
        let figures = Figures::new(proxy.published.clone(), proxy.start);
        let address = (options.stats_addr.as_str(), options.stats_port);
        stats_port::start(address, figures, stats, &files, patience)?;
        if let Some(listen) = &options.admin {
            admin::start(listen, Admin::new(proxy, reloader, is_draining), patience)?;
        }
        if let (Source::File(path), false) = (&reloader.source, options.ignores_changes) {
            config_watch::start(path.clone(), proxy.published.clone(), proxy.control.clone())?;
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

fn handle(event: ProcessEvent, told: Option<&Told>) {
    match event {
        ProcessEvent::Drain => {
            logging::always("draining: no new clients, answering the requests in flight", &[]);
            let inboxes = told.map_or(&[][..], |told| &told.inboxes);
            inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
        }
        ProcessEvent::Reload => {
            logging::reopen();
            let wish = Reload { trigger: Trigger::Signal, is_forced: false, reply: None };
            // When the proxy ends, there is nobody to reload.
            let _ = told.map(|told| told.control.send(Control::Wish(Wish::Reload(wish))));
        }
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

#[expect(clippy::disallowed_methods, reason = "not a worker: the time between two signals")]
fn now() -> Instant {
    Instant::now()
}

/// A second signal within this time counts as a copy of the first: wrappers often send a signal
/// both to the process and to its group.
const ECHO: Duration = Duration::from_millis(500);
