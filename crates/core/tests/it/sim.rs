//! A pool, its clients and its servers in one random but repeatable world.
//!
//! Clients ask for anything, right or wrong, in pieces, and read slowly or not; servers answer in
//! pieces and late, hang, die, lie. Time is a number. Whatever happens, every client gets its own
//! replies in its own order or an error in the place of one, nothing that is read was never
//! written, nothing is older than what its reader has seen or written before, and in the end
//! nothing is left of it all.

mod client;
pub(crate) mod memcached;
pub(crate) mod random;
pub(crate) mod redis;
mod redis_client;
pub(crate) mod resp;
mod seen;

use memcached::Memcached;
use nuthatch_core::clocks::{Clock, Clocks};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, ConnId, Mux, Options, ServerId};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::redis::Settings;
use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Ring};
use nuthatch_core::stats::ServerStats;
use nuthatch_core::time::Instant;
use random::Random;
use redis::Redis;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What each key was set to, in order; None where it was deleted.
pub(crate) type History = BTreeMap<String, Vec<Option<Vec<u8>>>>;

/// A whole answer, and the key if it is a value of a read of one key.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hit: Option<String>,
}

/// A server in a few lines, of which tests know what it says.
pub(crate) trait Server: Debug + Default {
    /// Clients who speak its protocol.
    type Client: Customer;

    const PROTOCOL: Protocol;

    /// A reply that nobody asked for.
    const SURPLUS: &'static [u8];

    /// Answers the first request in the `input` of a connection and takes it away; None if it is not
    /// whole, or if its answer comes later.
    fn serve(&mut self, conn: usize, input: &mut Vec<u8>) -> Option<Reply>;

    /// What a connection gets if this server says that the key has the value of another one.
    fn lie(key: &str) -> Vec<u8>;

    /// Forgets everything, as by a restart.
    fn flush(&mut self);

    /// A connection is no more.
    fn disconnect(&mut self, _conn: usize) {}

    /// A connection that waits has waited long enough.
    fn give_up(&mut self, _conn: usize) {}

    /// What connections get besides replies.
    fn take_sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        Vec::new()
    }

    fn history(&self) -> &History;
}

/// A client that asks for anything and believes nothing.
pub(crate) trait Customer: Debug {
    /// `may_be_quiet`: whether it asks for no reply now and then. Where any reply may be replaced by an
    /// error, it could not tell whose error it is.
    fn new(may_be_quiet: bool) -> Self;

    /// Asks for something. `number` is new; values are up to `size_max` bytes.
    fn ask_anything(&mut self, random: &mut Random, number: u64, size_max: usize);

    /// Takes what came from the proxy, and checks it.
    fn receive(&mut self, bytes: &[u8], truth: &Truth<'_>);

    /// What it has still to send.
    fn outbox(&mut self) -> &mut VecDeque<u8>;

    /// Whether it asks for nothing more.
    fn has_ended(&self) -> bool;

    /// Whether it has all its replies.
    fn is_satisfied(&self) -> bool;

    /// Whether all that is left is the end of the connection.
    fn expects_end(&self) -> bool;
}

/// What the simulation knows and a client may ask.
pub(crate) struct Truth<'a> {
    pub(crate) histories: Vec<&'a History>,
    /// The server of a key, unless it ever failed.
    pub(crate) home: &'a dyn Fn(&str) -> Option<usize>,
    /// Whether an error may come in the place of any reply.
    pub(crate) errors: bool,
}

/// How often a server does what it should not, in 1000 replies or turns.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    hang: u64,
    die: u64,
    garbage: u64,
    surplus: u64,
    /// Two replies change places.
    swap: u64,
    /// A value is that of another key: no proxy can see that.
    lie: u64,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    clients: usize,
    servers: usize,
    server_connections: usize,
    bulk: Bulk,
    requests: u32,
    size_max: usize,
    limits: Limits,
    ejects: bool,
    /// Connections for one client alone.
    dedicated_max: usize,
    /// Whether servers leave the pool and come back.
    changes: bool,
    faults: Faults,
    /// Whether an error may come in the place of a reply.
    errors: bool,
    /// Whether the parts of a request's way have times of their own, at random.
    clocks: bool,
}

const CALM: Plan = Plan {
    clients: 6,
    servers: 3,
    server_connections: 1,
    bulk: Bulk::NONE,
    requests: 250,
    size_max: 40_000,
    limits: Limits::DEFAULT,
    ejects: false,
    dedicated_max: 100,
    changes: false,
    faults: Faults { hang: 0, die: 0, garbage: 0, surplus: 0, swap: 0, lie: 0 },
    errors: false,
    clocks: false,
};

