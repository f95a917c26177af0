//! The multiplexer: many clients over few server connections, and no reply to the wrong client.
//!
//! ```text
//!              requests (a)                         (b) requests
//!   client ──► queue ──┐      ┌──► conn: pending ──► server
//!   client ──► queue ──┼─slots┼──► conn: pending ──► server
//!   client ◄── queue ──┘      └─── conn: pending ◄── server
//!              replies (d)                          (c) replies
//! ```
//!
//! A request of a client is a *slot*. It stands in two queues at once: in its client's, which says
//! in which order replies leave (hop 13), and as a `Pending` in a server
//! connection's, which says whose reply comes next (hop 12). A request of several keys is one slot
//! and one pending per fragment. That is the whole of it; the rest is what happens when something
//! fails, is too much, or goes away.
//!
//! # The contract
//!
//! **After any `handle_*` or `resume`, drain [`Mux::next_dirty_client`] and
//! [`Mux::next_dirty_conn`] before you wait.** A dirty client has bytes to be written, or no longer
//! wants to be read, or is to be closed; a dirty connection has bytes to be written, or is to be
//! opened or closed. Nothing here blocks, calls back, reads a clock or knows a socket.

mod backpressure;
mod client;
mod failure;
mod greeting;
mod join;
mod large;
mod memory;
mod reply;
mod request;
mod response;
mod server;
mod slots;
mod waiter;

pub use client::ClientId;
pub use server::{ConnId, ConnState};

use crate::error::ServerError;
use crate::limits::Limits;
use crate::pool::Pool;
use crate::protocol::Protocol;
use crate::spares::Spares;
use crate::stats::PoolStats;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use client::Client;
use core::time::Duration;
use join::Joins;
use server::Conn;
use slots::Slots;

/// What a pool's multiplexer is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients and servers speak.
    pub protocol: Protocol,
    /// How long a request may take from when it is queued; none for as long as it likes.
    pub timeout: Option<Duration>,
    /// Connections to each server, at least 1.
    pub server_connections: usize,
    /// Whether `flush_all` is carried out.
    pub allow_flush: bool,
    /// Bounds.
    pub limits: Limits,
    /// What `stats` says of the process.
    pub identity: Identity,
}

/// What the `stats` command tells of the process.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// The version.
    pub version: &'static str,
    /// Seconds of the wall clock at [`Instant`] zero.
    pub epoch_seconds: u64,
    /// The figures of this pool in every worker, this one included.
    pub workers: Arc<[Arc<PoolStats>]>,
}

impl Identity {
    /// Microseconds of the wall clock.
    fn epoch_micros(&self, now: Instant) -> u64 {
        self.epoch_seconds * 1_000_000 + now.as_nanos() / 1000
    }
}

/// Something an operator wants to know, with the server it is about, in the pool's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was lost, and so many requests with it.
    ConnLost {
        /// Which server.
        server: usize,
        /// Why.
        error: ServerError,
        /// How many requests were answered with the error.
        requests: usize,
    },
    /// A connection that was lost answers again.
    Answers {
        /// Which server.
        server: usize,
    },
    /// A connection was closed because a reply did not match its request.
    Desync {
        /// Which server.
        server: usize,
        /// How many requests were answered with the error.
        requests: usize,
    },
    /// A client spoke memcached's binary protocol and is closed for it.
    BinaryClient,
    /// A server left the ring.
    Ejected {
        /// Which server.
        server: usize,
        /// Its last failure.
        error: ServerError,
    },
    /// A server is on the ring again.
    Returned {
        /// Which server.
        server: usize,
    },
}

/// What the next reply may weigh, by the last one: a large one counts at once, small ones by and by.
#[inline]
fn next_guess(guess: usize, reply_bytes: usize) -> usize {
    reply_bytes.max(guess - guess / 8)
}

/// Those that need their socket looked after, first come, first served. It is emptied once a turn,
/// so a list and a place in it will do: a `VecDeque` costs twenty instructions more for a request.
#[derive(Debug)]
struct Dirty<Id> {
    ids: Vec<Id>,
    next: usize,
}

impl<Id: Copy> Dirty<Id> {
    const fn new() -> Self {
        Self { ids: Vec::new(), next: 0 }
    }

    #[inline]
    fn push(&mut self, id: Id) {
        self.ids.push(id);
    }

