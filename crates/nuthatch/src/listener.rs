//! Accepts clients.

use crate::config::clash::Claim;
use crate::config::{Listen, Pool};
use crate::own_files::OwnFiles;
use crate::patience::{FOR_THE_SIGNALLED, Patience};
use crate::takeover::{Kind, Listening, Place};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, chmod};
use rustix::io::{self as sys, Errno};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, getsockname, listen, socket_with,
    sockopt,
};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

/// A listening socket of a pool.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: Arc<OwnedFd>,
    /// The pool that it belongs to.
    pub(crate) pool: usize,
    is_tcp: bool,
    keepalive: bool,
}

/// The error for a client above `client_connections`: the text of memcached, or of Redis.
pub(crate) const fn too_many_clients(pool: &Pool) -> &'static [u8] {
    match pool.redis {
        false => b"ERROR Too many open connections\r\n",
        true => b"-ERR max number of clients reached\r\n",
    }
}

impl Listener {
    /// Accepts one client. `None` if no client is waiting any longer.
    pub(crate) fn accept(&self) -> sys::Result<Option<OwnedFd>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = match accept_with(&self.fd, flags) {
            Ok(fd) => fd,
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                return Err(error);
            }
            // No client is waiting, or the client has gone or is unreachable: these errors concern
            // only this client.
            Err(_) => return Ok(None),
        };
        if self.is_tcp {
            sockopt::set_tcp_nodelay(&fd, true)?;
            if self.keepalive {
                sockopt::set_socket_keepalive(&fd, true)?;
            }
        }
        Ok(Some(fd))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The addresses that are listened on, and the name of the pool that does.
///
/// Sockets that share a port don't refuse each other, so what names turn out to be, and the ports
/// that the kernel has chosen, are compared here.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    addresses: Vec<(SocketAddr, String)>,
    /// The sockets that need not be opened, and those that were.
    pub(crate) listening: Listening,
}

impl Taken {
    fn check(&self, address: SocketAddr, pool: &str) -> io::Result<()> {
        let clash = |(it, other): &&(SocketAddr, String)| {
            address.port() != 0 && Claim::Tcp(*it).excludes(&Claim::Tcp(address), other == pool)
        };
        let Some((it, other)) = self.addresses.iter().find(clash) else { return Ok(()) };
        let text = format!("pool '{other}' listens on {it}");
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    }

    fn add(&mut self, address: SocketAddr, pool: &str) {
        self.addresses.push((address, pool.to_owned()));
    }
}

/// Opens the listeners of a pool: for each worker a list, with a socket for each address.
///
/// Each worker has its own TCP socket, and the kernel distributes the clients between them; all
/// workers share one unix socket, which belongs to `files`. If another process has an address, this
/// waits with `patience`.
pub(crate) fn open(
    pool: &Pool,
    index: usize,
    workers: usize,
    taken: &mut Taken,
    files: &OwnFiles,
    patience: &Patience,
) -> io::Result<Vec<Vec<Listener>>> {
    let mut lists: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let backlog = i32::try_from(pool.backlog).unwrap_or(i32::MAX);
    let listening = taken.listening.clone();
    let how = Opening { backlog, reuseport: pool.reuseport, workers, files, listening: &listening };
    let named = |address: &Listen, error: io::Error| {
        let text = format!("pool '{}' can't listen on {address}: {error}", pool.name);
        io::Error::new(error.kind(), text)
    };
    let resolved = pool.listen.iter().map(|address| match address {
        Listen::Tcp { host, port } => {
            resolve(host, *port).map(Some).map_err(|error| named(address, error))
        }
        Listen::Unix { .. } => Ok(None),
    });
    let resolved = resolved.collect::<io::Result<Vec<_>>>()?;
    let has_version_four =
        |port| resolved.iter().flatten().any(|other| other.is_ipv4() && other.port() == port);
    for (address, resolved) in pool.listen.iter().zip(&resolved) {
        let is_tcp = matches!(address, Listen::Tcp { .. });
        let on_address = |error| named(address, error);
        let sockets = match (address, resolved) {
            (Listen::Unix { path, mode }, _) => {
                patience.open(FOR_THE_SIGNALLED, || unix(path, *mode, &how).map_err(on_address))?
            }
            (_, Some(place)) => {
                taken.check(*place, &pool.name).map_err(on_address)?;
                let version = match place.port() {
                    0 => Version::AsTheSystem,
                    port if has_version_four(port) => Version::SixOnly,
                    _ => Version::AsTheSystem,
                };
                patience
                    .open(FOR_THE_SIGNALLED, || tcp(*place, version, &how).map_err(on_address))?
            }
            (_, None) => return Err(on_address(io::Error::other("the host name has no address"))),
        };
        let servers = pool.servers.len();
        match sockets.first().map(getsockname).and_then(Result::ok).map(SocketAddr::try_from) {
            Some(Ok(bound)) => {
                taken.add(bound, &pool.name);
                log::info!(pool = pool.name, at:% = bound, servers; "pool listens");
            }
            _ => log::info!(pool = pool.name, at:% = address, servers; "pool listens"),
        }
        // There may be more sockets than workers: those of a process with more workers. Each of them is
        // accepted from, as clients may be in its queue.
        for (number, fd) in sockets.into_iter().enumerate() {
            let fd = Arc::new(fd);
            listening.note(Kind::Pool, &fd);
            let listener = Listener { fd, pool: index, is_tcp, keepalive: pool.tcpkeepalive };
            lists[number % workers].push(listener);
        }
    }
    Ok(lists)
}