const STORMY: Plan = Plan {
    ejects: true,
    faults: Faults { hang: 150, die: 150, garbage: 3, surplus: 3, swap: 20, lie: 0 },
    errors: true,
    ..CALM
};

const TINY: Limits = Limits {
    item_size_max: 3000,
    keys_max: 16,
    line_max: 4096,
    client_requests_max: 2,
    client_buffer_max: 100,
    client_backlog_max: 3000,
    server_requests_max: 2,
    server_buffer_max: 100,
    memory_max: 8000,
};

const TIMEOUT_MS: u64 = 50;
const TIMEOUT: Duration = Duration::from_millis(TIMEOUT_MS);

/// What happens next. A connection's events are of one epoch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Timeout,
    Fault,
    /// A person thinks of something to ask.
    Ask(usize),
    /// A person's bytes arrive.
    Say(usize),
    /// A person reads.
    Listen(usize),
    Open(usize, u64),
    /// A server's socket takes bytes.
    Write(usize, u64),
    Serve(usize, u64),
    /// A server's bytes arrive.
    Read(usize, u64),
    /// A server no longer lets a connection wait.
    GiveUp(usize, u64),
}

/// Who is a client, and when it has gone another.
#[derive(Debug)]
struct Person<C> {
    client: C,
    id: Option<ClientId>,
    /// Requests that it will still think of.
    left: u32,
    /// Microseconds that it may take to read.
    slowness: u64,
    says: bool,
    listens: bool,
    said_all: bool,
    /// Since when it waits for a reply, and nothing has happened for it.
    waits_since: u64,
}

/// A connection as its server sees it.
#[derive(Debug, Default)]
struct Wire {
    id: Option<ConnId>,
    epoch: u64,
    open: bool,
    inbox: Vec<u8>,
    replies: Vec<Reply>,
    outbox: Vec<u8>,
    writes: bool,
    reads: bool,
}

struct World<S: Server> {
    plan: Plan,
    random: Random,
    mux: Mux,
    ring: Ring,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    next_timeout: Option<u64>,
    people: Vec<Person<S::Client>>,
    /// The person of each client id.
    person_of: Vec<usize>,
    wires: Vec<Wire>,
    servers: Vec<S>,
    /// Which of them each server of the pool is.
    server_of: BTreeMap<ServerId, usize>,
    stats: Vec<Arc<ServerStats>>,
    failed: Vec<bool>,
    hung_until: Vec<u64>,
    down_until: Vec<u64>,
}

/// How long requests and their parts may take: at least as much is set that every request ends.
fn clocks(random: &mut Random) -> (Option<Duration>, Clocks) {
    let mut wait = |is_set: bool, most| {
        let wait = Duration::from_micros(200 + random.below(most));
        (is_set || random.chance(600)).then_some(wait)
    };
    let timeout = wait(false, 60_000);
    let is_set = timeout.is_none();
    let queue = wait(is_set, 5000);
    (timeout, Clocks { connect: wait(false, 2000), queue, response: wait(is_set, 20_000) })
}

/// The ring of these servers.
fn ring_of(servers: &[usize]) -> Ring {
    let name = |index| Member { name: format!("server{index}").into_bytes().into(), weight: 1 };
    let members = servers.iter().map(name).collect();
    let tag = HashTag::new(b'{', b'}');
    Ring::new(Distribution::Rendezvous, Hash::Fnv1a_64, Some(tag), members, 1)
}

impl<S: Server> World<S> {
    fn new(plan: Plan, seed: u64) -> Self {
        let all: Vec<usize> = (0..plan.servers).collect();
        let ring = ring_of(&all);
        let ejection =
            Ejection { failure_limit: 2, retry_timeout: 2 * TIMEOUT, ..Ejection::default() };
        let mut random = Random(seed);
        let (timeout, clocks) = if plan.clocks { clocks(&mut random) } else { Default::default() };
        let options = Options {
            protocol: S::PROTOCOL,
            ejection: plan.ejects.then_some(ejection),
            timeout: if plan.clocks { timeout } else { plan.errors.then_some(TIMEOUT) },
            clocks,
            server_connections: plan.server_connections,
            bulk: plan.bulk,
            allow_flush: true,
            redis: Arc::new(Settings { dedicated_max: plan.dedicated_max, ..Settings::default() }),
            limits: plan.limits,
            epoch: Duration::ZERO,
        };
        let stats: Vec<_> = (0..plan.servers).map(|_| Arc::default()).collect();
        let mux = Mux::new(ring.clone(), options, Arc::default(), &stats);
        let mut world = Self {
            random,
            ring,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            next_timeout: None,
            people: Vec::new(),
            person_of: Vec::new(),
            wires: Vec::new(),
            servers: all.iter().map(|_| S::default()).collect(),
            server_of: mux.servers().iter().copied().zip(all).collect(),
            stats,
            // Whoever is slow for a short clock may be ejected, and its keys go elsewhere.
            failed: vec![plan.clocks && plan.ejects; plan.servers],
            hung_until: vec![0; plan.servers],
            down_until: vec![0; plan.servers],
            mux,
            plan,
        };
        for person in 0..plan.clients {
            world.enter(person);
        }
        world.at(1000, Event::Fault);
        world
    }

