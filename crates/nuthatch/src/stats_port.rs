//! The statistics port: sends twemproxy's JSON, in exactly the same format.
//!
//! Exporters for twemproxy connect and read one line until the end (`nc_stats.c`). The spaces are
//! the same as in twemproxy. The figures are current and summed over the workers.

use crate::bind::ListenAddresses;
use crate::config::Listen;
use crate::generation::{Published, SharedPool, SharedServer};
use crate::inbox::{Inbox, Message};
use crate::own_files::OwnFiles;
use crate::patience::{FOR_THE_SIGNALLED, Patience};
use crate::takeover::{Kind, Listening, Place};
use nuthatch_core::stats::{PoolStats, ServerStats};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, accept_with, listen, send, socket_with,
};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The source of the figures.
#[derive(Debug)]
pub(crate) struct Figures {
    published: Published,
    start: Instant,
    host: String,
}

/// How long a reader may take to read the line.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// Maximum number of unfinished readers. A new reader replaces the one that has read nothing for
/// the longest time.
const READERS_MAX: usize = 16;

/// The length of the kernel's queue of new connections.
const BACKLOG: i32 = 1024;

/// Where this port listens: an address that begins with `/` is a unix socket.
pub(crate) fn listen_of((address, port): (&str, u16)) -> Listen {
    if address.starts_with('/') {
        Listen::Unix { path: address.into(), mode: None }
    } else {
        Listen::Tcp { host: address.into(), port }
    }
}

/// Listens. A unix socket is one of `files`.
pub(crate) fn open(
    address: (&str, u16),
    (files, listening): (&OwnFiles, &Listening),
    patience: &Patience,
) -> io::Result<OwnedFd> {
    let listen = listen_of(address);
    let at = match &listen {
        Listen::Unix { path, .. } => path.display().to_string(),
        Listen::Tcp { host, port } => format!("{host} port {port}"),
    };
    let named = |error: io::Error| {
        let text = format!("the statistics port can't listen on {at}: {error}");
        io::Error::new(error.kind(), text)
    };
    let listener = match &listen {
        Listen::Unix { path, .. } => {
            let open = || unix(path, files, listening).map_err(named);
            patience.open(FOR_THE_SIGNALLED, open)?
        }
        Listen::Tcp { host, port } => {
            let addresses = ListenAddresses::of(host, *port).map_err(named)?;
            let open = || tcp(&addresses, listening).map_err(named);
            patience.open(FOR_THE_SIGNALLED, open)?
        }
    };
    ioctl_fionbio(&listener, true)?;
    Ok(listener)
}

/// Listens and answers on its own thread, until its `inbox` gets the message of a drain.
pub(crate) fn start(
    address: (&str, u16),
    figures: Figures,
    inbox: Arc<Inbox>,
    (files, listening): (&OwnFiles, &Listening),
    patience: &Patience,
) -> io::Result<()> {
    let listener = Arc::new(open(address, (files, listening), patience)?);
    listening.note(Kind::Statistics, &listener);
    let thread = thread::Builder::new().name("stats".into());
    thread.spawn(move || serve(listener, &inbox, &figures))?;
    Ok(())
}

fn tcp(addresses: &ListenAddresses, listening: &Listening) -> io::Result<OwnedFd> {
    let listener = listening.tcp(addresses)?;
    listen(&listener, BACKLOG)?;
    Ok(listener.into())
}

fn unix(path: &Path, files: &OwnFiles, listening: &Listening) -> io::Result<OwnedFd> {
    if let Some(given) = listening.take(&Place::unix(path), SocketType::STREAM).pop() {
        return Ok(given);
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    files.listen(&socket, path, None, BACKLOG)?;
    Ok(socket)
}

/// A reader that has not read its whole answer.
struct Reader {
    socket: OwnedFd,
    json: String,
    taken: usize,
    came: Instant,
    /// When the reader last read something.
    moved: Instant,
}

/// Answers all readers; a slow reader does not delay others. In a drain, present readers still get
/// their answer, and the address is free for another process.
fn serve(listener: Arc<OwnedFd>, inbox: &Inbox, figures: &Figures) {
    let mut listener = Some(listener);
    let mut readers: Vec<Reader> = Vec::new();
    while listener.is_some() || !readers.is_empty() {
        let mut fds = vec![PollFd::new(inbox, PollFlags::IN)];
        fds.extend(listener.as_ref().map(|listener| PollFd::new(listener, PollFlags::IN)));
        fds.extend(readers.iter().map(|reader| PollFd::new(&reader.socket, PollFlags::OUT)));
        let patience = if readers.is_empty() { None } else { Some(&LOOK) };
        // An interrupted wait is repeated.
        let _ = poll(&mut fds, patience);
        readers.retain_mut(|reader| reader.write() && reader.came.elapsed() < READER_PATIENCE);
        if inbox.take().iter().any(|message| matches!(message, Message::Drain)) {
            listener = None;
        }
        let Some(listener) = &listener else { continue };
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => {
                let mut reader = Reader::new(socket, figures.json());
                if reader.write() {
                    make_place(&mut readers);
                    readers.push(reader);
                }
            }
            // No file descriptors are left: wait, because clients need them more.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                thread::sleep(Duration::from_millis(100));
            }
            // No reader is waiting any longer.
            Err(_) => {}
        }
    }
}

