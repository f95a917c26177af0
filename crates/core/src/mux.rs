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
//! in which order replies leave, and as a `Pending` in a server connection's, which says whose reply
//! comes next. A request of several keys is one slot, and one pending for each of its fragments. The
//! rest is what happens when something fails, is too much, or goes away.
//!
//! # The contract
//!
//! **After any `handle_*` or `resume`, drain [`Mux::next_dirty_client`] and
//! [`Mux::next_dirty_conn`] before you wait.** A dirty client has bytes to be written, or no longer
//! wants to be read, or is to be closed; a dirty connection has bytes to be written, or is to be
//! opened or closed. Nothing here blocks, calls back, reads a clock or knows a socket.
//!
//! An embedder's loop in full, with a server that is a function instead of a socket:
//!
//! ```
//! use nuthatch_core::clocks::Clocks;
//! use nuthatch_core::limits::Limits;
//! use nuthatch_core::mux::{Bulk, Mux, Options};
//! use nuthatch_core::protocol::Protocol;
//! use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
//! use nuthatch_core::stats::PoolStats;
//! use nuthatch_core::time::Instant;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! // What the servers answer; they are asked for their version first.
//! fn serve(request: &[u8]) -> &'static [u8] {
//!     match request {
//!         b"version\r\n" => b"VERSION 1.6.18\r\n",
//!         b"get nut\r\n" => b"VALUE nut 0 5\r\nacorn\r\nEND\r\n",
//!         _ => b"ERROR\r\n",
//!     }
//! }
//!
//! let members = ["oak", "elm"].map(|name| Member { name: name.as_bytes().into(), weight: 1 });
//! let ring = Ring::new(Distribution::Ketama, Hash::Fnv1a_64, None, members.into(), 0);
//! let options = Options {
//!     protocol: Protocol::Memcache,
//!     timeout: None,
//!     clocks: Clocks::default(),
//!     ejection: None,
//!     server_connections: 1,
//!     bulk: Bulk::NONE,
//!     allow_flush: false,
//!     redis: Arc::default(),
//!     limits: Limits::default(),
//!     epoch: Duration::ZERO,
//! };
//! let mut mux = Mux::new(ring, options, Arc::default(), &[Arc::default(), Arc::default()]);
//!
//! let now = Instant::from_nanos(0);
//! let client = mux.open_client();
//! mux.handle_client_bytes(client, b"get nut\r\n", now);
//!
//! // Look after connections until none is dirty, then after clients.
//! while let Some(id) = mux.next_dirty_conn() {
//!     if mux.wants_open(id) {
//!         mux.handle_conn_opening(id, now);
//!         mux.handle_conn_open(id, now);
//!     }
//!     let request = mux.conn_output(id).to_vec();
//!     if !request.is_empty() {
//!         mux.handle_conn_written(id, request.len(), now);
//!         mux.handle_server_bytes(id, serve(&request), now);
//!     }
//! }
//! while let Some(id) = mux.next_dirty_client() {
//!     let reply = mux.client_output(id).to_vec();
//!     assert_eq!(reply, b"VALUE nut 0 5\r\nacorn\r\nEND\r\n");
//!     mux.handle_client_written(id, reply.len());
//! }
//! ```

mod around;
mod away;
mod backpressure;
mod bulk;
mod client;
mod clients;
mod conn;
mod dedicated;
mod dirty;
mod every_server;
mod failure;
mod greeting;
mod gutter;
mod id;
mod join;
mod joins;
mod journal;
mod large;
mod late;
mod memory;
mod migrate;
mod passing;
mod places;
mod question;
mod quota;
mod replay;
mod reply;
mod request;
mod response;
mod server;
mod slots;
mod slow;
mod standing;
mod waiter;

pub use bulk::Bulk;
pub use conn::ConnState;
pub use id::{ClientId, ConnId, ServerId};
pub use migrate::{Migrate, Migrating, Phase, Progress};
pub use passing::{PASSING_MAX, Passing};
pub use question::Question;
pub use slow::{KEY_SHOWN, Slow};

use crate::clocks::{Clock, Clocks};
use crate::error::ServerError;
use crate::health::Ejection;
use crate::limits::Limits;
use crate::protocol::{Protocol, Room};
use crate::quota::{Quotas, Usage};
use crate::redis::Settings;
use crate::ring::Ring;
use crate::spares::Spares;
use crate::stats::{PoolStats, ServerStats};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use clients::Clients;
use core::time::Duration;
use migrate::Migration;
use server::Servers;
use slow::SlowLog;

