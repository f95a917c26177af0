//! Accepts clients, and decides which sockets listen for them.

use crate::bind::{self, ListenAddresses, Version};
use crate::config::clash::Claim;
use crate::config::{EVERY_HOST, Listen, Pool};
use crate::own_files::OwnFiles;
use crate::patience::{FOR_THE_SIGNALLED, Patience};
use crate::takeover::{Kind, Listening, Place};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, chmod};
use rustix::io::{self as sys, Errno};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, getsockname, listen, socket_with, sockopt,
};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};

/// A listening socket of a worker.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The number of the address that it listens on, which no other address has had.
    pub(crate) id: u64,
    fd: Arc<OwnedFd>,
    is_tcp: bool,
    keepalive: bool,
}

/// An address that is listened on, by all workers.
#[derive(Debug, Clone)]
struct Opened {
    /// The number of its sockets.
    pub(crate) id: u64,
    /// As it is configured.
    pub(crate) listen: Listen,
    /// What it turned out to be; none for a unix socket.
    bound: Option<SocketAddr>,
    /// The name of the pool that listens there.
    pub(crate) pool: String,
    /// Its sockets; the workers have them.
    sockets: Vec<Weak<OwnedFd>>,
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
    pub(crate) workers: usize,
    files: OwnFiles,
    /// The sockets that need not be opened, and those that were.
    listening: Listening,
    patience: Patience,
    opened: Vec<Opened>,
    next_id: u64,
    /// Whether no client is to come.
    is_check: bool,
}

/// The sockets that each worker gets.
pub(crate) type OfWorkers = Vec<Vec<Listener>>;

impl Listeners {
    pub(crate) fn new(
        workers: usize,
        (files, listening): (&OwnFiles, &Listening),
        patience: &Patience,
    ) -> Self {
        let (files, listening) = (files.clone(), listening.clone());
        let (patience, opened) = (patience.clone(), Vec::new());
        Self { workers, files, listening, patience, opened, next_id: 0, is_check: false }
    }

    /// For sockets that are opened only to see whether they can be: the start waits for nobody, and no
    /// client comes to a socket that shares its port with those of another process.
    pub(crate) fn for_check(workers: usize, around: (&OwnFiles, &Listening)) -> Self {
        Self { is_check: true, ..Self::new(workers, around, &Patience::default()) }
    }

    /// Opens what of `pools` can be opened, and tells `refused` of the rest.
    pub(crate) fn open_possible(
        &mut self,
        pools: &[Arc<Pool>],
        mut refused: impl FnMut(&Listen, io::Error),
    ) -> OfWorkers {
        let mut sockets = (0..self.workers).map(|_| Vec::new()).collect();
        for pool in pools {
            let outcome = self.open(pool, &mut sockets, &mut |listen, error| {
                refused(listen, error);
                Ok(())
            });
            outcome.expect("no error ends this");
        }
        sockets
    }

    /// The number of sockets, over all workers.
    pub(crate) fn count(&self) -> usize {
        self.opened.iter().map(|it| it.sockets.len()).sum()
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
            if let Err(error) = self.open(pool, &mut sockets, &mut |_, error| Err(error)) {
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
            self.listening.forget(&gone.sockets);
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
            log::error!(error:%, path:% = path.display(); "failed to change the permissions of a unix socket");
        }
    }

    fn remove_file(&self, gone: &Opened) {
        if let Listen::Unix { path, .. } = &gone.listen {
            self.files.remove_socket(path);
        }
    }

    /// Opens what of a pool is not open. `refused` decides whether an error ends this.
    fn open(
        &mut self,
        pool: &Pool,
        sockets: &mut OfWorkers,
        refused: &mut dyn FnMut(&Listen, io::Error) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_this =
            |it: &Opened, listen: &Listen| it.pool == pool.name && it.listen.is_same_place(listen);
        let is_open = |listen: &Listen| self.opened.iter().any(|it| is_this(it, listen));
        let wanted: Vec<&Listen> = pool.listen.iter().filter(|it| !is_open(it)).collect();
        let named = |listen: &Listen, error: &io::Error| {
            let text = format!("pool '{}' can't listen on {listen}: {error}", pool.name);
            io::Error::new(error.kind(), text)
        };
        let mut resolved = Vec::new();
        for listen in wanted {
            match resolve(listen) {
                Ok(place) => resolved.push((listen, place)),
                Err(error) => refused(listen, named(listen, &error))?,
            }
        }
        let bound = self.opened.iter().filter(|it| it.pool == pool.name).filter_map(|it| it.bound);
        let places = resolved.iter().filter_map(|(_, place)| *place);
        let all: Vec<SocketAddr> = places.chain(bound).collect();
        for (listen, place) in resolved {
            let version = place.map_or(Version::AsTheSystem, |place| version(listen, place, &all));
            match self.open_one(pool, listen, place, version) {
                Ok(fds) => self.note(pool, listen, fds, sockets),
                Err(error) => refused(listen, named(listen, &error))?,
            }
        }
        Ok(())
    }

    /// Notes the sockets of an address, and deals them out to the workers.
    fn note(&mut self, pool: &Pool, listen: &Listen, fds: Vec<OwnedFd>, sockets: &mut OfWorkers) {
        let bound = fds.first().map(getsockname).and_then(Result::ok);
        let bound = bound.and_then(|bound| SocketAddr::try_from(bound).ok());
        let at = match (listen, bound) {
            (Listen::Tcp { host, .. }, Some(bound)) => bind::shown(host, bound),
            _ => listen.to_string(),
        };
        log::info!(pool = pool.name, at, servers = pool.servers.len(); "pool listens");
        self.next_id += 1;
        let (id, is_tcp) = (self.next_id, bound.is_some());
        let mut opened = Vec::new();
        // There may be more sockets than workers: those of a process with more workers. Each of them
        // is accepted from, as clients may be in its queue.
        for (number, fd) in fds.into_iter().map(Arc::new).enumerate() {
            self.listening.note(Kind::Pool, &fd);
            opened.push(Arc::downgrade(&fd));
            let listener = Listener { id, fd, is_tcp, keepalive: pool.tcpkeepalive };
            sockets[number % self.workers].push(listener);
        }
        let (listen, pool, sockets) = (listen.clone(), pool.name.clone(), opened);
        self.opened.push(Opened { id, listen, bound, pool, sockets });
    }

