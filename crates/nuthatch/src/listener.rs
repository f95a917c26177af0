//! Hop 1 of the walk: where clients come in.

use crate::config::{Listen, Pool};
use crate::own_files::OwnFiles;
use crate::patience::{FOR_THE_SIGNALLED, Patience};
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
    /// Which pool it is of.
    pub(crate) pool: usize,
    is_tcp: bool,
    keepalive: bool,
}

/// What a client reads that comes when there are `client_connections` already: memcached's words.
pub(crate) const TOO_MANY_CLIENTS: &[u8] = b"ERROR Too many open connections\r\n";

impl Listener {
    /// The address that it has, if it is one of a network.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(getsockname(&self.fd).ok()?).ok()
    }

    /// Accepts one client. None if nobody is there any longer.
    pub(crate) fn accept(&self) -> sys::Result<Option<OwnedFd>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = match accept_with(&self.fd, flags) {
            Ok(fd) => fd,
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                return Err(error);
            }
            // Nobody is there, or no longer, or could not be reached: errors of that one only.
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

/// Opens the listeners of a pool: for each worker a list, with a socket for each address.
///
/// TCP sockets are one per worker, between which the kernel deals the clients; a unix socket is
/// one that all workers hold, and one of `files`. What is in use is waited for with `patience`.
pub(crate) fn open(
    pool: &Pool,
    index: usize,
    workers: usize,
    files: &OwnFiles,
    patience: &Patience,
) -> io::Result<Vec<Vec<Listener>>> {
    let mut lists: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let backlog = i32::try_from(pool.backlog).unwrap_or(i32::MAX);
    let how = Opening { backlog, reuseport: pool.reuseport, workers, files };
    for address in &pool.listen {
        let named = |error: io::Error| {
            let text = format!("pool '{}' can't listen on {address}: {error}", pool.name);
            io::Error::new(error.kind(), text)
        };
        let is_tcp = matches!(address, Listen::Tcp { .. });
        let sockets = || match address {
            Listen::Tcp { host, port } => tcp(host, *port, &how),
            Listen::Unix { path, mode } => unix(path, *mode, &how),
        };
        let sockets = patience.open(FOR_THE_SIGNALLED, || sockets().map_err(named))?;
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

fn tcp(host: &str, port: u16, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let Opening { backlog, reuseport, workers, .. } = *how;
    let mut address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("the host name has no address"))?;
    if workers > 1 && !reuseport {
        // Sockets that share a port would share it with another process, too, and half of our
        // clients would be its. So the port must be free for one that does not share.
        drop(tcp_socket(address, false)?);
    }
    let mut sockets = Vec::new();
    for _ in 0..workers {
        let fd = tcp_socket(address, reuseport || workers > 1)?;
        listen(&fd, backlog)?;
        if address.port() == 0 {
            address = SocketAddr::try_from(getsockname(&fd)?)?;
        }
        sockets.push(fd);
    }
    Ok(sockets)
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if shared {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    bind(&fd, &address)?;
    Ok(fd)
}

fn unix(path: &Path, mode: Option<u32>, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let mode = mode.filter(|mode| *mode != 0).map(Mode::from_raw_mode);
    how.files.listen(&fd, path, mode, how.backlog)?;
    let mut sockets = Vec::new();
    for _ in 1..how.workers {
        sockets.push(fd.try_clone()?);
    }
    sockets.push(fd);
    Ok(sockets)
}