/// How a pool's multiplexer works.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients and servers speak.
    pub protocol: Protocol,
    /// How long a request may take from when it is queued; none for as long as it likes.
    pub timeout: Option<Duration>,
    /// How long parts of that may take.
    pub clocks: Clocks,
    /// When a failing server leaves the ring; none if it never does.
    pub ejection: Option<Ejection>,
    /// Connections to each server, at least 1.
    pub server_connections: usize,
    /// What there is for clients that ask for much.
    pub bulk: Bulk,
    /// Whether `flush_all` and `FLUSHALL` are carried out.
    pub allow_flush: bool,
    /// What only a Redis pool needs.
    pub redis: Arc<Settings>,
    /// Bounds.
    pub limits: Limits,
    /// The wall clock at [`Instant`] zero, as the time since 1970: figures say with it when something
    /// happened.
    pub epoch: Duration,
}

/// Something an operator wants to know, with the server it is about, in the pool's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was lost, and so many requests with it.
    ConnLost {
        /// Which server.
        server: ServerId,
        /// Why.
        error: ServerError,
        /// The clock that ran out, if it was closed for that.
        clock: Option<Clock>,
        /// How many requests were answered with the error.
        requests: usize,
    },
    /// A connection that was lost answers again.
    Answers {
        /// Which server.
        server: ServerId,
    },
    /// A connection was closed because a reply did not match its request.
    Desync {
        /// Which server.
        server: ServerId,
        /// How many requests were answered with the error.
        requests: usize,
    },
    /// A client spoke memcached's binary protocol and is closed for it.
    BinaryClient,
    /// A server left the ring.
    Ejected {
        /// Which server.
        server: ServerId,
        /// Its last failure.
        error: ServerError,
    },
    /// A server that was away is used for some of its keys, and soon for all.
    Warming {
        /// Which server.
        server: ServerId,
    },
    /// A server is used again.
    Returned {
        /// Which server.
        server: ServerId,
    },
    /// A server failed and is used nevertheless, because too many are away.
    Kept {
        /// Which server.
        server: ServerId,
        /// Its last failure.
        error: ServerError,
    },
    /// More keys of a server that is away were changed than can be remembered.
    JournalFull {
        /// Which server.
        server: ServerId,
    },
    /// A server that comes back has refused to remove a key that was changed while it was away.
    RemovalRefused {
        /// Which server.
        server: ServerId,
    },
    /// A server of the gutter has refused to bound how long a value stays. The key was removed there.
    CapRefused {
        /// Which server.
        server: ServerId,
    },
    /// An old server of keys that move could not be reached, and is asked no longer.
    GivenUp {
        /// Which server.
        server: ServerId,
    },
    /// Keys of the last change no longer move.
    Migrated,
}

/// The estimated size of the next reply: it rises to the last size at once, and falls by 1/8 for each
/// smaller reply.
#[inline]
fn next_guess(guess: usize, reply_bytes: usize) -> usize {
    reply_bytes.max(guess - guess / 8)
}

/// One part in so many of `memory_max` may stay reserved for the next large values.
const LARGE_SPARES_PART: usize = 8;

/// One worker's engine for one pool.
///
/// It has two halves: `Clients` owns clients and their requests, `Servers` owns servers and what is
/// queued for them. `Servers` passes replies to the trait `Answers`, so it also works in a program
/// without clients.
#[derive(Debug)]
pub struct Mux {
    clients: Clients,
    servers: Servers,
    shared: Shared,
    /// What is known of keys that move to other servers; none if no keys move.
    migration: Option<Box<Migration>>,
}

/// What both halves work with.
#[derive(Debug)]
struct Shared {
    options: Options,
    stats: Arc<PoolStats>,
    spares: Spares,
    events: VecDeque<Event>,
    /// Counts up: tells an id from an earlier one with the same place.
    generation: u32,
    /// For lines that are put together here.
    line: Vec<u8>,
    /// For what a parser puts together.
    room: Room,
    /// What is said on each new server connection: in RESP2, or of memcached, and in RESP3.
    greetings: [Vec<u8>; 2],
    /// Connections to each server: a connection to Redis speaks either RESP2 or RESP3.
    lanes: usize,
    /// From where on traffic is bulk.
    signs: Bulk,
    /// Whether others decide which servers are used.
    has_other_arbiter: bool,
    /// Whether clients have quotas, or had.
    has_quotas: bool,
    quotas: Quotas,
    /// What was used of the pool's quota.
    usage: Arc<Usage>,
    slow: SlowLog,
    /// How long a request may wait until it is written.
    queue_max: Option<Duration>,
    /// Since when the request that is taken now has waited to be queued; none if it had not to wait.
    begun: Option<Instant>,
}