    /// A socket for each worker: for TCP one of its own, and the kernel distributes the clients
    /// between them; all workers share one unix socket. Sockets that another process has handed over
    /// are used as they are.
    fn open_one(
        &self,
        pool: &Pool,
        listen: &Listen,
        place: Option<SocketAddr>,
        version: Version,
    ) -> io::Result<Vec<OwnedFd>> {
        let backlog = i32::try_from(pool.backlog).unwrap_or(i32::MAX);
        let (workers, files) = (self.workers, &self.files);
        let (listening, patience) = (&self.listening, &self.patience);
        // A bound socket that does not listen gets no clients.
        let listens = !(self.is_check && pool.reuseport);
        let how =
            Opening { backlog, reuseport: pool.reuseport, listens, workers, files, listening };
        match (listen, place) {
            (Listen::Unix { path, mode }, _) => {
                patience.open(FOR_THE_SIGNALLED, || unix(path, *mode, &how))
            }
            (_, Some(place)) if version == Version::Both => {
                self.check(place, &pool.name)?;
                patience.open(FOR_THE_SIGNALLED, || every(place, &how))
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
    listens: bool,
    workers: usize,
    files: &'o OwnFiles,
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

/// What an address turns out to be; none for a unix socket.
fn resolve(listen: &Listen) -> io::Result<Option<SocketAddr>> {
    let Listen::Tcp { host, port } = listen else { return Ok(None) };
    Ok(ListenAddresses::of(host, *port)?.first())
}

/// Which clients a socket takes, for an address of a pool that listens on `all` of these.
fn version(listen: &Listen, place: SocketAddr, all: &[SocketAddr]) -> Version {
    let is_of_four = |other: &SocketAddr| other.is_ipv4() && other.port() == place.port();
    match (listen, place.port()) {
        (Listen::Tcp { host, .. }, _) if host == EVERY_HOST => Version::Both,
        (_, 0) => Version::AsTheSystem,
        _ if all.iter().any(is_of_four) => Version::SixOnly,
        _ => Version::AsTheSystem,
    }
}

/// The sockets of `*`. If another process has handed over sockets for one version of IP only, there
/// are new ones for the other: a socket for both can't be opened beside those.
fn every(address: SocketAddr, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let (mut given, mut has_six, mut has_four) = (Vec::new(), address.is_ipv4(), false);
    let [six, four] = bind::both(address.port());
    for place in [six, four] {
        for socket in how.given(&Place::Tcp(place))? {
            let (is_six, is_four) = bind::versions(&socket, place)?;
            (has_six, has_four) = (has_six || is_six, has_four || is_four);
            given.push(socket);
        }
    }
    let missing = match (has_six, has_four) {
        _ if given.is_empty() => return fresh(address, Version::Both, how),
        (true, true) => Vec::new(),
        (true, false) => fresh(four, Version::AsTheSystem, how)?,
        (false, _) => fresh(six, Version::SixOnly, how)?,
    };
    let mut all = shared(given, how.workers)?;
    all.extend(missing);
    Ok(all)
}

fn tcp(address: SocketAddr, version: Version, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let given = how.given(&Place::Tcp(address))?;
    if given.is_empty() { fresh(address, version, how) } else { shared(given, how.workers) }
}

/// New sockets.
fn fresh(mut address: SocketAddr, version: Version, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let Opening { backlog, reuseport, workers, .. } = *how;
    if workers > 1 && !reuseport {
        // Sockets that share a port would also share it with another process, which would get half
        // of the clients. So the port must be free for a socket that does not share.
        drop(bind::open(address, version, false)?);
    }
    let mut sockets = Vec::new();
    for _ in 0..workers {
        let fd = bind::open(address, version, reuseport || workers > 1)?;
        if how.listens {
            listen(&fd, backlog)?;
        }
        if address.port() == 0 {
            address = SocketAddr::try_from(getsockname(&fd)?)?;
        }
        sockets.push(fd);
    }
    Ok(sockets)
}

/// Sockets to be dealt out to the workers in turn. If there are fewer sockets than workers, each worker
/// gets a copy of each.
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

fn unix(path: &Path, mode: Option<u32>, how: &Opening<'_>) -> io::Result<Vec<OwnedFd>> {
    let mode = mode.map(Mode::from_raw_mode);
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
        for workers in [1, 2] {
            let around = (&OwnFiles::default(), &Listening::default());
            let mut listeners = Listeners::new(workers, around, &Patience::default());
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

    #[test]
    fn a_listener_that_is_given_up_is_not_handed_over_while_a_worker_still_has_it() {
        let listening = Listening::default();
        let around = (&OwnFiles::default(), &listening);
        let mut listeners = Listeners::new(2, around, &Patience::default());
        let (one, two) = (Arc::new(pool("127.0.0.1:0")), Arc::new(pool("127.0.0.2:0")));
        let _of_workers = listeners.change(&[one, Arc::clone(&two)]).unwrap();
        assert_eq!((listeners.count(), listening.used().len()), (4, 4));
        let _none = listeners.change(&[two]).unwrap();
        assert_eq!((listeners.count(), listening.used().len()), (2, 2));
    }
}
