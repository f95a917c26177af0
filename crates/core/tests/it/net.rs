//! A pool's engine with hand-moved clients and servers around it.
//!
//! Every test says what clients write and what servers answer, and looks at what came out on the
//! other side. Keys are letters: with two servers `a`, `c`, `e`, … live on server 0 and `b`, `d`,
//! `f`, … on server 1.

use nuthatch_core::clocks::Clocks;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{
    Bulk, ClientId, ConnId, ConnState, Event, Migrate, Mux, Options, Passing, ServerId,
};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use nuthatch_core::stats::ServerStats;
use nuthatch_core::time::Instant;
use std::sync::Arc;
use std::time::Duration;

/// What every request may take in these tests.
pub(crate) const TIMEOUT_MS: u64 = 400;

/// How keys move in tests that are about something else.
pub(crate) const MIGRATE: Migrate = Migrate {
    announced: None,
    settle: Duration::from_secs(1),
    window: Duration::from_secs(10),
    moves_max: 100,
    pause: Duration::ZERO,
    seed: 1,
};

pub(crate) fn options() -> Options {
    Options {
        protocol: Protocol::Memcache,
        ejection: None,
        timeout: Some(Duration::from_millis(TIMEOUT_MS)),
        clocks: Clocks::default(),
        server_connections: 1,
        bulk: Bulk::NONE,
        allow_flush: true,
        redis: Arc::default(),
        limits: Limits::default(),
        epoch: Duration::ZERO,
    }
}

/// The options of a Redis pool in which each client may have a connection of its own.
pub(crate) fn redis_options() -> Options {
    let settings = Settings { dedicated_max: 100, ..Settings::default() };
    Options {
        protocol: Protocol::Redis,
        allow_flush: false,
        redis: Arc::new(settings),
        ..options()
    }
}

pub(crate) fn engine(servers: usize, mut options: Options, ejection: Option<Ejection>) -> Mux {
    let member = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
    let members = (0..servers).map(member).collect();
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members, 1);
    let stats: Vec<_> = (0..servers).map(|_| Arc::default()).collect();
    options.ejection = ejection;
    Mux::new(ring, options, Arc::default(), &stats)
}

#[derive(Debug, Default)]
struct Peer {
    received: Vec<u8>,
    /// The greeting on the last of its connections.
    greeting: Vec<u8>,
    reads: bool,
    open: bool,
}

#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) mux: Mux,
    pub(crate) events: Vec<Event>,
    now: Instant,
    clients: Vec<Peer>,
    servers: Vec<Peer>,
    /// Whether connections to servers open as soon as they are wanted.
    pub(crate) accepts: bool,
    /// Whether questions about the proxy are answered at once, with what was asked.
    pub(crate) answers_questions: bool,
    /// What servers answer to the greeting, if they answer by themselves.
    pub(crate) greeting: Option<&'static str>,
}

/// What today's memcached answers to the greeting.
pub(crate) const GREETING: &str = "VERSION 1.6.18\r\n";

/// What a Redis answers to the greeting.
pub(crate) const HELLO: &str = "*2\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n";

impl Net {
    pub(crate) fn new(servers: usize) -> Self {
        Self::with(engine(servers, options(), None))
    }

    pub(crate) fn with_limits(servers: usize, limits: Limits) -> Self {
        Self::with(engine(servers, Options { limits, ..options() }, None))
    }

    /// A Redis pool.
    pub(crate) fn redis(servers: usize) -> Self {
        Self::with(engine(servers, redis_options(), None))
    }

    pub(crate) fn with(mux: Mux) -> Self {
        let greeting = match mux.options().protocol {
            Protocol::Memcache => GREETING,
            Protocol::Redis => HELLO,
        };
        let peer = || Peer { reads: true, ..Peer::default() };
        let servers = mux.conns().iter().map(|_| peer()).collect();
        let now = Instant::default();
        Self {
            mux,
            events: Vec::new(),
            now,
            clients: Vec::new(),
            servers,
            accepts: true,
            answers_questions: true,
            greeting: Some(greeting),
        }
    }

    /// The server with this number.
    pub(crate) fn server(&self, number: usize) -> ServerId {
        self.mux.servers()[number]
    }

    fn all_servers(&self) -> impl Iterator<Item = ServerId> {
        self.mux.servers().iter().chain(self.mux.gutter_servers()).copied()
    }

