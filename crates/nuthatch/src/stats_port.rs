//! The statistics port: twemproxy's JSON to whoever connects, byte for byte in form.
//!
//! Exporters for twemproxy connect, read one line and see the end (`nc_stats.c`). Spaces stand
//! where twemproxy has them. The figures are those of the moment, summed over the workers.

use crate::own_files::OwnFiles;
use crate::run::SharedPool;
use nuthatch_core::stats::{PoolStats, ServerStats};
use rustix::net::{AddressFamily, SocketFlags, SocketType, listen, socket_with};
use std::fmt::Write as _;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the figures are.
#[derive(Debug)]
pub(crate) struct Figures {
    pools: Vec<SharedPool>,
    start: Instant,
    listeners: usize,
    host: String,
}

/// How long a reader may take.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// Connections that the kernel holds until they are answered.
const BACKLOG: i32 = 128;

/// Listens and answers on a thread of its own. An address that begins with `/` is a unix socket,
/// and one of `files`.
pub(crate) fn start(
    address: &str,
    port: u16,
    figures: Figures,
    files: &OwnFiles,
) -> io::Result<()> {
    let named = |error: io::Error| {
        let text = format!("the statistics can't listen on {address} port {port}: {error}");
        io::Error::new(error.kind(), text)
    };
    let thread = thread::Builder::new().name("stats".into());
    if address.starts_with('/') {
        let listener = unix(Path::new(address), files).map_err(named)?;
        thread.spawn(move || {
            serve(listener.incoming(), &figures, UnixStream::set_write_timeout);
        })?;
    } else {
        let listener = TcpListener::bind((address, port)).map_err(named)?;
        thread.spawn(move || serve(listener.incoming(), &figures, TcpStream::set_write_timeout))?;
    }
    Ok(())
}

fn unix(path: &Path, files: &OwnFiles) -> io::Result<UnixListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    files.bind_socket(&socket, path)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Answers everybody who comes, one after the other.
fn serve<S: io::Write>(
    readers: impl Iterator<Item = io::Result<S>>,
    figures: &Figures,
    set_write_timeout: impl Fn(&S, Option<Duration>) -> io::Result<()>,
) {
    for reader in readers {
        let Ok(mut reader) = reader else {
            // No descriptors: others need them more.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        // A reader who is gone, or too slow, has its end.
        let _ = set_write_timeout(&reader, Some(READER_PATIENCE))
            .and_then(|()| reader.write_all(figures.json().as_bytes()));
    }
}

impl Figures {
    pub(crate) fn new(pools: Vec<SharedPool>, start: Instant, listeners: usize) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { pools, start, listeners, host }
    }

    fn json(&self) -> String {
        let all = || self.pools.iter().flat_map(|shared| shared.workers.iter());
        let sum = |read: fn(&PoolStats) -> u64| all().map(|stats| read(stats)).sum::<u64>();
        let open: fn(&PoolStats) -> u64 = |stats| {
            let servers = stats.servers.iter().map(|server| server.server_connections.read());
            stats.client_connections.read() + servers.sum::<u64>()
        };
        let begun: fn(&PoolStats) -> u64 =
            |stats| stats.client_accepts.read() + stats.server_connects.read();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut json = String::with_capacity(4096);
        let mut line = || -> std::fmt::Result {
            write!(json, "{{\"service\":\"nutcracker\", \"source\":\"{}\"", Escaped(&self.host))?;
            write!(json, ", \"version\":\"{}\"", env!("CARGO_PKG_VERSION"))?;
            write!(json, ", \"uptime\":{}, \"timestamp\":{now}", self.start.elapsed().as_secs())?;
            let listeners = self.listeners as u64;
            write!(json, ", \"total_connections\":{}", sum(begun) + listeners)?;
            write!(json, ", \"curr_connections\":{}, ", sum(open) + listeners)?;
            for (index, shared) in self.pools.iter().enumerate() {
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

/// The first figures of a pool are twemproxy's; the form has no place for more.
const POOL_FIGURES: usize = 6;

fn write_pool(json: &mut String, shared: &SharedPool) -> std::fmt::Result {
    write!(json, "\"{}\": {{", Escaped(&shared.pool.name))?;
    let sum = |index: usize| -> u64 {
        let value = |stats: &PoolStats| stats.all().nth(index).map_or(0, |(_, c)| c.read());
        shared.workers.iter().map(|stats| value(stats)).sum()
    };
    let names = PoolStats::default();
    for (index, (name, _)) in names.all().take(POOL_FIGURES).enumerate() {
        write!(json, "\"{name}\":{}, ", sum(index))?;
    }
    for (number, server) in shared.pool.servers.iter().enumerate() {
        json.push_str(if number > 0 { "," } else { "" });
        write!(json, "\"{}\": {{", Escaped(&server.name))?;
        write_server(json, shared, number)?;
    }
    json.push('}');
    Ok(())
}

fn write_server(json: &mut String, shared: &SharedPool, number: usize) -> std::fmt::Result {
    let names = ServerStats::default();
    for (index, (name, _)) in names.all().enumerate() {
        let value = |stats: &PoolStats| {
            stats.servers[number].all().nth(index).map_or(0, |(_, counter)| counter.read())
        };
        let values = shared.workers.iter().map(|stats| value(stats));
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