    /// A new person comes.
    fn enter(&mut self, person: usize) {
        let slowness = self.random.pick(&[10, 100, 5000]);
        self.people.push(Person {
            client: S::Client::new(false),
            id: None,
            left: self.plan.requests,
            slowness,
            says: false,
            listens: false,
            said_all: false,
            waits_since: 0,
        });
        self.connect(person);
    }

    /// A person connects, for the first time or again.
    fn connect(&mut self, person: usize) {
        let id = self.mux.open_client();
        if self.person_of.len() <= id.index() {
            self.person_of.resize(id.index() + 1, usize::MAX);
        }
        self.person_of[id.index()] = person;
        let may_be_quiet = self.plan.limits != TINY && !self.plan.clocks;
        let person_now = &mut self.people[person];
        person_now.client = S::Client::new(may_be_quiet);
        person_now.id = Some(id);
        person_now.said_all = false;
        self.at(100, Event::Ask(person));
    }

    /// Lets `event` happen within `within` microseconds.
    fn at(&mut self, within: u64, event: Event) {
        let time = self.now + 1000 * self.random.below(within);
        self.count += 1;
        assert!(self.count < 5_000_000, "this never ends");
        self.events.push(Reverse((time, self.count, event)));
    }

    fn run(&mut self) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            self.now = time;
            match event {
                Event::Timeout => {
                    self.next_timeout = None;
                    self.mux.handle_timeout(Instant::from_nanos(time));
                }
                Event::Fault => self.fault(),
                Event::Ask(person) => self.ask(person),
                Event::Say(person) => self.say(person),
                Event::Listen(person) => self.listen(person),
                Event::Open(conn, epoch) => self.open(conn, epoch),
                Event::Write(conn, epoch) => self.write(conn, epoch),
                Event::Serve(conn, epoch) => self.serve(conn, epoch),
                Event::Read(conn, epoch) => self.read(conn, epoch),
                Event::GiveUp(conn, epoch) => self.give_up(conn, epoch),
            }
            self.settle();
        }
        self.check_idle();
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    // People.

    fn ask(&mut self, person: usize) {
        let this = &mut self.people[person];
        let Some(id) = this.id else { return };
        if self.plan.errors && self.random.chance(10) {
            self.mux.close_client(id);
            return self.reconnect(person);
        }
        let this = &mut self.people[person];
        for _ in 0..self.random.length(20) {
            if this.left == 0 || this.client.has_ended() {
                break;
            }
            this.left -= 1;
            self.count += 1;
            this.client.ask_anything(&mut self.random, self.count, self.plan.size_max);
        }
        self.start_saying(person);
        if self.people[person].left > 0 && !self.people[person].client.has_ended() {
            self.at(20_000, Event::Ask(person));
        }
        self.maybe_say_all(person);
    }

    fn start_saying(&mut self, person: usize) {
        let this = &mut self.people[person];
        if !this.says && !this.client.outbox().is_empty() {
            this.says = true;
            self.at(50, Event::Say(person));
        }
    }

    fn say(&mut self, person: usize) {
        let this = &mut self.people[person];
        this.says = false;
        let Some(id) = this.id else { return };
        if this.client.outbox().is_empty() || !self.mux.wants_read(id) {
            return;
        }
        this.waits_since = self.now;
        let now = Instant::from_nanos(self.now);
        let most = this.client.outbox().len().min(20_000);
        let count = self.random.length(most);
        let mut bytes: Vec<u8> = this.client.outbox().drain(..count).collect();
        if let Some(input) = self.mux.client_input(id) {
            let direct = bytes.len().min(input.capacity() - input.len());
            input.extend(bytes.drain(..direct));
            self.mux.handle_client_filled(id, direct, now);
        }
        if !bytes.is_empty() {
            self.mux.handle_client_bytes(id, &bytes, now);
        }
        if self.mux.wants_read(id) {
            self.start_saying(person);
        }
        self.maybe_say_all(person);
    }

    fn listen(&mut self, person: usize) {
        let this = &mut self.people[person];
        this.listens = false;
        let Some(id) = this.id else { return };
        let output = self.mux.client_output(id);
        if output.is_empty() {
            return;
        }
        let count = self.random.length(output.len());
        let bytes = output[..count].to_vec();
        self.mux.handle_client_written(id, count);
        let home = |key: &str| {
            let home = self.ring.clone().route(key.as_bytes());
            (!self.failed[home]).then_some(home)
        };
        let histories = self.servers.iter().map(Server::history).collect();
        let truth = Truth { histories, home: &home, errors: self.plan.errors };
        self.people[person].client.receive(&bytes, &truth);
        self.look_after_client(id);
        self.maybe_say_all(person);
    }

    /// Who has asked everything and got everything says so.
    fn maybe_say_all(&mut self, person: usize) {
        let this = &mut self.people[person];
        let Some(id) = this.id else { return };
        if this.left == 0 && this.client.is_satisfied() && !this.said_all {
            this.said_all = true;
            self.mux.handle_client_eof(id);
        }
    }

    fn reconnect(&mut self, person: usize) {
        self.people[person].id = None;
        if self.people[person].left > 0 {
            self.connect(person);
        }
    }

    // Servers.

    fn fault(&mut self) {
        if self.people.iter().all(|person| person.left == 0) {
            return;
        }
        let server = self.random.index(self.plan.servers);
        if self.random.chance(self.plan.faults.hang) {
            self.failed[server] = true;
            self.hung_until[server] = self.now + self.random.below(3_000_000 * TIMEOUT_MS);
        }
        if self.random.chance(self.plan.faults.die) {
            self.failed[server] = true;
            self.down_until[server] = self.now + self.random.below(2_000_000 * TIMEOUT_MS);
            if self.random.chance(500) {
                self.servers[server].flush();
            }
            for conn in 0..self.wires.len() {
                if self.wires[conn].open && self.server_at(conn) == server {
                    let id = self.id_at(conn);
                    self.drop_wire(conn);
                    let error = self.random.pick(&[ServerError::Reset, ServerError::Closed]);
                    self.mux.handle_conn_closed(id, error, self.now());
                }
            }
        }
        if self.plan.changes {
            self.change_servers();
            if S::PROTOCOL == Protocol::Memcache {
                let moved = self.random.index(self.mux.conns().len());
                self.mux.reconnect_when_idle(self.mux.conns()[moved]);
            }
        }
        self.at(10_000, Event::Fault);
    }

    /// Some servers are in the pool now, others not.
    fn change_servers(&mut self) {
        let mut members: Vec<usize> = (0..self.plan.servers).collect();
        if self.random.chance(500) {
            members.remove(self.random.index(self.plan.servers));
        }
        // No server has all that was ever stored under its keys.
        self.failed.fill(true);
        let stats: Vec<_> = members.iter().map(|member| Arc::clone(&self.stats[*member])).collect();
        self.mux.set_servers(ring_of(&members), &stats, |_| true);
        self.server_of.extend(self.mux.servers().iter().copied().zip(members));
    }

    fn id_at(&self, conn: usize) -> ConnId {
        self.wires[conn].id.expect("only connections have events")
    }

    /// The server to which a connection leads.
    fn server_at(&self, conn: usize) -> usize {
        self.server_of[&self.mux.server_of(self.id_at(conn))]
    }

    fn drop_wire(&mut self, conn: usize) {
        let epoch = self.wires[conn].epoch + 1;
        self.servers.iter_mut().for_each(|server| server.disconnect(conn));
        self.wires[conn] = Wire { epoch, ..Wire::default() };
    }

    fn open(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        let id = self.id_at(conn);
        if self.now < self.down_until[self.server_at(conn)] {
            self.drop_wire(conn);
            return self.mux.handle_conn_closed(id, ServerError::Refused, self.now());
        }
        self.wires[conn].open = true;
        self.mux.handle_conn_open(id, self.now());
    }

    fn write(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        self.wires[conn].writes = false;
        let id = self.id_at(conn);
        let output = self.mux.conn_output(id);
        if output.is_empty() {
            return;
        }
        let count = self.random.length(output.len());
        self.wires[conn].inbox.extend_from_slice(&output[..count]);
        self.mux.handle_conn_written(id, count, self.now());
        self.at(200, Event::Serve(conn, epoch));
        self.look_after_conn(id);
    }

    fn serve(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        let server = self.server_at(conn);
        if self.now < self.hung_until[server] {
            return self.at(1000 * TIMEOUT_MS, Event::Serve(conn, epoch));
        }
        let faults = self.plan.faults;
        let wire = &mut self.wires[conn];
        while let Some(mut reply) = self.servers[server].serve(conn, &mut wire.inbox) {
            if reply.bytes.is_empty() {
                self.count += 1;
                let end = self.now + 1_000_000 * self.random.below(TIMEOUT_MS * 3);
                self.events.push(Reverse((end, self.count, Event::GiveUp(conn, epoch))));
                continue;
            }
            if self.random.chance(faults.garbage) {
                self.failed[server] = true;
                reply = Reply { bytes: b"gar bage\r\n".to_vec(), hit: None };
            }
            if let Some(key) = reply.hit.as_ref().filter(|_| self.random.chance(faults.lie)) {
                reply = Reply { bytes: S::lie(key), hit: None };
            }
            wire.replies.push(reply);
            if self.random.chance(faults.surplus) {
                self.failed[server] = true;
                wire.replies.push(Reply { bytes: S::SURPLUS.to_vec(), hit: None });
            }
            if let [.., one, two] = &mut wire.replies[..]
                && one.hit.is_some()
                && two.hit.is_some()
                && one.hit != two.hit
                && self.random.chance(faults.swap)
            {
                self.failed[server] = true;
                std::mem::swap(one, two);
            }
        }
        for reply in wire.replies.drain(..) {
            wire.outbox.extend_from_slice(&reply.bytes);
        }
        self.start_reading(conn);
        self.deliver(server);
    }

    /// Brings connections what they get besides replies.
    fn deliver(&mut self, server: usize) {
        for (conn, bytes) in self.servers[server].take_sent() {
            self.wires[conn].outbox.extend_from_slice(&bytes);
            self.start_reading(conn);
            // What it has sent since is served now.
            let epoch = self.wires[conn].epoch;
            self.at(200, Event::Serve(conn, epoch));
        }
    }

    fn give_up(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch == epoch {
            let server = self.server_at(conn);
            self.servers[server].give_up(conn);
            self.deliver(server);
        }
    }

    fn start_reading(&mut self, conn: usize) {
        let wire = &mut self.wires[conn];
        if !wire.reads && !wire.outbox.is_empty() {
            wire.reads = true;
            let epoch = wire.epoch;
            self.at(200, Event::Read(conn, epoch));
        }
    }

    fn read(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        let (id, now) = (self.id_at(conn), self.now());
        let wire = &mut self.wires[conn];
        wire.reads = false;
        let count = self.random.length(wire.outbox.len());
        let mut bytes: Vec<u8> = wire.outbox.drain(..count).collect();
        if let Some(input) = self.mux.conn_input(id) {
            let direct = bytes.len().min(input.capacity() - input.len());
            input.extend(bytes.drain(..direct));
            self.mux.handle_server_filled(id, now);
        }
        if !bytes.is_empty() {
            self.mux.handle_server_bytes(id, &bytes, now);
        }
        self.start_reading(conn);
    }

    // What an embedder does after every turn.

    fn settle(&mut self) {
        loop {
            self.answer_questions();
            while let Some(id) = self.mux.next_dirty_client() {
                self.look_after_client(id);
            }
            while let Some(id) = self.mux.next_dirty_conn() {
                self.look_after_conn(id);
            }
            if !self.mux.has_resumable() {
                break;
            }
            self.mux.resume(self.now());
        }
        while self.mux.next_event().is_some() {}
        let due = self.mux.next_timeout().map(|at| at.as_nanos().max(self.now));
        if let Some(due) = due.filter(|&due| self.next_timeout.is_none_or(|at| due < at)) {
            self.next_timeout = Some(due);
            self.count += 1;
            self.events.push(Reverse((due, self.count, Event::Timeout)));
        }
        self.check_bounds();
        // Redis clients also ask for what may take any time.
        if self.plan.clocks && S::PROTOCOL == Protocol::Memcache {
            self.check_deadlines();
        }
    }

    fn answer_questions(&mut self) {
        while let Some(question) = self.mux.next_question() {
            assert_eq!(question.what(), b"stats");
            self.mux.answer_question(question, b"STAT pid 1\r\nEND\r\n");
        }
    }

    fn look_after_client(&mut self, id: ClientId) {
        let person = self.person_of[id.index()];
        if self.mux.is_done(id) {
            let this = &self.people[person];
            let shed = self.mux.stats().limit_memory.read() > 0;
            // What a Redis client has at a server is lost with its connection.
            let lost = self.plan.errors && S::PROTOCOL == Protocol::Redis;
            let may_end = shed || lost || this.said_all || this.client.expects_end();
            assert!(may_end, "closed for no reason");
            self.mux.close_client(id);
            return self.reconnect(person);
        }
        if self.mux.wants_read(id) {
            self.start_saying(person);
        }
        let this = &mut self.people[person];
        if !this.listens && !self.mux.client_output(id).is_empty() {
            this.listens = true;
            let slowness = this.slowness;
            self.at(slowness, Event::Listen(person));
        }
    }

    fn look_after_conn(&mut self, id: ConnId) {
        if self.wires.len() <= id.index() {
            self.wires.resize_with(id.index() + 1, Wire::default);
        }
        if self.mux.take_must_close(id) {
            self.drop_wire(id.index());
        }
        if !self.mux.has_conn(id) {
            return;
        }
        self.wires[id.index()].id = Some(id);
        let epoch = self.wires[id.index()].epoch;
        if self.mux.wants_open(id) {
            self.mux.handle_conn_opening(id, self.now());
            self.at(500, Event::Open(id.index(), epoch));
        }
        let is_open = self.mux.conn_state(id).is_connected();
        let wire = &mut self.wires[id.index()];
        assert!(!is_open || wire.open, "a connection is open that is not");
        if is_open && !wire.writes && !self.mux.conn_output(id).is_empty() {
            wire.writes = true;
            self.at(100, Event::Write(id.index(), epoch));
        }
    }

    // What always holds.

    fn check_bounds(&self) {
        let limits = &self.plan.limits;
        assert!(self.mux.memory() <= limits.memory_max, "{} bytes", self.mux.memory());
        let reply_max = self.plan.size_max + 5000;
        for person in &self.people {
            let kept = person.id.map_or(0, |id| self.mux.client_output(id).len());
            assert!(kept <= limits.client_backlog_max + reply_max, "{kept} bytes for a client");
        }
        for id in self.mux.conns() {
            let queued = self.mux.conn_output(*id).len();
            assert!(queued <= limits.server_buffer_max + self.plan.size_max + 300, "{queued}");
        }
        for (name, counter) in self.stats.iter().flat_map(|server| server.all()) {
            assert!(counter.read() < 1 << 60, "{name} is below zero");
        }
    }

    /// Nobody waits longer for a reply than a request may take, where every request gets a place in a queue
    /// at once.
    fn check_deadlines(&mut self) {
        let Options { timeout, clocks, .. } = self.mux.options();
        let parts = clocks.queue.zip(clocks.response).map(|(queue, response)| queue + response);
        let longest = [*timeout, parts].into_iter().flatten().min().expect("every request ends");
        for person in &mut self.people {
            let Some(id) = person.id else { continue };
            let is_busy =
                !self.mux.client_output(id).is_empty() || !person.client.outbox().is_empty();
            if is_busy || person.client.is_satisfied() {
                person.waits_since = self.now;
            }
            let waited = Duration::from_nanos(self.now - person.waits_since);
            assert!(waited <= longest, "{waited:?} for a reply, {:?}", self.mux.options());
        }
    }

    fn check_idle(&self) {
        assert!(self.people.iter().all(|person| person.id.is_none()), "somebody still waits");
        assert_eq!(self.mux.client_count(), 0);
        assert_eq!(self.mux.requests_in_flight(), 0);
        assert_eq!(self.mux.memory(), 0);
        let stats = self.mux.stats();
        assert_eq!(stats.client_connections.read(), 0);
        for server in &self.stats {
            let queues = [&server.in_queue, &server.in_queue_bytes];
            let queues = queues.into_iter().chain([&server.out_queue, &server.out_queue_bytes]);
            assert!(queues.into_iter().all(|gauge| gauge.read() == 0), "{server:?}");
        }
    }
}

