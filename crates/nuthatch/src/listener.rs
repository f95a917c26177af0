//! Accepts clients, and decides which sockets listen for them.

use crate::config::clash::Claim;
use crate::config::{Listen, Pool};
use crate::own_files::OwnFiles;
use crate::patience::{FOR_THE_SIGNALLED, Patience};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, chmod};
use rustix::io::{self as sys, Errno};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, getsockname, listen, socket_with,
    sockopt,
};
use std::io;
use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

/// A listening socket of a worker.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The number of the address that it listens on, which no other address has had.
    pub(crate) id: u64,
    fd: OwnedFd,
    is_tcp: bool,
    keepalive: bool,
}

/// An address that is listened on, by all workers.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// The number of its sockets.
    pub(crate) id: u64,
    /// As it is configured.
    pub(crate) listen: Listen,
    /// What it turned out to be; none for a unix socket.
    bound: Option<SocketAddr>,
    /// The name of the pool that listens there.
    pub(crate) pool: String,
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

impl Listener {
    /// Takes on the settings of the pool that it belongs to now.
    pub(crate) fn apply(&mut self, pool: &Pool) {
        self.keepalive = pool.tcpkeepalive;
        if let Err(error) = listen(&self.fd, i32::try_from(pool.backlog).unwrap_or(i32::MAX)) {
            log::error!(error:%, pool = pool.name; "failed to change a listener's backlog");
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What is listened on, and what it takes to listen on more.
///
/// Sockets that share a port don't refuse each other, so what names turn out to be, and the ports
/// that the kernel has chosen, are compared here.
#[derive(Debug)]
pub(crate) struct Listeners {
    workers: usize,
    files: OwnFiles,
    patience: Patience,
    pub(crate) opened: Vec<Opened>,
    next_id: u64,
}

/// The sockets that each worker gets.
pub(crate) type OfWorkers = Vec<Vec<Listener>>;

impl Listeners {
    pub(crate) fn new(workers: usize, files: &OwnFiles, patience: &Patience) -> Self {
        let (files, patience) = (files.clone(), patience.clone());
        Self { workers, files, patience, opened: Vec::new(), next_id: 0 }
    }

    /// The numbers of a pool's listeners.
    pub(crate) fn of(&self, pool: &Pool) -> Vec<u64> {
        let of_pool = self.opened.iter().filter(|opened| opened.pool == pool.name);
        of_pool.map(|opened| opened.id).collect()
    }

    /// Listens where `pools` want to and nothing does yet, and gives up what none wants: for each
    /// worker the new sockets. An address that a pool takes over from another one stays open.
    ///
    /// If another process has an address, this waits a while.
    ///
    /// # Errors
    /// When an address can't be listened on: then nothing has changed.
    pub(crate) fn change(&mut self, pools: &[Arc<Pool>]) -> io::Result<OfWorkers> {
        let mut kept: Vec<Opened> = Vec::new();
        for mut opened in self.opened.iter().cloned() {
            let mut wanted =
                pools.iter().flat_map(|pool| pool.listen.iter().map(move |it| (pool, it)));
            if let Some((pool, listen)) = wanted.find(|(_, it)| it.is_same_place(&opened.listen)) {
                opened.pool.clone_from(&pool.name);
                opened.listen = listen.clone();
                kept.push(opened);
            }
        }
        let before = mem::replace(&mut self.opened, kept);
        let mut sockets = (0..self.workers).map(|_| Vec::new()).collect();
        for pool in pools {
            if let Err(error) = self.open(pool, &mut sockets) {
                let is_old = |it: &Opened| before.iter().any(|old| old.id == it.id);
                self.opened.iter().filter(|it| !is_old(it)).for_each(|it| self.remove_file(it));
                self.opened = before;
                return Err(error);
            }
        }
        for it in &self.opened {
            self.set_mode(it, &before);
        }
        for gone in before.iter().filter(|old| self.opened.iter().all(|it| it.id != old.id)) {
            self.remove_file(gone);
            log::info!(pool = gone.pool, at:% = gone.listen; "pool no longer listens");
        }
        Ok(sockets)
    }

    /// Changes who may connect to a unix socket that stays.
    fn set_mode(&self, it: &Opened, before: &[Opened]) {
        let is_other = |old: &Opened| old.id == it.id && old.listen != it.listen;
        if let Listen::Unix { path, mode: Some(mode) } = &it.listen
            && before.iter().any(is_other)
            && let Err(error) = chmod(path, Mode::from_raw_mode(*mode))
        {
            log::error!(error:%, path:% = path.display(); "failed to change who may connect");
        }
    }

    fn remove_file(&self, gone: &Opened) {
        if let Listen::Unix { path, .. } = &gone.listen {
            self.files.remove_socket(path);
        }
    }

    /// Opens what of a pool is not open.
    fn open(&mut self, pool: &Pool, sockets: &mut OfWorkers) -> io::Result<()> {
        let is_this =
            |it: &Opened, listen: &Listen| it.pool == pool.name && it.listen.is_same_place(listen);
        let is_open = |listen: &Listen| self.opened.iter().any(|it| is_this(it, listen));
        let wanted: Vec<&Listen> = pool.listen.iter().filter(|it| !is_open(it)).collect();
        let resolved = wanted.iter().map(|address| resolve(address, pool));
        let resolved = resolved.collect::<io::Result<Vec<_>>>()?;
        let bound = self.opened.iter().filter(|it| it.pool == pool.name).filter_map(|it| it.bound);
        let all: Vec<SocketAddr> = resolved.iter().flatten().copied().chain(bound).collect();
        for (&listen, place) in wanted.iter().zip(resolved) {
            let version = place.map_or(Version::AsTheSystem, |place| Version::of(place, &all));
            let fds = self.open_one(pool, listen, place, version).map_err(|error| {
                let text = format!("pool '{}' can't listen on {listen}: {error}", pool.name);
                io::Error::new(error.kind(), text)
            })?;
            let bound = fds.first().map(getsockname).and_then(Result::ok);
            let bound = bound.and_then(|bound| SocketAddr::try_from(bound).ok());
            let at = bound.map_or_else(|| listen.to_string(), |bound| bound.to_string());
            log::info!(pool = pool.name, at, servers = pool.servers.len(); "pool listens");
            self.next_id += 1;
            let (id, is_tcp) = (self.next_id, bound.is_some());
            for (list, fd) in sockets.iter_mut().zip(fds) {
                list.push(Listener { id, fd, is_tcp, keepalive: pool.tcpkeepalive });
            }
            self.opened.push(Opened { id, listen: listen.clone(), bound, pool: pool.name.clone() });
        }
        Ok(())
    }

    /// A socket for each worker: for TCP one of its own, and the kernel distributes the clients
    /// between them; all workers share one unix socket.
    fn open_one(
        &self,
        pool: &Pool,
        listen: &Listen,
        place: Option<SocketAddr>,
        version: Version,
    ) -> io::Result<Vec<OwnedFd>> {
        let backlog = i32::try_from(pool.backlog).unwrap_or(i32::MAX);
        let (workers, files) = (self.workers, &self.files);
        let how = Opening { backlog, reuseport: pool.reuseport, workers, files };
        let patience = &self.patience;
        match (listen, place) {
            (Listen::Unix { path, mode }, _) => {
                patience.open(FOR_THE_SIGNALLED, || unix(path, *mode, &how))
            }
            (_, Some(place)) => {
                self.check(place, &pool.name)?;
                patience.open(FOR_THE_SIGNALLED, || tcp(place, version, &how))
            }
            (_, None) => Err(io::Error::other("the host name has no address")),
        }
    }

    /// Checks that no other listener takes clients of this address.
    fn check(&self, address: SocketAddr, pool: &str) -> io::Result<()> {
        let clash = |it: &&Opened| {
            let claim = it.bound.map(Claim::Tcp);
            let excludes = |claim: Claim| claim.excludes(&Claim::Tcp(address), it.pool == pool);
            address.port() != 0 && claim.is_some_and(excludes)
        };
        let Some(Opened { bound: Some(it), pool: other, .. }) = self.opened.iter().find(clash)
        else {
            return Ok(());
        };
        let text = format!("pool '{other}' listens on {it}");
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    }
}

/// How the sockets of a pool are opened.
struct Opening<'o> {
    backlog: i32,
    reuseport: bool,
    workers: usize,
    files: &'o OwnFiles,
}

/// What an address turns out to be; none for a unix socket.
fn resolve(listen: &Listen, pool: &Pool) -> io::Result<Option<SocketAddr>> {
    let Listen::Tcp { host, port } = listen else { return Ok(None) };
    let first = (host.as_str(), *port).to_socket_addrs().map(|mut all| all.next());
    first.map_err(|error| {
        let text = format!("pool '{}' can't listen on {listen}: {error}", pool.name);
        io::Error::new(error.kind(), text)
    })
}

/// Whether a socket for all addresses of version 6 takes those of version 4, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// As the system has it, and twemproxy: it does, unless somebody has changed that.
    AsTheSystem,
    /// It does not: the pool has another listener for them.
    SixOnly,
}

impl Version {
    /// For an address of a pool that listens on `all` of these.
    fn of(place: SocketAddr, all: &[SocketAddr]) -> Self {
        let is_of_four = |other: &SocketAddr| other.is_ipv4() && other.port() == place.port();
        match place.port() {
            0 => Self::AsTheSystem,
            _ if all.iter().any(is_of_four) => Self::SixOnly,
            _ => Self::AsTheSystem,
        }
    }
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
    let mode = mode.filter(|mode| *mode != 0).map(Mode::from_raw_mode);
    how.files.listen(&fd, path, mode, how.backlog)?;
    let mut sockets = Vec::new();
    for _ in 1..how.workers {
        sockets.push(fd.try_clone()?);
    }
    sockets.push(fd);
    Ok(sockets)
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
        for workers in [1, 2] {
            let mut listeners = Listeners::new(workers, &OwnFiles::default(), &Patience::default());
            let one = Arc::new(pool("127.0.0.1:0"));
            let lists = listeners.change(&[Arc::clone(&one)]).unwrap();
            let address = SocketAddr::try_from(getsockname(&lists[0][0]).unwrap()).unwrap();
            let mut other = pool(&address.to_string());
            other.name = "two".into();
            let told = listeners.change(&[one, other.into()]).unwrap_err().to_string();
            let why =
                format!("pool 'two' can't listen on {address}: pool 'one' listens on {address}");
            assert_eq!(told, why);
        }
    }
}