    /// The figures of the server at this place.
    pub(crate) fn stats(&self, number: usize) -> &ServerStats {
        self.mux.server_stats(self.server(number))
    }

    /// The connection at this place.
    pub(crate) fn conn(&self, place: usize) -> ConnId {
        let is_there = |id: &&ConnId| id.index() == place;
        *self.mux.conns().iter().find(is_there).expect("there is such a connection")
    }

    pub(crate) fn client(&mut self) -> ClientId {
        let id = self.mux.open_client();
        self.place(id);
        id
    }

    /// A client that passes from another engine.
    pub(crate) fn arrive(&mut self, passing: Passing) -> ClientId {
        let id = self.mux.open_passed(passing, self.now);
        self.place(id);
        self.settle();
        id
    }

    fn place(&mut self, id: ClientId) {
        if self.clients.len() <= id.index() {
            self.clients.resize_with(id.index() + 1, Peer::default);
        }
        self.clients[id.index()] = Peer { reads: true, open: true, ..Peer::default() };
    }

    pub(crate) fn say(&mut self, client: ClientId, bytes: &str) {
        self.say_bytes(client, bytes.as_bytes());
    }

    pub(crate) fn say_bytes(&mut self, client: ClientId, mut bytes: &[u8]) {
        assert!(self.is_open(client), "the client was closed");
        if let Some(input) = self.mux.client_input(client) {
            let count = bytes.len().min(input.capacity() - input.len());
            input.extend_from_slice(&bytes[..count]);
            self.mux.handle_client_filled(client, count, self.now);
            bytes = &bytes[count..];
        }
        if !bytes.is_empty() {
            self.mux.handle_client_bytes(client, bytes, self.now);
        }
        self.settle();
    }

    /// The client says no more, but goes on reading.
    pub(crate) fn half_close(&mut self, client: ClientId) {
        self.mux.handle_client_eof(client);
        self.settle();
    }

    pub(crate) fn leave(&mut self, client: ClientId) {
        self.clients[client.index()].open = false;
        self.mux.close_client(client);
        self.settle();
    }

    pub(crate) fn is_open(&self, client: ClientId) -> bool {
        self.clients[client.index()].open
    }

    pub(crate) fn set_reading(&mut self, client: ClientId, reads: bool) {
        self.clients[client.index()].reads = reads;
        if reads {
            self.look_after_client(client);
        }
        self.settle();
    }

    /// What the client has received since this was asked last.
    pub(crate) fn got(&mut self, client: ClientId) -> String {
        let bytes = std::mem::take(&mut self.clients[client.index()].received);
        String::from_utf8(bytes).expect("tests write text")
    }

    /// What the server has received on its connection since this was asked last.
    pub(crate) fn asked(&mut self, conn: usize) -> String {
        // A connection that nobody has looked after yet has received nothing.
        let received = self.servers.get_mut(conn).map(|peer| std::mem::take(&mut peer.received));
        String::from_utf8(received.unwrap_or_default()).expect("tests write text")
    }

    /// The greeting that the server has received on its connection.
    pub(crate) fn greeted(&self, conn: usize) -> String {
        String::from_utf8(self.servers[conn].greeting.clone()).expect("tests write text")
    }