/// How the sockets of a pool are opened.
struct Opening<'o> {
    backlog: i32,
    reuseport: bool,
    workers: usize,
    files: &'o OwnFiles,
    /// The sockets that were given to this process.
    listening: &'o Listening,
}

impl Opening<'_> {
    /// The given sockets of an address, with the backlog of this configuration.
    fn given(&self, place: &Place) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.listening.take(place, SocketType::STREAM);
        sockets.iter().try_for_each(|socket| listen(socket, self.backlog))?;
        Ok(sockets)
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let first = (host, port).to_socket_addrs()?.next();
    first.ok_or_else(|| io::Error::other("the host name has no address"))
}

/// Whether a socket for all addresses of version 6 takes those of version 4, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// As the system has it, and twemproxy: it does, unless somebody has changed that.
    AsTheSystem,
    /// It does not: the pool has another listener for them.
    SixOnly,
}

fn tcp(mut address: SocketAddr, version: Version, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let Opening { backlog, reuseport, workers, .. } = *how;
    let given = how.given(&Place::Tcp(address))?;
    if !given.is_empty() {
        return shared(given, workers);
    }
    if workers > 1 && !reuseport {
        // Sockets that share a port would also share it with another process, which would get half
        // of the clients. So the port must be free for a socket that does not share.
        drop(tcp_socket(address, version, false)?);
    }
    let mut sockets = Vec::new();
    for _ in 0..workers {
        let fd = tcp_socket(address, version, reuseport || workers > 1)?;
        listen(&fd, backlog)?;
        if address.port() == 0 {
            address = SocketAddr::try_from(getsockname(&fd)?)?;
        }
        sockets.push(fd);
    }
    Ok(sockets)
}

/// The sockets in an order in which each worker gets one at least: all of them, if there are fewer
/// sockets than workers.
///
/// No socket is added to those of another process: the kernel would give it clients before this process
/// serves, and if the start failed, they would be refused.
fn shared(sockets: Vec<OwnedFd>, workers: usize) -> io::Result<Vec<OwnedFd>> {
    if sockets.len() >= workers {
        return Ok(sockets);
    }
    let copies = sockets.iter().flat_map(|socket| (0..workers).map(|_| socket.try_clone()));
    copies.collect()
}

fn tcp_socket(address: SocketAddr, version: Version, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if shared {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if address.is_ipv6() && version == Version::SixOnly {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    bind(&fd, &address)?;
    Ok(fd)
}

fn unix(path: &Path, mode: Option<u32>, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let mode = mode.filter(|mode| *mode != 0).map(Mode::from_raw_mode);
    let mut sockets = how.given(&Place::unix(path))?;
    if sockets.is_empty() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        how.files.listen(&fd, path, mode, how.backlog)?;
        sockets.push(fd);
    } else if let Some(mode) = mode {
        chmod(path, mode)?;
    }
    shared(sockets, how.workers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn pool(listen: &str) -> Pool {
        let text = format!("one: {{listen: \"{listen}\", reuseport: true, servers: [a:1:1]}}\n");
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        config.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0)
    }

    #[test]
    fn a_port_that_the_kernel_chose_for_one_pool_is_refused_to_another() {
        let mut taken = Taken::default();
        let mut open = |pool: &Pool, workers| {
            open(pool, 0, workers, &mut taken, &OwnFiles::default(), &Patience::default())
        };
        for workers in [1, 2] {
            let lists = open(&pool("127.0.0.1:0"), workers).unwrap();
            let address = SocketAddr::try_from(getsockname(&lists[0][0]).unwrap()).unwrap();
            let mut other = pool(&address.to_string());
            other.name = "two".into();
            let told = open(&other, workers).unwrap_err().to_string();
            let why =
                format!("pool 'two' can't listen on {address}: pool 'one' listens on {address}");
            assert_eq!(told, why);
        }
    }
}