/// Says how to repeat a run that failed.
struct Replay {
    test: &'static str,
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, seed } = self;
            eprintln!("replay: SIM_SEED={seed} cargo test -p nuthatch-core --test it {test}");
        }
    }
}

/// The number that a variable of the environment has.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// `SIM_SEED`, or `SIM_FRESH` new ones; else the first `count`, the same ones in every run.
fn seeds(count: u64) -> Vec<u64> {
    if let Some(seed) = variable("SIM_SEED") {
        return vec![seed];
    }
    let Some(fresh) = variable("SIM_FRESH") else { return (1..=count).collect() };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let first = now.as_secs() * 1000 + u64::from(now.subsec_millis());
    (first..first + fresh).collect()
}

/// Runs a plan with `count` seeds, or with those of the environment.
fn run<S: Server>(test: &'static str, plan: Plan, count: u64) -> Vec<World<S>> {
    let run = |seed| {
        let _replay = Replay { test, seed };
        println!("{test}: seed {seed}");
        let mut world = World::new(plan, seed);
        world.run();
        world
    };
    seeds(count).into_iter().map(run).collect()
}

/// Checks that enough of something happened. Chance decides that, so it is checked for the seeds that
/// are the same in every run, and for no others.
fn check_sum<S: Server>(worlds: &[World<S>], least: u64, read: fn(&World<S>) -> u64) {
    let sum: u64 = worlds.iter().map(read).sum();
    let are_fixed = variable("SIM_SEED").is_none() && variable("SIM_FRESH").is_none();
    assert!(!are_fixed || sum >= least, "{sum}");
}

