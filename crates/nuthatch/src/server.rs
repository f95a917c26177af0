//! A socket to a server: writes requests and reads replies.
//!
//! A connection is opened for the first request. Resolving the name and connecting do not block the
//! loop; requests are queued meanwhile, and this time counts for their timeouts. The addresses of a
//! name are tried one after the other; the engine is told only when all have failed.

use crate::addresses::{Addresses, Target};
use crate::attempt::Attempt;
use crate::client::{recv_into, recv_onto};
use crate::config::{Address, Pool};
use crate::generation::SharedServer;
use crate::inbox::Inbox;
use crate::poll::{Interest, Poll, Ready, Tag, Token};
use crate::portion::Portion;
use crate::resolve::{self, Found, Inquiry, Question, Receiver, Resolved, Resolver};
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

/// A socket to a server, open or not.
#[derive(Debug)]
pub(crate) struct ServerSocket {
    pub(crate) id: ConnId,
    fd: Option<OwnedFd>,
    interest: Interest,
    /// Whether a look-up of its name is running. An attempt to connect that starts meanwhile uses
    /// the result.
    looking_up: bool,
    /// The look-ups of its name; none if the address is no name, or before the first look-up.
    inquiry: Option<Inquiry>,
    /// The last answer.
    found: Option<Arc<Found>>,
    /// The attempt to open the connection, if one is running.
    attempt: Attempt,
    /// The address of the open connection.
    peer: Option<Target>,
    /// Whether the server has answered the greeting on this connection.
    was_greeted: bool,
    /// Whether to set `SO_KEEPALIVE`.
    keepalive: bool,
}

/// The context of a socket.
pub(crate) struct Place<'a> {
    /// The place of the pool in its worker, and what no other pool is known by.
    pub(crate) pool: usize,
    pub(crate) pool_id: u64,
    pub(crate) id: ConnId,
    pub(crate) config: &'a Pool,
    /// The server to which the connection leads.
    pub(crate) server: &'a SharedServer,
    pub(crate) resolver: &'a Resolver,
    pub(crate) mux: &'a mut Mux,
    /// When the next attempt of this pool must continue, at the latest.
    pub(crate) next_attempt: &'a mut Option<Instant>,
    pub(crate) poll: &'a Poll,
    pub(crate) inbox: &'a Arc<Inbox>,
    pub(crate) now: Instant,
}

impl Place<'_> {
    fn addresses(&self) -> &Addresses {
        &self.server.addresses
    }

    fn wake_by(&mut self, at: Option<Instant>) {
        *self.next_attempt = [*self.next_attempt, at].into_iter().flatten().min();
    }
}

impl ServerSocket {
    /// A connection without a socket.
    pub(crate) fn new(id: ConnId, keepalive: bool) -> Self {
        let (interest, attempt) = (Interest::default(), Attempt::default());
        let (looking_up, was_greeted) = (false, false);
        Self {
            id,
            fd: None,
            interest,
            looking_up,
            inquiry: None,
            found: None,
            attempt,
            peer: None,
            was_greeted,
            keepalive,
        }
    }

    /// Sets whether `SO_KEEPALIVE` is set on the connections that are opened from now on.
    pub(crate) fn set_keepalive(&mut self, keepalive: bool) {
        self.keepalive = keepalive;
    }

    /// Opens or closes the socket as the multiplexer requires, and writes the queued bytes.
    pub(crate) fn sync(&mut self, place: &mut Place<'_>, portion: Portion) {
        if place.mux.take_must_close(place.id) {
            self.close(place);
            if !place.mux.has_conn(place.id) {
                self.inquiry = None;
            }
        }
        if place.mux.wants_open(place.id) {
            self.open(place);
        }
        if place.mux.conn_state(place.id).is_connected() {
            self.write(place, portion.share);
        }
    }

    /// Closes the socket. The kernel removes it from epoll.
    fn close(&mut self, place: &Place<'_>) {
        self.fd = None;
        self.attempt = Attempt::default();
        if let Some(peer) = self.peer.take() {
            place.addresses().note_closed(&peer, self.was_greeted);
        }
    }

    fn open(&mut self, place: &mut Place<'_>) {
        place.mux.handle_conn_opening(place.id, place.now);
        match &place.server.server.address {
            Address::Unix(path) => self.begin(place, [Target::Unix(path.clone())]),
            Address::Tcp { host, port } => match resolve::literal(host, *port) {
                Some(address) => self.begin(place, [Target::Tcp(address)]),
                None if self.looking_up => {}
                None => {
                    self.looking_up = true;
                    let to = (place.pool, place.pool_id, place.id);
                    let receiver = || Receiver::Worker(Arc::clone(place.inbox), to);
                    let question = || Question::Addresses(host.as_str().into());
                    let new = || place.resolver.inquiry(question(), receiver());
                    self.inquiry.get_or_insert_with(new).look_up();
                }
            },
        }
    }