/// How often a blocked reader is checked.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

fn make_place(readers: &mut Vec<Reader>) {
    let slowest = readers.iter().enumerate().min_by_key(|(_, reader)| reader.moved);
    if let Some((slowest, _)) = slowest
        && readers.len() == READERS_MAX
    {
        readers.remove(slowest);
    }
}

impl Reader {
    fn new(socket: OwnedFd, json: String) -> Self {
        let came = now();
        Self { socket, json, taken: 0, came, moved: came }
    }

    /// Writes as much as the reader accepts. Returns whether more must be written.
    fn write(&mut self) -> bool {
        while self.taken < self.json.len() {
            match send(&self.socket, &self.json.as_bytes()[self.taken..], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.taken += count;
                    self.moved = now();
                }
                Err(Errno::INTR) => {}
                Err(error) => return error == Errno::AGAIN,
            }
        }
        false
    }
}

#[expect(clippy::disallowed_methods, reason = "not a worker's clock: the thread of the statistics")]
fn now() -> Instant {
    Instant::now()
}

impl Figures {
    pub(crate) fn new(published: Published, start: Instant) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { published, start, host }
    }

    fn json(&self) -> String {
        let generation = self.published.get();
        let pools = &generation.pools;
        let all = || pools.iter().flat_map(|shared| shared.workers.iter());
        let sum = |read: fn(&PoolStats) -> u64| all().map(|stats| read(stats)).sum::<u64>();
        let servers = pools.iter().flat_map(|shared| shared.servers.iter());
        let open = servers.flat_map(|server| server.stats());
        let open: u64 = open.map(|stats| stats.server_connections.read()).sum();
        let open = open + sum(|stats| stats.client_connections.read());
        let begun: fn(&PoolStats) -> u64 =
            |stats| stats.client_accepts.read() + stats.server_connects.read();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut json = String::with_capacity(4096);
        let mut line = || -> std::fmt::Result {
            write!(json, "{{\"service\":\"nutcracker\", \"source\":\"{}\"", Escaped(&self.host))?;
            write!(json, ", \"version\":\"{}\"", env!("CARGO_PKG_VERSION"))?;
            write!(json, ", \"uptime\":{}, \"timestamp\":{now}", self.start.elapsed().as_secs())?;
            let listeners = generation.listeners as u64;
            write!(json, ", \"total_connections\":{}", sum(begun) + listeners)?;
            write!(json, ", \"curr_connections\":{}, ", open + listeners)?;
            for (index, shared) in pools.iter().enumerate() {
                json.push_str(if index > 0 { "," } else { "" });
                write_pool(&mut json, shared)?;
            }
            Ok(())
        };
        line().expect("a string takes all");
        json.push_str("}\n");
        json
    }
}

/// The first counters of a pool are twemproxy's; the format has no others.
const POOL_FIGURES: usize = 6;

fn write_pool(json: &mut String, shared: &SharedPool) -> std::fmt::Result {
    write!(json, "\"{}\": {{", Escaped(&shared.pool.name))?;
    let sum = |index: usize| -> u64 {
        let value = |stats: &PoolStats| stats.all().nth(index).map_or(0, |(_, c)| c.read());
        shared.workers.iter().map(|stats| value(stats)).sum()
    };
    let names = PoolStats::default();
    for (index, (name, _)) in names.all().take(POOL_FIGURES).enumerate() {
        json.push_str(if index > 0 { ", " } else { "" });
        write!(json, "\"{name}\":{}", sum(index))?;
    }
    for (number, server) in shared.servers.iter().enumerate() {
        json.push_str(if number > 0 { "," } else { ", " });
        write!(json, "\"{}\": {{", Escaped(&server.server.name))?;
        write_server(json, server)?;
    }
    json.push('}');
    Ok(())
}

fn write_server(json: &mut String, server: &SharedServer) -> std::fmt::Result {
    let names = ServerStats::default();
    for (index, (name, _)) in names.all().enumerate() {
        let value =
            |stats: &ServerStats| stats.all().nth(index).map_or(0, |(_, counter)| counter.read());
        let values = server.stats().map(value);
        let value =
            if name == "server_ejected_at" { values.max().unwrap_or(0) } else { values.sum() };
        let comma = if index > 0 { ", " } else { "" };
        write!(json, "{comma}\"{name}\":{value}")?;
    }
    json.push('}');
    Ok(())
}

/// A string inside JSON's quotes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
