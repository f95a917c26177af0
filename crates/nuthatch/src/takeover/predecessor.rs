//! The running process: hands its listening sockets and its clients to the next one.
//!
//! The one rule: until the next process says `go`, nothing changes, whatever happens on the control
//! socket. The conversation has its own thread, so no worker waits for it.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{SocketFlags, accept_with};

use super::channel::{ANSWER_MAX, Channel, PROTOCOL};
use super::traveller::{Departures, Traveller};
use super::{Kind, Listening, Place, Standstill};
use crate::generation::{Published, SharedPool};
use crate::inbox::{Inbox, Message};
use crate::own_files::OwnFiles;
use crate::poll::POOL_MAX;

/// How long the start of the next process may take.
const GO_MAX: Duration = Duration::from_secs(60);

/// How long the thread pauses if the control socket can't be accepted from.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the running process hands over, and whom it tells.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) listening: Listening,
    pub(crate) files: OwnFiles,
    pub(crate) published: Published,
    /// Keeps reloads away while an upgrade is under way, and after it.
    pub(crate) standstill: Standstill,
    pub(crate) workers: Vec<Arc<Inbox>>,
    /// The inbox of the thread of the statistics port.
    pub(crate) stats: Arc<Inbox>,
    /// The admin port serves until this is closed.
    pub(crate) admin: UnixStream,
    /// Set when the process ends without a successor.
    pub(crate) is_draining: Arc<AtomicBool>,
}

/// The thread that listens on the control socket.
#[derive(Debug)]
pub(crate) struct Keeper {
    thread: JoinHandle<()>,
    standstill: Standstill,
}

impl Keeper {
    /// Waits until all clients have been passed, if another process has taken over.
    pub(crate) fn finish(self) {
        if self.standstill.is_replaced() {
            // A panic has been logged.
            let _ = self.thread.join();
        }
    }
}

impl Predecessor {
    /// Waits on its own thread for the next process.
    pub(crate) fn start(self, control: Arc<OwnedFd>) -> io::Result<Keeper> {
        let standstill = self.standstill.clone();
        let thread = thread::Builder::new().name("control".into());
        let thread = thread.spawn(move || self.keep(control))?;
        Ok(Keeper { thread, standstill })
    }

