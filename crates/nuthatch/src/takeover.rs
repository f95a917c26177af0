//! The take-over of a running proxy by the next process, and of sockets that systemd has opened.
//!
//! The one rule: a listening socket that may have a client in its queue is never closed while the
//! address is still served. If a listening socket is closed, the kernel resets the connections that
//! wait in its queue; but a socket is closed only with the last of its descriptors. So the next process
//! gets a descriptor of every listening socket of the running one, also of each socket of an
//! `SO_REUSEPORT` group, and continues to accept from all of them, whatever its number of workers. There
//! is no moment without a process that holds the socket, and so no client that is refused.
//!
//! The running process (`predecessor.rs`) hands over on its control socket; the next one is
//! `successor.rs`; `channel.rs` has their messages. The steps:
//!
//! 1. The next process checks its configuration, connects, and names its version and protocol.
//! 2. The running process sends its listening sockets. It continues to serve, but reloads no more
//!    (`standstill.rs`).
//! 3. The next process prepares everything that can fail: workers, ports, files. Its workers wait at a
//!    gate (`gate.rs`). If it fails or dies until now, nothing has changed.
//! 4. The next process says `go`. The running process gives up its files and accepts no more clients; the
//!    gate of the next process opens. New clients wait in the queue of the kernel in the meantime.
//! 5. The running process passes its clients, each as soon as it has all its replies
//!    (`nuthatch_core::mux::Mux::pass`): the connection stays open, and bytes that the client sends during
//!    the change wait in the kernel for the next process. So no request is lost. Clients that
//!    cannot pass, such as subscribers, stay with the old process until they leave or its time is over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, fstat};
use rustix::io::ioctl_fionbio;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, getsockname, listen, socket_with,
    sockopt,
};

use crate::bind::{self, ListenAddresses, Version};
use crate::own_files::OwnFiles;
use crate::patience::{FOR_THE_DRAINING, Patience};

mod channel;
mod gate;
pub(crate) mod predecessor;
mod spawn;
mod standstill;
pub(crate) mod successor;
pub(crate) mod traveller;

pub(crate) use gate::Gate;
pub(crate) use spawn::start_next;
pub(crate) use standstill::Standstill;

/// The length of the queue of a socket until its owner sets another.
const FIRST_BACKLOG: i32 = 128;

/// The length of the queue of processes that want to take over.
const CONTROL_BACKLOG: i32 = 4;

/// Listens on the control socket, or takes over that of the running process. Only the user of this
/// process may connect.
pub(crate) fn open_control(
    path: &Path,
    (files, listening): (&OwnFiles, &Listening),
    patience: &Patience,
) -> io::Result<Arc<OwnedFd>> {
    let named = |error: io::Error| {
        let text = format!("can't listen on the control socket {}: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    let open = || {
        let kind = SocketType::SEQPACKET;
        if let Some(given) = listening.take(&Place::unix(path), kind).pop() {
            return Ok(given);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        let mode = Some(Mode::RUSR | Mode::WUSR);
        files.listen(&socket, path, mode, CONTROL_BACKLOG)?;
        Ok(socket)
    };
    let socket = Arc::new(patience.open(FOR_THE_DRAINING, || open().map_err(named))?);
    listening.note(Kind::Control, &socket);
    Ok(socket)
}

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pool,
    Statistics,
    Admin,
    Control,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Pool, Self::Statistics, Self::Admin, Self::Control];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Statistics => "statistics",
            Self::Admin => "admin",
            Self::Control => "control",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    /// A path that does not depend on the working directory.
    Unix(PathBuf),
}

impl Place {
    pub(crate) fn unix(path: &Path) -> Self {
        Self::Unix(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// The place of a socket.
    pub(crate) fn of(socket: &OwnedFd) -> io::Result<Self> {
        let address = getsockname(socket)?;
        if let Ok(address) = SocketAddr::try_from(address.clone()) {
            return Ok(Self::Tcp(address));
        }
        let unix = SocketAddrUnix::try_from(address)?;
        let path = unix.path().and_then(|path| path.to_str().ok().map(PathBuf::from));
        path.map(|path| Self::unix(&path)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the unix socket has no path")
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => path.display().fmt(out),
        }
    }
}

/// A listening socket that another process has handed to this one.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) place: Place,
    kind: SocketType,
    /// Whether this process is to remove the file of the unix socket at its end.
    pub(crate) is_owned: bool,
    /// Whether it is an error if this process has no use for it.
    must_be_used: bool,
    socket: OwnedFd,
}

impl Given {
    /// # Errors
    /// When it is not a listening socket.
    pub(crate) fn new(socket: OwnedFd, place: Place, is_owned: bool) -> io::Result<Self> {
        if !sockopt::socket_acceptconn(&socket)? {
            let text = format!("the socket for {place} does not listen");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        ioctl_fionbio(&socket, true)?;
        let kind = sockopt::socket_type(&socket)?;
        Ok(Self { place, kind, is_owned, must_be_used: false, socket })
    }

    /// A socket that systemd has opened, and whose file it keeps.
    ///
    /// # Errors
    /// When it is not a listening socket.
    pub(crate) fn of_systemd(socket: OwnedFd, place: Place) -> io::Result<Self> {
        Ok(Self { must_be_used: true, ..Self::new(socket, place, false)? })
    }
}

/// The listening sockets of this process: those that it was given and has no use for yet, and those in
/// use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listening(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    given: Vec<Given>,
    /// Weak: a socket that its owner has closed is not handed over.
    used: Vec<(Kind, Weak<OwnedFd>)>,
}

impl Listening {
    /// The sockets that another process has handed to this one.
    pub(crate) fn with(given: Vec<Given>) -> Self {
        Self(Arc::new(Mutex::new(State { given, used: Vec::new() })))
    }

