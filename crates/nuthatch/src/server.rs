//! Hops 8 and 9 of the walk: a socket to a server.
//!
//! A connection is opened when the first request wants it. Looking its name up and connecting take
//! their time without holding up the loop; requests queue meanwhile, and the time counts. A name's
//! addresses are tried one after the other; the engine is told when none is left.

use crate::addresses::{Addresses, Target};
use crate::attempt::Attempt;
use crate::client::{recv_into, recv_onto};
use crate::config::Address;
use crate::inbox::Inbox;
use crate::poll::{Interest, Poll, Ready, Tag, Token};
use crate::resolve::{self, Resolved};
use crate::run::SharedPool;
use crate::watch;
use nuthatch_core::error::ServerError;
use nuthatch_core::mux::{ConnId, ConnState, Mux};
use nuthatch_core::time::Instant;
use rustix::fd::OwnedFd;
use rustix::io::{self, Errno};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
    sockopt,
};
use std::mem;
use std::slice;
use std::sync::Arc;

/// A socket to a server, or the lack of one.
#[derive(Debug)]
pub(crate) struct ServerSocket {
    pub(crate) id: ConnId,
    fd: Option<OwnedFd>,
    interest: Interest,
    /// Whether its name is being looked up. An attempt to connect that comes meanwhile takes the
    /// answer for its own.
    looking_up: bool,
    /// While it is being opened.
    attempt: Attempt,
    /// Where it leads, once it is open.
    peer: Option<Target>,
    /// Whether to set `SO_KEEPALIVE`.
    keepalive: bool,
}

/// What a socket works with.
pub(crate) struct Place<'a> {
    pub(crate) pool: usize,
    pub(crate) id: ConnId,
    pub(crate) shared: &'a SharedPool,
    pub(crate) mux: &'a mut Mux,
    /// When an attempt of this pool goes on at the latest.
    pub(crate) next_attempt: &'a mut Option<Instant>,
    pub(crate) poll: &'a Poll,
    pub(crate) inbox: &'a Arc<Inbox>,
    pub(crate) now: Instant,
}

impl Place<'_> {
    fn addresses(&self) -> &Addresses {
        &self.shared.addresses[self.server()]
    }

    /// The place of its server in the pool's list, which does not change while the proxy runs.
    fn server(&self) -> usize {
        self.mux.server_of(self.id).index()
    }

    fn wake_by(&mut self, at: Option<Instant>) {
        *self.next_attempt = [*self.next_attempt, at].into_iter().flatten().min();
    }
}

impl ServerSocket {
    /// None yet.
    pub(crate) fn new(id: ConnId, keepalive: bool) -> Self {
        let (interest, attempt) = (Interest::default(), Attempt::default());
        Self { id, fd: None, interest, looking_up: false, attempt, peer: None, keepalive }
    }

    /// Hop 8: opens or closes the socket as the multiplexer wants it, and writes what there is.
    pub(crate) fn sync(&mut self, place: &mut Place<'_>) {
        if place.mux.take_must_close(place.id) {
            self.close(place);
        }
        if place.mux.wants_open(place.id) {
            self.open(place);
        }
        if place.mux.conn_state(place.id).is_connected() {
            self.write(place);
        }
    }

    /// Forgets the socket. The kernel takes it out of the loop.
    fn close(&mut self, place: &Place<'_>) {
        self.fd = None;
        self.attempt = Attempt::default();
        if let Some(peer) = self.peer.take() {
            place.addresses().note_closed(&peer);
        }
    }

    fn open(&mut self, place: &mut Place<'_>) {
        place.mux.handle_conn_opening(place.id, place.now);
        let shared = place.shared;
        match &shared.pool.servers[place.server()].address {
            Address::Unix(path) => self.begin(place, [Target::Unix(path.clone())]),
            Address::Tcp { host, port } => match resolve::literal(host, *port) {
                Some(address) => self.begin(place, [Target::Tcp(address)]),
                None if self.looking_up => {}
                None => {
                    self.looking_up = true;
                    let (pool, conn) = (place.pool, place.id);
                    let answer = Resolved { pool, conn, addresses: Vec::new() };
                    resolve::look_up(host, *port, answer, place.inbox);
                }
            },
        }
    }