    pub(crate) fn answer(&mut self, conn: usize, bytes: &str) {
        let (id, mut bytes) = (self.conn(conn), bytes.as_bytes());
        if let Some(input) = self.mux.conn_input(id) {
            let count = bytes.len().min(input.capacity() - input.len());
            input.extend_from_slice(&bytes[..count]);
            self.mux.handle_server_filled(id, self.now);
            bytes = &bytes[count..];
        }
        if !bytes.is_empty() {
            self.mux.handle_server_bytes(id, bytes, self.now);
        }
        self.settle();
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Looks after all that is dirty.
    pub(crate) fn settle_now(&mut self) {
        self.settle();
    }

    /// The server reads this many more bytes of what is queued for it, though it reads no longer.
    pub(crate) fn server_reads(&mut self, conn: usize, count: usize) {
        let id = self.conn(conn);
        self.servers[conn].received.extend_from_slice(&self.mux.conn_output(id)[..count]);
        self.mux.handle_conn_written(id, count, self.now);
        self.settle();
    }

    pub(crate) fn set_server_reading(&mut self, conn: usize, reads: bool) {
        self.servers[conn].reads = reads;
        let id = self.conn(conn);
        self.look_after_conn(id);
        self.settle();
    }

    pub(crate) fn close_server(&mut self, conn: usize, error: ServerError) {
        self.servers[conn].open = false;
        let id = self.conn(conn);
        self.mux.handle_conn_closed(id, error, self.now);
        self.settle();
    }

    pub(crate) fn open_server(&mut self, conn: usize) {
        self.servers[conn].open = true;
        let id = self.conn(conn);
        self.mux.handle_conn_open(id, self.now);
        self.settle();
    }

    pub(crate) fn is_connected(&self, conn: usize) -> bool {
        self.servers[conn].open
    }

    pub(crate) fn later(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
        self.mux.handle_timeout(self.now);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while self.answers_questions
                && let Some(question) = self.mux.next_question()
            {
                let asked = String::from_utf8_lossy(question.what()).into_owned();
                self.mux.answer_question(question, format!("asked: {asked}\r\n").as_bytes());
            }
            while let Some(id) = self.mux.next_dirty_conn() {
                self.look_after_conn(id);
            }
            while let Some(id) = self.mux.next_dirty_client() {
                self.look_after_client(id);
            }
            self.check_figures();
            if !self.mux.has_resumable() {
                break;
            }
            self.mux.resume(self.now);
        }
        self.events.extend(std::iter::from_fn(|| self.mux.next_event()));
    }

    fn look_after_client(&mut self, id: ClientId) {
        let peer = &mut self.clients[id.index()];
        assert!(peer.open, "a closed client is nobody's business");
        let output = self.mux.client_output(id);
        if peer.reads && !output.is_empty() {
            peer.received.extend_from_slice(output);
            let count = output.len();
            self.mux.handle_client_written(id, count);
        }
        if self.mux.is_done(id) {
            peer.open = false;
            self.mux.close_client(id);
        }
    }

    fn look_after_conn(&mut self, id: ConnId) {
        let places = self.servers.len().max(id.index() + 1);
        self.servers.resize_with(places, || Peer { reads: true, ..Peer::default() });
        let peer = &mut self.servers[id.index()];
        if self.mux.take_must_close(id) {
            peer.open = false;
        }
        if !self.mux.has_conn(id) {
            return;
        }
        if self.mux.wants_open(id) {
            self.mux.handle_conn_opening(id, self.now);
            if self.accepts {
                peer.open = true;
                self.mux.handle_conn_open(id, self.now);
            }
        }
        if self.mux.conn_state(id) == ConnState::Greeting && !self.mux.conn_output(id).is_empty() {
            let output = self.mux.conn_output(id);
            peer.greeting.clear();
            peer.greeting.extend_from_slice(output);
            let count = output.len();
            self.mux.handle_conn_written(id, count, self.now);
            if let Some(answer) = self.greeting {
                self.mux.handle_server_bytes(id, answer.as_bytes(), self.now);
            }
        }
        let peer = &mut self.servers[id.index()];
        while self.mux.conn_state(id) == ConnState::Open
            && peer.reads
            && !self.mux.conn_output(id).is_empty()
        {
            let output = self.mux.conn_output(id);
            peer.received.extend_from_slice(output);
            let count = output.len();
            self.mux.handle_conn_written(id, count, self.now);
        }
    }

    /// A figure below zero would be a huge one.
    fn check_figures(&self) {
        let stats = self.mux.stats();
        let servers = self.all_servers().map(|server| self.mux.server_stats(server));
        let servers = servers.flat_map(ServerStats::all);
        for (name, counter) in stats.all().chain(servers) {
            assert!(counter.read() < 1 << 60, "{name} is below zero");
        }
        assert!(self.mux.memory() < 1 << 60, "memory is below zero");
    }

    /// Nothing is on its way: no request, no byte, no figure that says so.
    pub(crate) fn check_idle(&self) {
        self.check_figures();
        assert_eq!(self.mux.requests_in_flight(), 0);
        assert_eq!(self.mux.memory(), 0);
        assert!(!self.mux.has_resumable());
        for server in self.all_servers().map(|server| self.mux.server_stats(server)) {
            for gauge in [
                &server.in_queue,
                &server.in_queue_bytes,
                &server.out_queue,
                &server.out_queue_bytes,
            ] {
                assert_eq!(gauge.read(), 0);
            }
        }
    }
}
