//! The running proxy: its workers, its listeners, and the generation that it serves.
//!
//! The one rule: what can fail is done before any worker is told. So another generation is served by
//! all workers, or by none.

use crate::admin;
use crate::config::{Pool, capacity};
use crate::control::{Control, Wish};
use crate::generation::{APPLY_MAX, Generation, Published, since_epoch};
use crate::health::Health;
use crate::inbox::{Apply, Inbox, Message};
use crate::listener::{Listeners, OfWorkers};
use crate::own_files::OwnFiles;
use crate::patience::Patience;
use crate::resolve::{self, Resolver};
use crate::takeover::{Gate, Listening};
use crate::worker::Worker;
use nuthatch_core::time;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Running workers.
#[derive(Debug)]
pub struct Proxy {
    pub(crate) start: Instant,
    pub(crate) published: Published,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    listeners: Listeners,
    /// Where workers send the result of their end, and other threads what the proxy is to do.
    pub(crate) control: mpsc::Sender<Control>,
    messages: mpsc::Receiver<Control>,
    /// The way to the thread that decides which servers are used.
    pub(crate) health: Health,
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
        let sockets = (&OwnFiles::default(), &Listening::default());
        Self::start_with(pools, &resolver, workers, sockets, &Patience::default(), &Gate::open())
    }

    /// As [`Self::start`]; the unix sockets are among `files`, an address that another process has is
    /// waited for with `patience`, and workers wait at `gate`.
    pub(crate) fn start_with(
        pools: Vec<Pool>,
        resolver: &Resolver,
        workers: usize,
        (files, listening): (&OwnFiles, &Listening),
        patience: &Patience,
        gate: &Gate,
    ) -> io::Result<Self> {
        let mut listeners = Listeners::new(workers, (files, listening), patience);
        let mut generation = Generation::first(pools, workers, resolver);
        let sockets = listeners.change(&generation.configs())?;
        generation.listeners = listeners.count();
        let generation = Arc::new(generation);
        let published = Published::new(Arc::clone(&generation));
        let (inboxes, _files) = (Vec::new(), files.clone());
        let (start, (control, messages)) = (now(), mpsc::channel());
        let health = Health::new(start);
        let mut proxy =
            Self { start, published, inboxes, listeners, control, messages, health, _files };
        proxy.health.announce(&generation);
        let (applied, _) = mpsc::channel();
        for (number, first) in proxy.applies(&generation, sockets, &applied).into_iter().enumerate()
        {
            proxy.start_worker(number, first, gate)?;
        }
        proxy.health.start(&generation, &proxy.inboxes)?;
        Ok(proxy)
    }

    fn start_worker(&mut self, number: usize, first: Apply, gate: &Gate) -> io::Result<()> {
        let inbox = Arc::new(Inbox::new()?);
        self.inboxes.push(Arc::clone(&inbox));
        let (start, control) = (self.start, self.control.clone());
        let reports = self.health.sender();
        let (workers, gate) = (self.listeners.workers, gate.clone());
        let work = move || {
            let mut end =
                End { control, outcome: Some(Err(io::Error::other("a worker panicked"))) };
            let outcome = Worker::new(number, start, inbox, reports, first);
            let outcome =
                outcome.and_then(|worker| if gate.wait() { worker.run() } else { Ok(()) });
            end.outcome = Some(outcome.map_err(io::Error::from));
        };
        let thread = thread::Builder::new().name(format!("worker {number}"));
        thread.spawn(work).map_err(|error| no_room(number, workers, &error))?;
        Ok(())
    }

    /// Serves by `generation` from now on.
    ///
    /// # Errors
    /// When a pool can't listen: then nothing has changed.
    pub(crate) fn apply(&mut self, mut generation: Generation) -> io::Result<()> {
        let sockets = self.listeners.change(&generation.configs())?;
        generation.listeners = self.listeners.count();
        let generation = Arc::new(generation);
        let (applied, all_applied) = mpsc::channel();
        let applies = self.applies(&generation, sockets, &applied);
        drop(applied);
        self.published.set(Arc::clone(&generation));
        self.health.announce(&generation);
        if let Err(error) = self.health.start(&generation, &self.inboxes) {
            log::error!(error:%; "servers are not ejected");
        }
        for (inbox, apply) in self.inboxes.iter().zip(applies) {
            inbox.send(Message::Apply(apply));
        }
        // So that whoever asked for the change finds it made. A worker that hangs applies it later.
        let _ = all_applied.recv_timeout(APPLY_MAX);
        self.health.note_served();
        Ok(())
    }

    /// What each worker is told.
    fn applies(
        &self,
        generation: &Arc<Generation>,
        sockets: OfWorkers,
        applied: &mpsc::Sender<()>,
    ) -> Vec<Apply> {
        let clients_max = clients_max(generation, sockets.len());
        let of_pool = generation.pools.iter().flat_map(|shared| {
            self.listeners.of(&shared.pool).into_iter().map(|listener| (listener, shared.id))
        });
        let pool_of: Arc<HashMap<u64, u64>> = Arc::new(of_pool.collect());
        let since_start = now().duration_since(self.start);
        let announced = time::Instant::default().after(since_start);
        let epoch = since_epoch().saturating_sub(since_start);
        let apply = |listeners| {
            let (generation, pool_of) = (Arc::clone(generation), Arc::clone(&pool_of));
            let _applied = applied.clone();
            Apply { generation, announced, epoch, pool_of, listeners, clients_max, _applied }
        };
        sockets.into_iter().map(apply).collect()
    }

    /// Does what the other threads ask for, until all workers have ended or one of them fails. `change`
    /// says after which time it wants [`Wish::Retry`], if no other wish comes before.
    ///
    /// # Errors
    /// When a worker fails.
    pub(crate) fn lead(
        mut self,
        mut change: impl FnMut(&mut Self, Wish) -> Option<Duration>,
    ) -> io::Result<()> {
        let mut working = self.inboxes.len();
        let mut retry_at = None;
        while working > 0 {
            match self.next_control(retry_at) {
                Control::Ended(outcome) => {
                    outcome?;
                    working -= 1;
                }
                Control::Wish(wish) => {
                    retry_at = change(&mut self, wish).map(|wait| now() + wait);
                }
            }
        }
        Ok(())
    }

    /// The next message, or the retry that is due at this time.
    fn next_control(&self, retry_at: Option<Instant>) -> Control {
        const SENDER: &str = "there is a sender in this value";
        let Some(retry_at) = retry_at else { return self.messages.recv().expect(SENDER) };
        let received = self.messages.recv_timeout(retry_at.saturating_duration_since(now()));
        received.unwrap_or(Control::Wish(Wish::Retry))
    }

    /// Waits until all workers have ended, or until one fails.
    ///
    /// # Errors
    /// When the loop of a worker failed.
    pub fn join(self) -> io::Result<()> {
        self.lead(|_, _| None)
    }

    /// Tells all workers to answer the requests in flight and end.
    pub fn drain(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
    }
}

