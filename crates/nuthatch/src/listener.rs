//! Hop 1 of the walk: accepts clients.

use crate::config::clash::overlap;
use crate::config::{Listen, Pool};
use crate::own_files::OwnFiles;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::{self as sys, Errno};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, getsockname, listen, socket_with,
    sockopt,
};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

/// A listening socket of a pool.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    /// The pool that it belongs to.
    pub(crate) pool: usize,
    is_tcp: bool,
    keepalive: bool,
}

/// The error for a client above `client_connections`: memcached's text.
pub(crate) const TOO_MANY_CLIENTS: &[u8] = b"ERROR Too many open connections\r\n";

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
/// Sockets that share a port don't refuse each other, so what names turn out to be is compared here.
#[derive(Debug, Default)]
pub(crate) struct Taken(Vec<(SocketAddr, String)>);

impl Taken {
    fn take(&mut self, address: SocketAddr, pool: &str) -> io::Result<()> {
        let is_both =
            |other: &str, it: SocketAddr| other == pool && it.is_ipv4() != address.is_ipv4();
        let clash = |(it, other): &&(SocketAddr, String)| {
            address.port() != 0 && overlap(*it, address) && !is_both(other, *it)
        };
        if let Some((it, other)) = self.0.iter().find(clash) {
            let text = format!("pool '{other}' listens on {it}");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        self.0.push((address, pool.to_owned()));
        Ok(())
    }
}

/// Opens the listeners of a pool: for each worker a list, with a socket for each address.
///
/// Each worker has its own TCP socket, and the kernel distributes the clients between them; all
/// workers share one unix socket, which belongs to `files`.
pub(crate) fn open(
    pool: &Pool,
    index: usize,
    workers: usize,
    taken: &mut Taken,
    files: &OwnFiles,
) -> io::Result<Vec<Vec<Listener>>> {
    let mut lists: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let backlog = i32::try_from(pool.backlog).unwrap_or(i32::MAX);
    let how = Opening { backlog, reuseport: pool.reuseport, workers, files };
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
        let sockets = match (address, resolved) {
            (Listen::Unix { path, mode }, _) => unix(path, *mode, &how),
            (_, Some(place)) => taken.take(*place, &pool.name).and_then(|()| {
                let version = match place.port() {
                    0 => Version::AsTheSystem,
                    port if has_version_four(port) => Version::SixOnly,
                    _ => Version::AsTheSystem,
                };
                tcp(*place, version, &how)
            }),
            (_, None) => Err(io::Error::other("the host name has no address")),
        };
        let sockets = sockets.map_err(|error| named(address, error))?;
        let servers = pool.servers.len();
        match sockets.first().map(getsockname).and_then(Result::ok).map(SocketAddr::try_from) {
            Some(Ok(bound)) => {
                log::info!(pool = pool.name, at:% = bound, servers; "pool listens");
            }
            _ => log::info!(pool = pool.name, at:% = address, servers; "pool listens"),
        }
        for (list, fd) in lists.iter_mut().zip(sockets) {
            list.push(Listener { fd, pool: index, is_tcp, keepalive: pool.tcpkeepalive });
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
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    how.files.bind_socket(&fd, path)?;
    if let Some(mode) = mode.filter(|mode| *mode != 0) {
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    }
    listen(&fd, how.backlog)?;
    let mut sockets = Vec::new();
    for _ in 1..how.workers {
        sockets.push(fd.try_clone()?);
    }
    sockets.push(fd);
    Ok(sockets)
}