    /// A look-up is done, or the name has other addresses than before.
    pub(crate) fn resolved(&mut self, place: &mut Place<'_>, answer: Resolved) {
        let was_looking_up = mem::take(&mut self.looking_up);
        self.found = answer.found;
        match place.mux.conn_state(place.id) {
            // An attempt that runs may be waiting for an address that the name no longer has.
            ConnState::Opening if was_looking_up || self.fd.is_some() => {
                let targets = self.targets(place);
                self.begin(place, targets);
            }
            ConnState::Opening | ConnState::Closed => {}
            ConnState::Greeting | ConnState::Open => self.leave_a_former_address(place),
        }
    }

    /// The addresses of the last answer.
    fn targets(&self, place: &Place<'_>) -> Vec<Target> {
        let Address::Tcp { port, .. } = place.server.server.address else {
            return Vec::new();
        };
        let addresses = self.found.iter().flat_map(|found| found.addresses());
        addresses.map(|&ip| Target::Tcp((ip, port).into())).collect()
    }

    fn is_former(&self, target: &Target) -> bool {
        match (target, &self.found) {
            (Target::Tcp(address), Some(found)) => !found.addresses().contains(&address.ip()),
            _ => false,
        }
    }

    /// If the name no longer has the address of the connection, the connection is replaced as soon
    /// as nothing waits on it.
    fn leave_a_former_address(&self, place: &mut Place<'_>) {
        if self.peer.as_ref().is_some_and(|peer| self.is_former(peer)) {
            place.mux.reconnect_when_idle(place.id);
        }
    }

    fn begin(&mut self, place: &mut Place<'_>, targets: impl IntoIterator<Item = Target>) {
        let order = place.addresses().order(targets);
        // The look-up of the name has taken its part.
        let left = place.mux.time_to_open(place.id, place.now);
        let time = [left, place.config.timeout].into_iter().flatten().min();
        self.attempt = Attempt::new(order, time);
        place.addresses().note_tried(&[]);
        self.connect_next(place);
    }

    /// Tries one address after the other, until it must wait for one.
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
            watch::tell_move(place.config, &place.server.server, (&before, peer), failed);
        }
        self.was_greeted = false;
        place.mux.handle_conn_open(place.id, place.now);
        self.settled();
        self.watch(place, Interest::READ);
    }

    /// The resolver need not look for other addresses any longer.
    fn settled(&self) {
        if let Some(inquiry) = &self.inquiry {
            inquiry.settled();
        }
    }

    /// If the time of the current address is over, tries the next address.
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
        self.settled();
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
    pub(crate) fn ready(
        &mut self,
        place: &mut Place<'_>,
        ready: Ready,
        (scratch, portion): (&mut [u8], Portion),
    ) {
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
                    // The rest is written at the end of the turn, with the bytes that the turn
                    // adds.
                    place.mux.mark_conn(place.id);
                }
                if ready.read {
                    self.read(place, scratch, portion);
                    self.was_greeted |= place.mux.conn_state(place.id) == ConnState::Open;
                }
            }
            // The connection was closed in this turn.
            ConnState::Closed => {}
        }
    }

    /// Reads until there is no more, until the connection has had its share of the turn, or until it is
    /// closed because of a mismatch.
    fn read(&mut self, place: &mut Place<'_>, scratch: &mut [u8], portion: Portion) {
        let mut taken = 0;
        while taken < portion.share && place.mux.conn_state(place.id).is_connected() {
            match self.read_once(place, scratch, portion.piece) {
                Some(count) => taken += count,
                None => return,
            }
        }
    }

    /// One read into the worker's scratch buffer; a large reply is read directly into its final
    /// buffer. Returns the number of bytes if there may be more.
    fn read_once(
        &mut self,
        place: &mut Place<'_>,
        scratch: &mut [u8],
        piece: usize,
    ) -> Option<usize> {
        let fd = self.fd.as_ref()?;
        let (id, now) = (place.id, place.now);
        let (read, room) = match place.mux.conn_input(id) {
            Some(input) => {
                let room = input.capacity() - input.len();
                let read = recv_onto(fd, input, piece);
                place.mux.handle_server_filled(id, now);
                (read, room.min(piece))
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
            Ok(count) => return (count >= room).then_some(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.fail(place, server_error(error)),
        }
        None
    }

    /// Writes at most `share` bytes; epoll tells when to go on.
    fn write(&mut self, place: &mut Place<'_>, share: usize) {
        let Some(fd) = &self.fd else { return };
        let mut left = share;
        loop {
            let output = place.mux.conn_output(place.id);
            if output.is_empty() {
                break;
            }
            if left == 0 {
                return self.watch(place, Interest { read: true, write: true });
            }
            match send(fd, output.get(..left).unwrap_or(output), SendFlags::NOSIGNAL) {
                Ok(count) => {
                    left = left.saturating_sub(count);
                    place.mux.handle_conn_written(place.id, count, place.now);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    return self.watch(place, Interest { read: true, write: true });
                }
                // Bytes that the server sent before it closed may still be unread.
                Err(Errno::PIPE) => return self.watch(place, Interest::READ),
                Err(error) => return self.fail(place, server_error(error)),
            }
        }
        self.watch(place, Interest::READ);
    }
}

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