fn timeouts<S: Server>(world: &World<S>) -> u64 {
    world.stats.iter().map(|server| server.server_timedout.read()).sum()
}

#[test]
fn in_calm_weather_everything_is_answered_and_nothing_is_stale() {
    for world in run::<Memcached>("sim::in_calm", CALM, 6) {
        let stats = world.mux.stats();
        assert_eq!(stats.forward_error.read() + stats.desync_total.read(), 0);
        assert!(stats.results.get_hits() > 100);
    }
}

#[test]
fn several_connections_to_a_server_change_nothing() {
    let plan = Plan { server_connections: 3, clients: 8, ..CALM };
    for world in run::<Memcached>("sim::several", plan, 4) {
        assert_eq!(world.mux.stats().forward_error.read(), 0);
    }
}

/// Clients are bulky after little, and soon no longer.
const BULK: Bulk = Bulk { connections: 2, min: 2000, keys: 4, requests: 8, reads: 3 };

#[test]
fn clients_change_to_the_connections_for_bulk_and_back_and_nothing_is_stale() {
    let plan = Plan { bulk: BULK, server_connections: 2, clients: 8, ..CALM };
    let worlds = run::<Memcached>("sim::clients_change", plan, 6);
    for world in &worlds {
        assert_eq!(world.mux.stats().forward_error.read(), 0);
        assert_eq!(world.mux.stats().bulk_clients.read(), 0);
    }
    check_sum(&worlds, 500, |world| world.mux.stats().bulk_moves.read());
    let tiny = Plan { limits: TINY, size_max: 2000, errors: true, ..plan };
    let tiny = Plan { bulk: Bulk { min: 500, requests: 2, ..BULK }, ..tiny };
    let worlds = run::<Memcached>("sim::clients_change", tiny, 4);
    check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
}