    /// Takes the given sockets of this address: none, one, or an `SO_REUSEPORT` group.
    pub(crate) fn take(&self, place: &Place, kind: SocketType) -> Vec<OwnedFd> {
        // A socket whose file is gone cannot be reached, so a new one is opened.
        if let Place::Unix(path) = place
            && !path.exists()
        {
            return Vec::new();
        }
        let mut state = self.lock();
        let is_wanted = |given: &mut Given| given.place == *place && given.kind == kind;
        state.given.extract_if(.., is_wanted).map(|given| given.socket).collect()
    }

    /// A listener at one of these addresses: one that was given, or else a new one at the first of
    /// them that can be listened on. A given one for IPv4 is taken for `*`, too, because its address is
    /// not free for another.
    ///
    /// # Errors
    /// When none can.
    pub(crate) fn tcp(&self, addresses: &ListenAddresses) -> io::Result<TcpListener> {
        let given =
            |address: &SocketAddr| self.take(&Place::Tcp(*address), SocketType::STREAM).pop();
        match addresses {
            ListenAddresses::Named(all) => match all.iter().find_map(given) {
                Some(given) => Ok(given.into()),
                None => TcpListener::bind(&all[..]),
            },
            ListenAddresses::Every(address) => {
                match bind::both(address.port()).iter().find_map(given) {
                    Some(given) => Ok(given.into()),
                    None => {
                        let socket = bind::open(*address, Version::Both, false)?;
                        listen(&socket, FIRST_BACKLOG)?;
                        Ok(socket.into())
                    }
                }
            }
        }
    }

    /// Notes a socket in use, so that it can be handed over.
    pub(crate) fn note(&self, kind: Kind, socket: &Arc<OwnedFd>) {
        let number = |socket: &OwnedFd| fstat(socket).map(|found| found.st_ino);
        let mut state = self.lock();
        state.used.retain(|(_, socket)| socket.strong_count() > 0);
        let is_noted = |(_, other): &(Kind, Weak<OwnedFd>)| {
            other.upgrade().is_some_and(|other| number(&other) == number(socket))
        };
        // Workers may share a socket.
        if state.used.iter().any(is_noted) {
            return;
        }
        state.used.push((kind, Arc::downgrade(socket)));
    }

    /// Does not hand over sockets that are about to be closed.
    pub(crate) fn forget(&self, sockets: &[Weak<OwnedFd>]) {
        self.lock().used.retain(|(_, used)| !sockets.iter().any(|it| it.ptr_eq(used)));
    }

    /// The sockets in use.
    pub(crate) fn used(&self) -> Vec<(Kind, Arc<OwnedFd>)> {
        let state = self.lock();
        let open = |(kind, socket): &(Kind, Weak<OwnedFd>)| Some((*kind, socket.upgrade()?));
        state.used.iter().filter_map(open).collect()
    }

    /// Checks that every socket of systemd has been taken; `configured` are the addresses of this process.
    ///
    /// # Errors
    /// When one has not.
    pub(crate) fn check_used(&self, configured: &[String]) -> io::Result<()> {
        let state = self.lock();
        let Some(unused) = state.given.iter().find(|given| given.must_be_used) else {
            return Ok(());
        };
        let text = format!(
            "systemd handed over a socket for {}, which is not configured; configured are {}",
            unused.place,
            configured.join(", ")
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// The given sockets that nobody has taken.
    pub(crate) fn untaken(&self) -> Vec<Place> {
        self.lock().given.iter().map(|given| given.place.clone()).collect()
    }

    /// Closes the given sockets that nobody has taken.
    pub(crate) fn close_untaken(&self) {
        self.lock().given.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_listener_is_taken_whichever_address_of_the_name_it_has() {
        let [first, second] =
            ["127.0.0.1:0", "127.0.0.2:0"].map(|at| TcpListener::bind(at).unwrap());
        let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
        drop(first);
        let place = Place::Tcp(addresses[1]);
        let listening = Listening::with(vec![Given::new(second.into(), place, false).unwrap()]);
        let named = ListenAddresses::Named(addresses.into());
        let at = || listening.tcp(&named).map(|listener| listener.local_addr().unwrap());
        assert_eq!(at().unwrap(), addresses[1]);
        assert_eq!(at().unwrap(), addresses[0], "none is given any longer");
    }
}