/// Tells of the end of a worker, also if it panics.
struct End {
    control: mpsc::Sender<Control>,
    outcome: Option<io::Result<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Ok(()));
        // If nobody waits for the proxy, the outcome is not needed.
        let _ = self.control.send(Control::Ended(outcome));
    }
}

#[expect(clippy::disallowed_methods, reason = "not a worker: the thread that leads them")]
fn now() -> Instant {
    Instant::now()
}

fn no_room(number: usize, workers: usize, error: &io::Error) -> io::Error {
    let text = format!(
        "worker {} of {workers} can't start: {error}; raise the limit of threads (ulimit -u, \
         pids.max) or of memory, or lower --workers",
        number + 1
    );
    io::Error::new(error.kind(), text)
}

/// The maximum number of clients of each worker: file descriptors are reserved for all server
/// connections, because clients could otherwise use all of them (twemproxy
/// `core_calc_connections`).
fn clients_max(generation: &Generation, workers: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return usize::MAX };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let per_pool = generation.pools.iter().map(|shared| capacity::connections(&shared.pool));
    let to_servers = per_pool.fold(0, usize::saturating_add).saturating_mul(workers);
    let look_ups = resolve::files_max(generation.pools.iter().map(|shared| &*shared.pool));
    let others = generation.listeners + RESERVED_FILES + look_ups + admin::readers_max();
    let kept = to_servers.saturating_add(others);
    (files.saturating_sub(kept) / workers).max(1)
}

/// For logs, statistics and what the system needs, besides name look-ups and the readers of the admin
/// port (twemproxy `RESERVED_FDS`).
const RESERVED_FILES: usize = 48;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;
    use crate::config::Config;

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

    #[test]
    fn all_workers_are_told_the_same_time() {
        let text = "p: {listen: \"127.0.0.1:0\", servers: [a:1:1]}\n";
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        let pools = config.unwrap_or_else(|errors| panic!("{errors}")).pools;
        let mut proxy = Proxy::start(pools, 3).unwrap();
        let pause = Duration::from_millis(20);
        thread::sleep(pause);
        let generation = proxy.published.get();
        let sockets = proxy.listeners.change(&generation.configs()).unwrap();
        let applies = proxy.applies(&generation, sockets, &mpsc::channel().0);
        let since_start = proxy.start.elapsed();
        let times = applies.iter().map(|apply| apply.announced.since(time::Instant::default()));
        let times: Vec<Duration> = times.collect();
        assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
        assert!(pause <= times[0] && times[0] <= since_start, "{times:?} {since_start:?}");
        proxy.drain();
    }
}