#[test]
fn clients_change_connections_in_a_storm() {
    let plan = Plan { bulk: BULK, ..STORMY };
    let worlds = run::<Memcached>("sim::clients_change_connections", plan, 10);
    check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
    check_sum(&worlds, 10, timeouts);
    let plan = Plan { bulk: BULK, changes: true, ..STORMY };
    let worlds = run::<Memcached>("sim::clients_change_connections", plan, 4);
    check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
}

#[test]
fn redis_clients_change_connections_in_any_weather() {
    for plan in [REDIS, REDIS_STORMY, Plan { changes: true, ..REDIS_STORMY }] {
        let plan = Plan { bulk: Bulk { min: 500, ..BULK }, ..plan };
        let worlds = run::<Redis>("sim::redis_clients_change", plan, 4);
        check_sum(&worlds, 100, |world| world.mux.stats().bulk_moves.read());
    }
}

#[test]
fn in_stormy_weather_every_reply_is_right_or_an_error() {
    let worlds = run::<Memcached>("sim::in_stormy", STORMY, 10);
    check_sum(&worlds, 10, |world| world.mux.stats().server_ejects.read());
    check_sum(&worlds, 10, |world| world.mux.stats().desync_total.read());
    check_sum(&worlds, 10, timeouts);
    check_sum(&worlds, 1000, |world| world.mux.stats().results.get_hits());
}