impl Shared {
    fn new(options: Options, stats: Arc<PoolStats>) -> Self {
        let spares = Spares::new(options.limits.memory_max / LARGE_SPARES_PART);
        let greetings = greetings(&options);
        let lanes = match options.protocol {
            Protocol::Memcache => options.lanes(),
            Protocol::Redis => 2 * options.lanes(),
        };
        let signs = options.bulk.signs();
        Self {
            queue_max: options.queue_max().map(|(wait, _)| wait),
            options,
            stats,
            spares,
            events: VecDeque::new(),
            generation: 0,
            line: Vec::new(),
            room: Room::default(),
            greetings,
            lanes,
            signs,
            has_other_arbiter: false,
            has_quotas: false,
            quotas: Quotas::default(),
            usage: Arc::default(),
            slow: SlowLog::default(),
            begun: None,
        }
    }

    /// Whether clients may speak RESP3.
    #[inline(always)]
    fn has_resp3(&self) -> bool {
        self.options.protocol == Protocol::Redis
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }
}

/// What is said on each new server connection, without and with RESP3.
fn greetings(options: &Options) -> [Vec<u8>; 2] {
    [false, true].map(|is_resp3| {
        let mut greeting = Vec::new();
        options.protocol.write_greeting(&options.redis, is_resp3, &mut greeting);
        greeting
    })
}

impl Mux {
    /// An engine for the servers of `ring`. It counts in `stats`, and for each server in its block of
    /// `servers`, which are in the ring's order.
    ///
    /// # Panics
    /// If `servers` are not as many as the ring's members.
    pub fn new(
        ring: Ring,
        options: Options,
        stats: Arc<PoolStats>,
        servers: &[Arc<ServerStats>],
    ) -> Self {
        let mut shared = Shared::new(options, stats);
        let servers = Servers::new(&mut shared, ring, servers);
        Self { clients: Clients::default(), servers, shared, migration: None }
    }

    /// Changes how it works from now on. Open server connections and authenticated clients stay as
    /// they are; what waits already is bound by the new limits.
    ///
    /// # Panics
    /// If `options` have another protocol or another number of connections to each server: a client's
    /// requests could overtake each other.
    pub fn set_options(&mut self, options: Options) {
        let now = &self.shared.options;
        assert_eq!(options.protocol, now.protocol, "a pool has one protocol");
        let counts = |options: &Options| (options.server_connections, options.bulk.connections);
        assert_eq!(counts(&options), counts(now), "a client keeps its lane");
        self.shared.signs = options.bulk.signs();
        self.shared.greetings = greetings(&options);
        self.shared.spares.set_large_max(options.limits.memory_max / LARGE_SPARES_PART);
        for (_, client) in &mut self.clients.list {
            client.session.set_settings(&options.redis);
        }
        self.shared.queue_max = options.queue_max().map(|(wait, _)| wait);
        self.shared.options = options;
        self.servers.set_arbiter(&self.shared);
        self.note_moving();
        if self.shared.options.ejection.is_none() {
            self.return_all();
        }
        self.servers.note_standings(&self.shared);
        // Looks at once whose time is over by the new timeout.
        self.servers.look_at_all();
        self.clients.look_at_long_waits();
        self.wake_all();
    }

    /// The figures that this engine counts in.
    pub fn stats(&self) -> &PoolStats {
        &self.shared.stats
    }

    /// The figures of a server.
    pub fn server_stats(&self, id: ServerId) -> &ServerStats {
        &self.servers.all[id.index()].stats
    }

    /// How many clients are connected.
    pub fn client_count(&self) -> usize {
        self.clients.list.len()
    }

    /// Requests that wait for a server; what a drain waits for.
    pub fn requests_in_flight(&self) -> usize {
        self.clients.slots.len()
    }

    /// The next client that needs its socket looked after.
    pub fn next_dirty_client(&mut self) -> Option<ClientId> {
        self.clients.next_dirty(&mut self.shared)
    }

    /// The next server connection that needs its socket looked after.
    pub fn next_dirty_conn(&mut self) -> Option<ConnId> {
        self.servers.next_dirty()
    }

    /// The next thing to tell the operator.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    /// What it was told.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// When [`Mux::handle_timeout`] should be called at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        let next = [
            self.servers.next_timeout(),
            self.clients.next_end(),
            self.shared.spares.next_look(),
            self.next_of_migration(),
        ];
        next.into_iter().flatten().min()
    }
}