    fn keep(self, control: Arc<OwnedFd>) {
        let standstill = self.standstill.clone();
        loop {
            // An interrupted wait is repeated. The control socket does not block: what was there may
            // be gone.
            let _ = poll(&mut [PollFd::new(&control, PollFlags::IN)], None);
            let Ok(socket) = accept_with(&control, SocketFlags::CLOEXEC) else {
                thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            match self.prepare(socket, &standstill) {
                Ok((channel, pools, _still)) => return self.go(&channel, pools, control),
                Err(error) => {
                    log::warn!(error:%; "an upgrade was not carried out; this process continues");
                }
            }
        }
    }

    /// Sends the listening sockets and waits for `go`. Returns the pools that the next process has: their
    /// ids here, and there. No reload changes the listeners and the pools until the guard is dropped.
    fn prepare<'s>(
        &self,
        socket: OwnedFd,
        standstill: &'s Standstill,
    ) -> io::Result<(Channel, HashMap<u64, u64>, MutexGuard<'s, ()>)> {
        let mut channel = Channel::new(socket)?;
        let hello = channel.hear(ANSWER_MAX)?;
        if let Some(why) = self.objection(&hello) {
            channel.tell(&format!("refused {why}"))?;
            return Err(io::Error::other(why));
        }
        let still = standstill.begin();
        let generation = self.published.get();
        if let Some(moving) = generation.moving() {
            let why = format!(
                "{moving}, and the next process would not know of them: upgrade when \
                 nuthatch_migrate_phase is 0"
            );
            channel.tell(&format!("refused {why}"))?;
            return Err(io::Error::other(why));
        }
        let used = self.listening.used();
        let (id, version) = (process::id(), env!("CARGO_PKG_VERSION"));
        channel.tell(&format!("nuthatch {PROTOCOL} {id} {} {version}", used.len()))?;
        for (kind, socket) in &used {
            channel.send(self.label(*kind, socket)?.as_bytes(), Some(socket.as_fd()))?;
        }
        let mut pools = HashMap::new();
        let mut limit = GO_MAX;
        for _ in 0..=POOL_MAX + 1 {
            let text = channel.hear(limit)?;
            if text == "go" {
                return Ok((channel, pools, still));
            }
            limit = ANSWER_MAX;
            let (its_id, title) = parse_pool_line(&text)?;
            let is_same = |shared: &&SharedPool| title == pool_title(shared);
            pools.extend(generation.pools.iter().find(is_same).map(|own| (own.id, its_id)));
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the next process has too many pools"))
    }

    fn objection(&self, hello: &str) -> Option<String> {
        let version =
            hello.strip_prefix("nuthatch upgrade ").and_then(|rest| rest.split(' ').next());
        match version {
            Some(PROTOCOL) if self.is_draining.load(Ordering::Relaxed) => {
                Some("the running process is ending".into())
            }
            Some(PROTOCOL) => None,
            Some(other) => {
                let own = env!("CARGO_PKG_VERSION");
                Some(format!(
                    "the running process is version {own} and takes part in upgrades of version \
                     {PROTOCOL}, not {other}"
                ))
            }
            None => Some("that is no upgrade".into()),
        }
    }

    /// The message that goes with a listening socket.
    fn label(&self, kind: Kind, socket: &OwnedFd) -> io::Result<String> {
        let kind = kind.name();
        Ok(match Place::of(socket)? {
            Place::Tcp(_) => format!("{kind} tcp"),
            Place::Unix(path) if self.files.has(&path) => format!("{kind} own {}", path.display()),
            Place::Unix(path) => format!("{kind} unix {}", path.display()),
        })
    }

    /// Leaves the listeners and the files to the next process, and passes the clients.
    fn go(self, channel: &Channel, pools: HashMap<u64, u64>, control: Arc<OwnedFd>) {
        self.standstill.note_replaced();
        self.files.leave();
        let generation = self.published.get();
        let figures = generation.pools.iter().flat_map(|shared| shared.workers.iter());
        let clients: u64 = figures.map(|stats| stats.client_connections.read()).sum();
        let listeners = self.listening.used().len();
        log::info!(listeners, clients; "another process takes over; passing the clients to it");
        drop(control);
        let (departures, leaving) = Departures::new(pools);
        for inbox in &self.workers {
            inbox.send(Message::Retire(departures.clone()));
        }
        drop(departures);
        self.stats.send(Message::Drain);
        drop(self.admin);
        if let Err(error) = channel.tell("yours") {
            log::error!(error:%; "the process that takes over does not answer");
        }
        pass(channel, &leaving);
    }
}

/// Sends the clients that leave, until the last worker has ended.
fn pass(channel: &Channel, leaving: &mpsc::Receiver<Traveller>) {
    let (mut passed, mut lost) = (0_u64, 0_u64);
    for traveller in leaving {
        // Once the next process has failed, it does not come back.
        let with = Some(traveller.socket.as_fd());
        match lost == 0 && channel.send(&traveller.to_message(), with).is_ok() {
            true => passed += 1,
            false => lost += 1,
        }
    }
    if lost > 0 {
        log::error!(clients_closed = lost; "the next process stopped taking clients; the remaining ones were closed");
    }
    log::info!(clients = passed; "passed the clients to the next process");
}

/// What the next process says of a pool, so that it gets its clients: its id there, its protocol and its
/// name.
pub(super) fn pool_line(shared: &SharedPool) -> String {
    format!("pool {} {}", shared.id, pool_title(shared))
}

fn pool_title(shared: &SharedPool) -> String {
    let protocol = if shared.pool.redis { "redis" } else { "memcached" };
    format!("{protocol} {}", shared.pool.name)
}

fn parse_pool_line(line: &str) -> io::Result<(u64, &str)> {
    let parts = line.strip_prefix("pool ").and_then(|rest| rest.split_once(' '));
    let found = parts.and_then(|(id, title)| Some((id.parse().ok()?, title)));
    found.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "unexpected message from the next process")
    })
}