#[test]
fn under_the_tiniest_limits_everything_still_moves() {
    let plan = Plan { limits: TINY, size_max: 2000, errors: true, ..CALM };
    let worlds = run::<Memcached>("sim::under_the_tiniest_limits_everything_still", plan, 6);
    check_sum(&worlds, 10, |world| world.mux.stats().limit_server_queue.read());
    check_sum(&worlds, 10, |world| world.mux.stats().limit_client_paused.read());
    check_sum(&worlds, 10, |world| world.mux.stats().limit_memory.read());
}

#[test]
fn under_the_tiniest_limits_a_storm_passes_too() {
    let limits = Plan { limits: TINY, size_max: 2000, server_connections: 2, ..STORMY };
    let worlds = run::<Memcached>("sim::under_the_tiniest_limits_a_storm", limits, 4);
    check_sum(&worlds, 1, timeouts);
}

#[test]
fn swapped_replies_are_found_out_and_never_believed() {
    let faults = Faults { swap: 500, ..Faults::default() };
    let worlds = run::<Memcached>("sim::swapped", Plan { faults, errors: true, ..CALM }, 4);
    check_sum(&worlds, 10, |world| world.mux.stats().desync_total.read());
}

/// How often a clock ran out.
fn ran_out<S: Server>(world: &World<S>, clock: Clock) -> u64 {
    world.stats.iter().map(|server| server.more.timeouts[clock as usize].read()).sum()
}