    /// A look-up is done.
    pub(crate) fn resolved(&mut self, place: &mut Place<'_>, answer: &Resolved) {
        self.looking_up = false;
        if self.fd.is_none() && place.mux.conn_state(place.id) == ConnState::Opening {
            self.begin(place, answer.addresses.iter().copied().map(Target::Tcp));
        }
    }

    fn begin(&mut self, place: &mut Place<'_>, targets: impl IntoIterator<Item = Target>) {
        let order = place.addresses().order(targets);
        self.attempt = Attempt::new(order, place.shared.pool.timeout);
        place.addresses().note_tried(&[]);
        self.connect_next(place);
    }

    /// Tries one address after the other, until one has to be waited for.
    fn connect_next(&mut self, place: &mut Place<'_>) {
        self.fd = None;
        while let Some(target) = self.attempt.next(place.now) {
            place.addresses().note_tried(self.attempt.tried());
            match self.connect(place, &target) {
                Ok(()) => return self.opened(place),
                Err(Errno::INPROGRESS) => return place.wake_by(self.attempt.next_at()),
                Err(error) => self.attempt.failed(server_error(error)),
            }
        }
        self.fail(place, self.attempt.error());
    }

    fn connect(&mut self, place: &Place<'_>, target: &Target) -> io::Result<()> {
        let family = match target {
            Target::Tcp(address) if address.is_ipv4() => AddressFamily::INET,
            Target::Tcp(_) => AddressFamily::INET6,
            Target::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_keepalive(&fd, self.keepalive)?;
        let state = match target {
            Target::Tcp(address) => {
                sockopt::set_tcp_nodelay(&fd, true)?;
                connect(&fd, address)
            }
            Target::Unix(path) => connect(&fd, &SocketAddrUnix::new(path)?),
        };
        if matches!(state, Ok(()) | Err(Errno::INPROGRESS)) {
            place.poll.add(
                &fd,
                Token::Conn(place.pool, Tag::of(place.id.to_bits())),
                Interest::WRITE,
            )?;
            self.interest = Interest::WRITE;
            self.fd = Some(fd);
        }
        state
    }

    fn opened(&mut self, place: &mut Place<'_>) {
        let attempt = mem::take(&mut self.attempt);
        self.peer = attempt.tried().last().cloned();
        if let Some(peer) = &self.peer
            && let Some(before) = place.addresses().note_open(peer)
        {
            let failed = attempt.tried().contains(&before).then(|| attempt.error());
            let server = place.server();
            watch::tell_move(place.shared, server, (&before, peer), failed);
        }
        place.mux.handle_conn_open(place.id, place.now);
        self.watch(place, Interest::READ);
    }

    /// The time of the address that is tried may be over: then it is the next one's turn.
    pub(crate) fn expire(&mut self, place: &mut Place<'_>) {
        let next_at = self.attempt.next_at();
        if next_at.is_some_and(|at| at <= place.now) {
            self.attempt.failed(ServerError::TimedOut);
            self.connect_next(place);
        } else {
            place.wake_by(next_at);
        }
    }

    fn fail(&mut self, place: &mut Place<'_>, error: ServerError) {
        if let Some(peer) = self.peer.as_ref() {
            place.addresses().note_tried(slice::from_ref(peer));
        }
        self.close(place);
        place.mux.handle_conn_closed(place.id, error, place.now);
    }

    fn watch(&mut self, place: &mut Place<'_>, interest: Interest) {
        let Some(fd) = self.fd.as_ref().filter(|_| interest != self.interest) else { return };
        self.interest = interest;
        if let Err(error) =
            place.poll.modify(fd, Token::Conn(place.pool, Tag::of(place.id.to_bits())), interest)
        {
            self.fail(place, server_error(error));
        }
    }

    /// The socket is ready for something.
    pub(crate) fn ready(&mut self, place: &mut Place<'_>, ready: Ready, scratch: &mut [u8]) {
        let Some(fd) = &self.fd else { return };
        match place.mux.conn_state(place.id) {
            ConnState::Opening => match sockopt::socket_error(fd) {
                Ok(Ok(())) => self.opened(place),
                Ok(Err(error)) | Err(error) => {
                    self.attempt.failed(server_error(error));
                    self.connect_next(place);
                }
            },
            ConnState::Greeting | ConnState::Open => {
                if ready.write {
                    // The rest is written with what this turn adds to it.
                    place.mux.mark_conn(place.id);
                }
                if ready.read {
                    self.read(place, scratch);
                }
            }
            // It was given up in this very turn.
            ConnState::Closed => {}
        }
    }

    /// Hop 9: reads until there is no more, or it is the others' turn, or the connection was given
    /// up for what was read.
    fn read(&mut self, place: &mut Place<'_>, scratch: &mut [u8]) {
        let mut taken = 0;
        while taken < READ_MAX && place.mux.conn_state(place.id).is_connected() {
            match self.read_once(place, scratch) {
                Some(count) => taken += count,
                None => return,
            }
        }
    }

    /// One read, by way of the worker's scratch buffer; what is large goes straight to where it is
    /// kept. Says how many bytes it was if there may be more.
    fn read_once(&mut self, place: &mut Place<'_>, scratch: &mut [u8]) -> Option<usize> {
        let fd = self.fd.as_ref()?;
        let (id, now) = (place.id, place.now);
        let (read, room) = match place.mux.conn_input(id) {
            Some(input) => {
                let room = input.capacity() - input.len();
                let read = recv_onto(fd, input);
                place.mux.handle_server_filled(id, now);
                (read, room)
            }
            None => {
                let read = recv_into(fd, scratch);
                if let Ok(count @ 1..) = read {
                    place.mux.handle_server_bytes(id, &scratch[..count], now);
                }
                (read, scratch.len())
            }
        };
        match read {
            Ok(0) => self.fail(place, ServerError::Closed),
            Ok(count) => return (count == room).then_some(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.fail(place, server_error(error)),
        }
        None
    }

    fn write(&mut self, place: &mut Place<'_>) {
        let Some(fd) = &self.fd else { return };
        while !place.mux.conn_output(place.id).is_empty() {
            match send(fd, place.mux.conn_output(place.id), SendFlags::NOSIGNAL) {
                Ok(count) => place.mux.handle_conn_written(place.id, count, place.now),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    return self.watch(place, Interest { read: true, write: true });
                }
                // What it said before it closed may still be read.
                Err(Errno::PIPE) => return self.watch(place, Interest::READ),
                Err(error) => return self.fail(place, server_error(error)),
            }
        }
        self.watch(place, Interest::READ);
    }
}

/// So much is read from one server connection in a turn, if it is there. With less, a server that
/// has much to send would get no more of the turn than one that has little, and its clients would
/// wait longer than others.
const READ_MAX: usize = 512 * 1024;

fn server_error(error: Errno) -> ServerError {
    match error {
        Errno::CONNREFUSED => ServerError::Refused,
        Errno::CONNRESET | Errno::PIPE => ServerError::Reset,
        Errno::TIMEDOUT => ServerError::TimedOut,
        Errno::HOSTUNREACH | Errno::NETUNREACH => ServerError::Unreachable,
        Errno::HOSTDOWN => ServerError::HostDown,
        Errno::NOENT => ServerError::NoSocket,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN => {
            ServerError::Local
        }
        _ => ServerError::Other,
    }
}