    #[inline]
    fn pop(&mut self) -> Option<Id> {
        let id = self.ids.get(self.next).copied();
        self.next += 1;
        if id.is_none() {
            self.ids.clear();
            self.next = 0;
        }
        id
    }
}

/// Of `memory_max`, this part may lie idle for a second in memory that large values took.
const LARGE_SPARES_PART: usize = 8;

/// One worker's engine for one pool.
#[derive(Debug)]
pub struct Mux {
    pool: Pool,
    options: Options,
    clients: slab::Slab<Client>,
    conns: Vec<Conn>,
    slots: Slots,
    joins: Joins,
    spares: Spares,
    /// Apart from the others, as there are many and they are small.
    reply_spares: Spares,
    stats: Arc<PoolStats>,
    /// The servers of which a connection was lost and that have not answered since.
    is_down: Vec<bool>,
    dirty_clients: Dirty<ClientId>,
    dirty_conns: Dirty<ConnId>,
    events: VecDeque<Event>,
    /// Clients whose waiting requests may be taken now.
    resumable: VecDeque<ClientId>,
    /// How many clients stand in the queues of `Conn::waiters`.
    waiting: usize,
    /// Whether it is the turn of the client whose requests are taken at such a queue.
    is_next_in_line: bool,
    /// No request runs out of time before this.
    next_expiry: Option<Instant>,
    /// Counts up: tells a client from an earlier one with the same id.
    next_serial: u64,
    /// Bytes held for clients.
    memory: usize,
    /// For lines that are put together here.
    line: Vec<u8>,
}

impl Mux {
    /// An engine for `pool` that counts in `stats`.
    ///
    /// # Panics
    /// If `stats` is not for as many servers as the pool has.
    pub fn new(pool: Pool, options: Options, stats: Arc<PoolStats>) -> Self {
        assert_eq!(pool.servers(), stats.servers.len(), "a block of figures for every server");
        let spares = Spares::new(options.limits.memory_max / LARGE_SPARES_PART);
        let count = pool.servers() * options.server_connections;
        let conns = (0..count).map(|index| Conn::new(index / options.server_connections));
        Self {
            conns: conns.collect(),
            pool,
            options,
            clients: slab::Slab::new(),
            slots: Slots::default(),
            joins: Joins::default(),
            spares,
            reply_spares: Spares::default(),
            is_down: vec![false; stats.servers.len()],
            stats,
            dirty_clients: Dirty::new(),
            dirty_conns: Dirty::new(),
            events: VecDeque::new(),
            resumable: VecDeque::new(),
            waiting: 0,
            is_next_in_line: false,
            next_expiry: None,
            next_serial: 0,
            memory: 0,
            line: Vec::new(),
        }
    }

    /// The pool, to look at.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The figures that this engine counts in.
    pub fn stats(&self) -> &PoolStats {
        &self.stats
    }

    /// How many server connections there can be: `server_connections` for every server, in order.
    pub fn conn_count(&self) -> usize {
        self.conns.len()
    }

    /// How many clients are connected.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Requests that wait for a server; what a drain waits for.
    pub fn requests_in_flight(&self) -> usize {
        self.slots.len()
    }

    /// The next client that needs its socket looked after.
    pub fn next_dirty_client(&mut self) -> Option<ClientId> {
        loop {
            let id = self.dirty_clients.pop()?;
            if let Some(client) = self.clients.get_mut(id.index()) {
                client.dirty = false;
                self.account(id);
                return Some(id);
            }
        }
    }

    /// The next server connection that needs its socket looked after.
    pub fn next_dirty_conn(&mut self) -> Option<ConnId> {
        let id = self.dirty_conns.pop()?;
        self.conns[id.index()].dirty = false;
        self.publish(id);
        Some(id)
    }

    /// The next thing to tell the operator.
    pub fn next_event(&mut self) -> Option<Event> {
        self.note_returned();
        self.events.pop_front()
    }

    /// When [`Mux::handle_timeout`] should be called at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        let next = [self.next_expiry, self.pool.next_return(), self.spares.next_look()];
        next.into_iter().flatten().min()
    }

    /// Tells of the servers that have returned.
    fn note_returned(&mut self) {
        while let Some(server) = self.pool.next_returned() {
            self.stats.servers[server].more.is_ejected.set(0);
            self.events.push_back(Event::Returned { server });
        }
    }
}