/// The three clocks at random values: no wrong answer, no late one, and all of them run out.
fn run_clocks<S: Server>(test: &'static str, plan: Plan, count: u64) {
    let worlds = run::<S>(test, Plan { clocks: true, ..plan }, count);
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Connect));
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Queue));
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Response));
    check_sum(&worlds, 10, |world| ran_out(world, Clock::Total));
    check_sum(&worlds, 100, |world| world.mux.stats().results.get_hits());
    check_sum(&worlds, 10, timeouts);
}

#[test]
fn whatever_the_clocks_are_every_request_is_answered_in_its_time() {
    run_clocks::<Memcached>("sim::whatever_the_clocks", STORMY, 20);
}

#[test]
fn with_slow_servers_and_short_clocks_only_what_is_late_fails() {
    let faults = Faults { hang: 300, ..Faults::default() };
    let plan = Plan { faults, errors: true, server_connections: 2, ..CALM };
    run_clocks::<Memcached>("sim::with_slow_servers", plan, 20);
}

/// Proves that these tests would notice a wrong answer.
#[test]
#[should_panic(expected = "is not of")]
fn a_value_of_another_key_is_noticed() {
    let faults = Faults { lie: 100, ..Faults::default() };
    run::<Memcached>("sim::a_value", Plan { faults, ..CALM }, 2);
}

/// Values are smaller than memcached's, as the replies of a transaction are parsed from their start
/// whenever a piece comes.
const REDIS: Plan = Plan { size_max: 8000, requests: 200, ..CALM };

/// What can be noticed in RESP: a swapped or surplus reply can't.
const REDIS_STORM: Faults = Faults { hang: 150, die: 150, garbage: 3, surplus: 0, swap: 0, lie: 0 };

const REDIS_STORMY: Plan = Plan { faults: REDIS_STORM, ejects: true, errors: true, ..REDIS };

#[test]
fn redis_answers_everything_in_calm_weather_and_nothing_is_stale() {
    for lanes in [1, 3] {
        let plan = Plan { server_connections: lanes, ..REDIS };
        let worlds = run::<Redis>("sim::redis_answers", plan, 3);
        for world in &worlds {
            let stats = world.mux.stats();
            assert_eq!(stats.forward_error.read() + stats.desync_total.read(), 0);
            assert_eq!(stats.limit_dedicated.read(), 0);
        }
        check_sum(&worlds, 500, |world| world.mux.stats().results.get_hits());
    }
}

#[test]
fn redis_in_stormy_weather_is_right_or_an_error() {
    let plan = Plan { server_connections: 2, ..REDIS_STORMY };
    let worlds = run::<Redis>("sim::redis_in_stormy", plan, 10);
    check_sum(&worlds, 10, |world| world.mux.stats().server_ejects.read());
    check_sum(&worlds, 10, timeouts);
    check_sum(&worlds, 1000, |world| world.mux.stats().results.get_hits());
}

#[test]
fn redis_servers_come_and_go_in_a_storm() {
    let plan = Plan { changes: true, ..REDIS_STORMY };
    let worlds = run::<Redis>("sim::redis_servers_come", plan, 10);
    check_sum(&worlds, 1000, |world| world.mux.stats().results.get_hits());
}

#[test]
fn memcached_servers_come_and_go_in_a_storm() {
    let plan = Plan { changes: true, ..STORMY };
    let worlds = run::<Memcached>("sim::memcached_servers_come", plan, 5);
    check_sum(&worlds, 500, |world| world.mux.stats().results.get_hits());
}

#[test]
fn redis_moves_under_the_tiniest_limits() {
    let tiny = Plan { limits: TINY, size_max: 2000, dedicated_max: 2, errors: true, ..REDIS };
    let worlds = run::<Redis>("sim::redis_moves", tiny, 6);
    check_sum(&worlds, 10, |world| world.mux.stats().limit_server_queue.read());
    check_sum(&worlds, 10, |world| world.mux.stats().limit_dedicated.read());
    let storm = Plan { faults: REDIS_STORM, ejects: true, ..tiny };
    check_sum(&run::<Redis>("sim::redis_moves", storm, 6), 1, timeouts);
}

#[test]
fn redis_is_right_or_an_error_whatever_the_clocks_are() {
    run_clocks::<Redis>("sim::redis_is_right", REDIS_STORMY, 20);
}

/// Proves that these tests would notice a wrong answer of Redis.
#[test]
#[should_panic(expected = "is not of")]
fn a_value_of_another_key_of_redis_is_noticed() {
    let faults = Faults { lie: 100, ..Faults::default() };
    run::<Redis>("sim::a_value_of_another_key_of_redis", Plan { faults, ..CALM }, 2);
}
